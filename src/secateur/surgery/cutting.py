"""The cut itself: layers keep some of the channels they write and read, and the optimizer follows.

A channel has two sides: an entry of the *out* axis of what writes it, an entry of the *in* axis of what reads
it. Normalisations and per-channel activations have an out axis only. A parameter that a module holds beside
its layers (ConvNeXt's layer scale) has one axis for each of its dimensions, named `parameter@dimension`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.optim import Optimizer

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

    def cut(self, old: Tensor, new: Tensor, index: Tensor, dim: int) -> None:
        if self.all:
            self.names[id(new)] = name = self.names[id(old)]
            for follower in self.all:
                follower.cut(name, index, dim)

    def scale(self, tensor: Tensor, factor: Tensor) -> None:
        for follower in self.all:
            follower.scale(self.names[id(tensor)], factor)


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


@torch.no_grad()
def scale(model: nn.Module, factors: list[tuple[Tensor, Tensor]]) -> None:
    """Multiply parameters of a network by factors for good, in place; what follows its cuts is told."""
    followers = _Followers(model)
    for parameter, factor in factors:
        parameter.mul_(factor.to(parameter.dtype))
        followers.scale(parameter, factor)


def is_transposed(layer: nn.Module) -> bool:
    """Tell whether the weight is stored (in, out, ...), as transposed convolutions do."""
    return isinstance(layer, _ConvTransposeNd)


def axis_size(model: nn.Module, axis: Axis) -> int:
    """Count the present entries along an axis."""
    name, kind = axis
    layer = model.get_submodule(name)
    if "@" in kind:
        parameter, _, dim = kind.partition("@")
        return int(getattr(layer, parameter).shape[int(dim)])
    return out_size(layer) if kind == "out" else in_size(layer)


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

    A depthwise convolution is the extreme. Other grouped layers lose the same offsets of every group, but for
    transposed convolutions, which are not cut.
    """
    if isinstance(layer, nn.GroupNorm):
        return layer.num_groups > 1 and layer.num_channels // layer.num_groups <= layer.num_groups
    if not isinstance(layer, _ConvNd) or layer.groups == 1 or is_transposed(layer):
        return False
    return layer.in_channels // layer.groups <= layer.groups


def passes_on(layer: nn.Module) -> bool:
    """Whether a convolution hands each channel (or small group of them) on, rather than mix them with all."""
    return isinstance(layer, _ConvNd) and whole_groups(layer)


def cut(model: nn.Module, keeps: Mapping[Axis, Tensor], optimizer: Optimizer | None = None) -> None:
    """Keep only some entries of every axis named, in place.

    Args:
        keeps: axis -> boolean, one for each present entry.
        optimizer: the one that steps these weights. Its parameter groups and every state tensor shaped like
            a weight (momentum, Adam's moments) are cut with it. None only where nothing trains the network.

    What follows the network (`follow_cuts`) is cut too.
    """
    by_module: dict[str, dict[str, Tensor]] = {}
    for (name, kind), keep in keeps.items():
        by_module.setdefault(name, {})[kind] = keep
    shears = _Shears(optimizer, _Followers(model))
    for name, kinds in by_module.items():
        _cut_layer(model.get_submodule(name), kinds, shears)


def _cut_layer(layer: nn.Module, keeps: dict[str, Tensor], shears: _Shears) -> None:
    if isinstance(layer, _ConvNd):
        _cut_convolution(layer, keeps, shears)
    elif isinstance(layer, nn.Linear):
        if "out" in keeps:
            shears.cut(layer, ("weight", "bias"), keeps["out"], 0)
            layer.out_features = int(keeps["out"].sum())
        if "in" in keeps:
            shears.cut(layer, ("weight",), keeps["in"], 1)
            layer.in_features = int(keeps["in"].sum())
    elif isinstance(layer, CHANNELWISE):
        _cut_channelwise(layer, keeps["out"], shears)
    else:
        for kind, keep in keeps.items():
            parameter, _, dim = kind.partition("@")
            shears.cut(layer, (parameter,), keep, int(dim))


def _cut_convolution(layer: _ConvNd, keeps: dict[str, Tensor], shears: _Shears) -> None:
    """Cut a convolution; with groups, whole ones (then of both axes), or the same offsets of every one."""
    out_dim, in_dim = (1, 0) if is_transposed(layer) else (0, 1)
    groups = layer.groups
    if "out" in keeps:
        shears.cut(layer, ("weight",), keeps["out"], out_dim)
        shears.cut(layer, ("bias",), keeps["out"], 0)
        layer.out_channels = int(keeps["out"].sum())
    if "in" in keeps:
        rows = keeps["in"].view(groups, -1)
        if groups > 1 and _whole_rows(rows):
            layer.groups = int(rows[:, 0].sum())
        else:
            assert bool((rows == rows[0]).all()), "a grouped convolution is cut in balanced sets"
            shears.cut(layer, ("weight",), rows[0], in_dim)
        layer.in_channels = int(keeps["in"].sum())


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

    def __init__(self, optimizer: Optimizer | None, followers: _Followers):
        self.optimizer, self.followers = optimizer, followers
        self.done: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}  # holds the old: no id is used twice

    def cut(self, layer: nn.Module, names: tuple[str, ...], keep: Tensor, dim: int) -> None:
        """Keep only the entries `keep` along `dim` of the layer's named parameters and buffers."""
        index = keep.nonzero().flatten()
        for name in names:
            old = getattr(layer, name, None)
            if not isinstance(old, Tensor):
                continue
            if (id(old), dim) not in self.done:
                new = self._shortened(old, index.to(old.device), dim)
                self.followers.cut(old, new, index, dim)
                self.done[id(old), dim] = (old, new)
            setattr(layer, name, self.done[id(old), dim][1])

    def _shortened(self, old: Tensor, index: Tensor, dim: int) -> Tensor:
        # A strided (channels-last) weight keeps its layout through index_select only if asked to.
        layout = torch.channels_last if _is_channels_last(old) else torch.contiguous_format
        new = old.detach().index_select(dim, index).contiguous(memory_format=layout)
        if not isinstance(old, nn.Parameter):
            return new
        parameter = nn.Parameter(new, requires_grad=old.requires_grad)
        if self.optimizer is not None:
            _swap_parameter(self.optimizer, old, parameter, index, dim)
        return parameter


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether it is stored so, and not in a shape (1x1) that is both at once."""
    if tensor.dim() != 4:
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _swap_parameter(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, index: Tensor, dim: int
) -> None:
    """Put `new` where the optimizer holds `old`, cutting every state tensor of the weight's shape."""
    for param_group in optimizer.param_groups:
        param_group["params"] = [new if param is old else param for param in param_group["params"]]
    state: dict[str, Any] | None = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: value.index_select(dim, index)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for key, value in state.items()
        }
