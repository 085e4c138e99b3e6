"""Random pruning: the control that every criterion has to beat.

score = U(0, 1)        `random_scores`
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Wanted
from secateur.methods.masked import MaskedMethod
from secateur.network.masks import Masks, keep_counts, magnitudes
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Patterns


def random_scores(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Uniform scores for every weight that can be masked, by layer; the same for a seed on any device."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in prunable_weights(model).items()
    }


class Random(MaskedMethod):
    """Keeps weights at random.

    Args:
        budget: e.g. "nonzeros=5%".
        scope: "global": any weight of the network alike; "magnitude": each layer keeps as many as global
            magnitude pruning would leave in it, so that only the choice within layers is random.
        seed: of the choice.

    Example:
        >>> model = Random("nonzeros=5%", scope="magnitude").prepare(model)  # doctest: +SKIP
    """

    name = "random"

    def __init__(self, budget: Wanted, *, scope: str = "global", seed: int = 0, keep: Patterns = ()):
        super().__init__(budget, scope=scope, keep=keep)
        self.seed = seed

    @classmethod
    def scopes(cls) -> tuple[str, ...]:
        return ("global", "magnitude")

    def choose(self, model: nn.Module, keep: int, batches: Any = None) -> Masks:
        """`keep` weights at random."""
        scores = random_scores(model, self.seed)
        if self.scope == "global":
            return self.sparing.choose(scores, keep)
        of_magnitude = self.sparing.choose(magnitudes(model), keep)
        return keep_counts(scores, {name: int(mask.sum()) for name, mask in of_magnitude.items()})

    def fewer(self, model: nn.Module, keep: int) -> Masks:
        return self.choose(model, keep)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "seed": self.seed}
