"""One training loop, for networks from scratch and for methods that prune; it knows only `Method`.

An epoch is a pure function of the seed and its number, and the state after each is saved, so a run that was
killed continues to the same result: on a CPU to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.architecture import Architecture
from secateur.budget import (
    TRAINING_MACS_PER_INFERENCE_MAC,
    count_macs,
    count_params,
    layer_positions,
)
from secateur.data import Augmentation, Data, Split, count_batches, epoch_batches
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.methods import Method
from secateur.progress import Reporter
from secateur.runs import Checkpoint, derived_seed

EVALUATION_BATCH = 500
REPORT_EVERY = 10  # steps between looks at the loss, each of which waits for the device


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are Crowley et al. 2018, section 3, "Implementation Details".

    Attributes:
        epochs: passes over the training split, at least 1.
        batch_size: examples per step over all processes.
        lr: the first learning rate, multiplied by `gamma` at each share of the epochs in `milestones`.
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

    def __post_init__(self) -> None:
        checks = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 2": self.batch_size >= 2,
            "lr must be above 0": 0 < self.lr < math.inf,
            "momentum must lie in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay must be at least 0": 0 <= self.weight_decay < math.inf,
            "gamma must lie in (0, 1]": 0 < self.gamma <= 1,
            "milestones must be rising shares in (0, 1)": _rising_shares(self.milestones),
            "pad must be at least 0": self.pad is None or self.pad >= 0,
        }
        for invariant, holds in checks.items():
            if not holds:
                raise InputError(f"{invariant}, got {getattr(self, invariant.split()[0])}")

    def lr_at(self, epoch: int) -> float:
        """The learning rate in `epoch`, counted from 0.

        Example:
            >>> [round(Recipe().lr_at(epoch), 7) for epoch in (0, 59, 60, 120, 199)]
            [0.1, 0.1, 0.02, 0.004, 0.0008]
        """
        passed = sum(epoch >= share * self.epochs - 1e-9 for share in self.milestones)
        return self.lr * self.gamma**passed

    def for_tuning(self, lr: float | None = None) -> Recipe:
        """The recipe of fine-tuning: a constant rate, by default the lowest that training reached (8e-4)."""
        lowest = self.lr * self.gamma ** len(self.milestones)
        return replace(self, lr=lowest if lr is None else lr, milestones=())

    def augmentation(self, data: Data) -> Augmentation:
        """Padding and mirroring, the data set's own where the recipe leaves them open."""
        default = data.augmentation
        return Augmentation(
            default.pad if self.pad is None else self.pad, default.flip if self.flip is None else self.flip
        )

    def identity(self, data: Data) -> dict[str, Any]:
        """What of it can change a number."""
        return {
            **asdict(self),
            "milestones": list(self.milestones),
            "pad": self.augmentation(data).pad,
            "flip": self.augmentation(data).flip,
        }


def _rising_shares(shares: tuple[float, ...]) -> bool:
    return list(shares) == sorted(set(shares)) and all(0 < share < 1 for share in shares)


@dataclass
class Progress:
    """How far a run has come; everything here is in its checkpoint."""

    epoch: int = 0
    batch: int = 0  # done in the present epoch
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    compute: int = 0  # training MACs spent
    wall_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """A network in training. `fit` runs it to its end; `model` and `progress` are then the result.

    Args:
        model: trained in place, and cut in place where the method prunes.
        epochs: how many; None: until the method is finished.
        save: is given a `Checkpoint` after every epoch and at the end (on the main process).
    """

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        recipe: Recipe,
        *,
        seed: int,
        runtime: Runtime,
        reporter: Reporter,
        method: Method | None = None,
        epochs: int | None = None,
        save: Callable[[Checkpoint], None] | None = None,
    ):
        self.data, self.recipe, self.seed = data, recipe, seed
        self.runtime, self.reporter, self.save = runtime, reporter, save
        self.method = method or Method()
        self.epochs = epochs
        self.progress = Progress()
        self.model = self.method.prepare(runtime.place(model))
        self._build_around_model()
        self.optimizer = torch.optim.SGD(
            self.method.parameter_groups(self.model, recipe.weight_decay),
            lr=recipe.lr,
            momentum=recipe.momentum,
        )

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up a saved state; the model given must have the architecture it was taken at."""
        tensors = {part: _under(checkpoint.tensors, part) for part in ("model", "momentum", "method")}
        self.model.load_state_dict(tensors["model"])
        for name, parameter in self.model.named_parameters():
            if name in tensors["momentum"]:
                buffer = tensors["momentum"][name].to(parameter.device)
                self.optimizer.state[parameter] = {
                    "momentum_buffer": torch.empty_like(parameter).copy_(buffer)
                }
        self.method.restore(checkpoint.state["method"], tensors["method"])
        self.progress = Progress(**checkpoint.state["progress"])

    def fit(self) -> Training:
        """Train to the end: `epochs` epochs, or until the method is finished."""
        started = time.perf_counter() - self.progress.wall_s
        self._follow(self.method.advance(self.model, self.optimizer))
        while not self._done():
            self._train_epoch()
            row = self._epoch_row()
            if self.progress.batch >= self._batches_per_epoch():
                self._close_epoch(row)
            self.progress.wall_s = time.perf_counter() - started
            self._save()
            self.reporter.epoch(row)
        if self.progress.batch:  # the part of an epoch until the method was finished; not in the checkpoint
            self.progress.history.append(self._epoch_row())
        return self

    def _done(self) -> bool:
        return self.method.finished if self.epochs is None else self.progress.epoch >= self.epochs

    def _completion(self) -> float:
        """How much of the run is done, in [0, 1]."""
        if self.epochs is None:
            return self.method.completion
        share = self.progress.batch / self._batches_per_epoch()
        return (self.progress.epoch + share) / self.epochs

    def _batches_per_epoch(self) -> int:
        return count_batches(len(self.data.train), self.recipe.batch_size, self.runtime.world)

    def _train_epoch(self) -> None:
        """The rest of the present epoch, or less where the method is finished within it."""
        progress = self.progress
        for param_group in self.optimizer.param_groups:
            param_group["lr"] = self.recipe.lr_at(progress.epoch)
        sums = torch.tensor(
            [progress.loss_sum, progress.correct, progress.seen], dtype=torch.float64, device="cpu"
        ).to(self.runtime.device, torch.float64 if self.runtime.device.type != "mps" else torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "noise", progress.epoch, progress.batch))
            for x, y in self._batches():
                self._step(x, y, sums)
                progress.batch += 1
                if progress.batch % REPORT_EVERY == 0:
                    self._look(sums)
                if self.epochs is None and self.method.finished:
                    break
        self._look(sums)
        progress.loss_sum, correct, seen = sums.tolist()
        progress.correct, progress.seen = round(correct), round(seen)

    def _batches(self) -> Any:
        order = torch.Generator().manual_seed(derived_seed(self.seed, "order", self.progress.epoch))
        return epoch_batches(
            self.data.train,
            self.data,
            batch_size=self.recipe.batch_size,
            device=self.runtime.device,
            generator=order,
            augmentation=self.recipe.augmentation(self.data),
            start=self.progress.batch,
            rank=self.runtime.rank,
            world=self.runtime.world,
        )

    def _step(self, x: Tensor, y: Tensor, sums: Tensor) -> None:
        self.model.train()
        with self.runtime.autocast():
            logits = self.wrapped(self.runtime.arrange(x, self.layout))
        loss = F.cross_entropy(logits.float() if logits.dtype == torch.bfloat16 else logits, y)
        (loss + self.method.penalty(self.model)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        examples = len(y) * self.runtime.world
        self.progress.compute += examples * TRAINING_MACS_PER_INFERENCE_MAC * self.macs
        hits = (logits.detach().argmax(1) == y).sum()
        sums += torch.stack([loss.detach() * len(y), hits, torch.full_like(hits, len(y))])
        self._follow(self.method.after_step(self.model, self.optimizer))

    def _follow(self, model: nn.Module) -> None:
        """Take the model from the method; if it shrank, everything built around it follows."""
        self.model = model
        if count_params(model) != self.params:
            self._build_around_model()

    def _build_around_model(self) -> None:
        """What depends on the network's present size."""
        self.model = self.runtime.place(self.model)
        self.layout = self.runtime.layout(self.model)
        self.wrapped = self.runtime.wrap(self.model)
        self.params = count_params(self.model)
        self.macs = count_macs(self.model, layer_positions(self.model, self.data.shape))

    def _look(self, sums: Tensor) -> None:
        """Show the loss so far, and stop where it is no number any more."""
        loss_sum, correct, seen = sums.tolist()
        if not math.isfinite(loss_sum):
            epochs = self.progress.epoch
            kept = (
                f"the last good checkpoint is that of epoch {epochs}" if epochs else "no epoch was finished"
            )
            raise TrainingError(
                f"the loss is not finite in epoch {self.progress.epoch + 1} (step {self.progress.batch}, "
                f"rate {self.recipe.lr_at(self.progress.epoch):g}); {kept}: lower the rate, or use fp32"
            )
        self.reporter.step(
            done=self._completion(),
            loss=loss_sum / max(seen, 1),
            accuracy=correct / max(seen, 1),
            **self.method.progress(),
        )

    def _epoch_row(self) -> dict[str, Any]:
        progress = self.progress
        totals = torch.tensor(
            [progress.loss_sum, progress.correct, progress.seen], device=self.runtime.device
        )
        loss_sum, correct, seen = self.runtime.sum(totals).tolist()
        self.method.before_evaluation(self.model)
        return {
            "epoch": progress.epoch + 1,
            "loss": loss_sum / max(seen, 1),
            "train_accuracy": correct / max(seen, 1),
            "val_accuracy": evaluate(self.model, self.data.val, self.data, self.runtime),
            "lr": self.recipe.lr_at(progress.epoch),
            "params": self.params,
            **self.method.progress(),
        }

    def _close_epoch(self, row: dict[str, Any]) -> None:
        progress = self.progress
        progress.history.append(row)
        progress.epoch += 1
        progress.batch = progress.correct = progress.seen = 0
        progress.loss_sum = 0.0

    def _save(self) -> None:
        """Hand out the state. Every process takes part, because a method may sum over them."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            buffer = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                tensors[f"momentum.{name}"] = buffer
        tensors |= {f"method.{name}": value for name, value in self.method.tensors().items()}
        state = {
            "architecture": Architecture.of(self.model).identity(),
            "progress": asdict(self.progress),
            "method": self.method.state(),
        }
        if self.save is not None and self.runtime.is_main:
            self.save(Checkpoint(state, tensors))


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, data: Data, runtime: Runtime) -> float:
    """Top-1 accuracy, a fraction in [0, 1], over every example of `split`; all processes take part."""
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=runtime.device)
    batches = epoch_batches(
        split,
        data,
        batch_size=EVALUATION_BATCH,
        device=runtime.device,
        rank=runtime.rank,
        world=runtime.world,
    )
    layout = runtime.layout(model)
    for x, y in batches:
        with runtime.autocast():
            correct += (model(runtime.arrange(x, layout)).argmax(1) == y).sum()
    model.train(was_training)
    return int(runtime.sum(correct)) / len(split)


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.NAME`, by NAME."""
    return {
        name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")
    }
