"""The arms that set weights to zero: how each is made from a network, a recipe and a budget.

    magnitude                  train, then cut the smallest weights
    magnitude-tuned            train, cut, train on with the zeros held
    magnitude-tuned-layerwise  the same, but every layer keeps the same share
    random-tuned               as magnitude-tuned, but any weights go
    random-tuned-layers        as random-tuned, with magnitude's share of every layer
    l1                         train under an L1 penalty, then cut
    reparametrization          Dupont et al. 2021 with the budget solved for: one training, then cut
    reparametrization-faithful Dupont et al. 2021 as written
    snip                       cut at initialisation by Lee et al. 2018's connection sensitivity, then train

All of them take the recipe's epochs in total: where tuning follows the cut, it has `tune_share` of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from secateur.budget import Limits
from secateur.errors import InputError
from secateur.methods import L1, SNIP, Magnitude, Method, Random, Reparametrization
from secateur.runs import derived_seed
from secateur.training import Recipe

Build = Callable[[Limits, int, int], Method]  # of what is left, steps and seed


@dataclass(frozen=True)
class Sparsity:
    """Settings of the arms that set weights to zero.

    Attributes:
        tune_share: share of the epochs that follows the cut in the arms that tune, in (0, 1).
        tune_epochs: in place of the share: so many epochs *besides* the recipe's, as Dupont et al. 2021 do,
            who train for 300 epochs and tune for up to 300 more.
        l1_strength: factor of the L1 norm.
        reparametrization: settings of `Reparametrization`, both modes: its `Config`, `compiled`.
    """

    tune_share: float = 0.5
    tune_epochs: int | None = None
    l1_strength: float = 3e-4
    reparametrization: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not 0 < self.tune_share < 1:
            raise InputError(f"the share of the epochs that tunes must lie in (0, 1), got {self.tune_share}")
        if self.tune_epochs is not None and self.tune_epochs < 1:
            raise InputError(f"tuning takes at least 1 epoch, got {self.tune_epochs}")
        L1("nonzeros=1%", strength=self.l1_strength)  # has the checks
        method = Reparametrization("nonzeros=1%", steps=1, **self.reparametrization)
        if method.kernel is not None:  # refused now, not when the first run has begun
            method.kernel.check(torch.zeros(64), torch.tensor(method.config.t_init))


@dataclass(frozen=True)
class SparseArm:
    """One arm: the method, and how the epochs are shared out between training and tuning.

    Attributes:
        trained: the method begins with a trained network, else at initialisation.
        tuned: training goes on after the cut.
        scheduled: the method has a schedule over a fixed number of steps (`Recipe.unbroken`).
    """

    name: str
    build: Build
    trained: bool = False
    tuned: bool = False
    scheduled: bool = False

    def recipes(self, recipe: Recipe, settings: Sparsity) -> tuple[Recipe | None, int, Recipe]:
        """The dense network's recipe (None: there is none), the epochs under the method, and their recipe."""
        if self.scheduled:
            recipe = recipe.unbroken()
        if not self.trained:
            return None, recipe.epochs, recipe
        if not self.tuned:
            return recipe, 0, recipe
        if settings.tune_epochs is not None:
            return recipe, settings.tune_epochs, replace(recipe, epochs=settings.tune_epochs)
        tuning = min(recipe.epochs - 1, max(1, round(recipe.epochs * settings.tune_share)))
        if tuning < 1:
            raise InputError(
                f"{self.name} divides the epochs between training and tuning, so it needs at least 2, got "
                f"{recipe.epochs}"
            )
        return replace(recipe, epochs=recipe.epochs - tuning), tuning, replace(recipe, epochs=tuning)


def sparse_arms(settings: Sparsity | None = None) -> dict[str, SparseArm]:
    """Every arm that sets weights to zero, by name."""
    settings = settings or Sparsity()

    def reparametrization(mode: str) -> Build:
        return lambda budget, steps, seed: Reparametrization(
            budget, steps=steps, mode=mode, **settings.reparametrization
        )

    def random(scope: str) -> Build:
        return lambda budget, steps, seed: Random(
            budget, scope=scope, seed=derived_seed(seed, "random pruning")
        )

    def magnitude(scope: str) -> Build:
        return lambda budget, steps, seed: Magnitude(budget, scope=scope)

    arms = [
        SparseArm("magnitude", magnitude("global"), trained=True),
        SparseArm("magnitude-tuned", magnitude("global"), trained=True, tuned=True),
        SparseArm("magnitude-tuned-layerwise", magnitude("layer"), trained=True, tuned=True),
        SparseArm("random-tuned", random("global"), trained=True, tuned=True),
        SparseArm("random-tuned-layers", random("magnitude"), trained=True, tuned=True),
        SparseArm("l1", lambda budget, steps, seed: L1(budget, strength=settings.l1_strength)),
        SparseArm("reparametrization", reparametrization("exact"), scheduled=True),
        SparseArm("reparametrization-faithful", reparametrization("faithful")),
        SparseArm("snip", lambda budget, steps, seed: SNIP(budget)),
    ]
    return {arm.name: arm for arm in arms}


SPARSE_ARMS = tuple(sparse_arms())
