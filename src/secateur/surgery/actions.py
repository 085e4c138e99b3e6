"""What a run with marks does at the operators that matter, instead of what they compute.

An operator that mixes channels by a weight is not computed: what it reads is noted, and it gives constants,
NaN where its own channels are marked. A product of two tensors that both depend on the inputs (attention) is
not computed either: channels that it sums over are read there, and what it gives is marked by whole heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout, gathered, spread
from secateur.surgery.matrix_products import convolved_shape, product_of
from secateur.surgery.watching import flat_tensors

Marks = dict[Axis, Tensor]
"""Axis -> (examples, entries), boolean: which entries of the axis an example marks, or was seen to carry."""
_CONSTANT = 0.7


class OtherPath(RuntimeError):
    """The network did not take the way with these marks or examples that it was recorded on."""


@dataclass
class Run:
    """One run of a probe.

    Attributes:
        marks: what is marked.
        examples: how many there are.
        seen: which marks arrived where.
        spoilt: the examples that are NaN throughout, in the run that finds out where examples lie.
        looking: whether products of two activations find out along which dimension they read channels.
        mixing: whether they spread marks as a real product does, to find who is to blame for it.
    """

    marks: Marks
    examples: int
    seen: Marks = field(default_factory=dict)
    spoilt: Tensor | None = None
    looking: bool = False
    mixing: bool = False

    def see(self, axis: Axis, mask: Tensor, layout: Layout | None, keep: tuple[int, ...]) -> None:
        """Note which entries along some dimensions carry a mark in which example."""
        if self.spoilt is not None:
            return
        if layout is not None and not layout.sized(mask.shape, self.examples):
            raise OtherPath(f"{tuple(mask.shape)} does not hold {self.examples} examples")
        found = gathered(mask, layout, keep, self.examples)
        before = self.seen.get(axis)
        if before is not None and before.shape != found.shape:
            raise OtherPath("a layer reads other sizes than before")
        self.seen[axis] = found if before is None else found | before

    def mark(
        self, axis: Axis, layout: Layout | None, keep: tuple[int, ...], shape: tuple[int, ...]
    ) -> Tensor | None:
        """Make a mask for what is emitted; None where nothing is marked."""
        mark = self.marks.get(axis)
        if self.spoilt is not None and layout is not None:
            return spread(self.spoilt[:, None], layout, (), shape)
        if mark is None or not bool(mark.any()):
            return None
        return spread(mark, layout, keep, shape)


def emitted(like: Tensor, shape: tuple[int, ...], masks: list[Tensor | None]) -> Tensor:
    """Make constants, NaN where any of the masks is set."""
    made = torch.full(shape, _CONSTANT, dtype=like.dtype, device=like.device)
    for mask in masks:
        if mask is not None:
            made.masked_fill_(mask.to(made.device), math.nan)
    return made


class Action:
    """What is done at one operator."""

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Any:
        """Give what the operator is to give."""
        raise NotImplementedError


@dataclass
class Mixed(Action):
    """A matrix product with a weight, on one side of it; what is read lies on the other."""

    reads: Axis
    writes: Axis
    side: int  # of the activations: 0 left, 1 right
    layout: Layout | None

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Tensor:
        product = product_of(func, args)
        assert product is not None
        left, right = product.views
        given = product.views[self.side]
        if left.shape[2] != right.shape[1]:
            raise RuntimeError(f"{tuple(left.shape[1:])} and {tuple(right.shape[1:])} cannot be multiplied")
        run.see(self.reads, given.isnan(), self.layout, (0, 2) if self.side == 0 else (0, 1))
        shape = (left.shape[0], left.shape[1], right.shape[2])
        mask = run.mark(self.writes, self.layout, (0, 2) if self.side == 0 else (0, 1), shape)
        more = (
            [product.added.isnan()]
            if product.added is not None and product.added.dim() == len(product.shape)
            else []
        )
        made = emitted(given, shape, [mask]).view(product.shape)
        return emitted(given, product.shape, [made.isnan(), *more]) if more else made


@dataclass
class Convolved(Action):
    """A convolution with a weight."""

    reads: Axis
    writes: Axis
    layout: Layout | None

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Tensor:
        x, shape = args[0], convolved_shape(args)
        wanted = args[1].shape[0] if args[6] else args[1].shape[1] * args[8]
        if x.shape[1] != wanted or min(shape[2:]) < 1:
            raise RuntimeError(f"a convolution of {wanted} channels is given {tuple(x.shape)}")
        run.see(self.reads, x.isnan(), self.layout, (1,))
        return emitted(x, shape, [run.mark(self.writes, self.layout, (1,), shape)])


@dataclass
class Embedded(Action):
    """A row of a table for each index."""

    writes: Axis
    layout: Layout | None

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Tensor:
        table, index = args[0], args[1]
        shape = (*index.shape, table.shape[1])
        return emitted(table, shape, [run.mark(self.writes, self.layout, (len(shape) - 1,), shape)])


@dataclass
class Contracted(Action):
    """A product of two activations.

    Where marks differ along the dimension that is summed over, channels lie there: they are read, and all of
    one head hang together with it, as everything that it gives depends on them. Other marks pass on.
    """

    left: Axis
    right: Axis
    heads: Axis
    layout: Layout | None
    reads: list[bool] = field(default_factory=lambda: [False, False])

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The axes that stand for it."""
        return (self.left, self.heads, self.right)

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Tensor:
        product = product_of(func, args)
        assert product is not None
        left, right = product.views
        masks = self.masks(run, left.isnan(), right.isnan())
        if product.added is not None:
            masks.append(product.added.isnan().expand(product.shape).reshape(len(left), left.shape[1], -1))
        return emitted(left, (len(left), left.shape[1], right.shape[2]), masks).view(product.shape)

    def masks(self, run: Run, left: Tensor, right: Tensor) -> list[Tensor | None]:
        """Where (batch, rows, columns) is marked, given where both sides are."""
        if run.looking:
            for side, (mask, dim) in enumerate(((left, 2), (right, 1))):
                self.reads[side] |= bool((mask.any(dim) & ~mask.all(dim)).any())
        elif not run.mixing and self.layout_fits(run, left):
            if self.reads[0]:
                run.see(self.left, left, self.layout, (0, 2))
            if self.reads[1]:
                run.see(self.right, right, self.layout, (0, 1))
        rows, columns = left.any(2, keepdim=True), right.any(1, keepdim=True)
        if not run.mixing:
            rows = left.all(2, keepdim=True) if run.looking else rows & (not self.reads[0])
            columns = right.all(1, keepdim=True) if run.looking else columns & (not self.reads[1])
        if run.spoilt is not None:
            return [left.any(2, keepdim=True), right.any(1, keepdim=True)]
        return [rows, columns, run.mark(self.heads, self.layout, (0,), (len(left), 1, 1))]

    def layout_fits(self, run: Run, left: Tensor) -> bool:
        if self.layout is not None and not self.layout.sized(left.shape, run.examples):
            raise OtherPath("attention sees other sizes than before")
        return any(self.reads)


@dataclass
class Attended(Action):
    """Scaled dot-product attention, as one operator: queries are summed with keys over channels."""

    product: Contracted

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> tuple[Tensor, Tensor]:
        query, key, value, mask = attention_of(args, kwargs)
        flat = [x.reshape(-1, *x.shape[-2:]) for x in (query, key, value)]
        masks = self.product.masks(run, flat[0].isnan(), flat[1].mT.isnan())
        rows = torch.zeros(len(flat[0]), flat[0].shape[1], 1, dtype=torch.bool)
        for found in masks:
            if found is not None:
                rows = rows | found.any(2, keepdim=True).cpu()
        if mask is not None and mask.is_floating_point():
            seen = mask.isnan().any(-1, keepdim=True)
            rows = rows | seen.expand(*query.shape[:-1], 1).reshape(rows.shape).cpu()
        columns = flat[2].isnan().any(1, keepdim=True)
        shape = (*flat[0].shape[:2], flat[2].shape[2])
        made = emitted(query, shape, [rows, columns]).view(*query.shape[:-1], value.shape[-1])
        return made, made[..., 0]


def attention_of(args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Take the arguments of scaled dot-product attention apart, each key and value as often as it is used."""
    query, key, value = args[:3]
    if query.shape[-3] != key.shape[-3]:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    batch = torch.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
    query, key, value = (x.expand(*batch, *x.shape[-2:]) for x in (query, key, value))
    return query, key, value, kwargs.get("attn_mask")


@dataclass
class Met(Action):
    """An operator at which something made of parameters meets activations: they are looked at, and it runs.

    What is put beside activations (a class token) is a source itself, as it may be read alone.

    Attributes:
        looks: axis, which tensor among the arguments, its dimension, and layout.
        emits: the same of sources.
    """

    looks: list[tuple[Axis, int, int, Layout | None]]
    emits: list[tuple[Axis, int, int, Layout]] = field(default_factory=list)

    def run(self, run: Run, func: Any, args: Any, kwargs: Any) -> Any:
        if run.spoilt is None and not run.looking:
            tensors = flat_tensors((args, kwargs))
            for axis, which, dim, layout in self.looks:
                run.see(axis, tensors[which].isnan(), layout, (dim,))
        for axis, which, dim, layout in self.emits:
            x = flat_tensors(args)[which]
            if run.spoilt is not None or not layout.sized(x.shape, run.examples):
                continue
            mask = run.mark(axis, layout, (dim,), tuple(x.shape))
            if mask is not None:
                marked = x.masked_fill(mask, math.nan)
                args = ([marked if each is x else each for each in args[0]], *args[1:])
        return func(*args, **kwargs)


def emit_all(
    run: Run,
    axis: Axis,
    like: Tensor,
    shapes: list[tuple[int, ...]],
    places: list[tuple[int, int]],
    layout: Layout | None,
) -> list[Tensor]:
    """Emit tensors of one source, whose channels lie `times` behind each other along the last dimension."""
    made = []
    mark = run.marks.get(axis)
    for shape, (dim, times) in zip(shapes, places, strict=True):
        own = (
            layout
            if layout is None or dim < 0
            else Layout(dim, layout.outer if dim == layout.dim else 1, shape[dim] // run.examples)
        )
        if own is not None and not own.sized(shape, run.examples):
            own = Layout(dim, 1, shape[dim] // run.examples)
        repeated = Run(
            {axis: mark.repeat(1, times)} if mark is not None else {}, run.examples, spoilt=run.spoilt
        )
        made.append(emitted(like, shape, [repeated.mark(axis, own, (len(shape) - 1,), shape)]))
    return made
