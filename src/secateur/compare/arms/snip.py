"""snip: cut at initialisation by Lee et al. 2018's connection sensitivity, then train."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class SNIP(WeightArm):
    """Nothing is trained before the cut."""

    name = "snip"
    meaning = "the least sensitive weights set to zero before training"
    place = 190

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("snip")
