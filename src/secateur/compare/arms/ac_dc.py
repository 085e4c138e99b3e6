"""ac-dc: sparse and dense training in turns (Peste et al. 2021)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class AcDc(WeightArm):
    """One training, with the authors' phases in shares of it."""

    name = "ac-dc"
    meaning = "trained sparse and dense in turns, sparse at the end"
    place = 260
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("ac-dc")
