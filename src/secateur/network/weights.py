"""The weights of any network: which layers hold them, which of them can be zero, how many there are."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd


def count_params(model: nn.Module) -> int:
    """Count the trainable scalars; a parameter shared by several layers counts once.

    Example:
        >>> count_params(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def weight_layers(model: nn.Module) -> dict[str, _ConvNd | nn.Linear]:
    """Find the convolutions (of any dimension, transposed too) and linear layers, as registered."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))}


def prunable_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Find the weights that can be zero, by the name of their layer; one shared by several layers comes once.

    Of a parametrized layer it is the weight that the layer computes with.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, layer in weight_layers(model).items():
        weight = layer.weight
        if id(weight) not in seen:
            found[name] = weight  # held, so that no computed weight takes the id of one before it
        seen.add(id(weight))
    return found


def count_weights(model: nn.Module) -> int:
    """Count the weights of convolutions and linear layers, no biases or normalisation: what can be zero.

    A weight shared by several layers counts once.

    Example:
        >>> count_weights(nn.Linear(3, 2))
        6
    """
    return sum(weight.numel() for weight in prunable_weights(model).values())
