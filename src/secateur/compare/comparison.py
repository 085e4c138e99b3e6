"""The question of a comparison: one network, its data, budgets in units, and what is to be compared.

`secateur.compare.run` asks and answers it; the arms (`secateur.compare.arms`) say what is trained for it.
"""

from __future__ import annotations

from collections.abc import Callable

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget, Limits
from secateur.compare.settings import Settings
from secateur.errors import InputError
from secateur.runs.prune_channels import Target, removable
from secateur.runs.run import epoch_compute
from secateur.training.batches import AnyData
from secateur.training.recipe import Recipe

COPYCAT_SHARE = 500 / 1344
"""Crowley et al. take the profile after 500 of WRN-40-2's 1344 channels; other networks: the same share."""


class Comparison:
    """One network within budgets, and how the ways to it are compared.

    Args:
        settings: with the arms that are compared.
        prunes: whether channels are removed one by one at every budget.

    Attributes:
        name: of the network, for people.
        units: a budget's text -> its limit in units of the resource.
        budgets: the largest first.
        copycat_after: removals after which the profile is taken.
        bounds: what must stay of the network in every arm; None where nothing has to.

    Raises:
        InputError: where a budget does not bind, or two are the same.
    """

    def __init__(self, architecture: Architecture, data: AnyData, settings: Settings, *, prunes: bool):
        self.architecture, self.data, self.settings, self.prunes = architecture, data, settings, prunes
        self.name = architecture.display_name
        skeleton = architecture.skeleton()
        self.units = {budget.text: budget.limit_for(skeleton) for budget in settings.budgets}
        if len(set(self.units.values())) < len(settings.budgets):
            raise InputError(f"every budget must be another one, got {', '.join(map(str, settings.budgets))}")
        self.budgets = sorted(settings.budgets, key=lambda budget: -self.units[budget.text])
        default = max(1, round(COPYCAT_SHARE * sum(architecture.widths)))
        if settings.prune.constraints:
            default = max(1, min(default, removable(architecture, settings.prune.constraints)))
        self.copycat_after = default if settings.copycat_after is None else settings.copycat_after
        self._solved: dict[tuple[str, str], Architecture] = {}
        self.bounds = architecture.bounds(settings.prune.constraints, streams=True)

    @property
    def recipe(self) -> Recipe:
        """How the network itself is trained; smaller ones by `Settings.recipe_of`."""
        return self.settings.recipe_of(self.architecture)

    @property
    def tuned(self) -> str | None:
        """Say how the network is tuned, and what others are trained by, where it comes with weights."""
        if self.settings.tuning is None or not self.architecture.comes_trained:
            return None
        tuning, anew = self.recipe, self.settings.recipe
        return (
            f"{self.name} comes with weights, so it is tuned ({tuning.in_words(tuning.epochs)}); networks "
            f"from scratch are trained ({anew.in_words(anew.epochs)})"
        )

    def limits(self, budget: Budget) -> Limits:
        """Give the budget in units of its resource."""
        return Limits.at({budget.resource: self.units[budget.text]})

    def target(self, budget: Budget) -> Target:
        """Say where pruning stops for the budget."""
        return Target(self.limits(budget))

    def solved(self, how: str, budget: Budget, solve: Callable[[Limits], Architecture]) -> Architecture:
        """Solve once for the architecture that a budget allows; `how` names the way."""
        if (how, budget.text) not in self._solved:
            self._solved[how, budget.text] = solve(self.limits(budget))
        return self._solved[how, budget.text]

    def evenly(self, budget: Budget) -> Architecture:
        """Guess what pruning leaves: channels taken evenly from all groups."""
        return self.solved("evenly", budget, lambda limits: self.architecture.scaled_to(limits, self.bounds))

    def narrowed(self, budget: Budget) -> Architecture:
        """Every layer narrower."""
        return self.solved("width", budget, lambda limits: self.architecture.narrowed_to(limits, self.bounds))

    def bottlenecked(self, budget: Budget) -> Architecture:
        """Narrower inside the blocks, as wide as before between them."""
        return self.solved(
            "bottleneck", budget, lambda limits: self.architecture.bottlenecked_to(limits, self.bounds)
        )

    def epoch_compute(self, architecture: Architecture, world: int = 1) -> int:
        """Training MACs of one epoch of the recipe."""
        recipe = self.settings.recipe
        teacher = self.architecture if recipe.distills else None
        return epoch_compute(architecture, self.data, recipe, world, teacher)

    @property
    def teacher_macs(self) -> int:
        """MACs of a forward pass of the network that the others learn from, for one example; 0: none does."""
        return self.architecture.macs if self.settings.recipe.distills else 0

    def epochs_for(self, architecture: Architecture, spent: float, world: int = 1) -> int:
        """Say how long a network trains from scratch, given what fisher-tuned spent at its budget."""
        if self.settings.match == "epochs":
            return self.settings.recipe_of(architecture).epochs
        return max(1, int(spent // self.epoch_compute(architecture, world)))
