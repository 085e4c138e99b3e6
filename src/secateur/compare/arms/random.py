"""random-tuned, random-tuned-layers: any weights go; the baselines of every choice."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice
from secateur.training.seeds import derived_seed


class RandomTuned(WeightArm):
    """Any weights of the whole network."""

    name = "random-tuned"
    meaning = "weights drawn by lot, then tuned"
    place = 140
    trained = tuned = True
    scope = "global"

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        settings = {"scope": self.scope, "seed": derived_seed(seed, "random pruning")}
        return MethodChoice("random", settings)


class RandomTunedLayers(RandomTuned):
    """Any weights, but of each layer as many as magnitude takes there."""

    name = "random-tuned-layers"
    meaning = "by lot, with magnitude’s share of every layer, then tuned"
    place = 150
    scope = "magnitude"
