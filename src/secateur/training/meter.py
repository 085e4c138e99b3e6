"""The loss and the accuracy of an epoch so far: summed on the device, looked at now and then."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from secateur.device import Runtime
from secateur.errors import TrainingError
from secateur.training.state import Progress


class Means(NamedTuple):
    """Over the examples seen: the mean loss, and the share that was classified correctly."""

    loss: float
    accuracy: float


class Meter:
    """Sums loss, hits and examples on the device, so that adding a step waits for nothing.

    It goes on from what `progress` holds of the present epoch.
    """

    def __init__(self, progress: Progress, device: torch.device):
        exact = torch.float64 if device.type != "mps" else torch.float32  # which has no float64
        begun = [progress.loss_sum, progress.correct, progress.seen]
        self.sums = torch.tensor(begun, dtype=torch.float64, device="cpu").to(device, exact)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a step: its mean loss (scalar), logits (N, K) and labels (N,), all detached."""
        hits = (logits.argmax(1) == labels).sum()
        self.sums += torch.stack([loss * len(labels), hits, torch.full_like(hits, len(labels))])

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
        return Means(loss_sum / max(seen, 1), correct / max(seen, 1))

    def keep_in(self, progress: Progress) -> None:
        """Write the sums into the run's progress, which its checkpoint holds."""
        progress.loss_sum, correct, seen = self.sums.tolist()
        progress.correct, progress.seen = round(correct), round(seen)


def means_over_processes(progress: Progress, runtime: Runtime) -> Means:
    """The means of the present epoch over what all processes saw of it; all of them take part."""
    ours = torch.tensor([progress.loss_sum, progress.correct, progress.seen], device=runtime.device)
    loss_sum, correct, seen = runtime.sum(ours).tolist()  # in float32, as every record's history is
    return Means(loss_sum / max(seen, 1), correct / max(seen, 1))
