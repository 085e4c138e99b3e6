"""What methods share that never have more weights than the budget: sparse from the first step to the last.

They begin with weights drawn by lot within the layer shares, and exchange a part of every layer's every so
many steps. Siblings say which go and which come (`exchange`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from secateur.budget import Limits, Wanted
from secateur.errors import InputError, require
from secateur.methods.base import Method
from secateur.methods.dense_gradients import DenseGradients
from secateur.methods.layer_shares import Sharing
from secateur.methods.random import random_scores
from secateur.methods.regrowth import forget
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.names import LayerShares
from secateur.network.masks import Masks, apply_masks
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Patterns
from secateur.surgery.optimizer_state import Optimizers


@dataclass(frozen=True)
class Config:
    """Settings of every method that exchanges weights; siblings have defaults of their own.

    Attributes:
        drop: the share of a layer's weights that is exchanged, in (0, 1).
        every: steps from one exchange to the next, at least 1.
        end: the share of training after which nothing is exchanged any more, in (0, 1].
    """

    drop: float = 0.3
    every: int = 20
    end: float = 0.75

    def __post_init__(self) -> None:
        checks = {
            "drop must lie in (0, 1)": 0 < self.drop < 1,
            "every must be at least 1 step": self.every >= 1,
            "end must lie in (0, 1]": 0 < self.end <= 1,
        }
        require(self, checks, "sparse training: ")

    def last_step(self, steps: int) -> int:
        """The step from which on nothing is exchanged: so early that what is new can still be trained."""
        return min(max(1, math.ceil(self.end * steps - 1e-9)), steps - self.every + 1)


class SparseTraining(Method):
    """Trains with exactly the budget's weights from its first step on, exchanging some of them now and then.

    Args:
        budget: e.g. "nonzeros=5%": exactly so many weights of convolutions and linear layers.
        steps: optimizer steps of the whole training, for the schedule.
        seed: of what is drawn.
        keep: patterns of layers whose weights all stay.
        layer_shares: "global", "uniform" or "erk" (`layer_shares`), by default "erk".
        settings: the fields of `Config`.

    Attributes:
        limits: how many weights there are, from `prepare` on.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.
    """

    takes_steps = True
    default_shares: ClassVar[LayerShares | None] = "erk"
    configured: ClassVar[type[Config]] = Config
    looks_at_gradients: ClassVar[bool] = False
    """Whether `exchange` is told the gradient of all weights."""

    def __init__(
        self,
        budget: Wanted,
        *,
        steps: int,
        seed: int = 0,
        keep: Patterns = (),
        layer_shares: LayerShares | None = None,
        **settings: Any,
    ):
        self.goal = WeightGoal(budget, self.name)
        self.sharing = Sharing(layer_shares, self.default_shares or "erk", self.name)
        self.config = self.configured(**settings)
        if steps < 1:
            raise InputError(
                f"{self.name}: at least 1 optimizer step is needed for the schedule, got {steps}: pass "
                "steps=epochs * batches per epoch"
            )
        self.steps, self.seed = steps, seed
        self.limits = Limits()
        self.sparing = Sparing(keep)
        self._masks: Masks = {}
        self._step = self._exchanged = 0
        self._finalized = False
        self.gradients = DenseGradients(
            lambda: self._masks, lambda: self.looks_at_gradients and self._due_at(self._step + 1), self.name
        )

    # What siblings override

    def exchange(self, model: nn.Module) -> Masks:
        """The masks after an exchange, each with as many weights as before, and new weights in the model."""
        raise NotImplementedError

    # The method

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {
            "method": self.name,
            **asdict(self.config),
            "seed": self.seed,
            **self.sharing.identity(),
            **self.sparing.identity(),
        }

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Draw the weights to begin with, and set the others to zero."""
        self.limits = self.goal.fix(model, self.sparing, partial(self._drawn, model))
        self._masks = self._drawn(model, self.limits.units)
        apply_masks(model, self._masks)
        self.gradients.attach(model)
        return model

    def _drawn(self, model: nn.Module, keep: int) -> Masks:
        """Masks that keep `keep` weights by lot."""
        return self.sparing.choose(random_scores(model, self.seed), keep, self.sharing.choose)

    @property
    def due(self) -> bool:
        """Whether weights are exchanged at this step."""
        return self._due_at(self._step)

    def _due_at(self, step: int) -> bool:
        return (
            not self._finalized and step % self.config.every == 0 and step < self.config.last_step(self.steps)
        )

    @torch.no_grad()
    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Undo what the step did to weights that are not there; exchange some where that is due."""
        self._step += 1
        apply_masks(model, self._masks)
        if self.due:
            self._put_on(model, self.exchange(model), optimizer)
        self.gradients.forget()
        return model

    def _put_on(self, model: nn.Module, masks: Masks, optimizer: Optimizers) -> None:
        """Go on with other weights; the new ones have no momentum."""
        fresh = {name: mask & ~self._masks[name] for name, mask in masks.items()}
        self._exchanged += sum(int(new.sum()) for new in fresh.values())
        forget(model, optimizer, {name: new | ~masks[name] for name, new in fresh.items()})
        self._masks = masks
        apply_masks(model, masks)

    def before_evaluation(self, model: nn.Module) -> None:
        """Put the masks on an average of weights, which still has some of those that are gone."""
        if not self._finalized:
            apply_masks(model, self._masks)

    def finalize(self, model: nn.Module) -> nn.Module:
        """Let a few weights more go, where the budget is in bytes and the file needs it."""
        self.gradients.release()
        if not self._finalized:
            apply_masks(model, self._masks)
            fewer = self.goal.settle(model, self.sparing, largest_of(model, self.sparing))
            self._masks = fewer or self._masks
        self._finalized = True
        return model

    def remaining(self, model: nn.Module) -> float:
        """The share of the weights that there are."""
        total = sum(mask.numel() for mask in self._masks.values())
        return sum(int(mask.sum()) for mask in self._masks.values()) / total

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps)

    def progress(self) -> dict[str, float]:
        return {"nonzeros": self.limits.units, "exchanged": self._exchanged}

    def state(self) -> dict[str, Any]:
        return {"step": self._step, "exchanged": self._exchanged, "limits": dict(self.limits)}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._masks)

    def restore(self, state: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self._step, self._exchanged = state["step"], state["exchanged"]
        self.limits = self.limits.resumed(state["limits"])
        self._masks = {name: tensors[name].to(mask.device) for name, mask in self._masks.items()}


def sparse_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights that can be zero, without their gradients."""
    return {name: weight.detach() for name, weight in prunable_weights(model).items()}
