"""The arms of one replicate: what is trained for each, and what that cost to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secateur.architecture import Architecture
from secateur.budget import TRAINING_MACS_PER_INFERENCE_MAC, Budget
from secateur.execution import Record, Session, Target
from secateur.methods import ChannelReparametrization
from secateur.planning import PlanRow
from secateur.results import point_of
from secateur.sparse import SPARSE_ARMS, sparse_arms

if TYPE_CHECKING:
    from secateur.comparison import Comparison

KNOWN: dict[str, Callable[[Architecture, Budget], Architecture]] = {
    "width": Architecture.narrowed_to,
    "bottleneck": Architecture.scaled_to,
}
"""Arms whose architecture follows from the budget alone; those of the others are found by pruning."""


class Replicate:
    """All arms at one seed, one after the other; what comes later stands on what was found before."""

    def __init__(self, comparison: Comparison, session: Session, seed: int, rows: Sequence[PlanRow]):
        self.of, self.session, self.seed = comparison, session, seed
        self.settings = comparison.settings
        self.compute = {(row.arm, row.budget): row.compute for row in rows}
        self.dense: Record | None = None
        self.pruned: dict[str, Record] = {}
        self.profile_record: Record | None = None
        if comparison.needs_dense:
            self.dense = session.train(
                comparison.architecture, self.settings.recipe, seed, f"{comparison.name} seed {seed}"
            )
        if comparison.needs_trajectory:
            self._prune()

    def _prune(self) -> None:
        """The trajectory, budget after budget; then on to the profile if need be."""
        of = self.of
        if of.prunes:
            for budget in of.budgets:
                self.pruned[budget.text] = self._pruned_to(
                    of.target(budget), f"fisher-tuned {budget} seed {self.seed}", budget
                )
        if "copycat" in self.settings.arms:
            far = [record for record in self.pruned.values() if len(record["removed"]) >= of.copycat_after]
            target = Target(removals=of.copycat_after)
            self.profile_record = (
                far[0] if far else self._pruned_to(target, f"copycat profile seed {self.seed}")
            )

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

    def points(self) -> list[dict[str, Any]]:
        """One point for every arm and budget."""
        return [self._point(arm, budget) for budget in self.of.budgets for arm in self.settings.arms]

    def _point(self, arm: str, budget: Budget) -> dict[str, Any]:
        if arm in SPARSE_ARMS:
            return self._sparse_point(arm, budget)
        if arm == ChannelReparametrization.name:
            return self._gated_point(arm, budget)
        if arm == "fisher-tuned":
            return point_of(self.pruned[budget.text], arm, budget.text, before=self.dense)
        architecture, discovery = self._architecture(arm, budget)
        spent = 0
        if self.settings.match == "compute":
            assert self.dense is not None
            spent = self.dense["train_compute"] + self.pruned[budget.text]["train_compute"]
        epochs = self.of.epochs(self.session, architecture, spent)
        recipe = replace(self.settings.recipe, epochs=epochs)
        record = self.session.train(architecture, recipe, self.seed, f"{arm} {budget} seed {self.seed}")
        return point_of(record, arm, budget.text, discovery_compute=discovery, epochs=epochs)

    def _gated_point(self, arm: str, budget: Budget) -> dict[str, Any]:
        recipe, label = self.settings.recipe, f"{arm} {budget} seed {self.seed}"
        record = self.session.gate_channels(
            self.of.architecture, recipe, self.seed, self.of.target(budget), label
        )
        return point_of(record, arm, budget.text, epochs=recipe.epochs)

    def _sparse_point(self, arm: str, budget: Budget) -> dict[str, Any]:
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
        epochs = len(record["history"]) + (len(trained["history"]) if trained else 0)
        return point_of(record, arm, budget.text, before=trained, epochs=epochs)

    def _architecture(self, arm: str, budget: Budget) -> tuple[Architecture, int]:
        """The arm's architecture at the budget, and the training MACs that finding it took."""
        if arm in KNOWN:
            return self.of.known(arm, budget), 0
        assert self.dense is not None
        if arm == "fisher-scratch":
            record = self.pruned[budget.text]
            removals = len(record["removed"])
            found = self.of.architecture.with_widths(record["architecture"]["widths"])
        else:
            record, removals = self._profile_source()
            found = self._profile_architecture().scaled_to(self.of.absolute(budget))
        return found, self.dense["train_compute"] + _compute_of_removals(record, removals)

    def _profile_source(self) -> tuple[Record, int]:
        assert self.profile_record is not None
        return self.profile_record, self.of.copycat_after

    def _profile_architecture(self) -> Architecture:
        record, removals = self._profile_source()
        gone = [entry["group"] for entry in record["removed"][:removals]]
        names = self.of.architecture.group_names()
        widths = [
            width - gone.count(name) for name, width in zip(names, self.of.architecture.widths, strict=True)
        ]
        return self.of.architecture.with_widths(widths)

    def dense_point(self) -> dict[str, Any]:
        """The unpruned network, as a point without a budget."""
        assert self.dense is not None
        return point_of(self.dense, "dense", None, epochs=self.settings.recipe.epochs)

    def profile(self) -> dict[str, Any]:
        """Channels kept in each group where copycat took its profile (Crowley et al. 2018, Fig. 2c)."""
        architecture = self._profile_architecture()
        names = architecture.group_names()
        groups = [
            {"name": name, "kept": kept, "of": of}
            for name, kept, of in zip(names, architecture.widths, self.of.architecture.widths, strict=True)
        ]
        return {"seed": self.seed, "removed": self.of.copycat_after, "groups": groups}

    def trajectory(self) -> dict[str, Any]:
        """Validation accuracy while pruning, once an epoch."""
        rows = list(self.pruned.values())[-1]["history"]
        return {
            "seed": self.seed,
            "removed": [row["removed"] for row in rows],
            "params": [row["params"] for row in rows],
            "val_accuracy": [row["val_accuracy"] for row in rows],
        }


def _compute_of_removals(record: Record, removals: int) -> int:
    """Training MACs of the windows that led to the first `removals` removals."""
    return sum(
        TRAINING_MACS_PER_INFERENCE_MAC * entry["macs"] * entry["examples"]
        for entry in record["removed"][:removals]
    )
