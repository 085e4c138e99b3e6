"""Channels pruned by us and by the peers at equal budgets of MACs and of training: results/channels-peers.

    python tools/channels.py ours wrn-16-1 --work DIR           # `secateur compare`, as below; goes on
    python tools/channels.py peers wrn-16-1 --work DIR          # torch-pruning, torch-kirigami; goes on
    python tools/channels.py table                              # table.md, for docs/channels.md

Our arms are those of the ordinary comparison, with one recipe (`Setting`). A peer has what
`channel-reparametrization` has: the recipe's epochs in one learning rate schedule, the first half of them for
the whole network, which is then cut to at most the budget's MACs (`peers.cuts`), the other half for what is
left. A forward pass of half of the MACs costs half as much, so that both spend the same, to what the widths
round off; the table has what each did. Same images, same split, same initialisation and same order and
augmentation for a seed, the same training loop; a fresh optimizer after the cut, as both libraries document;
batch normalisation finds its statistics in tuning. With `--tuning own` both halves have a cosine of their
own, the second from a fifth of the rate, which is what torch-pruning's own scripts do (0.01); the table says
which. The test split is looked at once, in the end.

One JSON file for each network of a peer, so that a second call goes on. It wants the second virtual
environment (docs/prunability.md), and our arms were made in it too.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from peers.cuts import LIBRARIES, WAYS, missing
from torch import nn

import secateur as sc
from secateur.atomic import write_json
from secateur.data import Data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.counting import count_model_macs
from secateur.progress import Reporter
from secateur.records.results import Results
from secateur.runs.environment import describe_environment
from secateur.training.evaluation import evaluate
from secateur.training.loop import Training
from secateur.training.seeds import derived_seed

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results" / "channels-peers"
ARMS = "fisher-tuned,fisher-scratch,channel-reparametrization"
TUNING = ("one", "own")
Run = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What all arms have in common; `words` and `recipe` are the two ways in which they are told.

    Attributes:
        tuning_lr, prune_every: of Fisher pruning, which tunes at a constant rate; chosen on validation from
            4e-4 (the lowest rate of training by default), 2e-3 and 1e-2.
    """

    network: str
    image_size: int = 16
    limit_train: int = 5000
    epochs: int = 12
    batch_size: int = 64
    lr: float = 0.05
    weight_decay: float = 5e-4
    precision: str = "bf16"
    prune_every: int = 4
    tuning_lr: float = 0.01
    shares: tuple[int, ...] = (50, 25, 10)

    def model(self) -> nn.Module:
        """The network as it is before training, with any weights."""
        if self.network == "wrn-16-1":
            return sc.models.wide_resnet(depth=16, width=1, image_size=self.image_size)
        if self.network == "resnet18-x0.25":
            return sc.models.resnet18(width=0.25, image_size=self.image_size)
        raise InputError(f"unknown network {self.network!r}: write {' or '.join(NETWORKS)}")

    def recipe(self) -> sc.Recipe:
        """As `words` have it."""
        return sc.Recipe(
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule="cosine",
            precision=self.precision,  # type: ignore[arg-type]
        )

    def data(self) -> Data:
        """CIFAR-10, as `words` have it."""
        return sc.load_data("cifar10", limit_train=self.limit_train, image_size=self.image_size)

    def words(self, model: str, out: Path, seeds: int) -> list[str]:
        """The arguments of `secateur`."""
        return [
            *("compare", "--model", model, "--data", "cifar10", "--image-size", str(self.image_size)),
            *("--limit-train", str(self.limit_train), "--epochs", str(self.epochs), "--seeds", str(seeds)),
            *("--batch-size", str(self.batch_size), "--lr", f"{self.lr:g}", "--schedule", "cosine"),
            *("--weight-decay", f"{self.weight_decay:g}", "--precision", self.precision),
            *("--prune-every", str(self.prune_every), "--tuning-lr", f"{self.tuning_lr:g}"),
            *("--budget", ",".join(f"macs={share}%" for share in self.shares), "--arms", ARMS),
            *("--workers", "1", "--out", str(out)),
        ]


NETWORKS = ("wrn-16-1", "resnet18-x0.25")


def ours(setting: Setting, seeds: int, work: Path, out: Path) -> None:
    """Our arms through the ordinary comparison; its results.json is left as NETWORK.json."""
    folder = work / f"{setting.network}-ours"
    model = setting.network
    if model != "wrn-16-1":  # a width that has no name on the command line
        work.mkdir(parents=True, exist_ok=True)
        path = work / f"{setting.network}.json"
        sc.Architecture.of(setting.model()).save(path)
        model = str(path)
    words = setting.words(model, folder, seeds)
    print("secateur", shlex.join(words), file=sys.stderr)
    subprocess.run([sys.executable, "-m", "secateur", *words], check=True)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(answer(folder, seeds), out / f"{setting.network}.json")


def answer(folder: Path, seeds: int) -> Path:
    """The results of so many seeds: those of another number may lie in the folder as well, in `reports/`."""
    found = [folder / "results.json", *sorted(folder.glob("reports/*/results.json"))]
    return next(path for path in found if Results.load(path).settings["seeds"] == seeds)


class Peers:
    """The networks of the peers for one seed: the first half is trained once for all of them."""

    def __init__(self, setting: Setting, data: Data, seed: int, tuning: str = "one"):
        self.setting, self.data, self.seed, self.tuning = setting, data, seed, tuning
        self.runtime = Runtime("cpu")
        self.half = setting.epochs // 2
        self._whole: tuple[nn.Module, int] | None = None

    def run(self, way: str, share: int) -> Run:
        """Train, cut, tune, measure."""
        whole, spent = self._trained()
        limit = count_model_macs(whole) * share // 100
        example = torch.ones(1, *self.data.shape)  # they only trace with it
        cut = WAYS[way](copy.deepcopy(whole), example, limit)
        val_cut = self._accuracy(cut.model, self.data.val)
        tuned = self._tuned(cut.model)
        return {
            "network": self.setting.network,
            "way": way,
            "tuning": self.tuning,
            "share": share,
            "seed": self.seed,
            "limit": limit,
            "macs": tuned.macs,
            "params": tuned.params,
            "channels_gone": round(cut.share, 4),
            "asked": cut.asked,
            "widths": [layer.out_channels for layer in tuned.model.modules() if isinstance(layer, nn.Conv2d)],
            "val_accuracy_cut": val_cut,
            "val_accuracy": self._accuracy(tuned.model, self.data.val),
            "accuracy": self._accuracy(tuned.model, self.data.test),
            "train_compute": spent + tuned.progress.compute,
            "setting": asdict(self.setting),
            "environment": {
                **describe_environment(self.runtime, self.setting.precision),
                **{library: version(library) for library in LIBRARIES if not missing(library)},
            },
        }

    def _trained(self) -> tuple[nn.Module, int]:
        """The whole network after the first half, and what that took."""
        if self._whole is None:
            model = sc.Architecture.of(self.setting.model()).build(
                seed=derived_seed(self.seed, "initialisation")
            )
            recipe = self.setting.recipe()
            if self.tuning == "own":
                recipe = replace(recipe, epochs=self.half)
            done = self._training(model, recipe, self.half).fit()
            self._whole = done.model, done.progress.compute
        return self._whole

    def _tuned(self, model: nn.Module) -> Training:
        """What is left, through the other half."""
        recipe, epochs = self.setting.recipe(), self.setting.epochs
        if self.tuning == "own":
            epochs -= self.half
            recipe = replace(recipe, epochs=epochs, lr=recipe.lr / 5)
        training = self._training(model, recipe, epochs)
        if self.tuning == "one":
            training.progress.epoch = self.half  # the rate and the order of the images go on from there
        return training.fit()

    def _training(self, model: nn.Module, recipe: sc.Recipe, epochs: int) -> Training:
        return Training(
            model, self.data, recipe, seed=self.seed, runtime=self.runtime, reporter=Reporter(), epochs=epochs
        )

    def _accuracy(self, model: nn.Module, split: Any) -> float:
        return evaluate(model, split, self.data, self.runtime, self.setting.precision)


def file_of(run: Run) -> str:
    """The name of a run's file."""
    name = "-".join(run["way"].replace(",", "").split())
    return f"{run['network']}-{name}-{run['tuning']}-{run['share']}-s{run['seed']}.json"


def peers(setting: Setting, seeds: Iterable[int], tuning: str, ways: Sequence[str], out: Path) -> None:
    """All networks of the peers that are not there yet."""
    if absent := sorted({library for way in ways if (library := missing(way))}):
        raise InputError(
            f"the libraries of all ways must be installed, {' and '.join(absent)} not found: use the "
            "environment of docs/prunability.md, or choose --ways"
        )
    folder, data = out / "runs", setting.data()
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        of_seed = Peers(setting, data, seed, tuning)
        for way in ways:
            for share in setting.shares:
                asked = {"network": setting.network, "way": way, "tuning": tuning, "share": share}
                path = folder / file_of({**asked, "seed": seed})
                if path.exists():
                    continue
                run = of_seed.run(way, share)
                write_json(path, run)
                print(f"{path.name}: {run['val_accuracy']:.1%} on validation", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Row:
    """One arm at one budget, over the seeds.

    Attributes:
        compute: of all its training, mean.
        before: training MACs that finding its architecture took besides, mean.
    """

    arm: str
    share: int
    test: tuple[float, ...]
    val: tuple[float, ...]
    macs: float
    params: float
    compute: float
    before: float = 0.0

    def line(self, whole: float, training: float) -> str:
        """As a line of the table: MACs as a share of `whole`, compute of `training`."""
        cells = [
            f"{self.share}%",
            self.arm,
            spread(self.test),
            f"{mean(self.val):.1%}",
            str(len(self.test)),
            f"{self.params:,.0f}",
            f"{self.macs / whole:.1%}",
            f"{self.compute / training:.2f}" + (f" (+ {self.before / training:.2f})" if self.before else ""),
        ]
        return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.1%}" + (f" ± {stdev(values):.1%}" if len(values) > 1 else "")


def rows_of(results: Results) -> list[Row]:
    """Our arms, from the comparison's points."""
    found: dict[tuple[int, str], list[Any]] = {}
    for point in results.points:
        share = int(str(point.budget).removeprefix("macs=").removesuffix("%"))
        found.setdefault((share, point.arm), []).append(point)
    return [
        Row(
            arm,
            share,
            tuple(each.accuracy for each in points),
            tuple(each.val_accuracy for each in points),
            mean(each.macs for each in points),
            mean(each.params for each in points),
            mean(each.train_compute for each in points),
            mean(each.discovery_compute for each in points),
        )
        for (share, arm), points in found.items()
    ]


def rows_of_peers(runs: Iterable[Run]) -> list[Row]:
    """The peers, by way of cutting and of tuning."""
    found: dict[tuple[int, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run["seed"]):
        found.setdefault((run["share"], run["way"], run["tuning"]), []).append(run)
    return [
        Row(
            f"{way} ({TUNED[tuning]})",
            share,
            tuple(each["accuracy"] for each in group),
            tuple(each["val_accuracy"] for each in group),
            mean(each["macs"] for each in group),
            mean(each["params"] for each in group),
            mean(each["train_compute"] for each in group),
        )
        for (share, way, tuning), group in found.items()
    ]


TUNED = {"one": "one schedule", "own": "schedules of their own"}


def table(network: str, results: Results, runs: Sequence[Run]) -> str:
    """All arms on one network, the best of each budget first."""
    whole, training = results.dense[0].macs, results.dense[0].train_compute
    rows = [*rows_of(results), *rows_of_peers(runs)]
    ordered = sorted(rows, key=lambda row: (-row.share, -mean(row.test)))
    commits = sorted({run["environment"]["commit"] for run in runs} | {*results.environment["trained_at"]})
    dense = results.dense
    test, val = (spread([getattr(each, key) for each in dense]) for key in ("accuracy", "val_accuracy"))
    first = runs[0]["environment"] if runs else {}
    libraries = ", ".join(f"{name} {first[name]}" for name in LIBRARIES if name in first)
    return "\n".join(
        [
            f"**{network}**, {whole:,} MACs, {dense[0].params:,} parameters, whole: {test} "
            f"({val} on validation).",
            "",
            "| MACs | arm | test accuracy ± std | validation | seeds | params | MACs left | training |",
            "|---|---|---|---|---|---|---|---|",
            *(row.line(whole, training) for row in ordered),
            "",
            f"{results.data.label} at {results.data.shape[1]} px, {results.data.train:,} training, "
            f"{results.data.val:,} validation, {results.data.test:,} test images; "
            f"{results.settings['epochs']} epochs; training in units of the whole network's, in brackets "
            f"what finding the architecture took besides. torch {results.environment['torch']}, {libraries}; "
            f"{results.environment['device']}, one thread; commits {', '.join(commits)}.",
            "",
        ]
    )


def tables(out: Path) -> str:
    """The tables of all networks that there are results of."""
    parts = []
    for network in NETWORKS:
        path = out / f"{network}.json"
        if path.exists():
            runs = [json.loads(each.read_text("utf-8")) for each in sorted((out / "runs").glob("*.json"))]
            parts.append(table(network, Results.load(path), [r for r in runs if r["network"] == network]))
    return "\n".join(parts) or "Nothing is recorded yet.\n"


def main(given: Sequence[str] | None = None) -> int:
    """Make runs, or the table; exit code 2 for what cannot be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("ours", "peers", "table"))
    parser.add_argument("network", nargs="?", default=NETWORKS[0], choices=NETWORKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tuning", choices=TUNING, default="one")
    parser.add_argument("--ways", nargs="*", default=[*WAYS], choices=[*WAYS])
    parser.add_argument("--work", type=Path, default=Path("channels-work"))
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args(given)
    setting = Setting(asked.network)
    torch.set_num_threads(1)
    try:
        if asked.seeds < 1:
            raise InputError(f"there must be at least 1 seed, got {asked.seeds}: pass --seeds 3")
        if asked.what == "ours":
            ours(setting, asked.seeds, asked.work, asked.out)
        elif asked.what == "peers":
            peers(setting, range(asked.seeds), asked.tuning, asked.ways, asked.out)
        (asked.out / "table.md").write_text(tables(asked.out), encoding="utf-8")
    except InputError as error:
        print(f"channels: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
