"""Gates on channels against a budget: which t meets it, and which channels go.

C(S(t)) = target,  S_i(t) = sum_k h_t(s_k) over group i               `solve_cost`
the smallest s first, until the recount of what is left fits           `choose_channels`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from secateur.methods.gates.gate import gate, gate_slope
from secateur.methods.gates.temperature import inside
from secateur.surgery.soft_cost import SoftCost

F64 = torch.float64


def solve_cost(
    magnitudes: Sequence[Tensor], cost: SoftCost, target: float, n: int, guess: float = 1.0
) -> float:
    """The t at which C is `target`: Newton's steps in log t, kept in a bracket, as `solve_temperature` does.

    C rises strictly with t, as every S_i does and no coefficient is negative, so there is one solution.

    Args:
        magnitudes: s of every group, each (K,).
        target: above the cost of no channels and below that of all; beyond, an end of the bracket.
        n: crispness.
        guess: where to begin, above 0.
    """
    low, high, at = -math.inf, math.inf, math.log(guess)
    s, sizes = torch.cat(list(magnitudes)).cpu().to(F64), [len(s_K) for s_K in magnitudes]
    for _ in range(100):
        t = math.exp(at)
        sums = _sums(gate(s, t, n), sizes)
        excess = float(cost(sums)) - target
        low, high = (low, at) if excess > 0 else (at, high)
        if abs(excess) <= 1e-9 * target or high - low < 1e-12 or abs(at) > 60:
            break
        slope = float(cost.slope(sums) @ _sums(gate_slope(s, t, n), sizes))
        at = inside(at - excess / slope if slope else math.nan, at, low, high)
    return math.exp(at)


def _sums(values: Tensor, sizes: list[int]) -> Tensor:
    return torch.stack([part.sum() for part in values.split(sizes)])


def choose_channels(
    magnitudes: Sequence[Tensor], cost: SoftCost, limit: int, floors: Sequence[int] | None = None
) -> list[list[int]]:
    """The channels to remove from each group, so that the recounted cost is at most `limit`.

    The smallest magnitudes go first, over all groups, never a group's last; then, the largest first, those
    come back that still fit. h rises with s, so this is the order of the gates, without their ties at 1.

    Args:
        floors: how many channels of each group are left at least; by default 1.
    """
    floors = floors or [1] * len(magnitudes)
    order = sorted((s, i, k) for i, s_K in enumerate(magnitudes) for k, s in enumerate(s_K.tolist()))
    widths = [len(s_K) for s_K in magnitudes]
    gone: list[tuple[int, int]] = []
    for _, i, k in order:
        if cost.count(widths) <= limit:
            break
        if widths[i] > floors[i]:
            widths[i] -= 1
            gone.append((i, k))
    for i, k in reversed(gone[:]):
        wider = [width + (j == i) for j, width in enumerate(widths)]
        if cost.count(wider) <= limit:
            widths = wider
            gone.remove((i, k))
    return [sorted(k for i, k in gone if i == j) for j in range(len(widths))]
