"""gradual-magnitude: the smallest weights go while the network trains (Zhu & Gupta 2017)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class GradualMagnitude(WeightArm):
    """One training, by the schedule and the recipe of the exact mode of `reparametrization`."""

    name = "gradual-magnitude"
    meaning = "the smallest weights set to zero, more and more of them while training"
    place = 200
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("gradual-magnitude")
