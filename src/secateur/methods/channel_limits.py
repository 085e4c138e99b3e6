"""How far channels are removed: down to a budget, by a number, or to what constraints leave of each layer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from secateur.budget import MEASURED, Budgets, Limits, Wanted
from secateur.errors import InputError, require
from secateur.methods.base import Method
from secateur.methods.goal import Goal
from secateur.methods.granularity import Liked, check_asked, granule, liked
from secateur.names import AUTO, Granularity
from secateur.surgery.along import parameter_along
from secateur.surgery.anatomy import Anatomy, anatomy_of
from secateur.surgery.constraints import Bounds, Constraints
from secateur.surgery.graph import ChannelGraph


@dataclass(frozen=True)
class Config:
    """Settings of every method that removes channels step by step.

    Attributes:
        every: training steps per removal, at least 1 (Crowley et al.: 100).
        beta: the FLOP penalty per MAC in the score, at least 0 (Crowley et al.: 0).
        granularity: what is cut keeps a multiple of it in every layer, where it was as wide; 1: any number;
            "auto": the runtime of a latency budget is asked (`secateur.methods.granularity`).
        at_once: channels (granules) removed every time; 0: all that the budget asks for, at the first.
    """

    every: int = 100
    beta: float = 0.0
    granularity: Granularity = 1
    at_once: int = 1

    def __post_init__(self) -> None:
        checks = {
            "every must be at least 1 step": self.every >= 1,
            "beta must be at least 0": 0 <= self.beta < math.inf,
            'granularity must be at least 1, or "auto"': self.granularity == AUTO
            or (isinstance(self.granularity, int) and self.granularity >= 1),
            "at_once must be at least 0": self.at_once >= 0,
        }
        require(self, checks, "pruning channels: ")

    def identity(self) -> dict[str, Any]:
        """What changes a result; what came later is named only where it is used."""
        later = {"granularity": 1, "at_once": 1}
        values = {"every": self.every, "beta": self.beta}
        return values | {
            name: getattr(self, name) for name, off in later.items() if getattr(self, name) != off
        }


def untrained_groups(model: nn.Module, graph: ChannelGraph) -> list[str]:
    """Groups that a layer writes or reads which does not require gradients, where others do."""
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        return []
    found = []
    for group in graph:
        weights = [parameter_along(model, site.axis) for site in (*group.writes, *group.reads)]
        if any(weight is not None and not weight.requires_grad for weight in weights):
            found.append(group.name)
    return found


def next_removal(graph: ChannelGraph, name: str, granularity: int, least: int = 1) -> int:
    """How many channels go from a group next: down to a multiple, then granule by granule; 0: none can.

    Args:
        least: so many are left at least.
    """
    step, width = granule(graph, name, granularity), graph.width(name)
    gone = width % step or step
    return gone if width - gone >= max(step, least) else 0


def bounds_of(constraints: Constraints | Bounds | None, model: nn.Module, *, streams: bool = False) -> Bounds:
    """What must stay of a network as it is now; bounds are what they are.

    Args:
        streams: whether residual streams of the built-in families are cut, too.

    Raises:
        InputError: where a constraint names nothing in it.
    """
    if isinstance(constraints, Bounds):
        return constraints
    if not constraints:
        return Bounds()
    return constraints.on(anatomy_of(model, streams=streams).graph, model)


class ChannelLimits(Method):
    """Knows when enough channels are gone, and how many may go from a group.

    Attributes:
        config: see `Config`.
        goal: the limits, from `prepare` on, and whether they are met.
        bounds: what the constraints come to, from `prepare` on.
        removed: one entry per channel that is gone.
        liked: what the runtime was found to like, where it was asked.
    """

    def __init__(
        self,
        config: Config,
        budget: Wanted | None,
        removals: int | None,
        constraints: Constraints | Bounds | None,
    ):
        _check_goal(self.name, budget, removals, constraints)
        if removals is not None and removals < 1:
            raise InputError(f"{self.name}: removals must be at least 1 channel, got {removals}")
        wanted = Budgets.parse(budget) if budget is not None and not isinstance(budget, Limits) else budget
        self.goal = Goal(wanted)
        self.removals = removals
        self.constraints = constraints
        self.bounds = Bounds()
        self.config = config
        if config.granularity == AUTO:
            check_asked(self.name, wanted)
        self.liked: Liked | None = None
        self.removed: list[dict[str, Any]] = []
        self._anatomy: Anatomy | None = None
        self._resumed: tuple[dict[str, Any], dict[str, Tensor]] | None = None

    @property
    def anatomy(self) -> Anatomy:
        """Of the network handed to `prepare`."""
        assert self._anatomy is not None, "prepare comes first"
        return self._anatomy

    @property
    def granularity(self) -> int:
        """Layers keep channels in multiples of it; known from `prepare` on."""
        if isinstance(self.config.granularity, int):
            return self.config.granularity
        return 1 if self.liked is None else self.liked.granularity

    @property
    def found(self) -> list[str]:
        """What was found out in `prepare` that a user should know: a line, or none."""
        return [self.liked.said] if self.liked and self.liked.said else []

    @property
    def limit(self) -> int:
        """The limit of the one budget there is, in units, from `prepare` on."""
        return self.goal.limits.units

    @property
    def completion(self) -> float:
        if self.goal.wanted is None:
            due = self.removals or len(self.removed) + sum(self._shares_due().values())
            return min(1.0, len(self.removed) / max(1, due))
        return self.goal.completion(self.removed[0], self.anatomy) if self.removed else 0.0

    def _sparing_frozen(self, model: nn.Module, bounds: Bounds) -> Bounds:
        """Bounds that leave alone what does not require gradients, where other layers do; that is said."""
        found = set(untrained_groups(model, self.anatomy.graph)) - bounds.exact
        names = [name for name in self.anatomy.graph.groups if name in found]
        if isinstance(self.constraints, Bounds) or not names:
            return bounds
        widths = self.anatomy.graph.widths
        if said := [name for name in names if bounds.least(name) < widths[name]]:
            warnings.warn(
                f"{self.name} leaves channels alone: {', '.join(said[:8])}: layers that write or read them "
                "do not require gradients; to have them cut, call requires_grad_(True) on these layers first",
                stacklevel=4,
            )
        floors = {**bounds.floors, **{name: widths[name] for name in names}}
        text = ", ".join(filter(None, (bounds.text, f"frozen {' '.join(said[:8])}" if said else "")))
        return replace(bounds, floors=floors, widths=widths, text=text)

    def _ask_runtime(self, model: nn.Module) -> None:
        """Find the granularity, where it is to be found and is not known from a state."""
        latency = self.goal.limits.latency
        if self.config.granularity != AUTO or latency is None or latency.deployment is None:
            return
        known = None if self._resumed is None else self._resumed[0].get("granularity")
        if known is not None:
            self.liked = Liked(int(known), "")
            return
        units = self.goal.limits[MEASURED]
        self.liked = liked(model, self.anatomy, units, latency.deployment, self.bounds)

    def _kept_bounds(self) -> dict[str, Any]:
        """What must stay, in channels: shares of a network that is cut already are other numbers."""
        if not self.bounds:
            return {}
        return {"floors": dict(self.bounds.floors), "exact": sorted(self.bounds.exact)}

    def _is_met(self, model: nn.Module) -> bool:
        if self.removals is not None:
            return len(self.removed) >= self.removals
        return not any(self._shares_due().values()) and self._within_budget(model)

    def _within_budget(self, model: nn.Module) -> bool:
        return self.goal.wanted is None or self.goal.met(model, self.anatomy)

    def _next(self, name: str) -> int:
        """How many channels of a group go next; 0: none can."""
        return next_removal(self.anatomy.graph, name, self.granularity, self.bounds.least(name))

    def _shares_due(self) -> dict[str, int]:
        """Groups that have yet to lose channels to end where their ratio says, and how many."""
        width = self.anatomy.graph.width
        exact = (name for name in self.anatomy.graph.groups if name in self.bounds.exact)
        return {name: width(name) - self.bounds.least(name) for name in exact if self._next(name)}

    def _check_shares(self, ranked: Collection[str]) -> None:
        """InputError where a ratio is asked for of channels that this method does not cut."""
        if others := sorted(self.bounds.exact.difference(ranked)):
            raise InputError(
                f"{self.name} does not cut {others[0]}, so no ratio of it can go: leave it out of --ratio"
            )


def _check_goal(
    who: str, budget: Wanted | None, removals: int | None, constraints: Constraints | Bounds | None
) -> None:
    """InputError unless it is said where pruning stops: a budget, a number of removals, or ratios."""
    shares = constraints.exact if isinstance(constraints, Bounds) else constraints and constraints.ratio
    given = [budget is not None, removals is not None]
    if all(given) or not (any(given) or shares):
        raise InputError(f"{who}: give either a budget or a number of removals, or a ratio of channels")
