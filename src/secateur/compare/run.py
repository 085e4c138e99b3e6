"""The honest comparison (Crowley et al. 2018, Fig. 1): prune and tune, or train something smaller?

Everything that selects while networks are made looks at the validation split; accuracy is measured on the
test split, once a run. Which arm leads in the end is judged on both together: `secateur.compare.verdict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import describe_data
from secateur.architecture.pretrained import normalized_for
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget, split
from secateur.compare.advice import Question
from secateur.compare.judging import judge
from secateur.compare.own import Model, examine, network_for, recipe_for, try_optimizer
from secateur.compare.replicate import Replicate
from secateur.compare.results import FILES, Asked, write_results
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.wanted import Wanted, ask
from secateur.compare.winner import Shown
from secateur.data import Data, load_data
from secateur.data.sources import folder_of
from secateur.device import Runtime
from secateur.errors import require_extra, require_posix
from secateur.names import ArmName, Match, TaskName
from secateur.network.task import TASKS, Loss, Task
from secateur.progress import Reporter
from secateur.records.advice import Advice
from secateur.records.measure import ACCURACY
from secateur.records.out import FOLDER_FILES, check_out, expanded
from secateur.records.point import Point
from secateur.records.results import Profile, ProfileGroup, Results, Trajectory
from secateur.runs.environment import describe_environment
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.graph import Graph, Made
from secateur.runs.points import point_of
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.surgery.constraints import Constraints, Floors, Patterns, Ratios
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

    Raises:
        InputError, TrainingError: where runs failed; the others are finished and kept.
    """
    question, graph = wanted.question, Graph(session.runtime.world)
    replicates = wanted.add_to(graph)
    made = Made(graph, session.store)
    asked = _asked(wanted)
    check_out(session.store.directory, FOLDER_FILES)
    check_out(asked.folder(session.store.directory), FILES, model=reads)
    with session.working(f"compare {question.name} on {question.data.label}", graph.compute):
        if question.tuned:
            session.reporter.note(question.tuned)
        make_graph(graph, session, workers or Workers(1))
        results = _results(wanted, replicates, made, session, command)
        folder = asked.folder(session.store.directory)
        if session.runtime.is_main:
            task, precision = question.settings.terms.task, question.settings.recipe.precision
            shown = Shown(question.architecture, question.data, task.name, precision)
            write_results(results, session, folder, shown, task)
    return CompareResult(results, folder)


def _asked(wanted: Wanted) -> Asked:
    """The question, to be told from others that were asked in the same folder."""
    question, asked = wanted.question, wanted.question.settings
    identity = question.architecture.identity()
    whole = {
        "prune": asdict(asked.prune),
        "sparsity": asked.sparsity.identity(),
        "terms": asked.terms.identity(),
    }
    settings = {**_described(wanted), **whole}
    return Asked(question.name, identity, question.data.fingerprint, settings)


def _results(
    wanted: Wanted, replicates: Sequence[Replicate], made: Made, session: Session, command: str
) -> Results:
    question = wanted.question
    points = _points(wanted, replicates, made)
    dense = [_dense_point(replicate, made) for replicate in replicates if wanted.needs_dense]
    copycats = "copycat" in question.settings.arms
    data = describe_data(question.data)
    measure = question.settings.terms.task.metric.measure
    settings = _described(wanted)
    asked = Question.of(settings, command)
    found = judge(points, dense, question.units, data, session.store, measure, asked)
    return Results(
        command=command,
        metric=None if measure == ACCURACY else measure,
        model=question.name,
        data=data,
        settings=settings,
        dense=tuple(dense),
        points=tuple(points),
        summary=found.summary,
        dense_summary=found.dense_summary,
        profiles=tuple(_profile(replicate, made) for replicate in replicates if copycats),
        trajectory=tuple(_trajectory(replicate, made) for replicate in replicates if question.prunes),
        verdict=found.verdict,
        environment={
            **describe_environment(session.runtime, question.settings.recipe.precision),
            **_made_with([*dense, *points], session.store),
        },
        question=_asked(wanted).hash,
        advice=found.advice,
    )


def _points(wanted: Wanted, replicates: Sequence[Replicate], made: Made) -> list[Point]:
    """One point for every budget, arm and seed, the largest budget first."""
    return [
        arm.point(replicate, budget, made)
        for budget in wanted.question.budgets
        for arm in wanted.arms
        for replicate in replicates
    ]


def _dense_point(replicate: Replicate, made: Made) -> Point:
    """The unpruned network, as a point without a budget."""
    return point_of(made.record(replicate.dense()), "dense", None, epochs=replicate.question.recipe.epochs)


def _profile(replicate: Replicate, made: Made) -> Profile:
    """Channels kept in each group where copycat took its profile (Crowley et al. 2018, Fig. 2c)."""
    whole, left = replicate.question.architecture, replicate.profile_architecture(made)
    groups = tuple(
        ProfileGroup(name=name, kept=kept, of=width)
        for name, kept, width in zip(left.group_names(), left.widths, whole.widths, strict=True)
    )
    return Profile(seed=replicate.seed, removed=replicate.question.copycat_after, groups=groups)


def _trajectory(replicate: Replicate, made: Made) -> Trajectory:
    """Validation accuracy while pruning, once an epoch."""
    rows = made.record(replicate.pruned_to(replicate.question.budgets[-1])).history
    return Trajectory(
        seed=replicate.seed,
        removed=tuple(int(row.more["removed"]) for row in rows),
        params=tuple(row.params for row in rows),
        val_accuracy=tuple(row.val_accuracy for row in rows),
    )


def _described(wanted: Wanted) -> dict[str, Any]:
    """The settings as results show them."""
    question, settings = wanted.question, wanted.question.settings
    augmentation = settings.recipe.augmentation(question.data)
    recipe = settings.recipe.shown() | {
        "pad": augmentation.pad,
        "flip": augmentation.flip,
        "milestones": ", ".join(f"{share:g}" for share in settings.recipe.milestones),
    }
    return {
        "arms": ", ".join(settings.arms),
        "budgets": ", ".join(map(str, question.budgets)),
        "resource": settings.resource,
        "seeds": settings.seeds,
        "match": settings.match,
        "prune_every": settings.prune.every,
        "flop_penalty": settings.prune.beta,
        "tuning_lr": question.recipe.for_tuning(settings.prune.lr).lr,
        "copycat_after": question.copycat_after,
        **({"what must stay": str(settings.prune.constraints)} if settings.prune.constraints else {}),
        **(_described_sparsity(settings.sparsity) if any(arm.zeroes for arm in wanted.arms) else {}),
        **recipe,
        **settings.terms.in_words(),
        **({"tuned": question.tuned} if question.tuned else {}),
    }


def _described_sparsity(sparsity: Sparsity) -> dict[str, Any]:
    """The settings of the arms that zero weights."""
    changed = ", ".join(f"{name} {value}" for name, value in sparsity.reparametrization.items())
    return {
        "tune_share": sparsity.tune_share,
        "l1_strength": sparsity.l1_strength,
        "reparametrization": changed or "the method's defaults",
        **({"layer_shares": sparsity.layer_shares} if sparsity.layer_shares is not None else {}),
        **({"settings of methods": sparsity.in_words()} if sparsity.settings else {}),
    }


def _made_with(points: Sequence[Point], store: RunStore) -> dict[str, Any]:
    """The commits and the threads that the runs were made with; results may be drawn up with others."""
    commits: set[str] = set()
    threads: set[int] = set()
    for run_id in sorted({point.run_id for point in points}):
        if record := store.record(run_id):
            commits.add(record.commit)
            threads.add(record.threads)
    several = " or ".join(map(str, sorted(threads)))
    return {"trained_at": sorted(commits), "threads": several if len(threads) != 1 else threads.pop()}


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
    def points(self) -> tuple[Point, ...]:
        """One entry for every arm, budget and seed."""
        return self.results.points


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

        reporter: shows how far it is, and is told what should be said; None: on stderr.
        command: what `results.json` says that was asked; None: this call.

    Returns:
        The verdict, a point for every network, and the folder that has them.

    Raises:
        InputError: before anything is trained or written.
        TrainingError: where a loss is not finite.

    Example:
        >>> result = sc.compare("wrn-16-1", data="digits", budgets=["params=25%"])  # doctest: +SKIP
        >>> print(result.verdict)  # doctest: +SKIP

    Reference: Crowley et al. 2018, Fig. 1.
    """
    require_posix("a comparison")
    require_extra("compare", "a comparison")
    asked = Workers.parse(workers, on)
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
    session = Session(store, runtime, reporter)
    told = command or f"secateur.compare({wanted.question.name!r}, ...)"
    reads = expanded(model, "the model") if isinstance(model, str) else None
    return answer(wanted, session, told, asked, reads=reads)


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
