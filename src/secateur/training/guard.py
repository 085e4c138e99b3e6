"""A stop for networks that come trained: where training harms one at its very beginning, its rate is wrong.

It looks at the validation split before the first step, before the first removal of a channel (if the method
removes any) and at the end of the first epoch. Where all that goes is removed at once, that epoch is not
looked at: what is lost then is the cut's doing.
"""

from __future__ import annotations

from typing import Protocol

from secateur.errors import TrainingError
from secateur.methods import Method
from secateur.records.measure import ACCURACY, Measure
from secateur.training.recipe import Recipe
from secateur.training.state import Progress


class Guarded(Protocol):
    """What a guard asks of a training."""

    progress: Progress
    method: Method
    recipe: Recipe

    def validated(self) -> float:
        """What the network is worth on the validation split as it is."""


class Guard:
    """Watches over nothing: for networks that begin at their initialisation."""

    def begin(self, training: Guarded) -> None:
        """Called before the first step, and where a training is resumed."""

    def before_cut(self, training: Guarded) -> None:
        """Called when the method is about to remove the first channels."""

    def after_epoch(self, training: Guarded, now: float | None) -> None:
        """Called at the end of an epoch, with the value on the validation split."""


class FirstEpochGuard(Guard):
    """Stops a training that loses too much of what the network could do before.

    Attributes:
        most: what may be lost: of accuracies in [0, 1] so much (0.1: 10 points), of any other metric such a
            share of its value.
        measure: what the values are.
    """

    def __init__(self, most: float, measure: Measure = ACCURACY):
        self.most, self.measure = most, measure
        self._cut_whole = False

    def begin(self, training: Guarded) -> None:
        progress = training.progress
        if progress.epoch == progress.batch == 0 and progress.before is None:
            progress.before = training.validated()

    def before_cut(self, training: Guarded) -> None:
        if training.progress.epoch == 0:
            self._check(training, training.validated(), "before the first channel was removed")
            self._cut_whole = training.method.cuts_at_once

    def after_epoch(self, training: Guarded, now: float | None) -> None:
        if training.progress.epoch == 0 and now is not None and not self._cut_whole:
            removed = training.method.progress().get("removed", 0)
            cut = f" with {removed:g} channel{'s' if removed != 1 else ''} removed" if removed else ""
            self._check(training, now, f"after the first epoch{cut}")

    def _check(self, training: Guarded, now: float, when: str) -> None:
        before = training.progress.before
        if before is not None and self.lost(before, now) > 1e-9:
            raise TrainingError(self._told(before, now, when, training.recipe.lr))

    def lost(self, before: float, now: float) -> float:
        """By how much more is lost than may be; at most 0 where all is well."""
        unit = 1.0 if self.measure.fraction else abs(before)
        return self.measure.rank(before) - self.measure.rank(now) - self.most * unit

    def _told(self, before: float, now: float, when: str, rate: float) -> str:
        shown = self.measure.shown
        allowed = f"{self.most * 100:g} points" if self.measure.fraction else f"{self.most:.0%}"
        return (
            f"the network came with {shown(before)} on the validation split and has {shown(now)} {when}, at "
            f"rate {rate:g}: more than {allowed} lost; lower --lr (--lr auto finds one), remove channels "
            "more slowly (--prune-every), or allow it (--max-drop)"
        )
