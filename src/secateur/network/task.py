"""What a network is for: the loss that it trains under, and the metric that it is judged by.

    task = Task.named("multilabel")
    task.check(targets, output)          # refuses what the loss would silently get wrong
    task.loss(output, targets)           # scalar, the mean over the batch
    task.metric(outputs, targets)        # of a whole split
    task.probabilities(output)           # what a user of the network wants to see

A loss takes the model's output as it is, and the targets; so does a metric, of a whole split at once, on the
CPU. The built-in tasks find the scores in the output by `secateur.network.inputs.logits_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from secateur.errors import InputError, kind_and_line, unknown
from secateur.network.callables import describe_callable
from secateur.network.inputs import logits_of
from secateur.network.metrics import ACCURACY, IGNORED, METRICS, Metric, like
from secateur.network.target_checks import CHECKS, as_tensor, check_scores

__all__ = ["ACCURACY", "CLASSIFICATION", "IGNORED", "METRICS", "TASKS", "Loss", "Metric", "Task"]

Loss = Callable[[Any, Any], Tensor]
"""(output, targets) -> the mean over the batch, scalar."""

_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Task:
    """A loss, a metric, and what goes with them.

    Attributes:
        name: "classification", "multilabel", "regression" or "custom".
        loss: (output, targets) -> scalar, the mean over the batch.
        metric: what schedules, selects and reports look at.
        also: metrics that are shown besides.
    """

    name: str
    loss: Loss
    metric: Metric
    also: tuple[Metric, ...] = ()

    @classmethod
    def of(cls, task: str | Task | None = None, loss: Loss | None = None, metric: Any = None) -> Task:
        """Take what a user says: a task by its name, or a loss and a metric, or one of them in its place.

        Raises:
            InputError: for an unknown name; for a loss alone, as whether its metric suits cannot be known.
        """
        named = cls.named(task) if isinstance(task, str) else task
        if loss is None and metric is None:
            return named or CLASSIFICATION
        if loss is not None and not callable(loss):
            raise InputError(
                f"loss is a function of (output, targets), got {type(loss).__name__}: pass the function"
            )
        if named is None and metric is None:
            raise InputError(
                "loss= needs metric=, which judges: a function of (outputs, targets) with its "
                f"direction, (function, 'max'), one of {', '.join(METRICS)}, or task= ({', '.join(TASKS)})"
            )
        base = named or CLASSIFICATION
        judged = base.metric if metric is None else Metric.parse(metric)
        name = base.name if loss is None else "custom"
        return cls(name, loss or base.loss, judged, named.also if named else ())

    @classmethod
    def named(cls, name: str) -> Task:
        """One of `TASKS`; InputError for another name."""
        if name not in TASKS:
            raise unknown("task", str(name), TASKS)
        return TASKS[name]

    @property
    def is_default(self) -> bool:
        """Whether it is what every run was before there were others."""
        return self.loss is CLASSIFICATION.loss and self.metric is CLASSIFICATION.metric

    def identity(self) -> dict[str, Any]:
        """What can change a number, JSON-able; nothing for the default."""
        if self.is_default:
            return {}
        known = self.name in TASKS and self.loss is TASKS[self.name].loss
        loss = {"name": self.name} if known else describe_callable(self.loss)
        metric = (
            {"name": self.metric.name}
            if METRICS.get(self.metric.name) is self.metric
            else self.metric.identity()
        )
        return {"task": {"loss": loss, "metric": metric}}

    def probabilities(self, output: Any) -> Tensor:
        """What the scores say: of each class (N, K), of each label (N, K); else the output as it is."""
        scores = logits_of(output)
        if self.name == "classification":
            return scores.float().softmax(1)
        return scores.float().sigmoid() if self.name == "multilabel" else scores

    def check(self, targets: Any, output: Any) -> None:
        """Refuse what the loss would silently get wrong.

        Args:
            targets: of one batch.
            output: the model's, for the same batch.

        Raises:
            InputError: names the task or the loss that would suit. Of a user's own loss nothing is known.
        """
        if self.name in CHECKS:
            scores = logits_of(output).detach()
            if self.name == "classification":
                check_scores(scores)
            self.check_targets(targets, scores)

    def try_loss(self, output: Any, targets: Any) -> None:
        """Compute the loss of a first batch, whose output has its gradient.

        Raises:
            InputError: where that fails, or gives no finite number that a gradient flows from.
        """
        try:
            value = self.loss(output, targets)
        except InputError:
            raise
        except Exception as error:  # the user's code
            raise InputError(f"the loss failed on the first batch with {kind_and_line(error)}") from error
        if not isinstance(value, Tensor) or value.dim():
            got = f"a tensor of {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"a loss gives the mean over the batch, one number, got {got}: end it with .mean()"
            )
        if not value.requires_grad:
            raise InputError(
                "the loss has no gradient: it must be computed from the output by differentiable operations"
            )
        if not bool(value.isfinite()):
            raise InputError(
                f"the loss of the first batch is {float(value.detach())}: mend inputs or targets"
            )

    def check_targets(self, targets: Any, output: Any) -> None:
        """Do as `check` for further batches: only the shape of the output is looked at."""
        if self.name in CHECKS:
            CHECKS[self.name](as_tensor(targets, self.name), tuple(logits_of(output).shape))


def _cross_entropy(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    if not targets.is_floating_point():
        targets = targets.long()
    return F.cross_entropy(scores.float() if scores.dtype in _HALF else scores, targets)


def _binary_cross_entropy(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    scores = scores.float() if scores.dtype in _HALF else scores
    return F.binary_cross_entropy_with_logits(scores, like(targets, scores).to(scores.dtype))


def _squared_error(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    scores = scores.float() if scores.dtype in _HALF else scores
    return F.mse_loss(scores, like(targets, scores).to(scores.dtype))


TASKS = {
    "classification": Task("classification", _cross_entropy, ACCURACY),
    "multilabel": Task(
        "multilabel", _binary_cross_entropy, METRICS["micro-f1"], (METRICS["label-accuracy"],)
    ),
    "regression": Task("regression", _squared_error, METRICS["rmse"], (METRICS["r2"],)),
}
"""The tasks that go by a name; any other is a user's loss and metric: `Task("custom", loss, metric)`."""

CLASSIFICATION = TASKS["classification"]
