"""Settings of the reparametrization of weights, in both its modes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from secateur.errors import require, unknown
from secateur.methods.gates.schedule import Schedule


@dataclass(frozen=True)
class Config(Schedule):
    """Settings of the reparametrization; of its `Schedule`, faithful mode has n alone.

    Attributes:
        mode: "exact" or "faithful".
        t_init: faithful: where every layer's t begins (the paper: 100).
        penalty_weight: faithful: lambda of eq. (8), at least 0 (the paper: 5).
        t_rate: faithful: the learning rate of t, in rates of the weights, above 0 (the paper names none of
            its own: 1). At 1 t hardly moves in a short training (docs/deviations.md).
        cut_at: exact: the share of training after which the weights go for good, by default at
            `sharpen_until`, never before. 1: only in `finalize`, with nothing left to make up for gates that
            were still between 0 and 1; C then falls until 0.7 and n rises until 0.9, unless said otherwise.
        restart: exact: whether the learning rate goes over its schedule anew after an early cut, as
            `schedule_place` says: Secateur's own loop asks for that, a loop of yours may.
        floor: exact: no layer is left with less than this part of what an even share of C would leave in
            it, in [0, 1): a global ranking can empty a layer, and then the network is dead.
        sample: exact: how many weights that solution looks at; evaluation and the cut look at all.
    """

    end: float = 0.5
    sharpen_until: float = 0.65
    mode: str = "exact"
    t_init: float = 100.0
    penalty_weight: float = 5.0
    t_rate: float = 1.0
    floor: float = 0.0
    sample: int = 200_000
    cut_at: float = 0.65
    restart: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("mode of the reparametrization", self.mode, MODES)
        checks = {
            **self.checks(),
            "t_init must be above 0": 0 < self.t_init < math.inf,
            "penalty_weight must be at least 0": 0 <= self.penalty_weight < math.inf,
            "t_rate must be above 0": 0 < self.t_rate < math.inf,
            "floor must lie in [0, 1)": 0 <= self.floor < 1,
            "sample must be at least 1": self.sample >= 1,
            "cut_at must lie in [sharpen_until, 1]": self.sharpen_until <= self.cut_at <= 1,
            "cut_at must be 1 in faithful mode, which cuts when training is over": self.mode == "exact"
            or self.cut_at == 1,
        }
        require(self, checks, "reparametrization: ")

    @classmethod
    def of(cls, **settings: Any) -> Config:
        """Make settings of those given: the cut follows the gates, or they the cut where that comes last."""
        late = settings.get("mode") == "faithful" or settings.get("cut_at") == 1
        schedule = LATE if late else {"cut_at": settings.get("sharpen_until", cls.cut_at)}
        return cls(**{**schedule, **settings})

    def identity(self) -> dict[str, Any]:
        """All of them, but for newer ones where they change nothing, so that older runs are found."""
        found = asdict(self)
        if self.cut_at == 1:
            del found["cut_at"], found["restart"]
        if self.t_rate == 1:
            del found["t_rate"]
        return found


LATE = {"end": Schedule.end, "sharpen_until": Schedule.sharpen_until, "cut_at": 1.0}
"""The schedule whose cut comes last."""


MODES = ("exact", "faithful")
