"""L0 regularisation: Louizos et al. 2018, *Learning sparse neural networks through L0 regularization*
(arXiv:1712.01312).

    s    = sigmoid((log u - log(1 - u) + log alpha) / beta),  u uniform     concrete      `hard_concrete`
    z    = min(1, max(0, s (zeta - gamma) + gamma))                         hard          `hard_concrete`
    P    = P(z != 0) = sigmoid(log alpha - beta log(-gamma / zeta))         expected L0   `open_probability`
    L    = L_task(theta z) + lambda sum of P                                objective     `L0.penalty`
    z^   = min(1, max(0, sigmoid(log alpha) (zeta - gamma) + gamma))        at test       `gate_at_test`

beta, gamma and zeta are the paper's: 2/3, -0.1 and 1.1. Every weight has a gate (the paper has them on
neurons and channels in its experiments, on weights in its text; Gale et al. 2019, arXiv:1902.09574, have them
on weights). One u is drawn for every weight at every step.

Nothing in the objective knows a budget: the paper varies lambda. A budget of ours is met in one of two ways
(`shifting`). Exact: what lambda does to all gates alike is solved for. Every few steps one number is added
to all log alpha, so that the expected L0 is the schedule's; lambda is then 0. Faithful: lambda is `strength`.
The cut at the end takes the smallest |theta z^|; where fewer gates than the budget has weights are open, log
alpha is raised for all alike first.

The gradient of one weight's gate is its weight times the weight's own, thousands of times smaller than what
the weight itself has, and the optimizer is the same: log alpha is sqrt(rate) times what is stored, which
makes its learning rate that of the weights times `rate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Wanted
from secateur.errors import require
from secateur.methods import shifting
from secateur.methods.gates.gate import full
from secateur.methods.gates.threshold import solve_threshold

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
SHUT = math.log(-GAMMA / ZETA)
"""log alpha at and below which a gate is 0 at test time."""


@dataclass(frozen=True)
class Config(shifting.Config):
    """Settings.

    Attributes:
        start, end, every, mode: as of `shifting.Config`.
        strength: faithful: lambda, of one weight, at least 0.
        drop: P(z = 0) at first, nearly: log alpha begins around log((1 - drop) / drop), in (0, 1).
        rate: of log alpha's learning rate to the weights', above 0.
    """

    strength: float = 0.0
    drop: float = 0.05
    rate: float = 1000.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {
            "strength must be at least 0": 0 <= self.strength < math.inf,
            "strength must be left out in exact mode": not self.strength or self.mode == "faithful",
            "drop must lie in (0, 1)": 0 < self.drop < 1,
            "rate must be above 0": 0 < self.rate < math.inf,
        }
        require(self, checks, "l0: ")


def hard_concrete(log_alpha: Tensor, noise: Tensor) -> Tensor:
    """z of the training: the hard concrete gate.

    Args:
        log_alpha: any shape.
        noise: log u - log(1 - u) with u uniform in (0, 1), of the same shape.

    Example:
        >>> hard_concrete(torch.tensor([-9.0, 0.0, 9.0]), torch.zeros(3))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return _stretched(torch.sigmoid((noise + log_alpha) / BETA))


def gate_at_test(log_alpha: Tensor) -> Tensor:
    """z^ of the network that is measured and kept.

    Example:
        >>> gate_at_test(torch.tensor([-2.4, 0.0, 2.4]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return _stretched(torch.sigmoid(log_alpha))


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(z != 0), whose sum is the expected L0 norm.

    Example:
        >>> open_probability(torch.tensor(0.0))
        tensor(0.8318)
    """
    return torch.sigmoid(log_alpha - BETA * SHUT)


def _stretched(s: Tensor) -> Tensor:
    return (s * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


class HardConcrete(nn.Module):
    """The parametrization theta -> theta z of one layer: z is drawn in training, z^ in evaluation."""

    def __init__(self, start: Tensor, scale: float):
        super().__init__()
        self.scale = scale
        self.stored = nn.Parameter(start / scale)
        self.noise = torch.zeros_like(start)  # no buffer: an average of weights has nothing to do with it

    @property
    def log_alpha(self) -> Tensor:
        """log alpha, of the weight's shape."""
        return full(self.stored) * self.scale

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            z = hard_concrete(self.log_alpha, self.noise.to(weight.device))
        else:
            z = gate_at_test(self.log_alpha)
        return weight * z.to(weight.dtype)

    @torch.no_grad()
    def draw(self, key: int) -> None:
        """Draw the noise of a step; the same for a key, on a device of one kind."""
        generator = torch.Generator(self.stored.device).manual_seed(key)
        uniform = torch.rand(self.stored.shape, generator=generator, device=generator.device)
        self.noise = torch.logit(uniform, eps=torch.finfo(torch.float32).eps)


class L0(shifting.ShiftingMethod):
    """Has every weight learn the probability that it is there.

    Args:
        budget, steps, keep: as of `ShiftingMethod`.
        seed: of the gates' noise and of their beginning.
        settings: the fields of `Config`.

    Example:
        >>> method = L0("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Louizos et al. 2018, section 2.
    """

    name = "l0"
    configured = Config

    def __init__(self, budget: Wanted, *, steps: int, seed: int = 0, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self.seed = seed
        self._beginning = torch.Generator().manual_seed(self._key(-1, 0))

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "seed": self.seed}

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Give every weight a gate, and draw for the first step."""
        model = super().prepare(model, batches)
        self._draw()
        return model

    def gate(self, weight: Tensor) -> HardConcrete:
        """A gate whose log alpha lies around its mean with deviation 0.01, as in the authors' code."""
        mean = math.log(1 - self.config.drop) - math.log(self.config.drop)
        noise = torch.randn(weight.shape, generator=self._beginning).to(weight.device)
        return HardConcrete(mean + 0.01 * noise, math.sqrt(self.config.rate))

    def penalty(self, model: nn.Module) -> Tensor:
        """lambda sum of P(z != 0); zero in exact mode, which has nothing left to penalise."""
        if not self.config.strength or not self._gates:
            return super().penalty(model)
        sums = [open_probability(gate.log_alpha).sum() for gate in self._gates.values()]  # type: ignore[arg-type]
        return self.config.strength * torch.stack(sums).sum()

    def after_step(self, model: nn.Module, optimizer: Any = None) -> nn.Module:
        """Count the step, follow the schedule, draw anew."""
        model = super().after_step(model, optimizer)
        self._draw()
        return model

    @torch.no_grad()
    def choose(self, model: nn.Module, keep: int) -> None:
        """Add the same to every log alpha, so that the expected L0 norm is `keep`."""
        values = torch.cat([gate.log_alpha.flatten() for gate in self._gates.values()])  # type: ignore[operator]
        gated = keep - self.sparing.total
        if 0 < gated < len(values):
            tau = solve_threshold(values, gated, guess=BETA * SHUT)
            self._shift(BETA * SHUT - tau)
        self._kept = keep

    def open_at_least(self, model: nn.Module, wanted: int) -> None:
        """Raise every log alpha alike until so many gates are open at test time."""
        values = torch.cat([gate.log_alpha.detach().flatten() for gate in self._gates.values()])  # type: ignore[operator]
        least = float(values.topk(wanted).values.min())
        self._shift(SHUT - least)
        above = 1e-6
        while self._open(model) < wanted + self.sparing.total and above < 1e3:
            self._shift(above)
            above *= 2

    @torch.no_grad()
    def _shift(self, by: float) -> None:
        for gate in self._gates.values():
            gate.stored.add_(by / gate.scale)  # type: ignore[operator, union-attr]

    def remaining(self, model: nn.Module) -> float:
        """The expected L0 norm, of all weights."""
        if not self._gates:
            return self.limits.units / self._covered
        with torch.no_grad():
            sums = [float(open_probability(gate.log_alpha).sum()) for gate in self._gates.values()]  # type: ignore[arg-type]
        return (math.fsum(sums) + self.sparing.total) / self._covered

    def state(self) -> dict[str, Any]:
        return {**super().state(), "kept": self._kept}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().restore(state, tensors)
        self._kept = state["kept"]
        self._draw()

    def _draw(self) -> None:
        """The noise of the coming step: of the seed and of its number alone."""
        for number, gate in enumerate(self._gates.values()):
            gate.draw(self._key(self._step, number))  # type: ignore[operator]

    def _key(self, step: int, number: int) -> int:
        return int((((self.seed + 1) * 1_000_003 + step) * 10_007 + number) % 2**63)
