"""Pruning of channels by the scale of their batch normalisation: network slimming, Liu et al. 2017.

    L = L_task + lambda * sum |gamma|            eq. (1)         `penalty`
    s_k = |gamma_k|                              section 3       `mean_scale`

(arXiv:1708.06519.) Where a channel passes several normalisations, the mean counts. Groups without batch
normalisation are never cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.errors import InputError
from secateur.methods.channels import ChannelPruning
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.graph import ChannelGraph


class BatchNormScale(ChannelPruning):
    """Removes the channel of smallest |gamma| over the whole network (see `ChannelPruning`).

    Args:
        strength: lambda, at least 0 (Liu et al.: 1e-4, or 1e-5).

    Reference: Liu et al. 2017, eq. (1).
    """

    name = "batch-norm-scale"
    takes_padding = True  # it looks at no activations

    def __init__(self, *args: Any, strength: float = 1e-4, **settings: Any):
        super().__init__(*args, **settings)
        if not 0 <= strength < float("inf"):
            raise InputError(f"batch-norm-scale: the strength must be at least 0, got {strength}")
        self.strength = strength

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "strength": self.strength}

    def prepare(self, model: nn.Module, batches: Iterable[Any] | None = None) -> nn.Module:
        """As `ChannelPruning`; InputError also where no channel is normalised over the batch."""
        if not _scales(model, anatomy_of(model).graph):
            raise InputError(
                "batch-norm-scale ranks channels by the scale of their batch normalisation, and no channel "
                "group here has one: choose fisher, taylor or filter-norm"
            )
        return super().prepare(model, batches)

    def ranked(self, model: nn.Module) -> Iterable[str]:
        return _scales(model, self.anatomy.graph)

    def penalty(self, model: nn.Module) -> Tensor:
        """lambda * sum |gamma| over the groups' normalisations."""
        found = _scales(model, self.anatomy.graph)
        sums = [gamma.abs().sum() for parts in found.values() for gamma in parts]
        return self.strength * torch.stack(sums).sum()

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            found = _scales(model, self.anatomy.graph)
            return {name: mean_scale(parts) for name, parts in found.items()}


def mean_scale(gammas: list[Tensor]) -> Tensor:
    """The mean |gamma| of a channel over its normalisations, and its entries there: [(K, S), ...] -> (K,)."""
    return torch.stack([gamma.abs().mean(1) for gamma in gammas]).mean(0)


def _scales(model: nn.Module, graph: ChannelGraph) -> dict[str, list[Tensor]]:
    """Group -> gammas of its present channels, one (K, S) for each normalisation, S entries a channel."""
    found: dict[str, list[Tensor]] = {}
    for group in graph:
        for site in group.sites:
            layer = model.get_submodule(site.axis[0])
            if isinstance(layer, _BatchNorm) and layer.weight is not None:
                entries = graph.present(site, group.name).to(layer.weight.device)
                found.setdefault(group.name, []).append(layer.weight[entries])
    return found
