"""Profiles of a pruned network, and how alike two of them are: Fig. 2(c) of Crowley et al. 2018."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from secateur.papers.cells import Pruned

STEP = 0.1
"""Of all channels: so many more are gone from one later profile to the next."""


@dataclass(frozen=True)
class Profile:
    """What is left of every block after some removals.

    Attributes:
        removals: how many.
        left, whole: channels of every block, and before pruning.
        strided: blocks that lower the resolution, as indices.
    """

    removals: int
    left: tuple[int, ...]
    whole: tuple[int, ...]
    strided: tuple[int, ...]

    @property
    def percent(self) -> tuple[float, ...]:
        """Of the channels that each block had."""
        return tuple(100 * left / whole for left, whole in zip(self.left, self.whole, strict=True))

    @property
    def labels(self) -> tuple[str, ...]:
        """The blocks, from 1; a star marks the strided ones."""
        return tuple(f"{i + 1}{'*' if i in self.strided else ''}" for i in range(len(self.whole)))


def profile_after(pruned: Pruned, removals: int) -> Profile:
    """The profile after so many removals of a trajectory."""
    return Profile(removals, pruned.left_after(removals), pruned.widths, pruned.strided)


def reached(pruned: Pruned) -> bool:
    """Whether the trajectory went as far as copycat's profile."""
    return len(pruned.removed) >= pruned.profile_after


def later(pruned: Pruned) -> list[int]:
    """Removals after which the later profiles are looked at: every tenth of all channels, and the last.

    Example:
        of 100 channels with the profile after 37 and 71 removals in all: 47, 57, 67, 71.
    """
    step = max(1, round(STEP * sum(pruned.widths)))
    found = [*range(pruned.profile_after + step, len(pruned.removed), step)]
    return [*found, len(pruned.removed)] if len(pruned.removed) > pruned.profile_after else []


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs.

    Example:
        >>> ranks([30.0, 10.0, 30.0])
        [2.5, 1.0, 2.5]
    """
    ordered = sorted(values)
    first = {value: index for index, value in reversed(list(enumerate(ordered)))}
    return [first[value] + (ordered.count(value) + 1) / 2 for value in values]


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation: Pearson's of the ranks, in [-1, 1]; None where one side has one value.

    Example:
        >>> spearman([1, 2, 3, 4], [1, 4, 9, 16])
        1.0
    """
    pairs = list(zip(ranks(one), ranks(other), strict=True))
    middle = (len(pairs) + 1) / 2
    deviations = [(a - middle, b - middle) for a, b in pairs]
    scale = math.sqrt(math.fsum(a * a for a, _ in deviations) * math.fsum(b * b for _, b in deviations))
    return math.fsum(a * b for a, b in deviations) / scale if scale else None
