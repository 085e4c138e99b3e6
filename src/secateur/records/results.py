"""`results.json` of a comparison: its question, every point, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from secateur.records.advice import Advice
from secateur.records.failed import FailedRun, Missing
from secateur.records.found import Found
from secateur.records.measure import ACCURACY, Measure
from secateur.records.point import Point
from secateur.records.shown import Shown
from secateur.records.stored import Stored, Wrong, optional

RESOURCES = ("params", "macs", "nonzeros", "bytes")


def counted_for(resource: str) -> str:
    """What tables show the size of networks in, by what budgets limit."""
    return resource if resource in ("nonzeros", "bytes") else "params"


"""What the budgets of a comparison can limit."""
PAIRED, BOUNDED, SEEDS = "paired", "bounded", "seeds"
"""What is known of the test split's own error: see `BudgetVerdict.basis`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary(Stored):
    """The data that was compared on.

    Attributes:
        name, label: as the user named it, and as pages show it.
        train, val, test: examples in each split.
        classes: how many.
        shape: of one example.
        fingerprint: hash of all that can change a number.
        found: what the data were understood to be; None in results of older versions.
    """

    name: str
    label: str
    train: int
    val: int
    test: int
    classes: int
    shape: tuple[int, ...]
    fingerprint: str
    found: Found | None = optional()  # noqa: RUF009  # a field


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow(Stored):
    """One arm at one budget, over the seeds.

    Attributes:
        budget: as the user wrote it; None for the unpruned network.
        limit: the budget in units of its resource.
        n: seeds.
        mean, std: accuracy on the test split, in [0, 1]; std is the sample's, None with one seed.
        half, low, high: half the width of the mean's 95% interval, and its bounds; None with one seed.
        seeds, values: the seeds, and the accuracy of each; empty in files of older versions.
        val_mean: mean accuracy on the validation split.
        params to wall_s: means over the seeds, as in a `Point`.
        nonzeros, weights, accuracy_before, accuracy_after_cut, bytes: means; there where every point of the
            row has them.
    """

    arm: str
    budget: str | None
    limit: int | None
    n: int
    mean: float
    std: float | None
    half: float | None = None
    low: float | None
    high: float | None
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    val_mean: float
    params: float
    macs: float
    train_compute: float
    discovery_compute: float
    wall_s: float
    nonzeros: float | None = optional()
    weights: float | None = optional()
    accuracy_before: float | None = optional()
    accuracy_after_cut: float | None = optional()
    bytes: float | None = optional()

    def count_of(self, resource: str) -> float | None:
        """What its networks have of one of `RESOURCES` on average; None where nothing is said."""
        return {"params": self.params, "macs": self.macs, "nonzeros": self.nonzeros, "bytes": self.bytes}[
            resource
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileGroup(Stored):
    """Channels `kept` of those that a group had (`of`)."""

    name: str
    kept: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Stored):
    """What was left of every group when `removed` channels were gone: where copycat takes its profile."""

    seed: int
    removed: int
    groups: tuple[ProfileGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory(Stored):
    """One pruning run, epoch by epoch: channels gone, parameters left, validation accuracy where measured."""

    seed: int
    removed: tuple[int, ...]
    params: tuple[int, ...]
    val_accuracy: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap(Stored):
    """How much better the leader is than one of the others, on the test split.

    Attributes:
        arm: the other.
        gap: in the metric's unit; above 0 where the leader is better.
        low, high: its 95% interval, over seeds and test examples; this comparison's alone.
        p, p_corrected: two-sided, by itself and as one of all comparisons with the leader.
        visible: the smallest true gap that is found in four of five such comparisons.
        seeds_needed, examples_needed: how many would show this gap in four of five cases; None: none would.
    """

    arm: str
    gap: float
    low: float
    high: float
    p: float
    p_corrected: float
    visible: float
    seeds_needed: int | None = None
    examples_needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetVerdict(Stored):
    """What can be said at one budget.

    Attributes:
        limit: the budget in units of its resource.
        leader: the arm with the best mean on the validation and the test split together.
        winner: the leader, where it is better than every other on the test split beyond doubt; else None.
        not_separated, behind: the other arms, by whether the leader is clearly better.
        text: the same in words.
        gaps: of the leader to each of the others, in their order; empty with one seed, and in files of
            versions that compared intervals.
        basis: what the test split's own error was taken from: "paired", image by image; "bounded", by the
            accuracies alone; "seeds", it is not counted, as the metric is no share of examples.
    """

    budget: str
    limit: int
    leader: str
    winner: str | None
    not_separated: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    text: str
    gaps: tuple[Gap, ...] = ()
    basis: str | None = optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict(Stored):
    """One plain sentence, and what is said at each budget, largest first."""

    text: str
    per_budget: tuple[BudgetVerdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Results(Stored):
    """A comparison as `results.json` holds it.

    Attributes:
        command: that gives it again.
        metric: what the accuracies of points and summary are, where they are none.
        settings: what was compared and how it was trained, as JSON: names, numbers and texts.
        dense: the unpruned network, a point for each seed; empty where it was not trained.
        points: one for each arm, budget and seed.
        summary: one row for each arm and budget; `dense_summary` that of `dense`.
        profiles: where copycat took them, one a seed; else empty.
        trajectory: of the runs that removed channels one by one, one a seed; else empty.
        environment: that it was drawn up with, as JSON, and with which commits and threads it was trained.
        question: a hash of network, data and settings; None in files of older versions.
        advice: what to do with it; None in files of older versions, and where nothing is finished.
        failed: the runs that failed; missing: the networks that are not there for it. Both mostly empty.
    """

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "run the comparison's command again"

    command: str
    metric: Measure | None = optional()  # noqa: RUF009  # a field
    model: str
    data: DataSummary
    settings: Mapping[str, Any]
    dense: tuple[Point, ...] = ()
    points: tuple[Point, ...]
    summary: tuple[SummaryRow, ...]
    dense_summary: SummaryRow | None = None
    profiles: tuple[Profile, ...] = ()
    trajectory: tuple[Trajectory, ...] = ()
    verdict: Verdict
    environment: Mapping[str, Any]
    question: str | None = optional()
    advice: Advice | None = optional()  # noqa: RUF009  # a field
    failed: tuple[FailedRun, ...] = optional(())  # a field
    missing: tuple[Missing, ...] = optional(())  # a field

    def check(self) -> None:
        """The one setting that is read here, and that all networks have a count of what it names."""
        if self.resource not in RESOURCES:
            raise Wrong(f"one of {', '.join(RESOURCES)}", self.resource).inside("settings.resource")
        counted: dict[str, Sequence[Point | SummaryRow]] = {"points": self.points, "summary": self.summary}
        for name, rows in counted.items():
            for index, row in enumerate(rows):
                if row.count_of(self.resource) is None:
                    raise Wrong("there").inside(f"{name}[{index}].{self.resource}")

    @property
    def measure(self) -> Measure:
        """What the accuracies are."""
        return self.metric or ACCURACY

    def __repr__(self) -> str:
        return self.shown().text()

    def _repr_html_(self) -> str:
        return self.shown().html()

    def shown(self, *more: str) -> Shown:
        """The verdict, with a line for each arm at each budget; below it the advice, and lines `more`."""
        counted = counted_for(self.resource)
        name = self.measure.name
        rows = [
            (
                f"{row.arm} {row.budget}",
                f"{row.count_of(counted) or 0:,.0f}",
                self.measure.plain(row.mean),
                "" if row.low is None or row.high is None else self._interval(row.low, row.high),
                str(row.n),
            )
            for row in self.summary
        ]
        title = f"{self.verdict.text} ({self.model} on {self.data.label})"
        told = [self.advice.text] if self.advice else []
        told += [f"failed: {each.label}: {each.error}" for each in self.failed]
        return Shown(title, ("arm", counted, name, "95% interval", "seeds"), rows, (*told, *more))

    def _interval(self, low: float, high: float) -> str:
        return f"{self.measure.plain(low)} to {self.measure.plain(high)}"

    @property
    def resource(self) -> str:
        """What the budgets limit; where nothing is said, as in older results, parameters."""
        return self.settings.get("resource", "params")
