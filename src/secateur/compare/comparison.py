"""The honest comparison (Crowley et al. 2018, Fig. 1): prune and tune, or train something smaller?

    fisher-tuned     train the network, Fisher-prune it while fine-tuning, down to each budget
    fisher-scratch   the architectures found along that trajectory, re-initialised and trained
    copycat          the profile after a number of removals, every group width times alpha, trained
    width            the same family with every layer narrower, trained
    bottleneck       every group width times z, trained
    channel-reparametrization    one training with a gate on every channel, closed down to the budget

and, where the budget is in nonzeros, the arms of `secateur.runs.sparse`, which set weights to zero.

Everything that selects looks at the validation split; accuracy is measured on the test split, once a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import name_of, resolve_model
from secateur.budget import Budget
from secateur.compare.handover import leave
from secateur.compare.jobs import Job, jobs_of, looking, unfinished
from secateur.compare.planning import PlanRow, planned_rows
from secateur.compare.replicate import KNOWN, Replicate
from secateur.compare.results import SCHEMA, describe_data, write_results
from secateur.compare.verdict import summarise, verdict
from secateur.data import Data, load_data
from secateur.device import Runtime
from secateur.errors import InputError, unknown
from secateur.methods import ChannelReparametrization
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.progress import Reporter
from secateur.runs.environment import describe_environment
from secateur.runs.session import PruneSettings, Session, Target
from secateur.runs.side_by_side import fill, parse_workers, workers_for
from secateur.runs.sparse import SPARSE_ARMS, Sparsity, sparse_arms
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

DENSE_ARMS = ("fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck")
GATED = ChannelReparametrization.name
ARMS = (*DENSE_ARMS, GATED, *SPARSE_ARMS)
FAMILY_ARMS = ("bottleneck", GATED)
"""Arms that need what a built-in family declares; another model's groups have no block outputs to spare."""
MATCHES = ("epochs", "compute")
COPYCAT_SHARE = 500 / 1344
"""Crowley et al. take the profile after 500 of WRN-40-2's 1344 channels; other networks: the same share."""


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        arms: some of `ARMS`; none given: `default_arms` of the budgets and the network.
        budgets: of one resource; relative ones are shares of the network being compared.
        seeds: replicates, at least 1.
        match: "epochs": every network trains for the recipe's epochs; "compute": every network trained from
            scratch is given the training MACs that fisher-tuned had spent at that budget.
        copycat_after: removals after which the profile is taken; None: `COPYCAT_SHARE` of all channels.
    """

    budgets: tuple[Budget, ...]
    arms: tuple[str, ...] = ()
    seeds: int = 1
    match: str = "epochs"
    recipe: Recipe = field(default_factory=Recipe)
    prune: PruneSettings = field(default_factory=PruneSettings)
    copycat_after: int | None = None
    sparsity: Sparsity = field(default_factory=Sparsity)

    def __post_init__(self) -> None:
        if not self.budgets:
            raise InputError("a comparison needs at least one budget: write for example --budget params=25%")
        if len({budget.resource for budget in self.budgets}) > 1:
            raise InputError(
                f"the budgets of one comparison limit one resource, got {', '.join(map(str, self.budgets))}: "
                "compare them one resource at a time"
            )
        for budget in self.budgets:
            budget.of_trainable("a comparison")
        self._check()

    @property
    def resource(self) -> str:
        """What the budgets limit."""
        return self.budgets[0].resource

    def on(self, architecture: Architecture) -> Settings:
        """With arms, where none were named: those that suit budget and network.

        Raises:
            InputError: for an arm that is for built-in families, where the network is not of one.
        """
        built_in = architecture.origin is None
        if not built_in and (wrong := [arm for arm in self.arms if arm in FAMILY_ARMS]):
            raise InputError(
                f"the arm {wrong[0]} is for the built-in families, got '{architecture.factory}': leave it "
                f"out (without --arms the others are taken: {', '.join(default_arms(self.resource, False))})"
            )
        return replace(self, arms=self.arms or default_arms(self.resource, built_in))

    def _check(self) -> None:
        for arm in self.arms:
            if arm not in ARMS:
                raise unknown("arm", arm, ARMS)
        if len(set(self.arms)) < len(self.arms):
            raise InputError(f"every arm is named once, got {', '.join(self.arms)}")
        if self.match not in MATCHES:
            raise unknown("--match", self.match, MATCHES)
        if self.seeds < 1:
            raise InputError(f"at least 1 seed is needed, got {self.seeds}")
        sparse = [arm for arm in self.arms if arm in SPARSE_ARMS]
        if sparse:
            self.budgets[0].of_nonzeros(f"the arm {sparse[0]}")
            arms = sparse_arms(self.sparsity)
            for arm in sparse:
                arms[arm].recipes(self.recipe, self.sparsity)  # refuses too few epochs
            if self.match == "compute":
                raise InputError(
                    f"--match compute gives each arm what fisher-tuned spent; the arm {sparse[0]} takes "
                    "the recipe's epochs: compare weights with --match epochs"
                )


def default_arms(resource: str, built_in: bool = True) -> tuple[str, ...]:
    """What is compared where nobody says: the ways to zero weights, or the ways to a smaller network."""
    if resource == "nonzeros":
        return ("magnitude", "magnitude-tuned", "reparametrization-faithful", "reparametrization", "width")
    return tuple(arm for arm in (*DENSE_ARMS, GATED) if built_in or arm not in FAMILY_ARMS)


class Comparison:
    """A checked comparison: `plan` says what it will do, `run` does it.

    Args:
        checked: another process has done so.

    Raises:
        InputError: at once, before anything is trained or written, where a budget cannot be met by an arm.
    """

    def __init__(self, architecture: Architecture, data: Data, settings: Settings, *, checked: bool = False):
        settings = settings.on(architecture)
        self.architecture, self.data, self.settings = architecture, data, settings
        self.skeleton = architecture.skeleton()
        self._solved: dict[tuple[str, str], Architecture] = {}
        self.name = name_of(architecture)
        self.limits = {budget.text: budget.limit_for(self.skeleton) for budget in settings.budgets}
        if len(set(self.limits.values())) < len(settings.budgets):
            raise InputError(f"every budget must be another one, got {', '.join(map(str, settings.budgets))}")
        self.budgets = sorted(settings.budgets, key=lambda budget: -self.limits[budget.text])
        default = max(1, round(COPYCAT_SHARE * sum(architecture.widths)))
        self.copycat_after = default if settings.copycat_after is None else settings.copycat_after
        if not checked:
            self._check()

    def _check(self) -> None:
        settings = self.settings
        if self.needs_trajectory:  # copycat too ends at one channel a group
            for budget in self.budgets:
                self.target(budget).check(self.architecture, settings.prune)
        if "copycat" in self.settings.arms:
            Target(removals=self.copycat_after).check(self.architecture, settings.prune)
        for budget in self.budgets:
            for arm in self.settings.arms:
                if arm in KNOWN:
                    self.known(arm, budget)
                elif arm == GATED:
                    self.target(budget).check_gated(self.architecture)

    @property
    def prunes(self) -> bool:
        """Whether the trajectory is needed at every budget."""
        return (
            bool({"fisher-tuned", "fisher-scratch"} & set(self.settings.arms))
            or self.settings.match == "compute"
        )

    def absolute(self, budget: Budget) -> Budget:
        """The budget in units of its resource."""
        return Budget.parse(f"{budget.resource}={self.limits[budget.text]}")

    def target(self, budget: Budget) -> Target:
        """Where pruning stops for the budget."""
        return Target(budget.resource, self.limits[budget.text])

    def known(self, arm: str, budget: Budget) -> Architecture:
        """The architecture of an arm that needs no pruning; solved once."""
        if (arm, budget.text) not in self._solved:
            self._solved[arm, budget.text] = KNOWN[arm](self.architecture, self.absolute(budget))
        return self._solved[arm, budget.text]

    def plan(self, session: Session) -> list[PlanRow]:
        """What one seed will train, in order; nothing is trained."""
        return planned_rows(self, session)

    @property
    def needs_dense(self) -> bool:
        """Whether the unpruned network is trained: to prune it, or to say what zeros cost."""
        return self.needs_trajectory or bool(set(SPARSE_ARMS) & set(self.settings.arms))

    @property
    def needs_trajectory(self) -> bool:
        """Whether channels are removed one by one at all."""
        return self.prunes or "copycat" in self.settings.arms

    def epochs(self, session: Session, architecture: Architecture, spent: int) -> int:
        """How long a network trains from scratch, given what fisher-tuned spent at its budget."""
        if self.settings.match == "epochs":
            return self.settings.recipe.epochs
        return max(1, spent // session.epoch_compute(architecture, self.settings.recipe))

    def workers(self, session: Session, asked: int | str = "auto") -> int:
        """How many processes will train its networks side by side (`side_by_side.workers_for`)."""
        return self._shared_out(session, self.plan(session), asked)[0]

    def _shared_out(
        self, session: Session, rows: Sequence[PlanRow], asked: int | str
    ) -> tuple[int, list[Job]]:
        """How many processes, and the jobs that are left for them."""
        step = self.settings.recipe.batch_size * TRAINING_MACS_PER_INFERENCE_MAC * self.architecture.macs
        return workers_for(
            asked,
            session.runtime,
            step,
            lambda: unfinished(jobs_of(self, session, rows), looking(self, session)),
        )

    def run(self, session: Session, command: str, workers: int | str = 1) -> dict[str, Any]:
        """Make every run that is not there yet; leave and return the results, and draw the report."""
        rows = self.plan(session)
        count, jobs = self._shared_out(session, rows, workers)
        estimate = sum(row.compute for row in rows) * self.settings.seeds
        with session.working(f"compare {self.name} on {self.data.label}", estimate):
            if count > 1:
                self._fill(session, rows, jobs, count)
            replicates = []
            for seed in range(self.settings.seeds):
                replicate = Replicate(self, session, seed, rows).stand()
                replicates.append((replicate, replicate.points()))
            points = [point for _, own in replicates for point in own]
            results = self._results(session, command, [replicate for replicate, _ in replicates], points)
            if session.runtime.is_main:
                write_results(results, session.store)
        return results

    def _fill(self, session: Session, rows: Sequence[PlanRow], jobs: list[Job], workers: int) -> None:
        """Have processes make the runs, as far as they can."""
        fill(
            jobs,
            workers,
            leave=lambda folder: leave(self, session, rows, folder),
            finished=looking(self, session),
            lock=session.store.lock,
            reporter=session.reporter,
        )

    def _results(
        self, session: Session, command: str, replicates: list[Replicate], points: list[dict[str, Any]]
    ) -> dict[str, Any]:
        summary = summarise(points, self.limits)
        dense = [replicate.dense_point() for replicate in replicates if self.needs_dense]
        shown = [*self.settings.arms]
        points = sorted(points, key=lambda p: (-self.limits[p["budget"]], shown.index(p["arm"]), p["seed"]))
        return {
            "schema": SCHEMA,
            "command": command,
            "model": self.name,
            "data": describe_data(self.data),
            "settings": self._describe_settings(),
            "dense": dense,
            "points": points,
            "summary": summary,
            "dense_summary": summarise(dense, {})[0] if dense else None,
            "profiles": [replicate.profile() for replicate in replicates if "copycat" in self.settings.arms],
            "trajectory": [replicate.trajectory() for replicate in replicates if self.prunes],
            "verdict": verdict(summary),
            "environment": {
                **describe_environment(session.runtime, self.settings.recipe.precision),
                **_made_with([*dense, *points], session.store),
            },
        }

    def _describe_settings(self) -> dict[str, Any]:
        settings = self.settings
        recipe = asdict(settings.recipe) | {
            "pad": settings.recipe.augmentation(self.data).pad,
            "flip": settings.recipe.augmentation(self.data).flip,
            "milestones": ", ".join(f"{share:g}" for share in settings.recipe.milestones),
        }
        return {
            "arms": ", ".join(settings.arms),
            "budgets": ", ".join(map(str, self.budgets)),
            "resource": settings.resource,
            "seeds": settings.seeds,
            "match": settings.match,
            "prune_every": settings.prune.every,
            "flop_penalty": settings.prune.beta,
            "tuning_lr": settings.recipe.for_tuning(settings.prune.lr).lr,
            "copycat_after": self.copycat_after,
            **self._describe_sparsity(),
            **recipe,
        }

    def _describe_sparsity(self) -> dict[str, Any]:
        """The settings of the arms that zero weights, where there are any."""
        if not set(SPARSE_ARMS) & set(self.settings.arms):
            return {}
        sparsity = self.settings.sparsity
        changed = ", ".join(f"{name} {value}" for name, value in sparsity.reparametrization.items())
        return {
            "tune_share": sparsity.tune_share,
            "l1_strength": sparsity.l1_strength,
            "reparametrization": changed or "the method's defaults",
        }


def _made_with(points: Sequence[dict[str, Any]], store: RunStore) -> dict[str, Any]:
    """The commits and the threads that the runs were made with; results may be drawn up with others."""
    records = [store.record(run_id) for run_id in sorted({point["run_id"] for point in points})]
    made = [record["environment"] for record in records if record]
    threads = sorted({each["threads"] for each in made})
    return {
        "trained_at": sorted({str(each["commit"]) for each in made}),
        "threads": threads[0] if len(threads) == 1 else " or ".join(map(str, threads)),
    }


@dataclass(frozen=True)
class CompareResult:
    """What `compare` gives back.

    Attributes:
        results: the content of `results.json`.
        directory: where the report, the figures and the best network lie.
    """

    results: dict[str, Any]
    directory: Path

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        return self.results["verdict"]["text"]

    @property
    def points(self) -> list[dict[str, Any]]:
        """One entry for every arm, budget and seed."""
        return self.results["points"]


def compare(
    model: str | nn.Module | Architecture = "wrn-16-1",
    data: str | Data = "digits",
    budgets: Sequence[str | Budget] = ("params=50%", "params=25%"),
    *,
    arms: Sequence[str] = (),
    seeds: int = 1,
    match: str = "epochs",
    epochs: int | None = None,
    prune_every: int | None = None,
    recipe: Recipe | None = None,
    prune: PruneSettings | None = None,
    copycat_after: int | None = None,
    sparsity: Sparsity | None = None,
    out: str | Path = "secateur-compare",
    device: str = "auto",
    workers: int | str = "auto",
    reporter: Reporter | None = None,
    command: str | None = None,
) -> CompareResult:
    """Which is the best way to a network within each budget? The same as the command `secateur compare`.

    Interrupted, the same call continues; finished runs in `out` are never repeated.

    Args:
        model: a name such as "wrn-40-2", a network of `secateur.models`, or an `Architecture`. Its weights
            do not matter: it is trained from scratch. It is fitted to the data's channels and image size.
        data: a name or folder as `secateur.data.load_data` takes, or loaded data.
        budgets: e.g. ["params=25%"], shares of the network given.
        epochs, prune_every: short for these settings of `recipe` and `prune`.
        arms: some of `ARMS`; none: `default_arms`.
        recipe, prune, sparsity: every number of training, of Fisher pruning and of weight pruning.
        out: folder for results, report and runs.
        workers: how many networks to train side by side, each in a process of its own with its share of
            the threads, or "auto" (`secateur.runs.side_by_side.workers_for`). Scripts need no guard for it; a
            model that is not built in needs a factory that can be imported, or one run follows the other.

    Raises:
        InputError: before anything is trained or written.
        TrainingError: where a loss is not finite.

    Example:
        >>> result = sc.compare("wrn-16-1", data="digits", budgets=["params=25%"])  # doctest: +SKIP
        >>> print(result.verdict)  # doctest: +SKIP

    Reference: Crowley et al. 2018, Fig. 1.
    """
    parse_workers(workers)  # has its check
    reporter = reporter or Reporter()
    recipe = recipe or Recipe()
    recipe = recipe if epochs is None else replace(recipe, epochs=epochs)
    prune = prune or PruneSettings()
    prune = prune if prune_every is None else replace(prune, every=prune_every)
    runtime = Runtime(device)
    loaded = load_data(data, progress=reporter.decoding) if isinstance(data, str) else data
    settings = Settings(
        tuple(Budget.parse(budget) for budget in budgets),
        tuple(arms),
        seeds,
        match,
        recipe,
        prune,
        copycat_after,
        sparsity or Sparsity(),
    )
    comparison = Comparison(resolve_model(model, loaded), loaded, settings)
    session = Session(loaded, RunStore(out), runtime, reporter)
    results = comparison.run(session, command or f"secateur.compare({comparison.name!r}, ...)", workers)
    return CompareResult(results, session.store.directory)
