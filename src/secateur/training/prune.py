"""`sc.prune`: any model, any iterable of (inputs, targets), one call."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import Build
from secateur.architecture.opening import open_for
from secateur.architecture.saved import rehearse
from secateur.budget import Wanted
from secateur.errors import InputError, TrainingError, unknown
from secateur.methods import CHANNEL_METHODS, ChannelPruning
from secateur.methods.own_criterion import OwnCriterion, Score
from secateur.names import Optimizer as OptimizerName
from secateur.names import TaskName, TrackerName
from secateur.network.inputs import Inputs, call, on_device, pair_of
from secateur.network.modes import in_evaluation, in_training
from secateur.network.plain import bare, handle_of
from secateur.network.task import Loss, Task
from secateur.progress import Reporter, Several, reporter_for
from secateur.records.measure import number
from secateur.surgery.constraints import Constraints, Floors, Patterns, Ratios
from secateur.tracking.services import check_services
from secateur.training.arguments import (
    Arguments,
    OfBatchNormScale,
    OfFilterNorm,
    OfNamed,
    OfRandomChannels,
    OfTaylor,
)
from secateur.training.evaluation import metrics_on
from secateur.training.finite import check_weights
from secateur.training.optimizers import Factory, build
from secateur.training.reached import check_reached
from secateur.training.recalibration import batch_norms, recalibrated
from secateur.training.recipe import GENTLE, Recipe
from secateur.training.shown import came_to, in_words, shown_in
from secateur.training.untrained import (
    Batch,
    check_first,
    check_trains,
    first_of,
    uninterrupted,
    without_training,
)

Network = TypeVar("Network", bound=nn.Module)


@overload
def prune(
    model: Network,
    *,
    method: Literal["fisher", "snip-channels"] | Score = "fisher",
    **settings: Unpack[OfNamed],
) -> Network: ...
@overload
def prune(model: Network, *, method: Literal["taylor"], **settings: Unpack[OfTaylor]) -> Network: ...
@overload
def prune(model: Network, *, method: Literal["filter-norm"], **settings: Unpack[OfFilterNorm]) -> Network: ...
@overload
def prune(
    model: Network, *, method: Literal["batch-norm-scale"], **settings: Unpack[OfBatchNormScale]
) -> Network: ...
@overload
def prune(
    model: Network, *, method: Literal["random-channels"], **settings: Unpack[OfRandomChannels]
) -> Network: ...
@overload
def prune(model: Network, *, method: ChannelPruning, **settings: Unpack[Arguments]) -> Network: ...
def prune(
    model: nn.Module,
    *,
    method: str | Score | ChannelPruning = "fisher",
    budget: Wanted | None = None,
    data: Iterable[Any] | None = None,
    example_inputs: Inputs | None = None,
    keep: Patterns = (),
    at_least: Floors = (),
    ratio: Ratios = (),
    factory: Build | None = None,
    every: int = 10,
    tune_epochs: int = 0,
    train: bool = True,
    recalibrate: bool = True,
    optimizer: Optimizer | OptimizerName | Factory | None = None,
    lr: float | None = None,
    task: TaskName | Task | None = None,
    loss: Loss | None = None,
    metric: Any = None,
    val: Iterable[Any] | None = None,
    progress: bool | None = None,
    log_with: TrackerName | Sequence[TrackerName] = (),
    log_to: str | Path = ".",
    **settings: Any,
) -> nn.Module:
    """Prune a trained model to a budget while it goes on training on `data`; the model itself shrinks.

    Every cut of a model that is not of a built-in family is proved before training and at the end
    (`secateur.surgery.proof`).

    Args:
        model: any `nn.Module`; its class stays what it is.
        method: a name (fisher, taylor, filter-norm, batch-norm-scale, snip-channels, random-channels); a
            criterion of your own, `score(activations, gradients)`, both (N, C, ...) -> (C,)
            (`secateur.methods.own_criterion`); or a method object, whose settings then hold.
        budget: e.g. "macs=40%", "params=500k,macs=40M", "latency=2ms@onnxruntime",
            "latency=2ms@file:device.json"; all met, none exceeded.
            MACs and latency are those of the first batch's shapes.
        data: an iterable of (inputs, targets), gone through again and again: a DataLoader, a list. Inputs
            are a tensor, a tuple, or a dictionary of keyword arguments. Or of dictionaries with `labels` in
            them, as the collators of `transformers` make them.
        example_inputs: a few inputs, in place of `data` where nothing is trained and no gradient is needed.
        keep: patterns of layers or groups that nothing is cut from, e.g. "stem.*" (docs/constraints.md).
        at_least: channels that are left at least: {"stage1": 16}.
        ratio: the share of the channels that goes, met exactly: {"layer4.*": 0.5}; with a budget or without.
        factory: builds a fresh network of the same shape; needed only to train pruned shapes from scratch
            and to write the factory's name into `architecture.json`.
        every: training steps before each removal.
        tune_epochs: passes over `data` after the budget is met.
        train: False: nothing is trained. Channels are scored once (where the method looks at gradients, on
            one pass over `data`), all that the budget asks for go at once, and the weights that stay are as
            they were.
        recalibrate: with train=False and `data`: compute the running statistics of batch norms anew on them,
            which is most of what such a cut costs (`sc.recalibrate`); False: they stay as they were.
        optimizer: "sgd" (momentum 0.9, the default), "adamw" or "muon" (docs/training.md); what makes one of
            parameter groups; or one of the model's parameters.
        lr: the rate of an optimizer that goes by a name; by default 1e-3 of sgd, 1e-4 of the others.
        task: "classification" (cross-entropy, the default), "multilabel" (binary cross-entropy of every
            label) or "regression" (mean squared error); what its loss would silently get wrong is refused.
        loss: of (output, targets), the mean over the batch, in place of the task's.
        metric: with `val`: (function, "max" or "min") or a name, in place of the task's.
        val: batches that the metric is measured on before and after, which is said on stderr.
        progress: show progress; by default on a terminal.
        log_with: "wandb", "tensorboard", "mlflow", or several: where the pruning is shown besides, step by
            step and with what it came to (docs/watching.md).
        log_to: the folder in which TensorBoard (`tensorboard/` in it) and W&B keep that.
        settings: of the method: beta, granularity, at_once, depth (residual blocks may go, too), ...

    Returns:
        `model`, pruned, in evaluation mode; of a compiled or `DataParallel` one that handle, which runs the
        pruned network from then on, of a `DistributedDataParallel` one the network inside.
        `sc.save(model, directory)` writes it.

    Raises:
        InputError: for a budget out of reach, data that hold nothing or that the model does not take, a model
            in which nothing can be cut: before anything is trained.
        TrainingError: where the loss or a weight is not finite any more, or the final proof fails.

    Example:
        >>> model = sc.prune(model, method="fisher", budget="macs=40%", data=loader)  # doctest: +SKIP
        >>> model = sc.prune(
        ...     model, method="filter-norm", budget="macs=40%", example_inputs=images, train=False
        ... )  # doctest: +SKIP
    """
    services = check_services(log_with)
    pruning = _method(method, budget, every, Constraints.parse(keep, at_least, ratio), settings)
    aim = _task(task, loss, metric, val)
    handle, model = model, bare(model)
    judged = _Judged(model, aim, val, progress)
    _say(pruning.goal.words, progress)
    asked = {"every": every, "tune_epochs": tune_epochs, "train": train}
    show = partial(shown_in, services, log_to, pruning, asked, lambda line: _say([line], progress))
    if not train:
        if tune_epochs or optimizer is not None:
            raise InputError("train=False trains nothing, got tune_epochs or an optimizer: leave them out")
        model = without_training(model, pruning, aim, data, example_inputs, factory)
        _say(pruning.found, progress)
        if recalibrate and pruning.removed:
            _say(_recalibrate(model, data), progress)
        model = judged.again(model)
        with closing(show()) as elsewhere:
            elsewhere.finish(came_to(pruning, judged.found))
        return in_evaluation(handle_of(handle, model))
    if data is None or example_inputs is not None:
        raise InputError(
            "sc.prune trains the network on data= (inputs and targets), of which example_inputs are no part: "
            "pass a DataLoader, or train=False, which changes no weight"
        )
    first = first_of(data)
    open_for(model, first[0], factory=factory)
    _check_optimizer(model, optimizer, lr)
    check_first(model, first, aim)
    check_trains(model, first[0])
    rehearse(Architecture.of(model).origin)
    model = pruning.prepare(model)
    check_reached(model, first, aim, pruning)
    optimizer = _optimizer(model, pruning, optimizer, lr)
    with closing(show()) as elsewhere:
        step = _Step(pruning, optimizer, aim)
        model = _pruned(model, step, data, progress, elsewhere)
        for _ in range(tune_epochs):
            for batch in data:
                step.tune(model, *pair_of(batch))
        if tune_epochs:
            check_weights(model, "after tuning")
        model = judged.again(in_evaluation(model))
        elsewhere.finish(came_to(pruning, judged.found))
    return in_evaluation(handle_of(handle, model))


def _pruned(
    model: nn.Module, step: _Step, data: Iterable[Any], progress: bool | None, elsewhere: Reporter
) -> nn.Module:
    """Train until the goal is met, channels going meanwhile; the model, free of what watched it."""
    pruning, optimizer = step.method, step.optimizer
    shown = sys.stderr.isatty() if progress is None else progress
    with Several(reporter_for(sys.stderr, silent=not shown), elsewhere) as reporter:
        reporter.begin(f"prune to {in_words(pruning)}", 1)
        for line in (*pruning.bounds.words, *pruning.found):
            reporter.note(line)
        reporter.run_started(pruning.name, 1)
        in_training(model)
        try:
            model = pruning.advance(model, optimizer)
            for inputs, targets in _endless(data):
                if pruning.finished:
                    break
                model = step(model, inputs, targets)
                reporter.step(done=pruning.completion, loss=step.loss_value, **pruning.progress())
            check_weights(model, "after the last step")
        except BaseException:  # Ctrl-C among them: what was cut so far stays, as a plain model
            pruning.unwatch()
            raise
        return pruning.finalize(model)


def _recalibrate(model: nn.Module, data: Iterable[Any] | None) -> Iterator[str]:
    """Recalibrate the batch norms of a network that was cut without training; what can be said of it."""
    if not (norms := batch_norms(model)):
        return
    shown = ", ".join([*norms][:2]) + (", ..." if len(norms) > 2 else "")
    stale = f"running statistics ({shown}) are those of the network before it was cut"
    if data is None:
        yield f"{stale}: pass data= in place of example_inputs=, or call sc.recalibrate(model, batches)"
        return
    try:
        yield f"{recalibrated(model, data)} (recalibrate=False leaves them as they were)"
    except InputError as error:  # nobody asked for it
        yield f"{stale}: {error}"


def _say(lines: Iterable[str], progress: bool | None) -> None:
    """Lines that a user should read, on stderr."""
    with reporter_for(sys.stderr, silent=progress is False) as reporter:
        for line in lines:
            reporter.note(line)


class _Judged:
    """Measures a model before and after on the batches that the user gave for it, and says both."""

    def __init__(self, model: nn.Module, task: Task, val: Iterable[Any] | None, progress: bool | None):
        self.task, self.val, self.progress = task, val, progress
        self.before = self._measured(model)
        self.found: dict[str, float] = {}

    def again(self, model: nn.Module) -> nn.Module:
        """Measure it as it is now; the model."""
        after = self._measured(model)
        if self.before and after:
            self.found = {
                f"val_{name.replace(' ', '_')}{when}": value
                for when, each in (("_before", self.before), ("", after))
                for name, value in each.items()
            }
            _say([f"on val: {self._said(self.before)} before, {self._said(after)} after"], self.progress)
        return model

    def _measured(self, model: nn.Module) -> dict[str, float] | None:
        metrics = (self.task.metric, *self.task.also)
        return None if self.val is None else metrics_on(model, self.val, metrics, self.task)

    def _said(self, found: dict[str, float]) -> str:
        first, *others = found.items()
        return ", ".join([self.task.metric.shown(first[1]), *(f"{name} {number(v)}" for name, v in others)])


class _Step:
    """One step of training under a method."""

    def __init__(self, method: ChannelPruning, optimizer: Optimizer, task: Task):
        self.method, self.optimizer, self.task = method, optimizer, task
        self.loss_value = 0.0

    def __call__(self, model: nn.Module, inputs: Inputs, targets: Any) -> nn.Module:
        self.tune(model, inputs, targets, self.method.penalty(model))
        with uninterrupted():
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
    method: str | Score | ChannelPruning,
    budget: Wanted | None,
    every: int,
    constraints: Constraints,
    settings: dict[str, Any],
) -> ChannelPruning:
    if isinstance(method, ChannelPruning):
        if budget is not None or settings or constraints:
            raise InputError(
                "a method object has its own budget, settings and constraints: give them to it, not to prune"
            )
        return method
    own = callable(method) and not isinstance(method, type)
    if not own and (not isinstance(method, str) or method not in CHANNEL_METHODS):
        raise unknown("channel pruning method", str(method), CHANNEL_METHODS)
    make = partial(OwnCriterion, method) if own else CHANNEL_METHODS[method]  # type: ignore[arg-type, index]
    try:
        return make(budget, every=every, constraints=constraints, **settings)
    except TypeError as error:
        raise InputError(f"{method} does not take these settings: {error}") from None


def _endless(data: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        some = False
        for batch in data:
            some = True
            yield pair_of(batch)
        if not some:
            raise InputError("data held batches once, then none: pass a list or a DataLoader")


def _check_optimizer(model: nn.Module, optimizer: Optimizer | str | Factory | None, lr: float | None) -> None:
    """Refuse an optimizer of other parameters than the model's: it would not shrink along; and two rates."""
    if isinstance(optimizer, Optimizer):
        own = {id(parameter) for parameter in model.parameters()}
        if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise InputError(
                "the optimizer holds none of the model's parameters: build it from model.parameters()"
            )
    elif isinstance(optimizer, str) and optimizer not in GENTLE:
        raise unknown("optimizer", optimizer, GENTLE)
    elif optimizer is not None and not callable(optimizer) and not isinstance(optimizer, str):
        raise InputError(
            f"optimizer is a name ({', '.join(GENTLE)}), a torch optimizer, or a function that makes one of "
            f"parameter groups; got {type(optimizer).__name__}"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError(
            "LBFGS evaluates the loss several times a step, by a closure that sc.prune has not: choose "
            "another optimizer, or call a method's hooks in a loop of your own (docs/own-loop.md)"
        )
    if isinstance(optimizer, torch.optim.SparseAdam) and not _sparse(model):
        raise InputError("SparseAdam steps sparse gradients only, and the model has none: choose Adam")
    if lr is not None and optimizer is not None and not isinstance(optimizer, str):
        raise InputError(f"an optimizer of yours has its own rate, got lr={lr:g} besides: leave lr out")


def _sparse(model: nn.Module) -> bool:
    """Whether all gradients of a model are sparse, as those of an embedding may be."""
    return all(getattr(module, "sparse", False) for module in model.modules() if module._parameters)


def _optimizer(
    model: nn.Module, pruning: ChannelPruning, optimizer: Optimizer | str | Factory | None, lr: float | None
) -> Optimizer:
    """What steps the prepared model; without weight decay, where it goes by a name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if callable(optimizer):
        groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "weight_decay": None}]
        return build(Recipe().with_own_optimizer(), groups, optimizer)
    name: Any = optimizer or "sgd"
    recipe = Recipe(optimizer=name, lr=GENTLE[name] if lr is None else lr)
    return build(recipe, pruning.parameter_groups(model, 0.0))


def _task(task: str | Task | None, loss: Loss | None, metric: Any, val: Iterable[Any] | None) -> Task:
    """What the network is for; a loss alone is enough where nothing has to be judged."""
    if val is None and metric is not None:
        raise InputError("metric= is measured on val=, batches of (inputs, targets): pass both, or none")
    if loss is not None and val is None and task is None:
        task = "classification"
    return Task.of(task, loss, metric)
