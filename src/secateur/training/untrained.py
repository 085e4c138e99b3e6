"""Pruning without training: channels are scored once, and all that the budget asks for go at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import Build
from secateur.architecture.opening import open_for
from secateur.architecture.saved import rehearse
from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.methods import ChannelPruning
from secateur.methods.gradients import GradientCriterion
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, call, on_device, pair_of
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.task import Task
from secateur.surgery.quiet import how_it_trains, quiet_training, without_chance

Batch = tuple[Inputs, Any]


def without_training(
    model: nn.Module,
    pruning: ChannelPruning,
    task: Task,
    data: Iterable[Any] | None,
    example_inputs: Inputs | None,
    factory: Build | None,
) -> nn.Module:
    """Score the channels once and cut them; no weight that stays is changed.

    Args:
        data: batches; needed where channels are scored by gradients.
        example_inputs: a batch of inputs, in place of data.

    Raises:
        InputError: before anything is cut, as `secateur.training.prune.prune` says.
    """
    if (data is None) == (example_inputs is None):
        raise InputError(
            "train=False takes example_inputs= (a batch of inputs), or data= where channels are scored by "
            f"gradients; got {'neither' if data is None else 'both'}"
        )
    if isinstance(pruning, GradientCriterion) and data is None:
        raise InputError(
            f"{pruning.name} scores channels by gradients: pass data=, batches of (inputs, targets), or "
            "choose method='filter-norm'"
        )
    first = (example_inputs, None) if data is None else first_of(data)
    open_for(model, first[0], factory=factory)
    rehearse(Architecture.of(model).origin)
    if isinstance(pruning, GradientCriterion):
        check_first(model, first, task)
        pruning.in_evaluation = True
    model = in_evaluation(pruning.prepare(model))
    try:
        if isinstance(pruning, GradientCriterion):
            look_at_gradients(model, task, data or ())
        with uninterrupted():
            model = pruning.cut(model)
    finally:
        pruning.unwatch()
    return in_evaluation(pruning.finalize(model))


def look_at_gradients(model: nn.Module, task: Task, data: Iterable[Any]) -> None:
    """One pass over the data, forward and backward; the gradients are thrown away."""
    for batch in data:
        inputs, targets = pair_of(batch)
        output = call(model, on_device(inputs, model))
        task.check_targets(targets, output)
        value = task.loss(output, on_device(targets, model))
        if not torch.isfinite(value.detach()):
            raise TrainingError("the loss of the model as it is given is not finite: look at its weights")
        value.backward()
        model.zero_grad(set_to_none=True)


def first_of(data: Iterable[Any]) -> Batch:
    """The first batch; InputError unless it is (inputs, targets) and the data can be gone through again."""
    if isinstance(data, Iterator):
        raise InputError("data are gone through several times: pass a list or a DataLoader, not an iterator")
    try:
        batches = iter(data)
    except TypeError:
        raise InputError(
            f"data are an iterable of (inputs, targets), a DataLoader for example; got {type(data).__name__}"
        ) from None
    for batch in batches:
        return pair_of(batch)
    raise InputError("data hold no batch: pass an iterable of (inputs, targets)")


@torch.enable_grad()
def check_first(model: nn.Module, first: Batch, task: Task) -> None:
    """Refuse, before anything is trained, targets that the loss would get wrong, and a loss that fails."""
    inputs, targets = first[0], on_device(first[1], model)
    with modes_kept(model):
        output = call(in_evaluation(model), on_device(inputs, model))
    task.check(targets, output)
    task.try_loss(output, targets)


def check_trains(model: nn.Module, inputs: Inputs) -> None:
    """Refuse, before anything is trained, inputs on which the model runs in evaluation alone."""
    failure = how_it_trains(model, on_device(inputs, model)).failure
    if failure is None:
        return
    try:  # two examples may be too few for it
        with torch.no_grad(), without_chance():
            call(quiet_training(copied(model)), on_device(inputs, model))
    except Exception as error:  # somebody's code
        raise InputError(
            f"{type(model).__name__} runs on the inputs in evaluation, but not in training: "
            f"{kind_and_line(error)}: pass the inputs that it trains on, or train=False"
        ) from None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until a cut is whole: a layer cut without its reader would be no network any more."""
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield  # not Python's to handle; and it interrupts the main thread only
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)  # to whoever would have had it
