"""Steps joined: norms, residuals and activations into the layer before, chains of numbers into one loop.

A buffer between two steps is left out where the second is all that reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from secateur.deploy.c.elementwise import Elementwise
from secateur.deploy.c.lowering import Build
from secateur.deploy.c.operators.layers import ChannelScale
from secateur.deploy.c.products import TransposedConvolution
from secateur.deploy.c.program import Buffer, Convolution, Linear, Program, Step, View

_MOST_OPERANDS, _MOST_TEXT = 8, 400  # of one loop


def fused(program: Program, build: Build) -> Program:
    """Join what can be joined, and drop what nobody reads.

    Args:
        build: makes the constants of batch norms that could not be joined.
    """
    program = _used(program)
    for join in (_norm, _residual, _activation):
        program = _joined(program, join)
    steps = [step.spelled_out(build) if isinstance(step, ChannelScale) else step for step in program.steps]
    program = replace(program, steps=tuple(steps))
    for join in (_residual, _activation, _chain):
        program = _joined(program, join)
    return program


def _used(program: Program) -> Program:
    """Leave out steps that write what nobody reads."""
    wanted, found = {view.buffer for view in program.outputs.values()}, []
    for step in reversed(program.steps):
        if step.writes in wanted:
            wanted |= {view.buffer for view in step.reads}
            found.append(step)
    return replace(program, steps=tuple(found[::-1]))


Join = Callable[[Step, dict[Buffer, Step]], "tuple[Step, Step] | None"]
"""(a step, the one that made each buffer that is read once) -> the first of two steps, and both as one."""


def _joined(program: Program, join: Join) -> Program:
    """Join step by step, until nothing more is found."""
    kept = {view.buffer for view in program.outputs.values()}
    reads = Counter(view.buffer for step in program.steps for view in step.reads)
    writes = Counter(step.writes for step in program.steps)
    single = {buffer for buffer, count in reads.items() if count == 1 and writes[buffer] == 1} - kept
    made: dict[Buffer, Step] = {}
    names: dict[Buffer, Buffer] = {}
    gone: set[int] = set()
    found: list[Step] = []
    for old in program.steps:
        step = renamed(old, names)
        while (pair := join(step, made)) is not None:
            first, step = pair
            gone.add(id(first))
            made.pop(first.writes)
        if step.writes is not old.writes:
            names[old.writes] = step.writes
        found.append(step)
        if old.writes in single:
            made[step.writes] = step
    outputs = {name: _in(view, names) for name, view in program.outputs.items()}
    return replace(program, steps=tuple(step for step in found if id(step) not in gone), outputs=outputs)


def renamed(step: Step, names: Mapping[Buffer, Buffer]) -> Step:
    """The same step, which reads other buffers of the same size."""
    changed: dict[str, Any] = {}
    for field in fields(step):
        value = getattr(step, field.name)
        if isinstance(value, View) and value.buffer in names:
            changed[field.name] = _in(value, names)
        elif isinstance(value, tuple) and any(isinstance(v, View) and v.buffer in names for v in value):
            changed[field.name] = tuple(_in(view, names) for view in value)
    return replace(step, **changed) if changed else step


def _in(view: View, names: Mapping[Buffer, Buffer]) -> View:
    return replace(view, buffer=names.get(view.buffer, view.buffer))


def _norm(step: Step, made: dict[Buffer, Step]) -> tuple[Step, Step] | None:
    """A batch norm after a layer with weights: part of the weights, in float64."""
    if not isinstance(step, ChannelScale) or not step.input.whole:
        return None
    before = made.get(step.input.buffer)
    if not isinstance(before, (Convolution, Linear, TransposedConvolution)):
        return None
    channels = step.scale.size
    weight = before.weight.astype(np.float64)
    if isinstance(before, Linear):
        if len(step.input.shape) != 2 or before.weight.shape[0] != channels:
            return None
        weight = weight * step.scale[:, None]
    elif before.output.shape[1] != channels or step.input.shape[1] != channels:
        return None
    elif isinstance(before, Convolution):
        weight = weight * step.scale[:, None, None, None]
    else:
        groups, (cin, outs) = before.groups, before.weight.shape[:2]
        each = step.scale.reshape(groups, 1, outs).repeat(cin // groups, axis=1).reshape(cin, outs)
        weight = weight * each[:, :, None, None]
    bias = np.zeros(channels) if before.bias is None else before.bias.astype(np.float64)
    bias = bias * step.scale + step.shift
    return before, replace(before, weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _layer(view: View, made: dict[Buffer, Step]) -> Convolution | Linear | None:
    """The layer that made all of a view, and nothing else."""
    before = made.get(view.buffer) if view.whole else None
    return before if isinstance(before, (Convolution, Linear)) and before.activation == "none" else None


def _residual(step: Step, made: dict[Buffer, Step]) -> tuple[Step, Step] | None:
    """An addition to what a layer gives: part of the layer; of two layers, of the later one."""
    if not isinstance(step, Elementwise) or step.expression != "{0} + {1}" or not step.output.whole:
        return None
    left, right = step.operands
    order = {buffer: place for place, buffer in enumerate(made)}
    for mine, other in sorted(
        ((left, right), (right, left)), key=lambda both: -order.get(both[0].buffer, -1)
    ):
        before = _layer(mine, made)
        fits = other.contiguous and mine.buffer is not other.buffer and other.dtype == "float32"
        if before is not None and before.residual is None and fits:
            shape = before.output.shape
            return before, replace(before, residual=other.shaped(*shape))
    return None


def _activation(step: Step, made: dict[Buffer, Step]) -> tuple[Step, Step] | None:
    """A ReLU of what a layer gives: part of the layer."""
    if not isinstance(step, Elementwise) or not step.output.whole:
        return None
    kinds: dict[str, Any] = {"act_relu({0})": "relu", "act_relu6({0})": "relu6"}
    if step.expression not in kinds:
        return None
    before = _layer(step.operands[0], made)
    if before is None:
        return None
    return before, replace(before, activation=kinds[step.expression])


def _chain(step: Step, made: dict[Buffer, Step]) -> tuple[Step, Step] | None:
    """What is computed number by number of what was computed so: one loop."""
    if not isinstance(step, Elementwise):
        return None
    for place, operand in enumerate(step.operands):
        before = made.get(operand.buffer)
        if not isinstance(before, Elementwise) or not before.output.whole or not operand.whole:
            continue
        if operand.size != step.output.size or len(step.operands) + len(before.operands) - 1 > _MOST_OPERANDS:
            continue
        if len(step.expression) + len(before.expression) > _MOST_TEXT or before.output.dtype != operand.dtype:
            continue
        again = _reshaped(before, step.output.shape)
        if again is not None:
            return before, step.after(place, again)
    return None


def _reshaped(step: Elementwise, shape: tuple[int, ...]) -> Elementwise | None:
    """The same numbers, in another shape; None where an operand cannot be seen so without a copy."""
    if step.output.shape == shape:
        return step
    if all(view.contiguous for view in step.operands):
        return replace(step, operands=tuple(view.shaped(*shape) for view in step.operands))
    return None
