"""`winner.json`: where the network that a comparison keeps is wrong, on the test split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from secateur.records.measured import hash_of
from secateur.records.stored import Stored, Wrong, check_id, optional

FORMAT = "secateur-winner"
WINNER_FILE = "winner.json"
MOST_CLASSES = 20
"""Of more classes the matrix is not kept, only the pairs that are confused most."""
_IMAGE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Stored):
    """`n` examples of the class `true` are called `said`."""

    true: str
    said: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelErrors(Stored):
    """One label of several: it holds of `n` examples, is `missed` in some, and `invented` in others."""

    name: str
    n: int
    missed: int
    invented: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputErrors(Stored):
    """One number of a regression: the mean and the largest distance to what is true."""

    name: str
    mean: float
    largest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss(Stored):
    """An example that the network is wrong about.

    Attributes:
        index: its place in the split.
        true, said: what it is, and what it is called: a class, labels, or numbers.
        confidence: the probability of what it is called, in classification.
        image: a small picture of it, a `data:` URI of a PNG.
    """

    index: int
    true: str
    said: str
    confidence: float | None = None
    image: str | None = None

    def check(self) -> None:
        """An address of anything else than a picture in the file itself is none."""
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise Wrong("a PNG as a data: URI", self.image).inside("image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner(Stored):
    """The network of `best/` on the test split, which chose nothing here: it is only reported.

    Attributes:
        weights_sha256: as in `Measured`: of other weights this is not true.
        fingerprint: of the data.
        arm, budget, seed, run_id: which network it is.
        task: "classification", "multilabel" or "regression".
        n: examples; `wrong`: how many it is wrong about, of regression None.
        classes: their names, in the order of `confusion`; empty where there are more than 20.
        confusion: [true][said] -> examples.
        pairs: the pairs of classes that are confused most, the most frequent first.
        labels, outputs: of several labels, and of regression, one each.
        worst: the examples that it is most wrong about, the worst first.
        no_images: why these have no pictures; None where they have.
    """

    SCHEMA: ClassVar[int | None] = 1
    SEALED: ClassVar[bool] = True
    AGAIN: ClassVar[str] = "run the comparison's command again"

    format: str = FORMAT
    weights_sha256: str
    fingerprint: str
    arm: str
    budget: str
    seed: int
    run_id: str
    task: str
    n: int
    wrong: int | None
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    labels: tuple[LabelErrors, ...] = ()
    outputs: tuple[OutputErrors, ...] = ()
    worst: tuple[Miss, ...]
    no_images: str | None = optional()

    def check(self) -> None:
        """What types do not say."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")
        check_id("run_id", self.run_id)
        if any(len(row) != len(self.classes) for row in self.confusion) or (
            self.confusion and len(self.confusion) != len(self.classes)
        ):
            raise Wrong("a row and a column for each class").inside("confusion")

    @classmethod
    def of(cls, weights: Path) -> Self | None:
        """What was found of a network, by its file of weights; None: nothing was, or it is of others.

        Raises:
            InputError: where `winner.json` beside them is damaged.
        """
        path = weights.parent / WINNER_FILE
        if not path.is_file() or not weights.is_file():
            return None
        found = cls.load(path)
        return found if found.weights_sha256 == hash_of(weights) else None
