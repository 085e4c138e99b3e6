"""Stratified, seeded splitting with exact counts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.data.dataset import Split
from secateur.errors import InputError
from secateur.records.found import plain

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


def shares_of_all(counts: Sequence[int], total: int, least: int = 1, left: int = 1) -> list[int]:
    """`largest_remainder`, but at least `least` of every class are taken, and at least `left` are left.

    Where every class has so many anyway, the shares are those of `largest_remainder`. Else every class begins
    with what it must have, and what remains is shared out.

    Args:
        counts: images of each class, >= 0.
        total: images to share out, 0..sum(counts).
        least, left: of each class, >= 0; a class of fewer than `least + left` images is shared as it comes.

    Example:
        >>> shares_of_all([9, 9, 9], 2), shares_of_all([300, 3], 30), shares_of_all([60, 40], 10)
        ([1, 1, 0], [29, 1], [6, 4])
    """
    shares = largest_remainder(counts, total)
    low = [
        least if count >= least + left else min(share, count)
        for count, share in zip(counts, shares, strict=True)
    ]
    high = [count - left if count >= least + left else low[k] for k, count in enumerate(counts)]
    fits = all(a <= share <= b for a, share, b in zip(low, shares, high, strict=True))
    if fits or not sum(low) <= total <= sum(high):
        return shares
    room = [b - a for a, b in zip(low, high, strict=True)]
    more = largest_remainder(room, total - sum(low))
    return [a + extra for a, extra in zip(low, more, strict=True)]


def stratified(
    labels: Tensor, total: int, generator: torch.Generator, least: int = 1, left: int = 1
) -> tuple[Tensor, Tensor]:
    """Draw exactly `total` examples, each class in proportion, and of every class one where that can be.

    Args:
        labels: int64 (N,), >= 0.
        total: 0..N.
        generator: the draw's only source of chance.
        least, left: see `shares_of_all`.

    Returns:
        Indices drawn, int64 (total,), and indices left, int64 (N - total,), both ascending.
    """
    shares = shares_of_all(torch.bincount(labels).tolist(), total, least, left)
    drawn = torch.zeros(len(labels), dtype=torch.bool)
    for k, share in enumerate(shares):
        members = (labels == k).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        drawn[members[order[:share]]] = True
    return drawn.nonzero().flatten(), (~drawn).nonzero().flatten()


def hold_out(
    split: Split,
    total: int,
    generator: torch.Generator,
    classes: Sequence[str],
    *,
    purpose: str,
    fix: str,
    least: int = 2,
) -> tuple[Split, Split]:
    """Cut `total` examples out of `split`, one of every class at least: (held out, what remains).

    Args:
        least: images that every class needs, for all that will still be cut out.

    Raises:
        InputError: a class has fewer.
    """
    counts = torch.bincount(split.labels, minlength=len(classes)).tolist()
    rare = min(range(len(classes)), key=lambda k: counts[k])
    if counts[rare] < least:
        raise InputError(
            f"every class needs at least {least} images, {purpose}, but class '{plain(classes[rare])}' has "
            f"{counts[rare]}: {fix}"
        )
    total = min(max(total, len(classes)), len(split) - (least - 1) * len(classes))
    held, rest = stratified(split.labels, total, generator, left=least - 1)
    return split.take(held), split.take(rest)


def hold_out_test(split: Split, classes: Sequence[str], total: int | None = None) -> tuple[Split, Split]:
    """The fixed test split of a set that has none (default: 20%) and what remains for the others."""
    total = round(TEST_FRACTION * len(split)) if total is None else total
    generator = torch.Generator().manual_seed(TEST_SEED)
    purpose = "one each to train, to validate and to test"
    return hold_out(
        split,
        total,
        generator,
        classes,
        purpose=purpose,
        fix="add images of this class, or remove it",
        least=3,
    )


def hold_out_val(
    split: Split, val_fraction: float, generator: torch.Generator, classes: Sequence[str]
) -> tuple[Split, Split]:
    """`round(val_fraction * N)` validation examples, one of every class at least, and what remains."""
    total = round(val_fraction * len(split))
    fix = "add images of this class, or take more with --limit-train"
    return hold_out(split, total, generator, classes, purpose="one to train and one to validate", fix=fix)


def limit(split: Split, total: int | None, generator: torch.Generator, classes: Sequence[str]) -> Split:
    """A stratified part of exactly `total` examples, two of every class at least; None takes all.

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
    part = split.take(stratified(split.labels, total, generator, least=2, left=0)[0])
    counts = torch.bincount(part.labels, minlength=len(classes)).tolist()
    if 0 in counts:
        name = plain(classes[counts.index(0)])
        raise InputError(f"limit_train {total} leaves no image of the rare class '{name}': raise it")
    return part
