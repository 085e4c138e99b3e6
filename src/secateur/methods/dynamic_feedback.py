"""Dynamic pruning with feedback: Lin et al. 2020, *Dynamic model pruning with feedback* (arXiv:2006.07253).

    w~_t    = m_t * w_t                                   the pruned network     `feedback`
    w_t+1   = w_t - gamma_t g(w~_t)                       the update (DPF)       `feedback`, by its gradient
    m_t     = the largest |w_t| of all layers together    chosen now and then    `DynamicFeedback.scores`

The network computes with the masked weights, forward and backward; the gradient taken there is applied to
the dense ones as if the mask were not there (straight through). So a weight outside the mask goes on
learning, and comes back when it has grown larger than one inside. The masks are chosen anew every `every`
steps to the end of training, by the schedule of `gradual_magnitude`: how many are kept falls until `end`,
which ones they are may change until the last choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.budget import Wanted
from secateur.methods.gates.parametrization import distinct_layers, make_plain, original_weight
from secateur.methods.gradual_magnitude import GradualMethod


def feedback(weight: Tensor, gone: Tensor) -> Tensor:
    """m * w, with the gradient of w: what is gone is subtracted as a constant, so dw~/dw is 1 everywhere.

    Args:
        gone: boolean, of the weight's shape: 1 - m.

    Reference: Lin et al. 2020, eq. (DPF).
    """
    return weight - (weight * gone).detach()


class Feedback(nn.Module):
    """The parametrization w -> m * w of one layer; the mask follows the network to its device."""

    gone: Tensor

    def __init__(self, gone: Tensor):
        super().__init__()
        self.register_buffer("gone", gone, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        return feedback(weight, self.gone)


class DynamicFeedback(GradualMethod):
    """Trains with fewer and fewer weights, while those left out go on learning and may come back.

    Args and errors are those of `GradualMethod`; besides, no two layers may share a weight.

    Example:
        >>> method = DynamicFeedback("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Lin et al. 2020.
    """

    name = "dynamic-feedback"

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        super().__init__(budget, steps=steps, **settings)
        self._feedbacks: dict[str, Feedback] = {}

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize the weight of every convolution and linear layer."""
        layers = distinct_layers(model, self.name)
        model = super().prepare(model, batches)
        for name, layer in layers.items():
            self._feedbacks[name] = Feedback(torch.zeros_like(self._masks[name]))
            parametrize.register_parametrization(layer, "weight", self._feedbacks[name])
        return model

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """|w| of the dense weights."""
        return {name: original_weight(model.get_submodule(name)).abs() for name in self._feedbacks}

    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Have every layer compute with its mask."""
        for name, mask in masks.items():
            self._feedbacks[name].gone.copy_(~mask)

    def leave(self, model: nn.Module) -> None:
        for name in self._feedbacks:
            make_plain(model.get_submodule(name))
        self._feedbacks.clear()

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().restore(state, tensors)
        for name, each in self._feedbacks.items():
            each.gone.copy_(~self._masks[name])
