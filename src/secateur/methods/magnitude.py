"""Magnitude pruning: the weights of smallest |w| go (LeCun et al. 1989; Han et al. 2015, arXiv:1506.02626).

    score = |w|        `magnitudes`

It is what Dupont et al. 2021 compare with ("Mag", and "Mag+FT" where training goes on after the cut).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from secateur.methods.masked import MaskedMethod
from secateur.network.masks import Masks, keep_largest, keep_largest_per_layer, magnitudes


class Magnitude(MaskedMethod):
    """Keeps the weights of largest magnitude.

    Args:
        budget: e.g. "nonzeros=5%".
        scope: "global": the largest of the whole network; "layer": every layer keeps the same share.

    Example:
        >>> model = Magnitude("nonzeros=5%").prepare(model)  # doctest: +SKIP

    Reference: Dupont et al. 2021, section 3.2 and Table 1.
    """

    name = "magnitude"

    def choose(self, model: nn.Module, keep: int, batches: Any = None) -> Masks:
        """The `keep` largest, of all layers together or of each its share."""
        choose = keep_largest if self.scope == "global" else keep_largest_per_layer
        return self.sparing.choose(magnitudes(model), keep, choose)

    def fewer(self, model: nn.Module, keep: int) -> Masks:
        return self.choose(model, keep)
