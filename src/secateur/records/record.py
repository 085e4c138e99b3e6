"""`record.json` of a run: what was trained, what it came to, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from secateur.errors import InputError
from secateur.records.found import Found
from secateur.records.measure import ACCURACY, Measure
from secateur.records.stored import ABSENT, Absent, Stored, Wrong, check_id, optional, rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch(Stored):
    """One epoch of a run, as its history has it.

    Attributes:
        epoch: from 1.
        loss: mean over the examples seen, at least 0.
        train_accuracy, val_accuracy, test_accuracy: fractions in [0, 1], or the run's metric; on training
            only accuracies, on validation where it was measured, on test where the recipe selects on it.
        lr: the rate, above 0.
        params: of the network at the end of the epoch.
        more: the method's own numbers, e.g. "removed", "remaining" or "nonzeros"; written beside the others.
    """

    epoch: int
    loss: float
    train_accuracy: float | None
    val_accuracy: float | None = None
    test_accuracy: float | None = optional()
    lr: float
    params: int
    more: Mapping[str, float] = rest()

    def __post_init__(self) -> None:
        assert not set(self.more) & {each.name for each in fields(self)}, (
            "a method's number has a name of ours"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal(Stored):
    """One channel that pruning removed, in order.

    Attributes:
        group, channel: which, counted in the network before pruning.
        params, macs, nonzeros, bytes: of the network that had it still; bytes where they are limited.
        examples: training examples seen since the removal before; 0 for further channels of one granule.
        val_accuracy, test_accuracy: of the network that had it still, in [0, 1], or the run's metric; where
            the run was asked to measure before removals.
    """

    group: str
    channel: int
    params: int
    macs: int
    nonzeros: int | None = optional()
    bytes: int | None = optional()
    examples: int
    val_accuracy: float | None = optional()
    test_accuracy: float | None = optional()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Stored):
    """One finished run. Optional keys are None where the run has no such thing, or an older version wrote it.

    Attributes:
        run_id: kind, hash of `identity`, seed: "train-2bc92b92550b-s0".
        label: the run in words.
        identity: all that can change a number, as JSON (`secateur.runs.identity`).
        architecture: the finished network's `Architecture.identity()`, as JSON.
        params, macs, weights, nonzeros, bytes: of the finished network; MACs of one example.
        accuracy, val_accuracy: on the test and the validation split, in [0, 1]; or the value of `metric`.
        metric: what these are, where they are no accuracies.
        also: further metrics on the test split, by name.
        train_compute: training MACs of this run alone.
        wall_s: seconds of this run alone.
        history: one row an epoch.
        removed: the channels, in order; of runs that remove one after the other.
        trajectory: what all runs that remove channels in the same order have in common.
        trained: the run that this one went on from.
        accuracy_before, val_accuracy_before: right before weights were set to zero.
        accuracy_after_cut, val_accuracy_after_cut: right behind it, where training went on from there.
        remaining: the share of weights that the method counted as kept then; None: it counts none.
        limits: resource -> units, where a latency is among them (in nanoseconds).
        latency, latency_ns: measured last, in words and in nanoseconds.
        granularity: what layers keep channels in multiples of, where the runtime of a latency was asked.
        left_out: channel groups that could have no gates -> why.
        environment: versions, device, commit, date, as JSON.
        uncounted: operators whose cost nobody knows -> calls.
        data: what the data were understood to be; None where they were made by hand, or by older versions.
        files: SHA-256 of the network's files and of the scores, by name; older versions' have none.
    """

    SCHEMA: ClassVar[int | None] = 1
    SEALED: ClassVar[bool] = True
    FREE: ClassVar[tuple[str, ...]] = ("label",)
    AGAIN: ClassVar[str] = "delete the run's folder, and the same command makes it again"

    run_id: str
    label: str
    seed: int
    identity: Mapping[str, Any]
    architecture: Mapping[str, Any]
    params: int
    macs: int
    weights: int | None = optional()
    nonzeros: int | None = optional()
    bytes: int | None = optional()
    accuracy: float
    val_accuracy: float
    metric: Measure | None = optional()  # noqa: RUF009  # a field
    also: Mapping[str, float] | None = optional()  # a field
    train_compute: int
    wall_s: float
    history: tuple[Epoch, ...]
    removed: tuple[Removal, ...] | None = optional()
    trajectory: str | None = optional()
    trained: str | None = optional()
    accuracy_before: float | None = optional()
    val_accuracy_before: float | None = optional()
    accuracy_after_cut: float | None = optional()
    val_accuracy_after_cut: float | None = optional()
    remaining: float | Absent | None = optional(ABSENT)  # noqa: RUF009  # a field
    limits: Mapping[str, int] | None = optional()
    latency: str | None = optional()
    latency_ns: int | None = optional()
    granularity: int | None = optional()
    left_out: Mapping[str, str] | None = optional()
    environment: Mapping[str, Any]
    uncounted: Mapping[str, int] | None = optional()
    data: Found | None = optional()  # noqa: RUF009  # a field
    files: Mapping[str, str] | None = optional()

    def check(self) -> None:
        """The two keys of an architecture that are read here; the ids of runs are names."""
        check_id("run_id", self.run_id)
        check_id("trained", self.trained)
        widths, names = self.architecture.get("widths"), self.architecture.get("groups", [])
        if not isinstance(widths, list) or not all(type(width) is int for width in widths):
            raise Wrong("a list of whole numbers", widths).inside("architecture.widths")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Wrong("a list of names", names).inside("architecture.groups")

    @property
    def measure(self) -> Measure:
        """What the accuracies are."""
        return self.metric or ACCURACY

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every group of the finished network."""
        return tuple(self.architecture["widths"])

    @property
    def group_names(self) -> tuple[str, ...] | None:
        """Of every group, where the architecture says them; a built-in family knows its own."""
        return tuple(self.architecture["groups"]) if "groups" in self.architecture else None

    @property
    def share_remaining(self) -> float | None:
        """`remaining`, None also where it was not asked for."""
        return None if isinstance(self.remaining, Absent) else self.remaining

    @property
    def epochs(self) -> int:
        """How many were trained, a part of one counted as one."""
        return len(self.history)

    @property
    def commit(self) -> str:
        """Of the checkout that it was made with."""
        return str(self.environment.get("commit"))

    @property
    def threads(self) -> int:
        """That it was made with."""
        return self.environment.get("threads", 0)

    def count_of(self, resource: str) -> int:
        """What the network has of "params", "macs", "nonzeros" or "bytes"; 0 where nothing is said."""
        counts = {"params": self.params, "macs": self.macs, "nonzeros": self.nonzeros, "bytes": self.bytes}
        return counts.get(resource) or 0

    def counted_weights(self) -> tuple[int, int]:
        """Nonzeros and weights.

        Raises:
            InputError: where the record is of a version that counted neither.
        """
        if self.nonzeros is None or self.weights is None:
            raise InputError(
                f"the record of {self.run_id} must count weights and nonzeros, got none: {self.AGAIN}"
            )
        return self.nonzeros, self.weights
