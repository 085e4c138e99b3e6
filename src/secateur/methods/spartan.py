"""Spartan: Tai et al. 2022, *Differentiable sparsity via regularized transportation* (arXiv:2205.14107).

    sigma_i   = sigmoid(beta (|theta_i| - tau)),  sum sigma = k     soft top-k mask        `solve_threshold`
    d tau     = sum sigma(1-sigma) d|theta| / sum sigma(1-sigma)    implicit derivative    `Threshold`
    theta~    = Pi_k(theta * sigma)                                 forward                `SoftTopK`
    backward  : Pi_k as the identity                                dual averaging         `feedback`
    k(t)      : linear, from all weights to the budget's            in the first fifth     `kept_weights`
    beta(t)   : linear, from 1 to 10                                until the last fifth   `sharpness`
    the rest  : theta * (sigma, and 0 outside the k largest) with sigma a constant         `SoftTopK.freeze`

The k largest of n numbers solve a transport problem, n items into two bins, kept and gone, of k and n - k.
With an entropy term of weight 1/beta its solution is the soft mask above, which is hard for beta = inf.
Sinkhorn's iterations, with which the paper solves it, alternate between the rows (each item's mass) and the
columns (the bins' sizes). The rows can be solved for in closed form, which leaves the sigmoid, and one
equation in one unknown for the columns: tau, the dual variable. We solve that one, by Newton's steps that
begin at the last solution. The gradient of tau ties all weights together: where one mask rises, others fall.

The network computes with k weights, while all of them learn: what is outside gets the gradient of the masked
network through its own soft mask. As beta rises the mask hardens, and less of it arrives.

The exact mode of `reparametrization` is its next of kin: one temperature solved for so that a sum of gates
is the budget, on magnitudes as they are. It differs in what is forward (soft weights, sparse in the end
alone), in its gate (whose slope at 0 is 0, so that small weights are drawn nowhere), in its schedule (cubic),
and in that its temperature is a constant for the gradient.
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
from secateur.methods.dynamic_feedback import feedback
from secateur.methods.gates.gate import full
from secateur.methods.gates.parametrization import distinct_layers, make_plain, original_weight
from secateur.methods.gates.threshold import soft_mask, solve_threshold
from secateur.methods.gradual_magnitude import GradualMethod


@dataclass(frozen=True)
class Config:
    """Settings, by default those of the authors' ResNet-50.

    Attributes:
        warmup: the share of training in which k falls to the budget, in [0, 1 - finetune].
        finetune: the share of training at the end, in which the mask is fixed, in [0, 1].
        beta_init: sharpness at first, above 0.
        beta: sharpness when the mask is fixed, above 0.
    """

    warmup: float = 0.2
    finetune: float = 0.2
    beta_init: float = 1.0
    beta: float = 10.0

    def __post_init__(self) -> None:
        checks = {
            "finetune must lie in [0, 1]": 0 <= self.finetune <= 1,
            "warmup must lie in [0, 1 - finetune]": 0 <= self.warmup <= 1 - self.finetune + 1e-9,
            "beta_init must be above 0": 0 < self.beta_init < math.inf,
            "beta must be above 0": 0 < self.beta < math.inf,
        }
        require(self, checks, "spartan: ")

    def last_step(self, steps: int) -> int:
        """The step after which the mask is fixed, from 1 to `steps`."""
        return min(steps, max(1, int((1 - self.finetune) * steps + 1e-9)))


def kept_weights(step: int, steps: int, target: int, covered: int, config: Config) -> int:
    """k after so many of all steps: along a line from all weights to `target`, which it is after `warmup`.

    Example:
        >>> [kept_weights(step, 100, 100, 1000, Config()) for step in (0, 10, 20, 100)]
        [1000, 550, 100, 100]
    """
    share = min(1.0, step / (config.warmup * steps)) if config.warmup else 1.0
    return round(covered + (target - covered) * share)


def sharpness(step: int, steps: int, config: Config) -> float:
    """beta after so many of all steps: along a line from `beta_init` to `beta`.

    Example:
        >>> [sharpness(step, 100, Config()) for step in (0, 40, 80, 100)]
        [1.0, 5.5, 10.0, 10.0]
    """
    share = min(1.0, step / config.last_step(steps))
    return config.beta_init + (config.beta - config.beta_init) * share


class Threshold(torch.autograd.Function):
    """tau as a function of all weights: its value is given, its derivative that of the sum's being k.

    What the backward pass needs lies in the context itself, so that several passes may go through it.
    """

    @staticmethod
    def forward(ctx: Any, tau: Tensor, beta: float, *weights: Tensor) -> Tensor:
        """Give tau."""
        ctx.tau, ctx.beta, ctx.weights = tau, beta, [weight.detach() for weight in weights]
        return tau.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        """Share it out: d tau / d theta_i = sigma_i (1 - sigma_i) sign(theta_i) / sum sigma (1 - sigma)."""
        slopes = []
        for weight in ctx.weights:
            mask = soft_mask(full(weight).abs(), ctx.tau, ctx.beta)
            slopes.append(mask.mul_(1 - mask))
        whole = torch.stack([slope.sum() for slope in slopes]).sum()
        factor = gradient / whole.clamp_min(torch.finfo(whole.dtype).tiny)
        shared = [
            (slope * weight.sign() * factor).to(weight.dtype)
            for slope, weight in zip(slopes, ctx.weights, strict=True)
        ]
        return None, None, *shared


class Pool:
    """Layers that share one k, and so one tau.

    Every layer asks for tau whenever it computes its mask. The first makes the node of the graph that ties
    all together, the others of the same forward pass are given it, too.
    """

    def __init__(self, layers: Mapping[str, nn.Module], guess: float = 0.0):
        self.layers = dict(layers)
        self.tau, self.beta = guess, 1.0
        self._node: Tensor | None = None
        self._served: set[int] = set()
        self._versions: list[int] = []

    def weights(self) -> list[Tensor]:
        """The dense weights, layer by layer."""
        return [original_weight(layer) for layer in self.layers.values()]

    def solve(self, k: int, beta: float) -> None:
        """Find tau for the weights as they are."""
        flat = torch.cat([full(weight.detach()).flatten() for weight in self.weights()]).abs_()
        self.tau, self.beta = solve_threshold(flat, k, beta, self.tau), beta
        self.release()

    def threshold(self, asks: Any) -> Tensor:
        """Give tau to a layer, with its gradient where there is one."""
        weights = self.weights()
        versions = [weight._version for weight in weights]
        if self._node is None or id(asks) in self._served or versions != self._versions:
            tau = torch.tensor(self.tau, device=weights[0].device, dtype=full(weights[0]).dtype)
            if not torch.is_grad_enabled() or not any(weight.requires_grad for weight in weights):
                return tau
            self._node = Threshold.apply(tau, self.beta, *weights)
            self._served, self._versions = set(), versions
        self._served.add(id(asks))
        return self._node

    def release(self) -> None:
        """Forget the node of the last forward pass."""
        self._node, self._served, self._versions = None, set(), []

    def __getstate__(self) -> dict[str, Any]:
        """Without the node, which a copy of the network cannot take along."""
        return {**self.__dict__, "_node": None}


class SoftTopK(nn.Module):
    """The parametrization theta -> Pi_k(theta * sigma) of one layer; while k is all weights, the identity."""

    gone: Tensor

    def __init__(self, pool: Pool, gone: Tensor):
        super().__init__()
        self.pool = pool
        self.open = True
        self.register_buffer("gone", gone, persistent=False)
        # The node that ties all layers together is no part of one layer's graph. Made here, as it imports the
        # compiler, which the first step of an optimizer does as well.
        self._uncompiled: Any = torch.compiler.disable(_masked)
        self.frozen: Tensor | None = None  # no buffer: an average of weights has nothing to do with it

    def forward(self, weight: Tensor) -> Tensor:
        masked: Tensor = self._uncompiled(self, weight)
        return masked

    @torch.no_grad()
    def freeze(self, weight: Tensor) -> None:
        """Fix the mask as it is for this weight: soft inside the k largest, 0 outside."""
        mask = soft_mask(full(weight).abs(), self.pool.tau, self.pool.beta)
        self.frozen = mask.masked_fill_(self.gone, 0.0).to(weight.dtype)


def _masked(soft: SoftTopK, weight: Tensor) -> Tensor:
    """What a layer computes with."""
    if soft.open:
        return weight
    if soft.frozen is not None:
        return weight * soft.frozen.to(weight.device)
    mask = soft_mask(full(weight).abs(), soft.pool.threshold(soft), soft.pool.beta)
    return feedback(weight * mask.to(weight.dtype), soft.gone)


class Spartan(GradualMethod):
    """Trains under soft top-k masks that sharpen, then under one that is fixed.

    Args:
        budget, steps, keep, layer_shares: as of `GradualMethod`. Where layers have shares of their own, each
            has its own tau.
        settings: the fields of `Config`.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network, or
            layers share a weight.

    Example:
        >>> method = Spartan("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Tai et al. 2022, section 3.
    """

    name = "spartan"
    configured = Config

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self._soft: dict[str, SoftTopK] = {}
        self._pools: list[Pool] = []

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize every convolution and linear layer, but those whose weights all stay."""
        layers = distinct_layers(model, self.name)
        model = super().prepare(model, batches)
        layers = {name: layer for name, layer in layers.items() if name not in self.sparing.sizes}
        together = self.sharing.share == "global"
        self._pools = [Pool(layers)] if together else [Pool({name: each}) for name, each in layers.items()]
        for pool in self._pools:
            for name, layer in pool.layers.items():
                self._soft[name] = SoftTopK(pool, torch.zeros_like(self._masks[name]))
                parametrize.register_parametrization(layer, "weight", self._soft[name])
        return model

    @property
    def scheduled(self) -> int:
        """k by the schedule."""
        return kept_weights(self._step, self.steps, self.limits.units, self._covered, self.config)

    @property
    def due(self) -> bool:
        """Whether a mask is made at this step: at every one, until it is fixed."""
        return self._step <= self.config.last_step(self.steps)

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """|theta| of the dense weights."""
        found = {name: original_weight(model.get_submodule(name)).abs() for name in self._soft}
        return {**found, **{name: self._masks[name].float() for name in self.sparing.sizes}}

    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Set k of every pool, and tau by it; fix the masks where that is due."""
        for name, soft in self._soft.items():
            soft.gone.copy_(~masks[name])
        self._solve()
        if self._step >= self.config.last_step(self.steps):
            self._freeze(model)

    def _solve(self) -> None:
        beta = sharpness(self._step, self.steps, self.config)
        for pool in self._pools:
            kept = sum(int((~self._soft[name].gone).sum()) for name in pool.layers)
            whole = kept == sum(self._soft[name].gone.numel() for name in pool.layers)
            if not whole and kept:
                pool.solve(kept, beta)
            for name in pool.layers:
                self._soft[name].open = whole

    def _freeze(self, model: nn.Module) -> None:
        for name, soft in self._soft.items():
            if not soft.open and soft.frozen is None:
                soft.freeze(original_weight(model.get_submodule(name)))

    def leave(self, model: nn.Module) -> None:
        self._freeze(model)
        for name in self._soft:
            make_plain(model.get_submodule(name))
        self._soft.clear()
        self._pools.clear()

    def state(self) -> dict[str, Any]:
        return {**super().state(), "tau": [pool.tau for pool in self._pools]}

    def tensors(self) -> dict[str, Tensor]:
        fixed = {name: soft.frozen for name, soft in self._soft.items() if soft.frozen is not None}
        return {**super().tensors(), **{f"frozen.{name}": mask for name, mask in fixed.items()}}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().restore(state, tensors)
        beta = sharpness(self._step, self.steps, self.config)
        for pool, tau in zip(self._pools, state["tau"], strict=False):
            pool.tau, pool.beta = tau, beta
            whole = all(bool(self._masks[name].all()) for name in pool.layers)
            for name in pool.layers:
                soft = self._soft[name]
                soft.gone.copy_(~self._masks[name])
                soft.open = whole
                fixed = tensors.get(f"frozen.{name}")
                soft.frozen = None if fixed is None else fixed.to(soft.gone.device)
