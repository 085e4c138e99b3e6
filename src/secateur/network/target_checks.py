"""What a loss would silently get wrong: targets and outputs, refused with the task that would suit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from secateur.errors import InputError, kind_and_line
from secateur.network.metrics import IGNORED, alike


def as_tensor(targets: Any, task: str) -> Tensor:
    if isinstance(targets, Tensor):
        return targets.detach()
    raise InputError(
        f"the targets of {task} are a tensor, got {type(targets).__name__}: pass one, or loss= and metric="
    )


def _sizes(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def check_scores(scores: Tensor) -> None:
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


def outside(targets: Any, output: Any, error: BaseException) -> str:
    """Say of targets on which a loss failed which range they have, and how many scores there are."""
    said = kind_and_line(error)
    if not isinstance(targets, Tensor) or not isinstance(output, Tensor) or not targets.numel():
        return said
    scores = f"{output.shape[1]} scores" if output.dim() > 1 else "one score"
    return (
        f"{said}; class numbers lie in 0..K-1 for K scores, and the targets of this batch lie in "
        f"{targets.min().item():g}..{targets.max().item():g}, with {scores}: number the classes from 0"
    )


def _check_labels(targets: Tensor, shape: tuple[int, ...]) -> None:
    _check_same_shape(targets, shape, "multilabel", "0 or 1 for every label, (N, K)")
    if not bool(((targets >= 0) & (targets <= 1)).all()):
        wrong = targets[~((targets >= 0) & (targets <= 1))].flatten()[0]
        raise InputError(
            f"the targets of multilabel are 0 or 1 for every label, got {float(wrong):g}: pass "
            "task='classification' for class numbers, task='regression', or loss= and metric="
        )


def _check_numbers(targets: Tensor, shape: tuple[int, ...]) -> None:
    _check_same_shape(targets, shape, "regression", "numbers of the output's shape")
    if not bool(targets.isfinite().all()):
        raise InputError(
            "the targets of regression must be finite numbers, got one that is not: leave its example out"
        )


def _check_same_shape(targets: Tensor, shape: tuple[int, ...], task: str, wanted: str) -> None:
    if not alike(targets.shape, shape):
        raise InputError(
            f"the targets of {task} are {wanted}, got {_sizes(targets.shape)} for an output {_sizes(shape)}: "
            "reshape them, or pass task= or loss= and metric="
        )


CHECKS: dict[str, Callable[[Tensor, tuple[int, ...]], None]] = {
    "classification": _check_classes,
    "multilabel": _check_labels,
    "regression": _check_numbers,
}
"""Task -> what looks at targets, given the shape of the scores."""
