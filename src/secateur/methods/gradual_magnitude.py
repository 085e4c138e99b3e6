"""Gradual magnitude pruning: Zhu & Gupta 2017, *To prune, or not to prune* (arXiv:1710.01878).

    s_t    = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))**3    eq. (1)      `gradual.kept_weights`, as 1 - s_t
    mask   = the largest |w| while 1 - s_t of them are kept   section 3    `GradualMagnitude.scores`

s_i is 0, t_0 and t_0 + n dt are the steps at `start` and `end` of `gradual.Config`, dt is `every`. The masks
shrink while the network trains, from its initialisation on; at `end` they are final, and training goes on
with what is left. A weight that is gone gets no update any more, so that it stays 0 and gone.

Schedule and cadence are those of the exact mode of `reparametrization` unless said otherwise: that is what it
has to be compared with. Zhu & Gupta give every layer the same sparsity; ours ranks the whole network, as all
our arms do.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.masks import apply_masks
from secateur.methods.gradual import GradualMethod
from secateur.methods.magnitude import magnitudes


class GradualMagnitude(GradualMethod):
    """Sets the weights of smallest magnitude to zero for good, more and more of them while training.

    Args and errors are those of `GradualMethod`.

    Example:
        >>> method = GradualMagnitude("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Zhu & Gupta 2017, section 3.
    """

    name = "gradual-magnitude"

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """|w|; what is gone already comes last of all, also behind a weight that is 0 by chance."""
        return {
            name: score.masked_fill(~self._masks[name].to(score.device), -1.0)
            for name, score in magnitudes(model).items()
        }

    def put_on(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        """Set the weights outside the masks to zero."""
        apply_masks(model, masks)

    @property
    def due(self) -> bool:
        """Whether masks are chosen at this step: once they are down to the budget they are final."""
        return super().due and self._kept > self.limits.units

    def after_step(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
        """Undo what the step did to the weights that are gone, momentum and decay included; then choose."""
        if self._kept < self._covered:
            apply_masks(model, self._masks)
        return super().after_step(model, optimizer)
