"""Pruning of channels by the scale of their batch normalisation: network slimming, Liu et al. 2017.

    L = L_task + lambda * sum |gamma|            eq. (1)         `penalty`
    s_k = |gamma_k|                              section 3       `raw_scores`

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


class BatchNormScale(ChannelPruning):
    """Removes the channel of smallest |gamma| over the whole network (see `ChannelPruning`).

    Args:
        strength: lambda, at least 0 (Liu et al.: 1e-4, or 1e-5).

    Reference: Liu et al. 2017, eq. (1).
    """

    name = "batch-norm-scale"

    def __init__(self, *args: Any, strength: float = 1e-4, **settings: Any):
        super().__init__(*args, **settings)
        if not 0 <= strength < float("inf"):
            raise InputError(f"batch-norm-scale: the strength must be at least 0, got {strength}")
        self.strength = strength

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "strength": self.strength}

    def prepare(self, model: nn.Module, batches: Iterable[Any] | None = None) -> nn.Module:
        """As `ChannelPruning`; InputError also where no channel is normalised over the batch."""
        super().prepare(model, batches)
        if not self._scales(model):
            raise InputError(
                "batch-norm-scale ranks channels by the scale of their batch normalisation, and no channel "
                "group here has one: choose fisher, taylor or filter-norm"
            )
        return model

    def penalty(self, model: nn.Module) -> Tensor:
        """lambda * sum |gamma| over the groups' normalisations."""
        gammas = [gamma for parts in self._scales(model).values() for gamma in parts]
        return self.strength * torch.stack([gamma.abs().sum() for gamma in gammas]).sum()

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: torch.stack([gamma.abs() for gamma in parts]).mean(0)
                for name, parts in self._scales(model).items()
            }

    def _scales(self, model: nn.Module) -> dict[str, list[Tensor]]:
        """Group -> gammas of its present channels, each (K,); of balanced sets, their mean magnitude."""
        graph = self.anatomy.graph
        found: dict[str, list[Tensor]] = {}
        for group in graph:
            for site in group.sites:
                layer = model.get_submodule(site.axis[0])
                if isinstance(layer, _BatchNorm) and layer.weight is not None:
                    entries = graph.present(site, group.name).to(layer.weight.device)
                    found.setdefault(group.name, []).append(layer.weight[entries].abs().mean(1))
        return found
