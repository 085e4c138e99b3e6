"""What is compared, and how: the numbers of a comparison, with the checks that need no network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget, check_compared
from secateur.errors import InputError, unknown
from secateur.methods import L1, Reparametrization
from secateur.methods.layer_shares import LAYER_SHARES
from secateur.methods.reparametrization import Config
from secateur.runs.method_settings import Given, checked, in_words
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.settings import SparseFields
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

MATCHES = ("epochs", "compute")


@dataclass(frozen=True)
class Sparsity(SparseFields):
    """Settings of the arms that set weights to zero, checked; `SparseFields` says what the others are.

    Attributes:
        reparametrization: settings of `Reparametrization`, both modes: its `Config`, `compiled`.
        settings: of any method that zeroes weights: {"rigl": {"drop": 0.3}} (`runs.method_settings`).
    """

    reparametrization: dict[str, Any] = field(default_factory=dict, hash=False)
    settings: Given = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", checked(self.settings))
        self._check_given_once()
        if not 0 < self.tune_share < 1:
            raise InputError(f"the share of the epochs that tunes must lie in (0, 1), got {self.tune_share}")
        if self.tune_epochs is not None and self.tune_epochs < 1:
            raise InputError(f"tuning takes at least 1 epoch, got {self.tune_epochs}")
        L1("nonzeros=1%", strength=self.l1_strength)  # has the checks
        if self.layer_shares is not None and self.layer_shares not in LAYER_SHARES:
            raise unknown("--layer-shares", str(self.layer_shares), LAYER_SHARES)
        method = Reparametrization("nonzeros=1%", steps=1, **self.reparametrization)
        if method.kernel is not None:  # refused now, not when the first run has begun
            method.kernel.check(torch.zeros(64), torch.tensor(method.config.t_init))

    def named(self, method: str) -> dict[str, Any]:
        """What is set of a method by fields of its own."""
        return {
            Reparametrization.name: self.reparametrization,
            L1.name: {"strength": self.l1_strength},
        }.get(method, {})

    def identity(self) -> dict[str, Any]:
        """All of it, for a hash; what nobody gave is not in it."""
        unsaid: dict[str, Any] = {"settings": {}, "layer_shares": None}
        return {name: value for name, value in asdict(self).items() if value != unsaid.get(name, self)}

    def in_words(self) -> str:
        """The settings of methods, as the command line takes them; empty where there are none."""
        return in_words(self.settings)

    def _check_given_once(self) -> None:
        """Raise InputError where a setting has two values: by a field of its own and among `settings`."""
        usual = Sparsity.__dataclass_fields__["l1_strength"].default
        defaults = {L1.name: {"strength": usual}, Reparametrization.name: asdict(Config())}
        for method, given in self.settings.items():
            for name, value in {**self.named(method), "layer_shares": self.layer_shares}.items():
                if name in given and value not in (given[name], defaults.get(method, {}).get(name)):
                    raise InputError(
                        f"every setting is given once, got {value} and {given[name]} for {method}.{name}: "
                        "leave one out"
                    )


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        budgets: of one resource; relative ones are shares of the network being compared.
        arms: names of `secateur.compare.arms.ARMS`; none given: those that suit budgets and network.
        seeds: replicates, at least 1.
        match: "epochs": every network trains for the recipe's epochs; "compute": every network trained from
            scratch is given the training MACs that fisher-tuned had spent at that budget.
        terms: the loss, the metric, and the user's own optimizer.
        copycat_after: removals after which the profile is taken; None: `comparison.COPYCAT_SHARE` of all.
        tuning: the recipe of networks that come trained (`Architecture.comes_trained`); None: `recipe`.
    """

    budgets: tuple[Budget, ...]
    arms: tuple[str, ...] = ()
    seeds: int = 1
    match: str = "epochs"
    recipe: Recipe = field(default_factory=Recipe)
    prune: PruneSettings = field(default_factory=PruneSettings)
    copycat_after: int | None = None
    sparsity: Sparsity = field(default_factory=Sparsity)
    terms: Terms = field(default_factory=Terms)
    tuning: Recipe | None = None

    def __post_init__(self) -> None:
        if not self.budgets:
            raise InputError("a comparison needs at least one budget: write for example --budget params=25%")
        if len({budget.resource for budget in self.budgets}) > 1:
            raise InputError(
                f"the budgets of one comparison limit one resource, got {', '.join(map(str, self.budgets))}: "
                "compare them one resource at a time"
            )
        for budget in self.budgets:
            check_compared(budget.resource, budget.text)
        if len(set(self.arms)) < len(self.arms):
            raise InputError(f"every arm is named once, got {', '.join(self.arms)}")
        if self.match not in MATCHES:
            raise unknown("--match", self.match, MATCHES)
        if self.seeds < 1:
            raise InputError(f"at least 1 seed is needed, got {self.seeds}")

    def recipe_of(self, architecture: Architecture) -> Recipe:
        """Say how a network is trained: from scratch, or from the weights that it comes with."""
        return self.tuning if self.tuning and architecture.comes_trained else self.recipe

    @property
    def resource(self) -> str:
        """What the budgets limit."""
        return self.budgets[0].resource
