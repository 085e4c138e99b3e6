"""Making runs: each is made once, resumed where it was left, and never repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import Artefact
from secateur.architecture.saved import save_model
from secateur.device import Runtime
from secateur.errors import TrainingError, kind_and_line
from secateur.network.masks import count_nonzeros
from secateur.network.weight_file import file_bytes
from secateur.network.weights import count_weights
from secateur.progress import Reporter, Several
from secateur.records.measure import ACCURACY
from secateur.records.record import Epoch, Record
from secateur.runs.environment import describe_environment
from secateur.runs.graph import Graph, Made
from secateur.runs.life import alive
from secateur.runs.run import Run
from secateur.runs.run_limit import limited
from secateur.runs.store import GOES_ON, RunStore
from secateur.runs.time_limit import TimeLimit
from secateur.runs.wholeness import hashes_of
from secateur.surgery.anatomy import known_anatomy
from secateur.training.batches import AnySplit
from secateur.training.checkpoint import Checkpoint
from secateur.training.evaluation import evaluate, measure_and_score
from secateur.training.loop import Training

_MISFITS = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError)
"""What is raised where a checkpoint has other fields than the training that takes it up."""


class Session:
    """Makes runs in one folder, on one machine, and says how far they are.

    Args:
        limit: how long that may take; None: as long as it takes.
        trackers: services that show the runs, by name (`tracking.check_services`); of several processes the
            first alone tells them.

    Attributes:
        retries_failed: whether a run that failed under an earlier command is made again.
        run_limit: how many seconds one run may take; None: as long as it takes.
    """

    retries_failed = True
    run_limit: float | None = None

    def __init__(
        self,
        store: RunStore,
        runtime: Runtime,
        reporter: Reporter,
        limit: TimeLimit | None = None,
        trackers: Sequence[str] = (),
    ):
        self.store, self.runtime, self.reporter, self.limit = store, runtime, reporter, limit
        self.trackers = tuple(trackers) if runtime.is_main else ()

    @contextmanager
    def working(self, what: str, compute: float) -> Iterator[None]:
        """Hold the folder, and show progress through about `compute` training MACs."""
        with self.store.locked(self.runtime.is_main), self.reporter:
            self.store.note, self.store.mends = self.reporter.note, True
            self.reporter.begin(what, compute)
            yield

    @contextmanager
    def telling(self, *others: Reporter) -> Iterator[None]:
        """Tell others too what happens."""
        alone = self.reporter
        self.reporter = Several(alone, *others)
        try:
            yield
        finally:
            self.reporter = alone

    def before_making(self, graph: Graph) -> None:
        """Hook, told of a graph before any run of it is made; see `runs.rehearsal`."""

    def make(self, run: Run) -> Record:
        """Make a run, and whatever it goes on from, as far as that was not done; the record.

        Raises:
            TrainingError: where a loss is not finite; what was finished is kept.
            UnfinishedError: where the time is over; so are the epochs of this run.
        """
        if self._is_finished(run) and (record := self.store.record(run.run_id)):
            return record
        for before in (run.first, run.taught_by()):
            if before is not None:
                self.make(before)
        with self.store.claimed(run.run_id) if self.runtime.world == 1 else nullcontext():
            return self.store.record(run.run_id) or self._made(run)  # another process may have made it

    def look_over(self, made: Made) -> None:
        """Have the first of several processes set aside what is damaged before the others look."""
        if self.runtime.world > 1:
            try:
                if self.runtime.is_main:
                    made.unfinished()
            finally:
                self.runtime.barrier()

    def _is_finished(self, run: Run) -> bool:
        """Whether there is nothing to be made of it; several processes say the same."""
        if self.runtime.world > 1:
            try:
                if self.runtime.is_main:
                    self.store.finished(run.run_id)
            finally:
                self.runtime.barrier()
        return self.store.finished(run.run_id)

    def accuracy(self, training: Training, split: AnySplit) -> float:
        """Measure the network in training on a split: a fraction in [0, 1], or the run's own metric."""
        precision, task = training.recipe.precision, training.terms.task
        return evaluate(training.model, split, training.data, self.runtime, precision, task)

    def _on_test(self, training: Training) -> tuple[dict[str, float], Tensor | None]:
        """The metrics on the test split, by name; of an accuracy every example's score."""
        task, split = training.terms.task, training.data.test
        metrics = (task.metric, *(each for each in task.also if each.name != task.metric.name))
        precision = training.recipe.precision
        return measure_and_score(training.model, split, training.data, self.runtime, precision, metrics)

    def _made(self, run: Run) -> Record:
        """Begin or continue, train to the end, measure, record."""
        if self.limit is not None:
            self.limit.before_run()
        self.store.forget_failure(run.run_id)
        self.reporter.run_started(run.label, run.compute(self.runtime.world))
        if not self.runtime.is_main:
            return self._trained(run)
        with alive(self.store, run.run_id, run.label) as pulse, self.telling(pulse):
            return self._trained(run)

    def _trained(self, run: Run) -> Record:
        """The same behind its beginning."""
        with limited(self.run_limit):
            training, found = self._to_the_end(run)
            record, scores = self._measured(run, training, found)
        self._keep(run, training, record, scores)
        if self.runtime.is_main and not run.goes_on:
            self.store.drop_checkpoint(run.run_id)
        return record

    def _to_the_end(self, run: Run) -> tuple[Training, dict[str, Any]]:
        """Train, and have the method hand over; with entries for the record."""
        training = self._begun(run)
        history = training.progress.history
        self.reporter.run_begun(run.run_id, run.label, run.seed, run.spec.identity, list(history))
        self._say_before(run, training)
        try:
            training.fit()
        except TrainingError as error:
            raise TrainingError(f"{run.label}: {error} ({self.store.path(run.run_id)})") from None
        found = run.before_finish(training, self)
        return training.finish(), found

    def _say_before(self, run: Run, training: Training) -> None:
        """Measure a network that comes trained, and say what it is worth before it is tuned."""
        training.guard.begin(training)
        before = training.progress.before
        if before is not None and training.progress.epoch == training.progress.batch == 0:
            shown = training.terms.task.metric.shown(before)
            how = training.recipe.in_words(training.epochs)
            self.reporter.note(f"{run.label}: {shown} on the validation split before it is tuned ({how})")

    def _begun(self, run: Run) -> Training:
        """The training where it starts: at initialisation, behind another run, or where it was left.

        A checkpoint that it cannot go on from is set aside; what fails without it as well was not its fault.
        """
        own, path = self.store.checkpoint(run.run_id), self.store.checkpoint_path(run.run_id)
        why = "cannot be read"
        if own is None and not path.is_file():
            return self._begun_anew(run)
        if own is not None:
            try:
                return self._begun_from(run, own)
            except _MISFITS as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                why = f"is of another training ({kind_and_line(error)})"
        training = self._begun_anew(run)
        if path.is_file():
            self.store.set_aside(path, f"{run.label}: {path} {why}")
        return training

    def _begun_anew(self, run: Run) -> Training:
        """The training without a state of its own: where another run stopped, or behind one, or initialised.

        Another's state that it cannot go on from is set aside as well, and the next before it taken.
        """
        passed: dict[str, str] = {}
        while True:
            try:
                training = self._begun_from(run, None)
                break
            except _MISFITS as error:
                whose = None if isinstance(error, torch.OutOfMemoryError) else run.goes_on_from(self.store)
                if whose is None:
                    self.store.passed_over -= passed.keys()
                    raise
                passed[whose] = f"is of another training ({kind_and_line(error)})"
                self.store.passed_over.add(whose)
        for whose, why in passed.items():
            path = self.store.checkpoint_path(whose)
            self.store.set_aside(path, f"{run.label}: {path} {why}", GOES_ON)
        return training

    def _begun_from(self, run: Run, own: Checkpoint | None) -> Training:
        """The training, with the state taken up that it was left in."""
        start = run.start(self.store, self.runtime, own)

        def save(checkpoint: Checkpoint, model: nn.Module) -> None:
            state = {"architecture": Architecture.of(model).as_left(), **checkpoint.state}
            self.store.save_checkpoint(run.run_id, replace(checkpoint, state=state))
            if self.limit is not None:
                self.limit.after_epoch()

        training = Training(
            start.model,
            run.data,
            start.recipe,
            seed=run.seed,
            runtime=self.runtime,
            reporter=self.reporter,
            method=start.method,
            epochs=start.epochs,
            save=save,
            terms=run.terms,
            comes_trained=start.comes_trained,
            teacher=run.teaching(self.store),
        )
        if start.checkpoint:
            training.resume(start.checkpoint)
        run.begun(training)
        for line in training.method.found:
            self.reporter.note(f"{run.label}: {line}")
        return training

    def _measured(self, run: Run, training: Training, found: dict[str, Any]) -> tuple[Record, Tensor | None]:
        """Measure the finished network: its record, and every test example's score where there are some."""
        model, progress, anatomy = training.model, training.progress, known_anatomy(training.model)
        metric, (test, scores) = training.terms.task.metric, self._on_test(training)
        record = Record(
            run_id=run.run_id,
            label=run.label,
            seed=run.seed,
            identity=run.spec.identity,
            architecture=Architecture.of(model).identity(),
            params=training.params,
            macs=training.macs,
            weights=count_weights(model),
            nonzeros=count_nonzeros(model),
            bytes=file_bytes(model),
            accuracy=test.pop(metric.name),
            val_accuracy=self.accuracy(training, run.data.val),
            metric=None if metric.measure == ACCURACY else metric.measure,
            also=test or None,
            train_compute=progress.compute,
            wall_s=progress.wall_s,
            history=tuple(Epoch.from_json(row) for row in progress.history),
            environment=describe_environment(self.runtime, training.recipe.precision),
            uncounted=anatomy.costs.uncounted if anatomy else None,
            data=run.data.found,
            **{"val_accuracy_before": progress.before, **found},
        )
        return record, scores

    def _keep(self, run: Run, training: Training, record: Record, scores: Tensor | None) -> None:
        """Write the finished network, and declare the run finished."""
        model = training.model
        if self.runtime.is_main:
            artefact = Artefact.of(run.data, run.terms.task, label=run.label, run_id=run.run_id)
            save_model(model, self.store.path(run.run_id), artefact=artefact)
            if scores is not None:
                self.store.save_scores(run.run_id, scores)
            self.store.save_record(replace(record, files=hashes_of(self.store.path(run.run_id))))
        self.runtime.barrier()
        self.reporter.run_finished(_in_words(record, training.progress.before))


def _in_words(record: Record, before: float | None) -> str:
    """What a run came to, in a line; of a network that came trained also what it was worth before."""
    nonzeros, weights = record.counted_weights()
    shown = record.measure.shown
    size = f"{nonzeros:,} of {weights:,} weights" if nonzeros < weights else f"{record.params:,} parameters"
    tuned = ""
    if before is not None:
        tuned = f"; on the validation split {shown(before)} before, {shown(record.val_accuracy)} after"
    return f"{record.label}: {shown(record.accuracy)} with {size}{tuned} ({record.wall_s:.0f} s)"
