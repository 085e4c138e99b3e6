"""Layers whose weights all stay, for the methods that set weights to zero; the budget counts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Limits
from secateur.errors import InputError
from secateur.network.masks import Masks, keep_largest
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Constraints, Patterns

Choose = Callable[[Mapping[str, Tensor], int], Masks]


class Sparing:
    """Finds the layers that are spared, and has others choose among the rest.

    Args:
        keep: patterns of names (`secateur.surgery.constraints`).

    Attributes:
        sizes: layer -> its weights, of those that are spared; known from `fix` on.
    """

    def __init__(self, keep: Patterns = ()):
        self.constraints = Constraints.parse(keep=keep)
        self.sizes: dict[str, int] = {}

    def identity(self) -> dict[str, Any]:
        """What goes into a run's hash: nothing where nothing is spared."""
        return {"keep": list(self.constraints.keep)} if self.constraints else {}

    def fix(self, model: nn.Module, limits: Limits, who: str) -> None:
        """Find the layers, and `check` them."""
        self.find(model)
        self.check(limits, who)

    def find(self, model: nn.Module) -> None:
        """Find the layers; InputError where a pattern names none."""
        if not self.constraints:
            return
        layers, weights = self.constraints.kept_layers(model), prunable_weights(model)
        shared = {id(model.get_submodule(name).weight) for name in layers}
        self.sizes = {
            name: weight.numel() for name, weight in weights.items() if name in layers or id(weight) in shared
        }

    def check(self, limits: Limits, who: str) -> None:
        """InputError where the layers alone have as many weights as a budget in nonzeros allows."""
        if self.constraints and limits.units <= self.total:
            raise InputError(
                f"{who}: the budget of {limits.units:,} nonzeros is not above the {self.total:,} weights "
                f"that must stay ({self.constraints}): ask for at least nonzeros={self.total + 1}"
            )

    @property
    def total(self) -> int:
        """The weights that are spared."""
        return sum(self.sizes.values())

    def choose(self, scores: Mapping[str, Tensor], keep: int, choose: Choose = keep_largest) -> Masks:
        """Masks that keep `keep` weights in all: every spared one, and of the others what `choose` keeps."""
        if not self.sizes:
            return choose(scores, keep)
        rest = {name: score for name, score in scores.items() if name not in self.sizes}
        found = choose(rest, keep - self.total)
        return {
            name: found[name] if name in found else torch.ones_like(score, dtype=torch.bool)
            for name, score in scores.items()
        }
