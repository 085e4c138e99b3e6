"""What a cut of weights in the middle of training costs: the network right before it and right after it.

A cut at the end is measured when training is over (`runs.sparsify`). One in the middle has to be measured
there, or nobody would know what it took: training goes on, and makes up for it. Nothing depends on what is
found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn

from secateur.methods import Method
from secateur.training.average import Average, NoAverage
from secateur.training.batches import AnyData, AnySplit
from secateur.training.state import Progress


class Costed(Protocol):
    """What is asked of a training."""

    progress: Progress
    method: Method
    data: AnyData
    average: Average | NoAverage

    @property
    def model(self) -> nn.Module:
        """The network as it is now."""

    def worth(self, split: AnySplit) -> float:
        """What it is worth on a split."""


@contextmanager
def costed(training: Costed) -> Iterator[None]:
    """Measure the network before and after what the method does here, where that is a cut of weights.

    It leaves `accuracy_before`, `accuracy_after_cut`, both on the test split, the same with `val_`, and
    `remaining` in `training.progress.cut`. Where weights are averaged, it is the averages that are measured.
    """
    if not training.method.about_to_zero:
        yield
        return
    training.progress.cut = {**_measured(training, "before"), "remaining": _remaining(training)}
    yield
    training.progress.cut |= _measured(training, "after_cut")


def _measured(training: Costed, when: str) -> dict[str, Any]:
    with training.average.swapped():
        training.method.before_evaluation(training.model)
        found = {
            f"accuracy_{when}": training.worth(training.data.test),
            f"val_accuracy_{when}": training.worth(training.data.val),
        }
    training.method.before_evaluation(training.model)
    return found


def _remaining(training: Costed) -> float | None:
    return training.method.remaining(training.model)
