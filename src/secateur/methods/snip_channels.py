"""SNIP's connection sensitivity, of channels: Lee et al. 2018 (arXiv:1810.02340), section 4.1.

    s_k = | dL/dc_k | / sum_j | dL/dc_j |          `sensitivity`

c_k multiplies what every consumer reads of channel k, at c = 1; L is the mean loss of the window's examples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.methods.gradients import GradientCriterion


def sensitivity(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """s_k over all groups together: group -> (K,), summing to 1 over everything."""
    total = torch.stack([value.abs().sum() for value in gradients.values()]).sum()
    return {
        name: value.abs() / total.clamp(min=torch.finfo(value.dtype).tiny)
        for name, value in gradients.items()
    }


class SNIPChannels(GradientCriterion):
    """Removes the channel to which the mean loss is least sensitive (see `ChannelPruning`).

    Reference: Lee et al. 2018, section 4.1; its weights are channels here.
    """

    name = "snip-channels"

    def fold(self, g_NK: Tensor) -> Tensor:
        """sum_n g_nk: signs cancel over examples, as in the gradient of the mean loss."""
        return g_NK.sum(0)

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        sums, examples = self._complete()
        return sensitivity({name: value / examples for name, value in sums.items()})
