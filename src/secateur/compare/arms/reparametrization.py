"""reparametrization, reparametrization-faithful: Dupont et al. 2021, budget solved for, and as written."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Reparametrization(WeightArm):
    """The budget holds by construction: t is solved for."""

    name = "reparametrization"
    meaning = "one training in which gates close until the budget is met"
    place = 170
    default_for_nonzeros = 40
    scheduled = True
    mode = "exact"

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("reparametrization", {"mode": self.mode, **sparsity.reparametrization})


class ReparametrizationFaithful(Reparametrization):
    """t is learned against the budget loss, as in the paper."""

    name = "reparametrization-faithful"
    meaning = "gates as Dupont et al. 2021 write them, then cut to the budget"
    place = 180
    default_for_nonzeros = 30
    scheduled = False
    mode = "faithful"
    of_siblings = ("cut_at",)

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        """As the other mode's; when that cuts is no setting of this one, which cuts when training is over."""
        choice = super().method(sparsity, seed)
        own = {name: value for name, value in choice.settings.items() if name not in self.of_siblings}
        return MethodChoice(choice.name, own)
