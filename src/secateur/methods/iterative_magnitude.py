"""Iterative magnitude pruning with rewinding: Frankle & Carbin 2019, *The lottery ticket hypothesis*
(arXiv:1803.03635); Frankle, Dziugaite, Roy & Carbin 2020, *Linear mode connectivity and the lottery ticket
hypothesis* (arXiv:1912.05671).

    train to step k, keep W_k; train on to the end, W_T      2020, Algorithm 2    `rewinding_step`
    prune the smallest |W_T|, the same share every round     2020, Algorithm 2    `kept_after`
    W_k under the mask, train from step k to the end         2020, Algorithm 2    `IterativeMagnitude.rewind`
    k = 0: back to the initialisation                        2019, section 1      `Config.rewind`

All rounds together have the steps of one training, each as many: so a round is a shorter training, with the
whole schedule of the learning rate (`Method.schedule_place`). Rewinding takes back every parameter and every
running statistic, the place in the schedule, and the optimizer, which is as new. The order of the images goes
on.

In a loop of your own the rate is yours: before every step set it to what your schedule, which is a function
of the share of a training that is done, says of `method.schedule_place`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from secateur.errors import InputError, require
from secateur.methods.gradual_magnitude import GradualMagnitude
from secateur.surgery.optimizer_state import Optimizers, listed

_POINT = "rewinding point/"
"""Before the names of what is rewound to, among a method's tensors."""


@dataclass(frozen=True)
class Config:
    """Settings of iterative magnitude pruning.

    Attributes:
        rounds: how often is pruned, at least 1; one training more than that is made.
        rewind: k, a share of one such training, in [0, 1).
    """

    rounds: int = 3
    rewind: float = 0.05

    def __post_init__(self) -> None:
        checks = {
            "rounds must be at least 1": self.rounds >= 1,
            "rewind must lie in [0, 1)": 0 <= self.rewind < 1,
        }
        require(self, checks, "iterative magnitude pruning: ")


def kept_after(rounds: int, config: Config, target: int, covered: int) -> int:
    """How many of `covered` weights are left after so many rounds: the same share goes in each.

    Example:
        >>> [kept_after(done, Config(rounds=3), 1, 1000) for done in range(4)]
        [1000, 100, 10, 1]

    Reference: Frankle & Carbin 2019, section 1: p**(1/n) % of the weights that survive the previous round.
    """
    if rounds >= config.rounds:
        return target
    return max(target, round(covered * (target / covered) ** (rounds / config.rounds)))


def rewinding_step(steps: int, config: Config) -> int:
    """k, in steps from the first.

    The first round takes steps 0 to T, each of the others k to T: T + rounds (T - k) = steps, k = rewind T.
    """
    return round(config.rewind * steps / (1 + config.rounds * (1 - config.rewind)))


def round_ends(steps: int, config: Config) -> list[int]:
    """The steps after which is pruned and rewound: all rounds behind k have as many.

    Example:
        >>> round_ends(100, Config(rounds=3, rewind=0.0))
        [25, 50, 75]
    """
    k, trainings = rewinding_step(steps, config), config.rounds + 1
    return [k + round((steps - k) * done / trainings) for done in range(1, trainings)]


def place_in_round(step: int, steps: int, config: Config) -> float:
    """How far in the schedule of the learning rate a round is after so many of all steps, in [0, 1].

    Example:
        >>> [place_in_round(step, 100, Config(rounds=1, rewind=0.0)) for step in (0, 25, 50, 75)]
        [0.0, 0.5, 0.0, 0.5]
    """
    k, ends = rewinding_step(steps, config), round_ends(steps, config)
    done = bisect_right(ends, step)
    place = step if done == 0 else k + step - ends[done - 1]
    return min(1.0, place / (k + (steps - k) / (config.rounds + 1)))


class IterativeMagnitude(GradualMagnitude):
    """Trains, sets the smallest weights to zero, goes back to an early step, and trains again.

    Args and errors are those of `GradualMethod`, settings those of `Config`.

    Example:
        >>> method = IterativeMagnitude("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Frankle et al. 2020, Algorithm 2.
    """

    name = "iterative-magnitude"
    configured = Config
    least: ClassVar[int | None] = 1

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._point: dict[str, Tensor] = {}
        self._ends = round_ends(self.steps, self.config)

    @property
    def scheduled(self) -> int:
        """Weights that are left after the rounds that are over."""
        done = bisect_right(self._ends, self._step)
        return kept_after(done, self.config, self.limits.units, self._covered)

    @property
    def due(self) -> bool:
        """Whether a round ends at this step."""
        return self._step <= self.steps and self._kept > self.scheduled

    @property
    def schedule_place(self) -> float:
        """How far in the schedule of the learning rate the next step is."""
        return place_in_round(self._step, self.steps, self.config)

    def check_rounds(self) -> None:
        """InputError where a round had no step."""
        bounds = [rewinding_step(self.steps, self.config), *self._ends, self.steps]
        if any(begin >= end for begin, end in pairwise(bounds)):
            raise InputError(
                f"{self.name} makes {self.config.rounds + 1} trainings of all steps, each of at least 1, got "
                f"steps={self.steps}: train for longer, or take fewer rounds"
            )

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Begin with all weights."""
        self.check_rounds()
        model = super().prepare(model, batches)
        self._remember(model)
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Remember the state at step k; where a round ends, prune and go back to it."""
        before = self._kept
        model = super().after_step(model, optimizer)
        if self._kept < before and not self._finalized:
            self.rewind(model, optimizer)
        self._remember(model)
        return model

    def _remember(self, model: nn.Module) -> None:
        if self._step == rewinding_step(self.steps, self.config):
            self._point = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def rewind(self, model: nn.Module, optimizer: Optimizers = None) -> None:
        """Go back to the state at step k, under the mask, with an optimizer that is as new."""
        for name, value in model.state_dict().items():
            value.copy_(self._point[name])
        self.put_on(model, self._masks)
        for each in listed(optimizer):
            for parameter in model.parameters():
                each.state.pop(parameter, None)
        if self._kept == self.limits.units:
            self._point = {}

    def tensors(self) -> dict[str, Tensor]:
        return {**super().tensors(), **{_POINT + name: value for name, value in self._point.items()}}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().restore(state, tensors)
        self._point = {
            name.removeprefix(_POINT): value for name, value in tensors.items() if name.startswith(_POINT)
        }
