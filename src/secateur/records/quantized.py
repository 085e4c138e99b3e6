"""What a network in int8 comes to, beside the network in float32: `NAME.json` beside an exported NAME."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from secateur.records.measure import Measure, wilson
from secateur.records.stored import Stored, Wrong, optional

FORMAT = "secateur-int8"
SUFFIX = ".json"
"""What is put behind the name of the exported file: `model.int8.onnx.json`."""

LARGE_DROP = 0.01
"""A loss of accuracy above which it is said that there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement(Stored):
    """How far the outputs of the two networks agree on the same examples.

    Attributes:
        n: examples.
        same: those whose class is the same; None where the output is no row of scores.
        chance: the share of examples that would be the same if the two had nothing to do with each other;
            None where `same` is.
        error: root mean square of the difference, in units of that of the float network's output.
    """

    n: int
    same: int | None
    chance: float | None
    error: float

    @property
    def share(self) -> float | None:
        """Of the examples, those whose class is the same."""
        return None if self.same is None else self.same / self.n

    @property
    def beyond_chance(self) -> float | None:
        """Cohen's kappa: 1 where all classes are the same, 0 where no more than by chance."""
        if self.share is None or self.chance is None:
            return None
        return 1.0 if self.chance >= 1 else (self.share - self.chance) / (1 - self.chance)

    def in_words(self) -> str:
        """The agreement, short."""
        error = f"outputs differ by {self.error:.1%} (root mean square)"
        return error if self.same is None else f"the same class for {self.same:,} of {self.n:,}; {error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(Stored):
    """What the ranges of the activations were found on; there is none where only weights are in int8.

    Attributes:
        data: the data set's name; split: of it, "train"; n: examples of it, drawn with the seed 0.
        method: "minmax", "percentile" or "entropy".
    """

    data: str
    split: str
    n: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(Stored):
    """How good the two networks are on the same examples.

    Attributes:
        split: of the data, n: examples of it.
        metric: what the numbers mean.
        before, after: of the network in float32, and of this file.
        right_before, right_after: examples that are right; None where the metric does not count them.
        same: examples to which both say the same class; None where they say none.
    """

    data: str
    split: str
    n: int
    metric: Measure
    before: float
    after: float
    right_before: int | None = optional()  # a field
    right_after: int | None = optional()
    same: int | None = optional()

    @property
    def drop(self) -> float:
        """What is lost; below 0 where int8 is better."""
        return self.metric.rank(self.before) - self.metric.rank(self.after)

    @property
    def is_large(self) -> bool:
        """Whether it is more than a percent: of all examples, or of the number itself."""
        return self.drop > LARGE_DROP * (1 if self.metric.fraction else abs(self.before))

    def interval(self, value: float) -> tuple[float, float] | None:
        """The 95% interval of one of the two, where they are shares of examples."""
        return wilson(value, self.n) if self.metric.fraction else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace(Stored):
    """How long one batch takes: median and 95th percentile in nanoseconds over `n` runs."""

    median_ns: int
    p95_ns: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide(Stored):
    """The two networks on one runtime, run in turns.

    Attributes:
        runtime, version: what ran them; threads: of the CPU; batch: examples at a time; device: in words.
        before, after: the network in float32, and this one.
        speedup: the time before over the time after, the median of the ratios of neighbouring runs.
    """

    runtime: str
    version: str
    batch: int
    threads: int
    device: str
    before: Pace
    after: Pace
    speedup: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized(Stored):
    """A file in int8.

    Attributes:
        file: its name; runtime: what runs it, "onnxruntime", "openvino" or "c".
        how: in a sentence, what is in int8 and how.
        weight_bits: of the weights; activations: "uint8", or "float32" where only weights are in int8.
        macs: multiply-accumulates of one example; int8_macs: those of them that are computed in int8, none
            where only weights are.
        bytes_before, bytes_after: of the exported files; of C of the weights and tables in the program.
        calibration: what the ranges were found on.
        held_out: how far the two networks agree on examples that nothing was fitted to.
        quality: how good both are; None where nobody gave data.
        latency: how fast both are; None where it was not measured.
        remarks: what should be known of the numbers.
    """

    SCHEMA: ClassVar[int | None] = 1
    SEALED: ClassVar[bool] = True
    AGAIN: ClassVar[str] = "export it again: secateur export FOLDER --to onnx --int8 --data DATA"

    format: str = FORMAT
    file: str
    runtime: str
    how: str
    weight_bits: int
    activations: str
    macs: int
    int8_macs: int
    bytes_before: int
    bytes_after: int
    calibration: Calibration | None
    held_out: Agreement | None
    quality: Quality | None
    latency: SideBySide | None
    remarks: tuple[str, ...] = ()
    versions: Mapping[str, str]

    def check(self) -> None:
        """What types do not say."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")
        if not 0 <= self.int8_macs <= self.macs:
            raise Wrong("from 0 to 'macs'", self.int8_macs).inside("int8_macs")

    @property
    def share(self) -> float:
        """Of the multiply-accumulates, those in int8."""
        return self.int8_macs / self.macs if self.macs else 0.0


def record_path(file: Path) -> Path:
    """Where the record of an exported file lies."""
    return file.with_name(file.name + SUFFIX)


def quantized_in(folder: Path) -> list[Quantized]:
    """Read the records of all files in int8 in a folder, by name; InputError where one is damaged."""
    paths = sorted(folder.glob("*.int8.*" + SUFFIX))
    return [Quantized.load(path) for path in paths if path.with_suffix("").is_file()]
