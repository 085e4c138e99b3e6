"""What `sc.prune` takes, for type checkers: a misspelt method or setting is found before anything runs.

A test holds these equal to the function's own arguments and to the methods' settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch.optim import Optimizer

from secateur.architecture.building import Build
from secateur.budget import Wanted
from secateur.names import Granularity, TaskName, TrackerName
from secateur.names import Optimizer as OptimizerName
from secateur.network.inputs import Inputs
from secateur.network.task import Loss, Task
from secateur.surgery.constraints import Floors, Patterns, Ratios
from secateur.training.optimizers import Factory


class Arguments(TypedDict, total=False):
    """What goes with every method."""

    data: Iterable[Any] | None
    example_inputs: Inputs | None
    factory: Build | None
    tune_epochs: int
    train: bool
    recalibrate: bool
    optimizer: Optimizer | OptimizerName | Factory | None
    lr: float | None
    task: TaskName | Task | None
    loss: Loss | None
    metric: Any
    val: Iterable[Any] | None
    progress: bool | None
    log_with: TrackerName | Sequence[TrackerName]
    log_to: str | Path


class OfNamed(Arguments, total=False):
    """What goes with every method that is named, rather than given with its settings."""

    budget: Wanted | None
    keep: Patterns
    at_least: Floors
    ratio: Ratios
    every: int
    beta: float
    granularity: Granularity
    at_once: int
    removals: int | None
    depth: bool


class OfTaylor(OfNamed, total=False):
    """What goes with taylor."""

    normalise: bool


class OfFilterNorm(OfNamed, total=False):
    """What goes with filter-norm."""

    p: Literal[1, 2]


class OfBatchNormScale(OfNamed, total=False):
    """What goes with batch-norm-scale."""

    strength: float


class OfRandomChannels(OfNamed, total=False):
    """What goes with random-channels."""

    seed: int
