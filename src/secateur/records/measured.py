"""What a saved network comes to where it runs: `measured.json`, which `secateur measure` leaves beside it.

Convention for times: of one batch, in evaluation mode, after warm-up, every runtime in a process of its own,
the network as it is ("now") and before pruning ("before") in turns. docs/measure.md says how the rest is
counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from secateur.records.manifest import digest_of
from secateur.records.shown import Shown
from secateur.records.stored import Stored, Wrong, optional

FORMAT = "secateur-measured"
MEASURED_FILE = "measured.json"

NOW, BEFORE = "now", "before"
"""The network as it lies in the folder, and as it was before pruning, at the same inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes(Stored):
    """How large a network is, whatever runs it; of one example, where examples matter.

    Attributes:
        file_bytes: of its weights on disk; of the network before pruning, as it would be written.
        params: trainable scalars; weights: those of convolutions and linear layers.
        nonzeros: of the weights, those that are not zero.
        macs: multiply-accumulates.
        nonzero_macs: of these, those with a weight that is not zero, and all that have no weight.
        peak_activation_bytes: the largest sum of activations that live while one operator runs; None: the
            network cannot be traced.
    """

    file_bytes: int
    params: int
    weights: int
    nonzeros: int
    macs: int
    nonzero_macs: int
    peak_activation_bytes: int | None

    @property
    def zeros(self) -> float:
        """The share of the weights that are zero."""
        return (self.weights - self.nonzeros) / self.weights if self.weights else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing(Stored):
    """How long one network takes on one runtime.

    Attributes:
        which: NOW or BEFORE.
        runtime, version: what ran it.
        batch: examples at a time; threads: of the CPU.
        median_ns, p95_ns: nanoseconds for one batch, over `n` runs; `low_ns` to `high_ns` is the median's 95%
            interval.
        device: "cpu (...)" or "cuda (...)"; dtype: the network's, "float32" for example.
        arena_bytes: of the C runtime: all memory that a call needs, the weights apart.
    """

    which: str
    runtime: str
    version: str
    batch: int
    threads: int
    median_ns: int
    low_ns: int
    high_ns: int
    p95_ns: int
    n: int
    device: str
    dtype: str
    arena_bytes: int | None = optional()  # a field

    def check(self) -> None:
        """What types do not say."""
        if self.which not in (NOW, BEFORE):
            raise Wrong(f"'{NOW}' or '{BEFORE}'", self.which).inside("which")
        for name in ("batch", "threads", "median_ns", "low_ns", "high_ns", "p95_ns", "n"):
            if getattr(self, name) < 1:
                raise Wrong("at least 1", getattr(self, name)).inside(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed(Stored):
    """What pruning brought on one runtime.

    Attributes:
        speedup: the time before over the time now, the median of the ratios of neighbouring runs, with its
            95% interval from `low` to `high`; above 1 it is faster.
    """

    runtime: str
    speedup: float
    low: float
    high: float

    def check(self) -> None:
        """What types do not say."""
        if not 0 < self.low <= self.speedup <= self.high:
            raise Wrong("within its interval, above 0", [self.low, self.speedup, self.high]).inside("speedup")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotMeasured(Stored):
    """A runtime without numbers.

    Attributes:
        why: in a line.
        failed: whether it was there and broke off; else it is not installed.
    """

    runtime: str
    why: str
    failed: bool


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Measured(Stored):
    """A network, measured: sizes and times, now and before pruning.

    Attributes:
        format: what the file says that it is.
        network: for people: "wrn-16-1", or the folder's name.
        weights_sha256: the first 16 hex digits of the hash of its file of weights: of another file these are
            not the numbers.
        now, before: sizes; before is None where nobody knows the network before pruning.
        timings: a row for each runtime, now and before.
        speeds: a row for each runtime of which both are known.
        not_measured: the runtimes asked for, or known, that gave no numbers.
        remarks: what should be known of the numbers: what sparsity brings on which runtime.
        versions: of secateur, torch and Python.
        platform: the system.
    """

    SCHEMA: ClassVar[int | None] = 1
    SEALED: ClassVar[bool] = True
    AGAIN: ClassVar[str] = "measure it again: secateur measure FOLDER"

    format: str = FORMAT
    network: str
    weights_sha256: str
    now: Sizes
    before: Sizes | None
    timings: tuple[Timing, ...]
    speeds: tuple[Speed, ...]
    not_measured: tuple[NotMeasured, ...] = ()
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str]
    platform: str

    def check(self) -> None:
        """What types do not say."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")

    @classmethod
    def of(cls, weights: Path) -> Self | None:
        """What was measured of a network, by its file of weights; None: nothing was, or it is of others.

        Raises:
            InputError: where `measured.json` beside them is damaged.
        """
        path = weights.parent / MEASURED_FILE
        if not path.is_file() or not weights.is_file():
            return None
        found = cls.load(path)
        return found if found.weights_sha256 == hash_of(weights) else None

    def timing(self, runtime: str, which: str = NOW) -> Timing | None:
        """How long the network took on a runtime; None where that was not measured."""
        found = (row for row in self.timings if (row.runtime, row.which) == (runtime, which))
        return next(found, None)

    def speed(self, runtime: str) -> Speed | None:
        """What pruning brought on a runtime; None where that is not known."""
        return next((row for row in self.speeds if row.runtime == runtime), None)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Those with numbers, in order."""
        return tuple(dict.fromkeys(row.runtime for row in self.timings))

    def tables(self) -> tuple[Shown, Shown]:
        """Sizes, and times with what is to be said: the same in a shell, in a notebook and on the page."""
        return Shown(self.network, SIZE_HEADS, self._size_rows()), Shown(
            self.setting, TIME_HEADS, self._time_rows(), self.notes()
        )

    @property
    def setting(self) -> str:
        """How times were measured, in words."""
        return setting_of(self.timings)

    def notes(self) -> list[str]:
        """What sparsity brings, what was not measured and why, and what else should be known."""
        missing = [f"{each.runtime} was not measured: {each.why}" for each in self.not_measured]
        return [*self.remarks, *missing]

    def _size_rows(self) -> list[tuple[str, ...]]:
        rows = [
            ("size on disk", "file_bytes", in_bytes),
            ("parameters", "params", in_digits),
            ("weights that are not zero", "nonzeros", in_digits),
            ("MACs", "macs", in_digits),
            ("MACs with a weight that is not zero", "nonzero_macs", in_digits),
            ("peak activation memory", "peak_activation_bytes", in_bytes),
        ]
        return [(words, *self._now_and_before(name, shown)) for words, name, shown in rows] + self._arena()

    def _now_and_before(self, name: str, shown: Callable[[int], str]) -> tuple[str, str, str]:
        now = getattr(self.now, name)
        before = None if self.before is None else getattr(self.before, name)
        return in_a_row(now, before, shown)

    def _arena(self) -> list[tuple[str, ...]]:
        """The memory of the C, where it was measured."""
        now, before = (self.timing("c", which) for which in (NOW, BEFORE))
        if now is None or now.arena_bytes is None:
            return []
        other = before.arena_bytes if before else None
        return [("arena of the exported C", *in_a_row(now.arena_bytes, other, in_bytes))]

    def _time_rows(self) -> list[tuple[str, ...]]:
        rows = []
        for runtime in self.runtimes:
            now, before, speed = self.timing(runtime), self.timing(runtime, BEFORE), self.speed(runtime)
            known = now or before
            assert known is not None
            rows.append(
                (
                    f"{runtime} {known.version}",
                    *(f"{each.median_ns / 1e6:.3g}" if each else "-" for each in (now, before)),
                    shown_speed(speed) if speed else "-",
                    *(f"{each.p95_ns / 1e6:.3g}" if each else "-" for each in (now, before)),
                )
            )
        return rows

    def __repr__(self) -> str:
        return "\n".join(table.text() for table in self.tables())

    def _repr_html_(self) -> str:
        return "".join(table.html() for table in self.tables())


def hash_of(path: Path) -> str:
    """The first 16 hex digits of a file's SHA-256."""
    return digest_of(path)[:16]


SIZE_HEADS = ("", "now", "before", "now / before")
TIME_HEADS = ("runtime", "median ms", "before", "faster (95%)", "p95 ms", "before")


def setting_of(timings: Sequence[Timing]) -> str:
    """How times were measured, in words."""
    if not timings:
        return "no runtime was measured"
    one = timings[0]
    batch = "1 example" if one.batch == 1 else f"{one.batch} examples"
    devices = ", ".join(dict.fromkeys(row.device for row in timings))
    return f"one batch of {batch}, {one.threads} thread{'s' * (one.threads > 1)}, {devices}"


def shown_speed(speed: Speed) -> str:
    """A speed in a table: "3.61x (3.50 to 3.70)"."""
    return f"{speed.speedup:.2f}x ({speed.low:.2f} to {speed.high:.2f})"


def in_a_row(now: int | None, before: int | None, shown: Callable[[int], str]) -> tuple[str, str, str]:
    """A number now and before, and the one over the other."""
    ratio = f"{now / before:.3g}" if now is not None and before else "-"
    return "-" if now is None else shown(now), "-" if before is None else shown(before), ratio


def in_bytes(count: int) -> str:
    """Bytes for people, three digits.

    Example:
        >>> in_bytes(999), in_bytes(218128), in_bytes(45_000_000)
        ('999 B', '218 kB', '45 MB')
    """
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def in_digits(count: int) -> str:
    """A count for people."""
    return f"{count:,}"
