"""set: sparse from the first step on, weights exchanged by lot (Mocanu et al. 2018)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice
from secateur.training.seeds import derived_seed


class SET(WeightArm):
    """One training, never with more weights than the budget."""

    name = "set"
    meaning = "sparse from the start, the smallest weights exchanged for others drawn by lot"
    place = 230
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("set", {"seed": derived_seed(seed, "sparse from the start")})
