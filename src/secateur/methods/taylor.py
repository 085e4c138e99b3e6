"""First-order Taylor pruning of channels: Molchanov et al. 2017 (arXiv:1611.06440).

    Theta(z_k)    = | 1/M sum_m  dC/dz_m * z_m |, averaged over examples        eq. (8)     `fold`
    Theta_hat_k   = Theta_k / sqrt(sum_j Theta_j ** 2) over the layer            section 2.2 `normalised`

z is the feature map of channel k with M positions. The sum is over all that read the channel, as in
`fisher`; 1/M falls out of the normalised score.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.methods.gradients import GradientCriterion


def normalised(theta_K: Tensor) -> Tensor:
    """Theta / its l2 norm over the group, which makes groups comparable. (K,) -> (K,)."""
    return theta_K / theta_K.norm().clamp(min=torch.finfo(theta_K.dtype).tiny)


class Taylor(GradientCriterion):
    """Removes the channel whose going changes the loss least, to first order (see `ChannelPruning`).

    Args:
        normalise: divide by the l2 norm over each group, as the paper does.

    Reference: Molchanov et al. 2017, eq. (8) and section 2.2, "Normalization".
    """

    name = "taylor"

    def __init__(self, *args: Any, normalise: bool = True, **settings: Any):
        super().__init__(*args, **settings)
        self.normalise = normalise

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **({} if self.normalise else {"normalise": False})}

    def fold(self, g_NK: Tensor) -> Tensor:
        """sum_n |g_nk|."""
        return g_NK.abs().sum(0)

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        sums, examples = self._complete()
        theta = {name: value / examples for name, value in sums.items()}
        return {name: normalised(value) if self.normalise else value for name, value in theta.items()}
