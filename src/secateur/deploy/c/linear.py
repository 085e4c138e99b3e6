"""Linear layers in C: sparse without their zeros, for one vector or several; dense by dot products."""

from __future__ import annotations

from math import ceil

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.convolution import BLOCK, block_of, packed
from secateur.deploy.c.kernel import (
    SUFFIXES,
    WIDEST,
    Nonzeros,
    floats_or_null,
    kernels,
    scaled,
    scratches,
    stored,
)
from secateur.deploy.c.planes import activation_number
from secateur.deploy.c.program import Code, Linear, Values

SEVERAL = 8
"""Vectors from which a dense layer is computed as a convolution of 1x1."""

DENSE_BAND, SPARSE_BAND = 48, 128
"""Vectors at a time: a tile of the dense kernel, and of the sparse one, with the widest vectors."""


def code(step: Linear, values: Values = "float32") -> Code:
    """Write a linear layer in C.

    Args:
        values: what the weights are stored as.

    Raises:
        InputError: where a weight is too large for float16.
    """
    weight = stored(step.weight, values, step.layer)
    return (_sparse if step.sparse else _dense)(step, weight, values)


def _dense(step: Linear, weight: np.ndarray, values: Values) -> Code:
    outputs, inputs = weight.shape
    several, rounded = step.rows >= SEVERAL, values != "float32"
    constants = array(f"{step.name}_values", packed(weight[:, :, None, None], 1) if several else weight)
    scales, said = scaled(step.name, step.weight, values)
    constants += scales
    sizes, given = f"{step.rows}, {inputs}, {outputs}", f"{step.input.pointer}, {step.name}_values{said}"
    if not several:
        functions = kernels(("finished", "dense_linear", "dense_linear_layer"), values)
        head = f"dense_linear{SUFFIXES[values]}({sizes}, {given}"
        return _code(step, constants, head, [4 * inputs * rounded], functions)
    band = min(DENSE_BAND, ceil(step.rows / WIDEST) * WIDEST)
    functions = kernels(("shape", "dense", "finished", "transposed", "dense_rows"), values)
    scratch = [(inputs + BLOCK) * band, block_of(outputs) * inputs * rounded]
    head = f"dense_rows{SUFFIXES[values]}({sizes}, {band}, {given}"
    return _code(step, constants, head, scratch, functions)


def _sparse(step: Linear, weight: np.ndarray, values: Values) -> Code:
    outputs, inputs = weight.shape
    nonzeros = Nonzeros(weight, np.arange(inputs))
    suffix, name = SUFFIXES[values] + ("_wide" if nonzeros.wide else ""), step.name
    scales, said = scaled(name, step.weight, values)
    constants = nonzeros.constants(name) + scales
    arguments = f"{step.input.pointer}, {name}_at, {name}_values, {name}_counts{said}"
    room = 0 if values == "float32" else nonzeros.most
    if step.rows == 1:
        functions = kernels(("finished", "sparse_vector"), values, nonzeros.wide)
        return _code(step, constants, f"sparse_vector{suffix}({outputs}, {arguments}", [room], functions)
    band = min(SPARSE_BAND, ceil(step.rows / WIDEST) * WIDEST)
    functions = kernels(("sparse", "finished", "transposed", "sparse_rows"), values, nonzeros.wide)
    head = f"sparse_rows{suffix}({step.rows}, {inputs}, {outputs}, {band}, {arguments}"
    return _code(step, constants, head, [(inputs + 1) * band, room], functions)


def _code(step: Linear, constants: str, head: str, scratch: list[int], functions: tuple[str, ...]) -> Code:
    """The call, whose scratch is of so many floats for each of the pointers that it takes at its end."""
    bias, said = floats_or_null(f"{step.name}_bias", step.bias)
    residual = step.residual.pointer if step.residual is not None else "NULL"
    where, floats = scratches(*scratch)
    call = (
        f"{head}, {said}, {residual}, {activation_number(step.activation)}, {step.output.name}, {where});\n"
    )
    return Code(constants + bias, call, floats, functions)
