"""The runs that a comparison wants: its arms' networks at every budget and seed, in one graph."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secateur.architecture.architecture import Architecture
from secateur.compare.arms import Arm, PlanRow, chosen
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings
from secateur.compare.teaching import check_teaching
from secateur.runs.graph import Graph
from secateur.training.batches import AnyData


def ask(architecture: Architecture, data: AnyData, settings: Settings) -> Wanted:
    """Check a comparison, and say which runs it wants.

    Raises:
        InputError: at once, before anything is trained or written, where a budget cannot be met by an arm.
    """
    arms = chosen(settings, architecture)
    settings = replace(settings, arms=tuple(arm.name for arm in arms))
    prunes = settings.match == "compute" or any(arm.prunes for arm in arms)
    question = Comparison(architecture, data, settings, prunes=prunes)
    check_teaching(architecture, architecture, question.recipe, settings.terms.task, data)
    for budget in question.budgets:
        if prunes:
            question.target(budget).check(architecture, settings.prune)
        for arm in arms:
            arm.check(question, budget)
    return Wanted(question, arms)


@dataclass(frozen=True)
class Wanted:
    """A checked comparison and its arms; `add_to` puts its runs into a graph."""

    question: Comparison
    arms: tuple[Arm, ...]

    @property
    def needs_dense(self) -> bool:
        """Whether the unpruned network is trained: to prune it, to say what zeros cost, or to teach."""
        teaches = self.question.settings.recipe.distills
        return self.question.prunes or teaches or any(arm.removes or arm.zeroes for arm in self.arms)

    def add_to(self, graph: Graph, seeds: range | None = None) -> list[Replicate]:
        """Add the runs of every seed, in the order in which one process makes them."""
        seeds = range(self.question.settings.seeds) if seeds is None else seeds
        return [self._added(Replicate(self.question, graph, seed)) for seed in seeds]

    def _added(self, replicate: Replicate) -> Replicate:
        if self.needs_dense:
            replicate.dense()
        if self.question.prunes:
            for budget in self.question.budgets:
                replicate.pruned_to(budget)
        for budget in self.question.budgets:
            for arm in self.arms:
                arm.node(replicate, budget)
        return replicate

    def plan(self, world: int = 1) -> list[PlanRow]:
        """Say what one seed will train, in order; nothing is trained."""
        (replicate,) = self.add_to(Graph(world), range(1))
        rows, shown = [], set()
        if self.needs_dense:
            dense, architecture = replicate.dense(), self.question.architecture
            shown.add(dense.name)
            epochs = self.question.recipe.epochs
            size = (architecture.params, architecture.macs)
            rows.append(PlanRow("dense", "", None, architecture, *size, epochs, dense.compute))
        for budget in self.question.budgets:
            for arm in self.arms:
                rows.append(arm.row(replicate, budget))
                shown.add(arm.node(replicate, budget).name)
        return rows + self._stood_on(replicate, shown)

    def _stood_on(self, replicate: Replicate, shown: set[str]) -> list[PlanRow]:
        """What is trained besides, because arms stand on it."""
        whole, rows = self.question.architecture, []
        for node in replicate.graph:
            if node.name not in shown and node.compute:
                name = node.name.removesuffix(f" seed {replicate.seed}").replace(
                    f" seed {replicate.seed}", ""
                )
                known = node.run is not None and node.run.kind == "train"
                epochs = node.run.recipe.epochs if node.run is not None and known else None
                size = (whole.params, whole.macs)
                rows.append(PlanRow(name, "", None, whole if known else None, *size, epochs, node.compute))
        return rows
