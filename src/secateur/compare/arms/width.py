"""width: the same family with every layer narrower, WRN-d-k (Crowley et al. 2018, Fig. 1, yellow)."""

from __future__ import annotations

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms.from_scratch import FromScratch
from secateur.compare.comparison import Comparison


class Width(FromScratch):
    """The control that needs no pruning: a narrower network."""

    name = "width"
    meaning = "a narrower network, from scratch"
    place = 40
    default_for_size = 40
    default_for_nonzeros = 50

    def check(self, question: Comparison, budget: Budget) -> None:
        self.known(question, budget)

    def known(self, question: Comparison, budget: Budget) -> Architecture:
        return question.narrowed(budget)
