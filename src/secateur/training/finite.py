"""Whether a training is one still: a loss is that of the weights *before* the last step."""

from __future__ import annotations

from torch import Tensor, nn

from secateur.errors import TrainingError
from secateur.network.finite import not_finite


def check_weights(model: nn.Module, when: str) -> None:
    """Refuse a network that is no network any more.

    Args:
        when: completes "the weights are not finite ...", such as "after epoch 3".

    Raises:
        TrainingError: names the first that is not finite.
    """
    found = not_finite(model)
    if found is not None:
        raise TrainingError(
            f"the weights are not finite {when} ({found.name}): lower the rate, clip gradients "
            "(--clip-norm), or use fp32"
        )


def unsure(scores: Tensor) -> Tensor:
    """Count the examples of which no class can be the highest, scalar: their best score is no finite number.

    `argmax` calls them the first class, or the one with NaN, and an accuracy of 10% would come of it.
    """
    best = scores.detach().amax(1)
    return (~best.isfinite()).reshape(len(best), -1).any(1).sum()
