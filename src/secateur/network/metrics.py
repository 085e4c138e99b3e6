"""Metrics: one number that says how good a network is on a split, and which way it is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.errors import InputError, unknown
from secateur.network.callables import describe_callable
from secateur.network.inputs import logits_of
from secateur.records.measure import Measure

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


def like(targets: Tensor, scores: Tensor) -> Tensor:
    """Targets (N,) beside scores (N, 1), or the other way round, as the scores: never broadcast to (N, N)."""
    return targets.view_as(scores) if alike(targets.shape, scores.shape) else targets


def alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two shapes are equal, or (N,) and (N, 1)."""
    short, long = sorted((tuple(one), tuple(other)), key=len)
    return long == short or (len(short) == 1 and long == (*short, 1))


def _accuracy(outputs: Any, targets: Tensor) -> float:
    """The share of examples (of labels, in a map of them) whose class has the highest score."""
    chosen = logits_of(outputs).argmax(1)
    if targets.is_floating_point():
        targets = targets.argmax(1)
    counted = targets != IGNORED
    return int((chosen == targets)[counted].sum()) / max(1, int(counted.sum()))


def _micro_f1(outputs: Any, targets: Tensor) -> float:
    """2 TP / (2 TP + FP + FN) over all examples and labels together, a label being said from 0.5 on."""
    scores = logits_of(outputs)
    said, true = scores > 0, like(targets, scores) > 0.5
    hits = int((said & true).sum())
    return 2 * hits / max(1, int(said.sum()) + int(true.sum()))


def _label_accuracy(outputs: Any, targets: Tensor) -> float:
    """The share of all labels of all examples that are said right."""
    scores = logits_of(outputs)
    return float(((scores > 0) == (like(targets, scores) > 0.5)).double().mean())


def _rmse(outputs: Any, targets: Tensor) -> float:
    """The root of the mean squared error, in the targets' unit."""
    scores = logits_of(outputs).double()
    return float((scores - like(targets, scores).double()).square().mean().sqrt())


def _r2(outputs: Any, targets: Tensor) -> float:
    """1 - residual / total sum of squares, the mean over the targets' columns; 0 for a constant column."""
    scores = logits_of(outputs).double()
    true = like(targets, scores).double()
    scores, true = scores.reshape(len(scores), -1), true.reshape(len(true), -1)
    residual = (scores - true).square().sum(0)
    total = (true - true.mean(0)).square().sum(0)
    each = torch.where(total > 0, 1 - residual / total, torch.where(residual > 0, 0.0, 1.0))
    return float(each.mean())


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
