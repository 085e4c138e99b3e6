"""What a finished network comes to on data: `secateur evaluate --json`, and the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.records.shown import Shown
from secateur.records.stored import Stored

HEADS = ("class", "images", "right", "recall", "95% interval", "precision")
"""What is shown of each class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow(Stored):
    """One class of the network.

    Attributes:
        n: images that are of it; `right`: those of them that are called so; `called`: all that are.
        recall: right / n, with its 95% interval; None where there is no image of it.
        precision: right / called; None where nothing is called so.
    """

    name: str
    n: int
    right: int
    called: int
    recall: float | None
    low: float | None
    high: float | None
    precision: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake(Stored):
    """An image that is called something else than it is.

    Attributes:
        split, index: where it lies in the data.
        true, said: names of classes; `p_true`, `p_said` their probabilities.
    """

    split: str
    index: int
    true: str
    said: str
    p_true: float
    p_said: float


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluated(Stored):
    """A network on a split.

    Attributes:
        network, data: what was evaluated on what, in words.
        found: how the data were understood, in words.
        split: "test", "val", "train" or "all".
        n, right: its images, and those that are called what they are.
        accuracy: right / n, in [0, 1].
        low, high: Wilson's 95% interval of it.
        balanced_accuracy: the mean of the recalls of the classes that occur.
        classes: a row for each class of the network, in its order.
        confusion: [true][said] -> images, in the order of `classes`.
        worst: the mistakes, the surest first.
        remarks: what should be known of the numbers.
    """

    SCHEMA: ClassVar[int | None] = 1

    network: str
    data: str
    found: str
    split: str
    n: int
    right: int
    accuracy: float
    low: float
    high: float
    balanced_accuracy: float
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    worst: tuple[Mistake, ...]
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.shown().text()

    def _repr_html_(self) -> str:
        return self.shown().html()

    def cells(self) -> list[tuple[str, ...]]:
        """A line for each class, in the columns of `HEADS`."""
        return [
            (
                row.name,
                f"{row.n:,}",
                f"{row.right:,}",
                _percent(row.recall),
                "-" if row.low is None or row.high is None else f"{row.low:.1%} to {row.high:.1%}",
                _percent(row.precision),
            )
            for row in self.classes
        ]

    def shown(self) -> Shown:
        """The accuracy, and the classes."""
        title = f"{self.network} on {self.data}, split '{self.split}': {self.in_words()}"
        return Shown(title, HEADS, self.cells(), [f"Note: {remark}." for remark in self.remarks])

    def in_words(self) -> str:
        """The accuracy, in a line."""
        return (
            f"{self.accuracy:.1%} of {self.n:,} images right (95% interval {self.low:.1%} to "
            f"{self.high:.1%}); {self.balanced_accuracy:.1%} balanced over classes"
        )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
