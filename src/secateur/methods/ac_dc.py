"""AC/DC: Peste et al. 2021, *AC/DC: alternating compressed/decompressed training* (arXiv:2106.12379).

    T_k(w)                the k largest |w|, the others 0, once a phase       `AcDc.scores`
    compressed phase      w <- (w - eta g) on the support of T_k(w)           `GradualMagnitude.put_on`
    decompressed phase    w <- w - eta g, from the sparse w on; momentum 0    `forget_momentum`
    which phase           dense first, then in turns; compressed last         `compressed`

All of it is their Algorithm 1. Two networks are trained in one: the dense one gains from what the sparse one
learnt, and the sparse one from the weights that the dense one found. What was zero in a compressed phase may
come back in the next.

Phases are those of the authors for CIFAR, in shares of their 200 epochs: 10 dense; 20 compressed, 20 dense,
and so on to epoch 150; 20 dense; the last 30 compressed. For ImageNet theirs are warmup=0.1, phase=0.05.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from secateur.errors import require
from secateur.methods.gradual_magnitude import GradualMagnitude
from secateur.network.masks import magnitudes
from secateur.surgery.optimizer_state import Optimizers, listed


@dataclass(frozen=True)
class Config:
    """When the network is compressed; all are shares of the training.

    Attributes:
        warmup: dense at first, in [0, 1).
        phase: the length of every phase between, in (0, 1].
        last_dense: the length of the last dense phase, in [0, 1).
        last_compressed: the length of the last phase, in (0, 1].
    """

    warmup: float = 0.05
    phase: float = 0.1
    last_dense: float = 0.1
    last_compressed: float = 0.15

    def __post_init__(self) -> None:
        fixed = self.warmup + self.last_dense + self.last_compressed
        checks = {
            "warmup must lie in [0, 1)": 0 <= self.warmup < 1,
            "phase must lie in (0, 1]": 0 < self.phase <= 1,
            "last_dense must lie in [0, 1)": 0 <= self.last_dense < 1,
            "last_compressed must lie in (0, 1]": 0 < self.last_compressed <= 1,
            "last_compressed must leave room for warmup and last_dense (together at most 1)": fixed
            <= 1 + 1e-9,
        }
        require(self, checks, "ac-dc: ")


def compressed(step: int, steps: int, config: Config) -> bool:
    """Say whether the network is sparse after so many of all steps: in the step that comes next.

    Example:
        >>> "".join("DC"[compressed(step, 20, Config())] for step in range(21))
        'DCCDDCCDDCCDDCCDDCCCC'

    Reference: Peste et al. 2021, Algorithm 1; phases of the authors' `configs/neurips`.
    """
    done = step / steps + 1e-9
    if done >= 1 - config.last_compressed:
        return True
    if done < config.warmup or done >= 1 - config.last_compressed - config.last_dense:
        return False
    return int((done - config.warmup) / config.phase) % 2 == 0


_MOMENTA = ("momentum_buffer", "exp_avg")
"""What optimizers call the mean of the last gradients: SGD and Muon, Adam and its kin."""


def forget_momentum(optimizer: Optimizers) -> None:
    """Set the momentum of every parameter to zero, in place; of second moments and counts nothing changes.

    Reference: the authors' `--reset_momentum_after_recycling`, with which all of their runs were made.
    """
    for state in (state for each in listed(optimizer) for state in each.state.values()):
        for key in _MOMENTA:
            if isinstance(state.get(key), Tensor):
                state[key].zero_()


class AcDc(GradualMagnitude):
    """Trains sparse and dense in turns, and ends sparse.

    Args and errors are those of `GradualMethod`, settings those of `Config`.

    Example:
        >>> method = AcDc("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Peste et al. 2021, Algorithm 1.
    """

    name = "ac-dc"
    configured = Config

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """|w| of all weights: those that were gone are in the running again."""
        return magnitudes(model)

    def most(self) -> dict[str, int]:
        """All that a layer has: nothing is gone for good."""
        return {name: mask.numel() for name, mask in self._masks.items()}

    @property
    def scheduled(self) -> int:
        """The budget's weights, or all."""
        return self.limits.units if compressed(self._step, self.steps, self.config) else self._covered

    @property
    def due(self) -> bool:
        """Whether another phase begins."""
        return self._step <= self.steps and self._kept != self.scheduled

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Hold the zeros of a compressed phase; where a dense one begins, momentum begins anew."""
        was = self._kept
        model = super().after_step(model, optimizer)
        if was < self._kept == self._covered:
            forget_momentum(optimizer)
        return model
