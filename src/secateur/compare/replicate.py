"""The arms of one replicate: what is trained for each, and what that cost to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.compare.planning import PlanRow
from secateur.methods import ChannelReparametrization
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.records.results import Profile, ProfileGroup, Trajectory
from secateur.runs.points import point_of
from secateur.runs.session import Session, Target
from secateur.runs.sparse import SPARSE_ARMS, sparse_arms

if TYPE_CHECKING:
    from secateur.compare.comparison import Comparison

KNOWN: dict[str, Callable[[Architecture, Budget], Architecture]] = {
    "width": Architecture.narrowed_to,
    "bottleneck": Architecture.scaled_to,
}
"""Arms whose architecture follows from the budget alone; those of the others are found by pruning."""


class Replicate:
    """All arms at one seed. A run is made when it is first asked for; `stand` makes those others stand on."""

    def __init__(self, comparison: Comparison, session: Session, seed: int, rows: Sequence[PlanRow]):
        self.of, self.session, self.seed = comparison, session, seed
        self.settings = comparison.settings
        self.compute = {(row.arm, row.budget): row.compute for row in rows}
        self._tuned: dict[str, Record] = {}

    def stand(self) -> Replicate:
        """Train the network; prune it, budget after budget, then on to the profile if need be."""
        if self.of.needs_dense:
            self.dense  # noqa: B018
        if self.of.prunes:
            for budget in self.of.budgets:
                self.tuned(budget)
        if "copycat" in self.settings.arms:
            self.profile_record  # noqa: B018
        return self

    @cached_property
    def dense(self) -> Record:
        """The unpruned network."""
        label = f"{self.of.name} seed {self.seed}"
        return self.session.train(self.of.architecture, self.settings.recipe, self.seed, label)

    def tuned(self, budget: Budget) -> Record:
        """The network pruned to the budget; on the way to the next one, so in order."""
        if budget.text not in self._tuned:
            self._tuned[budget.text] = self._pruned_to(
                self.of.target(budget), f"fisher-tuned {budget} seed {self.seed}", budget
            )
        return self._tuned[budget.text]

    @cached_property
    def profile_record(self) -> Record:
        """The first network of the trajectory that has lost as many channels as copycat's profile has."""
        for budget in self.of.budgets if self.of.prunes else ():
            if len((record := self.tuned(budget)).removed or ()) >= self.of.copycat_after:
                return record
        return self._pruned_to(Target(removals=self.of.copycat_after), f"copycat profile seed {self.seed}")

    def trained_first(self, arm: str) -> Record:
        """What comes before the cut in an arm that tunes weights; the arms and budgets share it."""
        recipe, _, _ = sparse_arms(self.settings.sparsity)[arm].recipes(
            self.settings.recipe, self.settings.sparsity
        )
        assert recipe is not None
        label = f"{arm} {self.of.budgets[0]} seed {self.seed}: training first"
        return self.session.train(self.of.architecture, recipe, self.seed, label)

    def _pruned_to(self, target: Target, label: str, budget: Budget | None = None) -> Record:
        compute = self.compute.get(("fisher-tuned", budget.text if budget else ""), 0)
        return self.session.prune(
            self.of.architecture,
            self.settings.recipe,
            self.seed,
            self.settings.prune,
            target,
            label,
            compute,
        )

    def points(self) -> list[Point]:
        """One point for every arm and budget."""
        return [self.point(arm, budget) for budget in self.of.budgets for arm in self.settings.arms]

    def point(self, arm: str, budget: Budget) -> Point:
        """The point of one arm at one budget."""
        if arm in SPARSE_ARMS:
            return self._sparse_point(arm, budget)
        if arm == ChannelReparametrization.name:
            return self._gated_point(arm, budget)
        if arm == "fisher-tuned":
            return point_of(self.tuned(budget), arm, budget.text, before=self.dense)
        architecture, discovery = self._architecture(arm, budget)
        spent = 0
        if self.settings.match == "compute":
            spent = self.dense.train_compute + self.tuned(budget).train_compute
        epochs = self.of.epochs(self.session, architecture, spent)
        recipe = replace(self.settings.recipe, epochs=epochs)
        record = self.session.train(architecture, recipe, self.seed, f"{arm} {budget} seed {self.seed}")
        return point_of(record, arm, budget.text, discovery_compute=discovery, epochs=epochs)

    def _gated_point(self, arm: str, budget: Budget) -> Point:
        recipe, label = self.settings.recipe, f"{arm} {budget} seed {self.seed}"
        record = self.session.gate_channels(
            self.of.architecture, recipe, self.seed, self.of.target(budget), label
        )
        return point_of(record, arm, budget.text, epochs=recipe.epochs)

    def _sparse_point(self, arm: str, budget: Budget) -> Point:
        settings = self.settings
        of = sparse_arms(settings.sparsity)[arm]
        record = self.session.sparsify(
            self.of.architecture,
            settings.recipe,
            self.seed,
            of,
            settings.sparsity,
            self.of.limits[budget.text],
            f"{arm} {budget} seed {self.seed}",
        )
        trained = self.session.before(record)
        epochs = record.epochs + (trained.epochs if trained else 0)
        return point_of(record, arm, budget.text, before=trained, epochs=epochs)

    def _architecture(self, arm: str, budget: Budget) -> tuple[Architecture, int]:
        """The arm's architecture at the budget, and the training MACs that finding it took."""
        if arm in KNOWN:
            return self.of.known(arm, budget), 0
        if arm == "fisher-scratch":
            record = self.tuned(budget)
            removals = len(record.removed or ())
            found = self.of.architecture.with_widths(record.widths)
        else:
            record, removals = self.profile_record, self.of.copycat_after
            found = self._profile_architecture().scaled_to(self.of.absolute(budget))
        return found, self.dense.train_compute + _compute_of_removals(record, removals)

    def _profile_architecture(self) -> Architecture:
        gone = [entry.group for entry in (self.profile_record.removed or ())[: self.of.copycat_after]]
        names = self.of.architecture.group_names()
        widths = [
            width - gone.count(name) for name, width in zip(names, self.of.architecture.widths, strict=True)
        ]
        return self.of.architecture.with_widths(widths)

    def dense_point(self) -> Point:
        """The unpruned network, as a point without a budget."""
        return point_of(self.dense, "dense", None, epochs=self.settings.recipe.epochs)

    def profile(self) -> Profile:
        """Channels kept in each group where copycat took its profile (Crowley et al. 2018, Fig. 2c)."""
        architecture = self._profile_architecture()
        names = architecture.group_names()
        groups = tuple(
            ProfileGroup(name=name, kept=kept, of=of)
            for name, kept, of in zip(names, architecture.widths, self.of.architecture.widths, strict=True)
        )
        return Profile(seed=self.seed, removed=self.of.copycat_after, groups=groups)

    def trajectory(self) -> Trajectory:
        """Validation accuracy while pruning, once an epoch."""
        rows = self.tuned(self.of.budgets[-1]).history
        return Trajectory(
            seed=self.seed,
            removed=tuple(int(row.more["removed"]) for row in rows),
            params=tuple(row.params for row in rows),
            val_accuracy=tuple(row.val_accuracy for row in rows),
        )


def _compute_of_removals(record: Record, removals: int) -> int:
    """Training MACs of the windows that led to the first `removals` removals."""
    return sum(
        TRAINING_MACS_PER_INFERENCE_MAC * entry.macs * entry.examples
        for entry in (record.removed or ())[:removals]
    )
