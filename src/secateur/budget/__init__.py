"""What "small" means: budgets, how they are written, and the counts that they limit."""

from secateur.budget.budget import Budget, Budgets
from secateur.budget.deployment import RUNTIMES, Deployment
from secateur.budget.hints import split
from secateur.budget.limits import Limits, Wanted, one_budget
from secateur.budget.resources import COMPARED, COUNTERS, MEASURED, TRAINABLE, check_compared

__all__ = [
    "COMPARED",
    "COUNTERS",
    "MEASURED",
    "RUNTIMES",
    "TRAINABLE",
    "Budget",
    "Budgets",
    "Deployment",
    "Limits",
    "Wanted",
    "check_compared",
    "one_budget",
    "split",
]
