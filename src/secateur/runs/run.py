"""A run, as a value: everything that decides what comes out of it, what it waits for, and how it is made.

Siblings say what their identity is and where they start: `train`, `prune_channels`, `sparsify`,
`gate_channels`. `Session.make` is the one place that makes any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.saved import load_model
from secateur.device import Runtime
from secateur.methods import Method
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.runs.identity import RunSpec
from secateur.runs.store import RunStore
from secateur.training.batches import AnyData, examples_per_epoch
from secateur.training.checkpoint import Checkpoint
from secateur.training.loop import Training
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed
from secateur.training.terms import Terms


def epoch_compute(
    architecture: Architecture,
    data: AnyData,
    recipe: Recipe,
    world: int = 1,
    teacher: Architecture | None = None,
) -> int:
    """Training MACs of one epoch, with the forward passes of a teacher, if there is one."""
    macs = TRAINING_MACS_PER_INFERENCE_MAC * architecture.macs + (teacher.macs if teacher else 0)
    return macs * examples_per_epoch(data, recipe, world)


@dataclass(frozen=True)
class Start:
    """Where a run begins, or goes on.

    Attributes:
        model: as it is at that moment.
        recipe: what it is trained with.
        method: what prunes it; None: nothing does.
        epochs: how many in all; None: until the method is finished.
        checkpoint: the state to take up; None: it begins.
        comes_trained: the model is worth something already: training that harms it is stopped.
    """

    model: nn.Module
    recipe: Recipe
    method: Method | None = None
    epochs: int | None = None
    checkpoint: Checkpoint | None = None
    comes_trained: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One run. Two are the same where their `run_id` is.

    Attributes:
        architecture: of the network that it begins with.
        data: what it is trained and measured on.
        recipe: of the training; siblings say of which.
        seed: the replicate.
        label: for people: "copycat params=25% seed 1".
        terms: the loss, the metric, and the user's own optimizer.
        teacher: the run whose network is learnt from, where the recipe says so.
    """

    kind: ClassVar[str]
    goes_on: ClassVar[bool] = False
    """Whether other runs go on from its last checkpoint, so that it is kept."""

    architecture: Architecture
    data: AnyData = field(repr=False)
    recipe: Recipe
    seed: int
    label: str = ""
    terms: Terms = field(default_factory=Terms)
    teacher: Run | None = field(default=None, repr=False)

    def identity(self) -> dict[str, Any]:
        """Everything that can change a number, but for the seed; JSON-able."""
        raise NotImplementedError

    @property
    def spec(self) -> RunSpec:
        """Kind, identity, seed and label."""
        return RunSpec(self.kind, self._whole_identity(), self.seed, self.label)

    def _whole_identity(self) -> dict[str, Any]:
        taught = self.taught_by()
        teacher = {"teacher": taught.run_id} if taught is not None else {}
        return {**self.identity(), **self.terms.identity(), **teacher}

    def taught_by(self) -> Run | None:
        """The run whose network is learnt from; None: none is."""
        return self.teacher if self.recipe.distills else None

    @cached_property
    def run_id(self) -> str:
        """E.g. `train-3fa9c1e2b7d0-s0`."""
        return self.spec.run_id

    @property
    def first(self) -> Run | None:
        """The run whose network it goes on from; None: it begins at initialisation."""
        return None

    def compute(self, world: int = 1) -> float:
        """About how many training MACs it takes by itself, in `world` processes together."""
        raise NotImplementedError

    def epoch_compute(self, world: int = 1) -> int:
        """Training MACs of one epoch of the recipe."""
        taught = self.taught_by()
        teacher = taught.architecture if taught is not None else None
        return epoch_compute(self.architecture, self.data, self.recipe, world, teacher)

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        """Say where to begin, or go on from `own`, its last checkpoint; `first` is finished by now."""
        raise NotImplementedError

    def goes_on_from(self, store: RunStore) -> str | None:
        """Name the run whose checkpoint `start` takes up where there is none of its own; None: no run's."""
        return None

    def begun(self, training: Training) -> None:
        """Look at the training where it starts, and attach what watches it."""

    def before_finish(self, training: Training, session: Any) -> dict[str, Any]:
        """Look at the trained network before the method hands over; entries for the record."""
        return {}

    def initialised(self) -> nn.Module:
        """Build the network as its seed has it."""
        return self.architecture.build(seed=derived_seed(self.seed, "initialisation"))

    def teaching(self, store: RunStore) -> nn.Module | None:
        """Load the network that is learnt from, if there is one; its run is finished by now."""
        taught = self.taught_by()
        if taught is None:
            return None
        return load_model(store.path(taught.run_id), like=taught.architecture)

    def trained(self, store: RunStore) -> nn.Module:
        """Load the network that `first` left."""
        assert self.first is not None
        return load_model(store.path(self.first.run_id), like=self.architecture)
