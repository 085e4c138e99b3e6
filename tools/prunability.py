"""What of the networks that people have can be pruned, whether it is right, and what other libraries do.

    python tools/prunability.py --jobs 2             # all, one JSON line a network; goes on where it stopped
    python tools/prunability.py --jobs 2 --others    # other libraries on them, lines of their own
    python tools/prunability.py --only timm --networks timm/resnet18,timm/pit_ti_224 --limit 120
    python tools/prunability.py --table              # the recorded lines as tables, for docs/prunability.md

Each network runs in a process of its own, in one thread, within seconds and memory: it is inspected; random
cuts of its groups are compared with a masked reference that needs no graph (`field.reference`); it is pruned
to half of its MACs by the norm of its channels, without training, saved, loaded, compared to the bit,
exported. With `--others` torch-pruning and torch-kirigami cut the same share of it and are judged by the same
reference: their lines do not depend on what Secateur is, and are made once.
It wants the second virtual environment that docs/prunability.md describes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import psutil
import torch
from field.measured import Measured, Settings
from field.networks import Network, every
from field.others import TOOLS
from field.table import tables

import secateur
from secateur.device import describe_device
from secateur.runs.environment import source_commit

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results" / "prunability"
OURS, OTHERS = "networks.jsonl", "others.jsonl"
PATIENCE = 20
"""How often its limit of computing a network may take by the clock."""
PACKAGES = ("torch", "torchvision", "timm", "transformers", "torch-pruning", "torch-kirigami", "onnxruntime")
HEAVY = (
    "torchvision",
    "timm",
    "transformers",
    "torch_pruning",
    "torch_kirigami",
    "onnxscript",
    "onnxruntime",
)


@dataclass
class Limits:
    """What a network may take: seconds of computing, and GiB."""

    seconds: int
    gib: float


class Trial:
    """One network in a process of its own; what it had found when it ended or was ended."""

    def __init__(self, network: Network, settings: Settings, limits: Limits, folder: Path):
        self.network, self.limits, self.began = network, limits, time.monotonic()
        self.state = folder / f"{network.name.replace('/', '_')}.json"
        self.process = multiprocessing.get_context("fork").Process(
            target=_measure, args=(network, settings, self.state)
        )
        self.process.start()

    def ended(self) -> str | None:
        """How it ended, "" where by itself; None where it runs on."""
        if not self.process.is_alive():
            code = self.process.exitcode
            return "" if code == 0 else f"the process ended with {code}"
        try:
            child = psutil.Process(self.process.pid)
            used, computed = child.memory_info().rss / 2**30, sum(child.cpu_times()[:2])
        except psutil.Error:
            return None
        if max(computed, (time.monotonic() - self.began) / PATIENCE) > self.limits.seconds:
            return self._end(f"no end after {self.limits.seconds} s")
        return self._end(f"more than {self.limits.gib:g} GiB") if used > self.limits.gib else None

    def _end(self, why: str) -> str:
        self.process.kill()
        self.process.join()
        return why

    def row(self, why: str) -> dict[str, Any]:
        """What is known of the network; where it was ended, in which stage."""
        try:
            row: dict[str, Any] = json.loads(self.state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            row = {"network": self.network.name, "stage": "start", "seconds": {}, "failed": {}}
        stage = row.pop("stage", "")
        if why:
            row["failed"][stage or "end"] = why
        return row


def _measure(network: Network, settings: Settings, state: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")

    def said(row: dict[str, Any]) -> None:
        part = state.with_suffix(".part")
        part.write_text(json.dumps(row), encoding="utf-8")
        part.replace(state)

    Measured(network, settings, said).run()


def provenance(settings: Settings) -> dict[str, Any]:
    """Versions, device, commit and settings that a line was made with."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {
        **found,
        "python": platform.python_version(),
        "device": describe_device(torch.device("cpu")),
        "threads": 1,
        "commit": source_commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        **asdict(settings),
    }


def recorded(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a file by network; of a network that was tried twice, the last."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["network"]: row for row in map(json.loads, lines)}


def measure_all(networks: list[Network], settings: Settings, limits: Limits, jobs: int, path: Path) -> None:
    """Measure networks, `jobs` at a time, and leave a line for each in a file as soon as it has ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting, running, made = list(networks), list[Trial](), provenance(settings)
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Trial(waiting.pop(0), settings, limits, Path(folder)))
            for trial in list(running):
                if (why := trial.ended()) is not None:
                    running.remove(trial)
                    row = {**trial.row(why), "made": made}
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(in_one_line(row), flush=True)
            time.sleep(0.1)


def in_one_line(row: dict[str, Any]) -> str:
    """A network's outcome as it is shown while others run."""
    said = [f"{key} {value:.0%}" for key, value in row.get("can go", {}).items()]
    said += [key for key in ("right", "saved", "loaded") if row.get(key)]
    said += ["half"] if row.get("half", {}).get("reached") else []
    said += [f"{key} {value}" for key, value in row["seconds"].items() if key in ("inspect", "half", "onnx")]
    said += [f"{tool} {found['outcome']}" for tool, found in row.get("others", {}).items()]
    said += [f"FAILED {stage}: {reason}" for stage, reason in row["failed"].items()]
    if row.get("right") is False:
        said.append(f"WRONG by {row.get('difference')} {row.get('falls', '')}")
    return f"{row['network']}: {', '.join(said)}"


def chosen(options: argparse.Namespace, path: Path) -> list[Network]:
    """The networks asked for that have no line in the file yet."""
    networks = every()
    named = [name for name in options.networks.split(",") if name]
    for name in named:
        if name not in networks:
            sys.exit(f"no network '{name}': names are KIND/NAME, as in timm/resnet18 (--list shows them)")
    wanted = [networks[name] for name in named] or [
        network
        for network in networks.values()
        if (options.all or not network.more) and (not options.only or network.kind in options.only)
    ]
    done = {} if options.again else recorded(path)
    return [network for network in wanted if network.name not in done]


def main() -> int:
    """Measure, list, or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], help="a kind, as in timm; may be repeated")
    parser.add_argument("--networks", default="", help="names, divided by commas")
    parser.add_argument("--all", action="store_true", help="the larger ones of each family too; hours")
    parser.add_argument("--again", action="store_true", help="also those that have a line already")
    parser.add_argument("--limit", type=int, default=180, help="seconds that a network may compute")
    parser.add_argument("--memory", type=float, default=9, help="GiB that it may take")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ratio", type=float, default=0.3, help="share of the channels that each tool cuts")
    parser.add_argument(
        "--part", type=float, default=30, help="seconds that an export or another tool may take"
    )
    parser.add_argument("--no-onnx", action="store_true")
    parser.add_argument("--others", action="store_true", help="the other libraries, and nothing else")
    parser.add_argument("--no-step", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--list", action="store_true", help="name the networks and stop")
    parser.add_argument("--table", action="store_true", help="write networks.md from the recorded lines")
    options = parser.parse_args()
    if options.list:
        print("\n".join(network.name for network in every().values() if options.all or not network.more))
        return 0
    if not options.table:
        settings = Settings(
            seed=options.seed,
            ratio=options.ratio,
            onnx=not options.no_onnx,
            others=options.others,
            part_s=options.part,
            step=not options.no_step,
        )
        load_once()
        path = options.out / (OTHERS if options.others else OURS)
        limits = Limits(options.limit, options.memory)
        measure_all(chosen(options, path), settings, limits, options.jobs, path)
    ours, others = recorded(options.out / OURS), recorded(options.out / OTHERS)
    rows = [with_others(ours[name], others.get(name)) for name in every() if name in ours]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in tables(rows).items():
        (options.out / f"{name}.md").write_text(text, encoding="utf-8")
    return 0


def with_others(row: dict[str, Any], line: dict[str, Any] | None) -> dict[str, Any]:
    """A network's line, and what the other libraries made of it."""
    if line is None:
        return row
    ended = line["failed"].get("others") or line["failed"].get("build")
    missing = {name: {"outcome": "late", "reason": ended} for name in TOOLS} if ended else {}
    return {**row, "others": {**missing, **line.get("others", {})}, "others made": line["made"]}


def load_once() -> None:
    """Import what is slow to import before networks are measured: their processes then have it.

    Secateur too, all of it: every line is then of the code that stood there at the start.
    """
    for name in ("inspect", "prune", "save", "load"):
        getattr(secateur, name)
    import_module("secateur.deploy.onnx")
    for package in HEAVY:
        try:
            import_module(package)
        except ImportError as error:
            print(f"{package} is not here ({error}); what needs it will say so", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
