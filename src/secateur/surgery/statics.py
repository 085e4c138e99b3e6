"""What a network computes of its parameters and constants alone: recorded once, and replayed with marks.

A weight may be computed (standardised, masked, of low rank), a table looked up, a bias put together; whole
layers may run on constants. None of it depends on the inputs, so it is the same for all examples, and one
mark is one replay: of the few operators that do it, not of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from secateur.surgery.cutting import Axis

Found = dict[Axis, Tensor]
Watcher = Callable[[Tensor], Tensor]
"""From where a tensor is marked to which entries of an axis are."""


@dataclass(frozen=True)
class _Slot:
    """Stands for a recorded tensor."""

    number: int


@dataclass
class _Step:
    """An operator; or a layer on constants, or a look at a tensor, as `special`."""

    func: Any
    args: Any
    kwargs: Any
    out: list[int]
    touched: list[int]
    special: Callable[[list[Any], Found, Found], None] | None = None


@dataclass
class Watched:
    """An axis that part of the static computation arrives at, and what arrives there, as bits."""

    axis: Axis
    sources: int
    tensor: Tensor
    dim: int | None


class Tape:
    """Records static computation, and replays it.

    Attributes:
        roots: axis -> (the parameter or buffer, its dimension).
        watched: where it leads to.
        sources: the axes that can be marked, by the bit that stands for them.
    """

    def __init__(self, axes: dict[Axis, list[tuple[Tensor, int]]]):
        self.roots = axes
        self.sizes = {axis: places[0][0].shape[places[0][1]] for axis, places in axes.items()}
        self.watched: list[Watched] = []
        self.sources: list[Axis] = []
        self._tensors: list[Tensor] = []
        self._slots: dict[int, int] = {}
        self._views: dict[tuple[Any, ...], int] = {}
        self._bits: dict[int, int] = {}  # of a storage: the sources that its values come from
        self._own: dict[int, Tensor] = {}  # storage -> the parameter that it is of
        self._steps: list[_Step] = []
        for axis, places in axes.items():
            bit = self._source(axis)
            for tensor, _ in places:
                self._slot(tensor)
                self._own.setdefault(_storage(tensor), tensor)
                self._bits[_storage(tensor)] = self._bits.get(_storage(tensor), 0) | bit

    def _source(self, axis: Axis) -> int:
        self.sources.append(axis)
        return 1 << (len(self.sources) - 1)

    def _slot(self, tensor: Tensor) -> int:
        """The number of a tensor; one that is new here is a constant."""
        key = (_storage(tensor), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
        found = self._slots.get(id(tensor))
        if found is None:
            found = self._views.get(key)
        if found is None:
            found = len(self._tensors)
            self._tensors.append(tensor)
            self._views[key] = found
        self._slots[id(tensor)] = found
        if self._tensors[found] is not tensor:
            self._tensors.append(tensor)  # held, so that no other takes its id
        return found

    def bits(self, tensor: Tensor) -> int:
        """Which sources the values of a tensor come from."""
        return self._bits.get(_storage(tensor), 0)

    def own(self, tensor: Tensor) -> Tensor | None:
        """The parameter or buffer that a tensor is a view of."""
        return self._own.get(_storage(tensor))

    def record(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note an operator on static tensors."""
        given, _ = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]
        bits = 0
        for tensor in tensors:
            bits |= self.bits(tensor)
        own_args, own_kwargs = tree_map(
            lambda leaf: _Slot(self._slot(leaf)) if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )
        touched = [tensor for tensor in tensors if func._schema.is_mutable and tensor is args[0]]
        results = [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, Tensor)]
        for tensor in (*results, *touched):
            if not (func.is_view and _storage(tensor) in self._own):
                self._bits[_storage(tensor)] = self.bits(tensor) | bits
        out, storages = [self._slot(t) for t in results], [_storage(t) for t in (*results, *touched)]
        self._steps.append(_Step(func, own_args, own_kwargs, out, storages))

    def layer(
        self,
        axes: tuple[Axis, Axis],
        data: Tensor,
        see: Watcher,
        emit: Callable[[Tensor | None], Tensor],
        result: Tensor,
    ) -> None:
        """Note a layer that runs on static data: it reads there, and is a source of what it gives."""
        self.watch(data, axes[0], see)
        slot = self._slot(result)
        self._bits[_storage(result)] = self._source(axes[1])

        def run(values: list[Any], marks: Found, _seen: Found) -> None:
            values[slot] = emit(marks.get(axes[1]))

        self._steps.append(_Step(None, (), {}, [slot], [_storage(result)], run))

    def watch(self, tensor: Tensor, axis: Axis, see: Watcher, dim: int | None = None) -> None:
        """Note that a static tensor meets an axis, along a dimension if it is a single one."""
        slot = self._slot(tensor)
        self.watched.append(Watched(axis, self.bits(tensor), tensor, dim))

        def run(values: list[Any], _marks: Found, seen: Found) -> None:
            found = see(values[slot].isnan().cpu())
            seen[axis] = seen[axis] | found if axis in seen else found

        self._steps.append(_Step(None, (), {}, [], [_storage(tensor)], run))

    def replay(
        self, marks: Found, moved: dict[Axis, Tensor] | None = None, base: list[Any] | None = None
    ) -> tuple[Found, list[Any]]:
        """Compute all again.

        Args:
            marks: axis -> (entries,), which are NaN.
            moved: axis -> the order that its entries are put in first.
            base: the tensors to begin with, by slot; as recorded otherwise.

        Returns:
            What was seen at the axes watched, and the tensors, by slot.
        """
        values: list[Any] = list(base or self._tensors)
        for axis, order in (moved or {}).items():
            self._change(values, axis, _in_order(order))
        for axis, mark in marks.items():
            if axis in self.roots and bool(mark.any()):
                self._change(values, axis, _spoiling(mark.nonzero().flatten()))
        seen: Found = {}
        for step in self._steps:
            if not any(self._bits.get(storage, 0) for storage in step.touched):
                continue
            if step.special:
                step.special(values, marks, seen)
                continue
            args, kwargs = tree_map(
                lambda leaf: values[leaf.number] if isinstance(leaf, _Slot) else leaf,
                (step.args, step.kwargs),
            )
            result = [
                leaf for leaf in tree_flatten(step.func(*args, **kwargs))[0] if isinstance(leaf, Tensor)
            ]
            for slot, value in zip(step.out, result, strict=True):
                values[slot] = value
        return seen, values

    def _change(self, values: list[Any], axis: Axis, change: Callable[[Tensor, int], Tensor]) -> None:
        for tensor, dim in self.roots[axis]:
            slot = self._slots[id(tensor)]
            values[slot] = change(values[slot].detach(), dim)

    def randomized(self, generator: torch.Generator) -> list[Any]:
        """The recorded tensors, parameters and buffers at random between 0.5 and 1.5."""
        values: list[Any] = list(self._tensors)
        for places in self.roots.values():
            for tensor, _ in places:
                drawn = torch.rand(tensor.shape, generator=generator) + 0.5
                values[self._slots[id(tensor)]] = drawn.to(tensor)
        return values

    def value(self, tensor: Tensor, values: list[Any]) -> Tensor:
        """Look up what a recorded tensor was in a replay."""
        found: Tensor = values[self._slots[id(tensor)]]
        return found


def _in_order(order: Tensor) -> Callable[[Tensor, int], Tensor]:
    return lambda x, dim: x.index_select(dim, order)


def _spoiling(at: Tensor) -> Callable[[Tensor, int], Tensor]:
    return lambda x, dim: x.index_fill(dim, at.to(x.device), math.nan)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def entries_of_view(view: Tensor, own: Tensor) -> dict[int, tuple[int, Tensor]] | None:
    """Tell what a view of a parameter shows: its dimension -> (the parameter's, entries); None if unclear."""
    strides = own.stride()
    dims = [dim for dim in range(own.dim()) if own.shape[dim] > 1]
    if len({strides[dim] for dim in dims}) < len(dims):
        return None
    left, start = int(view.storage_offset() - own.storage_offset()), {}
    for dim in sorted(dims, key=lambda dim: -strides[dim]):
        start[dim], left = divmod(left, strides[dim])
    found: dict[int, tuple[int, Tensor]] = {}
    for dim, (size, stride) in enumerate(zip(view.shape, view.stride(), strict=True)):
        if size == 1 or stride == 0:
            continue
        fits = [d for d in dims if strides[d] <= stride and stride % strides[d] == 0]
        if not fits:
            return None
        at = max(fits, key=lambda d: strides[d])
        entries = start[at] + torch.arange(size) * (stride // strides[at])
        if int(entries[-1]) >= own.shape[at] or at in (other for other, _ in found.values()):
            return None
        found[dim] = (at, entries)
    return found


def root_axes(
    model: nn.Module, name_of: Callable[[str, nn.Module, str, int], Axis | None], without: set[int]
) -> dict[Axis, list[tuple[Tensor, int]]]:
    """List the axes of all parameters and floating-point buffers, each tensor by its first name.

    Args:
        without: ids of tensors that have none of their own.
    """
    found: dict[Axis, list[tuple[Tensor, int]]] = {}
    seen = set(without)
    for name, module in model.named_modules():
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            if value is None or not value.is_floating_point() or id(value) in seen:
                continue
            seen.add(id(value))
            for dim, size in enumerate(value.shape):
                axis = name_of(name, module, own, dim)
                if size > 1 and axis is not None:
                    found.setdefault(axis, []).append((value, dim))
    return found
