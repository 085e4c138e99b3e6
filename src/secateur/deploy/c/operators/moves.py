"""Operators that only move numbers: joining, padding, picking, turning, and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.deploy.c.lowering import Build, Value, lowers
from secateur.deploy.c.moving import Along, Gather, Resampled, Rows, strides_of
from secateur.deploy.c.program import Buffer, View
from secateur.errors import InputError


@lowers(
    "aten.roll.default",
    "aten.flip.default",
    "aten.repeat.default",
    "aten.pixel_shuffle.default",
    "aten.pixel_unshuffle.default",
    "aten.channel_shuffle.default",
    "aten.reflection_pad1d.default",
    "aten.reflection_pad2d.default",
    "aten.replication_pad1d.default",
    "aten.replication_pad2d.default",
    "aten.upsample_nearest1d.default",
    "aten.upsample_nearest2d.default",
    "aten.upsample_nearest2d.vec",
    "aten._upsample_nearest_exact1d.default",
    "aten._upsample_nearest_exact2d.default",
    "aten.im2col.default",
    "aten.tril.default",
    "aten.triu.default",
    "aten.repeat_interleave.self_int",
    "aten.rot90.default",
    "aten.tile.default",
    "aten.native_channel_shuffle.default",
)
def moved(build: Build, value: Value, *args: Any, **kwargs: Any) -> View:
    """Ask torch where every number goes: run the operator on the numbers' places."""
    view = build.view(value)
    target: Any = build.node.target
    places = torch.arange(1, view.size + 1, dtype=torch.float64).reshape(view.shape)  # exact up to 2^53
    found = target(places, *args, **kwargs).to(torch.int64) - 1
    return picked(build, view, found.numpy())


def picked(build: Build, view: View, places: np.ndarray) -> View:
    """Take the numbers at flat places of a view; -1 is a zero."""
    if not places.size:
        return build.buffer(places.shape, view.dtype).view
    if (places < 0).any():
        flat = build.contiguous(view)
        mask = build.view(torch.from_numpy(places >= 0))
        inside = picked(build, flat, np.maximum(places, 0))
        return build.elementwise(
            [mask, inside], "{0} ? {1} : 0", "masked", build.buffer(places.shape, view.dtype)
        )
    steps = strides_of(places)
    if steps is not None and view.contiguous:
        return View(view.buffer, places.shape, steps, view.offset + int(places.flat[0]))
    flat = build.contiguous(view)
    output = build.buffer(places.shape, view.dtype)
    return build.add(Gather(build.name("s"), build.layer, flat, output, places))


@lowers("aten.cat.default")
def cat(build: Build, values: Sequence[Value], dim: int = 0) -> View:
    output = build.made()
    parts = [view for view in map(build.view, values) if view.size]
    axis = dim % max(1, len(output.shape))
    whole, start = output.view, 0
    for part in parts:
        shape = part.shape
        place = View(output, shape, whole.strides, start * whole.strides[axis])
        build.elementwise([part], "{0}", "copy", place)
        start += shape[axis]
    return whole


@lowers("aten.stack.default")
def stack(build: Build, values: Sequence[Value], dim: int = 0) -> View:
    output = build.made()
    axis, whole = dim % len(output.shape), output.view
    strides = tuple(step for n, step in enumerate(whole.strides) if n != axis)
    for index, value in enumerate(values):
        view = build.view(value)
        build.elementwise(
            [view], "{0}", "copy", View(output, view.shape, strides, index * whole.strides[axis])
        )
    return whole


@lowers("aten.constant_pad_nd.default")
def constant_pad(build: Build, value: Value, pad: Sequence[int], filling: float = 0) -> View:
    """A pad of less than 0 cuts off."""
    view = build.view(value)
    before = [0] * len(view.shape)
    offset, shape = view.offset, list(view.shape)
    for n in range(len(pad) // 2):
        axis = len(view.shape) - 1 - n
        low, high = pad[2 * n], pad[2 * n + 1]
        offset += max(0, -low) * view.strides[axis]
        shape[axis] += min(0, low) + min(0, high)
        before[axis] = max(0, low)
    view = View(view.buffer, tuple(shape), view.strides, offset)
    output = build.made()
    whole = output.view
    if view.size < output.size:
        build.elementwise([build.view(torch.tensor(filling).to(_of(view)))], "{0}", "fill", output)
    start = sum(low * step for low, step in zip(before, whole.strides, strict=True))
    build.elementwise([view], "{0}", "copy", View(output, view.shape, whole.strides, start))
    return whole


def _of(view: View) -> torch.dtype:
    return getattr(torch, view.dtype)


@lowers("aten.slice_scatter.default")
def slice_scatter(
    build: Build,
    value: Value,
    source: Value,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> View:
    length = build.view(value).shape[dim]
    return _replaced(build, value, source, torch.arange(length)[slice(start, end, step)], dim)


@lowers("aten.select_scatter.default")
def select_scatter(build: Build, value: Value, source: Value, dim: int, index: int) -> View:
    view = build.view(source)
    axis = dim % (len(view.shape) + 1)
    wide = View(
        *(view.buffer, (*view.shape[:axis], 1, *view.shape[axis:])),
        *((*view.strides[:axis], 0, *view.strides[axis:]), view.offset),
    )
    length = build.view(value).shape[axis]
    return _replaced(build, value, wide, torch.tensor([index % length]), axis)


def _replaced(build: Build, value: Value, source: Value, at: Tensor, dim: int) -> View:
    """A copy of a value, with other numbers at evenly spaced places of a dimension."""
    output = build.made()
    build.elementwise([build.view(value)], "{0}", "copy", output)
    whole, view = output.view, build.view(source)
    if view.size:
        every = int(at[1] - at[0]) if at.numel() > 1 else 1
        axis = dim % len(output.shape)
        strides = tuple(step * every if n == axis else step for n, step in enumerate(whole.strides))
        build.elementwise(
            [view], "{0}", "copy", View(output, view.shape, strides, int(at[0]) * whole.strides[axis])
        )
    return whole


@lowers("aten.index.Tensor", "aten.index_select.default", "aten.gather.default", "aten.take.default")
def index(build: Build, value: Value, *args: Any, **_: Any) -> View:
    """By indices that are constant; else rows, or numbers along a dimension."""
    name = str(build.node.target)
    given = args[0] if name == "aten.index.Tensor" else args
    if isinstance(value, View) and not any(isinstance(each, View) for each in given):
        target: Any = build.node.target
        places = torch.arange(value.size).reshape(value.shape)
        return picked(build, value, target(places, *args).numpy())
    if name == "aten.gather.default":
        return _gathered(build, value, *args)
    return _rows(build, value, list(given), name)


def _gathered(build: Build, value: Value, dim: int, at: Value, **_: Any) -> View:
    view, which = build.contiguous(value), build.contiguous(at)
    axis = dim % len(view.shape)
    even = all(n == axis or a == b for n, (a, b) in enumerate(zip(view.shape, which.shape, strict=True)))
    if not even:
        raise _no_such_index(build)
    return build.add(Along(build.name("s"), build.layer, view, _whole(build, which), build.made(), axis))


def _rows(build: Build, value: Value, given: list[Value], name: str) -> View:
    """One computed index: of rows, or of one dimension that is brought to the front."""
    view = build.view(value)
    if name == "aten.index_select.default":
        axis, at = given[0] % len(view.shape), given[1]
    elif name == "aten.index.Tensor":
        if len([each for each in given if each is not None]) != 1:
            return _several(build, view, given)
        axis = next(n for n, each in enumerate(given) if each is not None)
        at = given[axis]
    else:
        raise _no_such_index(build)
    which = _whole(build, build.contiguous(at))
    order = (axis, *(n for n in range(len(view.shape)) if n != axis))
    front = View(
        *(
            view.buffer,
            tuple(view.shape[n] for n in order),
            tuple(view.strides[n] for n in order),
            view.offset,
        )
    )
    rest = front.shape[1:]
    rows = build.buffer((*which.shape, *rest), view.dtype)
    found = build.add(Rows(build.name("s"), build.layer, which, build.contiguous(front), rows))
    flat, before = found.shaped(which.size, *rest), axis
    back = (*range(1, before + 1), 0, *range(before + 1, len(order)))
    turned = View(
        *(rows, tuple(flat.shape[n] for n in back), tuple(flat.strides[n] for n in back), flat.offset)
    )
    if len(which.shape) == 1:
        return turned
    return build.contiguous(turned).shaped(*view.shape[:axis], *which.shape, *view.shape[axis + 1 :])


def _several(build: Build, view: View, given: list[Value]) -> View:
    """Indices of the first dimensions: one index into them joined."""
    count = len(given)
    if any(each is None for each in given):
        raise _no_such_index(build)
    shape = np.broadcast_shapes(*(tuple(build.view(each).shape) for each in given))
    joined: View | None = None
    for axis, each in enumerate(given):
        at = _whole(build, build.view(each))
        length = view.shape[axis]
        said = f"({{0}} < 0 ? {{1}} + {length} : {{2}}) * {prod(view.shape[axis + 1 : count])}"
        part = build.elementwise([at, at, at], said, "place", build.buffer(shape, "int64"))
        joined = (
            part
            if joined is None
            else build.elementwise([joined, part], "{0} + {1}", "add", build.buffer(shape, "int64"))
        )
    assert joined is not None
    flat = build.contiguous(view).shaped(prod(view.shape[:count]), *view.shape[count:])
    output = build.made()
    return build.add(Rows(build.name("s"), build.layer, joined, flat, output))


def _whole(build: Build, view: View) -> View:
    """Indices as int64; truth values are none, as what they pick has no known length."""
    if view.dtype == "bool":
        raise InputError(
            f"the C export does not pick by computed truth values {build.said}: how many are picked is "
            "not known when the code is written; use torch.where"
        )
    if view.dtype == "int64":
        return view
    return build.elementwise([view], "(int64_t){0}", "to_int64", build.buffer(view.shape, "int64"))


def _no_such_index(build: Build) -> InputError:
    return InputError(
        f"the C export does not know this kind of computed index {build.said}: export it to onnx"
    )


@lowers("aten.embedding.default")
def embedding(build: Build, table: Value, which: Value, *_: Any, **__: Any) -> View:
    rows, at = build.contiguous(table), _whole(build, build.contiguous(which))
    return build.add(Rows(build.name("s"), build.layer, at, rows, build.made()))


@lowers("aten.upsample_bilinear2d.vec", "aten.upsample_bilinear2d.default", "aten.upsample_linear1d.default")
def upsample_bilinear(build: Build, value: Value, size: Any, align: bool, *rest: Any) -> View:
    view, output = build.contiguous(value), build.made()
    flat = len(output.shape) == 3
    shape = (1, view.shape[1], 1, view.shape[2]) if flat else view.shape
    wanted = (1, output.shape[1], 1, output.shape[2]) if flat else output.shape
    factors = [each for given in rest for each in (given if isinstance(given, (list, tuple)) else [given])]
    factors = [None] * (2 - len(factors)) + factors[-2:]
    tables: list[np.ndarray] = []
    for have, want, factor in zip(shape[2:], wanted[2:], factors, strict=True):
        tables += _between(have, want, align, factor)
    target = Buffer(output.name, wanted)
    build.add(Resampled(build.name("s"), build.layer, view.shaped(*shape), target, *tables))
    return target.view.shaped(*output.shape)


def _between(have: int, want: int, align: bool, factor: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Between which two numbers each new one lies, and how far from the first; as torch computes it."""
    new = np.arange(want, dtype=np.float64)
    if align:
        at = new * ((have - 1) / (want - 1) if want > 1 else 0.0)
    else:
        scale = 1 / factor if factor else have / want
        at = np.maximum((new + 0.5) * scale - 0.5, 0)
    first = np.minimum(np.floor(at).astype(np.int64), have - 1)
    second = np.minimum(first + 1, have - 1)
    return np.stack([first, second], 1), np.clip(at - first, 0, 1)
