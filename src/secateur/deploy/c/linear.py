"""Linear layers in C: sparse without their zeros, for one vector or several; dense by dot products."""

from __future__ import annotations

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.kernel import WIDEST, Nonzeros, floats_or_null, kernels, scratches, stored
from secateur.deploy.c.planes import activation_number
from secateur.deploy.c.program import Code, Linear, Values


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
    sizes = f"{step.rows}, {inputs}, {outputs}"
    head = f"dense_linear{_half(values)}({sizes}, {step.input.pointer}, {step.name}_values"
    functions = kernels(("finished", "dense_linear", "dense_linear_layer"), values)
    return _code(step, constants, head, [4 * inputs if values == "float16" else 0], functions)


def _sparse(step: Linear, weight: np.ndarray, values: Values) -> Code:
    outputs, inputs = weight.shape
    nonzeros = Nonzeros(weight, np.arange(inputs))
    suffix, name = _half(values) + ("_wide" if nonzeros.wide else ""), step.name
    constants = nonzeros.constants(name)
    arguments = f"{step.input.pointer}, {name}_at, {name}_values, {name}_counts"
    room = nonzeros.most if values == "float16" else 0
    if step.rows == 1:
        functions = kernels(("finished", "sparse_vector"), values, nonzeros.wide)
        return _code(step, constants, f"sparse_vector{suffix}({outputs}, {arguments}", [room], functions)
    apart = -(-step.rows // WIDEST) * WIDEST
    functions = kernels(("finished", "sparse", "sparse_rows"), values, nonzeros.wide)
    head = f"sparse_rows{suffix}({step.rows}, {inputs}, {outputs}, {apart}, {arguments}"
    return _code(step, constants, head, [(inputs + 1) * apart, room], functions)


def _half(values: Values) -> str:
    return "_half" if values == "float16" else ""


def _code(step: Linear, constants: str, head: str, scratch: list[int], functions: tuple[str, ...]) -> Code:
    """The call, whose scratch is of so many floats for each of the pointers that it takes at its end."""
    bias, said = floats_or_null(f"{step.name}_bias", step.bias)
    residual = step.residual.pointer if step.residual is not None else "NULL"
    where, floats = scratches(*scratch)
    call = (
        f"{head}, {said}, {residual}, {activation_number(step.activation)}, {step.output.name}, {where});\n"
    )
    return Code(constants + bias, call, floats, functions)
