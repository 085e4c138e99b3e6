"""copycat: the profile after some removals, every width times alpha (Crowley et al. 2018, Fig. 1, pink)."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms.from_scratch import FromScratch
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.runs.graph import Made, Node
from secateur.runs.prune_channels import Target


class Copycat(FromScratch):
    """One profile serves all budgets: B(N_i, alpha N_mj, N_o), section 3.2."""

    name = "copycat"
    meaning = "the pruned profile, rescaled, from scratch"
    place = 30
    default_for_size = 30
    removes = True

    def check(self, question: Comparison, budget: Budget) -> None:
        settings = question.settings.prune
        if not question.prunes:  # it too ends at one channel a group
            question.target(budget).check(question.architecture, settings)
        Target(removals=question.copycat_after).check(question.architecture, settings)

    def stands_on(self, replicate: Replicate, budget: Budget) -> Sequence[Node]:
        return (replicate.profile(),)

    def found(self, replicate: Replicate, budget: Budget, made: Made) -> Architecture:
        question = replicate.question
        return replicate.profile_architecture(made).scaled_to(question.limits(budget), question.bounds)

    def discovery_compute(self, replicate: Replicate, budget: Budget, made: Made) -> int:
        record = made.record(replicate.profile())
        return replicate.found_after(record, replicate.question.copycat_after, made)
