"""The strongest controls beside the exact mode: python tools/controls.py tune|compare|record

    tune       every control with as many settings as any other (`CONTROLS`), at 3% kept, judged on validation
    compare    controls with the settings chosen, and what they are compared with, at --rates of the weights
    record     what is finished in --out, into results/controls: tuning.json, comparison.json, table.md

Runs are made by the ordinary `Session` in the folder --out, where a second command finds what is there;
several may work in it. --minutes ends a command after the run that it is at. What `compare` trains is what
results/controls/tuning.json (or that of --results) has chosen. Arms that this checkout does not have are left
out, with a word.

All: CIFAR-10, 4,500 training images, 2,000 validation images, 12 epochs, cosine, rate 0.05, batches of 64,
bf16. The test split is measured once a run, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from controls_table import OUT, leave_tables
from studied import NETWORKS, Network

import secateur as sc
from secateur.architecture.architecture import Architecture
from secateur.atomic import write_json
from secateur.budget import Budget
from secateur.compare.arms import ARMS, chosen
from secateur.compare.arms.weights import WeightArm
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings, Sparsity
from secateur.data import Data, load_data
from secateur.device import Runtime
from secateur.papers.dupont2021.grid import SCALES
from secateur.progress import Reporter
from secateur.records.record import Record
from secateur.runs.environment import describe_environment
from secateur.runs.graph import Graph
from secateur.runs.method_settings import parse
from secateur.runs.run import Run
from secateur.runs.session import Session
from secateur.runs.store import RunStore

RECIPE = replace(SCALES["laptop"].recipe, epochs=12)
IMAGES, HELD_OUT = 6500, 2000
EXACT, DENSE = "reparametrization", "dense"
TUNED_AT, TUNED_ON = 3, "small"
TRIALS, TUNING_SEEDS = 4, (100, 101)
RATES, SEEDS = (1, 5, 3, 10), (0, 1, 2)


CONTROLS: dict[str, tuple[str, ...]] = {
    EXACT: ("", "reparametrization.n_final=16", "reparametrization.floor=0.3", "reparametrization.end=0.4"),
    "magnitude-tuned": ("", "tune_share=0.7", "tune_share=0.3", "tune_share=0.85"),
    "iterative-magnitude": (
        *("", "iterative-magnitude.rounds=1", "iterative-magnitude.rounds=2"),
        "iterative-magnitude.rewind=0.15",
    ),
    "gradual-magnitude": (
        *("", "gradual-magnitude.end=0.5", "gradual-magnitude.layer_shares=erk"),
        "gradual-magnitude.layer_shares=uniform",
    ),
    "dynamic-feedback": (
        *("", "dynamic-feedback.end=0.5", "dynamic-feedback.layer_shares=erk"),
        "dynamic-feedback.every=16",
    ),
    "granet": ("", "granet.end=0.5", "granet.regenerate=0.25", "granet.layer_shares=erk"),
    "set": ("", "set.every=8", "set.drop=0.15", "set.layer_shares=uniform"),
    "rigl": ("", "rigl.every=8", "rigl.drop=0.5", "rigl.layer_shares=uniform"),
    "ac-dc": ("", "ac-dc.layer_shares=erk", "ac-dc.last_compressed=0.35", "ac-dc.phase=0.05"),
    "str": ("", "str.end=0.5", "str.s_init=-5", "str.s_init=-12"),
    "powerpropagation": (
        *("", "powerpropagation.end=0.5", "powerpropagation.alpha=1.5"),
        "powerpropagation.alpha=3",
    ),
    "spartan": ("", "spartan.beta=20", "spartan.warmup=0.5", "spartan.finetune=0.35"),
    "l0": ("", "l0.end=0.5", "l0.rate=300", "l0.rate=3000"),
    "l1": ("", "l1.strength=1e-3", "l1.strength=1e-4", "l1.strength=3e-5"),
    "snip": ("", "snip.batches=16", "snip.batches=4", "snip.batches=35"),
}
"""Arm -> its trials: the settings that it is tried with, the first its defaults. All have `TRIALS`."""


def sparsity_of(trial: str) -> Sparsity:
    """The settings of a trial as arms take them; they are written as on the command line."""
    name, _, value = trial.partition("=")
    if name == "tune_share":
        return Sparsity(tune_share=float(value))
    return Sparsity(settings=parse(trial.split(",") if trial else []))


class Bench:
    """One network with its images: says which run an arm at a rate is.

    Args:
        data: in place of CIFAR-10's.
    """

    def __init__(self, network: Network, data: Data | None = None, recipe: sc.Recipe = RECIPE):
        self.data, self.recipe = data or images(network.image_size), recipe
        given = {"num_classes": self.data.num_classes, "in_channels": self.data.shape[0]}
        side = list(self.data.shape[1:])
        of_family = {**given, "width": network.width, "image_size": side}
        self.architecture = Architecture.from_factory(network.family, of_family)

    def run(self, arm: str, kept: int | None, seed: int, trial: str = "") -> Run:
        """The run of an arm that keeps so many per cent of the weights; of the dense network, none.

        Raises:
            InputError: where the arm cannot be had with these settings.
        """
        budget = Budget.parse(f"nonzeros={kept or 1}%")
        arms = () if arm == DENSE else (arm,)
        settings = Settings((budget,), arms, recipe=self.recipe, sparsity=sparsity_of(trial))
        if arms:
            chosen(settings)
        question = Comparison(self.architecture, self.data, settings, prunes=False)
        if arm == DENSE:
            return unpruned(Replicate(question, Graph(), seed))
        found = ARMS[arm]
        assert isinstance(found, WeightArm)
        return found.run(question, budget, seed, f"{arm} {trial} {kept}% seed {seed}")


def unpruned(replicate: Replicate) -> Run:
    """The unpruned network's run."""
    run = replicate.dense().run
    assert run is not None
    return run


@cache
def images(size: int | None) -> Data:
    """CIFAR-10: 4,500 training images, 2,000 held out."""
    return load_data("cifar10", limit_train=IMAGES, val_fraction=HELD_OUT / IMAGES, image_size=size)


@dataclass(frozen=True)
class Wanted:
    """A run that is wanted, and what it is for."""

    network: str
    arm: str
    kept: int | None
    seed: int
    trial: str

    def row(self, record: Record) -> dict[str, Any]:
        """What is recorded of it."""
        return {
            "network": self.network,
            "arm": self.arm,
            "kept": self.kept,
            "seed": self.seed,
            "settings": self.trial,
            "val_accuracy": record.val_accuracy,
            "run_id": record.run_id,
            "commit": record.commit,
        }


def there(arms: Sequence[str]) -> list[str]:
    """The arms that this checkout has; of others it is said that they are left out."""
    missing = [arm for arm in arms if arm not in (*ARMS, DENSE)]
    if missing:
        print(f"left out, as this checkout has no such arms: {', '.join(missing)}", file=sys.stderr)
    return [arm for arm in arms if arm not in missing]


def tuning(arms: Sequence[str] = tuple(CONTROLS), seeds: Sequence[int] = TUNING_SEEDS) -> Iterator[Wanted]:
    """Every trial, so that all controls are as far as any other at any time."""
    for seed in seeds:
        for index in range(TRIALS):  # whatever is finished is a budget that all have had
            for arm in arms:
                yield Wanted(TUNED_ON, arm, TUNED_AT, seed, CONTROLS[arm][index])


def comparison(
    network: str, arms: Sequence[str], rates: Sequence[int], seeds: Sequence[int], settings: Mapping[str, str]
) -> Iterator[Wanted]:
    """Every arm with its settings at every rate; the first seed of all comes first."""
    for kept in rates:
        for seed in seeds:
            for arm in arms:
                yield Wanted(network, arm, None if arm == DENSE else kept, seed, settings.get(arm, ""))


def make(wanted: Iterator[Wanted], out: Path, minutes: float | None, reporter: Reporter) -> None:
    """Make what is not there yet; begin none after so many minutes."""
    session, end = Session(RunStore(out), Runtime("cpu"), reporter), time.monotonic() + 60 * (minutes or 1e9)
    for each in wanted:
        if time.monotonic() > end:
            print("the time is up; the same command goes on", file=sys.stderr)
            return
        record = session.make(bench(each.network).run(each.arm, each.kept, each.seed, each.trial))
        print(f"{each} {record.val_accuracy:.1%} {record.wall_s:.0f} s", file=sys.stderr, flush=True)


@cache
def bench(network: str) -> Bench:
    """The network with its images, once."""
    return Bench(NETWORKS[network])


def tuning_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is chosen of the trials: of every control the best mean on validation, at the same seeds.

    Only trials and seeds count that every control has had; a seed counts with at least two trials.
    """
    found = {(row["arm"], row["settings"], row["seed"]): row["val_accuracy"] for row in rows}
    arms = [arm for arm in CONTROLS if any(arm == key[0] for key in found)]

    def had(seed: int) -> int:
        """The trials that every control has had at a seed, from the first on."""
        counts = [
            index for index in range(TRIALS) for arm in arms if (arm, CONTROLS[arm][index], seed) not in found
        ]
        return min(counts, default=TRIALS)

    depths = {seed: depth for seed in sorted({key[2] for key in found}) if (depth := had(seed)) >= 2}
    trials, seeds = min(depths.values(), default=0), list(depths)
    means = {
        arm: {trial: mean(found[arm, trial, seed] for seed in seeds) for trial in CONTROLS[arm][:trials]}
        for arm in (arms if seeds else ())
    }
    return {
        "trials": trials,
        "seeds": seeds,
        "kept": TUNED_AT,
        "network": TUNED_ON,
        "chosen": {arm: max(each, key=lambda trial: each[trial]) for arm, each in means.items()},
        "val_accuracy": means,
    }


def chosen_settings(folder: Path = OUT) -> dict[str, str]:
    """The settings that tuning has chosen, by arm; none where nothing is recorded."""
    path = folder / "tuning.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))["chosen"] if path.is_file() else {}
    return found


def finished(wanted: Iterator[Wanted], store: RunStore) -> list[tuple[Wanted, Record]]:
    """Those that are made, once each; runs of a checkout with changes of its own are no record."""
    found: dict[str, tuple[Wanted, Record]] = {}
    for each in wanted:
        record = store.record(bench(each.network).run(each.arm, each.kept, each.seed, each.trial).run_id)
        if record is None:
            continue
        if record.commit.endswith("changes"):
            sys.exit(f"{record.run_id} was made at {record.commit}: make it again from a clean checkout")
        found[record.run_id] = (each, record)
    return list(found.values())


def record_all(store: RunStore, networks: Sequence[str], seeds: Sequence[int], folder: Path = OUT) -> None:
    """Leave what is finished, and the tables of it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"environment": describe_environment(Runtime("cpu"), RECIPE.precision)}
    trials = [each.row(record) for each, record in finished(tuning(there(list(CONTROLS))), store)]
    if trials:
        write_json(folder / "tuning.json", {**tuning_of(trials), "trials_made": trials, **about})
    settings, arms = chosen_settings(folder), there([DENSE, *CONTROLS])
    rows = [
        {**each.row(record), **_measured(record)}
        for network in networks
        for each, record in finished(comparison(network, arms, RATES, seeds, settings), store)
    ]
    write_json(folder / "comparison.json", {"rows": rows, **about})
    leave_tables(folder)


def _measured(record: Record) -> dict[str, Any]:
    nonzeros, weights = record.counted_weights()
    return {
        "accuracy": record.accuracy,
        "accuracy_before": record.accuracy_before if record.trained is None else None,
        "nonzeros": nonzeros,
        "weights": weights,
    }


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["tune", "compare", "record"])
    parser.add_argument("--network", nargs="+", default=[TUNED_ON], choices=[*NETWORKS])
    parser.add_argument("--rates", type=int, nargs="+", default=[*RATES], help="per cent of weights kept")
    parser.add_argument("--arms", nargs="+", help="by default all")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--minutes", type=float, help="begin no run after so many")
    parser.add_argument("--results", type=Path, default=OUT, help="folder of what is recorded and chosen")
    parser.add_argument("--out", type=Path, default=Path("controls-work"), help="folder of the runs")
    asked = parser.parse_args()
    if asked.what == "tune":
        arms = there(asked.arms or [*CONTROLS])
        make(tuning(arms, asked.seeds or TUNING_SEEDS), asked.out, asked.minutes, Reporter())
    elif asked.what == "compare":
        arms = there(asked.arms or [DENSE, *CONTROLS])
        settings = chosen_settings(asked.results)
        for network in asked.network:
            wanted = comparison(network, arms, asked.rates, asked.seeds or SEEDS, settings)
            make(wanted, asked.out, asked.minutes, Reporter())
    else:
        record_all(RunStore(asked.out), asked.network, asked.seeds or SEEDS, asked.results)


if __name__ == "__main__":
    main()
