"""A network of two layers and its batches, for the loops in which methods that zero weights are looked at."""

from __future__ import annotations

import torch
from torch import nn


def network() -> nn.Sequential:
    """The same weights every time: 60 and 40 that can be zero."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 4))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of a step: 16 inputs, their labels."""
    order = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=order), torch.randint(4, (16,), generator=order)
