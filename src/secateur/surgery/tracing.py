"""The channel groups of any model that runs, found by watching what reaches what.

A probe runs the model with every convolution and linear layer replaced by a source of constants. Entries of a
source are marked by NaN, which survives all that works channel by channel (activations, pooling, padding,
addition, concatenation, shuffles, reshapes) and spoils whatever mixes channels. What a layer reads as NaN was
written by the marked channel. The marks of one run are the bits of the channel numbers, one bit an example,
and their complements: so a few runs tell, for all layers at once, the very index of every channel at every
layer that reads it, whatever the code in between does with it.

Nothing is trusted that is found here: see `secateur.surgery.proof`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.budget import weight_layers
from secateur.calling import Inputs, call, input_tensors, map_inputs, on_device, output_tensors, tile
from secateur.errors import InputError
from secateur.surgery.cutting import (
    CHANNELWISE,
    Axis,
    in_size,
    is_transposed,
    out_size,
    passes_on,
    whole_groups,
)
from secateur.surgery.graph import ChannelGraph, ChannelGroup, Frozen, Site

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
EXAMPLES_AT_ONCE = 64
OUTPUT: Axis = ("", "output")
Marks = dict[Axis, Tensor]
"""Axis -> (examples, entries), boolean: which entries of the axis an example marks, or was seen to carry."""


def trace(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """The channel groups of `model`, which is left as it is.

    Args:
        inputs: one example or more, as the model takes them: a tensor, a tuple, or a dictionary.

    Returns:
        The graph, unproved; what cannot be cut is in `frozen` with the reason.

    Raises:
        InputError: where the model cannot be run on the inputs.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        probe = _Probe(model, inputs)
        links = _Links(probe)
        _follow_layers(probe, links)
        _follow_parameters(probe, links)
        _tie_grouped(probe, links)
        return _graph(model, probe, links)


@dataclass
class _Call:
    """One call of a layer: the shape it gave for 2 examples, and whether that grew with a third."""

    shape: tuple[int, ...]
    batched: bool
    dtype: torch.dtype


class _Probe:
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
        """The inputs at a small side if the model takes them so, else as they are; calls are recorded."""
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
                f"{first_line(error)}"
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
            for index, of_two in enumerate(calls):
                grown = index < len(others) and others[index].shape[0] * 2 == of_two.shape[0] * 3
                of_two.batched = grown
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
        """Parameters and float buffers that a module holds beside its layers, one axis a dimension."""
        found: dict[Axis, Tensor] = {}
        for name, module in self.model.named_modules():
            if name in self.mixers or isinstance(module, CHANNELWISE):
                continue
            for own, value in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                if value.is_floating_point():
                    found |= {(name, f"{own}@{dim}"): value for dim, n in enumerate(value.shape) if n > 1}
        return found

    def run(self, marks: Marks, examples: int) -> Marks:
        """Run `examples` examples with entries marked; which examples' marks each axis carries."""
        seen: Marks = {}
        try:
            with self._stubs(marks, examples, seen), self._spoilt(marks):
                output = call(self.model, tile(self.inputs, examples))
        except RUN_ERRORS as error:
            raise InputError(
                f"{type(self.model).__name__} cannot be traced: marks are NaN in its activations, and its "
                f"code does not stand them: {first_line(error)}"
            ) from None
        hit = torch.zeros(examples, 1, dtype=torch.bool)
        for tensor in output_tensors(output):
            hit |= _per_example(tensor.isnan(), examples).flatten(1).any(1, keepdim=True).cpu()
        seen[OUTPUT] = hit
        return seen

    @contextmanager
    def _spoilt(self, marks: Marks) -> Iterator[None]:
        """NaN at the marked entries of parameters; those of the one example there is."""
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


def _copied(model: nn.Module) -> nn.Module:
    """A copy; InputError where torch makes none, as of weights computed by an old-style hook."""
    try:
        return copy.deepcopy(model)
    except RUN_ERRORS as error:
        raise InputError(f"{type(model).__name__} cannot be copied: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Type and first line of an error, shortened."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:160]}" if text else type(error).__name__


def _emit(made: _Call, mark: Tensor | None, dim: int, examples: int, device: torch.device) -> Tensor:
    """Constants of the shape that the layer gave, NaN where an example marks a channel."""
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
    """Along which dimension of `x` a channelwise layer's channels lie.

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
    """Images at a small side, their proportions kept; everything else as it is."""
    if x.dim() != 4 or not x.is_floating_point() or max(x.shape[2:]) <= PROBE_SIDE:
        return x
    factor = PROBE_SIDE / max(x.shape[2:])
    return F.interpolate(x, [max(1, round(side * factor)) for side in x.shape[2:]])


def _shapes(inputs: Inputs) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))


class _Links:
    """Which entries of which axes hang together: a union-find over all of them."""

    def __init__(self, probe: _Probe):
        self.start: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.parent: list[int] = []
        self._add(OUTPUT, 1)
        for name in probe.order:
            self._add((name, "out"), out_size(probe.mixers[name]))
            self._add((name, "in"), in_size(probe.mixers[name]))
        for name, module in probe.channelwise.items():
            self._add((name, "out"), out_size(module))
        for axis, value in probe.parameters().items():
            self._add(axis, value.shape[int(axis[1].partition("@")[2])])

    def _add(self, axis: Axis, size: int) -> None:
        self.start[axis], self.sizes[axis] = len(self.parent), size
        self.parent.extend(range(len(self.parent), len(self.parent) + size))

    def find(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def tie(self, one: Axis, i: int, other: Axis, j: int) -> None:
        a, b = self.find(self.start[one] + i), self.find(self.start[other] + j)
        self.parent[max(a, b)] = min(a, b)

    def tie_all(self, one: Axis, other: Axis, j: int) -> None:
        for i in range(self.sizes[one]):
            self.tie(one, i, other, j)

    def components(self) -> dict[int, dict[Axis, list[int]]]:
        """Root -> the entries of every axis that hang together."""
        found: dict[int, dict[Axis, list[int]]] = {}
        for axis, start in self.start.items():
            for entry in range(self.sizes[axis]):
                found.setdefault(self.find(start + entry), {}).setdefault(axis, []).append(entry)
        return found


def codes(size: int) -> Tensor:
    """(2 * bits, size), boolean: the bits of 0..size-1, then their complements."""
    bits = max(1, (size - 1).bit_length())
    ones = (torch.arange(size)[None] >> torch.arange(bits)[:, None] & 1).bool()
    return torch.cat([ones, ~ones])


def decode(seen: Tensor) -> Tensor:
    """(2 * bits, entries) as seen -> (entries,): the one index that arrived, -1 where none, -2 several."""
    bits = len(seen) // 2
    ones, zeros = seen[:bits], seen[bits:]
    index = (ones.long() << torch.arange(bits)[:, None]).sum(0)
    index[(ones & zeros).any(0)] = -2
    index[~seen.any(0)] = -1
    return index


def _follow_layers(probe: _Probe, links: _Links) -> None:
    """Link what every convolution and linear layer writes to where it arrives."""
    sources = [(name, "out") for name in probe.order]
    _follow(sources, links, lambda marks, examples: probe.run(marks, examples), batched=True)


def _follow_parameters(probe: _Probe, links: _Links) -> None:
    """The same for parameters beside the layers; they belong to all examples, so one mark is one run."""

    def run(marks: Marks, examples: int) -> Marks:
        each = [{axis: mark[i : i + 1] for axis, mark in marks.items()} for i in range(examples)]
        rows = [probe.run(of_one, 1) for of_one in each]
        return {axis: torch.cat([row[axis] for row in rows]) for axis in rows[0]}

    axes = list(probe.parameters())
    names = [(name, kind.partition("@")[0]) for name, kind in axes]
    single = [axis for axis, name in zip(axes, names, strict=True) if names.count(name) == 1]
    _follow(single, links, run, batched=False)
    for axis in axes:
        if axis not in single:
            _follow([axis], links, run, batched=False)


def _follow(sources: list[Axis], links: _Links, run: Callable[[Marks, int], Marks], *, batched: bool) -> None:
    """All sources at once where their indices agree wherever they meet; the others one by one."""
    if not sources:
        return
    reach = _reach(sources, links, run, EXAMPLES_AT_ONCE if batched else 1)
    most = max(links.sizes[source] for source in sources)
    code = codes(most)
    marks = {source: code[:, : links.sizes[source]] for source in sources}
    together = run(marks, len(code))
    unclear: dict[Axis, Tensor] = {}
    alone: set[int] = set()
    for axis, seen in together.items():
        if axis == OUTPUT or axis not in links.start:
            continue
        index = decode(seen)
        for entry, k in enumerate(index.tolist()):
            arrived = reach[axis][:, entry].nonzero().flatten().tolist() if axis in reach else []
            if k >= 0 and all(k < links.sizes[sources[s]] for s in arrived):
                for s in arrived:
                    links.tie(sources[s], k, axis, entry)
            elif arrived:
                unclear.setdefault(axis, torch.zeros(len(index), dtype=torch.bool))[entry] = True
                alone.update(arrived)
    for s in sorted(alone):
        _follow_one(sources[s], links, run, unclear, of_layer=batched)
    for s, hit in enumerate(reach[OUTPUT][:, 0].tolist()):
        if hit:
            links.tie_all(sources[s], OUTPUT, 0)


def _reach(sources: list[Axis], links: _Links, run: Callable[[Marks, int], Marks], at_once: int) -> Marks:
    """Axis -> (sources, entries): which source reaches which entry at all."""
    found: list[Marks] = []
    for start in range(0, len(sources), at_once):
        part = sources[start : start + at_once]
        marks = {}
        for row, source in enumerate(part):
            marks[source] = torch.zeros(len(part), links.sizes[source], dtype=torch.bool)
            marks[source][row] = True
        found.append(run(marks, len(part)))
    return {axis: torch.cat([marks[axis] for marks in found]) for axis in found[0]}


def _follow_one(
    source: Axis,
    links: _Links,
    run: Callable[[Marks, int], Marks],
    unclear: dict[Axis, Tensor],
    *,
    of_layer: bool,
) -> None:
    """One source by itself. Channels that meet in an entry hang together; often all of them do.

    If only some do (the halves of a gated unit, what a pixel shuffle makes one of), marking one after the
    other tells which. Of a parameter several entries meet where they are no channels, but positions or
    tokens: nothing is tied then, and if that is wrong the cut network does not run.
    """
    size = links.sizes[source]
    code = codes(size)
    seen = run({source: code}, len(code))
    each: Marks = {}
    for axis, entries in unclear.items():
        index = decode(seen[axis])
        for entry in entries.nonzero().flatten().tolist():
            k = int(index[entry])
            if 0 <= k < size:
                links.tie(source, k, axis, entry)
            elif k == -1 or not of_layer:
                continue
            elif seen[axis][:, entry].all():
                links.tie_all(source, axis, entry)
            else:
                each = each or _each_alone(source, size, run)
                for one in each[axis][:, entry].nonzero().flatten().tolist():
                    links.tie(source, one, axis, entry)


def _each_alone(source: Axis, size: int, run: Callable[[Marks, int], Marks]) -> Marks:
    """Axis -> (channels of the source, entries): which channel reaches which entry."""
    parts = torch.eye(size, dtype=torch.bool).split(EXAMPLES_AT_ONCE)
    found = [run({source: part}, len(part)) for part in parts]
    return {axis: torch.cat([marks[axis] for marks in found]) for axis in found[0]}


def _tie_grouped(probe: _Probe, links: _Links) -> None:
    """What a grouped layer can lose at once: the same offset of every group, or whole groups."""
    for name in probe.order:
        layer = probe.mixers[name]
        if isinstance(layer, _ConvNd) and layer.groups > 1:
            if is_transposed(layer):
                for axis in ((name, "in"), (name, "out")):
                    links.tie_all(axis, (name, "in"), 0)
            elif passes_on(layer):
                _tie_rows(links, (name, "in"), layer.groups)
                _tie_rows(links, (name, "out"), layer.groups)
                each_in, each_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
                for group in range(layer.groups):
                    links.tie((name, "in"), group * each_in, (name, "out"), group * each_out)
            else:
                _tie_offsets(links, (name, "in"), layer.groups)
                _tie_offsets(links, (name, "out"), layer.groups)
    for name, module in probe.channelwise.items():
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
            tie = _tie_rows if whole_groups(module) else _tie_offsets
            tie(links, (name, "out"), module.num_groups)
    for name in probe.computed:
        kinds = [kind for kind in ("in", "out") if (name, kind) in links.start]
        for kind in kinds:
            links.tie_all((name, kind), (name, kinds[0]), 0)
    _tie_shared(probe, links)


def _tie_rows(links: _Links, axis: Axis, groups: int) -> None:
    each = links.sizes[axis] // groups
    for entry in range(links.sizes[axis]):
        links.tie(axis, entry, axis, entry // each * each)


def _tie_offsets(links: _Links, axis: Axis, groups: int) -> None:
    each = links.sizes[axis] // groups
    for entry in range(links.sizes[axis]):
        links.tie(axis, entry, axis, entry % each)


def _tie_shared(probe: _Probe, links: _Links) -> None:
    """Modules that share a parameter or a buffer lose the same of its entries."""
    first: dict[tuple[int, int], Axis] = {}
    for name, module in probe.model.named_modules(remove_duplicate=False):
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            for dim in range(value.dim() if value is not None else 0):
                axis = _axis_along(name, module, own, dim)
                if axis not in links.start or links.sizes[axis] != value.shape[dim]:
                    continue
                owner = first.setdefault((id(value), dim), axis)
                for entry in range(links.sizes[axis] if owner != axis else 0):
                    links.tie(axis, entry, owner, entry)


def _axis_along(name: str, module: nn.Module, own: str, dim: int) -> Axis:
    """The axis that a dimension of a module's parameter or buffer follows."""
    if isinstance(module, (_ConvNd, nn.Linear)):
        writes = dim == 0 if own == "bias" or not is_transposed(module) else dim == 1
        return (name, "out" if writes else "in")
    return (name, "out" if isinstance(module, CHANNELWISE) else f"{own}@{dim}")


@dataclass
class _Family:
    """Channels of equal make-up: the same number of entries of the same axes."""

    axes: tuple[tuple[Axis, int], ...]
    members: list[dict[Axis, list[int]]] = field(default_factory=list)

    @property
    def writer(self) -> str:
        return next(axis[0] for axis, _ in self.axes if axis[1] == "out")


def _graph(model: nn.Module, probe: _Probe, links: _Links) -> ChannelGraph:
    """Components of equal make-up are the channels of one group."""
    rank = {name: i for i, name in enumerate([*probe.order, *probe.channelwise])}
    families: dict[tuple[tuple[Axis, int], ...], _Family] = {}
    for component in links.components().values():
        sizes = ((axis, len(entries)) for axis, entries in component.items())
        axes = tuple(sorted(sizes, key=lambda of: _by(of[0], rank)))
        writes = [axis for axis, _ in axes if axis[1] == "out" and axis[0] in probe.calls]
        if writes:
            families.setdefault(axes, _Family(axes)).members.append(component)
    groups: list[ChannelGroup] = []
    frozen: list[Frozen] = []
    names: dict[str, int] = {}
    for of in sorted(families.values(), key=lambda of: (rank[of.writer], -len(of.members))):
        names[of.writer] = count = names.get(of.writer, 0) + 1
        name = of.writer if count == 1 else f"{of.writer}#{count}"
        reason = _why_frozen(of, probe)
        if reason:
            frozen.append(Frozen(name, len(of.members), reason))
        else:
            groups.append(_as_group(name, of, probe))
    return ChannelGraph.of(model, groups, frozen)


def _by(axis: Axis, rank: dict[str, int]) -> tuple[int, int, str]:
    """Writers first, in the order of their calls, then parameters, then readers."""
    kind = 0 if axis[1] == "out" else 2 if axis[1] == "in" else 1
    return (kind, rank.get(axis[0], len(rank)), axis[1])


def _as_group(name: str, of: _Family, probe: _Probe) -> ChannelGroup:
    first = of.axes[0][0]
    members = sorted(of.members, key=lambda member: min(member[first]))
    sites = []
    for axis, _ in of.axes:
        read = axis[1] == "in" and not passes_on(probe.mixers[axis[0]])
        sites.append(Site(axis, torch.tensor([sorted(member[axis]) for member in members]), read))
    return ChannelGroup(name, tuple(sites), len(members))


def _why_frozen(of: _Family, probe: _Probe) -> str | None:
    """Why these channels cannot be cut; None where they can, as far as tracing knows."""
    axes = dict(of.axes)
    if OUTPUT in axes:
        return "written to the network's output"
    if not any(kind == "in" and not passes_on(probe.mixers[name]) for name, kind in axes):
        return "read by no convolution or linear layer"
    if len(of.members) > 1:
        return None
    if computed := [name for name, _ in axes if name in probe.computed]:
        return f"the weight of {computed[0]} is computed (a parametrization), and only plain ones are cut"
    entries = axes[(of.writer, "out")]
    if entries == 1:
        return "one channel, and one must be left"
    writers = [name for name, kind in axes if kind == "out" and name in probe.calls]
    blamed = next(filter(None, (_blame(name, probe) for name in writers)), "the layers that share them")
    return f"its {entries} channels hang together: {blamed} mixes them"


def _blame(writer: str, probe: _Probe) -> str | None:
    """The first operator that spreads one marked channel over all others, and the module it is in."""
    layer = probe.mixers[writer]
    if isinstance(layer, _ConvNd) and layer.groups > 1 and is_transposed(layer):
        return f"a transposed convolution with groups ({writer})"
    mark = torch.zeros(1, out_size(layer), dtype=torch.bool)
    mark[0, 0] = True
    watch = _Spread(probe.model)
    with watch:
        probe.run({(writer, "out"): mark}, 1)
    return watch.culprit


class _Spread(TorchDispatchMode):
    """Finds the first operator whose output is all NaN though none of its inputs was."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.culprit: str | None = None
        self._sure = False
        self._inside: list[str] = []
        self._hooks: list[Any] = []
        self._names = {module: name for name, module in model.named_modules()}

    def __enter__(self) -> Any:
        for module, name in self._names.items():
            enter = self._enter(name)
            self._hooks.append(module.register_forward_pre_hook(enter))
            self._hooks.append(module.register_forward_hook(self._leave))
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        super().__exit__(*exc)

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self._inside.append(name)

    def _leave(self, *_: Any) -> None:
        self._inside.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._sure:
            return result
        given = [_share(t) for t in _flat(args)]
        partly = max((share for share in given if share < 1), default=0)
        for share in (_share(t) for t in _flat([result])):
            # To all is certain; to more of as many entries is the best guess (a window over channels).
            grown = share > 1.01 * max(given, default=0) and not func.is_view
            if partly and (share == 1 or (grown and self.culprit is None)):
                where = self._inside[-1] if self._inside else ""
                self.culprit = f"{func.overloadpacket.__name__} in {where or type(self.model).__name__}"
                self._sure = share == 1
                break
        return result


def _share(x: Tensor) -> float:
    """Which part of a tensor is marked."""
    return float(x.isnan().float().mean()) if x.is_floating_point() and x.numel() > 1 else 0


def _flat(args: Iterable[Any]) -> Iterator[Tensor]:
    for arg in args:
        if isinstance(arg, Tensor):
            yield arg
        elif isinstance(arg, (tuple, list)):
            yield from _flat(arg)
