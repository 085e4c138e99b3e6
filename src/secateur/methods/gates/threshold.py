"""The threshold above which a sum of sigmoids counts so many: for soft masks, and for random gates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_mask(values: Tensor, tau: Tensor | float, beta: float = 1.0) -> Tensor:
    """sigmoid(beta (v - tau)), in (0, 1).

    Example:
        >>> soft_mask(torch.tensor([0.0, 1.0, 2.0]), 1.0, 2.0)
        tensor([0.1192, 0.5000, 0.8808])
    """
    return torch.sigmoid(beta * (values - tau))


def solve_threshold(values: Tensor, k: float, beta: float = 1.0, guess: float = 0.0) -> float:
    """The tau at which `soft_mask` sums to k, to one in ten thousand.

    Newton's steps in a bracket: were all values as the least, or as the greatest, tau would be known.

    Args:
        values: one-dimensional, float32 at least.
        k: above 0 and below their number.
        beta: above 0.
        guess: where to begin; the last solution makes it 1 to 3 steps.

    Example:
        >>> round(solve_threshold(torch.tensor([0.0, 1.0, 2.0]), 1.5, 2.0), 4)
        1.0
    """
    logit = math.log(k) - math.log(len(values) - k)
    low, high = (float(end) - logit / beta for end in values.aminmax())
    tau = guess if low <= guess <= high else (low + high) / 2
    for _ in range(100):
        mask = soft_mask(values, tau, beta)
        excess = float(mask.sum(dtype=torch.float64)) - k
        low, high = (tau, high) if excess > 0 else (low, tau)
        if abs(excess) <= 1e-4 * k or high - low <= 1e-7 * (abs(low) + abs(high)):
            break
        slope = beta * float((mask * (1 - mask)).sum(dtype=torch.float64))
        wanted = tau + excess / slope if slope else math.nan
        tau = wanted if low < wanted < high else (low + high) / 2
    return tau
