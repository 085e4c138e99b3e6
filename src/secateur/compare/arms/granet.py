"""granet: the smallest weights go while the network trains, others come back (Liu et al. 2021)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class GraNet(WeightArm):
    """One training, by the schedule of `gradual-magnitude`."""

    name = "granet"
    meaning = "the smallest weights set to zero while training, others of largest gradient let back"
    place = 250
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("granet")
