"""Stratified, seeded splitting with exact counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.data.dataset import Split
from secateur.errors import InputError

TEST_FRACTION = 0.2
TEST_SEED = 0  # the test split never moves, whatever `split_seed` is


def largest_remainder(counts: Sequence[int], total: int) -> list[int]:
    """Shares of `total` proportional to `counts`: each within 1 of its quota, their sum exactly `total`.

    What rounding down leaves over goes to the largest remainders, ties to the first. In integers: exact.

    Args:
        counts: images of each class, >= 0.
        total: images to share out, 0..sum(counts).

    Example:
        >>> largest_remainder([5, 3, 2], 5)
        [3, 1, 1]
    """
    available = sum(counts)
    assert 0 <= total <= available, (total, available)
    shares = [total * count // max(available, 1) for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda k: -(total * counts[k] % max(available, 1)))
    for k in by_remainder[: total - sum(shares)]:
        shares[k] += 1
    return shares


def stratified(labels: Tensor, total: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw exactly `total` examples, each class in proportion.

    Args:
        labels: int64 (N,), >= 0.
        total: 0..N.
        generator: the draw's only source of chance.

    Returns:
        Indices drawn, int64 (total,), and indices left, int64 (N - total,), both ascending.
    """
    shares = largest_remainder(torch.bincount(labels).tolist(), total)
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    for k, share in enumerate(shares):
        members = (labels == k).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        drawn[members[order[:share]]] = True
    return drawn.nonzero().flatten(), (~drawn).nonzero().flatten()


def hold_out(
    split: Split, total: int, generator: torch.Generator, classes: Sequence[str], *, purpose: str, fix: str
) -> tuple[Split, Split]:
    """Cut `total` examples out of `split`: (held out, what remains).

    Raises:
        InputError: a class would have no example on one of the two sides.
    """
    held, rest = (split.take(indices) for indices in stratified(split.labels, total, generator))
    for k, name in enumerate(classes):
        in_held, in_rest = (int((side.labels == k).sum()) for side in (held, rest))
        if not (in_held and in_rest):
            raise InputError(
                f"every class needs a {purpose} and a training image, but of class '{name}', which has "
                f"{in_held + in_rest}, holding out {total} of {len(split)} gives {in_held} and {in_rest}: "
                f"{fix}"
            )
    return held, rest


def hold_out_test(split: Split, classes: Sequence[str], total: int | None = None) -> tuple[Split, Split]:
    """The fixed test split of a set that has none (default: 20%) and what remains for training."""
    total = round(TEST_FRACTION * len(split)) if total is None else total
    generator = torch.Generator().manual_seed(TEST_SEED)
    return hold_out(split, total, generator, classes, purpose="test", fix="add images of this class")


def hold_out_val(
    split: Split, val_fraction: float, generator: torch.Generator, classes: Sequence[str]
) -> tuple[Split, Split]:
    """`round(val_fraction * N)` validation examples and what remains for training."""
    total = round(val_fraction * len(split))
    fix = "add images of this class, take more with --limit-train, or raise --val-fraction"
    return hold_out(split, total, generator, classes, purpose="validation", fix=fix)


def limit(split: Split, total: int | None, generator: torch.Generator, classes: Sequence[str]) -> Split:
    """A stratified part of exactly `total` examples; None takes all.

    Raises:
        InputError: `total` is below two per class or above what there is, or leaves a rare class out.
    """
    if total is None:
        return split
    least = 2 * len(classes)
    if not least <= total <= len(split):
        raise InputError(
            f"limit_train must be from {least} (two for each of {len(classes)} classes) to {len(split)} "
            f"(all there are), not {total}"
        )
    part = split.take(stratified(split.labels, total, generator)[0])
    counts = torch.bincount(part.labels, minlength=len(classes)).tolist()
    if 0 in counts:
        name = classes[counts.index(0)]
        raise InputError(f"limit_train {total} leaves no image of the rare class '{name}': raise it")
    return part
