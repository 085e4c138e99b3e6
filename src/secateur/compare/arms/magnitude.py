"""magnitude, magnitude-tuned, magnitude-tuned-layerwise: the weights of smallest |w| go (Han et al. 2015)."""

from __future__ import annotations

from secateur.compare.arms.weights import WeightArm
from secateur.compare.settings import Sparsity
from secateur.runs.sparsify import MethodChoice


class Magnitude(WeightArm):
    """Dupont et al. 2021's "Mag"."""

    name = "magnitude"
    meaning = "trained, then the smallest weights set to zero"
    place = 110
    default_for_nonzeros = 10
    trained = True
    scope = "global"

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        return MethodChoice("magnitude", {"scope": self.scope})


class MagnitudeTuned(Magnitude):
    """Dupont et al. 2021's "Mag+FT"."""

    name = "magnitude-tuned"
    meaning = "the smallest weights set to zero, then tuned"
    place = 120
    default_for_nonzeros = 20
    tuned = True


class MagnitudeTunedLayerwise(MagnitudeTuned):
    """The same share of every layer."""

    name = "magnitude-tuned-layerwise"
    meaning = "the smallest of every layer, the same share of each, then tuned"
    place = 130
    default_for_nonzeros = None  # type: ignore[assignment]
    scope = "layer"
