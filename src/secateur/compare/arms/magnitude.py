"""magnitude, magnitude-tuned, magnitude-tuned-layerwise: the weights of smallest |w| go (Han et al. 2015)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Magnitude(WeightArm):
    """Dupont et al. 2021's "Mag"."""

    name = "magnitude"
    meaning = "train, then cut the smallest weights"
    place = 110
    default_for_nonzeros = 10
    trained = True
    scope = "global"

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("magnitude", {"scope": self.scope})


class MagnitudeTuned(Magnitude):
    """Dupont et al. 2021's "Mag+FT"."""

    name = "magnitude-tuned"
    meaning = "train, cut, train on with the zeros held"
    place = 120
    default_for_nonzeros = 20
    tuned = True


class MagnitudeTunedLayerwise(MagnitudeTuned):
    """The same share of every layer."""

    name = "magnitude-tuned-layerwise"
    meaning = "the same, but every layer keeps the same share"
    place = 130
    default_for_nonzeros = None  # type: ignore[assignment]
    scope = "layer"
