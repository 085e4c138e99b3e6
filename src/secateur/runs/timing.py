"""What a process does that times networks on one runtime: they are described by JSON, and so are their times.

One runtime a process: spinning threads of one inflate another's times up to six-fold.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from secateur.architecture.factories import factory_of
from secateur.architecture.saved import load_model
from secateur.budget import Deployment
from secateur.deploy.given import Given
from secateur.deploy.latency import run_of, torch_run, version_of
from secateur.deploy.programs import read_traced
from secateur.deploy.rounds import Times, timed
from secateur.device import Runtime, describe_device
from secateur.errors import InputError
from secateur.surgery.anatomy import anatomy_of

TIME = "secateur.runs.timing:time_networks"


@dataclass(frozen=True)
class Subject:
    """A network, as another process finds it.

    Attributes:
        name: by which its times are told from others'.
        program: the file of it as traced; None where it cannot be, and `untraced` says why.
        folder: where it is saved; None: torch too is given the program.
        factory: what builds it, by name, where it is not built in.
    """

    name: str
    program: str | None = None
    untraced: str = ""
    folder: str | None = None
    factory: str | None = None


@dataclass(frozen=True)
class Timed:
    """What is known of a network on a runtime.

    Attributes:
        medians: nanoseconds, of each round; those of networks in one process are of the same rounds.
    """

    median_ns: int
    low_ns: int
    high_ns: int
    p95_ns: int
    n: int
    medians: tuple[float, ...]
    version: str
    device: str
    dtype: str
    arena_bytes: int | None

    @classmethod
    def of(cls, times: Times, opened: _Opened, runtime: str) -> Self:
        """Draw up the times of a network."""
        low, high = times.interval
        found = (round(times.median), round(low), round(high), times.quantile(0.95), len(times.all))
        about = (version_of(runtime), opened.device, opened.dtype, opened.arena_bytes)
        return cls(*found, tuple(times.medians), *about)


@dataclass(frozen=True)
class _Opened:
    """A network that is ready to run."""

    run: Callable[[], object]
    device: str
    dtype: str
    arena_bytes: int | None = None


def order(subjects: list[Subject], where: Deployment, device: str, seconds: float) -> str:
    """Write down what `time_networks` is to do.

    Args:
        device: of torch, "cpu" or "cuda"; the other runtimes are on the CPU.
        seconds: seconds for each network.
    """
    content = {"where": str(where), "device": device, "seconds": seconds}
    return json.dumps({**content, "subjects": [vars(each) for each in subjects]})


def time_networks(text: str) -> str:
    """Time the networks of an order in turns: name -> what `Timed` holds, or why there is nothing."""
    _keep_locks_here()
    content = json.loads(text)
    where = Deployment.parse(content["where"])
    opened: dict[str, _Opened] = {}
    failed: dict[str, str] = {}
    for each in content["subjects"]:
        subject = Subject(**each)
        try:
            opened[subject.name] = _open(subject, where, content["device"])
        except InputError as error:
            failed[subject.name] = str(error)
    with torch.inference_mode():
        runs = {name: each.run for name, each in opened.items()}
        times = timed(runs, limit_s=content["seconds"] * len(runs)) if runs else {}
    found = {name: vars(Timed.of(times[name], opened[name], where.runtime)) for name in times}
    return json.dumps({"timed": found, "failed": failed})


def times_of(text: str) -> tuple[dict[str, Timed], dict[str, str]]:
    """Read the answer of `time_networks`: name -> times; name -> why there are none."""
    content = json.loads(text)
    found = {
        name: Timed(**{**each, "medians": tuple(each["medians"])}) for name, each in content["timed"].items()
    }
    return found, content["failed"]


def _keep_locks_here() -> None:
    """Have tqdm, which torch's exporter calls, lock threads alone: a lock of processes would be left over."""
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())


def _open(subject: Subject, where: Deployment, device: str) -> _Opened:
    """Make a network ready to run; InputError where that is not possible."""
    if where.runtime == "torch" and subject.folder is not None:
        model = load_model(subject.folder, factory_of(subject.factory) if subject.factory else None)
        batch = Given.of(anatomy_of(model).inputs).with_batch(where.batch_size)
        return _Opened(*torch_run(model.to(Runtime(device).device), batch))
    if subject.program is None:
        raise InputError(subject.untraced)
    traced = read_traced(Path(subject.program))
    if where.runtime == "torch":
        return _Opened(*torch_run(traced.plain.to(Runtime(device).device), traced.given))
    run: Any = run_of(traced, where)
    arrays = [value.numpy() for value in traced.examples.values()]
    about = (describe_device(torch.device("cpu")), traced.dtype, getattr(run, "arena_bytes", None))
    return _Opened(lambda: run(arrays), *about)
