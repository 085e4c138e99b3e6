"""How a network is trained: the numbers of a recipe, and the learning rate that they give."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from secateur.data import Augmentation, Data
from secateur.errors import require, unknown

SCHEDULES = ("steps", "cosine", "plateau")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are Crowley et al. 2018, section 3, "Implementation Details".

    Attributes:
        epochs: passes over the training split, at least 1.
        batch_size: examples per step over all processes.
        lr: the first learning rate; `schedule` says what becomes of it.
        schedule: "steps": it is multiplied by `gamma` at each share of the epochs in `milestones`;
            "cosine": it falls to 0 along half a cosine, epoch by epoch;
            "plateau": it is multiplied by `gamma` whenever accuracy has not improved for `patience` epochs.
        patience: of "plateau", in epochs.
        early_stop: end the training after so many epochs without improvement; None: never.
        select_on: the split whose accuracy "plateau" and `early_stop` follow: "val", or "test" as Dupont et
            al. 2021 do, which makes the accuracy on the test split too good.
        momentum, weight_decay: of SGD; the decay is on every parameter.
        pad: zero-padding in pixels before a random crop; None: what the data set suggests.
        flip: whether images are mirrored at random; None: what the data set suggests.
        precision: "fp32" or "bf16".
    """

    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.3, 0.6, 0.9)
    gamma: float = 0.2
    pad: int | None = None
    flip: bool | None = None
    precision: str = "fp32"
    schedule: str = "steps"
    patience: int = 10
    early_stop: int | None = None
    select_on: str = "val"

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.select_on not in ("val", "test"):
            raise unknown("split to select on", self.select_on, ("val", "test"))
        checks = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 2": self.batch_size >= 2,
            "lr must be above 0": 0 < self.lr < math.inf,
            "momentum must lie in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must be at least 0": 0 <= self.weight_decay < math.inf,
            "gamma must lie in (0, 1]": 0 < self.gamma <= 1,
            "milestones must be rising shares in (0, 1)": _rising_shares(self.milestones),
            "pad must be at least 0": self.pad is None or self.pad >= 0,
            "patience must be at least 1": self.patience >= 1,
            "early_stop must be at least 1": self.early_stop is None or self.early_stop >= 1,
        }
        require(self, checks)

    def lr_at(self, epoch: int, drops: int = 0) -> float:
        """The learning rate in `epoch`, counted from 0; of "plateau" after so many `drops`.

        Example:
            >>> [round(Recipe().lr_at(epoch), 7) for epoch in (0, 59, 60, 120, 199)]
            [0.1, 0.1, 0.02, 0.004, 0.0008]
        """
        if self.schedule == "plateau":
            return self.lr * self.gamma**drops
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2
        passed = sum(epoch >= share * self.epochs - 1e-9 for share in self.milestones)
        return self.lr * self.gamma**passed

    def for_tuning(self, lr: float | None = None) -> Recipe:
        """The recipe of fine-tuning: a constant rate, by default the lowest that training reached (8e-4)."""
        lowest = self.lr * self.gamma ** len(self.milestones)
        return replace(self, lr=lowest if lr is None else lr, milestones=(), schedule="steps")

    def unbroken(self) -> Recipe:
        """For methods with a schedule over a fixed number of steps.

        Early stopping would break it off, and "plateau" would take the accuracy that falls while weights go
        for stagnation: it is replaced by "cosine".
        """
        schedule = "cosine" if self.schedule == "plateau" else self.schedule
        return replace(self, schedule=schedule, early_stop=None)

    @property
    def follows_accuracy(self) -> bool:
        """Whether the accuracy of an epoch decides anything about the next."""
        return self.schedule == "plateau" or self.early_stop is not None

    def augmentation(self, data: Data) -> Augmentation:
        """Padding and mirroring, the data set's own where the recipe leaves them open."""
        default = data.augmentation
        return Augmentation(
            default.pad if self.pad is None else self.pad, default.flip if self.flip is None else self.flip
        )

    def identity(self, data: Data) -> dict[str, Any]:
        """What of it can change a number; what came later is named only where it is used."""
        later = {name: getattr(Recipe, name) for name in ("schedule", "patience", "early_stop", "select_on")}
        values = asdict(self)
        return {
            **{name: value for name, value in values.items() if name not in later or value != later[name]},
            "milestones": list(self.milestones),
            "pad": self.augmentation(data).pad,
            "flip": self.augmentation(data).flip,
        }


def _rising_shares(shares: tuple[float, ...]) -> bool:
    return list(shares) == sorted(set(shares)) and all(0 < share < 1 for share in shares)
