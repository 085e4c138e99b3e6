"""What the settings of the exact mode's early cut are worth: python tools/exact_study.py run --network small

Every variant is a training of 12 epochs, on 4,500 images of CIFAR-10, measured on 4,500 others of the
training split, the validation split here; the test split is not looked at. What is left, in --out (by
default results/exact-study), is a line for each run: what the network is worth right before the cut, right
after it and at the end. A second command skips what is there. `table` makes table.md of it: means over the
seeds, and the difference from the variant "50/65" at the same seeds, with its 95% interval.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from studied import NETWORKS, Network

import secateur as sc
from secateur.atomic import write_json
from secateur.compare.summary import interval
from secateur.data import Data
from secateur.device import Runtime
from secateur.methods import GradualMagnitude, Method, Reparametrization
from secateur.network.masks import count_nonzeros
from secateur.progress import Reporter
from secateur.runs.environment import describe_environment
from secateur.training.batches import steps_per_epoch
from secateur.training.loop import Training

OUT = Path(__file__).parents[1] / "results" / "exact-study"
RECIPE = sc.Recipe(
    epochs=12, batch_size=64, lr=0.05, momentum=0.9, weight_decay=5e-5, schedule="cosine", precision="bf16"
)


@dataclass(frozen=True)
class Variant:
    """What differs from the defaults.

    Attributes:
        settings: of `Reparametrization`.
        recipe: fields of the recipe.
        restart: the rate goes over its cosine anew after the cut, from this share of the first rate on; None:
            it goes on as it was.
        method: "exact", or a control.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    restart: float | None = None
    method: str = "exact"


def cut(end: float, at: float, **more: Any) -> Variant:
    """C falls until `end`, n rises until `at`, where the weights go."""
    return Variant({"end": end, "sharpen_until": at, "cut_at": at, **more})


VARIANTS = {
    "50/65": cut(0.5, 0.65),
    "cut at the end": Variant({"cut_at": 1.0}),
    "30/45": cut(0.3, 0.45),
    "40/55": cut(0.4, 0.55),
    "60/75": cut(0.6, 0.75),
    "70/85": cut(0.7, 0.85),
    "50/55": cut(0.5, 0.55),
    "50/60": cut(0.5, 0.6),
    "50/80": cut(0.5, 0.8),
    "n to 4": cut(0.5, 0.65, n_final=4),
    "n to 16": cut(0.5, 0.65, n_final=16),
    "n to 32": cut(0.5, 0.65, n_final=32),
    "n to 128": cut(0.5, 0.65, n_final=128),
    "n to 256": cut(0.5, 0.65, n_final=256),
    "n from 2": cut(0.5, 0.65, n=2),
    "n from 8": cut(0.5, 0.65, n=8),
    "from the first step": cut(0.5, 0.65, start=0.0),
    "floor 0.1": cut(0.5, 0.65, floor=0.1),
    "floor 0.3": cut(0.5, 0.65, floor=0.3),
    "floor 0.6": cut(0.5, 0.65, floor=0.6),
    "solved every step": cut(0.5, 0.65, solve_every=1),
    "solved every 16 steps": cut(0.5, 0.65, solve_every=16),
    "rate restarted at 1": replace(cut(0.5, 0.65), restart=1.0),
    "rate restarted at 0.5": replace(cut(0.5, 0.65), restart=0.5),
    "40/55, n to 16": cut(0.4, 0.55, n_final=16),
    "40/55, n to 8": cut(0.4, 0.55, n_final=8),
    "40/45, n to 16": cut(0.4, 0.45, n_final=16),
    "30/45, n to 16": cut(0.3, 0.45, n_final=16),
    "50/65, n to 8": cut(0.5, 0.65, n_final=8),
    "40/55, n to 16, floor 0.1": cut(0.4, 0.55, n_final=16, floor=0.1),
    "40/55, n to 16, rate restarted at 1": replace(cut(0.4, 0.55, n_final=16), restart=1.0),
    "40/55, n to 16, rate restarted at 0.7": replace(cut(0.4, 0.55, n_final=16), restart=0.7),
    "n to 16, rate restarted at 1": replace(cut(0.5, 0.65, n_final=16), restart=1.0),
    "n to 32, rate restarted at 1": replace(cut(0.5, 0.65, n_final=32), restart=1.0),
    "floor 0.3, rate restarted at 1": replace(cut(0.5, 0.65, floor=0.3), restart=1.0),
    "gradual-magnitude": Variant(method="gradual-magnitude"),
    "dense": Variant(method="dense"),
}


class Restarted(Training):
    """A training whose rate goes over its schedule anew after the cut, from a share of the first rate on."""

    restart = 1.0

    def lr_after(self, batches: int) -> float:
        again = self.method.schedule_place is not None
        return super().lr_after(batches) * (self.restart if again else 1.0)


@cache
def images(size: int | None) -> Data:
    """4,500 to train on, and 4,500 others to measure on; the test split is not looked at."""
    data = sc.load_data("cifar10", limit_train=9000, val_fraction=0.5, image_size=size)
    return replace(data, test=data.val)


def method_of(variant: Variant, percent: str, steps: int) -> Method:
    """The method of a variant."""
    budget = f"nonzeros={percent}%"
    if variant.method == "exact":
        return Reparametrization(budget, steps=steps, restart=variant.restart is not None, **variant.settings)
    if variant.method == "gradual-magnitude":
        return GradualMagnitude(budget, steps=steps, **variant.settings)
    assert variant.method == "dense"
    return Method()


def train(network: Network, percent: str, variant: Variant, seed: int, runtime: Runtime) -> dict[str, Any]:
    """One run: accuracies on the validation split before the cut, behind it, and at the end."""
    started, data = time.perf_counter(), images(network.image_size)
    recipe = replace(RECIPE, **variant.recipe)
    architecture = sc.Architecture.from_factory(
        network.family,
        {
            "width": network.width,
            "num_classes": data.num_classes,
            "in_channels": data.shape[0],
            "image_size": list(data.shape[1:]),
        },
    )
    method = method_of(variant, percent, steps_per_epoch(data, recipe, 1) * recipe.epochs)
    training = Restarted(
        architecture.build(seed=seed), data, recipe,
        seed=seed, runtime=runtime, reporter=Reporter(), method=method, epochs=recipe.epochs,
    )  # fmt: skip
    training.restart = variant.restart or 1.0
    training.fit()
    method.before_evaluation(training.model)
    around = training.progress.cut or {"val_accuracy_before": training.validated()}
    training.finish()
    return {
        "before": around["val_accuracy_before"],
        "after_cut": around.get("val_accuracy_after_cut"),
        "accuracy": training.validated(),
        "nonzeros": count_nonzeros(training.model),
        "wall_s": round(time.perf_counter() - started, 1),
    }


def run(asked: argparse.Namespace) -> None:
    """Make the runs asked for that are not there yet."""
    path = asked.out / f"{asked.network}.json"
    runtime = Runtime("cpu")
    environment = describe_environment(runtime, RECIPE.precision)
    for percent in asked.percent:
        for seed in asked.seeds:
            for name in asked.variants:
                key = {"percent": percent, "variant": name, "seed": seed}
                held = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
                if any(all(each[k] == v for k, v in key.items()) for each in held):
                    continue
                found = train(NETWORKS[asked.network], percent, VARIANTS[name], seed, runtime)
                found["commit"] = environment["commit"]
                print(key, found, file=sys.stderr, flush=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, {"runs": [*held, {**key, **found}], "environment": environment})


def table(out: Path) -> str:
    """A row for each network, share of the weights and variant."""
    lines = [
        "| network | kept | variant | seeds | before the cut | after it | at the end | against 50/65 |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for network in NETWORKS:
        path = out / f"{network}.json"
        held = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else []
        for percent in dict.fromkeys(each["percent"] for each in held):
            here = [each for each in held if each["percent"] == percent]
            for name in (name for name in VARIANTS if any(each["variant"] == name for each in here)):
                own = [each for each in here if each["variant"] == name]
                cells = [points([each[key] for each in own]) for key in ("before", "after_cut", "accuracy")]
                against = difference(own, [each for each in here if each["variant"] == "50/65"])
                row = [in_words(NETWORKS[network]), f"{percent}%", name, str(len(own)), *cells, against]
                lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, ""])


def in_words(network: Network) -> str:
    """Its name, with its width and the side of its images where these were made smaller."""
    size = f" at {network.image_size}x{network.image_size}" if network.image_size else ""
    return f"{network.family} x{network.width:g}{size}"


def points(values: Sequence[float | None]) -> str:
    """The mean in percent; a dash where there is none."""
    known = [value for value in values if value is not None]
    return f"{100 * mean(known):.1f}" if len(known) == len(values) else "–"


def difference(own: Sequence[Mapping[str, Any]], base: Sequence[Mapping[str, Any]]) -> str:
    """Points above the base at the same seeds, with the 95% interval of their mean."""
    by_seed = {each["seed"]: each["accuracy"] for each in base}
    apart = [100 * (each["accuracy"] - by_seed[each["seed"]]) for each in own if each["seed"] in by_seed]
    if own == base or not apart:
        return "–"
    if len(apart) < 2:
        return f"{apart[0]:+.1f}"
    found = interval(apart, share=False)
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f})"


def main() -> None:
    """Run, or write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--network", choices=[*NETWORKS], default="small")
    parser.add_argument("--variants", nargs="*", choices=[*VARIANTS], default=[*VARIANTS])
    parser.add_argument("--percent", nargs="*", default=["1", "5"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3])
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    if asked.what == "run":
        run(asked)
    else:
        (asked.out / "table.md").write_text(table(asked.out), encoding="utf-8")
        print(table(asked.out))


if __name__ == "__main__":
    main()
