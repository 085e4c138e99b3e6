"""Operators that multiply: what is product of what, in one form for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


@dataclass
class Product:
    """left (batch, rows, k) times right (batch, k, columns), and what is added to it.

    Attributes:
        sides: the operands as the operator has them.
        views: the operands in three dimensions.
        added: the bias of it, or None.
        shape: of the result.
    """

    sides: tuple[Tensor, Tensor]
    views: tuple[Tensor, Tensor]
    added: Tensor | None
    shape: tuple[int, ...]


def product_of(func: Any, args: Any) -> Product | None:
    """Take a matrix product apart; None for any other operator."""
    made = _PRODUCTS.get(func.overloadpacket)
    return made(*args) if made else None


def view_of(func: Any, side: int) -> Callable[[Tensor], Tensor]:
    """How one operand of a product becomes three-dimensional."""
    if func.overloadpacket in (aten.bmm, aten.baddbmm):
        return lambda x: x
    if func.overloadpacket in (aten.mv, aten.addmv) and side == 1:
        return lambda x: x[None, :, None]
    return lambda x: x[None]


def _mm(left: Tensor, right: Tensor, *_: Any) -> Product:
    return Product((left, right), (left[None], right[None]), None, (len(left), right.shape[1]))


def _addmm(added: Tensor, left: Tensor, right: Tensor, *_: Any) -> Product:
    found = _mm(left, right)
    found.added = added
    return found


def _bmm(left: Tensor, right: Tensor, *_: Any) -> Product:
    return Product((left, right), (left, right), None, (*left.shape[:2], right.shape[2]))


def _baddbmm(added: Tensor, left: Tensor, right: Tensor, *_: Any) -> Product:
    found = _bmm(left, right)
    found.added = added
    return found


def _mv(left: Tensor, right: Tensor, *_: Any) -> Product:
    return Product((left, right), (left[None], right[None, :, None]), None, (len(left),))


def _addmv(added: Tensor, left: Tensor, right: Tensor, *_: Any) -> Product:
    found = _mv(left, right)
    found.added = added
    return found


_PRODUCTS: dict[Any, Callable[..., Product]] = {
    aten.mm: _mm,
    aten.addmm: _addmm,
    aten.bmm: _bmm,
    aten.baddbmm: _baddbmm,
    aten.mv: _mv,
    aten.addmv: _addmv,
}
CONSTANT_LIKE = {
    getattr(aten, name)
    for name in [
        "zeros_like",
        "ones_like",
        "empty_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "new_full",
        "new_empty_strided",
        "rand_like",
        "randn_like",
    ]
}
"""Operators that take of a tensor its shape and type only."""
ALIASES = {aten.detach, aten.alias, aten.lift_fresh, aten.lift}
"""Operators that give the same tensor again; torch calls them as it likes."""
NORMS = {aten.native_batch_norm, aten._native_batch_norm_legit_no_training, aten.native_group_norm}
"""Operators with parameters for each channel, which lie along dimension 1 of their first argument."""


def convolved_shape(args: Any) -> tuple[int, ...]:
    """The shape of what aten.convolution gives for these arguments."""
    x, weight, _, stride, padding, dilation, transposed, output_padding, groups = args[:9]
    sides = x.dim() - 2
    many = [_for_each(value, sides) for value in (stride, padding, dilation, output_padding)]
    sizes = []
    for i, (size, kernel) in enumerate(zip(x.shape[2:], weight.shape[2:], strict=True)):
        s, p, d, more = (value[i] for value in many)
        if transposed:
            sizes.append((size - 1) * s - 2 * p + d * (kernel - 1) + more + 1)
        else:
            sizes.append((size + 2 * p - d * (kernel - 1) - 1) // s + 1)
    return (x.shape[0], weight.shape[1] * groups if transposed else weight.shape[0], *sizes)


def _for_each(value: Any, sides: int) -> list[int]:
    return list(value) * sides if len(value) == 1 else list(value)
