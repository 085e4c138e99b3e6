"""Convolutions in C: sparse ones without their zeros, dense ones, and those of few channels in a group.

All read the input as planes (`planes.py`). Sparse: for each nonzero one multiply-add of registers full of
outputs with a shifted read. Dense: eight output channels at once. Where a group has fewer than four output
channels (a depthwise convolution), the sparse kernel has no zeros to leave out and is still the faster one.
"""

from __future__ import annotations

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.kernel import (
    SUFFIXES,
    Nonzeros,
    floats_or_null,
    kernels,
    scaled,
    scratches,
    stored,
)
from secateur.deploy.c.planes import Planes
from secateur.deploy.c.program import Code, Convolution, Values

FEWEST = 4
"""Output channels of a group from which the dense kernel is used."""

BLOCK = 8
"""Output channels whose weights lie side by side for the dense kernel, but four where no more are left."""


def code(step: Convolution, values: Values = "float32") -> Code:
    """Write a convolution in C.

    Args:
        values: what the weights are stored as.

    Raises:
        InputError: where a weight is too large for float16.
    """
    weight, planes = stored(step.weight, values, step.layer), Planes(step)
    if step.sparse:
        return _sparse(step, planes, weight, values)
    return (_few if planes.outputs < FEWEST else _dense)(step, planes, weight, values)


def _sparse(step: Convolution, planes: Planes, weight: np.ndarray, values: Values) -> Code:
    nonzeros = Nonzeros(weight, planes.places())
    scales, said = scaled(step.name, step.weight, values)
    arguments = f"{step.name}_at, {step.name}_values, {step.name}_counts{said}"
    return _code(
        *(step, planes, "sparse_convolution", values, nonzeros.wide),
        *(nonzeros.constants(step.name) + scales, arguments, nonzeros.most),
    )


def _few(step: Convolution, planes: Planes, weight: np.ndarray, values: Values) -> Code:
    """Every weight is read by the sparse kernel: all output channels have the same places."""
    places = planes.places().reshape(-1)
    wide = bool(places.max() > np.iinfo(np.uint16).max)
    constants = array(f"{step.name}_at", places.astype(np.uint32 if wide else np.uint16))
    constants += array(f"{step.name}_values", weight)
    scales, said = scaled(step.name, step.weight, values)
    constants += scales
    arguments = f"{step.name}_at, {step.name}_values, NULL{said}"
    return _code(step, planes, "sparse_convolution", values, wide, constants, arguments, places.size)


def _dense(step: Convolution, planes: Planes, weight: np.ndarray, values: Values) -> Code:
    constants = array(f"{step.name}_taps", (planes.taps() * planes.out[1]).astype(np.int32))
    constants += array(f"{step.name}_values", packed(weight, step.groups))
    scales, said = scaled(step.name, step.weight, values)
    constants += scales
    arguments = f"{step.name}_taps, {step.name}_values{said}"
    room = block_of(planes.outputs) * weight[0].size
    return _code(step, planes, "dense_convolution", values, False, constants, arguments, room)


def packed(weight: np.ndarray, groups: int) -> np.ndarray:
    """Order weights as the dense kernel reads them: by group, block, input, column, row, channel."""
    blocks = []
    for group in np.split(weight, groups):
        for first in range(0, len(group), BLOCK):
            block = group[first : first + BLOCK]
            whole = np.zeros((block_of(len(block)), *block.shape[1:]), block.dtype)
            whole[: len(block)] = block
            blocks.append(whole.transpose(1, 3, 2, 0).reshape(-1))
    return np.concatenate(blocks)


def block_of(channels: int) -> int:
    """How wide a block of so many channels is."""
    return BLOCK if channels > BLOCK // 2 else BLOCK // 2


def _code(
    step: Convolution,
    planes: Planes,
    function: str,
    values: Values,
    wide: bool,
    constants: str,
    arguments: str,
    room: int,
) -> Code:
    """The call, whose planes and room lie one after the other in the scratch."""
    name = step.name
    inner = "sparse" if function == "sparse_convolution" else "dense"
    suffix = SUFFIXES[values] + ("_wide" if wide else "")
    bias, said = floats_or_null(f"{name}_bias", step.bias)
    residual = step.residual.pointer if step.residual is not None else "NULL"
    where, floats = scratches(planes.floats, 0 if values == "float32" else room)
    call = (
        f"{function}{suffix}(&{planes.literal},\n    {step.input.pointer}, {arguments}, {said}, {residual}, "
        f"{step.output.name}, {where});\n"
    )
    return Code(constants + bias, call, floats, kernels(("shape", "planes", inner, function), values, wide))
