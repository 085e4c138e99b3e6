"""On which terms a network is trained and judged, where they are the user's: loss, metric, optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secateur.network.callables import describe_callable
from secateur.network.task import CLASSIFICATION, TASKS, Task


@dataclass(frozen=True)
class Terms:
    """The loss, the metric and the optimizer of a run.

    Attributes:
        task: the loss and the metric.
        optimizer: makes the optimizer, where the recipe names a user's own.
    """

    task: Task = CLASSIFICATION
    optimizer: Any = None

    def identity(self) -> dict[str, Any]:
        """What can change a number, JSON-able; nothing for the default terms."""
        found = self.task.identity()
        if self.optimizer is not None:
            found["optimizer"] = describe_callable(self.optimizer)
        return found

    def in_words(self) -> dict[str, str]:
        """What pages show of it; nothing of the default terms."""
        found = {}
        if not self.task.is_default:
            better = "higher" if self.task.metric.higher_is_better else "lower"
            known = self.task.loss in [task.loss for task in TASKS.values()]
            loss = self.task.name if known else describe_callable(self.task.loss)["name"]
            found = {"loss": loss, "metric": f"{self.task.metric.name} ({better} is better)"}
        if self.optimizer is not None:
            found["optimizer"] = describe_callable(self.optimizer)["name"]
        return found
