"""iterative-magnitude: trained, pruned, rewound to an early step, again and again (Frankle et al. 2020)."""

from __future__ import annotations

from secateur.budget import Budget
from secateur.compare.arms.weights import WeightArm
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Settings, Sparsity
from secateur.errors import InputError
from secateur.methods import iterative_magnitude
from secateur.runs.sparsify import MethodChoice
from secateur.training.batches import steps_per_epoch


class IterativeMagnitude(WeightArm):
    """Rounds that share out one training’s epochs."""

    name = "iterative-magnitude"
    meaning = "trained, pruned, rewound to an early step and trained again, round after round"
    place = 220
    scheduled = True

    def check_settings(self, settings: Settings) -> None:
        super().check_settings(settings)
        if settings.recipe.ema is not None:
            raise InputError(
                f"the arm {self.name} goes back to early weights, which an average of weights would mix with "
                f"later ones, got --ema {settings.recipe.ema:g}: leave it out"
            )

    def check(self, question: Comparison, budget: Budget) -> None:
        super().check(question, budget)
        recipe = self.shares(question.recipe, question.settings.sparsity).recipe
        steps = steps_per_epoch(question.data, recipe) * recipe.epochs
        method = self._method(question.settings, 0).build(question.limits(budget), steps)
        assert isinstance(method, iterative_magnitude.IterativeMagnitude)
        method.check_rounds()

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("iterative-magnitude")
