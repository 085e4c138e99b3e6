"""Gradual magnitude pruning: Zhu & Gupta 2017, *To prune, or not to prune* (arXiv:1710.01878).

    s_t    = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))**3    eq. (1)      `kept_weights`, as 1 - s_t
    mask   = the largest |w| while 1 - s_t of them are kept   section 3    `GradualMagnitude.scores`

s_i is 0, t_0 and t_0 + n dt are the steps at `start` and `end` of `Config`, dt is `every`. The masks
shrink while the network trains, from its initialisation on; at `end` they are final, and training goes on
with what is left. A weight that is gone gets no update any more, so that it stays 0 and gone.

Schedule and cadence are, unless said otherwise, those of the exact mode of `reparametrization` where it cuts
at the end (by default it cuts earlier, and tunes what is left for longer). Zhu & Gupta give every layer the
same sparsity; ours ranks the whole network, as all our arms do.

`GradualMethod` is what siblings share whose masks shrink while the network trains: they say what is ranked
(`scores`), and what a mask does to a weight (`put_on`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from secateur.budget import Limits, Wanted
from secateur.errors import InputError, require
from secateur.methods.base import Method
from secateur.methods.gates.schedule import Schedule, kept_share
from secateur.methods.layer_shares import Sharing
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.names import LayerShares
from secateur.network.masks import Masks, apply_masks, magnitudes
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Patterns
from secateur.surgery.optimizer_state import Optimizers


@dataclass(frozen=True)
class Config:
    """Settings of every method whose masks shrink gradually, by default those of exact mode's `Schedule`.

    Attributes:
        start: the share of training from which on fewer weights are kept.
        end: the share of training at which no more than the budget's are.
        every: steps from one choice of masks to the next, at least 1 (exact mode solves as often; Zhu &
            Gupta choose every 100 to 1000 steps of far longer trainings).
    """

    start: float = Schedule.start
    end: float = Schedule.end
    every: int = Schedule.solve_every

    def __post_init__(self) -> None:
        checks = {
            "start must lie in [0, end)": 0 <= self.start < self.end,
            "end must be at most 1": self.end <= 1,
            "every must be at least 1 step": self.every >= 1,
        }
        require(self, checks, "gradual pruning: ")

    def last_step(self, steps: int) -> int:
        """The step from which on no more than the budget is kept, from 1 to `steps`."""
        return min(steps, max(1, math.ceil(self.end * steps - 1e-9)))


def kept_weights(step: int, steps: int, target: int, covered: int, config: Config) -> int:
    """How many of `covered` weights are kept after so many of all steps: from all of them down to `target`.

    Example:
        >>> [kept_weights(step, 100, 100, 1000, Config()) for step in (10, 40, 70, 100)]
        [1000, 212, 100, 100]

    Reference: Zhu & Gupta 2017 (arXiv:1710.01878), eq. (1), of what is kept in place of what is gone.
    """
    if step >= config.last_step(steps):
        return target
    return round(covered * kept_share(step / steps, target / covered, config.start, config.end))


class GradualMethod(Method):
    """Chooses smaller masks every `every` steps, down to exactly the budget, in one training.

    Args:
        budget: e.g. "nonzeros=5%": exactly so many weights of convolutions and linear layers are left.
        steps: optimizer steps of the whole training, for the schedule.
        keep: patterns of layers whose weights all stay.
        layer_shares: "global", "uniform" or "erk" (`layer_shares`).
        settings: the fields of `Config`.

    Attributes:
        limits: how many weights are left in the end, from `prepare` on.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.
    """

    takes_steps = True

    configured: ClassVar[Callable[..., Any]] = Config
    """What holds and checks the settings, of siblings that have others."""

    default_shares: ClassVar[LayerShares | None] = "global"
    least: ClassVar[int | None] = None
    """Weights that every layer keeps at least, 0 or 1; None: as `Sharing` has it."""

    def __init__(
        self,
        budget: Wanted,
        *,
        steps: int,
        keep: Patterns = (),
        layer_shares: LayerShares | None = None,
        **settings: Any,
    ):
        self.goal = WeightGoal(budget, self.name)
        if layer_shares is not None and self.default_shares is None:
            raise InputError(
                f"{self.name} has its layers find out how many weights they keep, got layer_shares "
                f"'{layer_shares}': leave it out"
            )
        self.sharing = Sharing(layer_shares, self.default_shares or "global", self.name, self.least)
        self.config = type(self).configured(**settings)
        if steps < 1:
            raise InputError(
                f"{self.name}: at least 1 optimizer step is needed for the schedule, got {steps}: pass "
                "steps=epochs * batches per epoch"
            )
        self.steps = steps
        self.limits = Limits()
        self.sparing = Sparing(keep)
        self._step = 0
        self._masks: Masks = {}
        self._covered = self._kept = 0  # weights that have a mask, and those that it keeps
        self._finalized = False

    # What siblings override

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """What the masks are chosen by, the largest stay: layer -> scores of every weight."""
        raise NotImplementedError

    def most(self) -> dict[str, int] | None:
        """How many weights a layer can keep, by what is gone of it for good; None: all that it has."""
        return None

    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Have the network compute with the masked weights."""
        raise NotImplementedError

    def leave(self, model: nn.Module) -> None:
        """Have the masked weights be plain parameters, at the end."""

    # The method

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {
            "method": self.name,
            **asdict(self.config),
            **self.sharing.identity(),
            **self.sparing.identity(),
        }

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Begin with all weights; InputError where the budget is beyond them."""
        self.limits = self.goal.fix(model, self.sparing, largest_of(model, self.sparing))
        self._masks = {
            name: torch.ones_like(weight, dtype=torch.bool)
            for name, weight in prunable_weights(model).items()
        }
        self._covered = self._kept = sum(mask.numel() for mask in self._masks.values())
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Count the step, and choose masks where that is due."""
        self._step += 1
        if self.due and not self._finalized:
            self.choose(model, self.scheduled)
        return model

    def finalize(self, model: nn.Module) -> nn.Module:
        """Cut to the budget, where the masks are not there yet."""
        if not self._finalized and self._kept != self.limits.units:
            self.choose(model, self.limits.units)
        if not self._finalized:
            self.leave(model)
            self.goal.settle(model, self.sparing, largest_of(model, self.sparing))
        self._finalized = True
        return model

    @property
    def scheduled(self) -> int:
        """Weights that the schedule keeps at this step."""
        return kept_weights(self._step, self.steps, self.limits.units, self._covered, self.config)

    @property
    def due(self) -> bool:
        """Whether masks are chosen at this step: every so many, and where schedule and training end."""
        ends = (self.config.last_step(self.steps), self.steps)
        return self._step <= self.steps and (self._step % self.config.every == 0 or self._step in ends)

    @torch.no_grad()
    def choose(self, model: nn.Module, keep: int) -> None:
        """Keep the `keep` largest scores, of all layers together or of each its share."""
        choose = partial(self.sharing.choose, most=self.most())
        self._masks, self._kept = self.sparing.choose(self.scores(model), keep, choose), keep
        self.put_on(model, self._masks)

    def remaining(self, model: nn.Module) -> float:
        """The share of the weights that the masks keep."""
        return self._kept / self._covered

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps)

    def progress(self) -> dict[str, float]:
        return {"remaining": self._kept / self._covered}

    def state(self) -> dict[str, Any]:
        return {"step": self._step, "limits": dict(self.limits)}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._masks)

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._step = state["step"]
        self.limits = self.limits.resumed(state["limits"])
        self._masks = {name: tensors[name].to(mask.device) for name, mask in self._masks.items()}
        self._kept = sum(int(mask.sum()) for mask in self._masks.values())


class GradualMagnitude(GradualMethod):
    """Sets the weights of smallest magnitude to zero for good, more and more of them while training.

    Args and errors are those of `GradualMethod`.

    Example:
        >>> method = GradualMagnitude("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Zhu & Gupta 2017, section 3.
    """

    name = "gradual-magnitude"

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """|w|; what is gone already comes last of all, also behind a weight that is 0 by chance."""
        return {
            name: score.masked_fill(~self._masks[name].to(score.device), -1.0)
            for name, score in magnitudes(model).items()
        }

    def most(self) -> dict[str, int]:
        """As many as it still has: rounding could else give a layer one back."""
        return {name: int(mask.sum()) for name, mask in self._masks.items()}

    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Set the weights outside the masks to zero."""
        apply_masks(model, masks)

    @property
    def due(self) -> bool:
        """Whether masks are chosen at this step: once they are down to the budget they are final."""
        return super().due and self._kept > self.limits.units

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Undo what the step did to the weights that are gone, momentum and decay included; then choose."""
        self.before_evaluation(model)
        return super().after_step(model, optimizer)

    def before_evaluation(self, model: nn.Module) -> None:
        """Put the masks on: on an average of weights too, which still has some of those that are gone."""
        if self._kept < self._covered:
            self.put_on(model, self._masks)
