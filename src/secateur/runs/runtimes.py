"""Networks timed on several runtimes, each in a process of its own, one after another."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as TooLong
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from secateur.budget import RUNTIMES, Deployment
from secateur.deploy.given import Given
from secateur.deploy.latency import check_installed
from secateur.deploy.programs import write_traced
from secateur.deploy.rounds import Ratio
from secateur.deploy.traced import Traced
from secateur.errors import InputError, first_line, unknown
from secateur.progress import Reporter
from secateur.records.measured import NotMeasured, Speed, Timing
from secateur.records.ours import VERSION
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.timing import TIME, Subject, Timed, order, times_of
from secateur.surgery.anatomy import anatomy_of

SECONDS, TIMEOUT_S = 2.0, 900.0
"""Seconds that a network is timed for on a runtime; after which a runtime is given up, export and all."""


@dataclass(frozen=True)
class Plan:
    """On what networks are timed.

    Attributes:
        runtimes: names, each once, all of which are there.
        missing: those that nobody named and that are not there.
        batch, threads: at least 1.
        device: of torch; the other runtimes are on the CPU.
        seconds: for each network and runtime; timeout_s: for each runtime, export and all.
    """

    runtimes: tuple[str, ...]
    missing: tuple[NotMeasured, ...] = ()
    batch: int = 1
    threads: int = 1
    device: str = "cpu"
    seconds: float = SECONDS
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of(cls, asked: Sequence[str] | None = None, **settings: Any) -> Plan:
        """Take what is asked for, None: every runtime that is there.

        Raises:
            InputError: where a setting makes no sense, or a runtime that was asked for is not there.
        """
        found = cls((), **settings)
        for name in ("batch", "threads"):
            value = getattr(found, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value}: write 1")
        if not 0 < found.seconds < float("inf"):
            raise InputError(f"seconds must be above 0 seconds, got {found.seconds}: write for example 2.0")
        chosen: list[str] = []
        missing: list[NotMeasured] = []
        for name in RUNTIMES if asked is None else dict.fromkeys(asked):
            try:
                _check(name, found.threads)
                chosen.append(name)
            except InputError as error:
                if asked is not None:
                    raise
                missing.append(NotMeasured(runtime=name, why=str(error), failed=False))
        if not chosen:
            raise InputError(f"at least one runtime is needed, got none: name one of {', '.join(RUNTIMES)}")
        return cls(tuple(chosen), tuple(missing), **settings)


def _check(runtime: str, threads: int) -> None:
    """Raise InputError unless a runtime is there, and takes so many threads."""
    if runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIMES)
    if runtime == "c" and threads != 1:
        raise InputError(f"the exported C runs on one thread, got threads={threads}: measure it with 1")
    check_installed(runtime)


@dataclass
class Found:
    """What came of it.

    Attributes:
        timed: runtime -> name of a network -> its times.
        not_measured: of what there are no times, and why.
        remarks: what should be known of the times.
    """

    timed: dict[str, dict[str, Timed]] = field(default_factory=dict)
    not_measured: list[NotMeasured] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def time_on(
    plan: Plan, subjects: Sequence[Subject], reporter: Reporter, call: Callable[..., str] | None = None
) -> Found:
    """Time networks on every runtime of a plan; one that fails is named, and the others go on.

    Args:
        call: has another process time networks; by default `in_a_process`.
    """
    found = Found(not_measured=list(plan.missing))
    for number, runtime in enumerate(plan.runtimes, 1):
        reporter.note(f"measuring on {runtime} ({number} of {len(plan.runtimes)})")
        where = Deployment(runtime, plan.batch, plan.threads)
        text = order(list(subjects), where, plan.device if runtime == "torch" else "cpu", plan.seconds)
        try:
            timed, failed = times_of((call or in_a_process)(text, plan.threads, plan.timeout_s))
        except (InputError, RuntimeError, OSError, TooLong) as error:
            why = first_line(error) or f"it took more than {plan.timeout_s:g} s: a smaller network, or batch"
            found.not_measured.append(NotMeasured(runtime=runtime, why=why, failed=True))
            continue
        found.timed[runtime] = timed
        for why in dict.fromkeys(failed.values()):
            who = (
                ""
                if len(subjects) == len(failed)
                else ", ".join(n for n in failed if failed[n] == why) + ": "
            )
            found.not_measured.append(NotMeasured(runtime=runtime, why=who + why, failed=True))
    return found


def in_a_process(text: str, threads: int, timeout_s: float) -> str:
    """Have a process of its own carry out an order; it is gone at the end, however that comes."""
    with ProcessPool(1, threads) as pool:
        return pool.submit(TIME, text).result(timeout_s)


def subject_of(
    name: str,
    model: nn.Module,
    batch: int,
    directory: Path,
    folder: Path | None = None,
    factory: str | None = None,
) -> Subject:
    """Trace a network for other processes.

    Args:
        model: that carries its anatomy, with the inputs that it is timed on.
        directory: a folder of ours, in which its program is left.
        folder, factory: where it is saved, and the name of what builds it; torch is then given the network.
    """
    path = directory / f"{name}.pt2"
    at = {"folder": str(folder.absolute()) if folder else None, "factory": factory}
    try:
        given = Given.of(anatomy_of(model).inputs).with_batch(batch)
        write_traced(Traced.of(model, given.examples, dynamic_batch=False), path)
    except InputError as error:
        return Subject(name, None, str(error), **at)
    return Subject(name, str(path), "", **at)


def speed_of(runtime: str, before: Timed, now: Timed) -> Speed:
    """How much faster one network is than another that took turns with it."""
    ratio = Ratio.of(before.medians, now.medians)
    return Speed(runtime=runtime, speedup=ratio.middle, low=ratio.low, high=ratio.high)


def timing_of(which: str, runtime: str, timed: Timed, plan: Plan) -> Timing:
    """The times of a network as they are recorded."""
    about = {each.name: getattr(timed, each.name) for each in fields(timed) if each.name != "medians"}
    return Timing(which=which, runtime=runtime, batch=plan.batch, threads=plan.threads, **about)


def versions() -> dict[str, str]:
    """What it was measured with."""
    return {"secateur": VERSION, "torch": version("torch"), "python": platform.python_version()}
