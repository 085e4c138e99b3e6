"""What recalibration gives back after a cut without training: python tools/recalibration.py [--data NAME...]

For each data set and seed a WRN-16-1 is trained (`secateur train`, kept in --work, so that a second run goes
on), and cut without training to shares of its MACs, by the norms of its channels and by Fisher information.
Test accuracy as trained, after the cut, and after `sc.recalibrate` on images of the training split is left in
results/recalibration/DATA.json, and all of them as table.md, which `tools/readme.py` puts into
docs/training.md. The test split is looked at here alone: nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import nn

import secateur as sc
from secateur.atomic import write_json
from secateur.data import Data, epoch_batches
from secateur.device import Runtime
from secateur.runs.environment import describe_environment
from secateur.training.evaluation import evaluate
from secateur.training.recalibration import recalibrated

OUT = Path(__file__).parents[1] / "results" / "recalibration"
SHARES = (70, 50, 30)
METHODS = ("filter-norm", "fisher")
MODEL, SEEDS, BATCH = "wrn-16-1", (0, 1, 2), 128
EPOCHS = {"digits": 20, "cifar10": 4}
MOST_BATCHES = 100  # that channels are scored on, and batch norms recalibrated on


def trained(data: str, seed: int, work: Path) -> nn.Module:
    """The network, trained here unless it was already."""
    folder = work / f"{data}-s{seed}"
    words = f"train --model {MODEL} --data {data} --epochs {EPOCHS[data]} --seed {seed} --out".split()
    subprocess.run([sys.executable, "-m", "secateur", *words, str(folder)], check=True)
    return sc.load(folder)


def training_batches(data: Data) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training images, mixed, as they are."""
    order = torch.Generator().manual_seed(0)
    drawn = epoch_batches(data.train, data, batch_size=BATCH, device="cpu", generator=order)
    return list(islice(drawn, MOST_BATCHES))


def measured(name: str, seed: int, work: Path) -> dict[str, Any]:
    """One seed: the accuracy of every network on the test split."""
    data, model, runtime = sc.load_data(name), trained(name, seed, work), Runtime("cpu")
    batches = training_batches(data)

    def accuracy(network: nn.Module) -> float:
        return evaluate(network, data.test, data, runtime, "fp32")

    cuts = []
    for method in METHODS:
        for share in SHARES:
            small = sc.prune(
                copy.deepcopy(model), method=method, budget=f"macs={share}%", data=batches, train=False,
                recalibrate=False, progress=False,
            )  # fmt: skip
            cut = accuracy(small)
            on = recalibrated(small, batches)
            assert on is not None
            row = {
                "method": method,
                "macs": share,
                "cut": cut,
                "recalibrated": accuracy(small),
                "on": on.examples,
            }
            print(name, seed, row, file=sys.stderr)
            cuts.append(row)
    return {"seed": seed, "trained": accuracy(model), "cuts": cuts}


def table() -> str:
    """A row for each data set, method and size, means and deviations over the seeds."""
    lines = [
        "| data | cut by | MACs left | trained | cut | recalibrated |",
        "|---|---|---|---|---|---|",
    ]
    sources = []
    for path in sorted(OUT.glob("*.json"), reverse=True):
        found = json.loads(path.read_text(encoding="utf-8"))
        seeds = found["seeds"]
        for index, first in enumerate(seeds[0]["cuts"]):
            cells = [
                spread([seed["trained"] for seed in seeds]),
                *(spread([seed["cuts"][index][key] for seed in seeds]) for key in ("cut", "recalibrated")),
            ]
            row = [found["data"], first["method"], f"{first['macs']}%", *cells]
            lines.append(f"| {' | '.join(row)} |")
        sources.append(
            f"{found['data']}: {MODEL}, {found['epochs']} epochs, {len(seeds)} seeds, {first['on']:,} "
            f"training images to recalibrate on, at commit {found['environment']['commit']}"
        )
    return "\n".join([*lines, "", f"Test accuracy. {'; '.join(sources)}.", ""])


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.1%}" + (f" ± {stdev(values):.1%}" if len(values) > 1 else "")


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="*", default=[*EPOCHS], choices=[*EPOCHS])
    parser.add_argument("--work", type=Path, default=Path("recalibration-work"))
    asked = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    for name in asked.data:
        seeds = [measured(name, seed, asked.work) for seed in SEEDS]
        environment = describe_environment(Runtime("cpu"), "fp32")
        content = {
            "data": name,
            "model": MODEL,
            "epochs": EPOCHS[name],
            "seeds": seeds,
            "environment": environment,
        }
        write_json(OUT / f"{name}.json", content)
    (OUT / "table.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
