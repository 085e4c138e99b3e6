"""SET, sparse evolutionary training: Mocanu et al. 2018 (Nature Communications 9:2383, arXiv:1707.04780).

    p(W_ij) = epsilon (n_in + n_out) / (n_in n_out)          eq. (3)         `layer_shares.layer_counts`
    remove a share zeta of the smallest positive weights     Algorithm 1     `nearest_zero`
    remove a share zeta of the largest negative weights      Algorithm 1     `nearest_zero`
    add as many at random                                    Algorithm 1     `SET.exchange`

zeta is `drop`. The paper exchanges after every epoch but the last; here every `every` steps, until `end`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.methods.regrowth import dropped, exchanged
from secateur.methods.sparse_training import Config, SparseTraining, sparse_weights
from secateur.network.masks import Masks


@dataclass(frozen=True)
class SETConfig(Config):
    """Settings of SET: zeta as in the paper; the cadence for shorter trainings (docs/deviations.md).

    Attributes:
        drop: zeta, the share that is exchanged every time.
        every: steps from one exchange to the next (the paper: an epoch of hundreds).
        end: the share of training after which nothing is exchanged (the paper: all but the last epoch).
    """

    drop: float = 0.3
    every: int = 20
    end: float = 0.75


def nearest_zero(weight: Tensor, mask: Tensor, zeta: float) -> Tensor:
    """What goes of a layer: of its positive weights the smallest, of its negative the largest, zeta of each.

    Example:
        >>> nearest_zero(torch.tensor([0.1, 0.5, -0.2, -0.9]), torch.ones(4, dtype=torch.bool), 0.5)
        tensor([ True, False,  True, False])

    Reference: Mocanu et al. 2018, Algorithm 1.
    """
    gone = torch.zeros_like(mask)
    for side in (mask & (weight >= 0), mask & (weight < 0)):
        gone |= dropped(weight, side, int(zeta * int(side.sum())))
    return gone


class SET(SparseTraining):
    """Drops the weights of every layer that are nearest to zero and grows others, drawn by lot.

    Args and errors are those of `SparseTraining`, settings those of `SETConfig`.

    Example:
        >>> method = SET("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Mocanu et al. 2018, Algorithm 1.
    """

    name = "set"
    configured = SETConfig

    def exchange(self, model: nn.Module) -> Masks:
        """Exchange zeta of every layer's weights; what is new is no larger than what went."""
        generator = torch.Generator().manual_seed((self.seed + 0x9E3779B97F4A7C15 * self._step) % 2**63)
        masks: Masks = {}
        for name, weight in sparse_weights(model).items():
            mask = self._masks[name].to(weight.device)
            lot = torch.rand(weight.shape, generator=generator) + 0.5  # above 0: any can be grown
            value = 2 * torch.rand(weight.shape, generator=generator) - 1
            gone = nearest_zero(weight, mask, self.config.drop)
            masks[name] = exchanged(weight, mask, lot.to(weight.device), self.config.drop, gone)
            if bool(gone.any()):
                largest = weight[gone].abs().max()
                new = masks[name] & ~mask
                weight[new] = (value.to(weight.device, weight.dtype) * largest)[new]
        return masks
