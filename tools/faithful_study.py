"""What Dupont et al. 2021's method needs to reach its target: python tools/faithful_study.py [--study NAME]

The method as written (`Reparametrization(mode="faithful")`) is trained for many steps, with the temperatures
t at the weights' own learning rate, as in the paper, and at multiples of it (`t_rate`). On the way
C / C_initial, the temperatures, and the test accuracy before and after a cut of a copy are noted.

    long    a small Conv4 at 8 x 8 pixels, by the paper's plateau, for as many steps as a CPU can give it
    steady  the same at a constant rate: the plateau of so few images lowers it early, and C stands still
    short   the paper's Conv4 at 32 x 32 pixels, by the recipe of `reproduce --scale laptop`
    kernels what eq. (5) by exp2 in place of expm1 (a CPU without a compiler) does to a training: the digits

A run is left in --out as NAME.json and never made twice; study.md is drawn of all of them. The test split
steers nothing: the plateau follows the validation split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from secateur import models
from secateur.atomic import write_bytes, write_json
from secateur.data import Data, load_data
from secateur.device import Runtime
from secateur.methods import Reparametrization
from secateur.methods.gates.gate import gate
from secateur.methods.gates.kernels import Blocked, ClosedForm
from secateur.network.masks import apply_masks, keep_largest, magnitudes
from secateur.network.weights import count_weights, weight_layers
from secateur.progress import Reporter
from secateur.runs.environment import describe_environment
from secateur.training.evaluation import evaluate
from secateur.training.loop import Training
from secateur.training.recipe import Recipe

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Study:
    """One network and recipe, at several rates of t.

    Attributes:
        rates: of t, in rates of the weights.
        budgets: "nonzeros=5%".
        looks: epochs after which everything is measured; the last is the end.
    """

    name: str
    width: float
    pixels: int
    images: int
    recipe: Recipe
    rates: tuple[float, ...]
    budgets: tuple[str, ...]
    seeds: tuple[int, ...]
    looks: tuple[int, ...]
    data: str = "cifar10"


LONG = Recipe(
    epochs=140, batch_size=32, lr=0.05, weight_decay=5e-5, schedule="plateau", gamma=0.3, patience=10
)
SHORT = Recipe(epochs=20, batch_size=64, lr=0.05, weight_decay=5e-5, schedule="cosine", precision="bf16")
DIGITS = Recipe(epochs=20, batch_size=64, lr=0.05, weight_decay=5e-5, schedule="cosine")
KERNELS = {"exp2": "exp2 (a CPU without a compiler)", "expm1": "expm1 (the definition)"}
STUDIES = {
    "long": Study(
        *("long", 0.25, 8, 5000, LONG, (1, 10, 100), ("nonzeros=5%", "nonzeros=1%"), (0, 1)),
        looks=(1, 3, 7, 14, 35, 70, 105, 140),
    ),
    "steady": Study(
        *("steady", 0.25, 8, 5000, replace(LONG, schedule="steps", milestones=())),
        *((1, 1000), ("nonzeros=5%",), (0,)),
        looks=(1, 3, 7, 14, 35, 70, 105, 140),
    ),
    "short": Study(*("short", 1, 32, 5000, SHORT, (10, 100), ("nonzeros=5%",), (0,)), looks=(5, 10, 15, 20)),
}


@dataclass
class Looked:
    """What was seen after so many steps: accuracies on the test split; the smallest and the largest t."""

    steps: int
    remaining: float
    t: tuple[float, float]
    before: float
    after: float


@dataclass
class Watch:
    """Measures a training after the epochs that a study names."""

    study: Study
    training: Training | None = None
    looked: list[Looked] = field(default_factory=list)

    def __call__(self, _checkpoint: Any, _model: Any) -> None:
        training = self.training
        assert training is not None
        if training.progress.epoch not in self.study.looks:
            return
        method, model = training.method, training.model
        assert isinstance(method, Reparametrization)
        ts = [float(gate.t.detach()) for gate in method._gates.values()]
        remaining = method.remaining(model)
        steps = training.progress.epoch * training.batches.per_epoch()
        before, after = self._accuracy(model), self._accuracy(cut_now(model, self.study, method.target))
        self.looked.append(Looked(steps, remaining, (min(ts), max(ts)), before, after))
        print(f"  {self.looked[-1]}", flush=True)

    def _accuracy(self, model: torch.nn.Module) -> float:
        training = self.training
        assert training is not None
        task, precision = training.terms.task, training.recipe.precision
        return evaluate(model, training.data.test, training.data, training.runtime, precision, task)


@torch.no_grad()
def cut_now(model: torch.nn.Module, study: Study, target: int) -> torch.nn.Module:
    """A plain network of the largest apparent weights: what `finalize` would leave now."""
    plain = models.conv4(**{**model.arguments, "width": study.width})  # type: ignore[arg-type]
    theirs = dict(weight_layers(model))
    for name, layer in weight_layers(plain).items():
        layer.weight.copy_(theirs[name].weight)
        layer.bias.copy_(theirs[name].bias)
    apply_masks(plain, keep_largest(magnitudes(plain), target))
    return plain


def run(study: Study, data: Data, rate: float, budget: str, seed: int) -> dict[str, Any]:
    """Train once, and say what was seen."""
    torch.manual_seed(seed)
    model = models.conv4(study.width, data.num_classes, data.shape[0], data.shape[1])
    layers = {name: layer.weight.numel() for name, layer in weight_layers(model).items()}
    watch = Watch(study)
    watch.training = Training(
        model,
        data,
        study.recipe,
        seed=seed,
        runtime=Runtime("cpu"),
        reporter=Reporter(),
        method=Reparametrization(budget, mode="faithful", t_rate=rate),
        epochs=study.recipe.epochs,
        save=watch,
    )
    print(f"{study.name}: {budget}, t at {rate:g} times the rate, seed {seed}", flush=True)
    watch.training.fit()
    return {
        "study": study.name,
        "t_rate": rate,
        "budget": budget,
        "seed": seed,
        "weights": count_weights(model),
        "layers": layers,
        "data": data.label,
        "train": len(data.train),
        "pixels": data.shape[1],
        "width": study.width,
        "recipe": study.recipe.identity(data),
        "looked": [asdict(each) for each in watch.looked],
        "environment": describe_environment(Runtime("cpu"), study.recipe.precision),
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """All studies: a table for each budget, of C / C_initial and the accuracies."""
    if not runs:
        return "Nothing is recorded yet: `python tools/faithful_study.py` makes it.\n"
    lines = []
    for study in dict.fromkeys(run["study"] for run in runs):
        for budget in dict.fromkeys(run["budget"] for run in runs if run["study"] == study):
            chosen = [run for run in runs if (run["study"], run["budget"]) == (study, budget)]
            lines += _one(study, budget, chosen)
    return "\n".join(lines)


def _one(study: str, budget: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    first = runs[0]
    commits = ", ".join(sorted({run["environment"]["commit"] for run in runs}))
    lines = [
        f"**{study}: {budget}, Conv4 of {first['width']:g} times the width ({first['weights']:,} weights)**",
        "",
        "| t's rate | steps | C / C_initial | t (smallest, largest) | before the cut | after it | n |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for rate in sorted({run["t_rate"] for run in runs}):
        mine = [run for run in runs if run["t_rate"] == rate]
        for looks in zip(*(run["looked"] for run in mine), strict=True):
            lines.append(f"| {rate:g} | {' | '.join(_row(looks))} |")
    recipe = first["recipe"]
    return [
        *lines,
        "",
        f"{first['data']} at {first['pixels']} x {first['pixels']} pixels, {first['train']:,} training "
        f"images, batches of {recipe['batch_size']}, at most {recipe['epochs']} epochs, rate "
        f"{recipe['lr']:g}, {_schedule(recipe)}; means over n seeds, ± sample standard deviation; test "
        f"accuracy of the network as trained, and of a copy that was cut there. Commit {commits}.",
        "",
    ]


def _schedule(recipe: Mapping[str, Any]) -> str:
    """Of the rate."""
    return "constant" if recipe["schedule"] == "steps" else str(recipe["schedule"])


def _spread(values: Sequence[float], digits: int, factor: float = 1) -> str:
    """Mean and sample standard deviation."""
    scaled = [factor * value for value in values]
    deviation = f" ± {stdev(scaled):.{digits}f}" if len(scaled) > 1 else ""
    return f"{mean(scaled):.{digits}f}{deviation}"


def _row(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    smallest, largest = (mean(look["t"][end] for look in looks) for end in (0, 1))
    return [
        f"{looks[0]['steps']:,}",
        _spread([look["remaining"] for look in looks], 3),
        f"{smallest:.1f}, {largest:.1f}",
        _spread([look["before"] for look in looks], 1, 100),
        _spread([look["after"] for look in looks], 1, 100),
        str(len(looks)),
    ]


def compare_kernels(out: Path) -> None:
    """Train the digits by both kernels from the same seeds, and write kernels.json and kernels.md."""
    path = out / "kernels.json"
    if not path.exists():
        data, runtime = load_data("digits"), Runtime("cpu")
        runs = [kernel_run(name, seed, data) for seed in range(10) for name in KERNELS]
        write_json(path, {"runs": runs, "environment": describe_environment(runtime, "fp32")})
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| kernel | " + " | ".join(("C / C_initial", "before the cut", "after it", "n")) + " |"]
    lines += ["|---|--:|--:|--:|--:|"]
    for name, meaning in KERNELS.items():
        mine = [run for run in found["runs"] if run["kernel"] == name]
        spreads = [
            _spread([run["remaining"] for run in mine], 6),
            *(_spread([run[key] for run in mine], 2, 100) for key in ("before", "after")),
        ]
        lines.append(f"| {meaning} | {' | '.join(spreads)} | {len(mine)} |")
    lines += ["", "| tx | h | error by exp2, of h |", "|--:|--:|--:|"]
    for x, h, error in errors_near_0():
        lines.append(f"| {x:g} | {h:.2e} | {error:.1e} |")
    recipe = DIGITS.in_words(DIGITS.epochs)
    lines += ["", f"Conv4 x 0.25 on digits, {recipe}. Commit {found['environment']['commit']}.", ""]
    write_bytes(out / "kernels.md", "\n".join(lines).encode())


def kernel_run(name: str, seed: int, data: Data) -> dict[str, Any]:
    """One training of the digits."""
    torch.manual_seed(seed)
    method = Reparametrization("nonzeros=5%", mode="faithful", t_rate=100)
    model = models.conv4(0.25, data.num_classes, data.shape[0], data.shape[1])
    reporter, runtime = Reporter(), Runtime("cpu")
    training = Training(
        model,
        data,
        DIGITS,
        seed=seed,
        runtime=runtime,
        reporter=reporter,
        method=method,
        epochs=DIGITS.epochs,
    )
    for each in method._gates.values():
        each.kernel = Blocked() if name == "exp2" else ClosedForm()
    training.fit()
    remaining = method.remaining(training.model)

    def accuracy() -> float:
        return evaluate(training.model, data.test, data, runtime, "fp32", training.terms.task)

    before = accuracy()
    training.finish()
    return {"kernel": name, "seed": seed, "remaining": remaining, "before": before, "after": accuracy()}


def errors_near_0() -> list[tuple[float, float, float]]:
    """(|tx|, h in float64, by how much of it the kernel by exp2 is wrong)."""
    x, one = torch.tensor([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]), torch.tensor(1.0)
    found = Blocked.forward(x, one, 4, wants_total=False, wants_grad=False).apparent / x
    exact = gate(x.double(), 1.0, 4)
    wrong = ((found - exact) / exact).abs()
    return list(zip(x.tolist(), exact.tolist(), wrong.tolist(), strict=True))


def made(out: Path) -> list[dict[str, Any]]:
    """Every run in the folder, in order."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*_s*.json")]
    return sorted(
        found, key=lambda run: (run["study"], -float(run["budget"][9:-1]), run["t_rate"], run["seed"])
    )


def main() -> None:
    """Make what is not there yet, and draw the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", nargs="*", default=[*STUDIES, "kernels"], choices=[*STUDIES, "kernels"])
    parser.add_argument("--rates", nargs="*", type=float, help="of t, in place of the study's")
    parser.add_argument("--budgets", nargs="*", help="in place of the study's")
    parser.add_argument("--seeds", nargs="*", type=int, help="in place of the study's")
    parser.add_argument("--epochs", type=int, help="fewer than the study's, for less time")
    parser.add_argument("--tables-only", action="store_true", help="train nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "faithful-study")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if "kernels" in asked.study and not asked.tables_only:
        compare_kernels(asked.out)
    named = [STUDIES[name] for name in asked.study if name in STUDIES]
    for study in () if asked.tables_only else named:
        if asked.epochs:
            recipe = replace(study.recipe, epochs=asked.epochs)
            study = replace(study, recipe=recipe, looks=tuple(e for e in study.looks if e <= asked.epochs))
        data = load_data(study.data, limit_train=study.images, image_size=study.pixels)
        for seed in asked.seeds or study.seeds:
            for budget in asked.budgets or study.budgets:
                for rate in asked.rates or study.rates:
                    share = budget.removeprefix("nonzeros=").removesuffix("%")
                    path = asked.out / f"{study.name}_{share}_t{rate:g}_s{seed}.json"
                    if not path.exists():
                        write_json(path, run(study, data, rate, budget, seed))
    write_bytes(asked.out / "study.md", table(made(asked.out)).encode())


if __name__ == "__main__":
    main()
