"""l0: every weight learns the probability that it is there (Louizos et al. 2018)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class L0(WeightArm):
    """One training under gates that are drawn at every step."""

    name = "l0"
    meaning = "random gates that learn which weights are there, then cut to the budget"
    place = 300
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("l0", {"seed": seed})
