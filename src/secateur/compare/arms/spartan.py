"""spartan: soft top-k masks that sharpen while the network trains (Tai et al. 2022)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Spartan(WeightArm):
    """One training; the mask is fixed for its last fifth."""

    name = "spartan"
    meaning = "soft top-k masks that sharpen until the weights outside are zero"
    place = 290
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("spartan")
