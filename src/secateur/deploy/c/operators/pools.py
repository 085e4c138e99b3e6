"""Pooling, in one and two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from secateur.deploy.c.lowering import Build, Value, lowers
from secateur.deploy.c.pooling import Pool
from secateur.deploy.c.program import Buffer, View
from secateur.errors import InputError


def _pooled(
    build: Build, value: Value, kind: str, sizes: tuple[int, ...], spatial: int, output: Buffer
) -> View:
    """Pool the last `spatial` dimensions, whatever lies before them."""
    view = build.contiguous(value)
    if view.dtype != "float32":
        raise InputError(f"the C export pools real numbers, got {view.dtype} {build.said}")
    planes = prod(view.shape[:-spatial])
    ones = (1,) * (2 - spatial)
    source = view.shaped(1, planes, *ones, *view.shape[-spatial:])
    target = Buffer(output.name, (1, planes, *ones, *output.shape[-spatial:]))
    build.add(Pool(build.name("s"), build.layer, source, target, kind, sizes))
    return target.view.shaped(*output.shape)


def _pair(given: Sequence[int] | int, spatial: int, fill: int) -> tuple[int, int]:
    """Two numbers of one or two; `fill` for the dimension that is not there."""
    numbers = [given] if isinstance(given, int) else list(given)
    if spatial == 1:
        return fill, numbers[0]
    return numbers[0], numbers[-1]


def _windows(
    kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int] | int, spatial: int
) -> tuple[int, ...]:
    """The numbers that every pool has: sizes, steps (by default the sizes) and padding of its windows."""
    return (
        *_pair(kernel, spatial, 1),
        *_pair(stride or kernel, spatial, 1),
        *_pair(padding, spatial, 0),
    )


@lowers("aten.max_pool2d_with_indices.default", "aten.max_pool2d.default", "aten.max_pool1d.default")
def max_pool(
    build: Build,
    value: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    dilation: Sequence[int] | int = 1,
    ceil_mode: bool = False,
) -> Value:
    several = isinstance(build.node.meta["val"], (list, tuple))
    if several and any(user.args[1] == 1 for user in build.node.users):
        raise InputError(
            f"the C export does not give the indices of a max pooling {build.said}: export it to onnx"
        )
    spatial = 1 if "1d" in str(build.node.target) else 2
    sizes = (
        *_windows(kernel, stride, padding, spatial),
        *_pair(dilation, spatial, 1),
    )
    found = _pooled(build, value, "max_pool", sizes, spatial, build.made(0 if several else None))
    return (found, None) if several else found


@lowers("aten.avg_pool2d.default", "aten.avg_pool1d.default")
def avg_pool(
    build: Build,
    value: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> View:
    spatial = 1 if "1d" in str(build.node.target) else 2
    sizes = (
        *_windows(kernel, stride, padding, spatial),
        *(int(count_include_pad), divisor_override or 0),
    )
    return _pooled(build, value, "avg_pool", sizes, spatial, build.made())


@lowers("aten.avg_pool3d.default")
def avg_pool_of_channels(
    build: Build,
    value: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] | int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> View:
    """Along the first of three dimensions alone, as local response normalisation averages over channels."""
    view, output = build.contiguous(value), build.made()
    (k, *others), (s, *steps) = kernel, stride or kernel
    low, *pads = [padding] * 3 if isinstance(padding, int) else padding
    if others != [1, 1] or steps != [1, 1] or pads != [0, 0]:
        raise InputError(f"the C export pools in 1 and 2 dimensions, got 3 {build.said}: export it to onnx")
    depth, area = view.shape[-3], prod(view.shape[-2:])
    source = view.shaped(1, prod(view.shape[:-3]), depth, area)
    target = Buffer(output.name, (1, source.shape[1], output.shape[-3], area))
    sizes = (k, 1, s, 1, low, 0, int(count_include_pad), divisor_override or 0)
    build.add(Pool(build.name("s"), build.layer, source, target, "avg_pool", sizes))
    return target.view.shaped(*output.shape)


@lowers(
    "aten._adaptive_avg_pool2d.default",
    "aten.adaptive_avg_pool1d.default",
    "aten.adaptive_avg_pool2d.default",
)
def adaptive_avg_pool(build: Build, value: Value, size: Sequence[int]) -> View:
    spatial = 1 if "1d" in str(build.node.target) else 2
    return _pooled(build, value, "adaptive_avg_pool", (), spatial, build.made())


@lowers("aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool1d.default")
def adaptive_max_pool(build: Build, value: Value, size: Sequence[int]) -> tuple[Value, ...]:
    if any(user.args[1] == 1 for user in build.node.users):
        raise InputError(
            f"the C export does not give the indices of a max pooling {build.said}: export it to onnx"
        )
    spatial = 1 if "1d" in str(build.node.target) else 2
    return _pooled(build, value, "adaptive_max_pool", (), spatial, build.made(0)), None
