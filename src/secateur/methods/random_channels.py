"""Random pruning of channels: the baseline that every criterion has to beat (e.g. Mittal et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.methods.channels import ChannelPruning


class RandomChannels(ChannelPruning):
    """Removes a channel drawn evenly from all that can go, at granularity 1 (see `ChannelPruning`).

    Args:
        seed: the same seed draws the same channels.
    """

    name = "random-channels"
    takes_padding = True  # it looks at no activations

    def __init__(self, *args: Any, seed: int = 0, **settings: Any):
        super().__init__(*args, **settings)
        self.seed = seed

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "seed": self.seed}

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        """Numbers in [0, 1), new at every removal, and the same where a run is resumed."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + len(self.removed)) % 2**63)
        graph = self.anatomy.graph
        return {name: torch.rand(graph.width(name), generator=generator) for name in graph.groups}
