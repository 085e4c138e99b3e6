"""Runs that remove channels while a trained network is tuned: Fisher pruning and its siblings.

All runs along one trajectory, whatever their targets, share their steps: a run goes on from the state of the
one that stopped nearest before its own target.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget, Limits
from secateur.device import Runtime
from secateur.errors import InputError, unknown
from secateur.methods import CHANNEL_METHODS, ChannelPruning, RandomChannels
from secateur.methods.channel_limits import Config
from secateur.methods.registry import package_of
from secateur.names import SelectingSplit
from secateur.records.record import Removal
from secateur.records.shown import changed
from secateur.runs.identity import identity_hash
from secateur.runs.run import Run, Start
from secateur.runs.settings import ChannelFields
from secateur.runs.stop import Stop
from secateur.runs.store import GOES_ON, RunStore
from secateur.runs.train import Given, Train
from secateur.surgery.constraints import NO_CONSTRAINTS, Bounds, Constraints
from secateur.training.checkpoint import Checkpoint
from secateur.training.loop import Training
from secateur.training.recipe import SELECTING_SPLITS


def removable(architecture: Architecture, constraints: Constraints = NO_CONSTRAINTS) -> int:
    """How many channels can go with one left in every group, and with what must stay."""
    bounds = architecture.bounds(constraints, streams=False) or Bounds()
    return sum(
        width - bounds.least(name)
        for name, width in zip(architecture.group_names(), architecture.widths, strict=True)
    )


def check_removals(
    architecture: Architecture, removals: int, constraints: Constraints = NO_CONSTRAINTS
) -> None:
    """InputError unless so many channels can go with one left in every group, and with what must stay."""
    most = removable(architecture, constraints)
    if not 0 < removals <= most:
        raise InputError(
            f"of {sum(architecture.widths)} channels in {len(architecture.widths)} groups, 1 to "
            f"{most} can be removed{f' ({constraints})' if constraints else ''}, got {removals}"
        )


@dataclass(frozen=True)
class PruneSettings(ChannelFields):
    """Removal of channels while fine-tuning, checked; `ChannelFields` says what the other settings are.

    Attributes:
        constraints: what must stay; every arm of a comparison keeps to it.
        measured_on: the split that the network is measured on before every removal ("val" or "test"), which
            stands in the record; None: it is not. It changes no number but those.
    """

    constraints: Constraints = NO_CONSTRAINTS
    measured_on: SelectingSplit | None = None

    def __post_init__(self) -> None:
        if self.method not in CHANNEL_METHODS:
            raise unknown("channel pruning method", self.method, CHANNEL_METHODS)
        Config(self.every, self.beta, self.granularity, self.at_once)  # refuses what makes no sense
        if self.measured_on is not None and self.measured_on not in SELECTING_SPLITS:
            raise unknown("split to measure on", self.measured_on, SELECTING_SPLITS)
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise InputError(f"the rate of fine-tuning must be above 0, got {self.lr}")

    def __repr__(self) -> str:
        return changed(self, type(self))

    @property
    def config(self) -> Config:
        """What every criterion is given."""
        return Config(self.every, self.beta, self.granularity, self.at_once)

    def build(self, target: Target, seed: int = 0, bounds: Bounds | None = None) -> ChannelPruning:
        """The method that stops at `target`.

        Args:
            bounds: what the constraints come to, where the whole network is not the one to be cut.
        """
        settings: dict[str, Any] = asdict(self.config) | {"constraints": bounds or self.constraints}
        if self.method == RandomChannels.name:
            settings["seed"] = seed
        if target.removals is not None:
            return CHANNEL_METHODS[self.method](removals=target.removals, **settings)
        return CHANNEL_METHODS[self.method](target.limits, **settings)

    def identity(self) -> dict[str, Any]:
        """What changes a result."""
        measured = {} if self.measured_on is None else {"measured_on": self.measured_on}
        own = {**self.config.identity(), **self.constraints.identity(), **measured}
        return {"name": self.method, **own, **package_of(CHANNEL_METHODS[self.method])}


@dataclass(frozen=True)
class Target:
    """Where a pruning run stops: within limits of resources, or after so many removals.

    Attributes:
        limits: a latency among them is measured in the run; a percentage is of the network before pruning.
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
            check_removals(architecture, self.removals, settings.constraints)
            return
        model = architecture.build(seed=0) if self.latency else architecture.skeleton()
        settings.build(self).prepare(model)

    def identity(self) -> dict[str, Any]:
        """What goes into the run's hash."""
        return {"removals": self.removals} if self.limits is None else dict(self.limits.identity())

    def lies_beyond(self, stop: Stop) -> bool:
        """Whether a trajectory that stopped there has not passed this target yet."""
        if self.limits is None:
            return stop.removed <= (self.removals or 0)
        return any(stop.costs.get(resource, 0) > limit for resource, limit in self.limits.counted)

    def continued(self, checkpoint: Checkpoint) -> Checkpoint:
        """The state of another run along the trajectory, with limits of its own, as one on the way here."""
        method = {**checkpoint.state["method"], "limits": dict(self.limits or {})}
        return replace(checkpoint, state={**checkpoint.state, "method": method})


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneChannels(Run):
    """Removes channels from a trained network until a target is reached (Crowley et al. 2018).

    Attributes:
        recipe: of the training before; tuning follows from it (`Recipe.for_tuning`).
        target: where it stops.
        about: training MACs, an estimate, for progress displays.
    """

    kind = "prune"
    goes_on = True
    settings: PruneSettings
    target: Target
    about: float = 0.0

    @cached_property
    def first(self) -> Train | Given:  # type: ignore[override]
        common: dict[str, Any] = {
            "architecture": self.architecture,
            "data": self.data,
            "recipe": self.recipe.undistilled(),
            "seed": self.seed,
            "terms": self.terms,
        }
        if self.settings.trained:
            given = f"{self.label}: as it was given"
            return Given(**common, weights=self.settings.weights, label=given)
        return Train(**common, label=f"{self.label}: training first")

    def taught_by(self) -> Run | None:
        """The network as it was before channels were removed."""
        return self.first if self.recipe.distills else None

    def _trajectory(self) -> dict[str, Any]:
        """What every run along one trajectory has in common.

        With ratios the target belongs to it: once the budget holds, only channels of their groups go, so that
        a run to a smaller budget does not pass there.
        """
        ends = {"target": self.target.identity()} if self.settings.constraints.ratio else {}
        return {
            "dense": self.first.spec.identity,
            "method": self.settings.identity(),
            "tuning": self.recipe.for_tuning(self.settings.lr).identity(self.data),
            **ends,
        }

    @cached_property
    def trajectory(self) -> str:
        """Name the trajectory, as records do."""
        return f"{identity_hash(self._trajectory())}-s{self.seed}"

    def identity(self) -> dict[str, Any]:
        return {**self._trajectory(), "target": self.target.identity()}

    def compute(self, world: int = 1) -> float:
        return self.about

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        target, checkpoint = self.target, own
        if not own and (nearest := self._nearest(store)) is not None:
            checkpoint = target.continued(nearest[1])
        if checkpoint:
            model = self.architecture.resumed(checkpoint.state["architecture"]).build(seed=0)
        else:
            model = self.trained(store)
        if checkpoint and target.limits is not None:  # a latency was a share of the network before pruning
            target = Target(target.limits.resumed(checkpoint.state["method"]["limits"]))
        bounds = self.architecture.bounds(self.settings.constraints, streams=False)
        method = self.settings.build(target, self.seed, bounds)
        recipe = self.recipe.for_tuning(self.settings.lr)
        comes_trained = self.settings.trained or self.architecture.comes_trained
        return Start(model, recipe, method, checkpoint=checkpoint, comes_trained=comes_trained)

    def _nearest(self, store: RunStore) -> tuple[str, Checkpoint] | None:
        """The state to begin at; a share of a latency is one of the unpruned network."""
        return None if self.target.latency else nearest_before(self, store)

    def goes_on_from(self, store: RunStore) -> str | None:
        nearest = self._nearest(store)
        return nearest and nearest[0]

    def begun(self, training: Training) -> None:
        """Have the network measured before every removal, where that is asked for."""
        name = self.settings.measured_on
        if name is not None:
            assert isinstance(training.method, ChannelPruning)
            split = self.data.test if name == "test" else self.data.val
            training.method.before_removal = lambda _: {f"{name}_accuracy": training.worth(split)}

    def before_finish(self, training: Training, session: Any) -> dict[str, Any]:
        method = training.method
        assert isinstance(method, ChannelPruning)
        return {
            "removed": tuple(Removal.from_json(entry) for entry in method.removed),
            "trajectory": self.trajectory,
            "trained": self.first.run_id,
            **(method.goal.describe() if self.target.latency else {}),
            **({"granularity": method.granularity} if method.liked else {}),
        }


def nearest_before(run: PruneChannels, store: RunStore) -> tuple[str, Checkpoint] | None:
    """Load the state of the same trajectory that lies nearest before the run's target: one serves all.

    One that is damaged is set aside, and the next before it taken.

    Returns:
        the run that has it, and the state, with that run's limits; None where there is none.
    """
    stops = [stop for stop in store.stops(run.trajectory) if run.target.lies_beyond(stop)]
    for stop in sorted(stops, key=lambda stop: (stop.removed, stop.run_id), reverse=True):
        path = store.checkpoint_path(stop.run_id)
        if stop.run_id in store.passed_over or not path.is_file():
            continue
        if (found := store.checkpoint(stop.run_id)) is not None:
            return stop.run_id, found
        store.set_aside(path, f"{run.label}: {path} cannot be read", GOES_ON)
    return None
