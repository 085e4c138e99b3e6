"""Pruning of channels by the norm of the filters that write them: Li et al. 2017 (arXiv:1608.08710).

    s_k = sum |F_k|  (L1, section 3.1), or sqrt(sum F_k ** 2)  (L2, appendix)           `filter_norm`

F_k are all weights that write channel k, in every convolution or linear layer of the group. Li et al. prune a
share of each layer; to rank channels over all groups the score is divided by its mean over the group
(`relative`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.methods.channels import ChannelPruning
from secateur.network.weights import weight_layers
from secateur.surgery.along import along
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup


def filter_norm(filters: list[Tensor], p: int) -> Tensor:
    """The p-norm over everything that writes a channel: a list of (K, ...) -> (K,)."""
    kind = torch.promote_types(filters[0].dtype, torch.float32)  # half precision would tie what is close
    powers = [weight.flatten(1).to(kind).abs().pow(p).sum(1) for weight in filters]
    return torch.stack(powers).sum(0).pow(1 / p)


def relative(norm_K: Tensor) -> Tensor:
    """The norms over their mean, which makes groups comparable. (K,) -> (K,)."""
    return norm_K / norm_K.mean().clamp(min=torch.finfo(norm_K.dtype).tiny)


def filters_of(model: nn.Module, graph: ChannelGraph, group: ChannelGroup) -> list[Tensor]:
    """The weights that write the group's present channels, each (K, ...)."""
    layers = weight_layers(model)
    written = [
        site for site in group.sites if site.write or (site.axis[1] == "out" and site.axis[0] in layers)
    ]
    found = []
    for site in written or group.sites:
        weight = along(model, site.axis).detach()
        found.append(weight[graph.present(site, group.name).to(weight.device)])
    return found


class FilterNorm(ChannelPruning):
    """Removes the channel with the smallest filters, relative to its group (see `ChannelPruning`).

    Args:
        p: 1 or 2.

    Reference: Li et al. 2017, section 3.1; L2 in its appendix.
    """

    name = "filter-norm"
    takes_padding = True  # it looks at no activations

    def __init__(self, *args: Any, p: int = 1, **settings: Any):
        super().__init__(*args, **settings)
        if p not in (1, 2):
            raise InputError(f"filter-norm: p must be 1 or 2, got {p}")
        self.p = p

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "p": self.p}

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        graph = self.anatomy.graph
        return {group.name: relative(filter_norm(filters_of(model, graph, group), self.p)) for group in graph}
