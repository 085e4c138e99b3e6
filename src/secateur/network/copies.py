"""Copies of networks, of those too that torch does not copy as they are."""

from __future__ import annotations

import copy

from torch import Tensor, nn

__all__ = ["copied"]


def copied(model: nn.Module) -> nn.Module:
    """Copy a network.

    `copy.deepcopy` refuses tensors with a graph behind them, as a weight that a hook computes (old-style
    weight normalisation) is after a forward pass, and whatever a forward pass leaves as an attribute. The
    copy has their values; the network itself is left as it is.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
