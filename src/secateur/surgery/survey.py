"""All that probes of a model find: in evaluation and, where that differs, in training."""

from __future__ import annotations

import torch
from torch import nn

from secateur.network.inputs import Inputs
from secateur.surgery.actions import Marks
from secateur.surgery.arrivals import ALL, Arrival, Arrivals
from secateur.surgery.cutting import Axis, whole_groups
from secateur.surgery.following import Follower
from secateur.surgery.links import Links, tie_grouped, tie_offsets, tie_rows, tie_shared
from secateur.surgery.probe import OUTPUT, Probe, axis_along, probe_of
from secateur.surgery.quiet import how_it_trains
from secateur.surgery.stand_ins import MADE_OVER


class Survey:
    """Probes of one model, and what they say together.

    Attributes:
        probes: in evaluation first.
        order: modules that hold a weight which runs in any mode, in the order of first calls.
        roles: axes of parameters that are read ("read") or written at ("write") as layers are.
        over_kept: module -> the dimension along which it computes over the very channels that are cut.
        reasons: axis -> why nothing on it is cut.
        not_in_training: why the model does not run in training on these inputs; None where it does, or where
            it runs there as in evaluation.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, *, apart: bool = True):
        self.probes = [probe_of(model, inputs, apart=apart)]
        first = self.probes[0]
        trains = how_it_trains(first.model, first.inputs)
        self.not_in_training = trains.failure
        if trains.differs and trains.failure is None:
            self.probes.append(probe_of(model, first.inputs, training=True, apart=apart and trains.apart))
        self.model, self.mixers, self.channelwise = first.model, first.mixers, first.channelwise
        self.computed = first.computed
        self.order = list(dict.fromkeys(name for probe in self.probes for name in probe.record.order))
        self.roles: dict[Axis, set[str]] = {}
        self.over_kept: dict[str, int] = {}
        self.reasons: dict[Axis, str] = {}
        for probe in self.probes:
            self.over_kept |= probe.over_kept
            for axis, roles in probe.record.roles.items():
                self.roles.setdefault(axis, set()).update(roles)
        self._recurrent_roles()

    def _recurrent_roles(self) -> None:
        for name, module in self.probes[0].recurrent.items():
            for own, value in module._parameters.items():
                if value is None or not own.startswith("weight"):
                    continue
                self.roles.setdefault((name, f"{own}@0"), set()).add("write")
                self.roles.setdefault((name, f"{own}@1"), set()).add("read")

    @property
    def sizes(self) -> dict[Axis, int]:
        """Every axis, real or made, with its size."""
        found: dict[Axis, int] = {OUTPUT: 1}
        for probe in self.probes:
            found |= probe.parameters() | probe.record.sizes
            for axis, size in probe.record.tape.sizes.items():
                found.setdefault(axis, size)
        for name, module in self.model.named_modules():  # those that share a parameter too
            for own, value in (*module._parameters.items(), *module._buffers.items()):
                for dim in range(value.dim() if value is not None and value.is_floating_point() else 0):
                    along = axis_along(name, module, own, dim)
                    if along is not None and "@" in along[1] and value.shape[dim] > 1:
                        found.setdefault(along, value.shape[dim])
        return found

    def links(self) -> Links:
        """Make what holds which entries hang together, with what is known without following anything."""
        links = Links(self.sizes)
        for probe in self.probes:
            for one, entries, other, others in probe.record.ties:
                links.tie_each(one, entries, other, others)
            for action in probe.record.contractions:
                if any(action.reads):
                    _tie_heads(links, action.left, action.heads)
                    _tie_heads(links, action.right, action.heads)
            for name in probe.over_kept:
                self._tie_normaliser(probe, name, links)
            for name, recurrent in probe.recurrent.items():
                if (name, "#units") in probe.record.sizes:
                    self._tie_units(name, recurrent, links)
            for (reads, writes), (groups, whole) in probe.record.grouped.items():
                tie_grouped(links, reads, writes, groups, whole)
        for name, module in self.channelwise.items():
            if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
                (tie_rows if whole_groups(module) else tie_offsets)(links, (name, "out"), module.num_groups)
        for name in self.computed:
            kinds = [kind for kind in ("in", "out") if (name, kind) in links.start]
            for kind in kinds:
                links.tie_all((name, kind), (name, kinds[0]), 0)
        tie_shared(links, self.model, axis_along)
        return links

    def _tie_normaliser(self, probe: Probe, name: str, links: Links) -> None:
        """The parameters of a normalisation by hand follow what it is given."""
        axis = (name, MADE_OVER)
        for inner, module in self.model.get_submodule(name).named_modules(prefix=name):
            for own, value in (*module._parameters.items(), *module._buffers.items()):
                for dim in range(value.dim() if value is not None else 0):
                    other = axis_along(inner, module, own, dim)
                    if other in links.start and links.sizes[other] == links.sizes[axis] > 1:
                        entries = torch.arange(links.sizes[axis])
                        links.tie_each(axis, entries, other, entries)

    def _tie_units(self, name: str, module: nn.RNNBase, links: Links) -> None:
        """Unit j of every layer and direction: row j of every gate, column j of what reads it."""
        units, given = (name, "#units"), (name, "#in")
        if module.proj_size:
            for own, value in module._parameters.items():
                for dim in range(value.dim() if value is not None else 0):
                    links.tie_all((name, f"{own}@{dim}"), units, 0)
            links.tie_all(units, units, 0)
            links.tie_all(given, units, 0)
            self.reasons[units] = f"{name} is an LSTM with proj_size, whose units are not cut"
            return
        size = module.hidden_size
        if (name, "#state") in links.start:
            links.tie_each(units, torch.arange(size), (name, "#state"), torch.arange(size))
        for own, value in module._parameters.items():
            if value is None:
                continue
            rows = torch.arange(len(value))
            links.tie_each((name, f"{own}@0"), rows, units, rows % size)
            if value.dim() > 1:
                columns = torch.arange(value.shape[1])
                if own.startswith("weight_ih_l0"):
                    links.tie_each((name, f"{own}@1"), columns, given, columns)
                else:
                    links.tie_each((name, f"{own}@1"), columns, units, columns % size)

    def follow(self, links: Links, arrivals: Arrivals) -> None:
        """Follow every source, of activations and of what is computed of parameters alone."""
        for probe in self.probes:
            for arrival in self._static(probe):
                arrivals.add(arrival)
            record = probe.record
            live = {axis for each in record.contractions if any(each.reads) for axis in each.axes}
            idle = {axis for each in record.contractions for axis in each.axes} - live
            sources = {axis: bit for axis, bit in record.sources.items() if axis not in idle}
            readers = {axis: bits for axis, bits in record.readers.items() if axis not in idle}
            follower = Follower(sources, readers, links.sizes, probe.run, lambda _axis: True)
            for arrival in follower.follow():
                if arrival.axis == OUTPUT:
                    links.tie_all(arrival.source, OUTPUT, 0)
                else:
                    arrival.may_mix = "@" not in arrival.axis[1]
                    arrivals.add(arrival)
            for layout, bits in probe.outputs:
                for source, bit in sources.items() if layout is None and probe.apart else ():
                    if bits & bit:
                        links.tie_all(source, OUTPUT, 0)
            for axis, role in record.watched_roles.items():
                for arrival in arrivals.found.get(axis, []):
                    if bool((arrival.index >= 0).any()) and "@" in arrival.source[1]:
                        self.roles.setdefault(arrival.source, set()).add(role)

    def _static(self, probe: Probe) -> list[Arrival]:
        """Follow parameters through what is computed of them alone."""
        tape = probe.record.tape
        readers: dict[Axis, int] = {}
        reached = 0
        for watched in tape.watched:
            readers[watched.axis] = readers.get(watched.axis, 0) | watched.sources
            reached |= watched.sources
        bits: dict[Axis, int] = {}
        for number, axis in enumerate(tape.sources):  # a weight's axis is one, and what its layer gives
            bits[axis] = bits.get(axis, 0) | 1 << number
        sources = {axis: bit for axis, bit in bits.items() if bit & reached}
        if not sources:
            return []

        def run(marks: Marks) -> Marks:
            rows = len(next(iter(marks.values())))
            each = [tape.replay({axis: mark[row] for axis, mark in marks.items()})[0] for row in range(rows)]
            return {axis: torch.stack([seen[axis] for seen in each]) for axis in each[0]}

        layers = {axis for axis in sources if axis not in tape.roots}
        sizes = self.sizes | tape.sizes
        follower = Follower(sources, readers, sizes, run, lambda axis: axis in layers, few=True)
        found = follower.follow()
        return [*found, *self._moved(probe, found)]

    def _moved(self, probe: Probe, found: list[Arrival]) -> list[Arrival]:
        """Weights that are computed over the very channels that they read, as standardised ones are.

        If a parameter's entries in another order give the weight in that order, they are the same channels.
        """
        tape = probe.record.tape
        clear = {arrival.axis for arrival in found if bool((arrival.index >= 0).any())}
        made: list[Arrival] = []
        generator = torch.Generator().manual_seed(0)
        base = tape.randomized(generator)
        for arrival in found:
            watched = next((each for each in tape.watched if each.axis == arrival.axis), None)
            unclear = arrival.axis not in clear and bool((arrival.index == ALL).all())
            if watched is None or watched.dim is None or not unclear or arrival.source[1] != "in":
                continue
            size = tape.sizes[arrival.source]
            if watched.tensor.shape[watched.dim] != size or arrival.axis[1] != "in":
                continue
            order = torch.randperm(size, generator=generator)
            before = tape.value(watched.tensor, tape.replay({}, base=base)[1])
            after = tape.value(watched.tensor, tape.replay({}, {arrival.source: order}, base)[1])
            if torch.allclose(after, before.index_select(watched.dim, order), rtol=1e-3, atol=1e-5):
                name = arrival.source[0]
                self.over_kept[name] = -1 if isinstance(self.mixers[name], nn.Linear) else 1
                made.append(
                    Arrival(
                        arrival.source, arrival.axis, torch.arange(len(arrival.index)) % size, None, False
                    )
                )
        return made


def _tie_heads(links: Links, axis: Axis, heads: Axis) -> None:
    """All that attention sums over in one head hangs together with it."""
    if axis in links.start and heads in links.start:
        entries = torch.arange(links.sizes[axis])
        links.tie_each(axis, entries, heads, entries // (links.sizes[axis] // links.sizes[heads]))
