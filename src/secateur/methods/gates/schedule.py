"""How gates close over a training: the share of the network that is left, and their crispness."""

from __future__ import annotations

from dataclasses import dataclass


def kept_share(progress: float, target: float, start: float, end: float) -> float:
    """C(step)/N: 1 until `start`, then target + (1 - target) * (1 - s)**3 with s from 0 to 1 at `end`.

    Args:
        progress: share of the training that is done, at least 0.
        target: share of the weights that are to be left, in [0, 1].

    Reference: the cubic schedule of Zhu & Gupta 2017 (arXiv:1710.01878), eq. (1).
    """
    s = min(1.0, max(0.0, (progress - start) / (end - start)))
    return target + (1 - target) * (1 - s) ** 3


def crispness(progress: float, first: int, last: int, start: float, end: float) -> int:
    """n: `first` until `start`, then up to `last` at `end` through the even numbers, geometrically."""
    s = min(1.0, max(0.0, (progress - start) / (end - start)))
    return 2 * round(first / 2 * (last / first) ** s)


@dataclass(frozen=True)
class Schedule:
    """How gates close over a training: first C falls, then h sharpens. The gates on channels share it.

    Attributes:
        n: crispness of h at first, even, at least 2 (the paper: 4).
        start: the share of training from which on C falls.
        end: the share of training at which C is at its target.
        n_final: the crispness reached at `sharpen_until`, even, at least n.
        sharpen_until: a share of training, above `end`.
        solve_every: steps from one solution for t to the next, at least 1.
    """

    n: int = 4
    start: float = 0.1
    end: float = 0.7
    n_final: int = 64
    sharpen_until: float = 0.9
    solve_every: int = 4

    def checks(self) -> dict[str, bool]:
        """What must hold, for `require`."""
        return {
            "n must be even and at least 2": self.n >= 2 and self.n % 2 == 0,
            "n_final must be even and at least n": self.n_final >= self.n and self.n_final % 2 == 0,
            "start must lie in [0, end)": 0 <= self.start < self.end,
            "end must lie below sharpen_until": self.end < self.sharpen_until,
            "sharpen_until must be at most 1": self.sharpen_until <= 1,
            "solve_every must be at least 1": self.solve_every >= 1,
        }

    def share_at(self, progress: float, target: float) -> float:
        """C / C_initial: `kept_share`."""
        return kept_share(progress, target, self.start, self.end)

    def n_at(self, progress: float) -> int:
        """n: `crispness`."""
        return crispness(progress, self.n, self.n_final, self.end, self.sharpen_until)
