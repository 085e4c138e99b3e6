"""One training loop, for networks from scratch and for methods that prune; it knows only `Method`.

Read `fit`, `_epoch`, `step`, in that order: that is all of it. What they name has a file each: the order of
the images (`batches`), the network that a method may shrink (`placed`), the sums (`meter`), how far it has
come and what follows from the accuracy (`state`), the measuring (`evaluation`), what is saved (`checkpoint`).

An epoch is a pure function of the seed and its number, and the state after each is saved, so a run that was
killed continues to the same result: on a CPU to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from secateur.device import Runtime
from secateur.methods import Method
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.network.inputs import Inputs, batch_of
from secateur.progress import Reporter
from secateur.training.batches import AnyData, batches_of
from secateur.training.checkpoint import Checkpoint, pack, unpack
from secateur.training.evaluation import accuracies_after
from secateur.training.meter import Meter, means_over_processes
from secateur.training.placed import PlacedNetwork
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed
from secateur.training.state import Progress
from secateur.training.terms import Terms

REPORT_EVERY = 10  # steps between looks at the loss, each of which waits for the device

Save = Callable[[Checkpoint, nn.Module], None]


class Training:
    """Trains a network. `fit` runs it to its end; `model` and `progress` are then the result.

    Args:
        model: trained in place, and cut in place where the method prunes.
        epochs: how many; None: until the method is finished.
        save: is given a `Checkpoint` and the model after every epoch and at the end (on the main process).
        terms: the loss, the metric and the user's own optimizer.
    """

    def __init__(
        self,
        model: nn.Module,
        data: AnyData,
        recipe: Recipe,
        *,
        seed: int,
        runtime: Runtime,
        reporter: Reporter,
        method: Method | None = None,
        epochs: int | None = None,
        save: Save | None = None,
        terms: Terms | None = None,
    ):
        self.terms = terms or Terms()
        self.data, self.recipe, self.seed, self.epochs = data, recipe, seed, epochs
        self.runtime, self.reporter, self.save = runtime, reporter, save
        self.method = method or Method()
        self.progress = Progress()
        self.batches = batches_of(data, recipe, seed, runtime)
        model = runtime.place(model)
        model = self.method.prepare(model, self.batches.for_scoring(runtime.layout(model)))
        self.network = PlacedNetwork(model, runtime, self.method)
        groups = self.method.parameter_groups(self.model, recipe.weight_decay)
        self.optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up a saved state; the model given must have the architecture it was taken at."""
        self.progress = unpack(checkpoint, self.model, self.optimizer, self.method)

    def fit(self) -> Training:
        """Train to the end: `epochs` epochs, or until the method is finished."""
        started = time.perf_counter() - self.progress.wall_s
        row: dict[str, Any] | None = None
        self.network.follow(self.method.advance(self.model, self.optimizer))
        while not self._done():
            self._epoch()
            row = self._row()
            if self.progress.batch >= self.batches.per_epoch():
                self.progress.close_epoch(row, self.recipe, self.terms.task.metric.measure)
            self.progress.wall_s = time.perf_counter() - started
            self._save()
            self.reporter.epoch(row)
        if self.progress.batch:  # the part of an epoch until the method was finished; not in the checkpoint
            self.progress.history.append(row or self._row())
        return self

    def _epoch(self) -> None:
        """Train the rest of the present epoch, or less where the method is finished within it."""
        progress, metric = self.progress, self.terms.task.metric
        meter = Meter(progress, self.runtime.device, metric)
        for group in self.optimizer.param_groups:
            group["lr"] = progress.lr(self.recipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "noise", progress.epoch, progress.batch))
            for x, y in self.batches.of_epoch(progress.epoch, progress.batch, self.network.layout):
                self.step(x, y, meter)
                progress.batch += 1
                if progress.batch % REPORT_EVERY == 0:
                    self._look(meter)
                if self.epochs is None and self.method.finished:
                    break
        self._look(meter)
        meter.keep_in(progress)

    def step(self, x: Inputs, y: Any, meter: Meter) -> None:
        """Train on one batch, count it, and let the method do what follows a step: it may cut the network."""
        output = self.network.output(x, self.recipe.precision)
        loss = self.terms.task.loss(output, y)
        (loss + self.method.penalty(self.model)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        examples = batch_of(x)
        self.progress.compute += examples * self.runtime.world * TRAINING_MACS_PER_INFERENCE_MAC * self.macs
        meter.add(loss.detach(), output, y, examples)
        self.network.follow(self.method.after_step(self.model, self.optimizer))

    def finish(self) -> Training:
        """Have the method hand over the finished network, which `model` is then."""
        self.network.place(self.method.finalize(self.model))
        return self

    @property
    def model(self) -> nn.Module:
        """The network as it is now."""
        return self.network.model

    @property
    def params(self) -> int:
        """Its parameters."""
        return self.network.params

    @property
    def macs(self) -> int:
        """Its multiply-accumulates for one example."""
        return self.network.macs

    def _done(self) -> bool:
        if self.epochs is None:
            return self.method.finished
        return self.progress.epoch >= self.epochs or self.progress.stops_early(self.recipe)

    def _completion(self) -> float:
        """How much of the run is done, in [0, 1]."""
        if self.epochs is None:
            return self.method.completion
        return (self.progress.epoch + self.progress.batch / self.batches.per_epoch()) / self.epochs

    def _look(self, meter: Meter) -> None:
        """Show loss and accuracy so far; TrainingError where the loss is no number any more."""
        loss, accuracy = meter.read(self.progress, self.progress.lr(self.recipe))
        self.reporter.step(done=self._completion(), loss=loss, accuracy=accuracy, **self.method.progress())

    def _row(self) -> dict[str, Any]:
        """Measure the network after an epoch, or after the part of one that was trained."""
        epoch = self.progress.epoch + 1
        last = self.method.finished if self.epochs is None else epoch >= self.epochs
        task = self.terms.task
        loss, accuracy = means_over_processes(self.progress, self.runtime, task.metric)
        self.method.before_evaluation(self.model)
        return {
            "epoch": epoch,
            "loss": loss,
            "train_accuracy": accuracy,
            **accuracies_after(epoch, last, self.model, self.data, self.runtime, self.recipe, task),
            "lr": self.progress.lr(self.recipe),
            "params": self.params,
            **self.method.progress(),
        }

    def _save(self) -> None:
        """Hand out the state."""
        checkpoint = pack(self.model, self.optimizer, self.method, self.progress)  # in every process
        if self.save is not None and self.runtime.is_main:
            self.save(checkpoint, self.model)
