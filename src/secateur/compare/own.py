"""A comparison on your own loaders: the network for them, and all that is tried before anything trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import built, factory_name
from secateur.architecture.foreign import EXAMPLES, ForeignOrigin
from secateur.architecture.opening import open_factory
from secateur.architecture.resolve import check_model_name, network_on
from secateur.architecture.saved import rehearse
from secateur.data import Data, epoch_batches
from secateur.errors import InputError, kind_and_line
from secateur.network.described import describe_inputs
from secateur.network.inputs import (
    Inputs,
    batch_of,
    call,
    logits_of,
    map_inputs,
    on_device,
    read_as,
    take_first,
)
from secateur.network.modes import in_evaluation
from secateur.network.task import Task
from secateur.training.batches import AnyData
from secateur.training.loaders import Batch, Loaders
from secateur.training.optimizers import build
from secateur.training.recipe import Recipe

Model = str | nn.Module | Architecture | Callable[[], nn.Module]


def recipe_for(recipe: Recipe, loaders: Loaders) -> Recipe:
    """Take the batch size from the loaders; InputError for settings that only our own images have."""
    for name in ("augment", "jitter", "pad", "flip"):
        if getattr(recipe, name) != getattr(Recipe, name):
            raise InputError(
                f"own loaders augment by themselves, got {name}={getattr(recipe, name)}: leave it out"
            )
    return replace(recipe, batch_size=max(2, loaders.batch_size))


def try_optimizer(factory: Any) -> None:
    """Make an optimizer of a parameter that nobody needs; InputError where that fails."""
    if not callable(factory):
        raise InputError(
            f"optimizer= makes an optimizer, anew for every network, got {type(factory).__name__}: write "
            "optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3)"
        )
    groups = [{"params": [nn.Parameter(torch.zeros(2, 2))], "weight_decay": None}]
    try:
        build(Recipe().with_own_optimizer(), groups, factory)
    except InputError:
        raise
    except Exception as error:  # the user's code
        raise InputError(
            f"optimizer= failed with {kind_and_line(error)}: write for example "
            "optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-3)"
        ) from error


def network_for(model: Model, loaders: Loaders, task: Task) -> Architecture:
    """Open the network that is to be compared, on a real batch.

    Args:
        model: what builds it (a function, a class), the name of that, or a network whose factory is known.

    Raises:
        InputError: where it cannot be built anew, does not take the batch, or has nothing to cut.
    """
    inputs = loaders.example[0]
    if isinstance(model, str):
        return _named(model, take_first(inputs, EXAMPLES), loaders, task)
    if isinstance(model, (nn.Module, Architecture)):
        known = Architecture.of(model) if isinstance(model, nn.Module) else model
        theirs = known.origin.anatomy if isinstance(known.origin, ForeignOrigin) else None
        wanted = describe_inputs(theirs.as_examples(inputs) if theirs else inputs)
        if known.origin.inputs != wanted:
            raise InputError(f"the model takes {known.origin.inputs}, train has {wanted}: build it for these")
        return known
    if not callable(model):
        raise InputError(
            f"a model is a function that builds one, a name, or a network, got {type(model).__name__}"
        )
    with torch.random.fork_rng(devices=[]):
        origin = open_factory(
            model,
            inputs,
            name=factory_name(model),
            arguments={},
            pretrained=model if _comes_with_weights(model) else None,
        )
    return Architecture.whole(origin)


def _named(name: str, inputs: Inputs, loaders: Loaders, task: Task) -> Architecture:
    """A network by its name: built for so many classes as the training labels number."""
    check_model_name(name)
    if task.name != "classification" or not isinstance(inputs, Tensor) or inputs.dim() != 4:
        raise InputError(
            f"a network by its name, '{name}', classifies images (N, C, H, W): pass a function that builds "
            "yours"
        )
    look = _NumberOfClasses()
    loaders.count(look)
    return network_on(name, inputs, look.found)


class _NumberOfClasses:
    """Finds how many classes the labels number."""

    found = 2

    def __call__(self, batch: Batch) -> None:
        targets = batch[1]
        if isinstance(targets, Tensor) and targets.numel() and not targets.is_floating_point():
            self.found = max(self.found, int(targets.max()) + 1)


def _comes_with_weights(build: Callable[[], nn.Module]) -> bool:
    """Whether a factory gives trained weights: some that are no constant are the same in two networks."""
    found: list[dict[str, Tensor]] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made = built(build, factory_name(build))
        found.append({name: value.detach() for name, value in made.named_parameters() if value.requires_grad})
    one, other = found
    return any(
        value.numel() > 1 and bool((value != value.flatten()[0]).any()) and torch.equal(value, other[name])
        for name, value in one.items()
        if name in other
    )


def examine(architecture: Architecture, data: AnyData, task: Task) -> list[str]:
    """Try everything on a batch, and look at every target of loaders, before anything is trained.

    Returns:
        What a user should know, a line each.

    Raises:
        InputError: where the loss would silently get something wrong; where loss, metric or network fail.
    """
    rehearse(architecture.origin)
    model = architecture.build(seed=0)
    if isinstance(data, Data):
        _try(model, first_examples(data), task)
        return []
    output = _try(model, data.example, task)
    data.num_classes = architecture.classes or 0
    if isinstance(architecture.origin, ForeignOrigin):
        data.known = architecture.origin.anatomy.inputs
    notes = data.count(_TargetsChecked(task, data.example, output, data.known))
    _check_smallest(model, data)
    return notes


def first_examples(data: Data) -> Batch:
    """The first training images with their labels, normalised."""
    return next(epoch_batches(data.train, data, batch_size=EXAMPLES, device="cpu"))


def _try(model: nn.Module, batch: Batch, task: Task) -> Any:
    """Compute output, loss and metric of a batch as in evaluation; the output."""
    inputs, targets = batch[0], map_inputs(batch[1], Tensor.cpu)
    try:
        output = call(in_evaluation(model), on_device(inputs, model))
    except InputError:
        raise
    except Exception as error:  # the user's code
        raise InputError(f"the model does not take a batch of the data ({kind_and_line(error)})") from error
    task.check(targets, output)
    task.try_loss(output, targets)
    with torch.no_grad():
        try:
            task.metric(map_inputs(output, Tensor.detach), targets)
        except InputError:
            raise
        except Exception as error:  # the user's code
            raise InputError(
                f"the metric {task.metric.name} failed on the first batch with {kind_and_line(error)}"
            ) from error
    return output


class _TargetsChecked:
    """Shows every batch's targets to the task, with what the network gave for the first batch."""

    def __init__(self, task: Task, example: Batch, output: Any, known: Inputs):
        self.task, self.example, self.output, self.known = task, example, output, known

    def __call__(self, batch: Batch) -> None:
        inputs, targets = batch
        if self.task.name == "custom" or not isinstance(targets, Tensor):
            return
        shape = logits_of(self.output).shape
        if len(shape) > 2 and targets.shape[1:] != self.example[1].shape[1:]:
            return  # maps of another size, whose scores nobody has seen
        self.task.check_targets(
            targets, torch.empty(batch_of(read_as(inputs, self.known)), *shape[1:], device="meta")
        )


def _check_smallest(model: nn.Module, loaders: Loaders) -> None:
    """InputError where batch normalisation would get one example alone, which it refuses in training."""
    counted = loaders.train.counted
    assert counted is not None
    if counted.smallest < 2 and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise InputError(
            "a batch of train has 1 example, of which batch normalisation has no statistics: pass "
            "drop_last=True, or another batch size"
        )
