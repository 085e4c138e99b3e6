"""What of a comparison can be made side by side, and in which order: jobs that wait for one another.

Of every seed, the network and the trajectory through all budgets are one chain. Arms whose architecture is
known wait for nothing, those that cut a trained network for its training, and those whose architecture
pruning has to find for the trajectory as far as they need it. The job with the longest way to the end,
through all that waits for it, goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from secateur.compare.planning import PlanRow, pruning_estimate
from secateur.compare.replicate import KNOWN, Replicate
from secateur.runs.session import NotMadeError, Session
from secateur.runs.sparse import SPARSE_ARMS, sparse_arms

if TYPE_CHECKING:
    from secateur.budget import Budget
    from secateur.compare.comparison import Comparison


@dataclass(frozen=True)
class Job:
    """A piece of work that one process does by itself.

    Attributes:
        name: unique, for people.
        after: the names of the jobs that must be finished before.
        compute: its training MACs, about.
        work: what to do, as JSON.
        early: what it makes may be there before all that it waits for is finished.
    """

    name: str
    after: tuple[str, ...] = ()
    compute: float = 0.0
    work: dict[str, Any] = field(default_factory=dict, compare=False)
    early: bool = False


class Schedule:
    """Which job is next. Each is taken once, when all that it waits for are finished.

    Args:
        jobs: each after those that it waits for.
    """

    def __init__(self, jobs: Sequence[Job]):
        self.waiting = {job.name: job for job in jobs}
        self.finished: set[str] = set()
        self.running: set[str] = set()
        self.weights: dict[str, float] = {}
        for job in reversed(jobs):
            after = [self.weights[other.name] for other in jobs if job.name in other.after]
            self.weights[job.name] = job.compute + max(after, default=0.0)

    @property
    def over(self) -> bool:
        """Whether nothing is left to do or being done."""
        return not self.waiting and not self.running

    def ready(self) -> list[Job]:
        """What may begin now, the longest way to the end first."""
        found = [job for job in self.waiting.values() if self.finished.issuperset(job.after)]
        return sorted(found, key=lambda job: -self.weights[job.name])

    def candidates(self) -> list[Job]:
        """What may be found finished: the job that is next, and those that may be early."""
        early = [job for job in self.waiting.values() if job.early]
        return list({job.name: job for job in [*early, *self.ready()[:1]]}.values())

    def take(self, job: Job) -> None:
        """A process begins with the job."""
        del self.waiting[job.name]
        self.running.add(job.name)

    def finish(self, job: Job) -> None:
        """The job is finished, by whomever."""
        self.waiting.pop(job.name, None)
        self.running.discard(job.name)
        self.finished.add(job.name)


def without(finished: Sequence[Job], jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are left; none waits for one that is finished."""
    gone = {job.name for job in finished}
    left = [job for job in jobs if job.name not in gone]
    return [replace(job, after=tuple(name for name in job.after if name not in gone)) for job in left]


def jobs_of(of: Comparison, session: Session, rows: Sequence[PlanRow]) -> list[Job]:
    """Every job of a comparison, for all seeds, each after those that it waits for."""
    return [job for seed in range(of.settings.seeds) for job in jobs_of_seed(of, session, rows, seed)]


def jobs_of_seed(of: Comparison, session: Session, rows: Sequence[PlanRow], seed: int) -> list[Job]:
    """The jobs of one seed."""
    return _Seed(of, session, seed, rows).jobs()


def make(replicate: Replicate, work: dict[str, Any]) -> None:
    """Do a job's work; runs that are finished are only looked at."""
    budget = next((each for each in replicate.of.budgets if each.text == work["budget"]), None)
    if work["what"] == "dense":
        replicate.dense  # noqa: B018
    elif work["what"] == "profile":
        replicate.profile_record  # noqa: B018
    elif work["what"] == "first":
        replicate.trained_first(work["arm"])
    elif budget is not None and work["what"] == "tuned":
        replicate.tuned(budget)
    elif budget is not None:
        replicate.point(work["arm"], budget)


def looking(of: Comparison, session: Session) -> Callable[[Job], bool]:
    """Says of a job whether its runs are in the store; nothing is trained."""
    replicates = [Replicate(of, session.looking(), seed, ()) for seed in range(of.settings.seeds)]
    return whether_made(lambda work: make(replicates[work["seed"]], work))


def whether_made(look: Callable[[dict[str, Any]], None]) -> Callable[[Job], bool]:
    """Says of a job whether its runs are finished; `look` does a job's work where nothing is trained."""

    def finished(job: Job) -> bool:
        try:
            look(job.work)
        except NotMadeError:
            return False
        return True

    return finished


def unfinished(jobs: Sequence[Job], finished: Callable[[Job], bool]) -> list[Job]:
    """The jobs that are left."""
    return without([job for job in jobs if finished(job)], jobs)


class _Seed:
    """The jobs of one seed."""

    def __init__(self, of: Comparison, session: Session, seed: int, rows: Sequence[PlanRow]):
        self.of, self.session, self.seed = of, session, seed
        self.rows = {(row.arm, row.budget): row for row in rows}
        self.recipe = of.settings.recipe

    def jobs(self) -> list[Job]:
        chain, first = self._chain(), self._first()
        return once([*chain, *first.values(), *self._points(chain, first)])

    def _job(self, what: str, arm: str, budget: str, after: Iterable[Job], compute: float) -> Job:
        name = " ".join(part for part in (what, arm, budget, f"seed {self.seed}") if part)
        work = {"seed": self.seed, "what": what, "arm": arm, "budget": budget}
        return Job(name, tuple(job.name for job in after), compute, work)

    def _chain(self) -> list[Job]:
        """The network, its pruning to one budget after the other, and copycat's profile."""
        chain: list[Job] = []
        if self.of.needs_dense:
            chain.append(self._job("dense", "", "", (), self.rows["dense", ""].compute))
        done = 0
        for budget in self.of.budgets if self.of.prunes else ():
            until = pruning_estimate(self.of, budget)
            chain.append(self._job("tuned", "", budget.text, chain[-1:], until - done))
            done = until
        if "copycat" in self.of.settings.arms:
            rest = 0 if self.of.prunes else pruning_estimate(self.of, self.of.budgets[0])
            profile = self._job("profile", "", "", chain[-1:], rest)
            chain.append(replace(profile, early=self.of.prunes))  # it is a pruned network that suffices
        return chain

    def _first(self) -> dict[str, Job]:
        """The trainings before a cut, by arm; an arm may share that of another, or take the network."""
        sparsity, by_run = self.of.settings.sparsity, dict[str, Job]()
        found: dict[str, Job] = {}
        dense = self.session.train_spec(self.of.architecture, self.recipe, self.seed, "").run_id
        for arm in (arm for arm in self.of.settings.arms if arm in SPARSE_ARMS):
            recipe = sparse_arms(sparsity)[arm].recipes(self.recipe, sparsity)[0]
            if recipe is None:
                continue
            run = self.session.train_spec(self.of.architecture, recipe, self.seed, "").run_id
            if run != dense:
                compute = self.session.epoch_compute(self.of.architecture, recipe) * recipe.epochs
                found[arm] = by_run.setdefault(run, self._job("first", arm, "", (), compute))
        return found

    def _points(self, chain: list[Job], first: dict[str, Job]) -> list[Job]:
        """What is trained for each arm and budget; runs that are the same are one job."""
        found: dict[str, Job] = {}
        for budget in self.of.budgets:
            for arm in self.of.settings.arms:
                if arm != "fisher-tuned":
                    after = self._stands_on(arm, budget, chain, first)
                    job = self._job("point", arm, budget.text, after, self.rows[arm, budget.text].compute)
                    found.setdefault(self._known_run(arm, budget) or job.name, job)
        return list(found.values())

    def _stands_on(self, arm: str, budget: Budget, chain: list[Job], first: dict[str, Job]) -> list[Job]:
        what = {job.work["what"]: job for job in chain}
        tuned = [job for job in chain if job.work["what"] == "tuned" and job.work["budget"] == budget.text]
        if arm in SPARSE_ARMS:
            trained = sparse_arms(self.of.settings.sparsity)[arm].trained
            return [first.get(arm, what["dense"])] if trained else []
        spent = tuned if self.of.settings.match == "compute" else []
        needs = {"fisher-scratch": tuned, "copycat": [what["profile"], *spent] if arm == "copycat" else []}
        return needs.get(arm, spent if arm in KNOWN else [])

    def _known_run(self, arm: str, budget: Budget) -> str | None:
        """The run's id, where it is known beforehand: two arms may come to the same network."""
        if arm not in KNOWN or self.of.settings.match == "compute":
            return None
        return self.session.train_spec(self.of.known(arm, budget), self.recipe, self.seed, "").run_id


def once(jobs: Iterable[Job]) -> list[Job]:
    """Jobs of the same name are the same."""
    return list({job.name: job for job in jobs}.values())
