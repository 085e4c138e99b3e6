"""bottleneck: every width inside the blocks times z (Crowley et al. 2018, Fig. 1, green)."""

from __future__ import annotations

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.arms.from_scratch import FromScratch
from secateur.compare.comparison import Comparison


class Bottleneck(FromScratch):
    """Narrower inside, as wide as before between the blocks."""

    name = "bottleneck"
    meaning = "every middle width times z, from scratch"
    place = 50
    default_for_size = 50

    def suits(self, architecture: Architecture) -> bool:
        return architecture.has_blocks

    def check(self, question: Comparison, budget: Budget) -> None:
        self.known(question, budget)

    def known(self, question: Comparison, budget: Budget) -> Architecture:
        return question.bottlenecked(budget)
