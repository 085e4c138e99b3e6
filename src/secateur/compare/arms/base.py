"""What an arm is: one way to a network within a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.architecture.architecture import Architecture
from secateur.budget import COMPARED, Budget
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings
from secateur.records.point import Point
from secateur.runs.graph import Made, Node
from secateur.surgery.constraints import Constraints


@dataclass(frozen=True)
class PlanRow:
    """One network that will be trained, as far as it is known beforehand.

    Attributes:
        architecture: None where pruning has to find it first.
        params, macs: exact where the architecture is known, else the estimate that `exact` denies.
        epochs: None: until the budget is met.
        compute: training MACs of this run alone, for one seed.
        zeroes: weights are set to zero until the limit is met exactly; the network keeps its shape.
    """

    arm: str
    budget: str
    limit: int | None
    architecture: Architecture | None
    params: int
    macs: int
    epochs: int | None
    compute: float
    zeroes: bool = False

    @property
    def exact(self) -> bool:
        """Whether sizes and compute are exact; the pruned ones are estimates."""
        return self.architecture is not None


class Arm:
    """One way to a network within a budget. Siblings are found by `secateur.compare.arms`; none is listed.

    Attributes:
        name: as on the command line.
        meaning: in one line.
        place: among the others, in tables and plans; the smallest comes first. From 100 on they set weights
            to zero (`--help` tells them by that).
        default_for_size, default_for_nonzeros: its place among those that are compared where nobody names
            arms, for budgets in params and MACs and for those in nonzeros; None: it is not among them.
        prunes: it needs the network pruned to every budget, channel by channel.
        removes: it needs channels to be removed one by one, if only once.
        zeroes: it sets weights to zero.
        limited_in: resources that its budgets may be in; in others it is no default.
        package: who offers it, where it is another package (`secateur.methods.registry.offered`).
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    place: ClassVar[int]
    default_for_size: ClassVar[int | None] = None
    default_for_nonzeros: ClassVar[int | None] = None
    prunes: ClassVar[bool] = False
    removes: ClassVar[bool] = False
    zeroes: ClassVar[bool] = False
    limited_in: ClassVar[tuple[str, ...]] = COMPARED
    package: ClassVar[str | None] = None

    def suits(self, architecture: Architecture) -> bool:
        """Say whether it can be compared on this network at all."""
        return True

    def takes(self, constraints: Constraints) -> bool:
        """Say whether the arm can keep to what must stay; one that cannot is no default."""
        return True

    def check_settings(self, settings: Settings) -> None:
        """Raise InputError where the arm cannot be had with these settings."""

    def check(self, question: Comparison, budget: Budget) -> None:
        """Raise InputError where the arm cannot meet the budget: before anything is trained."""

    def node(self, replicate: Replicate, budget: Budget) -> Node:
        """Add its network at the budget to the graph, after all that it stands on."""
        raise NotImplementedError

    def row(self, replicate: Replicate, budget: Budget) -> PlanRow:
        """Say what will be trained."""
        raise NotImplementedError

    def point(self, replicate: Replicate, budget: Budget, made: Made) -> Point:
        """Read what came of it."""
        raise NotImplementedError
