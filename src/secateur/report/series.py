"""From `results.json` to what is drawn: pure functions, shared by the page and by the figures.

No statistics are made here: mean, standard deviation and interval come from `Results.summary`.
Accuracies leave this file in percent, other metrics as they are (`quantity`).
"""

from __future__ import annotations

import math
import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from secateur.records.point import Point
from secateur.records.record import Epoch
from secateur.records.results import Results, SummaryRow

from .quantity import Quantity, quantity_of
from .style import order

Histories = Mapping[str, Sequence[Epoch]]
"""Run id -> its epochs, which may be read when they are asked for."""


@dataclass(frozen=True)
class Resource:
    """What the budgets of a comparison limit: its key in a row of `results.json`, and its name in words."""

    key: str
    name: str

    def of(self, row: SummaryRow | Point) -> float:
        """How much of it a row or a point has."""
        found = row.count_of(self.key)
        assert found is not None, "Results.check"
        return found


NAMES = {"params": "parameters", "macs": "MACs", "nonzeros": "nonzero weights", "bytes": "bytes on disk"}


def resource_of(results: Results) -> Resource:
    """The resource of a comparison."""
    return Resource(results.resource, NAMES[results.resource])


def zeroes_weights(row: SummaryRow) -> bool:
    """Whether the networks of a row keep weights that are zero."""
    return (row.nonzeros or 0) < (row.weights or 0)


@dataclass(frozen=True)
class Budget:
    """One budget: its text, its limit in units of its resource, and the short label of its line."""

    text: str
    limit: float

    @property
    def label(self) -> str:
        return "≤ " + self.text.rpartition("=")[2]


@dataclass(frozen=True)
class Profile:
    """Channels kept per group, as in Fig. 2c."""

    label: str
    names: tuple[str, ...]
    kept: tuple[float, ...]
    of: tuple[float, ...]

    @property
    def percent(self) -> tuple[float, ...]:
        return tuple(100 * kept / whole for kept, whole in zip(self.kept, self.of, strict=True))


@dataclass(frozen=True)
class Curve:
    """One training run, whose history is looked into when it is drawn.

    Attributes:
        epochs: their numbers.
        val_accuracy: validation accuracy (percent), or the metric, by epoch.
        loss: of training, by epoch.
    """

    run_id: str
    arm: str
    budgets: tuple[str, ...]
    seed: int | None
    history: Sequence[Epoch]
    quantity: Quantity

    @cached_property
    def epochs(self) -> tuple[float, ...]:
        return tuple(epoch.epoch for epoch in self.history)

    @cached_property
    def val_accuracy(self) -> tuple[float | None, ...]:
        return tuple(self.quantity.of(epoch.val_accuracy) for epoch in self.history)

    @cached_property
    def loss(self) -> tuple[float | None, ...]:
        return tuple(epoch.loss if math.isfinite(epoch.loss) else None for epoch in self.history)

    @property
    def where(self) -> str:
        """The budgets the run serves, as text."""
        return ", ".join(self.budgets)


@dataclass(frozen=True)
class Trajectory:
    """Fisher pruning, step by step: validation accuracy (percent), or the metric, against parameters."""

    seed: int
    removed: tuple[int, ...]
    params: tuple[float, ...]
    val_accuracy: tuple[float | None, ...]


def arms(results: Results) -> list[str]:
    """The arms that were measured, in the order of `style.ARMS`."""
    return order(row.arm for row in results.summary)


def budgets(results: Results) -> list[Budget]:
    """The budgets, smallest first."""
    found = {
        Budget(row.budget, row.limit)
        for row in results.summary
        if row.budget is not None and row.limit is not None
    }
    return sorted(found, key=lambda b: (b.limit, b.text))


def points_of_rows(points: Iterable[Point]) -> dict[tuple[str, str | None], list[Point]]:
    """(arm, budget) -> its points, in their order."""
    found: dict[tuple[str, str | None], list[Point]] = {}
    for point in points:
        found.setdefault((point.arm, point.budget), []).append(point)
    return found


def extent(
    values: Sequence[float], pad: float = 0.06, floor: float = -math.inf, ceiling: float = math.inf
) -> list[float]:
    """An axis range around the values with a little air, inside [floor, ceiling]."""
    low, high = min(values), max(values)
    air = pad * (high - low) or min(1.0, 0.1 * abs(high) or 1.0)
    return [max(low - air, floor), min(high + air, ceiling)]


def sample(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, evenly spaced, the first and the last among them.

    Example:
        >>> sample("abcdefg", 3), sample("ab", 3), sample("abc", 1)
        (['a', 'd', 'g'], ['a', 'b'], ['a'])
    """
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / max(1, most - 1))] for index in range(most)]


def seed_count(results: Results) -> str:
    """How many seeds stand behind the points: `3 seeds`, `1 seed`, `2 to 3 seeds`."""
    counts = sorted({row.n for row in results.summary}) or [0]
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} seed{'' if text == '1' else 's'}"


def profiles(results: Results) -> list[Profile]:
    """The profiles that copycat used: averaged over the seeds first where there are several, then each."""
    found = [p for p in results.profiles if p.groups]
    each = [
        Profile(
            f"seed {p.seed} ({p.removed} channels removed)",
            tuple(g.name for g in p.groups),
            tuple(g.kept for g in p.groups),
            tuple(g.of for g in p.groups),
        )
        for p in found
    ]
    if len(each) < 2 or any((p.names, p.of) != (each[0].names, each[0].of) for p in each):
        return each
    kept = tuple(sum(column) / len(each) for column in zip(*(p.kept for p in each), strict=True))
    return [Profile(f"mean over {len(each)} seeds", each[0].names, kept, each[0].of), *each]


def short_names(names: Sequence[str]) -> tuple[str, list[str]]:
    """The dotted prefix that all names share, and what is left of each.

    Example:
        >>> short_names(["blocks.0", "blocks.1"])
        ('blocks', ['0', '1'])
        >>> short_names(["stem", "head"])
        ('', ['stem', 'head'])
    """
    parents = [name.rpartition(".")[0] + "." for name in names]
    shared = os.path.commonprefix(parents).rpartition(".")[0]  # noqa: RUF071  (dotted names, no paths)
    return shared, [name[len(shared) :].removeprefix(".") for name in names]


def curves(results: Results, histories: Histories) -> list[Curve]:
    """One curve per recorded run; a run that serves several budgets (the Fisher trajectory) is one curve."""
    owners: dict[str, tuple[str, list[str], int | None]] = {}
    for row in results.dense:
        owners[row.run_id] = ("dense", ["unpruned"], row.seed)
    limits = [b.text for b in budgets(results)]
    for row in sorted(results.points, key=lambda p: limits.index(p.budget) if p.budget in limits else -1):
        owner = owners.setdefault(row.run_id, (row.arm, [], row.seed))
        if owner[0] == row.arm and row.budget not in owner[1]:
            owner[1].append(row.budget or "no budget")
    ranks = {
        arm: i for i, arm in enumerate([*order(o[0] for o in owners.values() if o[0] != "dense"), "dense"])
    }
    known = sorted(
        (r for r in owners if histories.get(r)),
        key=lambda r: (
            ranks[owners[r][0]],
            [limits.index(b) for b in owners[r][1] if b in limits],
            owners[r][2],
        ),
    )
    quantity = quantity_of(results)
    others = sorted(r for r in histories if r not in owners and histories[r])
    named = [(r, *owners[r]) for r in known] + [(r, "other", ["no point of its own"], None) for r in others]
    return [Curve(r, arm, tuple(where), seed, histories[r], quantity) for r, arm, where, seed in named]


def trajectories(results: Results) -> list[Trajectory]:
    """The Fisher trajectories, one per seed, measured on the validation split."""
    quantity = quantity_of(results)
    return [
        Trajectory(t.seed, t.removed, t.params, tuple(quantity.of(a) for a in t.val_accuracy))
        for t in results.trajectory
        if t.params
    ]
