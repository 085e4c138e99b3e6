"""One training loop, for networks from scratch and for methods that prune; it knows only `Method`.

An epoch is a pure function of the seed and its number, and the state after each is saved, so a run that was
killed continues to the same result: on a CPU to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.architecture.architecture import Architecture
from secateur.data import Data, count_batches, epoch_batches
from secateur.device import Runtime
from secateur.errors import TrainingError
from secateur.methods import Method
from secateur.models.padding import Padding
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC, count_model_macs
from secateur.network.inputs import logits_of
from secateur.network.weights import count_params
from secateur.progress import Reporter
from secateur.training.checkpoint import Checkpoint
from secateur.training.evaluation import evaluate, validated_every
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed

REPORT_EVERY = 10  # steps between looks at the loss, each of which waits for the device


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
    best: float = -1.0  # accuracy on the split that the recipe selects on
    stale: int = 0  # epochs since it was reached
    waited: int = 0  # of those, epochs since the rate was last lowered
    drops: int = 0  # how often it was, by "plateau"
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
        model = runtime.place(model)
        self.model = self.method.prepare(model, self._scoring_batches(runtime.layout(model)))
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
        row: dict[str, Any] | None = None
        while not self._done():
            self._train_epoch()
            row = self._epoch_row()
            if self.progress.batch >= self._batches_per_epoch():
                self._close_epoch(row)
            self.progress.wall_s = time.perf_counter() - started
            self._save()
            self.reporter.epoch(row)
        if self.progress.batch:  # the part of an epoch until the method was finished; not in the checkpoint
            self.progress.history.append(row or self._epoch_row())
        return self

    def finish(self) -> Training:
        """Have the method hand over the finished network, which `model` is then."""
        self.model = self.method.finalize(self.model)
        self._build_around_model()
        return self

    def _scoring_batches(self, layout: torch.memory_format) -> Iterator[tuple[Tensor, Tensor]]:
        """What a method may look at before the first step; a generator, so the others cost nothing.

        Training images in an order of their own, not augmented, in whole batches that are the same for every
        process, so that all of them see, and choose, alike.
        """
        order = torch.Generator().manual_seed(derived_seed(self.seed, "scoring"))
        batches = epoch_batches(
            self.data.train,
            self.data,
            batch_size=self.recipe.batch_size,
            device=self.runtime.device,
            generator=order,
            layout=layout,
        )
        yield from batches

    def _done(self) -> bool:
        if self.epochs is None:
            return self.method.finished
        stops = self.recipe.early_stop is not None and self.progress.stale >= self.recipe.early_stop
        return stops or self.progress.epoch >= self.epochs

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
            param_group["lr"] = self._lr()
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
            layout=self.layout,
        )

    def _step(self, x: Tensor, y: Tensor, sums: Tensor) -> None:
        self.model.train()
        with self.runtime.autocast(), self.padding:
            logits = logits_of(self.wrapped(self.runtime.arrange(x, self.layout)))
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
        self.padding = self._padding()
        self.params = count_params(self.model)
        self.macs = count_model_macs(self.model)

    def _padding(self) -> AbstractContextManager[Any]:
        """Channels are padded where that was measured to be faster, and nobody minds who looks at them."""
        faster = self.runtime.device.type == "cpu" and self.layout == torch.channels_last
        return Padding(self.model) if faster and self.method.takes_padding else nullcontext()

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
                f"rate {self._lr():g}); {kept}: lower the rate, or use fp32"
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
            "val_accuracy": self._validation_accuracy(),
            **self._test_accuracy(),
            "lr": self._lr(),
            "params": self.params,
            **self.method.progress(),
        }

    def _validation_accuracy(self) -> float | None:
        """None in epochs that nobody needs it of: neither a schedule, nor who looks at the first and last."""
        epoch = self.progress.epoch + 1
        last = self.method.finished if self.epochs is None else epoch >= self.epochs
        needed = self.recipe.follows_accuracy or epoch == 1 or last
        if not needed and epoch % validated_every(self.data):
            return None
        return evaluate(self.model, self.data.val, self.data, self.runtime)

    def _lr(self) -> float:
        return self.recipe.lr_at(self.progress.epoch, self.progress.drops)

    def _test_accuracy(self) -> dict[str, float]:
        """Looked at during training only where the recipe says so; the history then shows it."""
        if self.recipe.select_on == "val":
            return {}
        return {"test_accuracy": evaluate(self.model, self.data.test, self.data, self.runtime)}

    def _follow_plateau(self, row: dict[str, Any]) -> None:
        """Count the epochs without improvement, and lower the rate when "plateau" is out of patience."""
        if not self.recipe.follows_accuracy:
            return
        progress, accuracy = self.progress, row[f"{self.recipe.select_on}_accuracy"]
        if accuracy > progress.best:
            progress.best, progress.stale, progress.waited = accuracy, 0, 0
            return
        progress.stale += 1
        progress.waited += 1
        if self.recipe.schedule == "plateau" and progress.waited >= self.recipe.patience:
            progress.drops += 1
            progress.waited = 0

    def _close_epoch(self, row: dict[str, Any]) -> None:
        progress = self.progress
        progress.history.append(row)
        self._follow_plateau(row)
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


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.NAME`, by NAME."""
    return {
        name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")
    }
