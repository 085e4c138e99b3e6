"""Soft threshold reparameterization: Kusupati et al. 2020 (arXiv:2002.03231), "STR".

    S_g(w, s) = sign(w) relu(|w| - g(s)),  g = sigmoid         a layer's weight     `soft_threshold`
    dL/ds     = -g'(s) sum of sign(w) dL/dS over |w| > g(s)    its threshold        autograd
    s         learned with the weights, from s_init on         one of each layer    `SoftThreshold`

The network computes with weights that are shrunk by their layer's threshold, those below it 0. Each layer
finds its own, by the gradient of the loss; what drives all of them up is weight decay on s, which is far
below 0.

How many weights are left follows from the decay and from s_init. The paper finds both by trial, for every
sparsity anew. A budget of ours is met in one training, in one of two ways (`shifting`):

Exact: what the decay does to every s alike is solved for. Every few steps one number d is added to all s, so
that exactly as many weights are above their thresholds as the schedule has. As |w| > sigmoid(s + d) says that
logit(|w|) - s > d, d lies just below the k-th largest of logit(|w|) - s over all weights (`margins`).

Faithful: s decays as the weights do, or by `decay` (short trainings need a stronger one, or an s_init nearer
0), nothing is solved for, and the cut at the end takes the smallest |S|. Where fewer weights than the budget
has are left, all thresholds are lowered by such a d first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import require
from secateur.methods import shifting
from secateur.methods.gates.gate import full
from secateur.methods.gates.parametrization import original_weight
from secateur.network.masks import magnitudes


@dataclass(frozen=True)
class Config(shifting.Config):
    """Settings.

    Attributes:
        start, end, every, mode: as of `shifting.Config`.
        s_init: where every layer's s begins; sigmoid(-8) is a threshold of 0.0003. The paper: -3200, with
            100 epochs of ImageNet before it.
        decay: faithful: the weight decay of s; None: that of the weights, as in the paper.
    """

    s_init: float = -8.0
    decay: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
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
    return (wide.sign() * torch.relu(wide.abs() - torch.sigmoid(full(s)))).to(weight.dtype)


def margins(weight: Tensor, s: Tensor) -> Tensor:
    """logit(|w|) - s: by how much s could rise before the weight is 0; a weight of 1 or more never is.

    Example:
        >>> margins(torch.tensor([0.5, -0.25]), torch.tensor(-2.0))
        tensor([2.0000, 0.9014])
    """
    numbers = torch.finfo(torch.float32)
    return torch.logit(full(weight).abs().clamp(numbers.tiny, 1 - numbers.eps)) - full(s)


class SoftThreshold(nn.Module):
    """The parametrization w -> S_g(w, s) of one layer."""

    def __init__(self, s: Tensor):
        super().__init__()
        self.s = nn.Parameter(s)

    def forward(self, weight: Tensor) -> Tensor:
        return soft_threshold(weight, self.s)


class STR(shifting.ShiftingMethod):
    """Has every layer learn a threshold, below which its weights are zero.

    Args and errors are those of `ShiftingMethod`, settings those of `Config`.

    Example:
        >>> method = STR("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Kusupati et al. 2020, section 3.
    """

    name = "str"
    configured = Config

    def gate(self, weight: Tensor) -> SoftThreshold:
        return SoftThreshold(torch.tensor(self.config.s_init, device=weight.device))

    def decay(self, weight_decay: float) -> float:
        """In exact mode none: the budget moves s in its place."""
        own: float | None = self.config.decay
        return 0.0 if self.exact else weight_decay if own is None else own

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """By how much every weight is above its threshold; of weights that stay anything will do."""
        found = {
            name: margins(original_weight(model.get_submodule(name)).detach(), gate.s.detach())  # type: ignore[operator]
            for name, gate in self._gates.items()
        }
        return {**found, **{name: self._masks[name].float() for name in self.sparing.sizes}}

    @torch.no_grad()
    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Add the same to every s, so that the weights inside the masks alone are above their thresholds."""
        scores = self.scores(model)
        device = next(iter(scores.values())).device
        inside = [scores[name][masks[name]] for name in self._gates]
        outside = [scores[name][~masks[name]] for name in self._gates]
        least = [part.min().to(device) for part in inside if len(part)]
        most = [part.max().to(device) for part in outside if len(part)]
        if least and most:
            self._shift(float((torch.stack(least).min() + torch.stack(most).max()) / 2))

    def open_at_least(self, model: nn.Module, wanted: int) -> None:
        """Lower all thresholds alike, and a little more where margins are equal, or nearly."""
        self.choose(model, wanted + self.sparing.total)
        below = 1e-6
        while self._open(model) < wanted + self.sparing.total and below < 1e3:
            self._shift(-below)
            below *= 2

    @torch.no_grad()
    def _shift(self, by: float) -> None:
        for gate in self._gates.values():
            gate.s.add_(by)  # type: ignore[operator, union-attr]

    def remaining(self, model: nn.Module) -> float:
        """The share of the weights that are above their thresholds."""
        if not self._gates:
            return self.limits.units / self._covered
        with torch.no_grad():
            above = [int(magnitude.count_nonzero()) for magnitude in magnitudes(model).values()]
        return sum(above) / self._covered
