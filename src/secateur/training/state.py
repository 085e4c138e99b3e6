"""How far a training has come, and what its accuracy so far means for the next epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secateur.records.measure import ACCURACY, Measure
from secateur.training.recipe import Recipe


@dataclass
class Progress:
    """Says how far a run has come; everything here is in its checkpoint.

    Attributes:
        epoch: finished epochs.
        batch: batches done in the present epoch.
        loss_sum, correct, seen: over them, in this process: the sum of the examples' losses, the examples
            classified correctly, all examples.
        compute: training MACs spent.
        wall_s: seconds, of all sittings together.
        best: the best accuracy so far on the split that the recipe selects on; None (once -1): none yet.
        stale: epochs since it was reached.
        waited: of those, epochs since the rate was last lowered.
        drops: how often it was, by "plateau".
        history: a row for each epoch.
        before: the accuracy on the validation split before the first step, of networks that come trained.
        cut: what the network was worth around a cut of weights in the middle of training (`training.cost`).
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    compute: int = 0
    wall_s: float = 0.0
    best: float | None = None
    stale: int = 0
    waited: int = 0
    drops: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    before: float | None = None
    cut: dict[str, float | None] = field(default_factory=dict)

    def lr(self, recipe: Recipe, share: float, place: float | None = None) -> float:
        """The learning rate of the step with which `share` of the present epoch is done.

        Args:
            place: how far in the recipe's schedule the step is, in [0, 1]; None: as far as the training.
        """
        rate = recipe.lr_at(self.epoch if place is None else place * recipe.epochs, self.drops)
        return rate * recipe.warmed_up(self.epoch + share) if recipe.warmup else rate

    def stops_early(self, recipe: Recipe) -> bool:
        """Whether the accuracy has not improved for as long as the recipe bears with."""
        return recipe.early_stop is not None and self.stale >= recipe.early_stop

    def close_epoch(self, row: dict[str, Any], recipe: Recipe, measure: Measure = ACCURACY) -> None:
        """Count a finished epoch, and keep its row of the history.

        Args:
            measure: what the row's accuracies are, and which way they are better.
        """
        self.history.append(row)
        if recipe.follows_accuracy:
            self._follow(row[f"{recipe.select_on}_accuracy"], recipe, measure)
        self.epoch += 1
        self.batch = self.correct = self.seen = 0
        self.loss_sum = 0.0

    def _follow(self, accuracy: float, recipe: Recipe, measure: Measure) -> None:
        """Count the epochs without improvement, and lower the rate when "plateau" is out of patience."""
        if self.best is None or measure.better(accuracy, self.best):
            self.best, self.stale, self.waited = accuracy, 0, 0
            return
        self.stale += 1
        self.waited += 1
        if recipe.schedule == "plateau" and self.waited >= recipe.patience:
            self.drops += 1
            self.waited = 0
