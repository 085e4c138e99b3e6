"""What results/ has of every arm, a line for each network and budget: for the pages of docs/methods."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from secateur.compare.arms import ARMS
from secateur.records.results import Results

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
DENSE = "dense"
CONTROLS = {
    "small": "resnet18 x0.125 at 16 px, cifar10",
    "resnet18": "resnet18 x0.25, cifar10",
    "vgg19": "vgg19 x0.25, cifar10",
    "conv4": "conv4, cifar10",
}


@dataclass(frozen=True)
class Reached:
    """Accuracies of one arm at one budget, over seeds.

    Attributes:
        mean: in percent.
        std: in percent points; None of one seed.
    """

    arm: str
    mean: float
    std: float | None
    n: int

    @classmethod
    def over(cls, arm: str, accuracies: list[float]) -> Reached:
        """Make it of shares, one a seed."""
        percents = [100 * value for value in accuracies]
        std = statistics.stdev(percents) if len(percents) > 1 else None
        return cls(arm, statistics.fmean(percents), std, len(percents))

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std:.1f}"
        return f"{self.mean:.1f}{spread} ({self.n})"


@dataclass(frozen=True)
class Contest:
    """What was compared: one network on one data set at one budget.

    Attributes:
        file: within the repository.
        reached: of every arm, by name.
    """

    file: str
    where: str
    budget: str
    dense: Reached | None
    reached: dict[str, Reached]

    def place(self, arm: str) -> int:
        """By the mean, 1 is the best; ties share the better one."""
        return 1 + sum(other.mean > self.reached[arm].mean for other in self.reached.values())

    def best_other(self, arm: str) -> Reached | None:
        """The arm of largest mean, but for this one."""
        others = [each for name, each in self.reached.items() if name != arm]
        return max(others, key=lambda each: each.mean, default=None)


@cache
def contests() -> tuple[Contest, ...]:
    """Everything recorded of arms, by file."""
    return (*_comparisons(), *_controls(), *_dupont())


def _comparisons() -> Iterator[Contest]:
    """Comparisons in whole: `results.json`."""
    paths = [
        *sorted(RESULTS.glob("*/results.json")),
        *sorted((RESULTS / "channels-peers").glob("wrn-*.json")),
    ]
    for path in paths:
        results = Results.load(path)
        dense = Reached.over(DENSE, [point.accuracy for point in results.dense])
        where = f"{results.model}, {results.data.label}"
        for budget in dict.fromkeys(point.budget for point in results.points):
            found: dict[str, list[float]] = {}
            for point in results.points:
                if point.budget == budget:
                    found.setdefault(point.arm, []).append(point.accuracy)
            yield Contest(_file(path), where, str(budget), dense, _reached(found))


def _controls() -> Iterator[Contest]:
    """The controls of the exact mode: docs/controls.md."""
    path = RESULTS / "controls" / "comparison.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    yield from _grouped(
        path,
        rows,
        "arm",
        lambda row: CONTROLS[row["network"]],
        lambda row: row["kept"] and f"nonzeros={row['kept']}%",
    )


def _dupont() -> Iterator[Contest]:
    """The paper's tables made again; its rates say what goes."""

    def where(row: dict[str, Any]) -> str:
        return f"{row['network']}, {row['dataset']}"

    def budget(row: dict[str, Any]) -> str | None:
        return row["rate"] and f"nonzeros={100 - int(row['rate'][:-1])}%"

    for path in sorted(RESULTS.glob("dupont2021-laptop*/cells.json")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield from _grouped(path, cells, "method", where, budget)


def _grouped(path: Path, rows: list[dict[str, Any]], key: str, where: Any, budget: Any) -> Iterator[Contest]:
    """Contests of rows that are a seed each; those without a budget are the dense network's."""
    for place in dict.fromkeys(where(row) for row in rows):
        own = [row for row in rows if where(row) == place]
        whole = [row["accuracy"] for row in own if budget(row) is None]
        dense = Reached.over(DENSE, whole) if whole else None
        for asked in dict.fromkeys(budget(row) for row in own):
            found: dict[str, list[float]] = {}
            for row in own:
                if asked is not None and budget(row) == asked:
                    found.setdefault(row[key], []).append(row["accuracy"])
            if found:
                yield Contest(_file(path), place, asked, dense, _reached(found))


def _reached(found: dict[str, list[float]]) -> dict[str, Reached]:
    return {arm: Reached.over(arm, values) for arm, values in found.items() if arm in ARMS}


def _file(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
