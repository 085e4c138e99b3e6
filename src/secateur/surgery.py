"""Channel groups of a network, and their physical removal: the network really gets smaller.

Removing channels of a group touches three layers: the producer loses output channels, the normalisation
between loses theirs, the consumer loses the matching inputs. A residual stream has several of each. The
optimizer's state is cut along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.budget import weight_layers
from secateur.errors import InputError
from secateur.models import Coupling, Family, Group


def channel_groups(model: nn.Module) -> tuple[Group, ...]:
    """The prunable channel groups of a network, in network order.

    Raises:
        InputError: where the network is not of a built-in family (foreign models: a later version).
    """
    if not isinstance(model, Family):
        raise InputError(
            f"channels can be removed from the built-in families only, got {type(model).__name__}: "
            "build it with one of secateur.models"
        )
    return model.groups


def couplings(model: nn.Module, streams: bool = True) -> tuple[Coupling, ...]:
    """All that can be removed from a network: its channel groups, then its residual streams.

    Raises:
        InputError: where the network is not of a built-in family.
    """
    groups = tuple(map(Coupling.of, channel_groups(model)))
    return groups + model.streams if streams and isinstance(model, Family) else groups


def features_of(model: nn.Module, coupling: Coupling, consumer: str) -> int:
    """How many input features of `consumer` belong to one channel: 1, or H*W behind a flatten."""
    layer = model.get_submodule(consumer)
    return layer.in_features // coupling.width(model) if isinstance(layer, nn.Linear) else 1


def features_per_channel(model: nn.Module, group: Group) -> int:
    """How many input features of the consumer belong to one channel: 1, or H*W behind a flatten."""
    return features_of(model, Coupling.of(group), group.consumer)


def width_of(model: nn.Module, group: Group) -> int:
    """The group's present number of channels."""
    weight = model.get_submodule(group.producer).weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def macs_per_channel(model: nn.Module, group: Group, positions: Mapping[str, int]) -> int:
    """The MACs that go with one channel of the group: its share of the producer and of the consumer.

    Args:
        positions: from `secateur.budget.layer_positions`.
    """
    layers = weight_layers(model)
    width = width_of(model, group)
    ends = (group.producer, group.consumer)
    return sum(layers[name].weight.numel() // width * positions[name] for name in ends)


def remove_channels(
    model: nn.Module,
    group: Group | Coupling,
    channels: Sequence[int],
    optimizer: Optimizer | None = None,
) -> None:
    """Remove `channels` (present indices) of `group`, in place, from network and optimizer.

    Args:
        optimizer: the one that steps these weights. Its parameter groups and every state tensor shaped like
            a weight (momentum, Adam's moments) are cut with it. None only where nothing trains the network.

    Raises:
        InputError: where a channel does not exist or none would be left; nothing is changed then.
    """
    coupling = Coupling.of(group) if isinstance(group, Group) else group
    keep = _kept(model, coupling, channels)
    features = {name: features_of(model, coupling, name) for name in coupling.consumers}
    for name in coupling.producers:
        _cut(model.get_submodule(name), ("weight", "bias"), keep, 0, optimizer)
    for name in coupling.norms:
        norm = model.get_submodule(name)
        _cut(norm, ("weight", "bias", "running_mean", "running_var"), keep, 0, optimizer)
    for name, spread in features.items():
        inputs = (keep[:, None] * spread + torch.arange(spread, device=keep.device)).flatten()
        _cut(model.get_submodule(name), ("weight",), inputs, 1, optimizer)
    _relabel(model, coupling, len(keep))


def _kept(model: nn.Module, coupling: Coupling, dropped: Sequence[int]) -> Tensor:
    """The indices that stay; InputError where a dropped one does not exist or none would be left."""
    width, gone = coupling.width(model), set(dropped)
    if not gone <= set(range(width)):
        raise InputError(f"{coupling.name}: channels lie in 0..{width - 1}, got {sorted(gone)}")
    if len(gone) == width:
        raise InputError(f"{coupling.name}: one channel must be left, got all {width} to remove")
    device = next(model.parameters()).device
    return torch.tensor([index for index in range(width) if index not in gone], device=device)


def _cut(layer: nn.Module, names: Sequence[str], keep: Tensor, dim: int, optimizer: Optimizer | None) -> None:
    """Keep only the indices `keep` along `dim` of the layer's named parameters and buffers."""
    for name in names:
        old = getattr(layer, name, None)
        if old is None:
            continue
        # A strided (channels-last) weight keeps its layout through index_select only if asked to.
        layout = torch.channels_last if _is_channels_last(old) else torch.contiguous_format
        new = old.detach().index_select(dim, keep).contiguous(memory_format=layout)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, requires_grad=old.requires_grad)
            if optimizer is not None:
                _swap_parameter(optimizer, old, new, keep, dim)
        setattr(layer, name, new)


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether it is stored so, and not in a shape (1x1) that is both at once."""
    if tensor.dim() != 4:
        return False
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _swap_parameter(
    optimizer: Optimizer, old: nn.Parameter, new: nn.Parameter, keep: Tensor, dim: int
) -> None:
    """Put `new` where the optimizer holds `old`, cutting every state tensor of the weight's shape."""
    for param_group in optimizer.param_groups:
        param_group["params"] = [new if param is old else param for param in param_group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            key: value.index_select(dim, keep)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for key, value in state.items()
        }


def _relabel(model: nn.Module, coupling: Coupling, width: int) -> None:
    """Make the layers' own size attributes tell the truth again: printing and export read them."""
    for name in (*coupling.producers, *coupling.norms):
        layer = model.get_submodule(name)
        for attribute in ("out_channels", "out_features", "num_features"):
            if hasattr(layer, attribute):
                setattr(layer, attribute, width)
    for name in coupling.consumers:
        consumer = model.get_submodule(name)
        attribute = "in_features" if isinstance(consumer, nn.Linear) else "in_channels"
        weight = consumer.weight
        assert isinstance(weight, Tensor)
        setattr(consumer, attribute, weight.shape[1])
    if coupling.stage is not None:
        assert isinstance(model, Family)
        model.arguments["stages"][coupling.stage] = width
