"""Normalisations that are written by hand, told by how they behave.

A module that keeps the shape, mixes channels, and gives the same in another order when it is given its
channels, and its own parameters, in another order, computes statistics over channels, as a layer norm does.
Channels pass through it, and without some of them it normalises over the others.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from secateur.network.weights import weight_layers
from secateur.surgery.cutting import CHANNELWISE


def may_normalise(module: nn.Module) -> bool:
    """Whether a module is worth a try: not one of torch's, without layers, with one parameter a channel."""
    if type(module).__module__.startswith("torch.nn") or weight_layers(module):
        return False
    if any(isinstance(inner, (*CHANNELWISE, nn.RNNBase)) for inner in module.modules()):
        return False
    return channels_of(module) > 1


def channels_of(module: nn.Module) -> int:
    """How many channels a module's own parameters are for; 0 where they do not agree, or it has none."""
    sizes = {math.prod(value.shape) for value in own_values(module) if value.numel() > 1}
    wide = all(max(value.shape, default=1) == value.numel() for value in own_values(module))
    return sizes.pop() if wide and len(sizes) == 1 else 0


def own_values(module: nn.Module) -> list[Tensor]:
    """The parameters and floating-point buffers of a module and of those in it."""
    return [value for value in (*module.parameters(), *module.buffers()) if value.is_floating_point()]


@torch.no_grad()
def normalised_dim(module: nn.Module, like: Tensor) -> int | None:
    """Find the dimension of its input that a module normalises over; None if it does nothing of the kind."""
    own = copy.deepcopy(module)
    own.__dict__.pop("forward", None)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator) + 0.5).to(like.device, like.dtype)

    for value in own_values(own):
        value.copy_(random(*value.shape))
    x, size = random(*like.shape) - 1, channels_of(module)
    before = own.forward(x)
    if not isinstance(before, Tensor) or before.shape != x.shape:
        return None
    for dim in range(1, x.dim()):
        if x.shape[dim] == size and _passes(own, x, before, dim, generator):
            return dim
    return None


def _passes(module: nn.Module, x: Tensor, before: Tensor, dim: int, generator: torch.Generator) -> bool:
    """Whether channels along a dimension are mixed, and come out in the order in which they went in."""
    one = x.clone()
    one.select(dim, 0).add_(1)
    if not (module.forward(one) != before).movedim(dim, 0)[1:].any():
        return False  # it does not mix, and needs no help
    order = torch.randperm(x.shape[dim], generator=generator).to(x.device)
    moved = copy.deepcopy(module)
    for value in own_values(moved):
        if value.numel() > 1:
            value.copy_(value.flatten()[order].view(value.shape))
    after = moved.forward(x.index_select(dim, order))
    expected = before.index_select(dim, order)
    return after.shape == expected.shape and torch.allclose(after, expected, rtol=1e-3, atol=1e-5)
