"""A probe: a copy of a model that runs with marks in place of numbers, and says where they arrive."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized

from secateur.errors import InputError, kind_and_line
from secateur.network.inputs import Inputs, call, input_tensors, map_inputs, on_device, output_tensors, tile
from secateur.network.weights import weight_layers
from secateur.surgery.cutting import CHANNELWISE, Axis, out_size
from secateur.surgery.kernels import plain_kernels

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


@dataclass
class _Call:
    """One call of a layer: the shape it gave for 2 examples, and whether that grew with a third."""

    shape: tuple[int, ...]
    batched: bool
    dtype: torch.dtype


class Probe:
    """A copy of the model that can be run with marks."""

    def __init__(self, model: nn.Module, inputs: Inputs):
        self.model = _copied(model).eval()
        self.mixers = weight_layers(self.model)
        self.channelwise = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, CHANNELWISE) and out_size(module)
        }
        self.computed = [
            name
            for name, module in (*self.mixers.items(), *self.channelwise.items())
            if (hasattr(module, "weight") and "weight" not in module._parameters) or is_parametrized(module)
        ]
        self.calls: dict[str, list[_Call]] = {}
        self.dims: dict[str, int] = {}  # the channel dimension of what a channelwise layer is given
        self.inputs = self._runnable(on_device(inputs, self.model))
        self.order = list(self.calls)  # of first calls

    def _runnable(self, inputs: Inputs) -> Inputs:
        """Shrink the inputs to a small side if the model takes them so, and record the calls."""
        small = map_inputs(inputs, _shrunk)
        shrinks = any(
            a.shape != b.shape for a, b in zip(input_tensors(inputs), input_tensors(small), strict=True)
        )
        if shrinks:
            try:
                self._record(small)
                return small
            except RUN_ERRORS:
                pass  # flattened maps and position tables fix the size
        try:
            self._record(inputs)
        except RUN_ERRORS as error:
            raise InputError(
                f"{type(self.model).__name__} cannot be run on the inputs given, {_shapes(inputs)}: "
                f"{kind_and_line(error)}: give it inputs of the size, channels and names that it was made for"
            ) from None
        return inputs

    def _record(self, inputs: Inputs) -> None:
        """Run plainly with 2 and with 3 examples, and note the shapes."""
        runs: list[dict[str, list[_Call]]] = []
        for examples in (2, 3):
            found: dict[str, list[_Call]] = {}
            hooks = [
                module.register_forward_hook(self._note(name, found)) for name, module in self.mixers.items()
            ]
            if examples == 2:
                hooks += [
                    module.register_forward_pre_hook(self._note_dim(name))
                    for name, module in self.channelwise.items()
                ]
            try:
                call(self.model, tile(inputs, examples))
            finally:
                for hook in hooks:
                    hook.remove()
            runs.append(found)
        for name, calls in runs[0].items():
            others = runs[1].get(name, [])
            for index, made in enumerate(calls):
                grown = index < len(others) and others[index].shape[0] * 2 == made.shape[0] * 3
                made.batched = grown
        self.calls = runs[0]

    @staticmethod
    def _note(name: str, found: dict[str, list[_Call]]) -> Callable[..., None]:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found.setdefault(name, []).append(_Call(tuple(output.shape), False, output.dtype))

        return note

    def _note_dim(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name not in self.dims:
                self.dims[name] = channel_dim(module, inputs[0])

        return note

    def parameters(self) -> dict[Axis, Tensor]:
        """Find parameters and float buffers that a module holds beside its layers, one axis a dimension."""
        found: dict[Axis, Tensor] = {}
        for name, module in self.model.named_modules():
            for own, value in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                if value.is_floating_point() and not _of_layer(module, own):
                    found |= {(name, f"{own}@{dim}"): value for dim, n in enumerate(value.shape) if n > 1}
        return found

    def run(self, marks: Marks, examples: int) -> Marks:
        """Run `examples` examples with entries marked, and find which examples' marks each axis carries."""
        seen: Marks = {}
        try:
            with plain_kernels(), self._stubs(marks, examples, seen), self._spoilt(marks):
                output = call(self.model, tile(self.inputs, examples))
        except RUN_ERRORS as error:
            raise InputError(
                f"{type(self.model).__name__} cannot be traced: marks are NaN in its activations, and its "
                f"code does not stand them: {kind_and_line(error)}"
            ) from None
        hit = torch.zeros(examples, 1, dtype=torch.bool)
        for tensor in output_tensors(output):
            hit |= _per_example(tensor.isnan(), examples).flatten(1).any(1, keepdim=True).cpu()
        seen[OUTPUT] = hit
        return seen

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
    def _stubs(self, marks: Marks, examples: int, seen: Marks) -> Iterator[None]:
        """Put sources in place of the layers that mix, and observers in place of those that do not."""
        turns: dict[str, int] = {}
        for name, layer in self.mixers.items():
            layer.forward = self._source(name, layer, marks, examples, seen, turns)  # type: ignore[method-assign]
        for name, passing in self.channelwise.items():
            passing.forward = self._observer(name, examples, seen)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for stubbed in (*self.mixers.values(), *self.channelwise.values()):
                stubbed.__dict__.pop("forward", None)

    def _source(
        self,
        name: str,
        layer: nn.Module,
        marks: Marks,
        examples: int,
        seen: Marks,
        turns: dict[str, int],
    ) -> Callable[..., Tensor]:
        dim = -1 if isinstance(layer, nn.Linear) else 1

        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            _see(seen, (name, "in"), x, dim, examples)
            turn = turns.get(name, 0)
            turns[name] = turn + 1
            made = self.calls[name][min(turn, len(self.calls[name]) - 1)]
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


def _copied(model: nn.Module) -> nn.Module:
    """Copy a model; InputError where torch makes no copy, as of weights computed by an old-style hook."""
    try:
        return copy.deepcopy(model)
    except RUN_ERRORS as error:
        raise InputError(f"{type(model).__name__} cannot be copied: {kind_and_line(error)}") from None


def _emit(made: _Call, mark: Tensor | None, dim: int, examples: int, device: torch.device) -> Tensor:
    """Make constants of the shape that the layer gave, NaN where an example marks a channel."""
    length = made.shape[0] // 2 * examples if made.batched else made.shape[0]
    out = torch.full((length, *made.shape[1:]), 0.7, dtype=made.dtype, device=device)
    if mark is None or not mark.any():
        return out
    if not made.batched:  # shared by all examples: no mark can be told from another
        return out.fill_(math.nan)
    spread = mark.repeat_interleave(length // examples, 0).to(device)
    shape = [1] * out.dim()
    shape[0], shape[dim] = spread.shape
    return out.masked_fill_(spread.view(shape), math.nan)


def _see(seen: Marks, axis: Axis, x: Tensor, dim: int, examples: int) -> None:
    """Note which entries along `dim` carry a mark in which example."""
    per_entry = x.isnan().movedim(dim, -1)
    found = _per_example(per_entry, examples).flatten(1, -2).any(1).cpu()
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


def _shrunk(x: Tensor) -> Tensor:
    """Shrink images to a small side, their proportions kept; leave everything else as it is."""
    if x.dim() != 4 or not x.is_floating_point() or max(x.shape[2:]) <= PROBE_SIDE:
        return x
    factor = PROBE_SIDE / max(x.shape[2:])
    return F.interpolate(x, [max(1, round(side * factor)) for side in x.shape[2:]])


def _shapes(inputs: Inputs) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))
