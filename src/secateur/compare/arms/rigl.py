"""rigl: sparse from the first step on, weights exchanged by gradient (Evci et al. 2020)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice
from secateur.training.seeds import derived_seed


class RigL(WeightArm):
    """One training, never with more weights than the budget."""

    name = "rigl"
    meaning = "sparse from the start, the smallest weights exchanged for those of largest gradient"
    place = 240
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("rigl", {"seed": derived_seed(seed, "sparse from the start")})
