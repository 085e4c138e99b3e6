"""What the methods that cut weights once have in common: choose, cut, hold the zeros while tuning."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import Tensor, nn

from secateur.budget import Limits, Wanted
from secateur.errors import unknown
from secateur.methods.base import Method
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.network.masks import Masks, apply_masks
from secateur.surgery.constraints import Patterns
from secateur.surgery.optimizer_state import Optimizers

SCOPES = ("global", "layer")


class MaskedMethod(Method):
    """Cuts in `prepare`, down to exactly the budget, and keeps the zeros through every step.

    Hand it a trained network and train on for fine-tuning, or call `finalize` at once for none. Siblings
    override `choose`.

    Args:
        keep: patterns of layers whose weights all stay.

    Attributes:
        limits: how many weights are left, from `prepare` on.
    """

    def __init__(self, budget: Wanted, *, scope: str = "global", keep: Patterns = ()):
        self.goal = WeightGoal(budget, self.name)
        if scope not in self.scopes():
            raise unknown(f"scope of {self.name} pruning", scope, self.scopes())
        self.scope = scope
        self.limits = Limits()
        self.sparing = Sparing(keep)
        self._masks: Masks = {}

    @classmethod
    def scopes(cls) -> tuple[str, ...]:
        """The scopes that the method knows."""
        return SCOPES

    def choose(
        self, model: nn.Module, keep: int, batches: Iterable[tuple[Tensor, Tensor]] | None = None
    ) -> Masks:
        """Boolean masks, by layer, that keep exactly `keep` weights; `batches` are those of `prepare`."""
        raise NotImplementedError

    def fewer(self, model: nn.Module, keep: int) -> Masks:
        """Masks that keep `keep` of the weights there are, by what is known of them without data."""
        return largest_of(model, self.sparing)(keep)

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget."""
        return {"method": self.name, "scope": self.scope, **self.sparing.identity()}

    @property
    def target(self) -> int:
        """Weights that are left."""
        return self.limits.units

    def prepare(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]] | None = None) -> nn.Module:
        """Choose the weights that stay and set the others to zero."""
        self.limits = self.goal.fix(model, self.sparing, partial(self.fewer, model))
        self._masks = self.choose(model, self.target, batches)
        apply_masks(model, self._masks)
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Undo what the step did to the weights that are gone."""
        apply_masks(model, self._masks)
        return model

    def finalize(self, model: nn.Module) -> nn.Module:
        """Let a few weights more go, where the budget is in bytes and the file needs it."""
        masks = self.goal.settle(model, self.sparing, partial(self.fewer, model))
        self._masks = masks or self._masks
        return model

    def progress(self) -> dict[str, float]:
        return {"nonzeros": self.target}

    def state(self) -> dict[str, Any]:
        return {"limits": dict(self.limits)}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._masks)

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.limits = self.limits.resumed(state.get("limits", self.limits))
        self._masks = {name: tensors[name].to(mask.device) for name, mask in self._masks.items()}
