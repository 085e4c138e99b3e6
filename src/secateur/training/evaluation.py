"""Accuracy, and how often it is looked at while a network trains."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils import parametrize

from secateur.data import Data, Split, epoch_batches
from secateur.device import Runtime
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.network.inputs import logits_of
from secateur.training.recipe import Recipe

EVALUATION_BATCH = 500


VALIDATION = 0.02  # of the training MACs, where no schedule follows the accuracy


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, data: Data, runtime: Runtime, precision: str) -> float:
    """Top-1 accuracy, a fraction in [0, 1], over every example of `split`; all processes take part.

    Args:
        precision: of the forward passes, as in `Recipe`.
    """
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=runtime.device)
    layout = runtime.layout(model)
    batches = epoch_batches(
        split,
        data,
        batch_size=EVALUATION_BATCH,
        device=runtime.device,
        rank=runtime.rank,
        world=runtime.world,
        layout=layout,
    )
    for x, y in batches:
        with runtime.autocast(precision), parametrize.cached():  # no apparent weight is computed twice
            correct += (logits_of(model(x)).argmax(1) == y).sum()
    model.train(was_training)
    return int(runtime.sum(correct)) / len(split)


def accuracies_after(
    epoch: int, last: bool, model: nn.Module, data: Data, runtime: Runtime, recipe: Recipe
) -> dict[str, float | None]:
    """Measure the network after an epoch, counted from 1, as far as somebody needs to know.

    Returns:
        "val_accuracy": None in epochs that nobody needs it of: neither a schedule, nor who looks at the first
        and last; "test_accuracy": only where the recipe selects on it, and the history then shows it.
    """
    needed = recipe.follows_accuracy or epoch == 1 or last or epoch % validated_every(data) == 0
    found = {"val_accuracy": evaluate(model, data.val, data, runtime, recipe.precision) if needed else None}
    if recipe.select_on == "test":
        found["test_accuracy"] = evaluate(model, data.test, data, runtime, recipe.precision)
    return found


def validated_every(data: Data) -> int:
    """Epochs from one validation to the next, so that they cost at most `VALIDATION` of the training MACs.

    The first and the last epoch are validated besides.
    """
    share = len(data.val) / (TRAINING_MACS_PER_INFERENCE_MAC * len(data.train))
    return max(1, math.ceil(share / VALIDATION))


_Z = 1.959963984540054  # the standard normal's 97.5% quantile


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Find the 95% interval of a share, `right` of `n` at least 1: Wilson's, which holds at 0 and 1 too.

    (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n), with p = right/n and z = 1.96.

    Example:
        >>> [round(bound, 4) for bound in wilson_interval(30, 30)]
        [0.8865, 1.0]

    Reference: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    p, extra = right / n, _Z**2 / n
    middle, half = p + extra / 2, _Z * math.sqrt(p * (1 - p) / n + extra / (4 * n))
    return max(0.0, (middle - half) / (1 + extra)), min(1.0, (middle + half) / (1 + extra))
