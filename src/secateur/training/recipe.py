"""How a network is trained: the numbers of a recipe, and the learning rate that they give.

Every option's default and help text stand here, at its field; the command line is made from them
(`cli.options`). For that the module loads without torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, get_args

from secateur.errors import require, unknown
from secateur.names import Precision, Schedule, SelectingSplit

SCHEDULES: tuple[str, ...] = get_args(Schedule)
SELECTING_SPLITS: tuple[str, ...] = get_args(SelectingSplit)
PRECISIONS: tuple[str, ...] = get_args(Precision)


def setting(default: Any, text: str, option: str | None = None) -> Any:
    """Declare a field of settings that the command line offers.

    Args:
        text: what `--help` says of it.
        option: the option's name with underscores, where it is not the field's.
    """
    return field(default=default, metadata={"help": text, "option": option})


class Augmented(Protocol):
    """What a recipe asks of a data set. `secateur.data.Data` has it, but would load torch."""

    @property
    def augmentation(self) -> Any:
        """The `secateur.data.Augmentation` that suits the images."""


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
        precision: of forward passes: "fp32", or "bf16" by autocast; weights, optimizer and sums stay float32.
    """

    epochs: int = setting(200, "Passes over the training split.")
    batch_size: int = setting(128, "Examples per step.")
    lr: float = setting(0.1, "First learning rate.")
    momentum: float = setting(0.9, "Of SGD.")
    weight_decay: float = setting(5e-4, "On every parameter.")
    milestones: tuple[float, ...] = setting((0.3, 0.6, 0.9), "Shares of the epochs at which the rate drops.")
    gamma: float = setting(0.2, "Factor of each drop.")
    pad: int | None = setting(None, "Zero-padding before a random crop; by default 1/8 of the side.")
    flip: bool | None = setting(None, "Mirror images at random; by default all but digits.")
    precision: Precision = setting("fp32", "fp32 or bf16.")  # noqa: RUF009  # a field
    schedule: Schedule = setting(  # noqa: RUF009
        "steps", "steps (at the milestones), cosine, or plateau (of accuracy)."
    )
    patience: int = setting(10, "Epochs without improvement before plateau drops.")
    early_stop: int | None = setting(None, "Epochs without improvement that end training; never by default.")
    select_on: SelectingSplit = setting(  # noqa: RUF009
        "val", "val; or test, which makes the accuracy there too good."
    )

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.select_on not in SELECTING_SPLITS:
            raise unknown("split to select on", self.select_on, SELECTING_SPLITS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
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
        schedule: Schedule = "cosine" if self.schedule == "plateau" else self.schedule
        return replace(self, schedule=schedule, early_stop=None)

    @property
    def follows_accuracy(self) -> bool:
        """Whether the accuracy of an epoch decides anything about the next."""
        return self.schedule == "plateau" or self.early_stop is not None

    def augmentation(self, data: Augmented) -> Any:
        """Padding and mirroring (`secateur.data.Augmentation`), the data set's own where left open here."""
        given = {name: value for name in ("pad", "flip") if (value := getattr(self, name)) is not None}
        return replace(data.augmentation, **given)

    def identity(self, data: Augmented) -> dict[str, Any]:
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
