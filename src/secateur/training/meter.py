"""The loss and the accuracy of an epoch so far: summed on the device, looked at now and then.

Where networks are not judged by accuracy, nobody knows it here either: it is None.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secateur.device import Runtime
from secateur.errors import TrainingError
from secateur.network.inputs import logits_of
from secateur.network.metrics import ACCURACY, IGNORED, Metric
from secateur.training.state import Progress


class Means(NamedTuple):
    """Over the examples seen: the mean loss, and the share that was classified correctly."""

    loss: float
    accuracy: float | None


class Meter:
    """Sums loss, hits and examples on the device, so that adding a step waits for nothing.

    It goes on from what `progress` holds of the present epoch.

    Args:
        metric: what networks are judged by; hits are counted where that is their share.
    """

    def __init__(self, progress: Progress, device: torch.device, metric: Metric = ACCURACY):
        self.counts = metric is ACCURACY
        exact = torch.float64 if device.type != "mps" else torch.float32  # which has no float64
        begun = [progress.loss_sum, progress.correct, progress.seen]
        self.sums = torch.tensor(begun, dtype=torch.float64, device="cpu").to(device, exact)

    def add(self, loss: Tensor, output: Any, targets: Any, examples: int) -> None:
        """Add a step: its mean loss (scalar, detached), what the model gave for its examples, the targets."""
        if not self.counts:
            self.sums += torch.stack([loss * examples, loss.new_zeros(()), loss.new_full((), examples)])
            return
        hits = hits_of(logits_of(output).detach(), targets)
        self.sums += torch.stack([loss * examples, hits, torch.full_like(hits, examples)])

    def read(self, progress: Progress, lr: float) -> Means:
        """Look at the means so far, for which it waits for the device.

        Raises:
            TrainingError: the loss is no finite number any more; says where and at which rate.
        """
        loss_sum, correct, seen = self.sums.tolist()
        if not math.isfinite(loss_sum):
            done = progress.epoch
            kept = f"the last good checkpoint is that of epoch {done}" if done else "no epoch was finished"
            raise TrainingError(
                f"the loss is not finite in epoch {done + 1} (step {progress.batch}, rate {lr:g}); {kept}: "
                "lower the rate, or use fp32"
            )
        return self.means(loss_sum, correct, seen)

    def means(self, loss_sum: float, correct: float, seen: float) -> Means:
        """Divide by the examples."""
        return Means(loss_sum / max(seen, 1), correct / max(seen, 1) if self.counts else None)

    def keep_in(self, progress: Progress) -> None:
        """Write the sums into the run's progress, which its checkpoint holds."""
        progress.loss_sum, correct, seen = self.sums.tolist()
        progress.correct, progress.seen = round(correct), round(seen)


def hits_of(logits: Tensor, targets: Tensor) -> Tensor:
    """How many examples have the highest score at their class, scalar; of maps of labels as `scores_of`."""
    return scores_of(logits, targets).sum()


def scores_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Which examples have the highest score at their class: (N,), bool.

    Of maps of labels each counts by the share of its labels that are right, without those that are ignored.
    """
    if targets.is_floating_point():
        targets = targets.argmax(1)
    hits = logits.argmax(1) == targets
    if hits.dim() == 1:
        return hits
    counted = (targets != IGNORED).flatten(1)
    return (hits.flatten(1) & counted).sum(1) / counted.sum(1).clamp(min=1)


def means_over_processes(progress: Progress, runtime: Runtime, metric: Metric = ACCURACY) -> Means:
    """The means of the present epoch over what all processes saw of it; all of them take part."""
    ours = torch.tensor([progress.loss_sum, progress.correct, progress.seen], device=runtime.device)
    loss_sum, correct, seen = runtime.sum(ours).tolist()  # in float32, as every record's history is
    return Meter(progress, runtime.device, metric).means(loss_sum, correct, seen)
