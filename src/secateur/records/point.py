"""A point: one network of a comparison, as a line of `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from secateur.records.measure import ACCURACY, Measure
from secateur.records.record import Record
from secateur.records.stored import ABSENT, Absent, Stored, check_id, optional


@dataclass(frozen=True, slots=True, kw_only=True)
class Point(Stored):
    """One network: which arm made it for which budget, what it is worth and what it cost.

    Attributes:
        budget: as the user wrote it; None for the network that nothing was cut from.
        params to uncounted, metric, also: as in the run's `Record`.
        train_compute, wall_s: of all training that this network itself went through.
        discovery_compute: training MACs that finding its architecture took besides.
        run_id: the run that made it.
        epochs: that it was trained; None where pruning ended when the budget was met.
        widths: group -> channels.
    """

    arm: str
    budget: str | None
    seed: int
    params: int
    nonzeros: int | None = optional()
    weights: int | None = optional()
    accuracy_before: float | None = optional()
    val_accuracy_before: float | None = optional()
    accuracy_after_cut: float | None = optional()
    val_accuracy_after_cut: float | None = optional()
    remaining: float | Absent | None = optional(ABSENT)  # noqa: RUF009  # a field
    bytes: int | None = optional()
    latency: str | None = optional()
    latency_ns: int | None = optional()
    limits: Mapping[str, int] | None = optional()
    uncounted: Mapping[str, int] | None = optional()
    macs: int
    accuracy: float
    val_accuracy: float
    metric: Measure | None = optional()  # noqa: RUF009  # a field
    also: Mapping[str, float] | None = optional()  # a field
    train_compute: int
    discovery_compute: int
    wall_s: float
    run_id: str
    epochs: int | None
    widths: Mapping[str, int]

    AGAIN: ClassVar[str] = "run the command that left it again"

    def check(self) -> None:
        """A run's id is a name."""
        check_id("run_id", self.run_id)

    @property
    def measure(self) -> Measure:
        """What the accuracies are."""
        return self.metric or ACCURACY

    def __repr__(self) -> str:
        what = " ".join(filter(None, (self.arm, self.budget, f"seed {self.seed}")))
        return (
            f"<Point {what}: {self.measure.shown(self.accuracy)}, {self.params:,} params, {self.macs:,} MACs>"
        )

    def count_of(self, resource: str) -> int | None:
        """What the network has of "params", "macs", "nonzeros" or "bytes"; None where nothing is said."""
        counts = {"params": self.params, "macs": self.macs, "nonzeros": self.nonzeros, "bytes": self.bytes}
        return counts[resource]

    @classmethod
    def of(
        cls,
        record: Record,
        arm: str,
        budget: str | None,
        names: Sequence[str],
        *,
        before: Record | None = None,
        discovery_compute: int = 0,
        epochs: int | None = None,
    ) -> Self:
        """The point of a run's network.

        Args:
            record: of the run that made the network.
            budget: as the user wrote it; None for the network that nothing was cut from.
            names: of the network's groups.
            before: the run it continued from, whose cost is its own too.
            discovery_compute: training MACs that finding the architecture took.
        """
        return cls(
            arm=arm,
            budget=budget,
            seed=record.seed,
            params=record.params,
            nonzeros=record.nonzeros,
            weights=record.weights,
            accuracy_before=record.accuracy_before,
            val_accuracy_before=record.val_accuracy_before,
            accuracy_after_cut=record.accuracy_after_cut,
            val_accuracy_after_cut=record.val_accuracy_after_cut,
            remaining=record.remaining,
            bytes=record.bytes,
            latency=record.latency,
            latency_ns=record.latency_ns,
            limits=record.limits,
            uncounted=record.uncounted,
            macs=record.macs,
            accuracy=record.accuracy,
            val_accuracy=record.val_accuracy,
            metric=record.metric,
            also=record.also,
            train_compute=record.train_compute + (before.train_compute if before else 0),
            discovery_compute=discovery_compute,
            wall_s=record.wall_s + (before.wall_s if before else 0.0),
            run_id=record.run_id,
            epochs=epochs,
            widths=dict(zip(names, record.widths, strict=True)),
        )
