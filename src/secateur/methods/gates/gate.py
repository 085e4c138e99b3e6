"""The gate of Dupont et al. 2021, in closed form: any device, any precision, one pure function an equation.

    h_t(x)  = exp(-1 / (tx)**n)                             eq. (4)   `unstable_gate`, for Fig. 2 only
    h_t(x)  = C1 * (exp(-1 / ((tx)**n + 1)) - C2)           eq. (5)   `gate`
    L_b     = ((C - C_target) / C_initial)**2               eq. (7)   `budget_loss`

What training computes millions of times, w * h_t(w) with its gradients, is in `apparent` and `gate_kernels`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

E_MINUS_1 = math.e - 1
_LARGEST_U = 1e30
"""u is cut off here: h is 1 to the last bit long before, and u**2 would overflow float32."""


def unstable_gate(x: Tensor, t: float, n: int = 4) -> Tensor:
    """Eq. (4): exp(-1/(tx)**n), for the picture only; at x = 0 it is 0 * inf in most of its derivatives.

    Reference: Dupont et al. 2021, eq. (4) and Fig. 2.
    """
    return torch.exp(-1 / (t * x) ** n)


def share_of(x: Tensor, t: Tensor | float, n: int) -> Tensor:
    """r = u/(u+1) with u = (tx)**n: in [0, 1], and without inf/inf where u would overflow."""
    square = (x * t).square_().clamp_(max=_LARGEST_U ** (2 / n))
    u = power(square, n // 2)
    return u.div_(u + 1)


def of_share(r: Tensor) -> Tensor:
    """h as a function of r = u/(u+1): the one place where eq. (5) is computed."""
    return torch.expm1(r).div_(E_MINUS_1)


def power(x: Tensor, exponent: int) -> Tensor:
    """x**exponent by repeated squaring: torch.pow takes several times as long for all but 2 and 3."""
    result: Tensor | None = None
    while True:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        x = x * x


def gate(x: Tensor, t: Tensor | float, n: int = 4) -> Tensor:
    """h_t(x) of eq. (5), written expm1(u/(u+1)) / (e-1) with u = (tx)**n: the same without cancellation.

    As printed, in float32, it is 49% wrong at |tx| = 0.02 and exactly 0 below about 0.015. Half precision is
    computed in float32.

    Args:
        x: any shape.
        t: temperature, above 0; the half point is |tx| = 1.13.
        n: crispness, even, at least 2.

    Returns:
        Values in [0, 1], of x's shape.

    Example:
        >>> gate(torch.tensor([0.0, 1.0, 2.0]), t=1.0)
        tensor([0.0000, 0.3775, 0.9103])

    Reference: Dupont et al. 2021, eq. (5).
    """
    return of_share(share_of(full(x), t, n))


def gate_slope(x: Tensor, t: Tensor | float, n: int = 4) -> Tensor:
    """x * dh/dx = t * dh/dt, in closed form: n * (h + 1/(e-1)) * r * (1-r), r = u/(u+1).

    It holds both derivatives of eq. (5): dh/dx = slope/x and dh/dt = slope/t.
    """
    r = share_of(full(x), t, n)
    return slope_of(of_share(r), r, n)


def slope_of(h: Tensor, r: Tensor, n: int) -> Tensor:
    """`gate_slope` as a function of h and r."""
    return (h + 1 / E_MINUS_1).mul_(r).mul_(1 - r).mul_(n)


def full(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def budget_loss(c: Tensor, target: float, initial: float) -> Tensor:
    """((C - C_target) / C_initial)**2. Reference: Dupont et al. 2021, eq. (7)."""
    return ((c - target) / initial) ** 2
