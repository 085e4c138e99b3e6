"""A probe: a copy of a model that runs with marks in place of numbers, and says where they arrive."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.errors import InputError, kind_and_line
from secateur.network.attributes import attributes_kept
from secateur.network.copies import copied
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, call, input_tensors, map_inputs, on_device, output_tensors, tile
from secateur.network.modes import in_evaluation
from secateur.network.run_errors import RUN_ERRORS
from secateur.network.weights import weight_layers
from secateur.surgery.actions import Marks, OtherPath, Run
from secateur.surgery.computed_weights import computed_weight, normed_parts, weight_norm_of
from secateur.surgery.cutting import CHANNELWISE, Axis, is_transposed, out_size
from secateur.surgery.kernels import no_fast_path, plain_kernels
from secateur.surgery.layout import Layout, gathered, layout_of
from secateur.surgery.marker import Marker
from secateur.surgery.probe_size import differ, shapes_of, shrunk
from secateur.surgery.quiet import quiet_training, without_chance
from secateur.surgery.recorder import Recorder
from secateur.surgery.stand_ins import StandIns
from secateur.surgery.statics import Tape, root_axes
from secateur.surgery.watching import SpreadWatch

AT_ONCE, ENTRIES_AT_ONCE = 64, 2**25  # examples in one run; entries of the largest tensor in it
OUTPUT: Axis = ("", "output")


class Probe(StandIns):
    """A copy of the model that can be run with marks.

    Attributes:
        mixers: convolutions and linear layers; `order`: those that hold a weight which runs, as they come.
        computed: layers whose weight is computed, so that they are not cut.
        record: what was found out by the first run.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, training: bool = False, apart: bool = True):
        super().__init__(copied(model))
        self.training, self.prefix = training, "#training" if training else "#"
        self.may_be_apart = apart
        if training:
            quiet_training(self.model)
        else:
            in_evaluation(self.model)
        self.mixers = weight_layers(self.model)
        self.normed = [name for name, module in self.mixers.items() if weight_norm_of(module) is not None]
        self.computed = [
            name
            for name, module in (*self.mixers.items(), *self.channelwise.items())
            if computed_weight(module)
        ]
        self.inputs, self.apart = self._recorded(Examples.by_shape(on_device(inputs, self.model)))
        self.at_once = max(2, min(AT_ONCE, 2 * ENTRIES_AT_ONCE // self.record.largest)) if self.apart else 1

    def check(self) -> None:
        """Run with marks once, which finds out along which dimension products of activations read channels.

        Raises:
            InputError: where its code does not stand marks.
        """
        self._look()

    # ---- the run that finds out ----

    def _recorded(self, inputs: Examples) -> tuple[Examples, bool]:
        """Find inputs that the model takes, small ones if it does, and whether examples run together."""
        small = map_inputs(inputs, shrunk)
        floats = any(tensor.is_floating_point() for tensor in input_tensors(inputs))
        apart = inputs.apart and (inputs.first_everywhere or floats) and self.may_be_apart
        error: Exception | None = None
        for some in (small, inputs) if differ(inputs, small) else (inputs,):
            for together in (True, False) if apart else (False,):
                try:
                    self._record(some, together)
                    return some, together
                except RUN_ERRORS as raised:
                    error = raised
        assert error is not None
        raise InputError(
            f"{type(self.model).__name__} cannot be run on the inputs given, {shapes_of(inputs)}: "
            f"{kind_and_line(error)}: give it inputs of the size, channels and names that it was made for"
        ) from None

    def _record(self, inputs: Examples, together: bool) -> None:
        """Run once, with a second example that is spoilt if examples can be told apart."""
        normed = {id(value) for name in self.normed for value in normed_parts(self.mixers[name])}
        tape = Tape(root_axes(self.model, axis_along, normed))
        owners: dict[int, list[tuple[str, nn.Module, str]]] = {}
        for name, module in self.model.named_modules(remove_duplicate=False):
            for own, value in (*module._parameters.items(), *module._buffers.items()):
                if value is not None:
                    owners.setdefault(id(value), []).append((name, module, own))
        examples = 2 if together else 1
        self.record = Recorder(
            self.model, tape, examples, self.prefix, owners, axis_along, [*self.computed, *self.normed]
        )
        given = tile(inputs, 1)
        if together:
            given = given.beside(given.map(_spoilt))
        for tensor in input_tensors(given):
            self.record.taint(tensor)
        output = self._call(self.record, given)
        self.outputs = [self._output_layout(tensor, together) for tensor in output_tensors(output)]
        self.record.sizes[OUTPUT] = 1

    def _output_layout(self, tensor: Tensor, together: bool) -> tuple[Layout | None, int]:
        layout = layout_of(tensor.isnan()) if together else None
        bits = self.record.bits(tensor)
        self.record.readers[OUTPUT] = self.record.readers.get(OUTPUT, 0) | bits
        return layout, bits

    def _look(self) -> None:
        """Find out along which dimension products of activations read channels."""
        marks: Marks = {}
        generator = torch.Generator().manual_seed(0)
        for axis in self.record.sources:
            number = torch.arange(self.record.sizes[axis])
            some = torch.rand(len(number), generator=generator) < 0.5
            marks[axis] = torch.stack([number % 2 == 0, number // 2 % 2 == 0, some, ~some])
        if marks:
            self.run(marks, looking=True)

    # ---- runs with marks ----

    def run(self, marks: Marks, *, looking: bool = False, mixing: SpreadWatch | None = None) -> Marks:
        """Run as many examples as the marks have, and find which examples' marks each axis carries.

        Args:
            looking: see `Run`.
            mixing: is told of every operator, and what has marks mixes them as it really does.
        """
        examples = len(next(iter(marks.values())))
        found: list[Marks] = []
        for start in range(0, examples, self.at_once):
            part = {axis: mark[start : start + self.at_once] for axis, mark in marks.items()}
            count = len(next(iter(part.values())))
            if self.apart and count < 2:  # torch takes other ways with one
                part, count = {axis: mark.expand(2, -1) for axis, mark in part.items()}, 2
            try:
                run = Run(part, count, looking=looking, mixing=mixing is not None)
                found.append(self._run(run, mixing))
            except RUN_ERRORS as error:
                if self.apart and isinstance(error, OtherPath):
                    raise
                raise InputError(
                    f"{type(self.model).__name__} cannot be traced: marks are NaN in its activations, and "
                    f"its code does not stand them: {kind_and_line(error)}"
                ) from None
        axes = {axis for marks in found for axis in marks}
        return {axis: torch.cat([marks[axis] for marks in found])[:examples] for axis in axes}

    def _run(self, run: Run, watch: SpreadWatch | None) -> Marks:
        marker = Marker(self.record, run, watch)
        output = self._call(marker, tile(self.inputs, run.examples))
        if marker.count != self.record.count:
            raise OtherPath("it took another way than before")
        hit = torch.zeros(run.examples, 1, dtype=torch.bool)
        for tensor, (layout, _) in zip(output_tensors(output), self.outputs, strict=True):
            if layout is not None or run.examples == 1:
                hit |= gathered(tensor.isnan(), layout, (), run.examples)
        run.seen[OUTPUT] = hit
        return run.seen

    def _call(self, mode: Recorder | Marker, inputs: Inputs) -> Any:
        self.active = mode
        kernels = no_fast_path if _on_cpu(self.model) else plain_kernels
        chance = without_chance if self.training else nullcontext
        with kernels(), chance(), attributes_kept(self.model), self.stubs(), mode:
            return call(self.model, inputs)

    def parameters(self) -> dict[Axis, int]:
        """Find the axes of parameters and buffers that layers do not have by themselves: axis -> size."""
        return {axis: size for axis, size in self.record.tape.sizes.items() if "@" in axis[1]}


def probe_of(model: nn.Module, inputs: Inputs, *, training: bool = False, apart: bool = True) -> Probe:
    """Make a probe of a model; of one that takes other ways with other numbers of examples, one at a time.

    Args:
        apart: whether examples can run together.
    """
    probe = Probe(model, inputs, training=training, apart=apart)
    if probe.apart:
        try:
            probe.check()
            return probe
        except (*RUN_ERRORS, InputError):
            probe = Probe(model, inputs, training=training, apart=False)
    probe.check()
    return probe


def axis_along(name: str, module: nn.Module, own: str, dim: int) -> Axis | None:
    """Find the axis that a dimension of a module's parameter or buffer follows; None for a kernel's sides."""
    if isinstance(module, (_ConvNd, nn.Linear)) and own in ("weight", "bias"):
        if dim > 1:
            return None
        writes = dim == 0 if own == "bias" or not is_transposed(module) else dim == 1
        return (name, "out" if writes else "in")
    return (name, "out" if isinstance(module, CHANNELWISE) and out_size(module) else f"{own}@{dim}")


def _on_cpu(model: nn.Module) -> bool:
    first = next(model.parameters(), None)
    return first is None or first.device.type == "cpu"


def _spoilt(x: Tensor) -> Tensor:
    return torch.full_like(x, math.nan) if x.is_floating_point() else x
