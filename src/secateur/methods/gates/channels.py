"""Gates on channels, put into a network: what is read of a channel is multiplied by its gate.

    s_k     = |W_k| / rms over the group of |W|                       `relative_norms`
    h_k     = h_t(s_k)                          eq. (5) of Dupont     `channel_gate`
    a_k    <- h_k * a_k, wherever channel k is read                   `ChannelGates.attach`
              times 1 / rms(h) in groups without normalisation        `gain`
    W_k    <- h_k * W_k in what reads channel k, at the cut           `ChannelGates.fold`

W_k are the weights that write channel k. Gating what is *read* makes h = 0 and a removed channel the same,
which gating what is written would not: normalisation turns a channel of zeros into one of betas. Where a
normalisation takes its statistics over the channels themselves (layer, group, RMS norm), a removed channel is
missing there too, so h is the weight of a channel in these statistics (`weighted_norm`).

All that is needed of the network is its channel groups: a layer may read several of them (a concatenation),
several entries of each channel (behind a flatten, or in balanced sets), and some that have no gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from secateur.methods.gates.gate import full, gate, gate_slope
from secateur.methods.gates.weighted_norm import OVER_CHANNELS, weighted_norm
from secateur.network.weights import weight_layers
from secateur.surgery.along import along
from secateur.surgery.computed_weights import weight_norm_of
from secateur.surgery.cutting import Axis, is_transposed, scale
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup
from secateur.surgery.stand_ins import channel_dim

_NORMS = (_NormBase, *OVER_CHANNELS)


class _ChannelGate(torch.autograd.Function):
    """h_t(s) with the closed form of dh/ds; t is a constant of the solution, not learned."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, t: float, n: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.t, ctx.n = t, n
        return gate(s, t, n)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (s,) = ctx.saved_tensors
        slope = torch.where(s > 0, gate_slope(s, ctx.t, ctx.n) / s, 0.0)  # dh/ds is 0 at s = 0, as n >= 2
        return grad * slope, None, None


def channel_gate(s_K: Tensor, t: float, n: int) -> Tensor:
    """h_k = h_t(s_k), differentiable in s; t is a solution, not a parameter. (K,) -> (K,).

    Reference: Dupont et al. 2021, eq. (5).
    """
    h: Tensor = _ChannelGate.apply(s_K, t, n)
    return h


def relative_norms(weights: Sequence[Tensor]) -> Tensor:
    """s_k: the norm of all that writes channel k, in units of its root mean square over the group.

    The unit is a constant to the gradient.

    Args:
        weights: of the layers that write the group, each (K, ...). Each counts by its mean square, so that
            a 1x1 projection has the same say as a 3x3 convolution.

    Returns:
        (K,), in float32 at least, at least 0; all 0 where all weights are.
    """
    norms = [torch.linalg.vector_norm(full(w).flatten(1), dim=1) / math.sqrt(w[0].numel()) for w in weights]
    norm_K = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    unit = norm_K.detach().square().mean().sqrt()
    return norm_K / unit.clamp_min(torch.finfo(unit.dtype).tiny)


def gain(h_K: Tensor) -> Tensor:
    """1 / rms of the gates of a group, a constant to the gradient: for groups without normalisation.

    There half-closed gates would multiply down the chain until no signal is left (Conv4's six groups). It is
    at most 1000.
    """
    return 1 / h_K.detach().square().mean().sqrt().clamp_min(1e-3)


@dataclass(frozen=True)
class _Entries:
    """Which gate each entry of an axis has.

    Attributes:
        groups: whose channels lie on the axis.
        spread: entries of each channel, where the axis is one group's, in order; else 0.
        index: else, for each entry its place among the gates of `groups`, one after the other; behind them
            stands a 1, for entries that have no gate.
    """

    groups: tuple[str, ...]
    spread: int
    index: Tensor | None

    @classmethod
    def on(cls, axis: Axis, graph: ChannelGraph, names: Sequence[str], device: torch.device) -> _Entries:
        sites = {name: site for name in names for site in graph.groups[name].sites if site.axis == axis}
        ends = [0]
        for name in sites:
            ends.append(ends[-1] + graph.width(name))
        index = torch.full((graph.size(axis),), ends[-1])
        for start, (name, site) in zip(ends, sites.items(), strict=False):
            index[graph.present(site, name)] = start + torch.arange(graph.width(name))[:, None]
        spread = len(index) // ends[-1]
        if len(sites) == 1 and torch.equal(index, torch.arange(ends[-1]).repeat_interleave(spread)):
            return cls(tuple(sites), spread, None)
        return cls(tuple(sites), 0, index.to(device))

    def of(self, gates: Callable[[str], Tensor]) -> Tensor:
        """The gate of every entry, (size of the axis,)."""
        found = [gates(name) for name in self.groups]
        if self.index is None:
            return found[0].repeat_interleave(self.spread)
        return torch.cat([*found, found[0].new_ones(1)])[self.index]


class ChannelGates:
    """The gates of some channel groups of a network.

    Args:
        model: the network, on its device.
        graph: its channel groups as it is now.
        names: the groups that have gates.
        setting: gives t and n as they are now; None while all gates are open.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        names: Sequence[str],
        setting: Callable[[], tuple[float, int] | None],
    ):
        self.names, self._setting = tuple(names), setting
        device = next(model.parameters()).device
        device = device if device.type != "meta" else torch.device("cpu")
        groups = [graph.groups[name] for name in names]
        layers = weight_layers(model)
        self._writes = {
            group.name: [
                (site.axis[0], graph.picked(site, group.name, device))
                for site in group.sites
                if site.axis[1] == "out" and site.axis[0] in layers
            ]
            for group in groups
        }
        kinds = {group.name: [type(model.get_submodule(name)) for name in group.modules] for group in groups}
        self._plain = {
            name for name, found in kinds.items() if not any(issubclass(kind, _NORMS) for kind in found)
        }
        read = dict.fromkeys(site.axis for group in groups for site in group.reads)
        spanned = dict.fromkeys(site.axis for group in groups for site in group.sites)
        over = [axis for axis in spanned if isinstance(model.get_submodule(axis[0]), OVER_CHANNELS)]
        self._reads = {axis[0]: _Entries.on(axis, graph, names, device) for axis in read}
        self._norms = {axis[0]: _Entries.on(axis, graph, names, device) for axis in over}
        self._hooks: list[RemovableHandle] = []

    @property
    def attached(self) -> bool:
        """Whether the gates are in the network."""
        return bool(self._hooks)

    def magnitude(self, model: nn.Module, name: str) -> Tensor:
        """s of a group's channels, (K,)."""
        return relative_norms(list(self._filters(model, name)))

    def magnitudes(self, model: nn.Module) -> list[Tensor]:
        """s of every group, in order."""
        return [self.magnitude(model, name) for name in self.names]

    def read(self, model: nn.Module, layer: str) -> Tensor:
        """What every entry that a layer reads is multiplied by at present, (in,)."""
        return self._read_by(model, self._reads[layer])

    def attach(self, model: nn.Module) -> None:
        """Have what reads a channel multiply it by its gate, and what takes statistics weigh it so."""
        for name, entries in self._reads.items():
            hook = self._reader(model, entries)
            self._hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
        for name, entries in self._norms.items():
            norm = self._normaliser(model, entries)
            self._hooks.append(model.get_submodule(name).register_forward_hook(norm))

    def detach(self) -> None:
        """Take all of it off again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    @torch.no_grad()
    def fold(self, model: nn.Module) -> None:
        """The gates into the weights that read: all factors first, as what reads one group may write another.

        A weight that several layers share is multiplied once (`unfoldable` has seen to it that it may be).
        """
        factors: dict[int, tuple[Tensor, Tensor]] = {}
        for name, entries in self._reads.items():
            layer = model.get_submodule(name)
            weight = layer.weight
            assert isinstance(weight, Tensor)
            if id(weight) not in factors:
                factors[id(weight)] = (weight, _along_inputs(layer, self._read_by(model, entries)))
        scale(model, [*factors.values()])

    def _filters(self, model: nn.Module, name: str) -> Iterator[Tensor]:
        """The weights that write a group's channels, each (K, ...)."""
        for layer_name, index in self._writes[name]:
            weight = along(model, (layer_name, "out"))
            yield weight if index is None else weight[index]

    def _gate(self, model: nn.Module, name: str) -> Tensor:
        """h of a group, while not all are open."""
        setting = self._setting()
        assert setting is not None, "open gates multiply nothing"
        return channel_gate(self.magnitude(model, name), *setting)

    def _read_by(self, model: nn.Module, entries: _Entries) -> Tensor:
        """What every entry that a layer reads is multiplied by."""

        def factor(name: str) -> Tensor:
            h_K = self._gate(model, name)
            return h_K * gain(h_K) if name in self._plain else h_K

        return entries.of(factor)

    def _reader(self, model: nn.Module, entries: _Entries) -> Callable[..., Any]:
        """The hook that multiplies what a layer reads by the gates."""

        def read(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._setting() is None:
                return None
            act, *rest = inputs
            h = self._read_by(model, entries).to(act.dtype)
            behind = 0 if isinstance(layer, nn.Linear) else act.dim() - 2
            return (act * h.view(-1, *[1] * behind), *rest)

        return read

    def _normaliser(self, model: nn.Module, entries: _Entries) -> Callable[..., Any]:
        """The hook that has a normalisation weigh the channels by their gates."""
        dims: list[int] = []  # found at the first call

        def normalise(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self._setting() is None:
                return None
            dims[:] = dims or [channel_dim(norm, inputs[0])]
            h_C = entries.of(lambda name: self._gate(model, name))
            return weighted_norm(norm, inputs[0], h_C, dims[0]).to(output.dtype)

        return normalise


def _along_inputs(layer: nn.Module, h: Tensor) -> Tensor:
    """A factor for every entry that a layer reads, (in,), in the shape that its weight is multiplied by."""
    assert isinstance(layer, (nn.Linear, _ConvNd))
    if is_transposed(layer):
        return h.view(-1, *[1] * (layer.weight.dim() - 1))
    if isinstance(layer, _ConvNd):
        h = h.view(layer.groups, -1)[0]  # with groups, channels are balanced sets: the same in every group
    return h.view(1, -1, *[1] * (layer.weight.dim() - 2))


def unfoldable(model: nn.Module, group: ChannelGroup) -> str | None:
    """Why the gates of a group cannot be folded into what reads it; None where they can.

    A weight that is shared with something that does not read these channels (an embedding tied to the output
    layer) would be changed there too.
    """
    if beside := [axis for axis in (site.axis for site in group.reads) if axis[1] != "in"]:
        return f"{beside[0][0]} reads them by a parameter of its own, not as a layer"
    readers = {site.axis[0]: model.get_submodule(site.axis[0]) for site in group.reads}
    if normed := [name for name, layer in readers.items() if weight_norm_of(layer) is not None]:
        return f"the weight of {normed[0]} is normalised, so no gate can be folded into it"
    weights = {id(layer.weight): name for name, layer in readers.items()}
    for name, module in model.named_modules(remove_duplicate=False):
        for value in module._parameters.values():
            if id(value) in weights and not any(module is layer for layer in readers.values()):
                return f"the weight of {weights[id(value)]} is shared with {name}, which does not read them"
    return None
