"""What the arms share that set weights to zero; siblings say by which method.

All of them take the recipe's epochs in total: where tuning follows the cut, it has `tune_share` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from secateur.budget import Budget, Limits
from secateur.compare.arms.base import Arm, PlanRow
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.settings import Settings, Sparsity
from secateur.errors import InputError
from secateur.methods import METHODS
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.records.point import Point
from secateur.runs.graph import Made, Node
from secateur.runs.points import point_of
from secateur.runs.run import Run
from secateur.runs.sparsify import MethodChoice, Sparsify
from secateur.surgery.constraints import Constraints
from secateur.training.recipe import Recipe


@dataclass(frozen=True)
class Shares:
    """How the epochs are shared out.

    Attributes:
        training: before the cut; None: the method begins at initialisation.
        epochs: under the method.
        recipe: of these.
    """

    training: Recipe | None
    epochs: int
    recipe: Recipe


class WeightArm(Arm):
    """Sets weights to zero until exactly the budget's are left.

    Attributes:
        trained: the method begins with a trained network, else at initialisation.
        tuned: training goes on after the cut.
        scheduled: the method has a schedule over a fixed number of steps (`Recipe.unbroken`).
        of_siblings: settings of its method that only other arms of it have.
    """

    zeroes = True
    trained: ClassVar[bool] = False
    tuned: ClassVar[bool] = False
    scheduled: ClassVar[bool] = False
    of_siblings: ClassVar[tuple[str, ...]] = ()

    def method(self, sparsity: Sparsity, seed: int) -> MethodChoice:
        """The method with its settings."""
        raise NotImplementedError

    def shares(self, recipe: Recipe, sparsity: Sparsity) -> Shares:
        """Share the epochs out; InputError where there are too few."""
        if self.scheduled:
            recipe = recipe.unbroken()
        if not self.trained:
            return Shares(None, recipe.epochs, recipe)
        if not self.tuned:
            return Shares(recipe, 0, recipe)
        if sparsity.tune_epochs is not None:
            return Shares(recipe, sparsity.tune_epochs, replace(recipe, epochs=sparsity.tune_epochs))
        tuning = min(recipe.epochs - 1, max(1, round(recipe.epochs * sparsity.tune_share)))
        if tuning < 1:
            raise InputError(
                f"{self.name} divides the epochs between training and tuning, so it needs at least 2, got "
                f"{recipe.epochs}"
            )
        return Shares(replace(recipe, epochs=recipe.epochs - tuning), tuning, replace(recipe, epochs=tuning))

    def takes(self, constraints: Constraints) -> bool:
        return not (constraints.at_least or constraints.ratio)

    def check_settings(self, settings: Settings) -> None:
        settings.budgets[0].of_weights(f"the arm {self.name}")
        settings.prune.constraints.only_keeps(f"the arm {self.name}")
        self.shares(settings.recipe, settings.sparsity)
        self._check_method(settings)
        if settings.match == "compute":
            raise InputError(
                f"--match compute gives each arm what fisher-tuned spent; the arm {self.name} takes "
                "the recipe's epochs: compare weights with --match epochs"
            )

    def run(
        self, question: Comparison, budget: Budget, seed: int, label: str, teacher: Run | None = None
    ) -> Sparsify:
        """The run that makes the network; `teacher`: whose network it learns from, where it does."""
        settings = question.settings
        shares = self.shares(question.recipe, settings.sparsity)
        return Sparsify(
            architecture=question.architecture,
            data=question.data,
            recipe=shares.recipe,
            seed=seed,
            label=label,
            epochs=shares.epochs,
            method=self._method(settings, seed),
            limits=question.limits(budget),
            training=shares.training,
            terms=settings.terms,
            teacher=teacher,
        )

    def _method(self, settings: Settings, seed: int) -> MethodChoice:
        """The method with what was set of it; of layers, whose weights all stay, and how many each keeps."""
        method, sparsity = self.method(settings.sparsity, seed), settings.sparsity
        keep, shares = settings.prune.constraints.keep, sparsity.layer_shares
        said: dict[str, Any] = {"keep": list(keep)} if keep else {}
        if shares is not None:
            said["layer_shares"] = shares
        return MethodChoice(method.name, {**method.settings, **said, **self.given(sparsity)})

    def given(self, sparsity: Sparsity) -> dict[str, Any]:
        """What is set of its method, as far as it concerns this arm."""
        found = sparsity.settings.get(self.method(sparsity, 0).name, {})
        return {name: value for name, value in found.items() if name not in self.of_siblings}

    def _check_method(self, settings: Settings) -> None:
        """InputError where the method does not take its settings: before anything is trained."""
        asked, kind = settings.sparsity.layer_shares, METHODS[self.method(settings.sparsity, 0).name]
        if asked is not None and kind.default_shares is None:
            takers = ", ".join(name for name, each in METHODS.items() if each.default_shares is not None)
            raise InputError(
                f"the arm {self.name} cannot be told how many weights each layer keeps, got --layer-shares "
                f"{asked}: leave it out, or choose among arms of the methods {takers}"
            )
        self._check_own(settings.sparsity)
        self._method(settings, 0).build(Limits.at({"nonzeros": 1}), 1)

    def _check_own(self, sparsity: Sparsity) -> None:
        """Raise InputError where a setting is given that makes the arm what it is."""
        method = self.method(sparsity, 0)
        own = set(method.settings) - set(sparsity.named(method.name))
        for name, value in self.given(sparsity).items():
            if name in own:
                raise InputError(
                    f"the arm {self.name} is {method.name} with its own {name}, got {method.name}.{name}="
                    f"{value}: leave it out, or name another arm"
                )

    def check(self, question: Comparison, budget: Budget) -> None:
        keep = question.settings.prune.constraints.keep
        limits, sparing = question.limits(budget), Sparing(keep)
        if budget.resource == "nonzeros":
            sparing.fix(question.architecture.skeleton(), limits, self.name)
        else:  # how much a file takes at least, its values say
            model = question.architecture.build(seed=0)
            WeightGoal(limits, self.name).fix(model, sparing, largest_of(model, sparing))

    def node(self, replicate: Replicate, budget: Budget) -> Node:
        label, teacher = replicate.label(self.name, budget), replicate.teacher(replicate.question.recipe)
        run = self.run(replicate.question, budget, replicate.seed, label, teacher)
        return replicate.once(self.name, budget, lambda: replicate.graph.add(run))

    def row(self, replicate: Replicate, budget: Budget) -> PlanRow:
        """A network that keeps its shape."""
        question, whole = replicate.question, replicate.question.architecture
        shares = self.shares(question.recipe, question.settings.sparsity)
        epochs = shares.epochs + (shares.training.epochs if shares.training else 0)
        return PlanRow(
            self.name,
            budget.text,
            question.units[budget.text],
            whole,
            whole.params,
            whole.macs,
            epochs,
            self.node(replicate, budget).compute,
            zeroes=True,
        )

    def point(self, replicate: Replicate, budget: Budget, made: Made) -> Point:
        record = made.record(self.node(replicate, budget))
        trained = made.before(record)
        epochs = record.epochs + (trained.epochs if trained else 0)
        return point_of(record, self.name, budget.text, before=trained, epochs=epochs)
