"""Runs that set weights to zero until a budget of nonzeros is met exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from secateur.budget import Limits
from secateur.device import Runtime
from secateur.methods import METHODS, Method
from secateur.methods.registry import package_of
from secateur.network.task import Loss
from secateur.runs.run import Run, Start
from secateur.runs.store import RunStore
from secateur.runs.train import Train
from secateur.training.batches import steps_per_epoch
from secateur.training.checkpoint import Checkpoint
from secateur.training.loop import Training
from secateur.training.recipe import Recipe


@dataclass(frozen=True)
class MethodChoice:
    """Which method, with which settings: what can be written down for another process.

    Attributes:
        name: a key of `secateur.methods.METHODS`.
        settings: its keyword arguments, JSON-able, but for budget and steps.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def build(self, limits: Limits, steps: int, loss: Loss | None = None) -> Method:
        """Make the method, for so many optimizer steps where it has a schedule.

        Args:
            loss: what training is under, for methods that score by it; None: cross-entropy.
        """
        kind: Any = METHODS[self.name]
        given: dict[str, Any] = {"steps": max(1, steps)} if kind.takes_steps else {}
        if kind.takes_loss and loss is not None:
            given["loss"] = loss
        return kind(limits, **given, **self.settings)

    def identity(self, limits: Limits) -> dict[str, Any]:
        """What changes a result: its settings, and whose it is, where it is not ours."""
        return {**self.build(limits, 1).identity(), **package_of(METHODS[self.name])}


@dataclass(frozen=True, kw_only=True, eq=False)
class Sparsify(Run):
    """Makes a network with exactly so many nonzeros.

    Attributes:
        recipe: under the method.
        epochs: under the method; 0: it cuts the trained network and is done.
        training: the recipe of the training before the cut; None: the method begins at initialisation.
        method: what chooses the weights.
        limits: in nonzeros.
    """

    kind = "sparse"
    epochs: int
    method: MethodChoice
    limits: Limits
    training: Recipe | None = None

    @cached_property
    def first(self) -> Train | None:  # type: ignore[override]
        if self.training is None:
            return None
        label = f"{self.label}: training first"
        return Train(
            architecture=self.architecture,
            data=self.data,
            recipe=self.training.undistilled(),
            seed=self.seed,
            label=label,
            terms=self.terms,
        )

    def identity(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.identity(),
            "recipe": {**self.recipe.identity(self.data), "epochs": self.epochs},
            "data": self.data.fingerprint,
            "method": self.method.identity(self.limits),
            "target": self.limits.identity(),
            "dense": self.first.spec.identity if self.first else None,
        }

    def compute(self, world: int = 1) -> float:
        return self.epoch_compute(world) * self.epochs

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        steps = steps_per_epoch(self.data, self.recipe, runtime.world) * self.epochs
        model = self.trained(store) if self.first else self.initialised()
        loss = None if self.terms.task.is_default else self.terms.task.loss
        method = self.method.build(self.limits, steps, loss)
        return Start(model, self.recipe, method, self.epochs, own)

    def before_finish(self, training: Training, session: Any) -> dict[str, Any]:
        """What the network is worth before weights are set to zero: where the cut comes first, as trained;
        where it came in the middle, as it was measured there."""
        limits = self.limits.identity() if "bytes" in self.limits else None
        if self.first is not None:
            trained = session.store.record(self.first.run_id)
            assert trained is not None
            return {
                "trained": trained.run_id,
                "accuracy_before": trained.accuracy,
                "val_accuracy_before": trained.val_accuracy,
                "limits": limits,
            }
        if training.progress.cut:
            return {**training.progress.cut, "limits": limits}
        training.method.before_evaluation(training.model)
        return {
            "accuracy_before": session.accuracy(training, self.data.test),
            "val_accuracy_before": session.accuracy(training, self.data.val),
            "remaining": training.method.remaining(training.model),
            "limits": limits,
        }
