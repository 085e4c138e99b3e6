"""The honest comparison (Crowley et al. 2018, Fig. 1): prune and tune, or train something smaller?

Everything that selects while networks are made looks at the validation split; accuracy is measured on the
test split, once a run. Which arm leads in the end is judged on both together: `secateur.compare.verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from inspect import cleandoc, signature
from pathlib import Path
from typing import Any, ParamSpec, cast

from secateur.architecture.architecture import Architecture
from secateur.architecture.pretrained import normalized_for
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget, split
from secateur.compare.drawn_up import about, any_there, asked_in, so_far, whole
from secateur.compare.histories import histories
from secateur.compare.lacking import lacking
from secateur.compare.live import LivePage
from secateur.compare.own import Model, examine, network_for, recipe_for, try_optimizer
from secateur.compare.planned import Planned
from secateur.compare.replicate import Replicate
from secateur.compare.results import FILES, PAGE, meanings, write_results
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.wanted import Wanted, ask
from secateur.compare.winner import Shown
from secateur.data import Data, load_data
from secateur.data.sources import folder_of
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError, require_extra, require_posix
from secateur.names import ArmName, Match, TaskName, TrackerName
from secateur.network.task import TASKS, Loss, Task
from secateur.progress import Reporter
from secateur.records.advice import Advice
from secateur.records.failed import FailedRun
from secateur.records.out import FOLDER_FILES, check_out, check_stays, expanded
from secateur.records.point import Point
from secateur.records.results import Results
from secateur.report.beside import Beside
from secateur.report.html import render
from secateur.report.progress import Progress
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.graph import Graph, Made
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.run_limit import seconds_of
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.surgery.constraints import Constraints, Floors, Patterns, Ratios
from secateur.tracking.services import check_services
from secateur.training.batches import AnyData
from secateur.training.loaders import Loaders
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms


def answer(
    wanted: Wanted,
    session: Session,
    command: str,
    workers: Workers | None = None,
    *,
    reads: Path | None = None,
) -> CompareResult:
    """Make every run of a comparison that is not there yet; leave and give the results, and draw the report.

    Args:
        reads: the file or folder that the network was read from, which is not replaced.

    Runs that failed are told in the results; what does not wait for them is judged. Without the session's
    `retries_failed`, those of an earlier command are not made again.

    Raises:
        InputError, TrainingError: where runs failed and no network is there; what is finished is kept.
    """
    question, graph = wanted.question, Graph(session.runtime.world)
    replicates = wanted.add_to(graph)
    made = Made(graph, session.store)
    asked = asked_in(wanted)
    check_out(session.store.directory, FOLDER_FILES)
    check_stays(asked.folder(session.store.directory), session.store.directory)
    check_out(asked.folder(session.store.directory), FILES, model=reads)
    with session.working(f"compare {question.name} on {question.data.label}", graph.compute):
        if question.tuned:
            session.reporter.note(question.tuned)
        folder = asked.folder(session.store.directory)
        with _watched(folder / PAGE, wanted, replicates, made, session, command):
            told = partial(about, wanted, replicates, made)
            failures = make_graph(graph, session, workers or Workers(1), about=told, goes_on=True)
            if failures and not any_there(wanted, replicates, made):
                failures.raise_if_any()
            results = whole(wanted, replicates, made, session, command, failures.told)
            if session.runtime.is_main:
                task, precision = question.settings.terms.task, question.settings.recipe.precision
                shown = Shown(question.architecture, question.data, task.name, precision)
                try:
                    write_results(results, session, folder, shown, task)
                except InputError as error:  # runs were made, and nothing that was asked for is wrong
                    raise TrainingError(str(error)) from error
    return CompareResult(results, folder)


@contextmanager
def _watched(
    page: Path, wanted: Wanted, replicates: Sequence[Replicate], made: Made, session: Session, command: str
) -> Iterator[None]:
    """Keep the page up to date while runs are made (`live`), and say on it where that is broken off."""
    if not session.runtime.is_main or not made.unfinished():
        yield
        return

    def draw(progress: Progress) -> str:
        found = so_far(wanted, replicates, made, session, command)
        return render(found, histories(found, session.store), Beside(meanings(), progress=progress))

    since = datetime.now(UTC).isoformat(timespec="seconds") if session.retries_failed else ""
    left = partial(lacking, wanted, replicates, made, since)
    live = LivePage(page, made, draw, left, command, session.reporter.note)
    live.look()
    try:
        with session.telling(live.hearer()):
            yield
    except BaseException as error:
        live.stop(_why(error))
        raise


def _why(error: BaseException) -> str:
    """What broke a comparison off, as a sentence."""
    if isinstance(error, KeyboardInterrupt):
        return "The command was interrupted."
    text = " ".join(str(error).split()) or type(error).__name__
    return f"The command ended: {text}."


@dataclass(frozen=True)
class CompareResult:
    """What `compare` gives back.

    Attributes:
        results: the content of `results.json`, as a value.
        directory: where the report, the figures and the best network lie.
    """

    results: Results
    directory: Path

    def __repr__(self) -> str:
        return self.results.shown(f"Report: {self.directory / 'report.html'}").text()

    def _repr_html_(self) -> str:
        return self.results.shown(f"Report: {self.directory / 'report.html'}").html()

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        return self.results.verdict.text

    @property
    def advice(self) -> Advice | None:
        """Which network to keep, what could not be told apart, and what would decide it."""
        return self.results.advice

    @property
    def failed(self) -> tuple[FailedRun, ...]:
        """The runs that failed, with their errors; empty where all went well."""
        return self.results.failed

    @property
    def points(self) -> tuple[Point, ...]:
        """One entry for every arm, budget and seed."""
        return self.results.points


P = ParamSpec("P")
_END: ContextVar[Callable[..., Any]] = ContextVar("end", default=answer)
"""What is done with a comparison that was checked: its runs are made, or (`plan`) only told."""


def compare(
    model: Model = "wrn-16-1",
    data: str | Data | Loaders | Sequence[Iterable[Any]] = "digits",
    budgets: Sequence[str | Budget] = ("params=50%", "params=25%"),
    *,
    arms: Sequence[ArmName] = (),
    seeds: int = 1,
    match: Match = "epochs",
    epochs: int | None = None,
    prune_every: int | None = None,
    recipe: Recipe | None = None,
    prune: PruneSettings | None = None,
    copycat_after: int | None = None,
    sparsity: Sparsity | None = None,
    keep: Patterns = (),
    at_least: Floors = (),
    ratio: Ratios = (),
    task: TaskName | Task | None = None,
    loss: Loss | None = None,
    metric: Any = None,
    optimizer: Any = None,
    out: str | Path = "secateur-compare",
    device: str = "auto",
    workers: int | str = "auto",
    on: str = "here",
    retry_failed: bool = False,
    run_limit: float | None = None,
    log_with: TrackerName | Sequence[TrackerName] = (),
    reporter: Reporter | None = None,
    command: str | None = None,
) -> CompareResult:
    """Which is the best way to a network within each budget? The same as the command `secateur compare`.

    Interrupted, the same call continues; finished runs in `out` are never repeated.

    Args:
        model: a name such as "wrn-40-2", a network of `secateur.models`, or an `Architecture`. Its weights
            do not matter: it is trained from scratch, but for networks that begin with pretrained weights (of
            `hf:` and `timm:`, or by your function): they are tuned. It is fitted to the data's channels and
            image size. Or a function that builds any network, which loaders of your own need.
        data: a name or folder as `secateur.data.load_data` takes, loaded data, or your own (train, val,
            test): iterables of (inputs, targets), DataLoaders for example (`Loaders`).
        budgets: e.g. ["params=25%"], shares of the network given; or a text with commas.
        seeds: networks of every arm, each from a seed of its own, at least 1; with one there is no verdict.
        match: "epochs": every network trains for the recipe's epochs; "compute": every network trained from
            scratch is given the training MACs that fisher-tuned had spent at that budget.
        epochs, prune_every: short for these settings of `recipe` and `prune`.
        arms: some of `secateur.compare.arms.ARMS`; none: those that suit budgets and network.
        recipe, prune, sparsity: every number of training, of Fisher pruning and of weight pruning. Without
            `recipe`, networks that come trained take `Recipe.fine_tuning()`, all others `Recipe()`.
        keep, at_least, ratio: what must stay in every arm, as in `secateur.training.prune.prune`; an arm that
            cannot keep to it is left out where `arms` are not named, else refused.
        task: "classification" (the default), "multilabel" or "regression": which loss and which metric.
        loss: (output, targets) -> the mean over the batch, in place of the task's.
        metric: (function, "max") or (function, "min"), of (outputs, targets) of a whole split, in place of
            the task's: what everything that selects looks at, and the verdict.
        optimizer: makes the optimizer of parameter groups, in place of the recipe's:
            `lambda groups: torch.optim.AdamW(groups, lr=1e-3)`.
        copycat_after: removals after which `copycat` takes its profile; None: a share of all.
        out: folder for results, report and runs.
        device: "cpu", "cuda", ...; "auto": the GPU where there is one.
        workers: how many networks to train side by side, each in a process of its own with its share of
            the threads, or "auto" (`runs.executors.choice.count_for`). Scripts need no guard for it; a
            model that is not built in needs a factory that can be imported, or one run follows the other.
        on: "here", "ray" (a local cluster), or "ray://HOST:PORT", whose machines share the folder `out`.
        retry_failed: make runs again that failed when this was called before; else they stay `failed`.
        run_limit: minutes that one run may take; one that hangs is a failed run. Runs are then made in a
            process beside this one, which can be killed; where they cannot be handed to one (own loaders,
            say), what hangs within C is not ended. None: no limit.
        log_with: "wandb", "tensorboard", "mlflow", or several: where each run is shown besides, under its own
            id (docs/watching.md).
        reporter: shows how far it is, and is told what should be said (`secateur.progress`); None: nobody is.
        command: what `results.json` says that was asked; None: this call.

    Returns:
        The verdict, a point for every network, and the folder that has them. Where runs failed the others are
        made and judged; `failed` says which and why.

    Raises:
        InputError: before anything is trained or written.
        TrainingError: where runs failed, as by a loss that is not finite, and no network is there.

    Example:
        >>> result = sc.compare("wrn-16-1", data="digits", budgets=["params=25%"])  # doctest: +SKIP
        >>> print(result.verdict)  # doctest: +SKIP

    Reference: Crowley et al. 2018, Fig. 1.
    """
    require_posix("a comparison")
    require_extra("compare", "a comparison")
    asked, trackers = Workers.parse(workers, on), check_services(log_with)
    limit = seconds_of(run_limit)
    reporter = reporter or Reporter()
    given: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    tuning = Recipe.fine_tuning(**given) if recipe is None else None
    recipe = replace(recipe or Recipe(), **given)
    prune = prune or PruneSettings()
    prune = prune if prune_every is None else replace(prune, every=prune_every)
    constraints = Constraints.parse(keep, at_least, ratio)
    prune = replace(prune, constraints=constraints) if constraints else prune
    if optimizer is not None:
        recipe, tuning = recipe.with_own_optimizer(), tuning and tuning.with_own_optimizer()
    runtime = Runtime(device)
    settings = Settings(
        tuple(map(Budget.parse, split(budgets) if isinstance(budgets, str) else budgets)),
        tuple(split(arms) if isinstance(arms, str) else arms),
        seeds,
        match,
        recipe,
        prune,
        copycat_after,
        sparsity or Sparsity(),
        tuning=tuning,
        terms=Terms(Task.of(task, loss, metric), optimizer),
    )
    store = RunStore(out)
    check_out(store.directory, FOLDER_FILES, data=folder_of(data) if isinstance(data, str) else None)
    kind = task if isinstance(task, str) else task.name if task and task.name in TASKS else "classification"
    architecture, loaded, settings = _opened(model, data, kind, settings, reporter)
    wanted = ask(architecture, loaded, settings)
    session = Session(store, runtime, reporter, trackers=trackers)
    session.retries_failed, session.run_limit = retry_failed, limit
    told = command or f"secateur.compare({wanted.question.name!r}, ...)"
    reads = expanded(model, "the model") if isinstance(model, str) else None
    return _END.get()(wanted, session, told, asked, reads=reads)


_HERE = "    arguments, settings: those of `secateur.compare`."


def _arguments(function: Callable[..., Any]) -> str:
    """What a docstring says of the arguments; with `python -OO` there is none."""
    return cleandoc(function.__doc__ or "Args:\n").partition("Args:\n")[2].partition("\n\n")[0]


def _planning(compare: Callable[P, CompareResult]) -> Callable[P, Planned]:
    """`plan`, which takes what `compare` takes and goes the same way up to the first run."""

    def plan(*arguments: P.args, **settings: P.kwargs) -> Planned:
        """Say what `sc.compare` would train with the same arguments, and about how long that takes.

        Nothing is trained and nothing written; a few steps of throwaway networks are timed. The same as the
        command's `--plan`.

        Args:
            arguments, settings: those of `secateur.compare`.

        Returns:
            the networks of one seed, with sizes and training MACs; it shows itself as a table.

        Raises:
            InputError: as `secateur.compare` does before anything is trained.

        Example:
            >>> sc.plan("wrn-16-1", data="digits", budgets=["params=25%"])  # doctest: +SKIP
        """
        before = _END.set(lambda wanted, session, told, asked, reads: Planned.of(wanted, session, asked))
        try:
            return cast(Planned, compare(*arguments, **settings))
        finally:
            _END.reset(before)

    plan.__doc__ = cleandoc(plan.__doc__ or "").replace(_HERE, _arguments(compare))
    plan.__signature__ = signature(compare).replace(return_annotation="Planned")  # type: ignore[attr-defined]
    plan.__qualname__ = "plan"
    return plan


plan = _planning(compare)


def _loaded(name: str, model: Model, task: str, reporter: Reporter) -> Data:
    """Read data by name, and normalise them as the model's weights want it, where it says."""
    data, normalization = normalized_for(model, load_data(name, task=task, progress=reporter.decoding))
    if normalization:
        reporter.note(f"images are normalised {normalization}")
    return data


def _opened(
    model: Model, data: Any, kind: str, settings: Settings, reporter: Reporter
) -> tuple[Architecture, AnyData, Settings]:
    """Read the data, open the network on it, and try both before anything is trained or written."""
    task, optimizer = settings.terms.task, settings.terms.optimizer
    if optimizer is not None:
        try_optimizer(optimizer)
    if isinstance(data, (str, Data)):
        loaded = _loaded(data, model, kind, reporter) if isinstance(data, str) else data
        architecture = resolve_model(model, loaded)
        if not (task.is_default and architecture.is_family):
            examine(architecture, loaded, task)
        return architecture, loaded, settings
    loaders = Loaders.of(data)
    tuning = settings.tuning and recipe_for(settings.tuning, loaders)
    settings = replace(settings, recipe=recipe_for(settings.recipe, loaders), tuning=tuning)
    architecture = network_for(model, loaders, task)
    for note in examine(architecture, loaders, task):
        reporter.note(note)
    return architecture, loaders, settings
