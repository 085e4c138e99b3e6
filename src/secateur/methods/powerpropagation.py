"""Powerpropagation: Schwarz et al. 2021, *A sparsity inducing weight reparameterisation* (arXiv:2110.00296).

    w       = theta |theta|**(alpha - 1)                             the weight        `power`
    dL/dth  = dL/dw alpha |theta|**(alpha - 1)                       its gradient      `slope`
    theta_0 = sign(w_0) |w_0|**(1/alpha)                             initialisation    `root`
    mask    = the largest |w|, fewer and fewer (Zhu & Gupta 2017)    pruning           `GradualMagnitude`

A step on theta moves w by its own size: what is large learns fast, what is small stays small, and with it the
distribution of weights gathers at zero, where they can be cut. alpha = 1 is `gradual_magnitude` itself.

The reparametrisation cuts nothing. The paper joins it to methods that do; of these this one is the gradual
pruning of Zhu & Gupta 2017 (its ImageNet experiments), by the schedule that all our gradual methods have.
Where all is cut at once after training, as in the paper's first experiments, write start=0.99, end=1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize

from secateur.budget import Wanted
from secateur.errors import require
from secateur.methods.gates.gate import full
from secateur.methods.gates.parametrization import distinct_layers, make_plain, original_weight
from secateur.methods.gradual_magnitude import Config as GradualConfig
from secateur.methods.gradual_magnitude import GradualMagnitude


@dataclass(frozen=True)
class Config(GradualConfig):
    """Settings.

    Attributes:
        alpha: the power, at least 1 (1: weights as they are).
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {"alpha must be at least 1": 1 <= self.alpha < math.inf}
        require(self, checks, "powerpropagation: ")


def power(theta: Tensor, alpha: float) -> Tensor:
    """theta |theta|**(alpha - 1).

    Example:
        >>> power(torch.tensor([-3.0, 0.0, 2.0]), 2.0)
        tensor([-9.,  0.,  4.])
    """
    return theta * full(theta).abs().pow_(alpha - 1).to(theta.dtype)


def slope(theta: Tensor, alpha: float) -> Tensor:
    """alpha |theta|**(alpha - 1): the derivative of `power`, 0 at 0 where alpha is above 1.

    Example:
        >>> slope(torch.tensor([-3.0, 0.0, 2.0]), 2.0)
        tensor([6., 0., 4.])
    """
    return full(theta).abs().pow_(alpha - 1).mul_(alpha).to(theta.dtype)


def root(weight: Tensor, alpha: float) -> Tensor:
    """sign(w) |w|**(1/alpha): the theta whose `power` is w.

    Example:
        >>> root(torch.tensor([-9.0, 0.0, 4.0]), 2.0)
        tensor([-3.,  0.,  2.])
    """
    return weight.sign() * full(weight).abs().pow_(1 / alpha).to(weight.dtype)


class Powered(torch.autograd.Function):
    """`power` with `slope` as its derivative: autograd's own is 0 * inf at 0 for alpha below 2."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, alpha: float) -> Tensor:
        """Give the weight."""
        ctx.save_for_backward(theta)
        ctx.alpha = alpha
        return power(theta, alpha)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """Give theta's gradient."""
        (theta,) = ctx.saved_tensors
        return gradient * slope(theta, ctx.alpha), None


class Power(nn.Module):
    """The parametrization theta -> w of one layer, which begins with the w that the layer has."""

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, theta: Tensor) -> Tensor:
        return Powered.apply(theta, self.alpha)  # type: ignore[no-any-return]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What a layer begins with, and what setting its weight comes to."""
        return root(weight, self.alpha)


class Powerpropagation(GradualMagnitude):
    """Has large weights learn fast and small ones hardly, and cuts these while training.

    Args and errors are those of `GradualMethod`, settings those of `Config`; besides, no two layers may share
    a weight.

    Example:
        >>> method = Powerpropagation("nonzeros=5%", steps=1000, alpha=2.0)  # doctest: +SKIP

    Reference: Schwarz et al. 2021, sections 2 and 3.
    """

    name = "powerpropagation"
    configured = Config

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self._layers: list[str] = []

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize the weight of every convolution and linear layer."""
        layers = distinct_layers(model, self.name)
        model = super().prepare(model, batches)
        for name, layer in layers.items():
            parametrize.register_parametrization(layer, "weight", Power(self.config.alpha))
            self._layers.append(name)
        return model

    @torch.no_grad()
    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Set theta outside the masks to zero, and with it the weights."""
        for name in self._layers:
            theta = original_weight(model.get_submodule(name))
            theta.mul_(masks[name].to(theta.device))

    def leave(self, model: nn.Module) -> None:
        for name in self._layers:
            make_plain(model.get_submodule(name))
        self._layers.clear()
