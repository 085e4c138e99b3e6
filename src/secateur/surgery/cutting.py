"""The cut itself: layers keep some of the channels they write and read, and the optimizer follows.

A channel has two sides: an entry of the *out* axis of what writes it, an entry of the *in* axis of what reads
it. Normalisations and per-channel activations have an out axis only. Every other parameter or buffer, of
whatever module (ConvNeXt's layer scale, an attention's `in_proj_weight`, the gain that a subclass adds to a
convolution), has one axis for each of its dimensions, named `parameter@dimension`.

Tensors are cut in place: whoever holds one (an optimizer, a hook, a list of weights) goes on holding it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.optim import Optimizer

from secateur.surgery.computed_weights import WeightNormed, weight_norm_of, weight_norms_in
from secateur.surgery.copies_alike import copies_of
from secateur.surgery.optimizer_state import Cut, Optimizers, follow_cut, listed

Axis = tuple[str, str]
"""(dotted module name, "out" | "in" | "PARAMETER@DIM")."""

CHANNELWISE: tuple[type[nn.Module], ...] = (_NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.PReLU)
"""Layers that pass each channel on, and hold something for every one of them."""


class Follower(Protocol):
    """What holds a tensor for each of a network's, by name, and shrinks when it does."""

    def cut(self, name: str, index: Tensor, dim: int) -> None:
        """Keep the entries `index` along `dim` of the tensor that the network has under `name`."""

    def scale(self, name: str, factor: Tensor) -> None:
        """Multiply the tensor by a factor that the network's was multiplied by for good."""


_FOLLOWERS: WeakKeyDictionary[nn.Module, WeakSet[Any]] = WeakKeyDictionary()


def follow_cuts(model: nn.Module, follower: Follower) -> None:
    """Have every cut of `model` told to `follower`, as long as both live; copies of the model have none."""
    _FOLLOWERS.setdefault(model, WeakSet()).add(follower)


class _Followers:
    """Tells the followers of a network of what happens to its tensors."""

    def __init__(self, model: nn.Module):
        self.all: list[Follower] = list(_FOLLOWERS.get(model, ()))
        self.names: dict[int, str] = {}
        if self.all:  # a tensor that several layers share goes by its first name, as in `named_parameters`
            self.names = {id(tensor): name for name, tensor in _tensors(model)}

    def cut(self, tensor: Tensor, index: Tensor, dim: int) -> None:
        for follower in self.all:
            follower.cut(self.names[id(tensor)], index, dim)

    def scale(self, tensor: Tensor, factor: Tensor) -> None:
        for follower in self.all:
            follower.scale(self.names[id(tensor)], factor)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


@torch.no_grad()
def scale(model: nn.Module, factors: list[tuple[Tensor, Tensor]]) -> None:
    """Multiply parameters of a network by factors for good, in place; what follows its cuts is told."""
    followers = _Followers(model)
    copies = [dict(copy.named_parameters()) for copy in copies_of(model)]
    names = {id(parameter): name for name, parameter in model.named_parameters()} if copies else {}
    for parameter, factor in factors:
        parameter.mul_(factor.to(parameter.dtype))
        followers.scale(parameter, factor)
        for held in copies:
            other = held.get(names[id(parameter)])
            if other is not None:  # it has another name in a copy that was made before weights had gates
                other.mul_(factor.to(other.device, other.dtype))


def is_transposed(layer: nn.Module) -> bool:
    """Tell whether the weight is stored (in, out, ...), as transposed convolutions do."""
    return isinstance(layer, _ConvTransposeNd)


def axis_size(model: nn.Module, axis: Axis) -> int:
    """Count the present entries along an axis."""
    name, kind = axis
    layer = model.get_submodule(name)
    if found := dimension(kind):
        return int(getattr(layer, found[0]).shape[found[1]])
    return out_size(layer) if kind == "out" else in_size(layer)


def dimension(kind: str) -> tuple[str, int] | None:
    """Take "PARAMETER@DIM" apart; None for "out" and "in", whose meaning the kind of layer says."""
    parameter, at, dim = kind.partition("@")
    return (parameter, int(dim)) if at else None


def out_size(layer: nn.Module) -> int:
    """Count the channels a layer writes; 0 where it has none of its own."""
    if isinstance(layer, _ConvNd):
        return layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, _NormBase):
        return layer.num_features
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        return layer.normalized_shape[0] if len(layer.normalized_shape) == 1 else 0
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    return layer.num_parameters if isinstance(layer, nn.PReLU) and layer.num_parameters > 1 else 0


def in_size(layer: nn.Module) -> int:
    """Count the channels a convolution or linear layer reads."""
    size = layer.in_channels if isinstance(layer, _ConvNd) else layer.in_features
    assert isinstance(size, int)
    return size


def whole_groups(layer: nn.Module) -> bool:
    """Whether a grouped layer loses whole groups: where they are no larger than their number is.

    A depthwise convolution is the extreme. Other grouped layers lose the same offsets of every group.
    """
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups > 1 and layer.num_channels // layer.num_groups <= layer.num_groups
    if not isinstance(layer, _ConvNd) or layer.groups == 1:
        return False
    return layer.in_channels // layer.groups <= layer.groups


def passes_on(layer: nn.Module) -> bool:
    """Whether a convolution hands each channel (or small group of them) on, rather than mix them with all."""
    return isinstance(layer, _ConvNd) and whole_groups(layer)


def cut(model: nn.Module, keeps: Mapping[Axis, Tensor], optimizer: Optimizers = None) -> None:
    """Keep only some entries of every axis named, in place.

    Args:
        keeps: axis -> boolean, one for each present entry.
        optimizer: one or several that step these weights: their state is cut with them, and that of every
            other that steps them (`secateur.surgery.optimizer_state`). None: nothing trains the network.

    Gradients that are there are cut too, and what follows the network (`follow_cuts`).
    """
    by_module: dict[str, dict[str, Tensor]] = {}
    for (name, kind), keep in keeps.items():
        by_module.setdefault(name, {})[kind] = keep
    shears = _Shears(None if optimizer is None else listed(optimizer), _Followers(model))
    for name, kinds in by_module.items():
        _cut_layer(model.get_submodule(name), kinds, shears)


def _cut_layer(layer: nn.Module, keeps: dict[str, Tensor], shears: _Shears) -> None:
    for kind, keep in keeps.items():
        if found := dimension(kind):
            shears.cut_own(layer, *found, keep)
    if "out" not in keeps and "in" not in keeps:
        return
    if isinstance(layer, _ConvNd):
        _cut_convolution(layer, keeps, shears)
    elif isinstance(layer, nn.Linear):
        if "out" in keeps:
            shears.cut_weight(layer, keeps["out"], 0)
            shears.cut(layer, ("bias",), keeps["out"], 0)
            layer.out_features = int(keeps["out"].sum())
        if "in" in keeps:
            shears.cut_weight(layer, keeps["in"], 1)
            layer.in_features = int(keeps["in"].sum())
    else:
        assert isinstance(layer, CHANNELWISE), "only layers have axes named out and in"
        _cut_channelwise(layer, keeps["out"], shears)


def _cut_convolution(layer: _ConvNd, keeps: dict[str, Tensor], shears: _Shears) -> None:
    """Cut a convolution; with groups, whole ones (then of both axes), or the same offsets of every one.

    With groups a plain weight is stored (out, in / groups, ...), a transposed one (in, out / groups, ...).
    """
    whole, divided = ("in", "out") if is_transposed(layer) else ("out", "in")
    groups = layer.groups
    for kind, keep in keeps.items():
        if kind == "out":
            shears.cut(layer, ("bias",), keep, 0)
            layer.out_channels = int(keep.sum())
        elif kind == "in":
            rows = keep.view(groups, -1)
            if groups > 1 and _whole_rows(rows):
                layer.groups = int(rows[:, 0].sum())
            layer.in_channels = int(keep.sum())
    if whole in keeps:
        shears.cut_weight(layer, keeps[whole], 0)
    if divided in keeps:
        rows = keeps[divided].view(groups, -1)
        if groups == 1 or not _whole_rows(rows):
            assert bool((rows == rows[0]).all()), "a grouped convolution is cut in balanced sets"
            shears.cut_weight(layer, rows[0], 1)


def _whole_rows(rows: Tensor) -> bool:
    """Whether every row is kept or dropped whole, and one is dropped."""
    return bool((rows.all(1) | ~rows.any(1)).all()) and not bool(rows.all())


def _cut_channelwise(layer: nn.Module, keep: Tensor, shears: _Shears) -> None:
    left = int(keep.sum())
    shears.cut(layer, ("weight", "bias", "running_mean", "running_var"), keep, 0)
    if isinstance(layer, _NormBase):
        layer.num_features = left
    elif isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        layer.normalized_shape = (left,)
    elif isinstance(layer, nn.GroupNorm):
        rows = keep.view(layer.num_groups, -1)
        if layer.num_groups > 1 and _whole_rows(rows):
            layer.num_groups = int(rows[:, 0].sum())
        else:
            assert bool((rows.sum(1) == rows[0].sum()).all()), "group norm is cut in balanced sets"
        layer.num_channels = left
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = left


class _Shears:
    """Cuts tensors; one that several layers share is cut once, and they go on sharing it."""

    def __init__(self, optimizers: Sequence[Optimizer] | None, followers: _Followers):
        self.optimizers, self.followers = optimizers, followers
        self.done: dict[tuple[int, int], Tensor] = {}  # holds the tensor: no id is used twice

    def cut(self, layer: nn.Module, names: tuple[str, ...], keep: Tensor, dim: int) -> None:
        """Keep only the entries `keep` along `dim` of the layer's named parameters and buffers."""
        index = keep.nonzero().flatten()
        for name in names:
            tensor = getattr(layer, name, None)
            if not isinstance(tensor, Tensor) or (id(tensor), dim) in self.done:
                continue
            made = Cut(tuple(tensor.shape), index.to(tensor.device), dim)
            _shorten(tensor, made.index, dim)
            self.followers.cut(tensor, made.index, dim)
            if self.optimizers is not None:
                follow_cut(self.optimizers, tensor, made)
            self.done[id(tensor), dim] = tensor

    def cut_weight(self, layer: nn.Module, keep: Tensor, dim: int) -> None:
        """Cut a layer's weight, which may be a normalised one."""
        normed = weight_norm_of(layer)
        if normed is None:
            self.cut(layer, ("weight",), keep, dim)
        else:
            self._cut_normed(normed, keep, dim)

    def cut_own(self, module: nn.Module, name: str, dim: int, keep: Tensor) -> None:
        """Cut any parameter or buffer of a module."""
        normed = next((each for each in weight_norms_in(module) if each.direction == name), None)
        if normed is None:
            self.cut(module, (name,), keep, dim)
        else:
            self._cut_normed(normed, keep, dim)

    def _cut_normed(self, normed: WeightNormed, keep: Tensor, dim: int) -> None:
        """Cut v, and have g see to it that the weights that stay are what they were."""
        before = normed.norms()
        self.cut(normed.holder, (normed.direction,), keep, dim)
        if dim == normed.dim:
            self.cut(normed.holder, (normed.scale,), keep, dim)
        elif not normed.v.is_meta:
            after, v = normed.norms(), normed.v
            if not bool((after > 0).all()):  # nothing is left there but zeros: any direction, of length 0
                v.data = torch.where(after > 0, v.data, torch.ones_like(v.data))
            factor = torch.where(after > 0, after / before, torch.zeros_like(after))
            normed.g.data = normed.g.data * factor
            self.followers.scale(normed.g, factor)
        normed.refresh()


def _shorten(tensor: Tensor, index: Tensor, dim: int) -> None:
    """Keep the entries `index` along `dim` of a tensor and of its gradient, in place and in its layout."""
    grad = tensor.grad if tensor.is_leaf else None
    kept = _selected(tensor.detach(), index, dim)
    if tensor.is_leaf:
        tensor.grad = None
    if tensor.is_leaf and tensor.requires_grad:
        # What accumulates the gradient knows the old shape as long as an earlier loss is alive; another
        # type of data makes torch forget it.
        other = torch.float16 if tensor.dtype != torch.float16 else torch.float32
        tensor.data = torch.empty(0, dtype=other, device=tensor.device)
    tensor.data = kept
    if grad is not None:
        tensor.grad = _selected(grad, index, dim)


def _selected(tensor: Tensor, index: Tensor, dim: int) -> Tensor:
    """Select entries; a strided (channels-last) tensor keeps its layout only if asked to."""
    layout = torch.channels_last if _is_channels_last(tensor) else torch.contiguous_format
    kept = tensor.index_select(dim, index)
    return kept if kept.is_sparse else kept.contiguous(memory_format=layout)


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether it is stored so, and not in a shape (1x1) that is both at once."""
    if tensor.dim() != 4 or tensor.is_sparse:
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
