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
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.errors import InputError, kind_and_line
from secateur.network.copies import copied
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, call, input_tensors, map_inputs, on_device, output_tensors, tile
from secateur.network.modes import in_evaluation
from secateur.network.weights import weight_layers
from secateur.surgery.actions import Action, Marks, OtherPath, Run, emit_all
from secateur.surgery.computed_weights import computed_weight, normed_parts, weight_norm_of
from secateur.surgery.cutting import CHANNELWISE, Axis, is_transposed, out_size
from secateur.surgery.equivariance import may_normalise, normalised_dim
from secateur.surgery.kernels import no_fast_path, plain_kernels
from secateur.surgery.layout import Layout, gathered, layout_of
from secateur.surgery.place import Counting
from secateur.surgery.quiet import quiet_training, without_chance
from secateur.surgery.recorder import Recorder
from secateur.surgery.statics import Tape, root_axes
from secateur.surgery.watching import SpreadWatch

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
AT_ONCE, ENTRIES_AT_ONCE = 64, 2**25  # examples in one run; entries of the largest tensor in it
OUTPUT: Axis = ("", "output")


class Probe:
    """A copy of the model that can be run with marks.

    Attributes:
        mixers: convolutions and linear layers; `order`: those that hold a weight which runs, as they come.
        channelwise: normalisations and the like, which pass channels on.
        computed: layers whose weight is computed, so that they are not cut.
        over_kept: module -> the dimension along which it normalises by hand.
        record: what was found out by the first run.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, training: bool = False, apart: bool = True):
        self.model, self.training, self.prefix = copied(model), training, "#training" if training else "#"
        self.may_be_apart = apart
        if training:
            quiet_training(self.model)
        else:
            in_evaluation(self.model)
        self.mixers = weight_layers(self.model)
        self.channelwise = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, CHANNELWISE) and out_size(module)
        }
        self.recurrent = {
            name: module for name, module in self.model.named_modules() if isinstance(module, nn.RNNBase)
        }
        self.normed = [name for name, module in self.mixers.items() if weight_norm_of(module) is not None]
        self.computed = [
            name
            for name, module in (*self.mixers.items(), *self.channelwise.items())
            if computed_weight(module)
        ]
        self.dims: dict[str, int] = {}  # the channel dimension of what a channelwise layer is given
        self.over_kept: dict[str, int] = {}
        self.active: Recorder | _Marker
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
            f"{type(self.model).__name__} cannot be run on the inputs given, {_shapes(inputs)}: "
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
        marker = _Marker(self.record, run, watch)
        output = self._call(marker, tile(self.inputs, run.examples))
        if marker.count != self.record.count:
            raise OtherPath("it took another way than before")
        hit = torch.zeros(run.examples, 1, dtype=torch.bool)
        for tensor, (layout, _) in zip(output_tensors(output), self.outputs, strict=True):
            if layout is not None or run.examples == 1:
                hit |= gathered(tensor.isnan(), layout, (), run.examples)
        run.seen[OUTPUT] = hit
        return run.seen

    def _call(self, mode: Recorder | _Marker, inputs: Inputs) -> Any:
        self.active = mode
        kernels = no_fast_path if _on_cpu(self.model) else plain_kernels
        chance = without_chance if self.training else nullcontext
        with kernels(), chance(), attributes_kept(self.model), self._stubs(), mode:
            return call(self.model, inputs)

    @contextmanager
    def _stubs(self) -> Iterator[None]:
        """Put observers in place of layers that pass channels on, and sources in place of recurrent ones."""
        stubs: dict[nn.Module, Callable[..., Any]] = {}
        for name, module in self.channelwise.items():
            stubs[module] = self._observer(name, module)
        for name, module in self.recurrent.items():
            stubs[module] = self._recurrent(name, module)
        recording = isinstance(self.active, Recorder)
        if recording:
            self.over_kept = {}
        for name, module in self.model.named_modules():
            if name and name in self.over_kept:
                stubs[module] = self._normaliser(name)
            elif name and recording and may_normalise(module):
                stubs[module] = self._tried(name, module, module.__dict__.get("forward", module.forward))
        for module, stub in stubs.items():
            module.forward = stub  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in stubs:
                module.__dict__.pop("forward", None)

    def _observer(self, name: str, module: nn.Module) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            if name not in self.dims:
                with self.active.apart():
                    self.dims[name] = channel_dim(module, torch.randn(x.shape).to(x))
            dim = self.dims[name]
            if x.shape[dim] == out_size(module):  # without weights it takes other widths too
                self.active.observe((name, "out"), x, dim)
            return x.clone()

        return forward

    def _normaliser(self, name: str) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            self.active.observe((name, MADE_OVER), x, self.over_kept[name])
            return x.clone()

        return forward

    def _tried(self, name: str, module: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
        """A module that may turn out to be a normalisation when it is called first."""
        tried: list[int | None] = []

        def forward(*args: Any, **kwargs: Any) -> Any:
            x = args[0] if args and isinstance(args[0], Tensor) and args[0].is_floating_point() else None
            if not tried:
                with self.active.apart():
                    try:
                        dim = normalised_dim(module, x) if x is not None else None
                    except RUN_ERRORS:
                        dim = None
                tried.append(dim)
                if dim is not None:
                    self.over_kept[name] = dim
            if tried[0] is None or x is None:
                return plain(*args, **kwargs)
            return self._normaliser(name)(x)

        return forward

    def _recurrent(self, name: str, module: nn.RNNBase) -> Callable[..., Any]:
        """A recurrent layer as one source: its units, of all layers and directions."""
        layers, ways = module.num_layers, 2 if module.bidirectional else 1
        units = module.proj_size or module.hidden_size

        def forward(x: Any, state: Any = None) -> Any:
            data = x.data if isinstance(x, PackedSequence) else x
            self.active.observe((name, "#in"), data, -1)
            for given in state if isinstance(state, tuple) else [state]:
                if given is not None and given.shape[-1] == module.hidden_size:
                    self.active.observe((name, "#state"), given, -1)
            shape: tuple[int, ...] = (*data.shape[:-1], ways * units)
            hidden: tuple[int, ...] = (layers * ways, units)
            at = -1
            if isinstance(x, PackedSequence):
                hidden, at = (layers * ways, int(x.batch_sizes[0]), units), 1
            elif data.dim() == 3:
                hidden, at = (layers * ways, data.shape[0 if module.batch_first else 1], units), 1
            cell = (*hidden[:-1], module.hidden_size)
            shapes, places = [shape, hidden], [(-1, ways), (at, 1)]
            if isinstance(module, nn.LSTM) and not module.proj_size:
                shapes, places = [*shapes, cell], [*places, (at, 1)]
            made = self.active.emit((name, "#units"), units, data, shapes, places)
            y: Any = made[0]
            if isinstance(x, PackedSequence):
                y = PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
            if isinstance(module, nn.LSTM):
                return y, (made[1], made[-1] if not module.proj_size else made[1].new_zeros(cell))
            return y, made[1]

        return forward

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


MADE_OVER = "#over"


class _Marker(Counting, TorchDispatchMode):
    """Does at each operator what was recorded for it."""

    def __init__(self, record: Recorder, run: Run, watch: SpreadWatch | None):
        super().__init__()
        self.record, self.state, self.watch = record, run, watch

    def _turn(self, axis: Axis) -> Layout | None:
        turn = self.next_turn(axis)
        if (axis, turn) not in self.record.seen_at:
            raise OtherPath("a layer was called more often than before")
        return self.record.seen_at[axis, turn]

    def observe(self, axis: Axis, x: Tensor, dim: int) -> None:
        if axis not in self.record.readers:
            return
        with self.apart():
            if (axis, self.turns.get(axis, -1) + 1) in self.record.seen_at:
                layout = self._turn(axis)
                if not self.state.looking:
                    self.state.see(axis, x.isnan(), layout, (dim % x.dim(),))

    def emit(
        self,
        axis: Axis,
        _size: int,
        like: Tensor,
        shapes: list[tuple[int, ...]],
        places: list[tuple[int, int]],
    ) -> list[Tensor]:
        with self.apart():
            return emit_all(self.state, axis, like, shapes, places, self._turn(axis))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        index = self.next_operator(func)
        if index is None:
            return func(*args, **kwargs)
        found: tuple[str, Action] | None = self.record.actions.get(index)
        if found is None:
            result = func(*args, **kwargs)
        elif found[0] != func.overloadpacket.__name__:
            raise OtherPath(f"{func.overloadpacket.__name__} runs where {found[0]} did")
        else:
            result = found[1].run(self.state, func, args, kwargs)
        if self.watch:
            self.watch.saw(func, args, result)
        return result


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Put back what a run leaves in the attributes of modules, as tables that are made once and then kept."""
    before = [
        (module, {name: _held(value) for name, value in vars(module).items() if name not in _TORCHS})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, held in before:
            own = vars(module)
            for name in [name for name in own if name not in held and name not in _TORCHS]:
                del own[name]
            own.update(held)


_TORCHS = frozenset(vars(nn.Module()))


def _held(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, (dict, list, set)) else value


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


def channel_dim(module: nn.Module, x: Tensor) -> int:
    """Find along which dimension of `x` a channelwise layer's channels lie.

    A layer norm may permute in its own forward (ConvNeXt's): there it is where a changed weight shows.
    """
    if not isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return 1
    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward) or module.weight is None:
        return -1
    probe = copy.deepcopy(module)
    probe.__dict__.pop("forward", None)
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


def differ(one: Inputs, other: Inputs) -> bool:
    """Whether two inputs that are wrapped alike have other shapes."""
    pairs = zip(input_tensors(one), input_tensors(other), strict=True)
    return any(a.shape != b.shape for a, b in pairs)


def _shapes(inputs: Inputs) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))
