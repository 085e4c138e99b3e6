"""The tensors of a network's state, whose dimensions follow the axes of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.network.weights import weight_layers
from secateur.surgery.computed_weights import weight_norm_of
from secateur.surgery.cutting import CHANNELWISE, Axis, is_transposed, passes_on
from secateur.surgery.graph import ChannelGraph

Dims = tuple[int | tuple[Axis, int], ...]
"""For each dimension a number, or an axis and what divides its size."""


def sized(dims: Dims, sizes: Mapping[Axis, int]) -> tuple[int, ...]:
    """Put in the sizes of the axes."""
    return tuple(dim if isinstance(dim, int) else sizes[dim[0]] // dim[1] for dim in dims)


@dataclass(frozen=True)
class StateTensor:
    """A tensor whose dimensions follow the axes: `dims[i]` is a number, or an axis and what divides its size.

    Attributes:
        name: in the state dict.
        is_parameter, is_weight: what it counts for.
        uses: how often one example multiplies by each of its numbers, over all layers that share it.
        again: the first name of the same tensor, where this is another one: it counts for nothing.
    """

    name: str
    dims: Dims
    is_parameter: bool
    is_weight: bool
    uses: int
    dtype: torch.dtype
    again: str | None = None

    def shape(self, sizes: Mapping[Axis, int]) -> tuple[int, ...]:
        return sized(self.dims, sizes)

    def cost(self, sizes: Mapping[Axis, int]) -> tuple[int, int, int]:
        """Count params, MACs and weights at the axes' sizes."""
        numel = 1
        for dim in self.dims:
            numel *= dim if isinstance(dim, int) else sizes[dim[0]] // dim[1]
        return (numel * self.is_parameter, numel * self.uses, numel * self.is_weight)


def state_tensors(model: nn.Module, graph: ChannelGraph, uses: Mapping[str, int]) -> list[StateTensor]:
    """List every tensor of the state dict; of one under several names, the first counts and has all the uses.

    Args:
        uses: of tensors, by any of their names.
    """
    held: dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
    owners: dict[int, str] = {}
    total: dict[str, int] = {}
    for name, value in held.items():
        owner = owners.setdefault(id(value), name)
        total[owner] = total.get(owner, 0) + uses.get(name, 0)
    weights = _weights(model)
    sizes, dims = {axis: graph.size(axis) for axis in graph.axes()}, dict[str, Dims]()
    found = []
    for name, value in held.items():
        owner = owners[id(value)]
        dims[name] = _dims(model, name, value, sizes) if owner == name else dims[owner]
        counts = owner == name
        found.append(
            StateTensor(
                name,
                dims[name],
                counts and isinstance(value, nn.Parameter),
                counts and id(value) in weights,
                total[name] if counts else 0,
                value.dtype,
                None if counts else owner,
            )
        )
    return found


def _weights(model: nn.Module) -> set[int]:
    """What could be zero: the weights of layers, of normalised ones what is made of one norm."""
    found = set()
    for layer in weight_layers(model).values():
        normed = weight_norm_of(layer)
        found.add(id(normed.v if normed else layer.weight))
    return found


def _dims(model: nn.Module, name: str, value: Tensor, sizes: Mapping[Axis, int]) -> Dims:
    """Find which axis each dimension of a tensor follows."""
    holder, _, own = name.rpartition(".")
    dims: list[int | tuple[Axis, int]] = list(value.shape)
    layer, plain = _layer_of(holder, own)
    stock = _stock_dims(model.get_submodule(layer), plain)
    for dim, size in enumerate(value.shape):
        follows = [((layer, kind), divisor) for kind, divisor in stock.get(dim, ())]
        for axis, divisor in (*follows, ((holder, f"{own}@{dim}"), 1)):
            if sizes.get(axis) == size * divisor:  # the scale of a normalised weight may have 1
                dims[dim] = (axis, divisor)
                break
    return tuple(dims)


def _layer_of(holder: str, own: str) -> tuple[str, str]:
    """Tell whose axes a tensor follows, and as what: what a normalised weight is made of, as that weight."""
    if own in ("weight_g", "weight_v"):
        return holder, "weight"
    if holder.endswith("parametrizations.weight"):
        return holder.removesuffix("parametrizations.weight").rstrip("."), "weight"
    return holder, own


def _stock_dims(layer: nn.Module, own: str) -> dict[int, list[tuple[str, int]]]:
    """Dimension -> the "out" or "in" axes that it follows in layers of torch's, and what divides them."""
    if isinstance(layer, _ConvNd):
        if own == "bias":
            return {0: [("out", 1)]}
        if own == "weight":
            own_kind, other = ("in", "out") if is_transposed(layer) else ("out", "in")
            return {0: [(own_kind, 1)]} | ({} if passes_on(layer) else {1: [(other, layer.groups)]})
    elif isinstance(layer, nn.Linear):
        if own in ("weight", "bias"):
            return {0: [("out", 1)], 1: [("in", 1)]}
    elif isinstance(layer, CHANNELWISE) and own in _CHANNELWISE:
        return {0: [("out", 1)]}
    return {}


_CHANNELWISE = ("weight", "bias", "running_mean", "running_var")
"""What a layer that works channel by channel holds for each of them."""
