"""Soft threshold reparameterization: Kusupati et al. 2020 (arXiv:2002.03231), "STR".

    S_g(w, s) = sign(w) relu(|w| - g(s)),  g = sigmoid      a layer's weight     `soft_threshold`
    dL/ds     = -g'(s) sum of sign(w) dL/dS over |w| > g(s)  its threshold       autograd
    s         learned with the weights, from s_init on       one of each layer   `SoftThreshold`

The network computes with weights that are shrunk by their layer's threshold, those below it 0. Each layer finds
its own, by the gradient of the loss; what drives all of them up is weight decay on s, which is far below 0.

How many weights are left follows from the decay and from s_init. The paper finds both by trial, for every
sparsity anew. A budget of ours is met in one training, by one of two modes:

Exact: what the decay does to every s alike is solved for instead. Every few steps one number is added to all s,
so that exactly as many weights are above their thresholds as the schedule has (`GradualMethod`; Zhu & Gupta
2017). What tells one layer's s from another's is the loss's gradient alone, as in the paper. |w| > sigmoid(s +
d) is logit(|w|) - s > d, so d lies below the k-th largest of logit(|w|) - s over all weights (`margins`).

Faithful: s decays as the weights do (`decay` in place of theirs: short trainings need a stronger one, or an
s_init nearer 0), nothing is solved for, and the cut at the end takes the smallest |S|. Where fewer weights than
the budget's are left, thresholds are lowered by such a d first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.budget import Wanted
from secateur.errors import require, unknown
from secateur.methods.gates.gate import full
from secateur.methods.gates.parametrization import distinct_layers, make_plain, original_weight
from secateur.methods.gradual_magnitude import Config as GradualConfig
from secateur.methods.gradual_magnitude import GradualMethod
from secateur.network.masks import apply_masks, magnitudes

MODES = ("exact", "faithful")


@dataclass(frozen=True)
class Config(GradualConfig):
    """Settings.

    Attributes:
        start, end, every: exact: of the schedule, and how often d is solved for.
        mode: "exact" or "faithful".
        s_init: where every layer's s begins; sigmoid(-8) is a threshold of 0.0003. The paper: -3200, with
            100 epochs of ImageNet before it.
        decay: faithful: the weight decay of s; None: that of the weights, as in the paper.
    """

    mode: str = "exact"
    s_init: float = -8.0
    decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise unknown("mode of str", self.mode, MODES)
        checks = {
            "s_init must be finite": math.isfinite(self.s_init),
            "decay must be at least 0": self.decay is None or 0 <= self.decay < math.inf,
            "decay must be left out in exact mode": self.decay is None or self.mode == "faithful",
        }
        require(self, checks, "str: ")


def soft_threshold(weight: Tensor, s: Tensor) -> Tensor:
    """sign(w) relu(|w| - sigmoid(s)).

    Args:
        weight: any shape.
        s: one number.

    Example:
        >>> soft_threshold(torch.tensor([-1.0, 0.25, 0.75]), torch.tensor(0.0))
        tensor([-0.5000,  0.0000,  0.2500])
    """
    wide = full(weight)
    return (wide.sign() * torch.relu(wide.abs() - torch.sigmoid(s))).to(weight.dtype)


def margins(weight: Tensor, s: Tensor) -> Tensor:
    """logit(|w|) - s: by how much s could rise before the weight is 0; a weight of 1 or more never is.

    Example:
        >>> margins(torch.tensor([0.5, -0.25]), torch.tensor(-2.0))
        tensor([2.0000, 0.9014])
    """
    least, most = torch.finfo(torch.float32).tiny, 1 - torch.finfo(torch.float32).eps
    return torch.logit(full(weight).abs().clamp(least, most)) - s


class SoftThreshold(nn.Module):
    """The parametrization w -> S_g(w, s) of one layer."""

    def __init__(self, s_init: float, device: torch.device):
        super().__init__()
        self.s = nn.Parameter(torch.tensor(s_init, device=device))

    def forward(self, weight: Tensor) -> Tensor:
        return soft_threshold(weight, self.s)


class STR(GradualMethod):
    """Has every layer learn a threshold, below which its weights are zero.

    Args and errors are those of `GradualMethod`, settings those of `Config`; besides, no two layers may share
    a weight, and layers have no shares but those that they learn.

    Example:
        >>> method = STR("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Kusupati et al. 2020, section 3.
    """

    name = "str"
    configured = Config
    default_shares = None

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self._thresholds: dict[str, SoftThreshold] = {}

    @property
    def exact(self) -> bool:
        """Whether thresholds follow the budget."""
        return bool(self.config.mode == "exact")

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize the weight of every convolution and linear layer, but of those whose weights all stay."""
        layers = distinct_layers(model, self.name)
        model = super().prepare(model, batches)
        for name, layer in layers.items():
            if name not in self.sparing.sizes:
                weight: Any = layer.weight
                self._thresholds[name] = SoftThreshold(self.config.s_init, weight.device)
                parametrize.register_parametrization(layer, "weight", self._thresholds[name])
        return model

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """For the optimizer: s decays in faithful mode alone, in exact mode the budget moves it."""
        own = {id(each.s) for each in self._thresholds.values()}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
        decay = 0.0 if self.exact else weight_decay if self.config.decay is None else self.config.decay
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": weight_decay}]
        if own:
            groups.append({"params": [each.s for each in self._thresholds.values()], "weight_decay": decay})
        return groups

    @property
    def due(self) -> bool:
        """Whether thresholds are solved for at this step."""
        return self.exact and super().due and self.scheduled < self._covered

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """By how much every weight is above its threshold; of weights that stay anything will do."""
        found = {
            name: margins(original_weight(model.get_submodule(name)).detach(), each.s.detach())
            for name, each in self._thresholds.items()
        }
        return {**found, **{name: self._masks[name].float() for name in self.sparing.sizes}}

    @torch.no_grad()
    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Add the same to every s, so that the weights inside the masks are above their thresholds alone."""
        scores = self.scores(model)
        inside = torch.stack([scores[name][masks[name]].min() for name in self._some(masks, True)]).min()
        outside = [scores[name][~masks[name]].max() for name in self._some(masks, False)]
        if outside:
            shift = (inside + torch.stack(outside).max().to(inside.device)) / 2
            for each in self._thresholds.values():
                each.s.add_(shift.to(each.s.device))

    def _some(self, masks: Mapping[str, Tensor], inside: bool) -> list[str]:
        """The layers that have weights inside, or outside, their masks."""
        return [name for name in self._thresholds if bool((masks[name] == inside).any())]

    def before_evaluation(self, model: nn.Module) -> None:
        """Exact mode: have as many weights as the schedule has at this very step."""
        if self.exact and self._thresholds and self.scheduled < self._covered:
            self.choose(model, self.scheduled)

    def remaining(self, model: nn.Module) -> float:
        """The share of the weights that are above their thresholds."""
        if not self._thresholds:
            return self.limits.units / self._covered
        with torch.no_grad():
            above = [int(magnitude.count_nonzero()) for magnitude in magnitudes(model).values()]
        return sum(above) / self._covered

    def finalize(self, model: nn.Module) -> nn.Module:
        """Cut to the largest of what the network computes with, after thresholds are lowered if need be."""
        if self._finalized:
            return model
        self.before_evaluation(model)
        self._lower(model)
        self._masks = self.sparing.choose(magnitudes(model), self.limits.units)
        self._kept = self.limits.units
        self.leave(model)
        apply_masks(model, self._masks)
        return super().finalize(model)

    def _lower(self, model: nn.Module) -> None:
        """Lower all thresholds alike until as many weights as the budget has are above them."""
        below, wanted = 1e-6, self.limits.units
        if self._above(model) < wanted:
            self.choose(model, wanted)
        while self._above(model) < wanted and below < 1e3:
            with torch.no_grad():  # two margins that are equal, or nearly
                for each in self._thresholds.values():
                    each.s.sub_(below)
            below *= 2

    def _above(self, model: nn.Module) -> int:
        """The weights that are above their thresholds, and those that stay whatever they are."""
        gated = [magnitudes(model)[name].count_nonzero() for name in self._thresholds]
        return sum(int(count) for count in gated) + self.sparing.total

    def leave(self, model: nn.Module) -> None:
        for name in self._thresholds:
            make_plain(model.get_submodule(name))
        self._thresholds.clear()

    def progress(self) -> dict[str, float]:
        return {"remaining": self._kept / self._covered} if self.exact else {}
