"""Parameters beside the layers with an entry for each channel of a group: tables of biases for each head.

An index or a product between them and the channels may hide from tracing that they belong together. By their
size they are proposed here; whether they do is for the proof to say.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.cutting import CHANNELWISE
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import Site
from secateur.surgery.numbers import holders


def with_tables(graph: ChannelGraph, name: str, model: nn.Module) -> ChannelGraph | None:
    """Add parameters with one dimension as large as the group is wide, which no group cuts; None if none has.

    Args:
        graph: uncut.
        model: the uncut network.
    """
    width, known = graph.groups[name].width, set(graph.axes())
    found = []
    for holder in sorted(holders(graph, name)):
        module = model.get_submodule(holder)
        if isinstance(module, (_ConvNd, nn.Linear, nn.Embedding, nn.RNNBase, *CHANNELWISE)):
            continue
        for own, value in module.named_parameters(recurse=False):
            dims = [dim for dim, size in enumerate(value.shape) if size == width]
            if len(dims) == 1 and (holder, f"{own}@{dims[0]}") not in known:
                found.append(Site((holder, f"{own}@{dims[0]}"), torch.arange(width)[:, None]))
    return graph.with_sites(name, found) if found else None
