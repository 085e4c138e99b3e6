"""What methods share that drop weights and grow others in their place: how many, which, and what is theirs.

    f_decay(t) = alpha/2 (1 + cos(t pi / T_end))       Evci et al. 2020, section 3 (2)    `drop_share`
    A_l <- A_l less the k smallest |w|                 section 3 (3)                      `dropped`
    A_l <- A_l and the k of largest score outside      section 3 (4)                      `grown`

A_l are the weights that layer l has; k = floor(f_decay(t) |A_l|). What was dropped at the same step can be
grown: it then was never gone, and keeps its value and its momentum. What is new begins without momentum.

Reference: Evci et al. 2020, *Rigging the lottery* (arXiv:1911.11134), Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.network.masks import keep_counts
from secateur.network.weights import prunable_weights
from secateur.surgery.optimizer_state import Optimizers, follow_mask

_BEHIND = -1.0
"""The score of what may be grown last of all: scores are at least 0."""


def drop_share(step: int, last: int, alpha: float) -> float:
    """f_decay(t; alpha, T_end): alpha at step 0, 0 at `last` and from there on.

    Example:
        >>> [round(drop_share(step, 100, 0.3), 3) for step in (0, 50, 100, 120)]
        [0.3, 0.15, 0.0, 0.0]

    Reference: Evci et al. 2020, section 3 (2).
    """
    return alpha / 2 * (1 + math.cos(math.pi * step / last)) if step < last else 0.0


def dropped(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """The `count` smallest |w| among the weights that a layer has; boolean, of the weight's shape."""
    return _best(weight.detach().abs().neg().masked_fill(~mask, -torch.inf), count)


def grown(score: Tensor, mask: Tensor, gone: Tensor, count: int) -> Tensor:
    """The `count` largest scores among what a layer has not, and what it has just dropped.

    A weight whose score is 0 is not grown (it would stay 0): what was dropped comes back before it.

    Args:
        score: at least 0, of any shape.
        mask: what the layer had.
        gone: of that, what was dropped, `count` or more.

    Reference: Evci et al. 2020, section 3 (4).
    """
    useless = (score == 0) & ~mask
    return _best(score.masked_fill(useless, _BEHIND).masked_fill(mask & ~gone, -torch.inf), count)


def _best(score: Tensor, count: int) -> Tensor:
    return keep_counts({"": score}, {"": count})[""]


def exchanged(
    weight: Tensor, mask: Tensor, score: Tensor, share: float, gone: Tensor | None = None
) -> Tensor:
    """The mask after one exchange of floor(share * weights of the layer): as many as before.

    Args:
        gone: what is dropped; None: the smallest weights.
    """
    if gone is None:
        gone = dropped(weight, mask, int(share * int(mask.sum())))
    return (mask & ~gone) | grown(score, mask, gone, int(gone.sum()))


def forget(model: nn.Module, optimizers: Optimizers, fresh: Mapping[str, Tensor]) -> None:
    """Set to zero what optimizers keep of some weights: momentum, and Adam's moments.

    Args:
        fresh: layer -> boolean, of its weight's shape.
    """
    weights = prunable_weights(model)
    for name, where in fresh.items():
        follow_mask(optimizers, weights[name], ~where)
