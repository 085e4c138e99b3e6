"""The temperature at which the gates of Dupont et al. 2021 sum to what a budget allows: for exact mode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.methods.gates.gate import gate, of_share, slope_of


def solve_temperature(magnitudes: Tensor, target: float, n: int, guess: float = 100.0) -> float:
    """The t at which the sum of h_t over `magnitudes` is `target`.

    Newton's steps in log t, kept in a bracket. The sum rises strictly with t, from 0 to the number of nonzero
    magnitudes, so there is one solution.

    Args:
        magnitudes: |w|, any shape, at least 0.
        target: above 0 and below the number of nonzero magnitudes; beyond that, an upper end is returned at
            which h is 1 for all that are not zero.
        n: crispness.
        guess: where to begin, above 0; the last solution makes it 2 to 4 steps.

    Example:
        >>> round(solve_temperature(torch.tensor([1.0]), 0.3775406, n=4), 4)  # h_1(1), see `gate`
        1.0
    """
    logs = magnitudes.log()
    low, high, at = -math.inf, math.inf, math.log(guess)
    for _ in range(100):
        r = torch.sigmoid((logs + at).mul_(n))  # u/(u+1), as log u = n * (log t + log |x|)
        h = of_share(r)
        excess = float(h.sum(dtype=torch.float64)) - target
        low, high = (low, at) if excess > 0 else (at, high)
        if abs(excess) <= 1e-6 * target or high - low < 1e-9 or at > 60:
            break
        slope = float(slope_of(h, r, n).sum(dtype=torch.float64))
        at = inside(at - excess / slope if slope else math.nan, at, low, high)
    return math.exp(at)


def solve_with_floors(
    magnitudes: Sequence[Tensor], target: float, floors: Sequence[float], n: int, guess: float = 100.0
) -> list[float]:
    """As `solve_temperature` over layers: one t for all, but a larger one where a layer would be emptied.

    Args:
        magnitudes: |w| of each layer.
        target: of the sum over all layers, at least the sum of `floors`.
        floors: below which the sum over a layer must not fall; 0 for none.

    Returns:
        t of each layer.
    """
    fixed: dict[int, float] = {}
    while True:
        free = [index for index in range(len(magnitudes)) if index not in fixed]
        left = target - sum(floors[index] for index in fixed)
        t = (
            solve_temperature(torch.cat([magnitudes[index] for index in free]), left, n, guess)
            if free
            else guess
        )
        empty = [i for i in free if floors[i] > 0 and _sum_of(magnitudes[i], t, n) < floors[i]]
        if not empty:
            return [fixed.get(index, t) for index in range(len(magnitudes))]
        fixed |= {index: solve_temperature(magnitudes[index], floors[index], n, t) for index in empty}


def _sum_of(magnitudes: Tensor, t: float, n: int) -> float:
    return float(gate(magnitudes, t, n).sum(dtype=torch.float64))


def inside(wanted: float, at: float, low: float, high: float) -> float:
    """Newton's step where it stays in the bracket and is not wild, else the middle, or one e-fold on."""
    if low < wanted < high and abs(wanted - at) < 2:
        return wanted
    if math.isinf(low) or math.isinf(high):
        return at + 1 if math.isinf(high) else at - 1
    return (low + high) / 2
