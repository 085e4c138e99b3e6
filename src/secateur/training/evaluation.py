"""The metric on a split, and how often it is looked at while a network trains.

An accuracy is counted batch by batch. Any other metric is a function of the whole split: the outputs and the
targets of all batches are gathered on the CPU first, unless it says that it may be taken batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.data import Split
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.network.inputs import batch_of, call, logits_of, map_inputs, on_device, pair_of
from secateur.network.metrics import ACCURACY, Metric
from secateur.network.modes import in_evaluation, in_training, modes_kept
from secateur.network.task import CLASSIFICATION, Task
from secateur.surgery.anatomy import read_for
from secateur.training.batches import EVALUATION_BATCH, AnyData, AnySplit, measured_batches
from secateur.training.finite import unsure
from secateur.training.meter import scores_of
from secateur.training.recipe import Recipe

VALIDATION = 0.02  # of the training MACs, where no schedule follows the accuracy


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: AnySplit,
    data: AnyData,
    runtime: Runtime,
    precision: str,
    task: Task = CLASSIFICATION,
) -> float:
    """The task's metric over every example of `split`; all processes take part.

    By default the top-1 accuracy, a fraction in [0, 1].

    Args:
        precision: of the forward passes, as in `Recipe`.
    """
    found, _ = measure_and_score(model, split, data, runtime, precision, (task.metric,))
    return found[task.metric.name]


@torch.no_grad()
def measure_and_score(
    model: nn.Module,
    split: AnySplit,
    data: AnyData,
    runtime: Runtime,
    precision: str,
    metrics: Sequence[Metric],
) -> tuple[dict[str, float], Tensor | None]:
    """Measure by several metrics in one pass, and say of every example whether it was right.

    All processes take part.

    Raises:
        TrainingError: where a metric gives no finite number, or the network no finite scores.

    Returns:
        the metrics; and (N,) on the CPU, in the order of the split: 1 where an example is right, 0 where it
        is not (uint8), or the share of its labels that are right (float32). An accuracy is their mean; None
        where none is among the metrics.
    """
    was_training = model.training
    in_evaluation(model)
    counted = [metric for metric in metrics if metric is ACCURACY]
    others = [_Gathered(metric) for metric in metrics if metric is not ACCURACY]
    scores = _Scores()
    shared = not others  # a metric of a whole split is of no share of it: every process has all
    for inputs, targets in measured_batches(split, data, runtime, runtime.layout(model), shared):
        with runtime.autocast(precision), parametrize.cached():  # no apparent weight is computed twice
            output = call(model, inputs)
        examples = batch_of(read_for(model, inputs))
        if counted:
            scores.add(logits_of(output), targets)
        for each in others:
            each.add(output, targets, examples)
    in_training(model) if was_training else in_evaluation(model)
    found = {each.metric.name: each.value() for each in others}
    if counted:
        whole = scores.whole(len(split), runtime, shared and isinstance(split, Split))
        scores.check(runtime, len(split))
        found[ACCURACY.name] = float(whole.sum(dtype=torch.float64)) / len(split)
    return {metric.name: found[metric.name] for metric in metrics}, whole if counted else None


@torch.no_grad()
def metrics_on(
    model: nn.Module, batches: Iterable[Any], metrics: Sequence[Metric], task: Task
) -> dict[str, float]:
    """Metrics of a model, wherever it is, on batches of (inputs, targets), by name.

    Args:
        task: looks at every batch's targets.

    Raises:
        InputError: where there is no batch, targets are none of the task's, or a metric fails.
    """
    gathered = [_Gathered(metric) for metric in metrics]
    with modes_kept(model):
        in_evaluation(model)
        for batch in batches:
            inputs, targets = pair_of(batch)
            output = call(model, on_device(inputs, model))
            task.check_targets(targets, output)
            for each in gathered:
                each.add(output, targets, batch_of(read_for(model, inputs)))
    if not gathered[0].outputs and not gathered[0].examples:
        raise InputError("val holds no batch: pass a list of (inputs, targets) or a DataLoader")
    return {each.metric.name: each.value() for each in gathered}


class _Scores:
    """The scores of this process's examples so far, batch by batch."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self._unsure: Tensor | None = None

    def add(self, scores: Tensor, targets: Any) -> None:
        """Count a batch, whose scores must be finite numbers: `check` says."""
        self.parts.append(scores_of(scores, targets))
        count = unsure(scores)
        self._unsure = count if self._unsure is None else self._unsure + count

    def check(self, runtime: Runtime, n: int) -> None:
        """Raise TrainingError where an example's best score was no finite number; all processes take part."""
        count = 0 if self._unsure is None else int(runtime.sum(self._unsure))
        if count:
            raise TrainingError(
                f"the network gives no finite scores for {count:,} of {n:,} examples: its numbers overflow; "
                "lower the rate, or use fp32"
            )

    def whole(self, n: int, runtime: Runtime, shared: bool) -> Tensor:
        """All examples' scores, on the CPU; all processes take part where each had its share.

        Of every `EVALUATION_BATCH` examples a process had those behind its rank, one in `world`.
        """
        if not shared or runtime.world == 1:
            return _as_small(torch.cat(self.parts).cpu())
        found = torch.zeros(n, device=runtime.device)
        for batch, part in enumerate(self.parts):
            start = batch * EVALUATION_BATCH
            found[start : start + EVALUATION_BATCH][runtime.rank :: runtime.world] = part.float()
        return _as_small(runtime.sum(found).cpu())


def _as_small(scores: Tensor) -> Tensor:
    """One byte for each of zeros and ones."""
    return scores.to(torch.uint8) if bool(((scores == 0) | (scores == 1)).all()) else scores.float()


class _Gathered:
    """A metric's outputs and targets so far, on the CPU; or its mean, where it is taken batch by batch."""

    def __init__(self, metric: Metric):
        self.metric = metric
        self.outputs: list[Any] = []
        self.targets: list[Any] = []
        self.total = self.examples = 0.0

    def add(self, output: Any, targets: Any, examples: int) -> None:
        if self.metric.batchwise:
            self.total += self._of(_on_cpu(output), _on_cpu(targets)) * examples
            self.examples += examples
        else:
            self.outputs.append(_on_cpu(output))
            self.targets.append(_on_cpu(targets))

    def value(self) -> float:
        """The metric; TrainingError where it is no finite number."""
        if self.metric.batchwise:
            value = self.total / max(1.0, self.examples)
        else:
            value = self._of(self._joined(self.outputs), self._joined(self.targets))
        if not math.isfinite(value):
            raise TrainingError(f"the metric {self.metric.name} is {value}, no finite number")
        return value

    def _of(self, outputs: Any, targets: Any) -> float:
        try:
            return self.metric(outputs, targets)
        except InputError:
            raise
        except Exception as error:  # the user's code
            raise InputError(
                f"the metric {self.metric.name} failed with {kind_and_line(error)}: it is called with the "
                "outputs and the targets of a whole split, on the CPU"
            ) from error

    def _joined(self, parts: Sequence[Any]) -> Any:
        try:
            return joined(parts)
        except RuntimeError:
            raise InputError(
                f"the batches' outputs or targets differ in shape, so {self.metric.name} cannot be taken "
                "of all of them: pad them, or pass sc.Metric(name, function, batchwise=True)"
            ) from None


def _on_cpu(value: Any) -> Any:
    def move(tensor: Tensor) -> Tensor:
        plain = tensor.detach().cpu()
        return plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain

    return map_inputs(value, move) if not hasattr(value, "logits") else move(logits_of(value))


def joined(parts: Sequence[Any]) -> Any:
    """Join what batches gave along their examples, however it is wrapped; numbers stay those of the first."""
    first = parts[0]
    if isinstance(first, Tensor):
        return first if not first.dim() else torch.cat(list(parts))
    if isinstance(first, Mapping):
        return {name: joined([part[name] for part in parts]) for name in first}
    if isinstance(first, (tuple, list)):
        return tuple(joined(column) for column in zip(*parts, strict=True))
    return first


def accuracies_after(
    epoch: int,
    last: bool,
    model: nn.Module,
    data: AnyData,
    runtime: Runtime,
    recipe: Recipe,
    task: Task = CLASSIFICATION,
) -> dict[str, float | None]:
    """Measure the network after an epoch, counted from 1, as far as somebody needs to know.

    Returns:
        "val_accuracy": None in epochs that nobody needs it of: neither a schedule, nor who looks at the first
        and last; "test_accuracy": only where the recipe selects on it, and the history then shows it.
    """
    needed = recipe.follows_accuracy or epoch == 1 or last or epoch % validated_every(data) == 0
    found: dict[str, float | None] = {"val_accuracy": None}
    if needed:
        found["val_accuracy"] = evaluate(model, data.val, data, runtime, recipe.precision, task)
    if recipe.select_on == "test":
        found["test_accuracy"] = evaluate(model, data.test, data, runtime, recipe.precision, task)
    return found


def validated_every(data: AnyData) -> int:
    """Epochs from one validation to the next, so that they cost at most `VALIDATION` of the training MACs.

    The first and the last epoch are validated besides.
    """
    share = len(data.val) / (TRAINING_MACS_PER_INFERENCE_MAC * len(data.train))
    return max(1, math.ceil(share / VALIDATION))
