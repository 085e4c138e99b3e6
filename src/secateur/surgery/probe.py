"""A probe: a copy of a model that runs with marks in place of numbers, and says where they arrive."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from secateur.errors import InputError, kind_and_line
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, call, input_tensors, map_inputs, on_device, output_tensors, tile
from secateur.network.modes import in_evaluation
from secateur.network.weights import weight_layers
from secateur.surgery.computed_weights import computed_weight, normed_parts
from secateur.surgery.cutting import CHANNELWISE, Axis, out_size
from secateur.surgery.kernels import plain_kernels
from secateur.surgery.quiet import how_it_trains, quiet_training, without_chance
from secateur.surgery.recorded import Call, Recorded

RUN_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
)
"""What the code of a model may raise."""
PROBE_SIDE = 64  # larger images are probed at this side, where the model takes it
OUTPUT: Axis = ("", "output")
Marks = dict[Axis, Tensor]
"""Axis -> (examples, entries), boolean: which entries of the axis an example marks, or was seen to carry."""


class Probe:
    """A copy of the model that can be run with marks: in evaluation and, where that differs, in training.

    Attributes:
        order: the layers that mix and are called in any mode, in the order of first calls.
        not_in_training: why the model does not run in training on these inputs; None where it does, or where
            it runs there as in evaluation.
    """

    def __init__(self, model: nn.Module, inputs: Inputs):
        self.model = in_evaluation(copied(model))
        self.mixers = weight_layers(self.model)
        self.channelwise = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, CHANNELWISE) and out_size(module)
        }
        self.computed = [
            name
            for name, module in (*self.mixers.items(), *self.channelwise.items())
            if computed_weight(module)
        ]
        self.dims: dict[str, int] = {}  # the channel dimension of what a channelwise layer is given
        evaluation = Recorded(False, _flags(self.model))
        self.inputs = self._runnable(evaluation, on_device(inputs, self.model))
        self.modes = [evaluation]
        self.not_in_training = self._record_training(evaluation)
        self.calls: dict[str, list[Call]] = {}
        for mode in reversed(self.modes):
            self.calls |= mode.calls
        self.order = list(dict.fromkeys(name for mode in self.modes for name in mode.calls))

    def _runnable(self, mode: Recorded, inputs: Inputs) -> Inputs:
        """Shrink the inputs to a small side if the model takes them so, and record the calls."""
        small = map_inputs(inputs, shrunk)
        shrinks = any(
            a.shape != b.shape for a, b in zip(input_tensors(inputs), input_tensors(small), strict=True)
        )
        if shrinks:
            try:
                self._record(mode, small)
                return small
            except RUN_ERRORS:
                pass  # flattened maps and position tables fix the size
        try:
            self._record(mode, inputs)
        except RUN_ERRORS as error:
            raise InputError(
                f"{type(self.model).__name__} cannot be run on the inputs given, {_shapes(inputs)}: "
                f"{kind_and_line(error)}: give it inputs of the size, channels and names that it was made for"
            ) from None
        return inputs

    def _record_training(self, evaluation: Recorded) -> str | None:
        """Record the quiet training mode as well, where the model runs otherwise; or why it does not run."""
        found = how_it_trains(self.model, self.inputs)
        if found.differs and found.failure is None:
            training = Recorded(True, _flags(quiet_training(self.model)))
            with without_chance():
                self._record(training, self.inputs)
            training.at_once = training.at_once and found.apart
            self.modes.append(training)
        evaluation.set()
        return found.failure

    def _record(self, mode: Recorded, inputs: Inputs) -> None:
        mode.record(self.model, inputs, self.mixers, self._dims_noted)

    @contextmanager
    def _dims_noted(self) -> Iterator[None]:
        hooks = [
            module.register_forward_pre_hook(self._note_dim(name))
            for name, module in self.channelwise.items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _note_dim(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name not in self.dims:
                self.dims[name] = channel_dim(module, inputs[0])

        return note

    def parameters(self) -> dict[Axis, Tensor]:
        """Find parameters and float buffers that a module holds beside its layers, one axis a dimension."""
        found: dict[Axis, Tensor] = {}
        normed = {id(value) for layer in self.mixers.values() for value in normed_parts(layer)}
        for name, module in self.model.named_modules():
            for own, value in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                if value.is_floating_point() and not _of_layer(module, own) and id(value) not in normed:
                    found |= {(name, f"{own}@{dim}"): value for dim, n in enumerate(value.shape) if n > 1}
        return found

    def run(self, marks: Marks, examples: int) -> Marks:
        """Run `examples` examples with entries marked, and find which examples' marks each axis carries."""
        found: Marks = {}
        for mode in self.modes:
            mode.set()
            for axis, seen in self._run_in(mode, marks, examples).items():
                found[axis] = found[axis] | seen if axis in found else seen
        self.modes[0].set()
        return found

    def _run_in(self, mode: Recorded, marks: Marks, examples: int) -> Marks:
        """Run in one mode: all examples at once where their marks can be told apart, else one by one."""
        if examples == 1 or mode.at_once:
            seen, shared = self._run_once(mode, marks, examples)
            if shared:
                seen[OUTPUT] |= self._who(mode, marks, list(range(examples)))
            return seen
        each = [self._run_once(mode, _rows(marks, [row]), 1)[0] for row in range(examples)]
        axes = dict.fromkeys(axis for seen in each for axis in seen)
        blank = {axis: torch.zeros_like(next(seen[axis] for seen in each if axis in seen)) for axis in axes}
        return {axis: torch.cat([seen.get(axis, blank[axis]) for seen in each]) for axis in axes}

    def _who(self, mode: Recorded, marks: Marks, rows: list[int]) -> Tensor:
        """Find the examples whose marks reach an output that all examples share: by halves."""
        hit = torch.zeros(next(len(mark) for mark in marks.values()), 1, dtype=torch.bool)
        for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            seen, shared = self._run_once(mode, _rows(marks, part), len(part)) if part else ({}, False)
            if shared:
                hit |= self._who(mode, marks, part)
            elif len(part) == 1 and bool(seen[OUTPUT].any()):
                hit[part[0]] = True
        return hit

    def _run_once(self, mode: Recorded, marks: Marks, examples: int) -> tuple[Marks, bool]:
        """Run a batch; also whether a mark reached an output of which nobody knows whose it is."""
        seen: Marks = {}
        chance = without_chance() if mode.training else nullcontext()
        try:
            with plain_kernels(), chance, self._stubs(mode, marks, examples, seen), self._spoilt(marks):
                outputs = output_tensors(call(self.model, tile(self.inputs, examples)))
        except RUN_ERRORS as error:
            raise InputError(
                f"{type(self.model).__name__} cannot be traced: marks are NaN in its activations, and its "
                f"code does not stand them: {kind_and_line(error)}"
            ) from None
        hit, shared = torch.zeros(examples, 1, dtype=torch.bool), False
        for tensor in outputs:
            marked = tensor.isnan()
            if examples == 1:
                hit |= bool(marked.any())
            elif mode.outputs_apart or (marked.dim() and not len(marked) % examples):
                hit |= _per_example(marked, examples).flatten(1).any(1, keepdim=True).cpu()
            else:
                shared |= bool(marked.any())
        seen[OUTPUT] = hit
        return seen, shared

    @contextmanager
    def _spoilt(self, marks: Marks) -> Iterator[None]:
        """Write NaN to the marked entries of parameters (of the one example there is) while this holds."""
        changed: list[tuple[Tensor, Tensor]] = []
        try:
            for (name, kind), mark in marks.items():
                if "@" in kind:
                    own, _, dim = kind.partition("@")
                    value = getattr(self.model.get_submodule(name), own)
                    changed.append((value, value.detach().clone()))
                    value.data.index_fill_(
                        int(dim), mark.any(0).nonzero().flatten().to(value.device), math.nan
                    )
            yield
        finally:
            for value, old in reversed(changed):
                value.data.copy_(old)

    @contextmanager
    def _stubs(self, mode: Recorded, marks: Marks, examples: int, seen: Marks) -> Iterator[None]:
        """Put sources in place of the layers that mix, and observers in place of those that do not."""
        turns: dict[str, int] = {}
        for name, layer in self.mixers.items():
            layer.forward = self._source(mode, name, layer, marks, examples, seen, turns)  # type: ignore[method-assign]
        for name, passing in self.channelwise.items():
            passing.forward = self._observer(name, examples, seen)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for stubbed in (*self.mixers.values(), *self.channelwise.values()):
                stubbed.__dict__.pop("forward", None)

    def _source(
        self,
        mode: Recorded,
        name: str,
        layer: nn.Module,
        marks: Marks,
        examples: int,
        seen: Marks,
        turns: dict[str, int],
    ) -> Callable[..., Tensor]:
        dim = -1 if isinstance(layer, nn.Linear) else -len(layer.kernel_size) - 1  # type: ignore[arg-type]

        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            _see(seen, (name, "in"), x, dim, examples)
            turn = turns.get(name, 0)
            turns[name] = turn + 1
            calls = mode.calls[name]
            made = calls[min(turn, len(calls) - 1)]
            return _emit(made, marks.get((name, "out")), dim, examples, x.device)

        return forward

    def _observer(self, name: str, examples: int, seen: Marks) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            dim = self.dims.get(name, 1)
            if x.shape[dim] == out_size(self.channelwise[name]):  # without weights it takes other widths too
                _see(seen, (name, "out"), x, dim, examples)
            return x.clone()

        return forward


def _of_layer(module: nn.Module, own: str) -> bool:
    """Whether a tensor belongs to a layer's own axes; subclasses may hold others beside it."""
    if isinstance(module, (_ConvNd, nn.Linear)):
        return own in ("weight", "bias")
    return isinstance(module, CHANNELWISE)


def _flags(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    return [(module, module.training) for module in model.modules()]


def _rows(marks: Marks, rows: list[int]) -> Marks:
    return {axis: mark[rows] for axis, mark in marks.items()}


def _emit(made: Call, mark: Tensor | None, dim: int, examples: int, device: torch.device) -> Tensor:
    """Make constants of the shape that the layer gave, NaN where an example marks a channel."""
    out = torch.full(made.shape_for(examples), 0.7, dtype=made.dtype, device=device)
    if mark is None or not mark.any():
        return out
    spread, shape = mark.to(device), [1] * out.dim()
    if examples == 1:
        shape[dim] = spread.shape[1]
    else:
        spread = spread.repeat_interleave(len(out) // examples, 0)
        shape[0], shape[dim] = spread.shape
    return out.masked_fill_(spread.view(shape), math.nan)


def _see(seen: Marks, axis: Axis, x: Tensor, dim: int, examples: int) -> None:
    """Note which entries along `dim` carry a mark in which example."""
    per_entry = x.isnan().movedim(dim, -1)
    if examples == 1:
        found = per_entry.flatten(0, -2).any(0)[None] if per_entry.dim() > 1 else per_entry[None]
    else:
        found = _per_example(per_entry, examples).flatten(1, -2).any(1)
    found = found.cpu()
    if axis in seen and seen[axis].shape == found.shape:  # called again
        found = found | seen[axis]
    seen[axis] = found


def _per_example(mask: Tensor, examples: int) -> Tensor:
    """(examples, rest, ..., entries); what is the same for all examples counts for each."""
    if len(mask) % examples:
        mask = mask.flatten(0, -2).any(0).expand(examples, 1, mask.shape[-1])
    return mask.reshape(examples, len(mask) // examples, *mask.shape[1:])


def channel_dim(module: nn.Module, x: Tensor) -> int:
    """Find along which dimension of `x` a channelwise layer's channels lie.

    A layer norm may permute in its own forward (ConvNeXt's): there it is where a changed weight shows.
    """
    if not isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return 1
    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward) or module.weight is None:
        return -1
    probe = copy.deepcopy(module)
    with torch.no_grad():
        before = probe.forward(x)  # past the hooks, which the copy has too
        probe.weight[0] += 1
        changed = probe.forward(x) != before
    for dim in range(1, x.dim()):
        where = changed.movedim(dim, 0).flatten(1).any(1)
        if len(where) == len(module.weight) and where[0] and not where[1:].any():
            return dim
    return -1


def shrunk(x: Tensor) -> Tensor:
    """Shrink images to a small side, their proportions kept; leave everything else as it is."""
    if x.dim() != 4 or not x.is_floating_point() or max(x.shape[2:]) <= PROBE_SIDE:
        return x
    factor = PROBE_SIDE / max(x.shape[2:])
    return F.interpolate(x, [max(1, round(side * factor)) for side in x.shape[2:]])


def _shapes(inputs: Inputs) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))
