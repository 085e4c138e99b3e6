"""Runs that train a network from scratch, take a trained one as it is given, or tune one that was pruned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.architecture.file import WEIGHTS_FILE
from secateur.architecture.saved import load_model
from secateur.device import Runtime
from secateur.runs.identity import file_hash
from secateur.runs.run import Run, Start
from secateur.runs.store import RunStore
from secateur.training.checkpoint import Checkpoint
from secateur.training.loop import Training


@dataclass(frozen=True, kw_only=True, eq=False)
class Train(Run):
    """Trains a network from scratch by its recipe (Crowley et al. 2018, section 3)."""

    kind = "train"

    def identity(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.identity(),
            "recipe": self.recipe.identity(self.data),
            "data": self.data.fingerprint,
        }

    def compute(self, world: int = 1) -> float:
        return self.epoch_compute(world) * self.recipe.epochs

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        trained = self.architecture.comes_trained
        return Start(
            self.initialised(), self.recipe, epochs=self.recipe.epochs, checkpoint=own, comes_trained=trained
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Given(Run):
    """Takes a network that comes trained, and measures it.

    Attributes:
        weights: the folder that its weights lie in; None: those that its factory gives it.
    """

    kind = "given"
    weights: Path | None = None

    def identity(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.identity(),
            "data": self.data.fingerprint,
            "given": file_hash(self.weights / WEIGHTS_FILE) if self.weights else "by its factory",
        }

    def compute(self, world: int = 1) -> float:
        return 0.0

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        if self.weights is not None:
            model = load_model(self.weights, like=self.architecture)
        else:
            model = self.initialised()
        return Start(model, self.recipe, epochs=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tune(Run):
    """Trains on what another run left, whatever its shape is then.

    Attributes:
        recipe: of the tuning, which takes its epochs.
        after: the run whose network it goes on from.
    """

    kind = "tune"
    after: Run

    @property
    def first(self) -> Run:
        return self.after

    def taught_by(self) -> Run | None:
        return self.after.taught_by() if self.recipe.distills else None

    def identity(self) -> dict[str, Any]:
        return {
            "after": {"kind": self.after.kind, **self.after.spec.identity},
            "recipe": self.recipe.identity(self.data),
            "data": self.data.fingerprint,
        }

    def compute(self, world: int = 1) -> float:
        """As of the whole network: what is left of it is not known beforehand."""
        return self.epoch_compute(world) * self.recipe.epochs

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        return Start(
            self.trained(store), self.recipe, epochs=self.recipe.epochs, checkpoint=own, comes_trained=True
        )

    def before_finish(self, training: Training, session: Any) -> dict[str, Any]:
        """Take over what the other run says of the network."""
        record = session.store.record(self.after.run_id)
        assert record is not None
        kept = ("removed", "limits", "latency", "latency_ns", "granularity")
        return {"trained": record.run_id, **{name: getattr(record, name) for name in kept}}
