"""Whether a network's numbers are numbers still: a loss is that of the weights *before* the last step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.errors import TrainingError

_STATISTICS = ("running_mean", "running_var")
"""Buffers that training writes. Others may hold infinities on purpose, as masks of attention do."""


def not_finite(model: nn.Module) -> str | None:
    """Name the first weight, or statistic of a batch norm, that is not finite; None where all are.

    Weights that are not trained may hold what they like, but no NaN.
    """
    named = [
        (name, value.detach(), parameter_trains)
        for name, value, parameter_trains in _numbers(model)
        if value.is_floating_point() and value.numel()
    ]
    if not named:
        return None
    found = torch.stack([_is_sound(value, trains) for _, value, trains in named]).tolist()
    return next((name for (name, *_), sound in zip(named, found, strict=True) if not sound), None)


def _numbers(model: nn.Module) -> list[tuple[str, Tensor, bool]]:
    parameters = [(name, value, value.requires_grad) for name, value in model.named_parameters()]
    buffers = model.named_buffers()
    return parameters + [(name, v, True) for name, v in buffers if name.rpartition(".")[2] in _STATISTICS]


def _is_sound(value: Tensor, trains: bool) -> Tensor:
    """Whether a tensor is finite: bool, (), on its device."""
    return value.isfinite().all() if trains else ~value.isnan().any()


def check_weights(model: nn.Module, when: str) -> None:
    """Refuse a network that is no network any more.

    Args:
        when: completes "the weights are not finite ...", such as "after epoch 3".

    Raises:
        TrainingError: names the first that is not finite.
    """
    name = not_finite(model)
    if name is not None:
        raise TrainingError(
            f"the weights are not finite {when} ({name}): lower the rate, clip gradients (--clip-norm), "
            "or use fp32"
        )


def unsure(scores: Tensor) -> Tensor:
    """Count the examples of which no class can be the highest, scalar: their best score is no finite number.

    `argmax` calls them the first class, or the one with NaN, and an accuracy of 10% would come of it.
    """
    best = scores.detach().amax(1)
    return (~best.isfinite()).reshape(len(best), -1).any(1).sum()
