"""`sc.prune`: any model, any iterable of (inputs, targets), one call."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.architecture.building import Build
from secateur.architecture.opening import inspect_model
from secateur.budget import Wanted
from secateur.errors import InputError, TrainingError, unknown
from secateur.methods import CHANNEL_METHODS, ChannelPruning
from secateur.models import Family
from secateur.network.inputs import Inputs, call, modes_kept, on_device
from secateur.network.task import Loss, Task
from secateur.progress import reporter_for
from secateur.surgery.anatomy import known_anatomy

Batch = tuple[Inputs, Any]


def prune(
    model: nn.Module,
    *,
    method: str | ChannelPruning = "fisher",
    budget: Wanted | None = None,
    data: Iterable[Batch],
    factory: Build | None = None,
    every: int = 10,
    tune_epochs: int = 0,
    optimizer: Optimizer | None = None,
    lr: float = 1e-3,
    task: str | Task | None = None,
    loss: Loss | None = None,
    metric: Any = None,
    val: Iterable[Batch] | None = None,
    progress: bool | None = None,
    **settings: Any,
) -> nn.Module:
    """Prune a trained model to a budget while it goes on training on `data`; the model itself shrinks.

    Every cut of a model that is not of a built-in family is proved before training and at the end
    (`secateur.surgery.proof`).

    Args:
        model: any `nn.Module`; its class stays what it is.
        method: a name (fisher, taylor, filter-norm, batch-norm-scale, snip-channels, random-channels), or a
            method object, whose settings then hold.
        budget: e.g. "macs=40%", "params=500k,macs=40M", "latency=2ms@onnxruntime"; all met, none exceeded.
        data: an iterable of (inputs, targets), gone through again and again: a DataLoader, a list. Inputs
            are a tensor, a tuple, or a dictionary of keyword arguments.
        factory: builds a fresh network of the same shape; needed only to train pruned shapes from scratch
            and to write the factory's name into `architecture.json`.
        every: training steps before each removal.
        tune_epochs: passes over `data` after the budget is met.
        optimizer: of the model's parameters; by default SGD with momentum 0.9 at rate `lr`.
        task: "classification" (cross-entropy, the default), "multilabel" (binary cross-entropy of every
            label) or "regression" (mean squared error); what its loss would silently get wrong is refused.
        loss: of (output, targets), the mean over the batch, in place of the task's.
        metric: with `val`: (function, "max" or "min") or a name, in place of the task's.
        val: batches that the metric is measured on before and after, and said.
        progress: show progress; by default on a terminal.
        settings: of the method: beta, granularity, at_once, ...

    Returns:
        `model`, pruned, in evaluation mode. `sc.save(model, directory)` writes it.

    Raises:
        InputError: for a budget out of reach, data that hold nothing, a model in which nothing can be cut:
            before anything is trained.
        TrainingError: where the loss is not finite any more, or the final proof fails.

    Example:
        >>> model = sc.prune(model, method="fisher", budget="macs=40%", data=loader)  # doctest: +SKIP
    """
    pruning = _method(method, budget, every, settings)
    aim = _task(task, loss, metric)
    first = _first(data)
    if not isinstance(model, Family) and known_anatomy(model) is None:
        inspect_model(model, first[0], factory=factory)
    _check_parameters(model, optimizer)
    _check_first(model, first, aim)
    model = pruning.prepare(model)
    if optimizer is None:
        optimizer = torch.optim.SGD(pruning.parameter_groups(model, 0.0), lr=lr, momentum=0.9)
    step = _Step(pruning, optimizer, aim)
    shown = sys.stderr.isatty() if progress is None else progress
    with reporter_for(sys.stderr, silent=not shown) as reporter:
        wanted = pruning.goal.wanted
        goal = f"{pruning.removals} channels fewer" if wanted is None else str(wanted)
        reporter.begin(f"prune to {goal}", 1)
        reporter.run_started(pruning.name, 1)
        model.train()
        try:
            model = pruning.advance(model, optimizer)
            for inputs, targets in _endless(data):
                if pruning.finished:
                    break
                model = step(model, inputs, targets)
                reporter.step(done=pruning.completion, loss=step.loss_value, **pruning.progress())
        except BaseException:  # Ctrl-C among them: what was cut so far stays, as a plain model
            pruning.unwatch()
            raise
        model = pruning.finalize(model)
    for _ in range(tune_epochs):
        for batch in data:
            step.tune(model, *_pair(batch))
    return model.eval()


@contextmanager
def _uninterrupted() -> Iterator[None]:
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


class _Step:
    """One step of training under a method."""

    def __init__(self, method: ChannelPruning, optimizer: Optimizer, task: Task):
        self.method, self.optimizer, self.task = method, optimizer, task
        self.loss_value = 0.0

    def __call__(self, model: nn.Module, inputs: Inputs, targets: Any) -> nn.Module:
        self.tune(model, inputs, targets, self.method.penalty(model))
        with _uninterrupted():
            return self.method.after_step(model, self.optimizer)

    def tune(self, model: nn.Module, inputs: Inputs, targets: Any, penalty: Tensor | None = None) -> None:
        """A step of plain training."""
        output = call(model, on_device(inputs, model))
        self.task.check_targets(targets, output)
        value = self.task.loss(output, on_device(targets, model))
        self.loss_value = float(value.detach())
        if not torch.isfinite(value.detach()):
            raise TrainingError("the loss is not finite any more: lower the rate (lr=...)")
        (value if penalty is None else value + penalty).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _method(
    method: str | ChannelPruning, budget: Wanted | None, every: int, settings: dict[str, Any]
) -> ChannelPruning:
    if isinstance(method, ChannelPruning):
        if budget is not None or settings:
            raise InputError("a method object has its own budget and settings: give them to it, not to prune")
        return method
    if not isinstance(method, str) or method not in CHANNEL_METHODS:
        raise unknown("channel pruning method", str(method), CHANNEL_METHODS)
    try:
        return CHANNEL_METHODS[method](budget, every=every, **settings)
    except TypeError as error:
        raise InputError(f"{method} does not take these settings: {error}") from None


def _first(data: Iterable[Batch]) -> Batch:
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
        return _pair(batch)
    raise InputError("data hold no batch: pass an iterable of (inputs, targets)")


def _pair(batch: Any) -> Batch:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{len(batch)} items" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise InputError(
            f"data yield pairs (inputs, targets), got {got}: wrap several inputs in a tuple or a dictionary"
        )
    return batch[0], batch[1]


def _endless(data: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        some = False
        for batch in data:
            some = True
            yield _pair(batch)
        if not some:
            raise InputError("data held batches once, then none: pass a list or a DataLoader")


def _check_parameters(model: nn.Module, optimizer: Optimizer | None) -> None:
    """InputError where an optimizer steps other parameters than the model's: it would not shrink along."""
    if optimizer is None:
        return
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise InputError(
            "the optimizer holds none of the model's parameters: build it from model.parameters()"
        )


def _task(task: str | Task | None, loss: Loss | None, metric: Any) -> Task:
    """What the network is for; a loss alone is enough here, as nothing has to be judged."""
    if loss is not None and metric is None and task is None:
        task = "classification"
    return Task.of(task, loss, metric)


@torch.no_grad()
def _check_first(model: nn.Module, first: Batch, task: Task) -> None:
    """Refuse, before anything is trained, targets that the loss would silently get wrong."""
    inputs, targets = first
    with modes_kept(model):
        output = call(model.eval(), on_device(inputs, model))
    task.check(on_device(targets, model), output)
