"""The apparent weight of Dupont et al. 2021 and its cost, differentiable.

w_hat   = w * h_t(w)                                    eq. (3)   `apparent_weight`
C       = sum of h_t over all weights                   eq. (9)   `cost`
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from secateur.methods.gates.kernels import Gradients, Incoming, Kernel, plain_kernel


class _Apparent(torch.autograd.Function):
    """(n, kernel, wants_total, wants_grad, *weights, *ts) -> every w_hat, then every sum of h if wanted."""

    @staticmethod
    def forward(
        ctx: Any, n: int, kernel: Kernel | None, wants_total: bool, wants_grad: bool, *given: Tensor
    ) -> tuple[Tensor, ...]:
        pairs = _pairs(given)
        kernels = [kernel or plain_kernel(weight) for weight, _ in pairs]
        done = [
            one.forward(weight, t, n, wants_total=wants_total, wants_grad=wants_grad)
            for one, (weight, t) in zip(kernels, pairs, strict=True)
        ]
        ctx.save_for_backward(*given, *(x for part in done for x in part.saved))
        ctx.set_materialize_grads(False)
        ctx.n, ctx.kernels, ctx.counts = n, kernels, [len(part.saved) for part in done]
        totals = [part.total for part in done if part.total is not None]
        return (*(part.apparent for part in done), *totals)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        count, tensors = len(ctx.kernels), ctx.saved_tensors  # read once: checkpointing allows no more
        pairs, rest = _pairs(tensors[: 2 * count]), iter(tensors[2 * count :])
        of_totals = grads[count:] or [None] * count
        found: list[Gradients] = []
        for index, (weight, t) in enumerate(pairs):
            saved = tuple(islice(rest, ctx.counts[index]))
            incoming = Incoming(grads[index], of_totals[index])
            if incoming.of_apparent is None and incoming.of_total is None:  # this layer took no part
                found.append((None, None))
                continue
            wants_t = ctx.needs_input_grad[_OTHERS + count + index]
            found.append(ctx.kernels[index].backward(weight, t, ctx.n, saved, incoming, wants_t=wants_t))
        return (*[None] * _OTHERS, *(of_w for of_w, _ in found), *(of_t for _, of_t in found))


_OTHERS = 4  # arguments of _Apparent before the tensors


def _pairs(given: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """(weight, t) of every layer."""
    half = len(given) // 2
    return list(zip(given[:half], given[half:], strict=True))


def apparents_and_totals(
    weights: Sequence[Tensor],
    ts: Sequence[Tensor],
    n: int,
    kernel: Kernel | None = None,
    *,
    wants_total: bool = True,
) -> list[tuple[Tensor, Tensor | None]]:
    """`apparent_and_total` of many layers in one call, and one call back.

    In the midst of a network's pass, what Python and the kernels need to run has left the caches: one layer
    at a time, each pays for finding it again, in both directions.
    """
    wants_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (*weights, *ts))
    found = _Apparent.apply(n, kernel, wants_total, wants_grad, *weights, *ts)
    count = len(weights)
    return list(zip(found[:count], found[count:] or [None] * count, strict=True))


def apparent_and_total(
    weight: Tensor, t: Tensor, n: int, kernel: Kernel | None = None, *, wants_total: bool = True
) -> tuple[Tensor, Tensor | None]:
    """w_hat and the sum of h (float64; None unless wanted), both differentiable in w and t.

    Without the sum, t is taken for a constant.
    """
    return apparents_and_totals([weight], [t], n, kernel, wants_total=wants_total)[0]


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
