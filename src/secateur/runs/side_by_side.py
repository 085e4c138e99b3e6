"""The runs of one comparison made side by side, each in a process of its own with its share of the threads.

A run has an id and is never repeated, so nothing has to be brought together: `fill` has processes leave
finished runs in the store, and the comparison is then drawn up as ever. A run has the same bits as in one
process with the same number of threads.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from secateur.compare.jobs import Job, Schedule
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.progress import Reporter

SMALL_STEP = 2e9
"""Training MACs (batch x 3 x MACs of the network) below which a step does not keep several threads busy.

Two on two cores (`python -m benchmarks side_by_side`): 1.3-fold at 7e8 (WRN-16-1 on digits), 1.1-fold at
1e10 (at 32x32), 1.04-fold at 1e11 (WRN-40-2). From about 1e10 the last run, alone on its share of the
threads, can cost more than that gains."""
WORTH_STARTING = 1e12
"""Training MACs of a whole comparison below which starting processes takes longer than they save."""
PATIENCE_S = 5.0  # for a process that was told to end
_ERRORS = {"InputError": InputError, "TrainingError": TrainingError, "OSError": OSError}


def parse_workers(asked: int | str) -> int | None:
    """How many processes are asked for; None: "auto".

    Raises:
        InputError: for anything else than "auto" or a number of at least 1.
    """
    if asked == "auto":
        return None
    text = str(asked)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise InputError(f"workers must be auto or a number of at least 1, got '{asked}'")
    return int(text)


def workers_for(
    asked: int | str, runtime: Runtime, step_compute: float, jobs: Callable[[], list[Job]]
) -> tuple[int, list[Job]]:
    """How many processes train side by side (1: none but this one), and the jobs for them.

    "auto": on a CPU as many as torch has threads here, where at least two jobs can begin, the steps are too
    small for several threads, and the whole is worth it; on other devices, and among several processes, 1.

    Args:
        step_compute: training MACs of a step of the largest network.
        jobs: gives those that are not finished; asked only where it matters.

    Raises:
        InputError: where several are asked for in one of several processes.
    """
    count = parse_workers(asked)
    if runtime.world > 1 and (count or 1) > 1:
        raise InputError(
            f"workers must be 1 where several processes share each run, got {count}: leave it out, or do not "
            "use accelerate launch"
        )
    if count is None:
        gains = runtime.device.type == "cpu" and runtime.world == 1 and step_compute < SMALL_STEP
        count = torch.get_num_threads() if gains else 1
    left = jobs() if count > 1 else []
    if asked == "auto":
        worth = sum(job.compute for job in left) >= WORTH_STARTING
        count = min(count, len(Schedule(left).ready())) if worth else 1
    return max(1, min(count, len(left))), left


def threads_each(workers: int) -> int:
    """Threads of every process: torch's here, shared out."""
    return max(1, torch.get_num_threads() // workers)


def in_words(workers: int) -> str:
    """What will be made how, for people."""
    if workers == 1:
        return "one run after the other"
    threads = threads_each(workers)
    return f"{workers} runs side by side, {threads} thread{'s' if threads > 1 else ''} each"


class _Worker:
    """A process that makes runs, and what it is at."""

    def __init__(self, folder: Path, threads: int, lock: int | None, reporter: Reporter):
        self.reporter, self.ready = reporter, False
        self.job: Job | None = None
        self._rest = b""
        debug = bool(os.environ.get("SECATEUR_DEBUG"))
        self._log = None if debug else tempfile.TemporaryFile()  # noqa: SIM115  # stays open as long as it runs
        try:
            self.process = self._started(folder, threads, () if lock is None else (lock,))
        except OSError as error:
            self._forget_log()
            raise _Refused(f"no process can be started ({error})") from None

    def _started(self, folder: Path, threads: int, held: Sequence[int]) -> subprocess.Popen[bytes]:
        """The process. It inherits the file that holds the store, which is held until the last one ends."""
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "secateur.worker", str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)},
            pass_fds=held,
            bufsize=0,
        )

    @property
    def output(self) -> Any:
        return self.process.stdout

    def give(self, job: Job) -> None:
        """Have it do the job."""
        self.job = job
        line = json.dumps({"name": job.name, "work": job.work}) + "\n"
        with suppress(BrokenPipeError):  # it died, and its output says so
            self.process.stdin.write(line.encode())  # type: ignore[union-attr]

    def messages(self) -> list[dict[str, Any]]:
        """What it has said since; TrainingError where it died of its work, `_Refused` where before that."""
        received = os.read(self.output.fileno(), 1 << 16)
        if not received:
            raise (TrainingError if self.job else _Refused)(self._obituary())
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [json.loads(line) for line in lines]

    def _obituary(self) -> str:
        code, doing = self.process.wait(), f"at '{self.job.name}'" if self.job else "at its start"
        if code == -9:
            why = "killed, as happens where memory runs out: fewer --workers need less"
        else:
            why = f"signal {-code}" if code < 0 else f"exit code {code}{self._last_words()}"
        kept = "; finished epochs and runs are kept, the same command continues" if self.job else ""
        return f"a worker ended {doing} ({why}){kept}"

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f", {lines[-1][:200]}" if lines else ""

    def close(self) -> None:
        """Tell it to end: it does so at once."""
        self.process.stdin.close()  # type: ignore[union-attr]

    def bury(self) -> None:
        """Wait until it has ended, whatever that takes."""
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()
        self._forget_log()

    def _forget_log(self) -> None:
        if self._log is not None:
            self._log.close()


class _Refused(Exception):
    """A worker cannot make these runs."""


def fill(
    jobs: Sequence[Job],
    workers: int,
    *,
    leave: Callable[[Path], None],
    finished: Callable[[Job], bool],
    lock: int | None,
    reporter: Reporter,
) -> None:
    """Have `workers` processes do the jobs; where they cannot, say so and leave all to the caller.

    Args:
        leave: writes into a folder what a process needs to do the jobs; InputError or OSError where that
            cannot be.
        finished: whether a job's runs are in the store already.
        lock: the open file that holds the store.

    Raises:
        InputError, TrainingError, OSError: as in a process that met it.
    """
    threads = threads_each(workers)
    reporter.note(in_words(workers))
    pool = _Pool(Schedule(jobs), finished)
    try:
        with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
            leave(Path(folder))
            for _ in range(workers):
                pool.workers.append(_Worker(Path(folder), threads, lock, reporter.beside()))
            pool.await_all()
        pool.work()
    except (InputError, OSError, _Refused) as error:
        if pool.begun and not isinstance(error, _Refused):
            raise
        reporter.note(f"one run after the other: {error}")
    finally:
        pool.end()


class _Pool:
    """The processes, and what is left for them to do."""

    def __init__(self, schedule: Schedule, finished: Callable[[Job], bool]):
        self.schedule, self.finished = schedule, finished
        self.workers: list[_Worker] = []
        self.begun = False

    def await_all(self) -> None:
        """Hand out work as soon as a process is ready, until all of them are."""
        self._listen(lambda: all(worker.ready for worker in self.workers))

    def work(self) -> None:
        """Until nothing is left to do."""
        self._listen(lambda: self.schedule.over)

    def end(self) -> None:
        """No process is left when it returns."""
        for worker in self.workers:
            worker.close()
        for worker in self.workers:
            worker.bury()

    def _listen(self, enough: Callable[[], bool]) -> None:
        with selectors.DefaultSelector() as selector:
            for worker in self.workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
            while not enough():
                for key, _ in selector.select():
                    for message in key.data.messages():
                        self._hear(key.data, message)

    def _hear(self, worker: _Worker, message: dict[str, Any]) -> None:
        if "event" in message:
            getattr(worker.reporter, message["event"])(**message["content"])
        elif "refused" in message:
            raise _Refused(message["refused"])
        elif "failed" in message:
            kind = _ERRORS.get(message["failed"], RuntimeError)
            raise kind(message["text"])
        else:
            self._is_free(worker)

    def _is_free(self, worker: _Worker) -> None:
        """It has just begun, or finished its job: all that can begin now begins."""
        worker.ready = True
        if worker.job is not None:
            self.schedule.finish(worker.job)
            worker.job = None
        for free in [each for each in self.workers if each.ready and each.job is None]:
            if (job := self._next()) is not None:
                self.schedule.take(job)
                free.give(job)
                self.begun = True

    def _next(self) -> Job | None:
        """What is to begin; not what is there already: a run may be another job's too."""
        while candidates := self.schedule.candidates():
            found = next((job for job in candidates if self.finished(job)), None)
            if found is None:
                break
            self.schedule.finish(found)
        return next(iter(self.schedule.ready()), None)
