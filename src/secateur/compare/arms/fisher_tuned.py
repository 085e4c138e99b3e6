"""fisher-tuned: train, Fisher-prune channels while fine-tuning (Crowley et al. 2018, Fig. 1, red)."""

from __future__ import annotations

from secateur.budget import Budget
from secateur.compare.arms.base import Arm, PlanRow
from secateur.compare.replicate import Replicate
from secateur.records.point import Point
from secateur.runs.graph import Made, Node
from secateur.runs.points import point_of


class FisherTuned(Arm):
    """The pruned network itself, with the weights that it has."""

    name = "fisher-tuned"
    meaning = "trained, then Fisher-pruned while fine-tuning"
    place = 10
    default_for_size = 10
    prunes = removes = True

    def node(self, replicate: Replicate, budget: Budget) -> Node:
        return replicate.pruned_to(budget)

    def row(self, replicate: Replicate, budget: Budget) -> PlanRow:
        question = replicate.question
        limit, likely = question.units[budget.text], question.evenly(budget)
        compute = replicate.pruned_to(budget).compute
        return PlanRow(self.name, budget.text, limit, None, limit, likely.macs, None, compute)

    def point(self, replicate: Replicate, budget: Budget, made: Made) -> Point:
        record = made.record(self.node(replicate, budget))
        return point_of(record, self.name, budget.text, before=made.record(replicate.dense()))
