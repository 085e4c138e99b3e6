"""L1 regularisation in place of a budget loss: what Dupont et al. 2021 (section 2) claim to improve on.

    L = L_task + strength * sum |w|        `l1_norm`

At the end the weights of smallest magnitude are cut. Nothing in it knows the budget before that.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Limits, Wanted
from secateur.errors import InputError
from secateur.methods.base import Method
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.network.masks import apply_masks
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Patterns


def l1_norm(model: nn.Module, spared: Collection[str] = ()) -> Tensor:
    """Sum of |w| over all weights that can be masked, but for `spared` layers; scalar, differentiable."""
    weights = prunable_weights(model).items()
    return torch.stack([weight.abs().sum() for name, weight in weights if name not in spared]).sum()


class L1(Method):
    """Trains under an L1 penalty and cuts to the budget at the end.

    Args:
        budget: e.g. "nonzeros=5%".
        strength: factor of the norm, at least 0.
        keep: patterns of layers whose weights all stay, and are not drawn to zero.

    Example:
        >>> method = L1("nonzeros=5%", strength=3e-4)  # doctest: +SKIP

    Reference: Dupont et al. 2021, section 2 ("in a more convenient way than l1 regularization").
    """

    name = "l1"

    def __init__(self, budget: Wanted, *, strength: float = 3e-4, keep: Patterns = ()):
        self.goal = WeightGoal(budget, self.name)
        if not 0 <= strength < math.inf:
            raise InputError(f"l1: the strength must be at least 0, got {strength}")
        self.strength = strength
        self.limits = Limits()
        self.sparing = Sparing(keep)

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget."""
        return {"method": self.name, "strength": self.strength, **self.sparing.identity()}

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Check the budget; nothing is attached."""
        self.limits = self.goal.fix(model, self.sparing, largest_of(model, self.sparing))
        return model

    def penalty(self, model: nn.Module) -> Tensor:
        return self.strength * l1_norm(model, self.sparing.sizes)

    def finalize(self, model: nn.Module) -> nn.Module:
        """Cut all but the largest weights of the whole network."""
        apply_masks(model, largest_of(model, self.sparing)(self.limits.units))
        self.goal.settle(model, self.sparing, largest_of(model, self.sparing))
        return model

    def state(self) -> dict[str, Any]:
        return {"limits": dict(self.limits)}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self.limits = self.limits.resumed(state.get("limits", self.limits))
