"""Whether the loss reaches what is to be pruned: one step is rehearsed before anything is trained.

Where a backbone runs under `no_grad`, or a head is not in the loss, no gradient comes back. Criteria made of
gradients cannot rank such channels; others can, but nothing would train what is left of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from secateur.errors import InputError
from secateur.methods import ChannelPruning
from secateur.methods.gradients import GradientCriterion
from secateur.network.inputs import Inputs, call, on_device
from secateur.network.modes import in_training, modes_kept
from secateur.network.task import Task
from secateur.surgery.along import parameter_along
from secateur.surgery.quiet import without_chance


@torch.enable_grad()
def check_reached(model: nn.Module, first: tuple[Inputs, Any], task: Task, pruning: ChannelPruning) -> None:
    """Rehearse a step on the first batch, which changes nothing, and say what gets no gradient.

    Raises:
        InputError: where the criterion is made of gradients, and channels that could go get none.
    """
    inputs, targets = on_device(first[0], model), on_device(first[1], model)
    with _untouched(model):
        try:
            in_training(model)
            with without_chance():  # a path that is dropped now is not at the next step
                task.loss(call(model, inputs), targets).backward()
        except InputError:
            pruning.unwatch()
            raise
        except Exception:  # it comes again at the first step, and is said there
            pruning.forget(model)
            return
        unreached = [name for name in pruning.can_go() if not _any_gradient(model, pruning, name)]
    if isinstance(pruning, GradientCriterion):
        unfelt, still = pruning.unfelt()
        if unfelt:
            pruning.unwatch()
            alone = list(dict.fromkeys([*unfelt, *unreached]))
            raise InputError(
                f"{pruning.name} ranks channels by gradients, and none comes back to what reads those of "
                f"{_some(unfelt)} (run under no_grad, or not in the loss): leave them as they are, "
                f"keep={alone[:8]}, or choose method='filter-norm'"
            )
        if still:
            _say(
                f"the gradient at what reads the channels of {_some(still)} is zero on the whole first "
                f"batch: they would go first; to leave them as they are, pass keep={still[:8]}"
            )
    pruning.forget(model)
    if unreached:
        _say(
            f"no gradient reaches what writes the channels of {_some(unreached)} (run under no_grad, or not "
            f"in the loss): they are cut, but not trained; to leave them as they are, pass "
            f"keep={unreached[:8]}"
        )


def _say(what: str) -> None:
    warnings.warn(what, stacklevel=4)


def _any_gradient(model: nn.Module, pruning: ChannelPruning, name: str) -> bool:
    """Whether anything that writes a group has a gradient, as far as it is a plain parameter."""
    sites = pruning.anatomy.graph.groups[name].writes
    found = [parameter_along(model, site.axis) for site in sites]
    known = [parameter for parameter in found if parameter is not None]
    return not known or any(parameter.grad is not None for parameter in known)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Put back gradients, buffers, modes and the state of random numbers."""
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({each.device.index or 0 for each in model.parameters() if each.is_cuda})
    with modes_kept(model), torch.random.fork_rng(devices=devices):
        for parameter, _ in gradients:
            parameter.grad = None
        try:
            yield
        finally:
            for parameter, grad in gradients:
                parameter.grad = grad
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
