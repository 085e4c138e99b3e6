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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from secateur.errors import InputError, unknown
from secateur.network.callables import describe_callable
from secateur.network.inputs import logits_of
from secateur.records.measure import Measure

Loss = Callable[[Any, Any], Tensor]
"""(output, targets) -> the mean over the batch, scalar."""

DIRECTIONS = {"max": True, "min": False}
IGNORED = -100
"""The label that cross-entropy leaves out, in maps of labels (segmentation, tokens)."""


@dataclass(frozen=True)
class Metric:
    """One number that says how good a network is on a split.

    Attributes:
        name: for people: "accuracy", "dice".
        function: (outputs, targets) of the whole split, concatenated on the CPU -> a number.
        higher_is_better: the direction.
        fraction: it is the share of examples that are right, in [0, 1]: shown in percent, and with the
            sampling error of a share.
        batchwise: the function is called batch by batch, and the mean over the examples taken: for outputs
            of which a whole split does not fit into memory.
    """

    name: str
    function: Callable[[Any, Any], Any]
    higher_is_better: bool = True
    fraction: bool = False
    batchwise: bool = False

    @classmethod
    def parse(cls, given: Any) -> Metric:
        """Take a metric, the name of one, or (function, "max" or "min").

        Raises:
            InputError: for anything else: a function alone has no direction.
        """
        if isinstance(given, Metric):
            return given
        if isinstance(given, str):
            if given not in METRICS:
                raise unknown("metric", given, METRICS)
            return METRICS[given]
        if isinstance(given, tuple) and len(given) == 2 and callable(given[0]):
            function, direction = given
            if direction not in DIRECTIONS:
                raise unknown("direction of a metric", str(direction), DIRECTIONS)
            return cls(_name_of(function), function, DIRECTIONS[direction])
        raise InputError(
            "a metric is a function with its direction, (function, 'max') or (function, 'min'), or one of "
            f"{', '.join(METRICS)}; got {getattr(given, '__name__', type(given).__name__)}"
        )

    def __call__(self, outputs: Any, targets: Any) -> float:
        """The metric's value.

        Raises:
            InputError: where the function does not give one number.
        """
        value = self.function(outputs, targets)
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            kind = f"a tensor of {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"the metric {self.name} must give one number, got {kind}") from None

    @property
    def measure(self) -> Measure:
        """What records and pages say of it."""
        return Measure(name=self.name, higher_is_better=self.higher_is_better, fraction=self.fraction)

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return self.measure.better(one, other)

    def shown(self, value: float) -> str:
        """A value for people: "83.0%" of accuracy, "dice 0.83" of others."""
        return self.measure.shown(value)

    def identity(self) -> dict[str, Any]:
        """What tells it from another metric, JSON-able."""
        return {**self.measure.to_json(), **describe_callable(self.function)}


def _name_of(function: Any) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "metric" if name == "<lambda>" else name


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
        if self.name in _TARGETS:
            scores = logits_of(output).detach()
            if self.name == "classification":
                _check_scores(scores)
            self.check_targets(targets, scores)

    def check_targets(self, targets: Any, output: Any) -> None:
        """Do as `check` for further batches: only the shape of the output is looked at."""
        if self.name in _TARGETS:
            _TARGETS[self.name](_tensor(targets, self.name), tuple(logits_of(output).shape))


def _tensor(targets: Any, task: str) -> Tensor:
    if isinstance(targets, Tensor):
        return targets.detach()
    raise InputError(
        f"the targets of {task} are a tensor, got {type(targets).__name__}: pass one, or loss= and metric="
    )


def _sizes(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


# Classification


def _cross_entropy(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    if not targets.is_floating_point():
        targets = targets.long()
    return F.cross_entropy(scores.float() if scores.dtype in _HALF else scores, targets)


_HALF = (torch.bfloat16, torch.float16)


def _accuracy(outputs: Any, targets: Tensor) -> float:
    """The share of examples (of labels, in a map of them) whose class has the highest score."""
    chosen = logits_of(outputs).argmax(1)
    if targets.is_floating_point():
        targets = targets.argmax(1)
    counted = targets != IGNORED
    return int((chosen == targets)[counted].sum()) / max(1, int(counted.sum()))


def _check_scores(scores: Tensor) -> None:
    """Logits (N, K, ...), K at least 2, that are no probabilities yet."""
    if scores.dim() < 2 or scores.shape[1] < 2:
        raise InputError(
            "cross-entropy needs one score for each of at least two classes, (N, K), got "
            f"{_sizes(scores.shape)}: with one score it is always 0. Give the network two scores, or pass "
            "task='multilabel' (yes or no), task='regression' (a number), or loss= and metric="
        )
    if _are_probabilities(scores):
        raise InputError(
            "cross-entropy takes scores before softmax, got rows that are at least 0 and sum to 1: leave the "
            "softmax out of the network, or pass loss= and metric="
        )


def _check_classes(targets: Tensor, shape: tuple[int, ...]) -> None:
    """Class numbers (N, ...) for scores (N, K, ...), or probabilities of the scores' shape."""
    if targets.is_floating_point():
        return _check_class_probabilities(targets, shape)
    if targets.shape == shape:
        raise InputError(
            f"the targets of classification are class numbers (N,), got whole numbers of the scores' shape "
            f"{_sizes(shape)}: pass task='multilabel' where several labels may hold, or targets.argmax(1)"
        )
    wanted = (shape[0], *shape[2:])
    if targets.shape != wanted:
        raise InputError(
            f"for scores {_sizes(shape)} the targets of classification are class numbers {_sizes(wanted)}, "
            f"got {_sizes(targets.shape)}: reshape them, or pass task= or loss= and metric="
        )
    allowed = (targets >= 0) & (targets < shape[1])
    if targets.dim() > 1:
        allowed |= targets == IGNORED
    if not bool(allowed.all()):
        raise InputError(
            f"class numbers must lie in 0..{shape[1] - 1}, as there are {shape[1]} scores, got "
            f"{int(targets[~allowed][0])}: number the classes from 0, or pass task= or loss= and metric="
        )
    return None


def _are_probabilities(scores: Tensor) -> bool:
    return bool((scores >= 0).all()) and bool(((scores.float().sum(1) - 1).abs() < 1e-3).all())


def _check_class_probabilities(targets: Tensor, shape: tuple[int, ...]) -> None:
    if targets.shape != shape:
        raise InputError(
            f"the targets of classification are class numbers, got fractions {_sizes(targets.shape)} for "
            f"scores {_sizes(shape)}: pass task='regression', targets.long() where they number classes, or "
            "loss= and metric="
        )
    if not bool((targets >= 0).all()) or not bool(((targets.sum(1) - 1).abs() < 1e-3).all()):
        raise InputError(
            "fractional targets of classification are probabilities, each row at least 0 and summing to 1, "
            f"got a row that sums to {_worst_sum(targets):.4g}: pass task='multilabel' where several labels "
            "may hold, task='regression', or loss= and metric="
        )


def _worst_sum(targets: Tensor) -> float:
    sums = targets.sum(1).flatten()
    return float(sums[(sums - 1).abs().nan_to_num(torch.inf).argmax()])


# Several labels


def _binary_cross_entropy(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    scores = scores.float() if scores.dtype in _HALF else scores
    return F.binary_cross_entropy_with_logits(scores, _like(targets, scores).to(scores.dtype))


def _like(targets: Tensor, scores: Tensor) -> Tensor:
    """Targets (N,) beside scores (N, 1), or the other way round, as the scores: never broadcast to (N, N)."""
    return targets.view_as(scores) if _alike(targets.shape, scores.shape) else targets


def _alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes are equal, or (N,) and (N, 1)."""
    short, long = sorted((tuple(one), tuple(other)), key=len)
    return long == short or (len(short) == 1 and long == (*short, 1))


def _micro_f1(outputs: Any, targets: Tensor) -> float:
    """2 TP / (2 TP + FP + FN) over all examples and labels together, a label being said from 0.5 on."""
    scores = logits_of(outputs)
    said, true = scores > 0, _like(targets, scores) > 0.5
    hits = int((said & true).sum())
    return 2 * hits / max(1, int(said.sum()) + int(true.sum()))


def _label_accuracy(outputs: Any, targets: Tensor) -> float:
    """The share of all labels of all examples that are said right."""
    scores = logits_of(outputs)
    return float(((scores > 0) == (_like(targets, scores) > 0.5)).double().mean())


def _check_labels(targets: Tensor, shape: tuple[int, ...]) -> None:
    _check_same_shape(targets, shape, "multilabel", "0 or 1 for every label, (N, K)")
    if not bool(((targets >= 0) & (targets <= 1)).all()):
        wrong = targets[~((targets >= 0) & (targets <= 1))].flatten()[0]
        raise InputError(
            f"the targets of multilabel are 0 or 1 for every label, got {float(wrong):g}: pass "
            "task='classification' for class numbers, task='regression', or loss= and metric="
        )


# Numbers


def _squared_error(output: Any, targets: Tensor) -> Tensor:
    scores = logits_of(output)
    scores = scores.float() if scores.dtype in _HALF else scores
    return F.mse_loss(scores, _like(targets, scores).to(scores.dtype))


def _rmse(outputs: Any, targets: Tensor) -> float:
    """The root of the mean squared error, in the targets' unit."""
    scores = logits_of(outputs).double()
    return float((scores - _like(targets, scores).double()).square().mean().sqrt())


def _r2(outputs: Any, targets: Tensor) -> float:
    """1 - residual / total sum of squares, the mean over the targets' columns; 0 for a constant column."""
    scores = logits_of(outputs).double()
    true = _like(targets, scores).double()
    scores, true = scores.reshape(len(scores), -1), true.reshape(len(true), -1)
    residual = (scores - true).square().sum(0)
    total = (true - true.mean(0)).square().sum(0)
    each = torch.where(total > 0, 1 - residual / total, torch.where(residual > 0, 0.0, 1.0))
    return float(each.mean())


def _check_numbers(targets: Tensor, shape: tuple[int, ...]) -> None:
    _check_same_shape(targets, shape, "regression", "numbers of the output's shape")
    if not bool(targets.isfinite().all()):
        raise InputError(
            "the targets of regression must be finite numbers, got one that is not: leave its example out"
        )


def _check_same_shape(targets: Tensor, shape: tuple[int, ...], task: str, wanted: str) -> None:
    if not _alike(targets.shape, shape):
        raise InputError(
            f"the targets of {task} are {wanted}, got {_sizes(targets.shape)} for an output {_sizes(shape)}: "
            "reshape them, or pass task= or loss= and metric="
        )


_TARGETS: dict[str, Callable[[Tensor, tuple[int, ...]], None]] = {
    "classification": _check_classes,
    "multilabel": _check_labels,
    "regression": _check_numbers,
}

ACCURACY = Metric("accuracy", _accuracy, fraction=True)

METRICS = {
    each.name: each
    for each in (
        ACCURACY,
        Metric("micro-f1", _micro_f1),
        Metric("label-accuracy", _label_accuracy),
        Metric("rmse", _rmse, higher_is_better=False),
        Metric("r2", _r2),
    )
}
"""The metrics that go by a name."""

TASKS = {
    "classification": Task("classification", _cross_entropy, ACCURACY),
    "multilabel": Task(
        "multilabel", _binary_cross_entropy, METRICS["micro-f1"], (METRICS["label-accuracy"],)
    ),
    "regression": Task("regression", _squared_error, METRICS["rmse"], (METRICS["r2"],)),
}
"""The tasks that go by a name; any other is a user's loss and metric: `Task("custom", loss, metric)`."""

CLASSIFICATION = TASKS["classification"]
