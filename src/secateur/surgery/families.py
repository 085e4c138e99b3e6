"""The channel groups of the built-in families, which declare them, and their removal.

Removing channels of a group touches three layers: the producer loses output channels, the normalisation
between loses theirs, the consumer loses the matching inputs. A residual stream has several of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.errors import InputError
from secateur.models import Coupling, Family, Group
from secateur.network.weights import weight_layers
from secateur.surgery.cutting import Axis, cut
from secateur.surgery.graph import ChannelGraph, ChannelGroup, Site, check_removal


def channel_groups(model: nn.Module) -> tuple[Group, ...]:
    """The prunable channel groups of a network, in network order.

    Raises:
        InputError: where the network is not of a built-in family; those of others are traced.
    """
    if not isinstance(model, Family):
        raise InputError(
            f"gates are for the channels of the built-in families only, got {type(model).__name__}: prune "
            "it by fisher, taylor, filter-norm, batch-norm-scale or snip-channels, which take any model"
        )
    return model.groups


def couplings(model: nn.Module, streams: bool = True) -> tuple[Coupling, ...]:
    """All that can be removed from a network: its channel groups, then its residual streams.

    Raises:
        InputError: where the network is not of a built-in family.
    """
    groups = tuple(map(Coupling.of, channel_groups(model)))
    return groups + model.streams if streams and isinstance(model, Family) else groups


def features_of(model: nn.Module, coupling: Coupling, consumer: str) -> int:
    """How many input features of `consumer` belong to one channel: 1, or H*W behind a flatten."""
    layer = model.get_submodule(consumer)
    return layer.in_features // coupling.width(model) if isinstance(layer, nn.Linear) else 1


def features_per_channel(model: nn.Module, group: Group) -> int:
    """How many input features of the consumer belong to one channel: 1, or H*W behind a flatten."""
    return features_of(model, Coupling.of(group), group.consumer)


def width_of(model: nn.Module, group: Group) -> int:
    """The group's present number of channels."""
    weight = model.get_submodule(group.producer).weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def macs_per_channel(model: nn.Module, group: Group, positions: Mapping[str, int]) -> int:
    """The MACs that go with one channel of the group: its share of the producer and of the consumer.

    Args:
        positions: from `secateur.network.counting.layer_positions`.
    """
    layers = weight_layers(model)
    width = width_of(model, group)
    ends = (group.producer, group.consumer)
    return sum(layers[name].weight.numel() // width * positions[name] for name in ends)


def remove_channels(
    model: nn.Module,
    group: Group | Coupling,
    channels: Sequence[int],
    optimizer: Optimizer | None = None,
) -> None:
    """Remove `channels` (present indices) of `group`, in place, from network and optimizer.

    Args:
        optimizer: see `secateur.surgery.cutting.cut`.

    Raises:
        InputError: where a channel does not exist or none would be left; nothing is changed then.
    """
    coupling = Coupling.of(group) if isinstance(group, Group) else group
    width = coupling.width(model)
    keep = torch.ones(width, dtype=torch.bool)
    keep[sorted(check_removal(coupling.name, channels, width))] = False
    keeps: dict[Axis, Tensor] = {(name, "out"): keep for name in (*coupling.producers, *coupling.norms)}
    for name in coupling.consumers:
        keeps[name, "in"] = keep.repeat_interleave(features_of(model, coupling, name))
    cut(model, keeps, optimizer)
    if coupling.stage is not None:
        assert isinstance(model, Family)
        model.arguments["stages"][coupling.stage] = int(keep.sum())


def family_graph(model: Family) -> ChannelGraph:
    """The graph of a built-in network as it is now, from what its family declares; nothing is traced."""
    return ChannelGraph.of(model, [_as_channel_group(model, group) for group in model.groups])


def _as_channel_group(model: nn.Module, group: Group) -> ChannelGroup:
    width = width_of(model, group)
    spread = features_per_channel(model, group)
    each = torch.arange(width)[:, None]
    written = [name for name in (group.producer, group.norm) if name]
    sites = [Site((name, "out"), each) for name in written]
    read = Site((group.consumer, "in"), each * spread + torch.arange(spread), read=True)
    return ChannelGroup(group.name, (*sites, read), width)
