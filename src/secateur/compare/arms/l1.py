"""l1: train under an L1 penalty, then cut the smallest weights."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class L1(WeightArm):
    """The regulariser that Dupont et al. 2021, section 2, set themselves against."""

    name = "l1"
    meaning = "trained under an L1 penalty, then the smallest weights set to zero"
    place = 160

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("l1", {"strength": sparsity.l1_strength})
