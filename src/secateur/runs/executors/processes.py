"""Workers that are processes of this machine, carried by loky.

Loky starts processes that need no `if __name__ == "__main__"` in the user's script, feeds them and notices
when one dies. What it lacks is here:

- One executor for each worker. When a process dies, loky (as `concurrent.futures` does) declares its executor
  broken and kills all the others in it; here only the lost worker is made anew.
- Workers that end when the process that started them does, however it ends. Theirs would stay for ever: each
  holds both ends of the pipe that it waits at.
- Workers that leave Ctrl-C, SIGTERM and their like, which may reach a whole group, to the process that
  started them; that do not write into its standard output; and of which the last words are known.

Loky's and Python's resource trackers, two small processes that belong to the interpreter, stay as long as it.
"""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import queue
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import IO, Any

from secateur.errors import first_line, require_posix
from secateur.names import harmless
from secateur.runs.executors.call import outcome, prepare, search_paths, thread_environment, unpack
from secateur.runs.executors.pool import NoWorkerError, ThreadedPool, WorkerLostError

PARENT_EVERY_S = 0.2
"""How often a worker looks whether the process that started it is still there."""
_LEFT_TO_THE_PARENT = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


def _loky(module: str) -> Any:
    """Import a part of loky when the first process is started: whoever starts none need not wait for it."""
    return import_module(f"loky.{module}")


class ProcessPool(ThreadedPool):
    """Workers of this machine.

    Args:
        workers: how many processes; each is started by the first call that it gets.
        threads: of each.
        held: open files that every worker holds too as long as it lives: the lock of a store, say, which so
            outlasts a killed parent until the last worker is gone.
    """

    def __init__(self, workers: int, threads: int, held: Sequence[int] = ()):
        require_posix("a pool of workers")
        super().__init__(workers)
        self._all = [_Worker(threads, held) for _ in range(workers)]
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._free.put(worker)

    def _call(self, function: str, argument: str) -> str:
        worker = self._free.get()  # at once: there are as many as threads that ask
        try:
            return unpack(worker.call(function, argument))
        finally:
            self._free.put(worker)

    def _end_workers(self) -> None:
        for worker in self._all:
            worker.kill()  # all of them before any is waited for: a second Ctrl-C may come
        for worker in self._all:
            worker.end()


class _Worker:
    """A place for one process, which is started when it is needed and again after it died."""

    def __init__(self, threads: int, held: Sequence[int]):
        self.threads, self.held = threads, held
        self._lock = threading.Lock()  # the pool's thread calls; whoever closes the pool ends
        self._ended = False
        self._executor: Any = None  # loky's
        self._pid: int | None = None
        self._log: IO[bytes] | None = None
        self._before = 0  # what the log held when the call began

    def call(self, function: str, argument: str) -> str:
        """Have the process make the call and wait for its packed outcome; WorkerLostError where it dies."""
        executor, loky = self._executor or self._start(), _loky("process_executor")
        self._before = 0 if self._log is None else os.fstat(self._log.fileno()).st_size
        try:
            return executor.submit(outcome, function, argument).result()
        except (loky.BrokenProcessPool, loky.ShutdownExecutorError) as error:
            text = f"a worker ended ({self._how(error)})"
            self._forget()
            raise WorkerLostError(text) from None

    def kill(self) -> None:
        """Kill the process, if there is one, without waiting for anything."""
        self._ended = True
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def end(self) -> None:
        """End the process for good, with all that it started."""
        self._ended = True
        self._forget()

    def _start(self) -> Any:
        """A process that answered."""
        loky = _loky("process_executor")
        self._log = None if os.environ.get("SECATEUR_DEBUG") else tempfile.TemporaryFile()  # noqa: SIM115
        held = [_Inherited(file) for file in self.held]
        log = _Inherited(self._log.fileno()) if self._log else None
        with self._lock:
            if self._ended:
                raise WorkerLostError("a worker ended (the pool was closed)")
            executor = self._executor = loky.ProcessPoolExecutor(
                1,
                context=_loky("backend").get_context("loky"),
                env=_environment(self.threads),
                initializer=_begin,
                initargs=(os.getpid(), search_paths(), self.threads, log, held),
            )
        try:
            with _signals_blocked():
                answer = executor.submit(os.getpid)
            self._pid = answer.result()
        except loky.ShutdownExecutorError as error:
            raise WorkerLostError(f"a worker ended ({self._how(error)})") from None
        except (OSError, loky.BrokenProcessPool) as error:
            how = first_line(error) if isinstance(error, OSError) else self._how(error)
            self._forget()
            raise NoWorkerError(f"a worker ended at its start ({how})") from None
        finally:
            for file in self.held:
                os.set_inheritable(file, False)  # loky made them so
        return executor

    def _how(self, error: Exception) -> str:
        """How the process ended, of which loky says for instance "{SIGKILL(-9)}"."""
        if self._ended:
            return "the pool was closed"
        found = re.search(r"\((-?\d+)\)\}", str(error))
        code = int(found[1]) if found else None
        if code == -signal.SIGKILL:
            return "killed, as happens where memory runs out"
        if code is None:
            return "nobody knows how"
        return f"signal {-code}" if code < 0 else f"exit code {code}{self._last_words()}"

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(self._before)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return f", {harmless(lines[-1])[:200]}" if lines else ""

    def _forget(self) -> None:
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(kill_workers=True)
            if self._log is not None:
                self._log.close()
            self._executor = self._pid = self._log = None


def _environment(threads: int) -> dict[str, str]:
    """Of a worker's Python. A module in the current directory must not stand in for one of Python's own."""
    return {
        **thread_environment(threads),
        "PYTHONPATH": os.pathsep.join(search_paths()),
        "PYTHONSAFEPATH": "1",
    }


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block Ctrl-C and its like in this thread, and in a process it starts, until that one ignores them."""
    _loky("backend.resource_tracker").ensure_running()  # before: who starts the trackers unblocks both
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_THE_PARENT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Inherited:
    """An open file of this process. Pickled while a process is started it is that process's descriptor."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd  # which there is not on Windows

        return _descriptor, (DupFd(self.descriptor),)


def _descriptor(handed_over: Any) -> int:
    return handed_over.detach()


def _begin(parent: int, paths: list[str], threads: int, log: int | None, held: list[int]) -> None:
    """Become a worker: called in the new process, which holds what is `held` by having it open."""
    for each in _LEFT_TO_THE_PARENT:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_TO_THE_PARENT)
    if log is not None:
        os.dup2(log, 2)
    os.dup2(2, 1)  # what a user's model prints is no answer
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    # Loky restarts workers that grew by 300 MB, to it a leak. A network's activations, kept, are none.
    _loky("process_executor")._USE_PSUTIL = False
    del os.environ["PYTHONSAFEPATH"]
    sys.path[:] = paths
    prepare(threads)


def _end_with(parent: int) -> None:
    """End this process at once when it has another parent than `parent`, which is so when that one is gone.

    Asking is sure where waiting for a pipe's end is not: whatever the parent forked meanwhile (a loader of
    images, say) would hold the pipe open. The kernel's own signal at a parent's death comes when the
    *thread* ends that started the process.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY_S)
    os._exit(1)
