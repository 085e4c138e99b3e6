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

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.network.inputs import Inputs
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
from secateur.surgery.probe import OUTPUT, Marks, Probe
from secateur.surgery.watching import SpreadWatch

EXAMPLES_AT_ONCE = 64


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
        probe = Probe(model, inputs)
        links = _Links(probe)
        _follow_layers(probe, links)
        _follow_parameters(probe, links)
        _tie_grouped(probe, links)
        return _graph(model, probe, links)


class _Links:
    """Which entries of which axes hang together: a union-find over all of them."""

    def __init__(self, probe: Probe):
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


def _follow_layers(probe: Probe, links: _Links) -> None:
    """Link what every convolution and linear layer writes to where it arrives."""
    sources = [(name, "out") for name in probe.order]
    _follow(sources, links, lambda marks, examples: probe.run(marks, examples), batched=True)


def _follow_parameters(probe: Probe, links: _Links) -> None:
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


def _tie_grouped(probe: Probe, links: _Links) -> None:
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


def _tie_shared(probe: Probe, links: _Links) -> None:
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


def _graph(model: nn.Module, probe: Probe, links: _Links) -> ChannelGraph:
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


def _as_group(name: str, of: _Family, probe: Probe) -> ChannelGroup:
    first = of.axes[0][0]
    members = sorted(of.members, key=lambda member: min(member[first]))
    sites = []
    for axis, _ in of.axes:
        mixes = axis[0] in probe.mixers and not passes_on(probe.mixers[axis[0]])
        entries = torch.tensor([sorted(member[axis]) for member in members])
        sites.append(Site(axis, entries, mixes and axis[1] == "in", mixes and axis[1] == "out"))
    return ChannelGroup(name, tuple(sites), len(members))


def _why_frozen(of: _Family, probe: Probe) -> str | None:
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


def _blame(writer: str, probe: Probe) -> str | None:
    """The first operator that spreads one marked channel over all others, and the module it is in."""
    layer = probe.mixers[writer]
    if isinstance(layer, _ConvNd) and layer.groups > 1 and is_transposed(layer):
        return f"a transposed convolution with groups ({writer})"
    mark = torch.zeros(1, out_size(layer), dtype=torch.bool)
    mark[0, 0] = True
    watch = SpreadWatch(probe.model)
    with watch:
        probe.run({(writer, "out"): mark}, 1)
    return watch.culprit
