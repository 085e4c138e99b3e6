"""powerpropagation: large weights learn fast, small ones go (Schwarz et al. 2021)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Powerpropagation(WeightArm):
    """One training, pruned by the schedule of gradual-magnitude."""

    name = "powerpropagation"
    meaning = "as gradual-magnitude, on weights that learn the faster the larger they are"
    place = 280
    scheduled = True

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("powerpropagation")
