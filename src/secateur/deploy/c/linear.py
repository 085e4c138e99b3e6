"""Linear layers in C: sparse ones without their zeros, for one vector or for several; dense ones by dot products."""

from __future__ import annotations

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.kernel import Nonzeros, floats_or_null, kernel, kernels, stored
from secateur.deploy.c.planes import activation_number
from secateur.deploy.c.program import Code, Linear, Values

_WIDEST = 16  # floats of the widest vector


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
    constants = array(f"{step.name}_values", weight)
    text = ("finished", "dense_linear", "dense_linear_layer")
    head = f"dense_linear{_half(values)}({step.rows}, {inputs}, {outputs}, {step.input.pointer}, {step.name}_values"
    room = 4 * inputs if values == "float16" else 0
    return _code(step, constants, head, "scratch", room, kernels(text, values))


def _sparse(step: Linear, weight: np.ndarray, values: Values) -> Code:
    outputs, inputs = weight.shape
    nonzeros = Nonzeros(weight, np.arange(inputs))
    suffix, name = _half(values) + ("_wide" if nonzeros.wide else ""), step.name
    arguments = f"{step.input.pointer}, {name}_at, {name}_values, {name}_counts"
    room = nonzeros.most if values == "float16" else 0
    if step.rows == 1:
        text = kernels(("finished", "sparse_vector"), values, nonzeros.wide)
        head = f"sparse_vector{suffix}({outputs}, {arguments}"
        return _code(step, nonzeros.constants(name), head, "scratch", room, text)
    apart = -(-step.rows // _WIDEST) * _WIDEST
    floats = (inputs + 1) * apart
    inner = kernel("sparse", wide=nonzeros.wide)
    first, *more = kernels(("finished", "sparse_rows"), values, nonzeros.wide)
    head = f"sparse_rows{suffix}({step.rows}, {inputs}, {outputs}, {apart}, {arguments}"
    rest = f"scratch, scratch + {floats}"
    return _code(step, nonzeros.constants(name), head, rest, floats + room, (first, inner, *more))


def _half(values: Values) -> str:
    return "_half" if values == "float16" else ""


def _code(step: Linear, constants: str, head: str, rest: str, scratch: int, functions: tuple[str, ...]) -> Code:
    bias, said = floats_or_null(f"{step.name}_bias", step.bias)
    residual = step.residual.pointer if step.residual is not None else "0"
    activation = activation_number(step.activation)
    call = f"{head}, {said}, {residual}, {activation}, {step.output.name}, {rest});\n"
    return Code(constants + bias, call, scratch, functions)
