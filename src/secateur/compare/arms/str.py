"""str: every layer learns the threshold below which its weights are zero (Kusupati et al. 2020)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class STR(WeightArm):
    """One training; thresholds rise until the budget is met."""

    name = "str"
    meaning = "thresholds that layers learn, below which weights are zero"
    place = 270
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("str")
