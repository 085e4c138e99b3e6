"""Magnitude pruning: the weights of smallest |w| go (LeCun et al. 1989; Han et al. 2015, arXiv:1506.02626).

    score = |w|        `magnitudes`

It is what Dupont et al. 2021 compare with ("Mag", and "Mag+FT" where training goes on after the cut).
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from secateur.budget import Wanted
from secateur.errors import InputError
from secateur.methods.layer_shares import Sharing
from secateur.methods.masked import MaskedMethod
from secateur.names import LayerShares
from secateur.network.masks import Masks, magnitudes
from secateur.surgery.constraints import Patterns


class Magnitude(MaskedMethod):
    """Keeps the weights of largest magnitude.

    Args:
        budget: e.g. "nonzeros=5%".
        scope: "global": the largest of the whole network; "layer": every layer keeps the same share, the
            older word for layer_shares="uniform" (which, unlike it, leaves no layer without any weight).
        keep: patterns of layers whose weights all stay.
        layer_shares: "global", "uniform" or "erk" (`layer_shares`).

    Example:
        >>> model = Magnitude("nonzeros=5%").prepare(model)  # doctest: +SKIP

    Reference: Dupont et al. 2021, section 3.2 and Table 1.
    """

    name = "magnitude"
    default_shares: ClassVar[LayerShares] = "global"

    def __init__(
        self,
        budget: Wanted,
        *,
        scope: str = "global",
        keep: Patterns = (),
        layer_shares: LayerShares | None = None,
    ):
        super().__init__(budget, scope=scope, keep=keep)
        if scope == "layer" and layer_shares is not None:
            raise InputError(
                f"magnitude: scope 'layer' already says that every layer keeps the same share, got "
                f"layer_shares '{layer_shares}' besides: leave one of them out"
            )
        if scope == "layer":
            self.sharing = Sharing("uniform", "uniform", self.name, least=0)
        else:
            self.sharing = Sharing(layer_shares, self.default_shares, self.name)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **self.sharing.identity()}

    def choose(self, model: nn.Module, keep: int, batches: Any = None) -> Masks:
        """The `keep` largest, of all layers together or of each its share."""
        return self.sparing.choose(magnitudes(model), keep, self.sharing.choose)

    def fewer(self, model: nn.Module, keep: int) -> Masks:
        return self.choose(model, keep)
