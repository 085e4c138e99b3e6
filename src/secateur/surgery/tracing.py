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

import torch
from torch import Tensor, nn

from secateur.network.inputs import Inputs
from secateur.surgery.arrivals import ALL, NONE, SOME, Arrival, Arrivals
from secateur.surgery.cutting import Axis
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.grouping import group_channels
from secateur.surgery.links import Links, axes_of, tie_grouped
from secateur.surgery.probe import OUTPUT, Marks, Probe

EXAMPLES_AT_ONCE = 64


def trace(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """Find the channel groups of `model`, which is left as it is.

    Args:
        inputs: one example or more, as the model takes them: a tensor, a tuple, or a dictionary.

    Returns:
        The graph, unproved; what cannot be cut is in `frozen` with the reason.

    Raises:
        InputError: where the model cannot be run on the inputs.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        probe = Probe(model, inputs)
        links, arrivals = Links(axes_of(probe)), Arrivals()
        _follow_layers(probe, links, arrivals)
        _follow_parameters(probe, links, arrivals)
        arrivals.tie(links)
        tie_grouped(probe, links)
        return group_channels(model, probe, links)


def codes(size: int) -> Tensor:
    """Write the bits of 0..size-1, then their complements: (2 * bits, size), boolean."""
    bits = max(1, (size - 1).bit_length())
    ones = (torch.arange(size)[None] >> torch.arange(bits)[:, None] & 1).bool()
    return torch.cat([ones, ~ones])


def decode(seen: Tensor) -> Tensor:
    """Read the one index that arrived, -1 where none, -2 several: (2 * bits, entries) -> (entries,)."""
    bits = len(seen) // 2
    ones, zeros = seen[:bits], seen[bits:]
    index = (ones.long() << torch.arange(bits)[:, None]).sum(0)
    index[(ones & zeros).any(0)] = -2
    index[~seen.any(0)] = -1
    return index


def _follow_layers(probe: Probe, links: Links, arrivals: Arrivals) -> None:
    """Link what every convolution and linear layer writes to where it arrives."""
    sources = [(name, "out") for name in probe.order]
    _follow(sources, links, arrivals, lambda marks, examples: probe.run(marks, examples), batched=True)


def _follow_parameters(probe: Probe, links: Links, arrivals: Arrivals) -> None:
    """Link parameters beside the layers alike; they belong to all examples, so one mark is one run."""

    def run(marks: Marks, examples: int) -> Marks:
        each = [{axis: mark[i : i + 1] for axis, mark in marks.items()} for i in range(examples)]
        rows = [probe.run(one, 1) for one in each]
        return {axis: torch.cat([row[axis] for row in rows]) for axis in rows[0]}

    axes = list(probe.parameters())
    names = [(name, kind.partition("@")[0]) for name, kind in axes]
    single = [axis for axis, name in zip(axes, names, strict=True) if names.count(name) == 1]
    _follow(single, links, arrivals, run, batched=False)
    for axis in axes:
        if axis not in single:
            _follow([axis], links, arrivals, run, batched=False)


def _follow(
    sources: list[Axis],
    links: Links,
    arrivals: Arrivals,
    run: Callable[[Marks, int], Marks],
    *,
    batched: bool,
) -> None:
    """Follow all sources at once where their indices agree wherever they meet; the others one by one."""
    if not sources:
        return
    reach = _reach(sources, links, run, EXAMPLES_AT_ONCE if batched else 1)
    code = codes(max(links.sizes[source] for source in sources))
    together = run({source: code[:, : links.sizes[source]] for source in sources}, len(code))
    for s, source in enumerate(sources):
        if bool(reach[OUTPUT][s]):
            links.tie_all(source, OUTPUT, 0)
    index = {axis: decode(seen) for axis, seen in together.items() if axis in reach and axis != OUTPUT}
    unclear = {}
    for axis, found in index.items():
        sizes = torch.tensor([[links.sizes[source]] for source in sources])
        unclear[axis] = (found < 0) | (reach[axis] & (found >= sizes)).any(0)
    for s, source in enumerate(sources):
        arrived = {axis: reach[axis][s] for axis in index if bool(reach[axis][s].any())}
        alone: dict[Axis, Arrival] = {}
        if any(bool((unclear[axis] & hit).any()) for axis, hit in arrived.items()):
            alone = _followed(source, links.sizes[source], run, of_layer=batched)
        for axis, hit in arrived.items():
            if bool((unclear[axis] & hit).any()):
                arrivals.add(alone[axis])
            else:
                found = index[axis].where(hit, torch.tensor(NONE))
                arrivals.add(Arrival(source, axis, found, may_mix=batched))


def _reach(sources: list[Axis], links: Links, run: Callable[[Marks, int], Marks], at_once: int) -> Marks:
    """Map axis to (sources, entries): which source reaches which entry at all."""
    found: list[Marks] = []
    for start in range(0, len(sources), at_once):
        part = sources[start : start + at_once]
        marks = {}
        for row, source in enumerate(part):
            marks[source] = torch.zeros(len(part), links.sizes[source], dtype=torch.bool)
            marks[source][row] = True
        found.append(run(marks, len(part)))
    return {axis: torch.cat([marks[axis] for marks in found]) for axis in found[0]}


def _followed(
    source: Axis, size: int, run: Callable[[Marks, int], Marks], *, of_layer: bool
) -> dict[Axis, Arrival]:
    """Follow one source by itself. Channels that meet in an entry hang together; often all of them do.

    If only some do (the halves of a gated unit, what a pixel shuffle makes one of), marking one after the
    other tells which.
    """
    code = codes(size)
    seen = run({source: code}, len(code))
    index = {axis: decode(found) for axis, found in seen.items() if axis != OUTPUT}
    for axis, found in index.items():
        found[(found == ALL) & ~seen[axis].all(0)] = SOME
    each: Marks = {}
    if of_layer and any(bool((found == SOME).any()) for found in index.values()):
        each = _each_alone(source, size, run)
    return {axis: Arrival(source, axis, found, each.get(axis), of_layer) for axis, found in index.items()}


def _each_alone(source: Axis, size: int, run: Callable[[Marks, int], Marks]) -> Marks:
    """Map axis to (channels of the source, entries): which channel reaches which entry."""
    parts = torch.eye(size, dtype=torch.bool).split(EXAMPLES_AT_ONCE)
    found = [run({source: part}, len(part)) for part in parts]
    return {axis: torch.cat([marks[axis] for marks in found]) for axis in found[0]}
