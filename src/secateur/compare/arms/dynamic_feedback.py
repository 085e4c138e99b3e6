"""dynamic-feedback: masks shrink while all weights go on learning (Lin et al. 2020)."""

from __future__ import annotations

from secateur.compare.arms.gradual_magnitude import GradualMagnitude
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class DynamicFeedback(GradualMagnitude):
    """The same schedule and recipe; weights outside the mask keep learning, and may come back."""

    name = "dynamic-feedback"
    meaning = "as gradual-magnitude, but weights outside the mask go on learning and may come back"
    place = 210

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("dynamic-feedback")
