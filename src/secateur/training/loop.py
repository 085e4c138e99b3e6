"""One training loop, for networks from scratch and for methods that prune; it knows only `Method`.

Read `fit`, `_epoch`, `step`, in that order: that is all of it. What they name has a file each: the order of
the images (`batches`), the parts of a batch (`micro`), the network that a method may shrink (`placed`), what
steps it (`optimizers`), the teacher that it may have (`distillation`), the average of its weights
(`average`), the sums (`meter`), how far it has come and what follows from the accuracy (`state`), the
measuring (`evaluation`), the stop for networks that come trained (`guard`), what a cut of weights costs
(`cost`), what is saved (`checkpoint`).

An epoch is a pure function of the seed and its number, and the state after each is saved, so a run that was
killed continues to the same result: on a CPU to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import Method
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.network.inputs import Inputs, batch_of
from secateur.network.target_checks import outside
from secateur.progress import Reporter
from secateur.surgery.anatomy import read_for
from secateur.training.average import Average, average_of
from secateur.training.batches import AnyData, AnySplit, batches_of
from secateur.training.checkpoint import Checkpoint, Part, pack, unpack
from secateur.training.cost import costed
from secateur.training.distillation import teacher_of
from secateur.training.evaluation import accuracies_after, evaluate
from secateur.training.finite import check_weights
from secateur.training.guard import FirstEpochGuard, Guard
from secateur.training.meter import Meter, means_over_processes
from secateur.training.micro import BatchPart, parts_of
from secateur.training.optimizers import build, parameters_of, set_rate
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
        comes_trained: the network is worth something as it is: what it may lose is limited (`guard`).
        teacher: what it learns from besides, where the recipe says so (`distillation`).
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
        comes_trained: bool = False,
        teacher: nn.Module | None = None,
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
        examples = self.batches.for_scoring(self.network.layout)
        self.teacher = teacher_of(teacher, recipe, runtime, self.terms.task, self.model, examples)
        groups = self.method.parameter_groups(self.model, recipe.weight_decay)
        self.optimizer = build(recipe, groups, self.terms.optimizer)
        self.average = average_of(self.model, recipe.ema)
        measure = self.terms.task.metric.measure
        self.guard = FirstEpochGuard(recipe.max_drop, measure) if comes_trained else Guard()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up a saved state; the model given must have the architecture it was taken at."""
        self.progress = unpack(checkpoint, self.model, self.optimizer, self._parts)

    def fit(self) -> Training:
        """Train to the end: `epochs` epochs, or until the method is finished."""
        started = time.perf_counter() - self.progress.wall_s
        row: dict[str, Any] | None = None
        self.guard.begin(self)
        self.network.follow(self.method.advance(self.model, self.optimizer))
        while not self._done():
            self._epoch()
            row = self._row()
            if self.progress.batch >= self.batches.per_epoch():
                self.guard.after_epoch(self, row["val_accuracy"])
                self.progress.close_epoch(row, self.recipe, self.terms.task.metric.measure)
            self.progress.wall_s = time.perf_counter() - started
            self._save()
            self.reporter.epoch(row)
        if self.progress.batch:  # the part of an epoch until the method was finished; not in the checkpoint
            self.progress.history.append(row or self._row())
        if isinstance(self.average, Average):  # which is the result
            self.average.settle()
            self.method.before_evaluation(self.model)
        return self

    def _epoch(self) -> None:
        """Train the rest of the present epoch, or less where the method is finished within it."""
        progress, metric = self.progress, self.terms.task.metric
        meter = Meter(progress, self.runtime.device, metric)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(self.seed, "noise", progress.epoch, progress.batch))
            for x, y in self.batches.of_epoch(progress.epoch, progress.batch, self.network.layout):
                self.step(x, y, meter)
                if progress.batch % REPORT_EVERY == 0:
                    self._look(meter)
                if self.epochs is None and self.method.finished:
                    break
        self._look(meter)
        check_weights(self.model, f"after step {progress.batch} of epoch {progress.epoch + 1}")
        meter.keep_in(progress)

    def step(self, x: Inputs, y: Any, meter: Meter) -> None:
        """Train on one batch, count it, and let the method do what follows a step: it may cut the network."""
        set_rate(self.optimizer, self.lr_after(self.progress.batch + 1))
        for part in parts_of(read_for(self.model, x), y, self.recipe.accumulate):
            self._backward(part, meter)
        self._update()
        if self.method.about_to_cut:
            self.guard.before_cut(self)
        examples = batch_of(read_for(self.model, x)) * self.runtime.world
        macs = TRAINING_MACS_PER_INFERENCE_MAC * self.macs + self.teacher.macs
        self.progress.compute += examples * macs
        with costed(self):
            self.network.follow(self.method.after_step(self.model, self.optimizer))
        self.average.update()
        self.progress.batch += 1

    def _backward(self, part: BatchPart, meter: Meter) -> None:
        """Add the gradient of a part of the batch, by the share that it is of it."""
        with self.teacher.watching(self.model):
            output = self.network.output(part.inputs, self.recipe.precision)
        loss = self.teacher.taught(self._loss(output, part.targets), part.inputs, output)
        whole = loss + self.method.penalty(self.model)
        (whole if part.share == 1 else whole * part.share).backward()
        meter.add(loss.detach(), output, part.targets, batch_of(read_for(self.model, part.inputs)))

    def _loss(self, output: Any, targets: Any) -> Tensor:
        """The mean loss of a batch; InputError where targets are numbers of no class."""
        try:
            return self.terms.task.loss(output, targets)
        except IndexError as error:
            raise InputError(f"the loss failed: {outside(targets, output, error)}") from error

    def _update(self) -> None:
        """Step the weights by the gradient, which is then gone."""
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters_of(self.optimizer), self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def finish(self) -> Training:
        """Have the method hand over the finished network, which `model` is then.

        Raises:
            TrainingError: where its weights are not finite.
        """
        self.network.place(self.method.finalize(self.model))
        check_weights(self.model, "at the end")
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

    def lr_after(self, batches: int) -> float:
        """The rate of the step that is so many batches into the present epoch, itself counted."""
        share = batches / self.batches.per_epoch()
        return self.progress.lr(self.recipe, share, self.method.schedule_place)

    @property
    def _parts(self) -> dict[str, Part]:
        """What a checkpoint holds beside the network and its optimizer."""
        parts: dict[str, Part] = {"method": self.method}
        return parts | {"average": self.average} if isinstance(self.average, Average) else parts

    def validated(self) -> float:
        """What the network is worth on the validation split as it is."""
        return self.worth(self.data.val)

    def worth(self, split: AnySplit) -> float:
        """What the network is worth on a split as it is: the task's metric."""
        precision, task = self.recipe.precision, self.terms.task
        return evaluate(self.model, split, self.data, self.runtime, precision, task)

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
        loss, accuracy = meter.read(self.progress, self.lr_after(self.progress.batch))
        self.reporter.step(done=self._completion(), loss=loss, accuracy=accuracy, **self.method.progress())

    def _row(self) -> dict[str, Any]:
        """Measure the network after an epoch, or after the part of one that was trained."""
        epoch = self.progress.epoch + 1
        last = self.method.finished if self.epochs is None else epoch >= self.epochs
        task = self.terms.task
        loss, accuracy = means_over_processes(self.progress, self.runtime, task.metric)
        with self.average.swapped():
            self.method.before_evaluation(self.model)
            measured = accuracies_after(epoch, last, self.model, self.data, self.runtime, self.recipe, task)
        if isinstance(self.average, Average):  # what it set for the averages, it sets for the weights again
            self.method.before_evaluation(self.model)
        return {
            "epoch": epoch,
            "loss": loss,
            "train_accuracy": accuracy,
            **measured,
            "lr": self.lr_after(self.progress.batch),
            "params": self.params,
            **self.method.progress(),
        }

    def _save(self) -> None:
        """Hand out the state."""
        checkpoint = pack(self.model, self.optimizer, self.progress, self._parts)  # in every process
        if self.save is not None and self.runtime.is_main:
            self.save(checkpoint, self.model)
