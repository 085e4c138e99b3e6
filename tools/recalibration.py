"""What recalibration gives back after a cut without training: python tools/recalibration.py [--data NAME...]

For each data set and seed a WRN-16-1 is trained (`secateur train`, kept in --work, so that a second run goes
on), and cut without training to shares of its MACs, by the norms of its channels (on digits by Fisher too).
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
from secateur.training.recalibration import recalibrated

OUT = Path(__file__).parents[1] / "results" / "recalibration"
SHARES = (70, 50, 30)
METHODS = {"digits": ("filter-norm", "fisher"), "cifar10": ("filter-norm",)}
MODEL, SEEDS, BATCH = "wrn-16-1", (0, 1, 2), 128
EPOCHS = {"digits": 20, "cifar10": 4}
MOST_BATCHES = 20  # that channels are scored on, and batch norms recalibrated on
MOST_TESTED = 2000  # images of the test split, its first: an accuracy is then known to about 1%


def trained(data: str, seed: int, work: Path) -> nn.Module:
    """The network, trained here unless it was already."""
    folder = work / f"{data}-s{seed}"
    words = f"train --model {MODEL} --data {data} --epochs {EPOCHS[data]} --seed {seed} --out".split()
    if not (folder / "record.json").is_file():
        subprocess.run([sys.executable, "-m", "secateur", *words, str(folder)], check=True)
    return sc.load(folder)


def training_batches(data: Data) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training images, mixed, as they are."""
    order = torch.Generator().manual_seed(0)
    drawn = epoch_batches(data.train, data, batch_size=BATCH, device="cpu", generator=order)
    return list(islice(drawn, MOST_BATCHES))


@torch.inference_mode()
def accuracy(model: nn.Module, data: Data) -> float:
    """On the test split."""
    drawn = epoch_batches(data.test, data, batch_size=500, device="cpu")
    right = [model.eval()(x).argmax(1) == y for x, y in islice(drawn, MOST_TESTED // 500)]
    return torch.cat(right).double().mean().item()


def measured(name: str, data: Data, seed: int, work: Path) -> dict[str, Any]:
    """One seed: the accuracy of every network on the test split."""
    model, batches = trained(name, seed, work), training_batches(data)

    cuts = []
    for method in METHODS[name]:
        for share in SHARES:
            small = sc.prune(
                copy.deepcopy(model), method=method, budget=f"macs={share}%", data=batches, train=False,
                recalibrate=False, progress=False,
            )  # fmt: skip
            cut = accuracy(small, data)
            on = recalibrated(small, batches)
            assert on is not None
            row = {
                "method": method,
                "macs": share,
                "cut": cut,
                "recalibrated": accuracy(small, data),
                "on": on.examples,
            }
            print(name, seed, row, file=sys.stderr)
            cuts.append(row)
    return {"seed": seed, "trained": accuracy(model, data), "cuts": cuts}


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
    return "\n".join(
        [*lines, "", f"Accuracy on test images, at most {MOST_TESTED:,}. {'; '.join(sources)}.", ""]
    )


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
        seeds: list[dict[str, Any]] = []
        environment = describe_environment(Runtime("cpu"), "fp32")
        what = {"data": name, "model": MODEL, "epochs": EPOCHS[name]}
        data = sc.load_data(name)
        for seed in SEEDS:
            seeds.append(measured(name, data, seed, asked.work))
            write_json(OUT / f"{name}.json", {**what, "seeds": seeds, "environment": environment})
    (OUT / "table.md").write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
