"""What a saved network comes to where it runs: `measured.json`, which `secateur measure` leaves beside it.

Convention for times: of one batch, in evaluation mode, after warm-up, every runtime in a process of its own,
the network as it is ("now") and before pruning ("before") in turns. docs/measure.md says how the rest is
counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

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
        return 1 - self.nonzeros / self.weights if self.weights else 0.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Stored):
    """A network, measured: sizes and times, now and before pruning.

    Attributes:
        network: for people: "wrn-16-1", or the folder's name.
        weights_sha256: the first 16 hex digits of the hash of its file of weights: of another file these are
            not the numbers.
        now, before: sizes; before is None where nobody knows the network before pruning.
        timings: a row for each runtime, now and before.
        speeds: a row for each runtime of which both are known.
        not_measured: the runtimes asked for, or known, that gave no numbers.
        remarks: what should be known of the numbers: what sparsity brings on which runtime.
        versions: of secateur, torch and Python; platform: of the system.
    """

    SCHEMA: ClassVar[int | None] = 1
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
