"""Making runs: each is made once, resumed where it was left, and never repeated.

A `Session` is bound to data, a folder of runs and a machine. It trains a network (`train`) or continues a
trained one under Fisher pruning (`prune`), and answers with the run's record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from secateur.architecture import Architecture, load_model, save_model
from secateur.architecture_file import WEIGHTS_FILE
from secateur.budget import TRAINING_MACS_PER_INFERENCE_MAC, Budget, Limits, count_weights
from secateur.data import Data, count_batches
from secateur.device import Runtime
from secateur.environment import describe_environment
from secateur.errors import InputError, TrainingError, unknown
from secateur.latency import artefact_bytes
from secateur.masks import count_nonzeros
from secateur.methods import (
    CHANNEL_METHODS,
    ChannelPruning,
    ChannelReparametrization,
    Fisher,
    Method,
    RandomChannels,
)
from secateur.methods.channels import Config, check_removals
from secateur.progress import Reporter
from secateur.runs import Checkpoint, RunSpec, RunStore, derived_seed, file_hash, identity_hash
from secateur.sparse import SparseArm, Sparsity
from secateur.surgery.anatomy import known_anatomy
from secateur.training import Recipe, Training, evaluate

Record = dict[str, Any]


@dataclass(frozen=True)
class PruneSettings:
    """Removal of channels while fine-tuning.

    Attributes:
        every: fine-tuning steps per removal.
        beta: the FLOP penalty.
        lr: the constant rate; None: the lowest that training reached.
        method: the criterion, a key of `secateur.methods.CHANNEL_METHODS`.
        granularity: layers keep channels in multiples of it, where the group is as wide.
        at_once: channels (granules) removed every time; 0: all at the first.
        trained: the network comes trained: it is pruned at once, without the recipe's epochs before.
        weights: the folder that its weights lie in; None: those that its factory gives it.
    """

    every: int = 100
    beta: float = 0.0
    lr: float | None = None
    method: str = Fisher.name
    granularity: int = 1
    at_once: int = 1
    trained: bool = False
    weights: Path | None = None

    def __post_init__(self) -> None:
        if self.method not in CHANNEL_METHODS:
            raise unknown("channel pruning method", self.method, CHANNEL_METHODS)
        self.config  # noqa: B018  # has the checks
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise InputError(f"the rate of fine-tuning must be above 0, got {self.lr}")

    @property
    def config(self) -> Config:
        """What every criterion is given."""
        return Config(self.every, self.beta, self.granularity, self.at_once)

    def build(self, target: Target, seed: int = 0) -> ChannelPruning:
        """The method that stops at `target`."""
        settings: dict[str, Any] = asdict(self.config)
        if self.method == RandomChannels.name:
            settings["seed"] = seed
        if target.removals is not None:
            return CHANNEL_METHODS[self.method](removals=target.removals, **settings)
        return CHANNEL_METHODS[self.method](target.limits, **settings)

    def identity(self) -> dict[str, Any]:
        """What changes a result."""
        return {"name": self.method, **self.config.identity()}


@dataclass(frozen=True)
class Target:
    """Where a pruning run stops: within limits of resources, or after so many removals.

    Attributes:
        limits: a latency among them is measured in the run; with a percentage, of the network before pruning.
        removals: in place of limits.
    """

    limits: Limits | None = None
    removals: int | None = None

    @property
    def latency(self) -> Budget | None:
        """The budget that is measured in the run, if there is one."""
        return self.limits.latency if self.limits is not None else None

    def check(self, architecture: Architecture, settings: PruneSettings) -> None:
        """InputError unless pruning `architecture` can reach it; latency needs the network to be built."""
        if self.removals is not None:
            check_removals(architecture, self.removals)
            return
        model = architecture.build(seed=0) if self.latency else architecture.skeleton()
        settings.build(self).prepare(model)

    def identity(self) -> dict[str, Any]:
        """What goes into the run's hash."""
        return {"removals": self.removals} if self.limits is None else dict(self.limits.identity())

    def lies_beyond(self, record: Record) -> bool:
        """Whether a trajectory that stopped at `record` has not passed this target yet."""
        if self.limits is None:
            return len(record["removed"]) <= (self.removals or 0)
        return any(record.get(resource, 0) > limit for resource, limit in self.limits.counted)

    def continued(self, checkpoint: Checkpoint) -> Checkpoint:
        """The state of a run along the same trajectory, to limits of its own, as one on the way here."""
        method = {**checkpoint.state["method"], "limits": dict(self.limits or {})}
        return replace(checkpoint, state={**checkpoint.state, "method": method})


def check_gated(limits: Limits, architecture: Architecture) -> None:
    """InputError unless the channel reparametrization of `architecture` can reach the limits."""
    ChannelReparametrization(limits, steps=1).prepare(architecture.skeleton())


class NotMadeError(LookupError):
    """A run is not finished, and the session was told to train nothing."""


class Session:
    """Makes runs in one folder, on one data set and one machine.

    With `only_finished` it gives the records of finished runs, and NotMadeError for all others.
    """

    def __init__(
        self,
        data: Data,
        store: RunStore,
        runtime: Runtime,
        reporter: Reporter,
        *,
        only_finished: bool = False,
    ):
        self.data, self.store, self.runtime, self.reporter = data, store, runtime, reporter
        self.only_finished = only_finished

    def _made(self, spec: RunSpec) -> Record | None:
        """The record of a finished run, else None; NotMadeError where nothing is to be trained."""
        record = self.store.record(spec.run_id)
        if record is None and self.only_finished:
            raise NotMadeError(spec.label)
        if record is None:
            self.store.claim(spec.run_id)
            record = self.store.record(spec.run_id)  # which another process may have made meanwhile
        return record

    def looking(self) -> Session:
        """The same, but it trains nothing and says nothing."""
        return Session(self.data, self.store, self.runtime, Reporter(), only_finished=True)

    @contextmanager
    def working(self, what: str, compute: float) -> Iterator[None]:
        """Hold the folder, and show progress through about `compute` training MACs."""
        with self.store.locked(self.runtime.is_main), self.reporter:
            self.reporter.begin(what, compute)
            yield

    def examples_per_epoch(self, recipe: Recipe) -> int:
        """Training examples that one epoch really sees: every process gets equally many of each batch."""
        whole, rest = divmod(len(self.data.train), recipe.batch_size)
        world = self.runtime.world
        seen = whole * (recipe.batch_size // world * world)
        batches = count_batches(len(self.data.train), recipe.batch_size, world)
        return seen + (rest // world * world if batches > whole else 0)

    def epoch_compute(self, architecture: Architecture, recipe: Recipe) -> int:
        """Training MACs of one epoch."""
        return TRAINING_MACS_PER_INFERENCE_MAC * architecture.macs * self.examples_per_epoch(recipe)

    def train_spec(self, architecture: Architecture, recipe: Recipe, seed: int, label: str) -> RunSpec:
        """The run that trains `architecture` from scratch."""
        identity = {
            "architecture": architecture.identity(),
            "recipe": recipe.identity(self.data),
            "data": self.data.fingerprint,
        }
        return RunSpec("train", identity, seed, label)

    def given_spec(self, architecture: Architecture, weights: Path | None, seed: int, label: str) -> RunSpec:
        """The run that takes a trained network as it is given, and measures it."""
        identity = {
            "architecture": architecture.identity(),
            "data": self.data.fingerprint,
            "given": file_hash(weights / WEIGHTS_FILE) if weights else "by its factory",
        }
        return RunSpec("given", identity, seed, label)

    def prune_spec(
        self, dense: RunSpec, recipe: Recipe, settings: PruneSettings, target: Target, label: str
    ) -> RunSpec:
        """The run that prunes the network of `dense` down to `target`."""
        return RunSpec(
            "prune",
            {**self._trajectory(dense, recipe, settings), "target": target.identity()},
            dense.seed,
            label,
        )

    def train(self, architecture: Architecture, recipe: Recipe, seed: int, label: str) -> Record:
        """Train from scratch, unless that was done; the record."""
        spec = self.train_spec(architecture, recipe, seed, label)
        if record := self._made(spec):
            return record
        self.reporter.run_started(label, self.epoch_compute(architecture, recipe) * recipe.epochs)
        model = architecture.build(seed=derived_seed(seed, "initialisation"))
        training = self._training(model, recipe, spec, epochs=recipe.epochs)
        self._continue(training, spec)
        return self._close(training, spec)

    def take(
        self, architecture: Architecture, recipe: Recipe, seed: int, weights: Path | None, label: str
    ) -> Record:
        """Measure a network that comes trained, unless that was done; the record."""
        spec = self.given_spec(architecture, weights, seed, label)
        if record := self._made(spec):
            return record
        self.reporter.run_started(label, 0)
        if weights is not None:
            model = load_model(weights, like=architecture)
        else:
            model = architecture.build(seed=derived_seed(seed, "initialisation"))
        return self._close(self._training(model, recipe, spec, epochs=0), spec)

    def prune(
        self,
        architecture: Architecture,
        recipe: Recipe,
        seed: int,
        settings: PruneSettings,
        target: Target,
        label: str,
        compute: float = 0.0,
    ) -> Record:
        """Train `architecture` and prune it to `target`, as far as that was not done; the record.

        `compute` (an estimate, in training MACs) is for the progress display only.
        """
        if settings.trained:
            dense = self.given_spec(architecture, settings.weights, seed, f"{label}: as it was given")
        else:
            dense = self.train_spec(architecture, recipe, seed, f"{label}: training first")
        spec = self.prune_spec(dense, recipe, settings, target, label)
        if record := self._made(spec):
            return record
        if settings.trained:
            trained = self.take(architecture, recipe, seed, settings.weights, dense.label)
        else:
            trained = self.train(architecture, recipe, seed, dense.label)
        self.reporter.run_started(label, compute)
        tuning = recipe.for_tuning(settings.lr)
        checkpoint = self.store.checkpoint(spec.run_id)
        if not checkpoint and not target.latency:  # a share of a latency is one of the unpruned network
            checkpoint = self._nearest_before(spec, target)
        if checkpoint:
            saved = checkpoint.state["architecture"]
            model = architecture.with_widths(saved["widths"]).build(seed=0)
        else:
            model = load_model(self.store.path(dense.run_id), like=architecture)
        if checkpoint and target.limits is not None:  # a latency was a share of the network before pruning
            target = Target(target.limits.resumed(checkpoint.state["method"]["limits"]))
        method = settings.build(target, seed)
        training = self._training(model, tuning, spec, method=method)
        if checkpoint:
            training.resume(checkpoint)
        self._fit(training, spec)
        return self._finish(
            training.finish(),
            spec,
            removed=method.removed,
            trajectory=self._trajectory_id(spec),
            trained=trained["run_id"],
            **(method.goal.describe() if target.latency else {}),
        )

    def sparsify(
        self,
        architecture: Architecture,
        recipe: Recipe,
        seed: int,
        arm: SparseArm,
        settings: Sparsity,
        limits: Limits,
        label: str,
    ) -> Record:
        """Make the network of `arm` with exactly so many nonzeros, unless that was done; the record."""
        dense_recipe, epochs, recipe = arm.recipes(recipe, settings)
        steps = count_batches(len(self.data.train), recipe.batch_size, self.runtime.world) * epochs
        method = arm.build(limits, max(1, steps), seed)
        dense = dense_recipe and self.train_spec(architecture, dense_recipe, seed, f"{label}: training first")
        identity = {
            "architecture": architecture.identity(),
            "recipe": {**recipe.identity(self.data), "epochs": epochs},
            "data": self.data.fingerprint,
            "method": method.identity(),
            "target": limits.identity(),
            "dense": dense.identity if dense else None,
        }
        spec = RunSpec("sparse", identity, seed, label)
        if record := self._made(spec):
            return record
        if dense and dense_recipe:
            trained: Record | None = self.train(architecture, dense_recipe, seed, dense.label)
            model: Any = load_model(self.store.path(dense.run_id), like=architecture)
        else:
            trained, model = None, architecture.build(seed=derived_seed(seed, "initialisation"))
        self.reporter.run_started(label, self.epoch_compute(architecture, recipe) * epochs)
        training = self._training(model, recipe, spec, epochs=epochs, method=method)
        self._continue(training, spec)
        uncut = _as_trained(trained) if trained else self._before_the_cut(training)
        return self._close(training, spec, **uncut)

    def gate_channels(
        self, architecture: Architecture, recipe: Recipe, seed: int, limits: Limits, label: str
    ) -> Record:
        """Train under the channel reparametrization down to `limits`, unless that was done; the record."""
        recipe = recipe.unbroken()
        steps = count_batches(len(self.data.train), recipe.batch_size, self.runtime.world) * recipe.epochs
        method = ChannelReparametrization(limits, steps=steps)
        identity = {
            "architecture": architecture.identity(),
            "recipe": recipe.identity(self.data),
            "data": self.data.fingerprint,
            "method": method.identity(),
            "target": limits.identity(),
        }
        spec = RunSpec("channels", identity, seed, label)
        if record := self._made(spec):
            return record
        self.reporter.run_started(label, self.epoch_compute(architecture, recipe) * recipe.epochs)
        checkpoint = self.store.checkpoint(spec.run_id)
        if checkpoint:
            model: Any = Architecture.from_identity(checkpoint.state["architecture"]).build(seed=0)
        else:
            model = architecture.build(seed=derived_seed(seed, "initialisation"))
        training = self._training(model, recipe, spec, epochs=recipe.epochs, method=method)
        self._continue(training, spec)
        return self._close(training, spec)

    def before(self, record: Record) -> Record | None:
        """The record of the training that a run went on from, if there was one."""
        return self.store.record(record["trained"]) if "trained" in record else None

    def _before_the_cut(self, training: Training) -> dict[str, Any]:
        """What the network is worth, and how much of it is in use, before weights are set to zero."""
        training.method.before_evaluation(training.model)
        return {
            "accuracy_before": evaluate(training.model, self.data.test, self.data, self.runtime),
            "val_accuracy_before": evaluate(training.model, self.data.val, self.data, self.runtime),
            "remaining": training.method.remaining(training.model),
        }

    def _continue(self, training: Training, spec: RunSpec) -> None:
        """Train to the end, from the run's own checkpoint where there is one."""
        if checkpoint := self.store.checkpoint(spec.run_id):
            training.resume(checkpoint)
        self._fit(training, spec)

    def _close(self, training: Training, spec: RunSpec, **more: Any) -> Record:
        """Have the method finish, record the run, and forget its checkpoint: nothing goes on from it."""
        record = self._finish(training.finish(), spec, **more)
        if self.runtime.is_main:
            self.store.drop_checkpoint(spec.run_id)
        return record

    def _training(
        self,
        model: Any,
        recipe: Recipe,
        spec: RunSpec,
        *,
        epochs: int | None = None,
        method: Method | None = None,
    ) -> Training:
        def save(checkpoint: Checkpoint) -> None:
            self.store.save_checkpoint(spec.run_id, checkpoint)

        return Training(
            model,
            self.data,
            recipe,
            seed=spec.seed,
            runtime=self.runtime,
            reporter=self.reporter,
            method=method,
            epochs=epochs,
            save=save,
        )

    def _fit(self, training: Training, spec: RunSpec) -> None:
        """Train to the end; an error says where what was finished lies."""
        try:
            training.fit()
        except TrainingError as error:
            raise TrainingError(f"{spec.label}: {error} ({self.store.path(spec.run_id)})") from None

    def _finish(self, training: Training, spec: RunSpec, **more: Any) -> Record:
        """Measure the finished network, write it, and declare the run finished."""
        progress = training.progress
        accuracy = evaluate(training.model, self.data.test, self.data, self.runtime)
        val_accuracy = evaluate(training.model, self.data.val, self.data, self.runtime)
        record = {
            "schema": 1,
            "run_id": spec.run_id,
            "label": spec.label,
            "seed": spec.seed,
            "identity": spec.identity,
            "architecture": Architecture.of(training.model).identity(),
            "params": training.params,
            "macs": training.macs,
            "weights": count_weights(training.model),
            "nonzeros": count_nonzeros(training.model),
            "bytes": artefact_bytes(training.model),
            "accuracy": accuracy,
            "val_accuracy": val_accuracy,
            "train_compute": progress.compute,
            "wall_s": progress.wall_s,
            "history": progress.history,
            **more,
            "environment": describe_environment(self.runtime),
        }
        if anatomy := known_anatomy(training.model):
            record["uncounted"] = anatomy.costs.uncounted
        if self.runtime.is_main:
            save_model(training.model, self.store.path(spec.run_id))
            self.store.save_record(spec.run_id, record)
        self.runtime.barrier()
        size = f"{training.params:,} parameters"
        if record["nonzeros"] < record["weights"]:
            size = f"{record['nonzeros']:,} of {record['weights']:,} weights"
        self.reporter.run_finished(f"{spec.label}: {accuracy:.1%} with {size} ({progress.wall_s:.0f} s)")
        return record

    def _trajectory(self, dense: RunSpec, recipe: Recipe, settings: PruneSettings) -> dict[str, Any]:
        """What every run along one pruning trajectory has in common."""
        return {
            "dense": dense.identity,
            "method": settings.identity(),
            "tuning": recipe.for_tuning(settings.lr).identity(self.data),
        }

    @staticmethod
    def _trajectory_id(spec: RunSpec) -> str:
        common = {key: value for key, value in spec.identity.items() if key != "target"}
        return f"{identity_hash(common)}-s{spec.seed}"

    def _nearest_before(self, spec: RunSpec, target: Target) -> Checkpoint | None:
        """The state of the same trajectory that lies nearest before the target: one serves all budgets."""
        found = []
        for run_id in self.store.ids():
            record = self.store.record(run_id) if run_id.startswith("prune-") else None
            if record and record["trajectory"] == self._trajectory_id(spec) and target.lies_beyond(record):
                found.append((len(record["removed"]), run_id))
        nearest = self.store.checkpoint(max(found)[1]) if found else None
        return nearest and target.continued(nearest)


def _as_trained(trained: Record) -> dict[str, Any]:
    """Before a cut that comes first of all, the network is the trained one, which was measured."""
    return {
        "trained": trained["run_id"],
        "accuracy_before": trained["accuracy"],
        "val_accuracy_before": trained["val_accuracy"],
    }
