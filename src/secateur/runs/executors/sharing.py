"""A graph of runs shared out over the workers of a pool.

A run has an id and is never repeated, so nothing has to be brought together: workers leave finished runs in
the store, and whoever wanted them reads them there. A run has the same bits as in one process with the same
number of threads. A worker that is lost takes with it what is behind the last epoch of its run: that is made
again from there, elsewhere. A run that fails is told, and the others go on.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from pathlib import Path

from secateur.data import Data
from secateur.errors import OUT_OF_MEMORY, InputError, TrainingError, out_of_memory
from secateur.runs.executors.events import EventReader
from secateur.runs.executors.failures import Failures, stops_all
from secateur.runs.executors.here import Finished
from secateur.runs.executors.pool import NoWorkerError, Pool, WorkerLostError
from secateur.runs.executors.worker import MAKE, order
from secateur.runs.graph import Graph, Made, Node
from secateur.runs.portable import run_as_json, write_data
from secateur.runs.run_limit import overdue
from secateur.runs.schedule import Schedule
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.sweeping import WORK

ATTEMPTS = 3
"""How often a run is begun whose worker is lost; a run that kills its workers is given up then."""
LOOK_EVERY_S = 0.2
PATIENCE_S = 5.0
"""How much longer than its limit a run may take before its worker is killed."""


@contextmanager
def workplace(store: RunStore) -> Iterator[Path]:
    """A folder within the store's, which is held: what an earlier process left there is of no use."""
    folder = store.directory / WORK
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Sharing:
    """Hands out the runs of a graph and hears what becomes of them.

    Args:
        finished: is told of every node whose run is finished now and was not before.
        folder: where orders' data and workers' events lie, for all workers.
    """

    def __init__(self, made: Made, session: Session, pool: Pool, folder: Path, finished: Finished):
        self.made, self.finished = made, finished
        self.session, self.pool, self.folder = session, pool, folder
        self.schedule = Schedule(made.unfinished(), made)
        self.failures = Failures(len(made.graph), session.retries_failed)
        self.attempts: Counter[str] = Counter()
        self.overdue: set[str] = set()
        self.running: dict[Future[str], tuple[Node, EventReader]] = {}
        self._reporters = [session.reporter.beside() for _ in range(pool.workers)]
        self._orders = 0

    def make_all(self) -> Failures:
        """Make every run that is not finished.

        Returns:
            The runs that failed; all that do not wait for them were made.

        Raises:
            OSError: at once, where the system refuses to write.
        """
        while True:
            self._begin_what_can()
            if not self.running:
                break
            ended, _ = wait(self.running, LOOK_EVERY_S, FIRST_COMPLETED)
            for future, (node, events) in self.running.items():
                events.pass_on()
                if not future.done():
                    self._end_if_overdue(node, events)
            for future in ended:
                self._hear(future, *self.running.pop(future))
        self.failures.left = len(self.schedule.waiting)
        return self.failures

    def _begin_what_can(self) -> None:
        while len(self.running) < self.pool.workers and (node := self.schedule.take()) is not None:
            if self.made.has(node):  # it is another node's run too
                self.schedule.finish(node)
                self.finished(node)
            elif self.failures.passes_over(node, self.made, self.session.reporter):
                self.schedule.fail(node)
            else:
                self._begin(node)

    def _begin(self, node: Node) -> None:
        """Have a worker make a node's run; one that cannot be told, or written down, failed."""
        try:
            run = self.made.run(node)
            content = run_as_json(run)
        except (Exception, SystemExit) as error:
            self.failures.add(node, error, self.session.reporter, self.made)
            self.schedule.fail(node)
            return
        assert isinstance(run.data, Data), "check_portable comes first"
        data = self._left(run.data)
        self._orders += 1
        events = EventReader(self.folder / f"{self._orders}.jsonl", self._reporters.pop())
        device = self.session.runtime.device_name
        text = order(content, self.session.store, data, events.path, device, self.session.run_limit)
        self.attempts[node.name] += 1
        self.running[self.pool.submit(MAKE, text)] = node, events

    def _left(self, data: Data) -> Path:
        """Leave a data set where workers find it; the file.

        Raises:
            NoWorkerError: where it cannot be written, as on a full disk.
        """
        path = self.folder / f"{data.fingerprint}.safetensors"
        if not path.is_file():
            try:
                write_data(data, path)
            except (InputError, OSError) as error:
                raise NoWorkerError(str(error)) from None
        return path

    def _hear(self, future: Future[str], node: Node, events: EventReader) -> None:
        """A run ended, in whatever way."""
        events.pass_on()
        events.path.unlink(missing_ok=True)
        self._reporters.append(events.reporter)
        error = future.exception()
        if error is None:
            self.schedule.finish(node)
            self.finished(node)
        elif node.name in self.overdue and not self.made.has(node):
            assert self.session.run_limit is not None
            self.failures.add(node, overdue(self.session.run_limit), self.session.reporter, self.made)
            self.schedule.fail(node)
        elif isinstance(error, WorkerLostError) and self.attempts[node.name] < ATTEMPTS:
            self._say(f"{node.name}: {error}; it goes on from its last epoch")
            self._begin(node)
        elif isinstance(error, NoWorkerError) or stops_all(error, self.session.store):
            raise error
        else:
            self.failures.add(node, self._as_it_is_told(error), self.session.reporter, self.made)
            self.schedule.fail(node)

    def _end_if_overdue(self, node: Node, events: EventReader) -> None:
        """Kill the worker, of this machine, that did not end its run by itself when its time was over."""
        limit = self.session.run_limit
        if limit is None or events.pid is None or time.monotonic() - events.heard < limit + PATIENCE_S:
            return
        self.overdue.add(node.name)
        with suppress(ProcessLookupError, PermissionError):
            os.kill(events.pid, signal.SIGKILL)

    @staticmethod
    def _as_it_is_told(error: BaseException) -> BaseException:
        """Make one of ours of an error that is a line already; say how often a worker died."""
        if isinstance(error, WorkerLostError):
            advice = f": {OUT_OF_MEMORY}" if "memory" in str(error) else ""
            return TrainingError(f"{error}, {ATTEMPTS} times{advice}")
        if type(error) is not RuntimeError:
            return error
        return TrainingError(f"{error}: {OUT_OF_MEMORY}" if out_of_memory(error) else str(error))

    def _say(self, text: str) -> None:
        self.session.reporter.note(text)


def check_portable(graph: Graph) -> None:
    """Raise InputError, before any worker is started, where a known run cannot be made elsewhere.

    One run of every kind and factory is tried: the others are written down alike.
    """
    tried: set[tuple[str, int]] = set()
    for node in graph:
        if node.run is None:
            continue
        architecture = node.run.architecture
        key = (node.run.kind, 0 if architecture.is_family else id(architecture.origin))
        if key not in tried:
            run_as_json(node.run)
            tried.add(key)
