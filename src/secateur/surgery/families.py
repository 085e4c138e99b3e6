"""The channel groups of the built-in families, which declare them (`secateur.models.Declared`)."""

from __future__ import annotations

import torch
from torch import nn

from secateur.models import Declared, Family
from secateur.surgery.cutting import in_size, out_size
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Site


def family_graph(model: Family, *, streams: bool = False) -> ChannelGraph:
    """Make the graph of a built-in network as it is now, from what its family declares; nothing is traced.

    Args:
        streams: with the residual streams, behind the groups inside the blocks.
    """
    declared = (*model.groups, *model.streams) if streams else model.groups
    return ChannelGraph.of(model, [channel_group(model, group) for group in declared])


def channel_group(model: nn.Module, declared: Declared) -> ChannelGroup:
    """Make the channel group that a family declares, at its present width."""
    width = out_size(model.get_submodule(declared.writers[0]))
    each = torch.arange(width)[:, None]
    writes = [Site((name, "out"), each, write=True) for name in declared.writers]
    norms = [Site((name, "out"), each) for name in declared.norms]
    reads = [_read(model, name, width) for name in declared.readers]
    return ChannelGroup(declared.name, (*writes, *norms, *reads), width, stage=declared.stage)


def _read(model: nn.Module, reader: str, width: int) -> Site:
    """Find where a layer reads the channels: a linear one behind a flatten reads several features of each."""
    spread = in_size(model.get_submodule(reader)) // width
    entries = torch.arange(width)[:, None] * spread + torch.arange(spread)
    return Site((reader, "in"), entries, read=True)
