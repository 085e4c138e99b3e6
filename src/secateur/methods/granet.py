"""GraNet: Liu et al. 2021, *Sparse training via boosting pruning plasticity with neuroregeneration*
(arXiv:2106.10404), from a dense network on.

    s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))**3      section 4.1     `kept_weights`, s_i = 0
    prune to it: the largest |w| of all layers stay          section 4.1     `GradualMagnitude.scores`
    regenerate: drop the r smallest |w| of each layer,       section 4.2     `regrowth.dropped`
    grow as many of largest |dL/dw|                          section 4.2     `regrowth.grown`
    r falls from `regenerate` along a cosine                 the code        `regrowth.drop_share`

Zero-cost neuroregeneration: after every pruning as many weights as are dropped come back elsewhere in the
same layer, with value 0. So weights that went too early have a way back, and the number of weights is that of
the schedule all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from secateur.errors import require
from secateur.methods import gradual_magnitude
from secateur.methods.dense_gradients import DenseGradients
from secateur.methods.gradual_magnitude import GradualMagnitude
from secateur.methods.regrowth import drop_share, exchanged, forget
from secateur.methods.sparse_training import sparse_weights
from secateur.surgery.optimizer_state import Optimizers


@dataclass(frozen=True)
class Config(gradual_magnitude.Config):
    """Settings of GraNet: those of gradual pruning, and how much comes back.

    Attributes:
        every: steps from one pruning to the next; regeneration follows each, and goes on to the end.
        regenerate: r, the share of a layer's weights that is exchanged at first, in (0, 1).
    """

    every: int = 20
    regenerate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, {"regenerate must lie in (0, 1)": 0 < self.regenerate < 1}, "granet: ")


class GraNet(GradualMagnitude):
    """Sets the smallest weights to zero, more and more of them while training, and lets others come back.

    Args and errors are those of `GradualMethod`, settings those of `Config`.

    Example:
        >>> method = GraNet("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Liu et al. 2021, section 4.
    """

    name = "granet"
    configured = Config
    least: ClassVar[int | None] = 1

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._gradients = DenseGradients(
            lambda: self._masks, lambda: self._comes_at(self._step + 1), self.name
        )

    def _comes_at(self, step: int) -> bool:
        """Whether weights come back at this step: so early that they can still be trained."""
        return (
            not self._finalized
            and step % self.config.every == 0
            and self.config.start * self.steps < step <= self.steps - self.config.every
        )

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Begin with all weights, and watch the gradients of all."""
        model = super().prepare(model, batches)
        self._gradients.attach(model)
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Prune where that is due, then let weights come back."""
        model = super().after_step(model, optimizer)
        if self._comes_at(self._step) and self._kept < self._covered:
            self.regenerate(model, optimizer)
        self._gradients.forget()
        return model

    @torch.no_grad()
    def regenerate(self, model: nn.Module, optimizer: Optimizers = None) -> None:
        """Exchange r of every layer's weights; none at a step whose gradient is not finite."""
        gradients = self._gradients.of_step(model)
        if gradients is None:
            return
        share = drop_share(self._step, self.steps, self.config.regenerate)
        masks = {
            name: exchanged(weight, self._masks[name].to(weight.device), gradients[name], share)
            for name, weight in sparse_weights(model).items()
            if name not in self.sparing.sizes
        }
        forget(model, optimizer, {name: ~(mask & self._masks[name]) for name, mask in masks.items()})
        self._masks = {**self._masks, **masks}
        self.put_on(model, self._masks)

    def finalize(self, model: nn.Module) -> nn.Module:
        self._gradients.release()
        return super().finalize(model)
