"""channel-reparametrization: one training with a gate on every channel, closed down to the budget."""

from __future__ import annotations

from secateur.budget import TRAINABLE, Budget
from secateur.compare.arms.base import Arm, PlanRow
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings
from secateur.errors import InputError
from secateur.records.point import Point
from secateur.runs.gate_channels import CUT_AT, GateChannels, check_gated
from secateur.runs.graph import Made, Node
from secateur.runs.points import point_of
from secateur.surgery.constraints import Constraints


class GatedChannels(Arm):
    """Dupont et al. 2021's gates on Crowley et al. 2018's channels."""

    name = "channel-reparametrization"
    meaning = "gates on whole channels, which are removed"
    place = 60
    default_for_size = 60
    limited_in = TRAINABLE

    def takes(self, constraints: Constraints) -> bool:
        return not constraints.ratio

    def check_settings(self, settings: Settings) -> None:
        settings.budgets[0].of_trainable(f"the arm {self.name}")
        settings.prune.constraints.without_ratio(f"the arm {self.name}")

    def check(self, question: Comparison, budget: Budget) -> None:
        check_gated(question.limits(budget), question.architecture, question.settings.prune.constraints)

    def node(self, replicate: Replicate, budget: Budget) -> Node:
        question = replicate.question
        run = GateChannels(
            architecture=question.architecture,
            data=question.data,
            recipe=question.recipe,
            seed=replicate.seed,
            label=replicate.label(self.name, budget),
            limits=question.limits(budget),
            constraints=question.settings.prune.constraints,
            terms=question.settings.terms,
            teacher=replicate.teacher(question.recipe),
        )
        compute = self.row(replicate, budget).compute
        return replicate.once(self.name, budget, lambda: replicate.graph.add(run, compute=compute))

    def row(self, replicate: Replicate, budget: Budget) -> PlanRow:
        """Whole until the cut, then about as large as the width arm's network."""
        question, world = replicate.question, replicate.graph.world
        whole, limit = question.architecture, question.units[budget.text]
        try:
            likely = question.narrowed(budget)
        except InputError:  # gates reach further down than a narrower network does
            likely = whole
        dense, small = (question.epoch_compute(network, world) for network in (whole, likely))
        epochs = question.recipe.epochs
        compute = round((dense * CUT_AT + small * (1 - CUT_AT)) * epochs)
        return PlanRow(self.name, budget.text, limit, None, limit, likely.macs, epochs, compute)

    def point(self, replicate: Replicate, budget: Budget, made: Made) -> Point:
        record = made.record(self.node(replicate, budget))
        return point_of(record, self.name, budget.text, epochs=replicate.question.recipe.epochs)
