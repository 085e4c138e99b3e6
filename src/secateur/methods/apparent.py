"""The apparent weight of Dupont et al. 2021 and its cost, differentiable.

w_hat   = w * h_t(w)                                    eq. (3)   `apparent_weight`
C       = sum of h_t over all weights                   eq. (9)   `cost`
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from secateur.methods.gate_kernels import Incoming, Kernel, plain_kernel


class _Apparent(torch.autograd.Function):
    """(w, t) -> (w_hat, sum of h), h computed once."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, t: Tensor, n: int, kernel: Kernel, wants_total: bool, wants_grad: bool
    ) -> tuple[Tensor, Tensor | None]:
        done = kernel.forward(weight, t, n, wants_total=wants_total, wants_grad=wants_grad)
        ctx.save_for_backward(weight, t, *done.saved)
        ctx.set_materialize_grads(False)
        ctx.n, ctx.kernel = n, kernel
        return done.apparent, done.total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, t, *saved = ctx.saved_tensors
        incoming, wants_t = Incoming(*grads), ctx.needs_input_grad[1]
        grad_weight, grad_t = ctx.kernel.backward(weight, t, ctx.n, tuple(saved), incoming, wants_t=wants_t)
        return grad_weight, grad_t, None, None, None, None


def apparent_and_total(
    weight: Tensor, t: Tensor, n: int, kernel: Kernel | None = None, *, wants_total: bool = True
) -> tuple[Tensor, Tensor | None]:
    """w_hat and the sum of h (float64; None unless wanted), both differentiable in w and t.

    Without the sum, t is taken for a constant.
    """
    wants_grad = torch.is_grad_enabled() and (weight.requires_grad or t.requires_grad)
    chosen = kernel or plain_kernel(weight)
    found: tuple[Tensor, Tensor | None] = _Apparent.apply(weight, t, n, chosen, wants_total, wants_grad)
    return found


def apparent_weight(weight: Tensor, t: Tensor, n: int = 4) -> Tensor:
    """w_hat = w * h_t(w), differentiable in both. Reference: Dupont et al. 2021, eq. (3)."""
    return apparent_and_total(weight, t, n)[0]


def total(weight: Tensor, t: Tensor, n: int = 4) -> Tensor:
    """The sum of h_t over a weight, a float64 scalar, differentiable in both."""
    found = apparent_and_total(weight, t, n)[1]
    assert found is not None
    return found


def cost(weights: list[Tensor], temperatures: list[Tensor], n: int = 4) -> Tensor:
    """C = sum over layers and weights of h_t(w), a float64 scalar. Reference: Dupont et al. 2021, eq. (9)."""
    return torch.stack([total(w, t, n) for w, t in zip(weights, temperatures, strict=True)]).sum()
