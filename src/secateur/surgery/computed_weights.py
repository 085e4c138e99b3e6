"""Weights that a layer computes from others: weight normalisation is cut, all else is named with its remedy.

    w = g * v / ||v||       the norm over all dimensions but `dim`      Salimans & Kingma 2016

Where entries of v go along another dimension than `dim`, the norm of what is left is smaller. So g is made
smaller with it, by ||v kept|| / ||v||, and the weights that stay are what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm

WHOLE = -1
"""In place of a dimension: the norm is that of the whole weight."""


@dataclass(frozen=True)
class WeightNormed:
    """One normalised weight.

    Attributes:
        holder: the module that holds g and v.
        scale, direction: their names there.
        dim: along which each entry has a norm of its own, or `WHOLE`.
        hook: what computes the weight before each forward pass; None: a parametrization does.
    """

    holder: nn.Module
    scale: str
    direction: str
    dim: int
    hook: WeightNorm | None = None

    @property
    def g(self) -> Tensor:
        """The scale."""
        return getattr(self.holder, self.scale)  # type: ignore[no-any-return]

    @property
    def v(self) -> Tensor:
        """The direction, of the weight's shape."""
        return getattr(self.holder, self.direction)  # type: ignore[no-any-return]

    @torch.no_grad()
    def norms(self) -> Tensor:
        """||v||, of the shape of g."""
        v = self.v.detach()
        if self.dim == WHOLE:
            return torch.linalg.vector_norm(v)
        over = [dim for dim in range(v.dim()) if dim != self.dim]
        return torch.linalg.vector_norm(v, dim=over, keepdim=True)

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute a weight that hooks compute as it is now: a plain tensor, which can be copied."""
        if self.hook is not None:
            setattr(self.holder, self.hook.name, self.hook.compute_weight(self.holder))


def weight_norms_in(module: nn.Module) -> Iterator[WeightNormed]:
    """Find the normalised weights whose g and v a module itself holds."""
    if isinstance(module, ParametrizationList):
        if len(module) == 1 and isinstance(module[0], _WeightNorm):
            yield WeightNormed(module, "original0", "original1", module[0].dim)
        return
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            yield WeightNormed(module, f"{hook.name}_g", f"{hook.name}_v", hook.dim, hook)


def weight_norm_of(layer: nn.Module) -> WeightNormed | None:
    """Find how a layer's `weight` is normalised; None where it is not, or computed in another way too."""
    if is_parametrized(layer):
        lists = layer.parametrizations
        assert isinstance(lists, nn.ModuleDict)
        return next(weight_norms_in(lists["weight"]), None) if set(lists) == {"weight"} else None
    found = [normed for normed in weight_norms_in(layer) if normed.direction == "weight_v"]
    return found[0] if found else None


def normed_parts(layer: nn.Module) -> tuple[Tensor, ...]:
    """The tensors that a layer's normalised weight is made of: they follow the layer's own axes."""
    normed = weight_norm_of(layer)
    return () if normed is None else (normed.g, normed.v)


def computed_weight(layer: nn.Module) -> bool:
    """Whether a layer's weight is computed in a way that cannot be cut."""
    if isinstance(layer, (nn.Linear, _ConvNd)) and weight_norm_of(layer) is not None:
        return False
    return (hasattr(layer, "weight") and "weight" not in layer._parameters) or is_parametrized(layer)


def effective_weight(layer: nn.Module) -> Tensor:
    """The weight that a layer computes with, as its parameters are now."""
    normed = weight_norm_of(layer)
    if normed is not None and normed.hook is not None:
        return normed.hook.compute_weight(layer)  # type: ignore[no-any-return]
    return layer.weight  # type: ignore[return-value]


def remedy(name: str, layer: nn.Module) -> str:
    """How a weight that is computed is made a plain one."""
    hooks = layer._forward_pre_hooks.values()
    if any(isinstance(hook, SpectralNorm) for hook in hooks):
        return f"is computed by spectral_norm: take it off first, torch.nn.utils.remove_spectral_norm({name})"
    if is_parametrized(layer):
        lists: Any = layer.parametrizations
        kinds = ", ".join(type(each).__name__.strip("_") for key in lists for each in lists[key])
        return (
            f"is computed by a parametrization ({kinds}): take it off first, "
            f"torch.nn.utils.parametrize.remove_parametrizations({name}, 'weight')"
        )
    return "is computed before each forward pass: make it a parameter first"


def make_permanent(model: nn.Module) -> nn.Module:
    """Make the masks of `torch.nn.utils.prune` permanent, in place: plain weights, zero where masks were.

    Layers stay as wide as they are; `sc.inspect` then opens the model, and a criterion that looks at weights
    (`filter-norm`) removes the channels first that are all zeros.

    Args:
        model: with masks or without.

    Returns:
        `model`.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> _ = prune.l1_unstructured(layer, "weight", amount=2)
        >>> int((make_permanent(layer).weight == 0).sum())
        2
    """
    for module in model.modules():
        names = {
            hook._tensor_name
            for hook in module._forward_pre_hooks.values()
            if isinstance(hook, prune.BasePruningMethod)
        }
        for name in sorted(names):
            prune.remove(module, name)
    return model


def as_plain(model: nn.Module) -> nn.Module:
    """Make normalised weights of layers plain parameters, in place; the function stays the same.

    Meant for a copy: torch's own way of taking a parametrization off changes the class that copies share.
    """
    for module in list(model.modules()):
        if isinstance(module, (nn.Linear, _ConvNd)) and (normed := weight_norm_of(module)) is not None:
            if normed.hook is not None:
                remove_weight_norm(module, "weight")
                continue
            weight = nn.Parameter(effective_weight(module).detach().clone())
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module._modules["parametrizations"]
            module.register_parameter("weight", weight)
    return model
