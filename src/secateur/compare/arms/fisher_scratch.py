"""fisher-scratch: the architecture that pruning found, from scratch (Crowley et al. 2018, Fig. 1, blue)."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms.from_scratch import FromScratch
from secateur.compare.replicate import Replicate
from secateur.runs.graph import Made, Node


class FisherScratch(FromScratch):
    """What is left of pruning is the shape: initialised anew and trained."""

    name = "fisher-scratch"
    meaning = "the pruned architecture, trained from scratch"
    place = 20
    default_for_size = 20
    prunes = removes = True

    def stands_on(self, replicate: Replicate, budget: Budget) -> Sequence[Node]:
        return (replicate.pruned_to(budget),)

    def found(self, replicate: Replicate, budget: Budget, made: Made) -> Architecture:
        record = made.record(replicate.pruned_to(budget))
        return replicate.question.architecture.left_as(record.architecture)

    def discovery_compute(self, replicate: Replicate, budget: Budget, made: Made) -> int:
        record = made.record(replicate.pruned_to(budget))
        return replicate.found_after(record, len(record.removed or ()), made)
