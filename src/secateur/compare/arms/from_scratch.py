"""What the arms share that train a smaller network from scratch; siblings say which network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms.base import Arm, PlanRow
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.records.point import Point
from secateur.runs.graph import Made, Node
from secateur.runs.points import point_of
from secateur.runs.train import Train
from secateur.training.recipe import Recipe


class FromScratch(Arm):
    """Trains one architecture from scratch, at equal epochs or at equal training compute."""

    def known(self, question: Comparison, budget: Budget) -> Architecture | None:
        """The architecture, where it follows from the budget alone; None: pruning has to find it."""
        return None

    def found(self, replicate: Replicate, budget: Budget, made: Made) -> Architecture:
        """The architecture that pruning found."""
        raise NotImplementedError

    def stands_on(self, replicate: Replicate, budget: Budget) -> Sequence[Node]:
        """The runs that the architecture follows from."""
        return ()

    def discovery_compute(self, replicate: Replicate, budget: Budget, made: Made) -> int:
        """Training MACs that finding the architecture took."""
        return 0

    def node(self, replicate: Replicate, budget: Budget) -> Node:
        return replicate.once(self.name, budget, lambda: self._added(replicate, budget))

    def _added(self, replicate: Replicate, budget: Budget) -> Node:
        label = replicate.label(self.name, budget)
        known = self.known(replicate.question, budget)
        if known is not None and replicate.settings.match == "epochs":
            return replicate.graph.add(replicate.train(known, replicate.settings.recipe_of(known), label))
        after = [*self.stands_on(replicate, budget)]
        if replicate.settings.recipe.distills:
            after.append(replicate.dense())
        if replicate.settings.match == "compute":
            after.append(replicate.pruned_to(budget))
        compute = self.row(replicate, budget).compute

        def settle(made: Made) -> Train:
            architecture = known if known is not None else self.found(replicate, budget, made)
            return replicate.train(architecture, self._recipe(replicate, budget, architecture, made), label)

        return replicate.graph.add_later(label, settle, after, compute)

    def _recipe(self, replicate: Replicate, budget: Budget, architecture: Architecture, made: Made) -> Recipe:
        recipe = replicate.settings.recipe_of(architecture)
        if replicate.settings.match == "epochs":
            return recipe
        spent = replicate.spent_at(budget, made)
        epochs = replicate.question.epochs_for(architecture, spent, replicate.graph.world)
        return replace(recipe, epochs=epochs)

    def row(self, replicate: Replicate, budget: Budget) -> PlanRow:
        question, world = replicate.question, replicate.graph.world
        known = self.known(question, budget)
        likely = known or question.evenly(budget)
        matched = replicate.settings.match == "compute"
        spent = replicate.spent_about(budget) if matched else 0.0
        epochs = question.epochs_for(likely, spent, world)
        compute = question.epoch_compute(likely, world) * epochs
        limit = question.units[budget.text]
        params = likely.params if known else limit
        return PlanRow(self.name, budget.text, limit, known, params, likely.macs, epochs, compute)

    def point(self, replicate: Replicate, budget: Budget, made: Made) -> Point:
        record = made.record(self.node(replicate, budget))
        return point_of(
            record,
            self.name,
            budget.text,
            discovery_compute=self.discovery_compute(replicate, budget, made),
            epochs=record.identity["recipe"]["epochs"],
        )
