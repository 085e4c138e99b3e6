"""What methods share that learn numbers for their gates, and cut by these gates in the end.

Where many weights are open follows from what is learnt, a budget is met in one of two ways:

    exact      the same is added to all of these numbers, every few steps, so that as many are open as the
               schedule of `gradual_magnitude` has: what the penalty of the paper does to all of them alike is
               solved for, what tells one from another is the gradient of the loss alone
    faithful   nothing is solved for: how many are open is what the paper's penalty comes to

In both ways the network is cut to the budget in the end, by what it computes with then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.budget import Wanted
from secateur.errors import unknown
from secateur.methods.gates.parametrization import distinct_layers, make_plain
from secateur.methods.gradual_magnitude import Config as GradualConfig
from secateur.methods.gradual_magnitude import GradualMethod
from secateur.network.masks import apply_masks, magnitudes

MODES = ("exact", "faithful")


@dataclass(frozen=True)
class Config(GradualConfig):
    """Settings.

    Attributes:
        start: exact: the share of training from which on fewer weights are open.
        end: exact: the share of training at which no more than the budget's are.
        every: exact: steps from one solution to the next, at least 1.
        mode: "exact" or "faithful".
    """

    mode: str = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)


class ShiftingMethod(GradualMethod):
    """Has gates that learn, in every layer but those whose weights all stay.

    Args and errors are those of `GradualMethod`; besides, no two layers may share a weight, and layers have
    no shares but those that they learn.
    """

    configured = Config
    default_shares = None

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self._gates: dict[str, nn.Module] = {}

    # What siblings override, beside `choose` or `scores` and `put_on`

    def gate(self, weight: Tensor) -> nn.Module:
        """Make the parametrization of a layer with this weight."""
        raise NotImplementedError

    def open_at_least(self, model: nn.Module, wanted: int) -> None:
        """Shift so that no fewer than `wanted` weights of the layers with gates are not zero."""
        raise NotImplementedError

    def decay(self, weight_decay: float) -> float:
        """The weight decay of what the gates learn."""
        return 0.0

    # The method

    @property
    def exact(self) -> bool:
        """Whether the gates follow the budget."""
        return bool(self.config.mode == "exact")

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize every convolution and linear layer, but those whose weights all stay."""
        layers = distinct_layers(model, self.name)
        model = super().prepare(model, batches)
        for name, layer in layers.items():
            if name not in self.sparing.sizes:
                self._gates[name] = self.gate(cast(Any, layer).weight)
                parametrize.register_parametrization(layer, "weight", self._gates[name])
        return model

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """For the optimizer: what the gates learn has a decay of its own."""
        learnt = [parameter for gate in self._gates.values() for parameter in gate.parameters()]
        own = {id(parameter) for parameter in learnt}
        rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": weight_decay}]
        return [*groups, {"params": learnt, "weight_decay": self.decay(weight_decay)}] if learnt else groups

    @property
    def due(self) -> bool:
        """Whether it is solved for at this step."""
        return self.exact and super().due and self.scheduled < self._covered

    def before_evaluation(self, model: nn.Module) -> None:
        """Exact mode: have the schedule hold at this very step."""
        if self.exact and self._gates and self.scheduled < self._covered:
            self.choose(model, self.scheduled)

    def finalize(self, model: nn.Module) -> nn.Module:
        """Cut to the largest of what the network computes with; where that is too few, more are opened."""
        if self._finalized:
            return model
        self.before_evaluation(model)
        for gate in self._gates.values():
            gate.eval()  # as the network is measured
        if self._open(model) < self.limits.units:
            self.open_at_least(model, self.limits.units - self.sparing.total)
        self._masks = self.sparing.choose(magnitudes(model), self.limits.units)
        self._kept = self.limits.units
        self.leave(model)
        apply_masks(model, self._masks)
        return super().finalize(model)

    @torch.no_grad()
    def _open(self, model: nn.Module) -> int:
        """The weights that the network computes with, and those that stay whatever they are."""
        found = magnitudes(model)
        return sum(int(found[name].count_nonzero()) for name in self._gates) + self.sparing.total

    def leave(self, model: nn.Module) -> None:
        for name in self._gates:
            make_plain(model.get_submodule(name))
        self._gates.clear()

    def progress(self) -> dict[str, float]:
        return super().progress() if self.exact or self._finalized else {}
