"""What the figures of Crowley et al. 2018 have in common: one network, pruned once, and families of others.

In the paper one trajectory gives the architectures, and each is trained three times; so it is here. With
`each_prunes` every seed prunes a network of its own, as `secateur compare` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import check_model_name, resolve_model
from secateur.budget import Budget
from secateur.compare.arms import ARMS
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import OnTrajectory, Replicate
from secateur.compare.settings import Settings
from secateur.compare.wanted import ask
from secateur.errors import InputError, unknown
from secateur.names import Distilled, SelectingSplit
from secateur.papers.cells import FamilyRun, Pruned
from secateur.papers.crowley2018.base import CrowleyReproduction
from secateur.papers.crowley2018.scales import DATASET, NETWORK, SIZES, Scale
from secateur.records.record import Record
from secateur.runs.graph import Graph, Made, Node
from secateur.surgery.anatomy import anatomy_of
from secateur.training.recipe import DISTILLATIONS

TUNED, WIDTH, BOTTLENECK = "fisher-tuned", "width", "bottleneck"
SCRATCH, COPYCAT = "fisher-scratch", "copycat"
FAMILIES = (TUNED, WIDTH, BOTTLENECK, SCRATCH, COPYCAT)
"""The curves of Fig. 1: red, yellow, green, blue, pink."""


@dataclass(frozen=True)
class FamilyCell:
    """One point of a curve.

    Attributes:
        arm: of `FAMILIES`.
        size: the paper's, "500K".
        distill: what it learns from the unpruned network besides; None: nothing, as in the paper.
        beta: the FLOP penalty that its architecture was found with.
    """

    arm: str
    size: str
    distill: Distilled | None = None
    beta: float = 0.0
    network: str = NETWORK
    dataset: str = DATASET


@dataclass(frozen=True)
class Asked:
    """What is asked of a place, as the command line has it; None: as the scale or the paper has it.

    Attributes:
        network, data: in place of the paper's.
        image_size: in place of the scale's.
        sizes: of the scale's, those that are made.
        distill: what every network from scratch learns from the unpruned one in a second run.
        red_on: the split that the red curve has its error on.
        each_prunes: every seed prunes a network of its own.
        betas: FLOP penalties; each has a trajectory of its own.
    """

    network: str | None = None
    data: str | None = None
    image_size: int | None = None
    sizes: tuple[str, ...] | None = None
    distill: Distilled | None = None
    red_on: SelectingSplit = "val"
    each_prunes: bool = False
    betas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.network is not None:
            check_model_name(self.network)
        if self.distill is not None and self.distill not in DISTILLATIONS:
            raise unknown("distillation", self.distill, DISTILLATIONS)
        if self.red_on not in ("val", "test"):
            raise unknown("split for --red-on", self.red_on, ("val", "test"))
        for beta in self.betas or ():
            if not 0 < beta < math.inf:
                raise InputError(f"FLOP penalties must be above 0, got {beta:g}: none is made besides anyway")
        for size in self.sizes or ():
            if size not in SIZES:
                raise unknown("size", size, SIZES)

    def sizes_at(self, scale: Scale) -> tuple[str, ...]:
        """Those that are made, the smallest first."""
        return tuple(sorted(set(self.sizes or scale.sizes), key=SIZES.index))


class FamilyReproduction(CrowleyReproduction):
    """One of the figures at one scale, in one folder.

    Args:
        scale: a key of `SCALES`.
        asked: what else the command says.
        seeds, common: as of `CrowleyReproduction`.

    Raises:
        InputError: where one of them makes no sense.
    """

    arms: ClassVar[tuple[str, ...]] = FAMILIES

    def __init__(
        self,
        out: str | Path,
        scale: str = "laptop",
        asked: Asked | None = None,
        *,
        seeds: int | None = None,
        **common: Any,
    ):
        self.asked, self.given_seeds = asked or Asked(), seeds
        super().__init__(out, scale, (), seeds=seeds, **common)
        if self.asked.data is not None:
            self._scale = replace(self._scale, stand_in=None)
        self.left_out: dict[str, str] = {}
        self.cells = self.cells_at(self.asked.sizes_at(self.scale))
        self._questions: dict[tuple[Distilled | None, float], Comparison] = {}
        self._leaders: dict[tuple[float, int], Replicate] = {}
        self._replicates: dict[tuple[Distilled | None, float, int], Replicate] = {}

    def cells_at(self, sizes: Sequence[str]) -> list[FamilyCell]:
        """The points, in the order in which they are made: the trajectory, then size by size."""
        raise NotImplementedError

    @property
    def network(self) -> str:
        """The name of the network that is pruned at this scale."""
        return self.asked.network or self.scale.networks.get(NETWORK, NETWORK)

    @property
    def labels(self) -> dict[str, str]:
        """What cells say of network and data: the paper's names, unless others were asked for."""
        return {"network": self.asked.network or NETWORK, "dataset": self.asked.data or DATASET}

    def cell(self, arm: str, size: str, distill: Distilled | None = None, beta: float = 0.0) -> FamilyCell:
        """A point of a curve of what was asked for."""
        named = self.labels
        return FamilyCell(arm, size, distill, beta, network=named["network"], dataset=named["dataset"])

    def image_size(self, cell: FamilyCell) -> int | None:
        if self.asked.image_size is not None or self._scale.stand_in:
            return self.asked.image_size
        return self.scale.image_sizes.get(cell.dataset)

    def whole(self) -> Architecture:
        return resolve_model(self.network, self.data(self.cell("", "")))

    def architecture(self, cell: Any) -> Architecture:
        return self.question(None, 0.0).architecture

    def budget(self, size: str) -> Budget:
        """The budget at a size of the paper's."""
        return Budget.parse(self.scale.budget(size, self.network))

    def question(self, distill: Distilled | None, beta: float) -> Comparison:
        """Ask what `secateur compare` would be asked; its widths are solved for once."""
        if (distill, beta) not in self._questions:
            self._questions[distill, beta] = self._new(distill, beta)
        return self._questions[distill, beta]

    def _new(self, distill: Distilled | None, beta: float) -> Comparison:
        """Check what the network can do, and leave out what it cannot, with a word."""
        data = self.data(self.cell("", ""))
        architecture = self.whole()
        recipe = self.recipe if distill is None else replace(self.recipe, distill=distill)
        settings = Settings(
            tuple(self.budget(size) for size in self.asked.sizes_at(self.scale)),
            recipe=recipe,
            prune=replace(self.scale.pruning(self.recipe.epochs, self.asked.red_on), beta=beta),
            copycat_after=self.scale.removals if self.asked.network is None else None,
        )
        settings = replace(settings, budgets=self._reachable(architecture, settings))
        names = [name for name in self.arms if self._suits(name, architecture, settings)]
        return ask(architecture, data, replace(settings, arms=tuple(names))).question

    def _reachable(self, architecture: Architecture, settings: Settings) -> tuple[Budget, ...]:
        """The budgets that pruning can meet; the sizes of the others are left out, with why."""
        data, tuned = self.data(self.cell("", "")), replace(settings, arms=(TUNED,))
        with suppress(InputError):
            ask(architecture, data, tuned)
            return settings.budgets
        found, last = [], None
        for size, budget in zip(self.asked.sizes_at(self.scale), settings.budgets, strict=True):
            try:
                ask(architecture, data, replace(tuned, budgets=(budget,)))
                found.append(budget)
            except InputError as error:
                self.left_out[size], last = str(error), error
        if last is not None and not found:
            raise last
        return tuple(found)

    def _suits(self, name: str, architecture: Architecture, settings: Settings) -> bool:
        """Whether an arm can be had of this network at every size; where not, why stands in `left_out`."""
        arm = ARMS[name]
        if not arm.suits(architecture):
            self.left_out[name] = f"it does not suit {self.network}"
            return False
        if arm.prunes or arm.removes:
            return True  # what cannot be pruned is an error: nothing of the figure is left
        try:
            wanted = ask(architecture, self.data(self.cell("", "")), replace(settings, arms=(name,)))
        except InputError as error:
            self.left_out[name] = str(error)
            return False
        if name == BOTTLENECK and _is_narrowed(wanted.question):
            self.left_out[name] = f"{self.network} has no blocks, so that these are its narrower networks"
            return False
        return True

    def nodes(self, cell: FamilyCell, graph: Graph, seed: int) -> list[Node]:
        """Add the cell's network, and all that it stands on."""
        question = self.question(cell.distill, cell.beta)
        if {cell.arm, cell.size} & set(self.left_out) or (
            cell.arm == TUNED and seed and not self.asked.each_prunes
        ):
            return []
        replicate = self._replicate(question, cell, graph, seed)
        return [ARMS[cell.arm].node(replicate, self.budget(cell.size))]

    def _leader(self, beta: float, graph: Graph, seed: int) -> Replicate:
        """The replicate whose network is pruned: the first seed's, unless each prunes its own."""
        pruned = seed if self.asked.each_prunes else 0
        if (beta, pruned) not in self._leaders:
            self._leaders[beta, pruned] = Replicate(self.question(None, beta), graph, pruned)
        return self._leaders[beta, pruned]

    def _replicate(self, question: Comparison, cell: FamilyCell, graph: Graph, seed: int) -> Replicate:
        key = (cell.distill, cell.beta, seed)
        if key not in self._replicates:
            leader = self._leader(cell.beta, graph, seed)
            own = cell.distill is None and leader.seed == seed
            penalty = f"beta {cell.beta:g}" if cell.beta else ""
            name = " ".join(filter(None, (cell.distill, penalty)))
            self._replicates[key] = leader if own else OnTrajectory(question, leader, seed, name)
        return self._replicates[key]

    def row(self, cell: FamilyCell, index: int, node: Node, made: Made, seed: int) -> FamilyRun:
        replicate = self._replicates[cell.distill, cell.beta, seed]
        budget = self.budget(cell.size)
        point = ARMS[cell.arm].point(replicate, budget, made)
        record = made.record(node)
        return FamilyRun(
            arm=cell.arm,
            network=cell.network,
            dataset=cell.dataset,
            size=cell.size,
            budget=budget.text,
            distill=cell.distill,
            beta=cell.beta,
            made_of=self.network,
            seed=seed,
            accuracy=record.accuracy,
            val_accuracy=record.val_accuracy,
            params=record.params,
            macs=record.macs,
            widths=record.widths,
            epochs=record.epochs,
            wall_s=record.wall_s,
            train_compute=record.train_compute,
            discovery_compute=point.discovery_compute,
            run_id=record.run_id,
        )

    def more(self, made: Made) -> dict[str, Any]:
        return {
            "precision": self.recipe.precision,
            "left_out": dict(self.left_out),
            "trajectories": tuple(self.trajectories(made)),
        }

    def trajectories(self, made: Made) -> list[Pruned]:
        """Every trajectory as far as it is finished: the network before each removal."""
        found = []
        for (beta, seed), leader in self._leaders.items():
            nodes = [leader.pruned_to(budget) for budget in leader.question.budgets]
            nodes += [leader.profile()] if COPYCAT in self.arms else []
            records = [made.record(node) for node in nodes if made.has(node)]
            if records:
                furthest = max(records, key=lambda record: len(record.removed or ()))
                found.append(pruned_of(furthest, beta, seed, leader.question, self.asked.red_on))
        return found


def _is_narrowed(question: Comparison) -> bool:
    """Whether bottlenecks are the narrower networks at every budget, as of a plain chain."""
    return all(
        question.bottlenecked(budget).identity() == question.narrowed(budget).identity()
        for budget in question.budgets
    )


def pruned_of(record: Record, beta: float, seed: int, question: Comparison, measured_on: str) -> Pruned:
    """A trajectory as `cells` have it."""
    architecture = question.architecture
    names = architecture.group_names()
    removed = record.removed or ()
    accuracies = [getattr(each, f"{measured_on}_accuracy") for each in removed]
    return Pruned(
        seed=seed,
        beta=beta,
        measured_on=measured_on,
        profile_after=question.copycat_after,
        groups=names,
        strided=strided(architecture),
        widths=tuple(architecture.widths),
        removed=tuple(names.index(each.group) for each in removed),
        params=tuple(each.params for each in removed),
        accuracies=tuple(accuracies),
        run_id=record.run_id,
    )


def strided(architecture: Architecture) -> tuple[int, ...]:
    """The groups that a layer with a stride writes, as indices: blocks 7 and 13 of WRN-40-2, less 1.

    Example:
        >>> from secateur.models import wide_resnet
        >>> strided(Architecture.of(wide_resnet(40, 2)))
        (6, 12)
    """
    model = architecture.skeleton()
    modules, graph = dict(model.named_modules()), anatomy_of(model).graph
    writes = {group.name: [modules.get(site.axis[0]) for site in group.writes] for group in graph}
    return tuple(
        index
        for index, name in enumerate(architecture.group_names())
        if any(_stride(layer) > 1 for layer in writes.get(name, ()))
    )


def _stride(layer: object) -> int:
    """The largest stride of a layer; 1 of one that has none."""
    found = getattr(layer, "stride", 1)
    return max(found) if isinstance(found, tuple) else int(found)
