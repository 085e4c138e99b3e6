"""snip: cut at initialisation by Lee et al. 2018's connection sensitivity, then train."""

from __future__ import annotations

from secateur.budget import Budget
from secateur.compare.arms.weights import WeightArm
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Sparsity
from secateur.errors import InputError
from secateur.runs.sparsify import MethodChoice
from secateur.training.batches import steps_per_epoch


class SNIP(WeightArm):
    """Nothing is trained before the cut."""

    name = "snip"
    meaning = "the least sensitive weights set to zero before training"
    place = 190

    def check(self, question: Comparison, budget: Budget) -> None:
        super().check(question, budget)
        asked = self._method(question.settings, 0).settings.get("batches", 1)
        there = steps_per_epoch(question.data, question.recipe, 1)
        if asked > there:
            raise InputError(
                f"snip.batches must be at most the batches that the training images make, {there}, got "
                f"{asked}"
            )

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("snip")
