"""Workers that are tasks on Ray: a cluster of its own on this machine, or one that runs somewhere.

Ray starts processes, hands out the calls, and notices when one dies; the pool asks it never to repeat one,
so that whoever uses the pool can say so. Text goes in and comes out, and one small function by value, which
makes our modules known in the worker before it imports them.

Ray prints lost workers to standard output, which a setting forbids that it reads when it is first imported:
where a user's own code did that before, it goes on printing.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from secateur.atomic import scratch_folder
from secateur.errors import InputError, first_line, kind_and_line, require_packages
from secateur.records.ours import VERSION
from secateur.runs.executors.call import paths_of_ones_own, thread_environment, unpack
from secateur.runs.executors.orphans import Watch
from secateur.runs.executors.pool import ThreadedPool, WorkerLostError

PROBE_S = 60.0
"""How long a machine of the cluster may take to answer a probe: a worker's process starts for it."""
CANCEL_S = 10.0
KNOCK_S = 10.0
_SHARED_MEMORY = 80 << 20  # about the least that Ray takes; only texts pass through
_TOKEN = secrets.token_hex(32)  # of the clusters of this process; Ray would leave one in the user's home
_TOKEN_SETTINGS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class RayPool(ThreadedPool):
    """Workers on Ray.

    Args:
        address: "ray" starts a cluster on this machine, which ends with the pool; "ray://HOST:PORT" is a
            running one's server of clients, "HOST:PORT" its head, for a machine that belongs to it. These
            are left running.
        workers: how many calls at once.
        threads: CPUs that Ray sets aside for a call, and threads that torch uses in it.
        gpus: GPUs, or a part of one, set aside for a call. With 0 a call sees none.

    Start it in a thread that lives as long as the pool, best the main one: Linux ends the processes of Ray's
    cluster with the thread that started them.

    Raises:
        InputError: where Ray is not installed, or the cluster cannot be started or reached.
    """

    def __init__(self, address: str, workers: int, threads: int, gpus: float = 0):
        self._ray = _imported()
        self._where = address
        self._cluster = (
            _Local(self._ray, workers * threads) if address == "ray" else _Running(self._ray, address)
        )
        self._options = {"num_cpus": threads, "num_gpus": gpus, "max_retries": 0, "retry_exceptions": False}
        self._remote = self._ray.remote(**self._options)(_travelling())
        self._given = (paths_of_ones_own(), thread_environment(threads), threads)
        self._threads_each = threads
        self._at_work: dict[Any, Future[str]] = {}
        self._lock = threading.Lock()
        self._ended = False
        super().__init__(workers)

    def probe(self, folder: Path) -> None:
        """See that every machine of the cluster reads what is written into the folder, and has our version.

        Raises:
            InputError: where one does not, or none has enough CPUs, or none answers within `PROBE_S`.
        """
        token = secrets.token_hex(8)
        file = folder / f".probe-{token}"
        file.write_text(token, encoding="utf-8")
        try:
            calls = [self._read_at(node, file) for node in self._machines()]
            for call in calls:
                self._check(json.loads(unpack(self._answer(call, PROBE_S))), token, folder)
        except RuntimeError as error:
            raise InputError(
                f"the Ray cluster at '{self._where}' makes no calls of Secateur ({first_line(error)}): "
                "its machines need Secateur and all that the runs import"
            ) from None
        finally:
            file.unlink()

    def _machines(self) -> list[str]:
        """The ids of those that could make a call."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        able = [node for node in nodes if node["Resources"].get("CPU", 0) >= self._threads_each]
        if not able:
            most = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
            raise InputError(
                f"a call needs {self._threads_each} CPUs, and the machines of the Ray cluster at "
                f"'{self._where}' have {most:g} at most: ask for fewer threads"
            )
        return [node["NodeID"] for node in able]

    def _read_at(self, node: str, file: Path) -> Any:
        at = import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(node, soft=False)
        remote = self._remote.options(**self._options, scheduling_strategy=at)
        return remote.remote(
            *self._given, "secateur.runs.executors.call:seen_from_here", str(file.absolute())
        )

    def _check(self, seen: dict[str, Any], token: str, folder: Path) -> None:
        if seen["found"] != token:
            raise InputError(
                f"the folder '{folder}' is not the same on all machines of the Ray cluster at "
                f"'{self._where}': use one that they share"
            )
        if seen["version"] != VERSION:
            raise InputError(
                f"Secateur is {seen['version']} on the Ray cluster at '{self._where}' and {VERSION} "
                "here: install the same"
            )

    def _call(self, function: str, argument: str) -> str:
        with self._lock:
            if self._ended:
                raise WorkerLostError("a worker ended (the pool was closed)")
            call = self._remote.remote(*self._given, function, argument)
            self._at_work[call] = call.future()
        try:
            return unpack(self._answer(call))
        finally:
            with self._lock:
                del self._at_work[call]

    def _answer(self, call: Any, patience_s: float | None = None) -> str:
        """Wait for a call's packed outcome; WorkerLostError where its process is gone."""
        errors = self._ray.exceptions
        try:
            return (self._at_work.get(call) or call.future()).result(patience_s)
        except errors.RayTaskError as error:  # before ours began: an import failed, say
            raise RuntimeError(kind_and_line(error.cause or error)) from None
        except (errors.RayError, ConnectionError, CancelledError) as error:
            how = "the pool was closed" if self._ended else self._how(error)
            raise WorkerLostError(f"a worker ended ({how})") from None
        except TimeoutError:
            raise RuntimeError(f"no answer within {patience_s:g} s") from None

    def _how(self, error: Exception) -> str:
        errors = self._ray.exceptions
        known = {
            errors.OutOfMemoryError: "killed, as memory ran out",
            errors.WorkerCrashedError: "killed or crashed: memory may have run out",
            errors.NodeDiedError: "its machine is gone",
            errors.LocalRayletDiedError: "Ray is gone from this machine",
            ConnectionError: "the Ray cluster is gone",
        }
        return next((text for kind, text in known.items() if isinstance(error, kind)), kind_and_line(error))

    def _end_workers(self) -> None:
        with self._lock:
            self._ended = True
            at_work = dict(self._at_work)
        for call in at_work:
            with suppress(Exception):  # the cluster may be gone
                self._ray.cancel(call, force=True)
        _, unanswered = wait(at_work.values(), CANCEL_S)
        for future in unanswered:
            with suppress(Exception):  # answered just now
                future.set_exception(ConnectionError())
        self._cluster.leave()


class _Local:
    """A cluster on this machine that ends with us, however we end, and leaves nothing in the user's home."""

    def __init__(self, ray: Any, cpus: int):
        self._ray = ray
        if ray.is_initialized():
            raise InputError(
                "this process is connected to Ray already: ray.shutdown() first, or give its address"
            )
        folder, mark = str(scratch_folder(_short_folder(), short=True)), secrets.token_hex(16)
        self._watch = Watch(mark, folder)
        try:
            with _environment(_cluster_environment(mark)), _kept_sigterm():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    object_store_memory=_SHARED_MEMORY,
                    _temp_dir=folder,
                    **_quiet(),
                )
        except BaseException as error:
            self.leave()
            if isinstance(error, Exception):
                raise InputError(f"Ray cannot be started here ({kind_and_line(error)})") from None
            raise

    def leave(self) -> None:
        """End it, and all that it started."""
        try:
            self._ray.shutdown()
        finally:
            self._watch.close()


class _Running:
    """A cluster that was there before, and stays."""

    def __init__(self, ray: Any, address: str):
        self._ray = ray
        _knock(address)
        try:
            with _kept_sigterm():
                ray.init(address=address, **_quiet())
        except Exception as error:
            raise InputError(
                f"the Ray cluster at '{address}' does not let us in ({kind_and_line(error)}): have the same "
                "versions of Ray and Python here as there, and set RAY_AUTH_MODE=token where it wants a token"
            ) from None

    def leave(self) -> None:
        """Disconnect."""
        self._ray.shutdown()


def _imported() -> Any:
    """Ray, which is told while it is loaded to leave standard output alone, where it reports lost workers."""
    added = {} if "RAY_DEDUP_LOGS_SKIP_REGEX" in os.environ else {"RAY_DEDUP_LOGS_SKIP_REGEX": "."}
    with _environment(added):
        require_packages("ray", what="--on ray")
        return import_module("ray")


def _knock(address: str) -> None:
    """InputError where nobody listens at an address: Ray itself waits half a minute and more."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise InputError(
            f"the address of a Ray cluster must be ray, ray://HOST:PORT or HOST:PORT, got '{address}'"
        )
    try:
        socket.create_connection((host, int(port)), KNOCK_S).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot reach a Ray cluster at '{address}' ({first_line(error)}): is it running, and "
            "is this the port of its clients (10001, unless set) or of its head?"
        ) from None


def _quiet() -> dict[str, Any]:
    return {"logging_level": "error", "log_to_driver": False}


def _short_folder() -> str | None:
    """Where sockets can be: their whole path may have some 100 characters, and Ray's part of it is 60."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < 20 or not os.access("/tmp", os.W_OK) else "/tmp"


def _cluster_environment(mark: str) -> dict[str, str]:
    """What the cluster's processes find in their environment."""
    own_token = not any(os.environ.get(name) for name in _TOKEN_SETTINGS)
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "SECATEUR_RAY_CLUSTER": mark,
        **({"RAY_AUTH_TOKEN": _TOKEN} if own_token else {}),
    }


@contextmanager
def _environment(added: dict[str, str]) -> Iterator[None]:
    """Add to this process's environment and put it back as it was, also what Ray sets in it."""
    before = {name: os.environ.get(name) for name in (*added, "RAY_AUTH_MODE")}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Put back who handles SIGTERM: Ray takes it, where it is called in the main thread."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _travelling() -> Callable[..., str]:
    """The function that Ray calls in a worker.

    Being inside another it is pickled by value, and so needs no module of ours before it made them known.
    """

    def call(
        paths: list[str], environment: dict[str, str], threads: int, function: str, argument: str
    ) -> str:
        import importlib
        import os
        import sys

        ours = [path for path in paths if os.path.isdir(path)]
        sys.path[:] = ours + [path for path in sys.path if path not in ours]
        os.environ.update(environment)  # before torch is loaded
        made = importlib.import_module("secateur.runs.executors.call")
        made.prepare(threads)
        return made.outcome(function, argument)

    return call
