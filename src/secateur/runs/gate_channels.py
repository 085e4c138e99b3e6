"""Runs that close gates on channels while the network trains: Dupont et al. 2021 on channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.budget import Limits
from secateur.device import Runtime
from secateur.methods import ChannelReparametrization
from secateur.methods.channel_reparametrization import Config
from secateur.runs.run import Run, Start
from secateur.runs.store import RunStore
from secateur.surgery.constraints import NO_CONSTRAINTS, Constraints
from secateur.training.batches import steps_per_epoch
from secateur.training.checkpoint import Checkpoint
from secateur.training.loop import Training
from secateur.training.recipe import Recipe


def check_gated(
    limits: Limits, architecture: Architecture, constraints: Constraints = NO_CONSTRAINTS
) -> None:
    """Raise InputError unless the channel reparametrization of `architecture` can reach the limits."""
    ChannelReparametrization(limits, steps=1, constraints=constraints).prepare(architecture.skeleton())


@dataclass(frozen=True, kw_only=True, eq=False)
class GateChannels(Run):
    """Trains under the channel reparametrization, down to the limits, in one training.

    Attributes:
        limits: in params, nonzeros or MACs.
        constraints: what must stay.
    """

    kind = "channels"
    limits: Limits
    constraints: Constraints = NO_CONSTRAINTS

    @cached_property
    def unbroken(self) -> Recipe:
        """The recipe without what would break the schedule off."""
        return self.recipe.unbroken()

    def method(self, steps: int = 1) -> ChannelReparametrization:
        """Make the method, for so many steps."""
        return ChannelReparametrization(self.limits, steps=steps, constraints=self.constraints)

    def identity(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture.identity(),
            "recipe": self.unbroken.identity(self.data),
            "data": self.data.fingerprint,
            "method": self.method().identity(),
            "target": self.limits.identity(),
        }

    def compute(self, world: int = 1) -> float:
        """As of the whole network until the cut; what is left then is not known beforehand."""
        return self.epoch_compute(world) * self.recipe.epochs

    def start(self, store: RunStore, runtime: Runtime, own: Checkpoint | None) -> Start:
        recipe = self.unbroken
        steps = steps_per_epoch(self.data, recipe, runtime.world) * recipe.epochs
        if own:
            model = self.architecture.resumed(own.state["architecture"]).build(seed=0)
        else:
            model = self.initialised()
        return Start(model, recipe, self.method(steps), recipe.epochs, own)

    def before_finish(self, training: Training, session: Any) -> dict[str, Any]:
        method = training.method
        assert isinstance(method, ChannelReparametrization)
        return {"left_out": method.left_out} if method.left_out else {}


CUT_AT = Config().cut_at
"""The share of the training after which the channels go."""
