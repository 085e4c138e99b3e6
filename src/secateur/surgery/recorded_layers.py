"""Layers as a recorded run meets them: operators that mix by a weight, and modules observed whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from secateur.surgery.actions import Action, Convolved, Embedded, Mixed, emit_all
from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout
from secateur.surgery.matrix_products import Product, convolved_shape, view_of
from secateur.surgery.weight_axes import WeightAxes, along


class RecordedLayers(WeightAxes):
    """Notes what layers read and write along.

    Attributes:
        seen_at: axis of a layer and number of a call -> where the examples lie in what it was given.
        grouped: convolutions with groups: (in axis, out axis) -> (groups, whether whole ones go).
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.seen_at: dict[tuple[Axis, int], Layout | None] = {}
        self.grouped: dict[tuple[Axis, Axis], tuple[int, bool]] = {}

    # ---- modules that stand for themselves ----

    def observe(self, axis: Axis, x: Tensor, dim: int) -> None:
        """Look at what a layer is given that passes its channels on."""
        dim %= x.dim()
        with self.apart():
            self.sizes[axis] = x.shape[dim]
            if not self.dynamic(x):
                self.tape.watch(x, axis, along(dim))
                return
            self.seen_at[axis, self.next_turn(axis)] = self._layout(x)
            self.reader(axis, x.shape[dim], x)

    def emit(
        self,
        axis: Axis,
        size: int,
        like: Tensor,
        shapes: list[tuple[int, ...]],
        places: list[tuple[int, int]],
    ) -> list[Tensor]:
        """Have a layer of several outputs be a source of all of them.

        Args:
            places: for each shape the dimension with the examples (-1: the same as in `like`), and how many
                times its channels lie behind each other along the last one.
        """
        bit = self.source(axis, size)
        self.order.setdefault(axis[0])
        with self.apart():
            layout = self._layout(like)
            self.seen_at[axis, self.next_turn(axis)] = layout
            made = emit_all(self.state, axis, like, shapes, places, layout)
        for tensor in made:
            self.taint(tensor, bit)
        return made

    # ---- operators that mix by a weight ----

    def _mixed(self, index: int, func: Any, product: Product, side: int) -> tuple[Action, int]:
        given, weight = product.views[side], product.views[1 - side]
        reads, writes = self._axes(index)
        batch = given.shape[0]
        layout = self._layout(given, 0 if batch > 1 else 2 if side else 1)
        inside = max(1, batch) if layout is None or layout.dim else layout.outer * layout.inner
        k, free = (2, 1) if side else (1, 2)  # dimensions of the weight
        shift = weight.dim() - product.sides[1 - side].dim()
        action = Mixed(reads, writes, side, layout)
        shown = self._weight(
            product.sides[1 - side], {k - shift: (reads, inside), free - shift: (writes, inside)}, action
        )
        if inside > 1 and not shown:
            for axis, size in ((reads, weight.shape[k]), (writes, weight.shape[free])):
                entries = torch.arange(inside * size)
                self.ties.append((axis, entries, axis, entries % size))
        self._added(product.added, action.writes, weight.shape[free])
        self.reader(action.reads, inside * given.shape[1 if side else 2], product.sides[side])
        return action, self.source(action.writes, inside * weight.shape[free])

    def _convolved(self, index: int, args: Any) -> tuple[Action, int]:
        x, weight, bias, transposed, groups = args[0], args[1], args[2], args[6], args[8]
        reads, writes = self._axes(index)
        action = Convolved(reads, writes, self._layout(x))
        shape = convolved_shape(args)
        ins, outs = (0, 1) if transposed else (1, 0)
        places = {
            ins: (reads, x.shape[1] // weight.shape[ins]),
            outs: (writes, shape[1] // weight.shape[outs]),
        }
        whole = groups > 1 and x.shape[1] // groups <= groups
        self._weight(weight, places, action, mixes=not whole)
        self._added(bias, action.writes, shape[1])
        if groups > 1:
            self.grouped[action.reads, action.writes] = (groups, whole)
        self.reader(action.reads, x.shape[1], x)
        return action, self.source(action.writes, shape[1])

    def _embedded(self, index: int, args: Any) -> tuple[Action, int]:
        table, indices = args[0], args[1]
        _, writes = self._axes(index)
        layout = self._layout(indices, mask=torch.zeros(indices.shape, dtype=torch.bool))
        action = Embedded(writes, layout)
        self._weight(table, {1: (writes, 1)}, action)
        return action, self.source(action.writes, table.shape[1])

    def _static_layer(self, index: int, product: Product, side: int, func: Any) -> Tensor | None:
        """A layer on constants: a source, as on activations."""
        given, view = product.sides[1 - side], view_of(func, 1 - side)
        weight = product.views[side]
        shift = weight.dim() - product.sides[side].dim()
        k, free = (2, 1) if side == 0 else (1, 2)
        if len(weight) > 1:
            return None
        reads, writes = self._axes(index)
        action = Mixed(reads, writes, 1 - side, None)
        places = {k - shift: (reads, 1), free - shift: (writes, 1)}
        self._weight(product.sides[side], places, action)
        self._added(product.added, action.writes, weight.shape[free])
        self.sizes[action.reads], self.sizes[action.writes] = weight.shape[k], weight.shape[free]
        result = torch.full(product.shape, 0.7, dtype=given.dtype, device=given.device)
        keep = 2 if side == 1 else 1

        def see(mask: Tensor) -> Tensor:
            return view(mask).movedim(keep, 0).flatten(1).any(1)

        def emit(mark: Tensor | None) -> Tensor:
            made = result.clone()
            if mark is not None:
                shape = [1, 1, 1]
                shape[keep] = len(mark)
                made.view(1, *_two(product.shape, side)).masked_fill_(mark.view(shape), torch.nan)
            return made

        self.tape.layer((action.reads, action.writes), given, see, emit, result)
        return result


def _two(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    return (shape[0], shape[1] if len(shape) > 1 else 1)
