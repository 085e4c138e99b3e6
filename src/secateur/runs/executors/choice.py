"""Who makes the runs: as `--workers` and `--on` say, or as measurement shows where they leave it open."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from secateur.device import Runtime
from secateur.errors import InputError, TrainingError, UnreadableError
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.runs.evening import even_out
from secateur.runs.executors.failures import Failures
from secateur.runs.executors.here import Finished, make_here
from secateur.runs.executors.pool import NoWorkerError, Pool
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.executors.ray import RayPool
from secateur.runs.executors.sharing import Sharing, check_portable, workplace
from secateur.runs.graph import Graph, Made, write_plan
from secateur.runs.schedule import Schedule
from secateur.runs.session import Session
from secateur.runs.space import check_space
from secateur.runs.tracking.tracking import About, tracked

SMALL_STEP = 2e9
"""Training MACs (batch x 3 x MACs of the network) below which a step does not keep several threads busy.

Two on two cores (`python -m benchmarks side_by_side`): 1.39-fold at 7e8 (WRN-16-1 on digits), 1.03-fold at
1e10 (at 32x32) and at 1e11 (WRN-40-2). From about 1e10 the last run, alone on its share of the threads, can
cost more than that gains."""
WORTH_STARTING = 1e12
"""Training MACs of a whole graph below which starting processes takes longer than they save."""
HERE, RAY = "here", "ray"


@dataclass(frozen=True)
class Workers:
    """How many workers, and where.

    Attributes:
        count: processes at once, at least 1; None: `auto`.
        on: "here", "ray" (a local cluster, started for it), or the address of a running one.
    """

    count: int | None = None
    on: str = HERE

    @classmethod
    def parse(cls, workers: int | str = "auto", on: str | None = None) -> Workers:
        """Read what `--workers` and `--on` say.

        Raises:
            InputError: for anything else than "auto" or a number of at least 1, and than "here", "ray",
                "ray://HOST:PORT".
        """
        where = on or HERE
        if where not in (HERE, RAY) and not where.startswith("ray://"):
            raise InputError(f"--on is here, ray or ray://HOST:PORT, got '{on}': ray starts a cluster here")
        if workers == "auto":
            return cls(None, where)
        text = str(workers)
        if not (text.isascii() and text.isdigit()) or int(text) < 1:
            raise InputError(f"workers must be auto or a number of at least 1, got '{workers}'")
        return cls(int(text), where)

    def check(self, runtime: Runtime) -> None:
        """Raise InputError where several are asked for in one of several processes."""
        if runtime.world > 1 and ((self.count or 1) > 1 or self.on != HERE):
            raise InputError(
                f"workers must be 1 where several processes share each run, got {self.count}: leave it out, "
                "or do not use accelerate launch"
            )


def count_for(asked: Workers, graph: Graph, session: Session, made: Made | None = None) -> int:
    """Say how many processes make the runs side by side (1: none but this one).

    "auto": on a CPU as many as torch has threads here, where at least two runs can begin, the steps are too
    small for several threads, and the whole is worth it; on other devices, and among several processes, 1.
    On Ray as many, whatever the steps.

    Raises:
        InputError: where several are asked for in one of several processes.
    """
    asked.check(session.runtime)
    most = asked.count or _worth_it(asked, graph, session)
    if most == 1:
        return 1
    made = made or Made(graph, session.store)
    left = made.unfinished()
    if asked.count is None and asked.on == HERE:
        if sum(node.compute for node in left) < WORTH_STARTING:
            return 1
        most = min(most, Schedule(left, made).ready)
    return max(1, min(most, len(left)))


def _worth_it(asked: Workers, graph: Graph, session: Session) -> int:
    threads = torch.get_num_threads()
    if asked.on != HERE:
        return threads
    runtime = session.runtime
    small = runtime.device.type == "cpu" and runtime.world == 1 and largest_step(graph) < SMALL_STEP
    return threads if small else 1


def largest_step(graph: Graph) -> float:
    """Training MACs of a step of the largest network that is known beforehand."""
    known = {(id(node.run.architecture), node.run.recipe.batch_size): node.run for node in graph if node.run}
    return max(
        (
            run.recipe.batch_size * TRAINING_MACS_PER_INFERENCE_MAC * run.architecture.macs
            for run in known.values()
        ),
        default=0.0,
    )


def threads_each(workers: int) -> int:
    """Threads of every process: torch's here, shared out."""
    return max(1, torch.get_num_threads() // workers)


def in_words(workers: int, on: str = HERE, *, apart: bool = False) -> str:
    """Say what will be made how, for people.

    Args:
        apart: even one run after the other is not made in this process.
    """
    if workers == 1 and on == HERE:
        return "one run after the other" + (", in a process beside this one" if apart else "")
    threads = threads_each(workers)
    where = "" if on == HERE else " on Ray"
    return f"{workers} runs side by side{where}, {threads} thread{'s' if threads > 1 else ''} each"


def make_graph(
    graph: Graph,
    session: Session,
    asked: Workers,
    finished: Finished = lambda node: None,
    about: About | None = None,
    *,
    goes_on: bool = False,
) -> Failures:
    """Make every run of a graph that is not finished. The session holds the store.

    Where processes cannot be had, or the runs not be handed to them, that is said, and one follows the other
    in this one; on Ray it is an error.

    Args:
        finished: is told of every node whose run is finished now and was not before.
        about: what a run is in the question, for the session's trackers.
        goes_on: runs that failed are given back, and nothing is raised for them.

    Returns:
        The runs that failed; all that do not wait for them were made.

    Raises:
        InputError, TrainingError: at the end, where runs failed, unless it `goes_on`.
        OSError: at once, where the system refuses to write.
    """
    session.before_making(graph)
    made = Made(graph, session.store)
    session.look_over(made)
    count = count_for(asked, graph, session, made)
    if session.runtime.world == 1:
        check_space(made.unfinished(), session.store.directory)
    if session.runtime.is_main:
        write_plan(made)
    try:
        with tracked(made, session, about):
            failures = _make(made, session, asked, count, finished)
            if session.runtime.is_main:
                even_out(made)
    except UnreadableError as error:  # not what the user asked for is wrong, and runs were made
        raise TrainingError(str(error)) from error
    finally:
        if session.runtime.is_main:
            write_plan(made)  # with the runs that are known by now
    if not goes_on:
        failures.raise_if_any()
    return failures


def _make(made: Made, session: Session, asked: Workers, count: int, finished: Finished) -> Failures:
    """Make what is not finished, where it was asked for."""
    if asked.on == HERE:
        in_here = count == 1 and not _apart(made, session)
        found = None if in_here else _handed_out(made, session, count, finished)
        return make_here(made, session, finished) if found is None else found
    if not made.unfinished():
        return Failures(len(made.graph))
    check_portable(made.graph)
    try:
        return _share_out(made, session, count, asked.on, finished)
    except NoWorkerError as error:
        raise InputError(f"the runs cannot be handed to Ray ({error})") from None


def _apart(made: Made, session: Session) -> bool:
    """Whether one run after the other is made in a process that can be killed: one with a limit.

    No process can interrupt itself within a library written in C.
    """
    return session.run_limit is not None and session.runtime.world == 1 and bool(made.unfinished())


def _handed_out(made: Made, session: Session, count: int, finished: Finished) -> Failures | None:
    """Have processes of this machine make the runs; None where they cannot, and that is said."""
    try:
        check_portable(made.graph)
    except InputError as error:
        session.reporter.note(f"one run after the other: {error}{_unlimited(session)}")
        return None
    try:
        return _share_out(made, session, count, HERE, finished)
    except NoWorkerError as error:
        session.reporter.note(f"one run after the other: {error}{_unlimited(session)}")
        return None


def _unlimited(session: Session) -> str:
    """What a limit cannot do in this process, where there is one."""
    cannot = "; --run-limit cannot end here what hangs within a library written in C"
    return "" if session.run_limit is None else cannot


def _share_out(made: Made, session: Session, count: int, on: str, finished: Finished) -> Failures:
    session.reporter.note(in_words(count, on, apart=True))
    with workplace(session.store) as folder, _pool(session, count, on) as pool:
        if isinstance(pool, RayPool):
            pool.probe(folder)
        return Sharing(made, session, pool, folder, finished).make_all()


def _pool(session: Session, count: int, on: str) -> Pool:
    threads = threads_each(count)
    if on == HERE:
        held = () if session.store.lock is None else (session.store.lock,)
        return ProcessPool(count, threads, held)
    return RayPool(on, count, threads, gpus=1 if session.runtime.device.type == "cuda" else 0)
