"""Operators over whole dimensions: sums, means, extremes, variances, softmax, layer and group norms."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from torch import Tensor

from secateur.deploy.c.arrays import literal
from secateur.deploy.c.lowering import Build, Value, lowers
from secateur.deploy.c.program import View
from secateur.deploy.c.reducing import Cumulative, IndexOf, Normalised, Reduction, Softmax
from secateur.errors import InputError


def _dims(view: View, dims: Sequence[int] | int | None) -> tuple[int, ...]:
    """Dimensions from 0; all where none is named."""
    if isinstance(dims, int):
        dims = [dims]
    count = len(view.shape)
    return tuple(sorted({dim % max(count, 1) for dim in dims})) if dims else tuple(range(count))


def reduced(build: Build, value: Value, dims: Sequence[int] | int | None, kind: str) -> View:
    """Reduce a value to a buffer of the node's own shape."""
    view, output = build.view(value), build.made()
    if view.dtype != output.dtype and kind not in ("any", "all"):
        view = build.elementwise([view], "{0}", f"to_{output.dtype}", build.buffer(view.shape, output.dtype))
    step = Reduction(build.name("s"), build.layer, view, output, _dims(view, dims), kind)
    return build.add(step)


@lowers("aten.sum.dim_IntList", "aten.sum.default")
def total(build: Build, value: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
    return reduced(build, value, dims, "sum")


@lowers("aten.mean.dim", "aten.mean.default")
def mean(build: Build, value: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
    return reduced(build, value, dims, "mean")


@lowers("aten.amax.default", "aten.max.default")
def amax(build: Build, value: Value, dims: Any = None, keepdim: bool = False) -> View:
    return reduced(build, value, dims, "amax")


@lowers("aten.amin.default", "aten.min.default")
def amin(build: Build, value: Value, dims: Any = None, keepdim: bool = False) -> View:
    return reduced(build, value, dims, "amin")


@lowers("aten.prod.dim_int", "aten.prod.default")
def product(build: Build, value: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
    return reduced(build, value, dims, "prod")


@lowers("aten.any.dim", "aten.any.dims", "aten.any.default")
def any_(build: Build, value: Value, dims: Any = None, keepdim: bool = False) -> View:
    return reduced(build, value, dims, "any")


@lowers("aten.all.dim", "aten.all.dims", "aten.all.default")
def all_(build: Build, value: Value, dims: Any = None, keepdim: bool = False) -> View:
    return reduced(build, value, dims, "all")


@lowers("aten.argmax.default", "aten.argmin.default")
def argmax(build: Build, value: Value, dim: int | None = None, keepdim: bool = False) -> View:
    view, output = build.contiguous(value), build.made()
    if view.dtype != "float32":
        view = build.elementwise([view], "(float){0}", "to_float32", build.buffer(view.shape))
    if dim is None:
        view, dim = view.shaped(view.size), 0
    kind = str(build.node.target).split(".")[1]
    step = IndexOf(build.name("s"), build.layer, view, output, dim % max(1, len(view.shape)), kind)
    return build.add(step)


@lowers("aten.max.dim", "aten.min.dim")
def max_with_index(build: Build, value: Value, dim: int, keepdim: bool = False) -> tuple[View, View]:
    view = build.contiguous(value)
    at, kind = dim % len(view.shape), str(build.node.target).split(".")[1]
    if view.dtype != "float32":
        raise InputError(f"the C export looks for the {kind} of real numbers, got {view.dtype} {build.said}")
    best = build.add(Reduction(build.name("s"), build.layer, view, build.made(0), (at,), f"a{kind}"))
    where = build.add(IndexOf(build.name("s"), build.layer, view, build.made(1), at, f"arg{kind}"))
    return best, where


@lowers("aten.linalg_vector_norm.default")
def vector_norm(
    build: Build, value: Value, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> View:
    """(sum |x|^p)^(1/p), and its limits."""
    limits = {float("inf"): "amax", float("-inf"): "amin"}
    parts: dict[float, str] = {1: "fabsf({0})", 2: "act_square({0})", 0: "{0} != 0.0f ? 1.0f : 0.0f"}
    view = build.view(value)
    part = "fabsf({0})" if order in limits else parts.get(order, f"powf(fabsf({{0}}), {literal(order)})")
    sized = build.elementwise([view], part, "norm", build.buffer(view.shape))
    over, output = _dims(view, dims), build.made()
    if order in limits or order in (0, 1):
        kind = limits.get(order, "sum")
        return build.add(Reduction(build.name("s"), build.layer, sized, output, over, kind))
    summed = build.add(
        Reduction(build.name("s"), build.layer, sized, build.buffer(output.shape), over, "sum")
    )
    root = "sqrtf({0})" if order == 2 else f"powf({{0}}, {literal(1 / order)})"
    return build.elementwise([summed], root, "root", output)


@lowers("aten.var.correction", "aten.var.dim")
def var(
    build: Build, value: Value, dims: Any = None, unbiased: Any = None, keepdim: bool = False, **named: Any
) -> View:
    correction = named.get("correction", 1)
    if unbiased is not None and str(build.node.target) == "aten.var.dim":
        correction = int(unbiased)
    return _variance(build, build.view(value), dims, 1 if correction is None else correction)[0]


@lowers("aten.var_mean.correction")
def var_mean(
    build: Build, value: Value, dims: Any = None, correction: Any = 1, keepdim: bool = False
) -> tuple:
    return _variance(build, build.view(value), dims, 1 if correction is None else correction)


def _variance(build: Build, view: View, dims: Any, correction: float) -> tuple[View, View]:
    """The mean of squared differences from the mean, in three steps."""
    over = _dims(view, dims)
    kept = tuple(1 if axis in over else length for axis, length in enumerate(view.shape))
    middle = build.add(Reduction(build.name("s"), build.layer, view, build.buffer(kept), over, "mean"))
    apart = build.elementwise(
        [view, middle], "act_square({0} - {1})", "squared_difference", build.buffer(view.shape)
    )
    several = isinstance(build.node.meta["val"], (list, tuple))
    output = build.made(0 if several else None)
    summed = build.add(
        Reduction(build.name("s"), build.layer, apart, build.buffer(output.shape), over, "sum")
    )
    count = prod(view.shape[dim] for dim in over) - correction
    spread = build.elementwise([summed], f"{{0}} / {literal(float(count))}", "variance", output)
    return spread, middle.shaped(*output.shape)


@lowers("aten._softmax.default", "aten.softmax.int", "aten._safe_softmax.default")
def softmax(build: Build, value: Value, dim: int, *_: Any, **__: Any) -> View:
    return _along(build, value, dim, "softmax")


@lowers("aten._log_softmax.default", "aten.log_softmax.int")
def log_softmax(build: Build, value: Value, dim: int, *_: Any, **__: Any) -> View:
    return _along(build, value, dim, "log_softmax")


def _along(build: Build, value: Value, dim: int, kind: str) -> View:
    view = build.contiguous(value)
    return build.add(
        Softmax(build.name("s"), build.layer, view, build.made(), dim % max(1, len(view.shape)), kind)
    )


@lowers("aten.cumsum.default")
def cumsum(build: Build, value: Value, dim: int, **_: Any) -> View:
    view, output = build.contiguous(value), build.made()
    if view.dtype != output.dtype:
        view = build.elementwise([view], "{0}", f"to_{output.dtype}", build.buffer(view.shape, output.dtype))
    step = Cumulative(
        build.name("s"), build.layer, view, output, dim % max(1, len(view.shape)), "sums so far"
    )
    return build.add(step)


@lowers("aten.native_layer_norm.default")
def layer_norm(
    build: Build, value: Value, shape: Sequence[int], weight: Value, bias: Value, eps: float
) -> tuple[Value, ...]:
    view = build.contiguous(value)
    found = _normalised(build, view, prod(shape), eps)
    return _affine(build, found, weight, bias, tuple(shape)), None, None


@lowers("aten.native_group_norm.default")
def group_norm(
    build: Build, value: Value, weight: Value, bias: Value, n: int, c: int, area: int, groups: int, eps: float
) -> tuple[Value, ...]:
    view = build.contiguous(value)
    found = _normalised(build, view, c * area // groups, eps)
    return _affine(build, found, weight, bias, (c, *[1] * (len(view.shape) - 2))), None, None


@lowers("aten._native_batch_norm_legit.no_stats")
def instance_norm(
    build: Build, value: Value, weight: Value, bias: Value, training: bool, momentum: float, eps: float
) -> tuple[Value, ...]:
    """What is left of an instance norm: every channel by its own mean and variance."""
    view = build.contiguous(value)
    if view.shape[0] != 1:
        raise InputError(f"the C export normalises one example at a time, got {view.shape[0]} {build.said}")
    found = _normalised(build, view, prod(view.shape[2:]), eps)
    return _affine(build, found, weight, bias, (view.shape[1], *[1] * (len(view.shape) - 2))), None, None


def _normalised(build: Build, view: View, n: int, eps: float) -> View:
    return build.add(Normalised(build.name("s"), build.layer, view, build.buffer(view.shape), n, eps))


def _affine(build: Build, view: View, weight: Value, bias: Value, shape: tuple[int, ...]) -> View:
    """Scale and shift, where there are any."""
    operands, expression = [view], "{0}"
    for value, sign in ((weight, "*"), (bias, "+")):
        if value is not None:
            expression += f" {sign} {{{len(operands)}}}"
            given = build.contiguous(value) if not isinstance(value, Tensor) else build.view(value)
            operands.append(given.shaped(*shape))
    if len(operands) == 1:
        return view
    return build.elementwise(operands, expression, "affine", build.buffer(view.shape))
