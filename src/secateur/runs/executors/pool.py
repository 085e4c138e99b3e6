"""What every pool of workers does, whatever carries it.

A worker is a process that calls a function of a module with a text and gives its text back: nothing is
pickled that a user handed us. A pool knows neither runs nor networks, and repeats nothing by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self


class WorkerLostError(RuntimeError):
    """The process that made the call is gone; the message says how it ended. Others' calls go on."""


class NoWorkerError(RuntimeError):
    """A worker's process cannot be started here: trying again will hardly help."""


class Pool(Protocol):
    """Workers that call functions. It belongs in a `with`: left open, it keeps this process from ending."""

    workers: int

    def submit(self, function: str, argument: str) -> Future[str]:
        """Have a worker call `function(argument)`; return at once, also where all are busy.

        Args:
            function: "package.module:name" of a function at a module's top level, from text to text.

        Raises:
            InputError, TrainingError, OSError: from the future, as the call raised it.
            WorkerLostError: from the future, where the worker's process ended during the call, or at close.
            NoWorkerError: from the future, where no process can be had for the call.
            RuntimeError: from the future, with the kind and first line of any other error of the call.
        """

    def close(self) -> None:
        """End all workers, whatever they are at. None is left when it returns."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ThreadedPool(ABC):
    """A thread of this process waits for each worker, so that no more than `workers` are ever at work.

    What is submitted beyond that waits here for the next free thread, in order.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="secateur-pool")

    def submit(self, function: str, argument: str) -> Future[str]:
        return self._threads.submit(self._call, function, argument)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._end_workers()
        self._threads.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _call(self, function: str, argument: str) -> str:
        """Have a free worker make the call and wait for its answer, in one of the pool's threads."""

    @abstractmethod
    def _end_workers(self) -> None:
        """End all workers, so that every `_call` ends with `WorkerLostError`. May be called twice."""
