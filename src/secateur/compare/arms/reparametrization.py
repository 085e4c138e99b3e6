"""reparametrization, reparametrization-faithful: Dupont et al. 2021, budget solved for, and as written."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Reparametrization(WeightArm):
    """The budget holds by construction: t is solved for."""

    name = "reparametrization"
    meaning = "Dupont et al. 2021 with the budget solved for: one training, then cut"
    place = 170
    default_for_nonzeros = 40
    scheduled = True
    mode = "exact"

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("reparametrization", {"mode": self.mode, **sparsity.reparametrization})


class ReparametrizationFaithful(Reparametrization):
    """t is learned against the budget loss, as in the paper."""

    name = "reparametrization-faithful"
    meaning = "Dupont et al. 2021 as written"
    place = 180
    default_for_nonzeros = 30
    scheduled = False
    mode = "faithful"
