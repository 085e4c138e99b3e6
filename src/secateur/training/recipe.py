"""How a network is trained: the numbers of a recipe, and the learning rate that they give.

Every option's default and help text stand here, at its field; the command line is made from them
(`cli.options`). For that the module loads without torch.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, get_args

from secateur.errors import InputError, require, unknown
from secateur.names import AUTO, Augment, Distilled, Optimizer, Precision, Schedule, SelectingSplit
from secateur.records.shown import changed

SCHEDULES: tuple[str, ...] = get_args(Schedule)
SELECTING_SPLITS: tuple[str, ...] = get_args(SelectingSplit)
PRECISIONS: tuple[str, ...] = get_args(Precision)
AUGMENTATIONS: tuple[str, ...] = get_args(Augment)
DISTILLATIONS: tuple[str, ...] = get_args(Distilled)

OPTIMIZERS = {"sgd": (0.1, 5e-4), "adamw": (1e-3, 1e-2), "muon": (1e-3, 1e-2)}
"""Every optimizer that has a name -> the rate and the weight decay that it has by default."""

CUSTOM: Any = "custom"
"""What an optimizer is called that a user's own function makes (`training.optimizers`)."""

FINE_TUNING: dict[str, Any] = {
    "epochs": 3,
    "optimizer": "adamw",
    "schedule": "cosine",
    "milestones": (),
    "warmup": 0.5,
    "clip_norm": 1.0,
}
"""What `Recipe.fine_tuning` has in place of the defaults, beside the rate."""

GENTLE = {"sgd": 1e-3, "adamw": 1e-4, "muon": 1e-4}
"""The rate of every optimizer for a network that comes trained."""

_DISTILL_WEIGHTS = {"logits": 0.9, "attention": 1.0}


def setting(default: Any, text: str, option: str | None = None, words: tuple[str, ...] = ()) -> Any:
    """Declare a field of settings that the command line offers.

    Args:
        text: what `--help` says of it.
        option: the option's name with underscores, where it is not the field's.
        words: what the command line takes in place of a number.
    """
    return field(default=default, metadata={"help": text, "option": option, "words": words})


class Unsaid(float):
    """A number that follows from other settings, as nobody gave it: `replace` lets it follow them again.

    Example:
        >>> [replace(recipe, optimizer="adamw").lr for recipe in (Recipe(), Recipe(lr=0.1))]
        [0.001, 0.1]
    """


class Augmented(Protocol):
    """What a recipe asks of a data set. `secateur.data.Data` has it, but would load torch."""

    @property
    def augmentation(self) -> Any:
        """The `secateur.data.Augmentation` that suits the images."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one image: (C, H, W)."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are Crowley et al. 2018, section 3, "Implementation Details".

    Attributes:
        epochs: passes over the training split, at least 1.
        batch_size: examples per step over all processes.
        optimizer: a key of `OPTIMIZERS`: "sgd"; "adamw", whose decay is decoupled (Loshchilov & Hutter 2019);
            "muon" for matrices with "adamw" for all else. Or "custom", by a function of the user's own
            (`with_own_optimizer`).
        lr: the first learning rate; `schedule` says what becomes of it. By default the optimizer's; of a
            user's own optimizer it is a factor of the rates that it was made with, by default 1.
        warmup: epochs, or a part of one, in which the rate rises linearly, step by step, to what `schedule`
            says; 0: none.
        schedule: "steps": it is multiplied by `gamma` at each share of the epochs in `milestones`;
            "cosine": it falls to 0 along half a cosine, epoch by epoch;
            "plateau": it is multiplied by `gamma` whenever accuracy has not improved for `patience` epochs.
        milestones: of "steps": shares of the epochs, in [0, 1], rising.
        gamma: of "steps" and "plateau": what the rate is multiplied by.
        patience: of "plateau", in epochs.
        early_stop: end the training after so many epochs without improvement; None: never.
        select_on: the split whose accuracy "plateau" and `early_stop` follow: "val", or "test" as Dupont et
            al. 2021 do, which makes the accuracy on the test split too good.
        momentum: of SGD.
        weight_decay: on every parameter; of SGD it is part of the gradient, of the others decoupled. None:
            what a user's own optimizer has.
        clip_norm: the gradient of all parameters together is no longer than that (Euclidean norm); None: it
            is as it comes.
        accumulate: micro-batches that make a step; `batch_size` stays the examples of the step.
        ema: the decay of the exponential moving average of the weights, in (0, 1), which is what is measured
            and kept (`training.average`); None: there is none.
        distill: what the network learns from a teacher besides: "logits" (Hinton et al. 2015), "attention"
            (Zagoruyko & Komodakis 2017), or None (`training.distillation`).
        distill_weight: how much that counts; 0: nothing. By default 0.9 of "logits", 1 of "attention".
        temperature: of "logits", above 0.
        max_drop: what a network that comes trained may lose in the first epoch, of accuracy in [0, 1]; more
            ends the training (`training.guard`). It changes no number, so it is in no identity.
        augment: "crop-flip" (moved by up to `pad` pixels, mirrored), "resized-crop" (a random box, resized;
            mirrored where that suits), "none"; None: what the data set suggests.
        jitter: of brightness, contrast and saturation, each multiplied by 1 - jitter .. 1 + jitter; 0: none.
        pad: zero-padding in pixels before a random crop; None: what the data set suggests.
        flip: whether images are mirrored at random; None: what the data set suggests.
        precision: of forward passes: "fp32", or "bf16" by autocast; weights, optimizer and sums stay float32.
    """

    epochs: int = setting(200, "Passes over the training split; 3 for networks that come trained.")
    batch_size: int = setting(128, "Examples per step.")
    optimizer: Optimizer = setting(  # noqa: RUF009
        "sgd", "sgd, adamw, or muon (matrices; adamw for the rest)."
    )
    lr: float = setting(
        None,
        "First learning rate; by default 0.1 of sgd, 1e-3 of the others, 1e-4 for networks that come "
        "trained; auto: for these the best of a few that are tried.",
        words=(AUTO,),
    )
    warmup: float = setting(0.0, "Epochs in which the rate rises to it, step by step.")
    momentum: float = setting(0.9, "Of SGD.")
    weight_decay: float = setting(
        None, "On every parameter; by default 5e-4 of sgd, 0.01 (decoupled) of the others."
    )
    clip_norm: float | None = setting(None, "Largest norm of the gradient; by default any.")
    accumulate: int = setting(1, "Micro-batches that a step of batch-size examples is made of.")
    ema: float | None = setting(None, "Decay of an average of the weights, which is the result: 0.999.")
    milestones: tuple[float, ...] = setting((0.3, 0.6, 0.9), "Shares of the epochs at which the rate drops.")
    gamma: float = setting(0.2, "Factor of each drop.")
    augment: Augment | None = setting(  # noqa: RUF009
        None, "crop-flip, resized-crop or none; by default what suits the data."
    )
    jitter: float = setting(0.0, "Colours vary by this share: 0.2.")
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
    distill: Distilled | None = setting(  # noqa: RUF009
        None, "Learn from the original network too: logits or attention."
    )
    distill_weight: float = setting(
        None, "How much that counts, 0: nothing; by default 0.9 of logits, 1 of attention."
    )
    temperature: float = setting(4.0, "Of distilled logits.")
    max_drop: float = setting(
        0.1, "Stop where a network that comes trained loses more validation accuracy in the first epoch."
    )

    @classmethod
    def fine_tuning(cls, **given: Any) -> Recipe:
        """The recipe for a network that comes trained: gentle and short, so that it stays what it is.

        AdamW at rate 1e-4 (SGD at 1e-3), which rises over half an epoch and falls along a cosine; 3 epochs;
        gradients no longer than 1.

        Args:
            given: settings that win over these.

        Example:
            >>> Recipe.fine_tuning(epochs=5).lr, Recipe.fine_tuning(lr=3e-5).epochs
            (0.0001, 3)
        """
        optimizer = given.get("optimizer") or FINE_TUNING["optimizer"]
        rate = {"lr": GENTLE[optimizer]} if optimizer in GENTLE else {}
        return cls(**{**FINE_TUNING, **rate, **given})

    def __post_init__(self) -> None:
        self._fill_in()
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.select_on not in SELECTING_SPLITS:
            raise unknown("split to select on", self.select_on, SELECTING_SPLITS)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.distill is not None and self.distill not in DISTILLATIONS:
            raise unknown("distillation", self.distill, DISTILLATIONS)
        if self.augment is not None and self.augment not in AUGMENTATIONS:
            raise unknown("augmentation", self.augment, AUGMENTATIONS)
        checks = {
            "jitter must lie in [0, 1)": 0 <= self.jitter < 1,
            "pad must be left out where augment is not crop-flip": self.pad is None
            or self.augment in (None, "crop-flip"),
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 2": self.batch_size >= 2,
            "lr must be above 0": 0 < self.lr < math.inf,
            "momentum must lie in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must be at least 0": self.optimizer == CUSTOM or 0 <= self.weight_decay < math.inf,
            "gamma must lie in (0, 1]": 0 < self.gamma <= 1,
            "milestones must be rising shares in (0, 1)": _rising_shares(self.milestones),
            "pad must be at least 0": self.pad is None or self.pad >= 0,
            "patience must be at least 1": self.patience >= 1,
            "early_stop must be at least 1": self.early_stop is None or self.early_stop >= 1,
            "warmup must be at least 0": 0 <= self.warmup < math.inf,
            "clip_norm must be above 0": self.clip_norm is None or 0 < self.clip_norm < math.inf,
            "accumulate must be at least 1": self.accumulate >= 1,
            "accumulate must be at most batch_size": self.accumulate <= self.batch_size,
            "ema must lie in (0, 1)": self.ema is None or 0 < self.ema < 1,
            "max_drop must lie in [0, 1]": 0 <= self.max_drop <= 1,
            "temperature must be above 0": 0 < self.temperature < math.inf,
            "distill_weight must be at least 0": 0 <= self.distill_weight < math.inf,
            "distill_weight must be at most 1": self.distill != "logits" or self.distill_weight <= 1,
        }
        require(self, checks)

    def _fill_in(self) -> None:
        """Put in what follows from other settings, where it was left open."""
        if self.optimizer not in (*OPTIMIZERS, CUSTOM):
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        rate, decay = OPTIMIZERS.get(self.optimizer, (1.0, None))
        defaults = {
            "lr": rate,
            "weight_decay": decay,
            "distill_weight": _DISTILL_WEIGHTS.get(self.distill or "", 0.0),
        }
        for name, value in defaults.items():
            if getattr(self, name) is None or isinstance(getattr(self, name), Unsaid):
                object.__setattr__(self, name, value if value is None else Unsaid(value))

    def __repr__(self) -> str:
        return changed(self, type(self), Unsaid)

    def lr_at(self, epoch: float, drops: int = 0) -> float:
        """The learning rate in `epoch`, counted from 0; of "plateau" after so many `drops`.

        Args:
            epoch: of a method that has its own way through the schedule, so many epochs into it.

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

    def warmed_up(self, epochs: float) -> float:
        """The share of the rate after so many epochs, the present step with them: in (0, 1].

        Example:
            >>> [Recipe(warmup=2).warmed_up(epochs) for epochs in (0.5, 1, 2, 3)]
            [0.25, 0.5, 1.0, 1.0]
        """
        return min(1.0, epochs / self.warmup) if self.warmup else 1.0

    def in_words(self, epochs: int | None) -> str:
        """The optimizer, its rate, and how long, None until pruning ends: "adamw, rate 0.0001, 3 epochs"."""
        long = "while it is pruned" if epochs is None else f"{epochs} epoch{'s' if epochs != 1 else ''}"
        return f"{self.optimizer}, rate {self.lr:g}, {long}"

    @property
    def distills(self) -> bool:
        """Whether a teacher changes what is learnt."""
        return self.distill is not None and self.distill_weight > 0

    def with_own_optimizer(self) -> Recipe:
        """The recipe for a user's own optimizer, whose rates and weight decay it takes as they are.

        The schedule and the warm-up multiply these rates.
        """
        return replace(self, optimizer=CUSTOM, lr=None, weight_decay=None)  # type: ignore[arg-type]

    def undistilled(self) -> Recipe:
        """The recipe without a teacher: that of the teacher itself."""
        return replace(self, distill=None, distill_weight=None)  # type: ignore[arg-type]

    def for_tuning(self, lr: float | None = None) -> Recipe:
        """The recipe of fine-tuning: a constant rate, by default the lowest that training reached (8e-4)."""
        lowest: float = self.lr * self.gamma ** len(self.milestones)
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
        """What images go through (`secateur.data.Augmentation`), the data set's own where left open here.

        Raises:
            InputError: where nothing of an image need be left in a crop.
        """
        side = min(data.shape[-2:])
        if self.pad is not None and self.pad >= side:
            raise InputError(
                f"pad must be less than the image's side, {side} pixels, got {self.pad}: a crop could miss "
                f"the image altogether; the usual is {max(1, side // 8)}"
            )
        given = {name: value for name in ("pad", "flip") if (value := getattr(self, name)) is not None}
        named: dict[str, dict[str, Any]] = {
            "none": {"pad": 0, "flip": False},
            "crop-flip": {"flip": True},
            "resized-crop": {"pad": 0},
        }
        resized = {"resized": True} if self.augment == "resized-crop" else {}
        jitter = {"jitter": self.jitter} if self.jitter else {}
        return replace(
            data.augmentation, **{**named.get(self.augment or "", {}), **given, **resized, **jitter}
        )

    def identity(self, data: Augmented) -> dict[str, Any]:
        """What of it can change a number; what came later is named only where it is used."""
        values = {name: value for name, value in asdict(self).items() if name not in self._idle()}
        return {
            **values,
            "milestones": list(self.milestones),
            "pad": self.augmentation(data).pad,
            "flip": self.augmentation(data).flip,
            **({"augment": "resized-crop"} if self.augment == "resized-crop" else {}),
        }

    def shown(self) -> dict[str, Any]:
        """The settings for people; what came last only where it is used."""
        plain = asdict(Recipe())
        return {
            name: value for name, value in asdict(self).items() if name not in _LAST or value != plain[name]
        }

    def _idle(self) -> set[str]:
        """The settings that change nothing, among those that came later."""
        idle = {name for name in _LATER if getattr(self, name) == getattr(Recipe, name)} | {"max_drop"}
        if not self.distills:
            idle |= {"distill", "distill_weight", "temperature"}
        elif self.distill != "logits":
            idle.add("temperature")
        idle.add("augment")  # `identity` says what comes of it
        return idle | ({"momentum"} if self.optimizer != "sgd" else set())


_LAST = (
    "optimizer",
    "warmup",
    "clip_norm",
    "accumulate",
    "ema",
    "distill",
    "distill_weight",
    "temperature",
    "max_drop",
    "augment",
    "jitter",
)
_LATER = ("schedule", "patience", "early_stop", "select_on", *_LAST[:5], "jitter")
"""Fields that are part of a run's identity only where they are used, as older runs do not have them."""


def _rising_shares(shares: tuple[float, ...]) -> bool:
    return list(shares) == sorted(set(shares)) and all(0 < share < 1 for share in shares)
