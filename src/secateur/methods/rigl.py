"""RigL: Evci, Gale, Menick, Castro & Elsen 2020, *Rigging the lottery* (arXiv:1911.11134).

    s_l from (n_in + n_out + kh + kw) / (n_in n_out kh kw)   section 3 (1)    `layer_shares.layer_counts`
    every Delta T steps, until T_end                         section 3 (2)    `SparseTraining.due`
    f_decay(t) = alpha/2 (1 + cos(t pi / T_end))             section 3 (2)    `regrowth.drop_share`
    drop the smallest |w|                                    section 3 (3)    `regrowth.dropped`
    grow the largest |dL/dw|, new weights 0                  section 3 (4)    `regrowth.grown`

Algorithm 1. alpha is `drop`, Delta T is `every`, T_end is `end` of all steps. The gradient is that of the
dense network at the step of the update: of weights that are zero, too (`dense_gradients`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from secateur.methods.regrowth import drop_share, exchanged
from secateur.methods.sparse_training import Config, SparseTraining, sparse_weights
from secateur.network.masks import Masks


@dataclass(frozen=True)
class RigLConfig(Config):
    """Settings of RigL: alpha, T_end as in the paper; Delta T for shorter trainings (docs/deviations.md).

    Attributes:
        drop: alpha, the share that is exchanged at first; it falls along a cosine.
        every: Delta T, steps from one exchange to the next (the paper: 100 of 32,000 and more).
        end: T_end, the share of training after which nothing is exchanged.
    """

    drop: float = 0.3
    every: int = 20
    end: float = 0.75


class RigL(SparseTraining):
    """Drops the smallest weights of every layer and grows those that the loss feels most.

    Args and errors are those of `SparseTraining`, settings those of `RigLConfig`.

    Example:
        >>> method = RigL("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Evci et al. 2020, Algorithm 1.
    """

    name = "rigl"
    configured = RigLConfig
    looks_at_gradients = True

    def exchange(self, model: nn.Module) -> Masks:
        """Exchange f_decay of every layer's weights; none at a step whose gradient is not finite."""
        gradients = self.gradients.of_step(model)
        if gradients is None:
            return self._masks
        share = drop_share(self._step, self.config.last_step(self.steps), self.config.drop)
        return {
            name: exchanged(weight, self._masks[name].to(weight.device), gradients[name], share)
            for name, weight in sparse_weights(model).items()
        }
