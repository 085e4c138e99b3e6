"""w * h_t(w) of eq. (3), the sum of h of eq. (9), and their gradients, computed in one of three ways.

    r      = u/(u+1),  u = (tw)**n
    e      = expm1(r)              h = e / (e-1)                      eq. (5)
    m      = (1 + e) r (1 - r)     w dh/dw = t dh/dt = n m / (e-1)
    dw     = g (e + n m) / (e-1) + g_C n m / (w (e-1))                g, g_C: gradients of w_hat and of C
    dt     = sum (g w + g_C) n m / (t (e-1))

(e-1 in a denominator is Euler's number less 1.) `ClosedForm` is the definition, for any device and
precision: it keeps only w and t and computes h again in the backward pass. `Blocked` is for a CPU without a
compiler, where a pass over a large tensor costs what its way through memory costs: it takes a block through
all operations while it lies in the cache, in forms that are few operations, and keeps what the backward
pass needs (e + n m, and m log2(e) where C has a gradient): memory of the size of the weights, or twice that.
Its r is in units of log2(e), and e is 2**r - 1, as exp2 is far cheaper than expm1: h is right to
3e-7 of 1, where the others are to a few units in its own last place.
`Compiled` has torch's inductor fuse each direction into one pass.

`python -m benchmarks reparametrization` compares their times.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secateur.errors import InputError, first_line
from secateur.methods.gates.gate import E_MINUS_1, full, gate, of_share, power, share_of, slope_of

Saved = tuple[Tensor, ...]

BLOCK = 1 << 19
"""Weights in a block: four float32 arrays of it lie in the last cache; smaller ones cost calls."""

_SCALE = 1 / E_MINUS_1
_LOG2_E = math.log2(math.e)


class Forward(NamedTuple):
    """w_hat, the sum of h (float64 scalar; None if not asked for), and what the backward pass needs."""

    apparent: Tensor
    total: Tensor | None
    saved: Saved = ()


class Incoming(NamedTuple):
    """The gradients of a loss with respect to w_hat and to the sum of h; None where there is none."""

    of_apparent: Tensor | None
    of_total: Tensor | None


Gradients = tuple[Tensor | None, Tensor | None]
"""With respect to w and t."""


class ClosedForm:
    """The definition; h is computed again in the backward pass."""

    @staticmethod
    def forward(weight: Tensor, t: Tensor, n: int, *, wants_total: bool, wants_grad: bool) -> Forward:
        h = gate(weight, t, n)
        total = h.sum(dtype=torch.float64) if wants_total else None
        return Forward(h.mul_(weight).to(weight.dtype), total)

    @staticmethod
    def backward(
        weight: Tensor, t: Tensor, n: int, saved: Saved, incoming: Incoming, *, wants_t: bool
    ) -> Gradients:
        w = full(weight)
        r = share_of(w, t, n)
        h = of_share(r)
        slope = slope_of(h, r, n)
        grad_weight, felt = torch.zeros_like(w), torch.zeros_like(w)  # felt: of slope, by t
        if incoming.of_total is not None:
            of_total = incoming.of_total.to(w.dtype)
            grad_weight += of_total * slope / torch.where(w == 0, torch.ones_like(w), w)  # slope is 0 there
            felt += of_total
        if incoming.of_apparent is not None:
            of_apparent = full(incoming.of_apparent)
            felt += of_apparent * w
            grad_weight += (h + slope).mul_(of_apparent)
        grad_t = (felt * slope).sum() / t if wants_t else None
        return grad_weight.to(weight.dtype), grad_t


class Blocked:
    """Block by block on a CPU, float32, each operation into a buffer that stays in the cache."""

    @staticmethod
    def forward(weight: Tensor, t: Tensor, n: int, *, wants_total: bool, wants_grad: bool) -> Forward:
        weight = _dense(weight.detach())
        apparent = torch.empty_like(weight)
        saved = [torch.empty_like(weight) for _ in range(wants_grad + (wants_grad and wants_total))]
        total = 0.0
        scratch = torch.empty(4, min(BLOCK, weight.numel()))
        for w, out, *kept in _blocks(weight, apparent, *saved):
            e, r, m, d = (row[: len(w)] for row in scratch)
            if kept:
                d, m = kept if len(kept) == 2 else (kept[0], m)
            _share_into(r, e, w, float(t.detach()), n)
            torch.exp2(r, out=e).sub_(1)
            torch.addcmul(_constant(0.0), e, w, value=_SCALE, out=out)
            if wants_total:
                total += float(e.sum())  # pairwise within the block, in double over the blocks
            if kept:
                torch.addcmul(r, r, r, value=-1 / _LOG2_E, out=m)
                m.addcmul_(m, e)
                torch.add(e, m, alpha=n / _LOG2_E, out=d)
        of_h = torch.tensor(total * _SCALE, dtype=torch.float64) if wants_total else None
        return Forward(apparent, of_h, tuple(saved))

    @staticmethod
    def backward(
        weight: Tensor, t: Tensor, n: int, saved: Saved, incoming: Incoming, *, wants_t: bool
    ) -> Gradients:
        weight = _dense(weight)
        grad_weight = torch.empty_like(weight)
        g = torch.zeros_like(weight) if incoming.of_apparent is None else _like(incoming.of_apparent, weight)
        if len(saved) == 1:
            return torch.addcmul(_constant(0.0), g, saved[0], value=_SCALE, out=grad_weight), None
        of_total = 0.0 if incoming.of_total is None else float(incoming.of_total)
        felt, scratch = 0.0, torch.empty(min(BLOCK, weight.numel()))
        for w, g_w, d, m, out in _blocks(weight, g, *saved, grad_weight):
            a = scratch[: len(w)]
            torch.addcmul(_constant(0.0), g_w, d, value=_SCALE, out=out)
            if wants_t:
                torch.addcmul(_constant(of_total), g_w, w, out=a)
                felt += float(torch.dot(a, m))
            if of_total:
                torch.add(w, torch.finfo(w.dtype).tiny, out=a)  # m is 0 where w is
                out.addcdiv_(m, a, value=n / _LOG2_E * _SCALE * of_total)
        grad_t = torch.full_like(t, felt * n / _LOG2_E * _SCALE / float(t.detach())) if wants_t else None
        return grad_weight, grad_t


class Compiled:
    """Each direction one fused pass by `torch.compile`, for one crispness; for others what needs no compiler.

    n is a constant of the compiled code: of a schedule that raises it, only the first value is compiled.
    """

    def __init__(self, n: int):
        self.n = n

    def forward(self, weight: Tensor, t: Tensor, n: int, *, wants_total: bool, wants_grad: bool) -> Forward:
        if n != self.n or weight.dtype != torch.float32:
            return plain_kernel(weight).forward(weight, t, n, wants_total=wants_total, wants_grad=wants_grad)
        weight = _dense(weight.detach())
        out, total = _compiled("forward", n, wants_total)(
            _memory(weight), t.detach(), _constant(_SCALE, weight.device)
        )
        return Forward(_shaped(out, weight), total)

    def backward(
        self, weight: Tensor, t: Tensor, n: int, saved: Saved, incoming: Incoming, *, wants_t: bool
    ) -> Gradients:
        if n != self.n or weight.dtype != torch.float32:
            return plain_kernel(weight).backward(weight, t, n, saved, incoming, wants_t=wants_t)
        weight, t = _dense(weight.detach()), t.detach()
        g = torch.zeros_like(weight) if incoming.of_apparent is None else _like(incoming.of_apparent, weight)
        scale = _constant(_SCALE, weight.device)
        if not wants_t and incoming.of_total is None:
            return _shaped(
                _compiled("backward", n, False)(_memory(weight), t, scale, _memory(g)), weight
            ), None
        of_total = torch.zeros_like(t) if incoming.of_total is None else incoming.of_total.to(t.dtype)
        grad, felt = _compiled("backward", n, True)(_memory(weight), t, scale, _memory(g), of_total)
        return _shaped(grad, weight), felt.view_as(t)

    def check(self, weight: Tensor, t: Tensor) -> None:
        """Compile now what training needs; InputError where this machine cannot."""
        few = weight.detach().flatten()[:64].clone()
        try:
            self._try_out(few, t)
        except Exception as error:
            raise InputError(
                f"compiled gates need torch.compile and a C++ compiler (a GPU: Triton), and they failed here "
                f"({first_line(error)}): leave compiled out"
            ) from None

    def _try_out(self, weight: Tensor, t: Tensor) -> None:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # inductor's own, about itself
            for wants_total in (False, True):
                done = self.forward(weight, t, self.n, wants_total=wants_total, wants_grad=True)
                of_total = torch.ones((), device=t.device) if wants_total else None
                self.backward(weight, t, self.n, (), Incoming(done.apparent, of_total), wants_t=wants_total)


Kernel = ClosedForm | Blocked | Compiled


def plain_kernel(weight: Tensor) -> Kernel:
    """The fastest that needs no compiler."""
    return Blocked() if weight.device.type == "cpu" and weight.dtype == torch.float32 else ClosedForm()


def _share_into(out: Tensor, scratch: Tensor, w: Tensor, t: float, n: int) -> None:
    """r log2(e) = 1 / ((1 + (tw)**-n) / log2(e)): 0 at w = 0 by way of infinity, and without inf/inf where u
    would overflow."""
    torch.mul(w, t, out=scratch).pow_(-2)
    half, unit = n // 2, 1 / _LOG2_E
    left = power(scratch, half // 2) if half > 1 else _constant(1.0)
    right = power(scratch, half - half // 2)
    torch.addcmul(_constant(unit), left, right, value=unit, out=out).reciprocal_()


@cache
def _constant(value: float, device: torch.device | str = "cpu") -> Tensor:
    """A scalar for operations that take no number there."""
    return torch.tensor(value, device=device)


def _dense(x: Tensor) -> Tensor:
    """Without gaps in memory, in either layout."""
    return x if x.is_contiguous() or _is_channels_last(x) else x.contiguous()


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _like(x: Tensor, dense: Tensor) -> Tensor:
    """x with the strides of `dense`, whose memory can then be walked along."""
    return x if x.stride() == dense.stride() else torch.empty_like(dense).copy_(x)


def _flat(dense: Tensor) -> Tensor:
    """Its memory in order, as a view."""
    return dense.view(-1) if dense.is_contiguous() else dense.permute(0, 2, 3, 1).view(-1)


def _memory(dense: Tensor) -> Tensor:
    """As `_flat`, but no view of anything: compiled code would be made anew for every shape behind a view."""
    plain = torch.empty(0, dtype=dense.dtype, device=dense.device)
    plain.set_(dense.untyped_storage(), dense.storage_offset(), (dense.numel(),), (1,))
    torch._dynamo.mark_dynamic(plain, 0)
    return plain


def _shaped(flat: Tensor, dense: Tensor) -> Tensor:
    """Flat memory seen with the shape and strides of `dense`."""
    return flat.as_strided(dense.shape, dense.stride())


def _blocks(*dense: Tensor) -> Any:
    return zip(*(_flat(x).split(BLOCK) for x in dense), strict=True)


@cache
def _compiled(direction: str, n: int, with_total: bool) -> Callable[..., Any]:
    """One compiled function for all sizes of layers."""

    def of_weight(w: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        square = torch.clamp((w * t).abs(), max=1e18 ** (1 / n)) ** 2
        u = power(square, n // 2)
        r = u / (u + 1)
        return r, _expm1(r)

    # `scale` is a tensor: as a number, gcc would work it into the series, at twice the time.
    def forward(w: Tensor, t: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        _, e = of_weight(w, t)
        h = e * scale
        return w * h, h.sum(dtype=torch.float64) if with_total else None

    def backward(w: Tensor, t: Tensor, scale: Tensor, g: Tensor) -> Tensor:
        r, e = of_weight(w, t)
        return g * (scale * (e + n * (1 + e) * r * (1 - r)))

    def backward_with_total(
        w: Tensor, t: Tensor, scale: Tensor, g: Tensor, of_total: Tensor
    ) -> tuple[Tensor, Tensor]:
        r, e = of_weight(w, t)
        slope = n * scale * (1 + e) * r * (1 - r)
        grad = g * (e * scale + slope) + of_total * torch.where(w == 0, 0.0, slope / w)
        return grad, ((g * w + of_total) * slope).sum() / t

    chosen = forward if direction == "forward" else backward_with_total if with_total else backward
    # Not dynamic=True, with which n and other numbers would be read anew for every weight. Each call decides
    # on threads, or the first layer seen would, by whichever process filled the cache on disk.
    return torch.compile(chosen, options={"cpp.dynamic_threads": True})


def _expm1(r: Tensor) -> Tensor:
    """expm1 on [0, 1], to 1e-8 of itself: r times a polynomial, which a vector unit does without a call."""
    sum_ = torch.full_like(r, _EXPM1_OVER_R[-1])
    for coefficient in _EXPM1_OVER_R[-2::-1]:
        sum_ = sum_ * r + coefficient
    return sum_ * r


_EXPM1_OVER_R = (
    1.0000000044983914,
    0.4999995596381283,
    0.1666736731065797,
    0.041625094589596186,
    0.008449802571284618,
    0.0012240275668419613,
    0.00030966145839509204,
)
"""(e**r - 1) / r on [0, 1], interpolated at the seven Chebyshev points; the constant term comes first."""
