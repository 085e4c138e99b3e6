"""`python -m benchmarks NAME`: run one benchmark and write benchmarks/results/NAME_HARDWARE_DATE.json."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import re
from pathlib import Path

from benchmarks import cost_of_a_channel
from secateur.device import Runtime
from secateur.environment import describe_environment

BENCHMARKS = {"cost_of_a_channel": cost_of_a_channel.run}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, and leave the numbers with the machine and the commit they are of."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    name = parser.parse_args().name
    environment = describe_environment(Runtime("cpu"))
    result = {"schema": 1, "benchmark": name, **BENCHMARKS[name](), "environment": environment}
    hardware = re.sub(r"[^a-z0-9]+", "-", str(environment["device"]).lower()).strip("-") or platform.machine()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}_{hardware}_{datetime.date.today()}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "environment"}, indent=1))
    print(path)


if __name__ == "__main__":
    main()
