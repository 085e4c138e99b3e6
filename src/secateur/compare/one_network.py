"""One network: trained, or trained and pruned to one budget."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.matching import check_given
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budgets, Limits
from secateur.compare.arms import ARMS, WEIGHT_ARMS, check_applied
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.results import leave_network
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.teaching import check_teaching
from secateur.data import Data
from secateur.errors import InputError, unknown
from secateur.methods import CHANNEL_METHODS, ChannelReparametrization
from secateur.methods.goal import words_of
from secateur.records.manifest import MANIFEST_FILE
from secateur.records.out import FOLDER_FILES, check_out
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.find_rate import with_rate_found
from secateur.runs.graph import Graph, Made
from secateur.runs.identity import file_hash
from secateur.runs.points import point_of
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.run import Run
from secateur.runs.session import Session
from secateur.runs.train import Given, Train, Tune
from secateur.surgery.constraints import NO_CONSTRAINTS, Constraints
from secateur.training.batches import AnyData
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

METHODS = (*CHANNEL_METHODS, ChannelReparametrization.name, *WEIGHT_ARMS)
"""What `secateur prune` takes: criteria for channels, and arms of `secateur compare` that need no other."""

FILES = (
    *(*FOLDER_FILES, MANIFEST_FILE, "record.json"),
    *(ARCHITECTURE_FILE, WEIGHTS_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE),
)
"""What is left in the folder, beside the runs."""


def check_name(method: str) -> None:
    """Raise InputError where there is no such method."""
    if method not in METHODS:
        raise unknown("method", method, METHODS)


def check_budgets(method: str, budgets: Budgets) -> None:
    """Raise InputError where the method cannot take these budgets."""
    if method not in CHANNEL_METHODS and len(budgets) > 1:
        raise InputError(f"{method} takes one budget, got '{budgets}': several hold together with fisher")
    if method in WEIGHT_ARMS:
        budgets[0].of_weights(f"{method} pruning")
    elif method == ChannelReparametrization.name:
        budgets[0].of_trainable(method)


def check_settings(method: str, sparsity: Sparsity) -> None:
    """Raise InputError where settings are given of other methods, or of one for channels."""
    if method in ARMS:
        check_applied(sparsity, [ARMS[method]])
    elif sparsity.settings:
        raise InputError(
            f"settings are of methods that zero weights, and {method} removes channels; got "
            f"{sparsity.in_words()}: leave it out"
        )


def with_tuning(sparsity: Sparsity, epochs: int | None, method: str) -> Sparsity:
    """Take the epochs of tuning that were asked for; InputError where a method has none after a cut."""
    if epochs is None:
        return sparsity
    if not getattr(ARMS[method], "tuned", False):
        tuned = ", ".join(name for name, arm in ARMS.items() if getattr(arm, "tuned", False))
        raise InputError(
            f"{method} has no tuning after a cut, got --tune-epochs {epochs}: leave it out, or choose "
            f"{tuned}, or a method for channels"
        )
    return replace(sparsity, tune_epochs=epochs)


@dataclass(frozen=True)
class Subject:
    """What is trained or pruned: the network, its data, how, which replicate, and under which loss.

    Attributes:
        finds_rate: the recipe's rate is only a beginning: the best for this network is searched for.
    """

    architecture: Architecture
    data: AnyData
    recipe: Recipe
    seed: int = 0
    finds_rate: bool = False
    terms: Terms = field(default_factory=Terms)

    def common(self) -> dict[str, Any]:
        """What every run of it has."""
        return {
            "architecture": self.architecture,
            "data": self.data,
            "recipe": self.recipe,
            "seed": self.seed,
            "terms": self.terms,
        }

    def check_teaching(self) -> None:
        """Raise InputError where it is to learn from its original, and cannot."""
        own = self.architecture
        check_teaching(own, own, self.recipe, self.terms.task, self.data)

    def with_rate(self, session: Session, begins: Run) -> Subject:
        """Search for the rate, where that was asked for.

        Args:
            begins: the run that has the network at first.

        Raises:
            InputError: where the network has no weights that a rate could suit.
        """
        if not self.finds_rate:
            return self
        if not (self.architecture.comes_trained or isinstance(begins, Given)):
            raise InputError(
                "--lr auto finds a rate for a network that comes trained, and this one begins at its "
                "initialisation: give a rate, or prune what is trained already, with --trained"
            )
        return replace(self, recipe=with_rate_found(session, begins), finds_rate=False)


def teacher_in(session: Session, directory: Path, subject: Subject, factory: str | None = None) -> Given:
    """The run that takes a trained network from a folder, to learn from it; it is not overwritten.

    Args:
        factory: the name of what builds it, where it is not built in.

    Raises:
        InputError: where there is none, or it does not suit the data, or the recipe learns from nobody.
    """
    if not subject.recipe.distills:
        raise InputError(
            "a teacher is learnt from with --distill logits or attention: add it, or leave it out"
        )
    if not directory.is_dir():
        raise InputError(f"no folder '{directory}': --teacher names one that train, prune or sc.save left")
    file_hash(directory / WEIGHTS_FILE)  # refuses a folder without weights
    check_out(session.store.directory, FILES, model=directory)
    assert isinstance(subject.data, Data)
    architecture = resolve_model(str(directory), subject.data, factory)
    for remark in check_given(architecture, subject.data, directory):
        session.reporter.note(remark)
    plain = replace(subject, architecture=architecture, recipe=subject.recipe.undistilled())
    return Given(**plain.common(), weights=directory, label=f"teacher seed {subject.seed}")


def train_one(session: Session, subject: Subject, teacher: Run | None = None) -> Point:
    """Train a network and leave it with its record in the session's folder.

    Args:
        teacher: whose network it learns from, where the recipe says so.

    Raises:
        InputError: before anything is trained, where there is no teacher, or it does not suit.
    """
    check_out(session.store.directory, FILES)
    label, recipe = f"train seed {subject.seed}", subject.recipe
    if recipe.distills and teacher is None:
        raise InputError(
            f"--distill {recipe.distill} learns from another network: name the folder of a trained one, "
            "--teacher DIR"
        )
    if teacher is not None:
        check_teaching(subject.architecture, teacher.architecture, recipe, subject.terms.task, subject.data)
    subject = subject.with_rate(session, Train(**subject.common(), label=label, teacher=teacher))
    run = Train(**subject.common(), label=label, teacher=teacher)
    graph = Graph(session.runtime.world)
    node = graph.add(run)
    with session.working("train", graph.compute):
        record = _make(graph, session, {"arm": "dense"}).record(node)
        return _leave(session, subject, record, point_of(record, "dense", None, epochs=subject.recipe.epochs))


def prune_one(
    session: Session, subject: Subject, settings: PruneSettings, budgets: Budgets, tune_epochs: int = 0
) -> Point:
    """Train, prune until every budget holds, and leave the network with its record in the session's folder.

    Args:
        tune_epochs: how long it is tuned afterwards.

    Raises:
        InputError: before anything is trained, where pruning cannot reach the budgets.
        TrainingError: where a network that came trained loses too much at once (`secateur.training.guard`).
    """
    if tune_epochs < 0:
        raise InputError(f"the epochs of tuning must be at least 0, got {tune_epochs}")
    check_out(session.store.directory, FILES)
    if settings.trained:
        for remark in check_given(subject.architecture, subject.data, settings.weights):
            session.reporter.note(remark)
    target = Target(Limits.of(budgets, subject.architecture))
    target.check(subject.architecture, settings)
    for line in words_of(budgets):
        session.reporter.note(line)
    subject.check_teaching()
    label = f"{settings.method} {budgets} seed {subject.seed}"

    def pruning(of_whom: Subject) -> PruneChannels:
        return PruneChannels(**of_whom.common(), label=label, settings=settings, target=target)

    subject = subject.with_rate(session, pruning(subject).first)
    run: Run = pruning(subject)
    if tune_epochs:
        run = _tuning(subject, run, settings, tune_epochs)
    graph = Graph(session.runtime.world)
    node = graph.add(run)
    with session.working("prune", graph.compute):
        made = _make(graph, session, {"arm": settings.method, "budget": str(budgets)})
        record = made.record(node)
        point = point_of(record, f"{settings.method}-tuned", str(budgets), before=_on_the_way(record, made))
        return _leave(session, subject, record, point)


def _tuning(subject: Subject, pruned: Run, settings: PruneSettings, epochs: int) -> Tune:
    """The run that tunes a pruned network: by the recipe of networks that come trained, or at a low rate."""
    gentle = settings.trained or subject.architecture.comes_trained
    recipe = subject.recipe if gentle else subject.recipe.for_tuning(settings.lr)
    tuned = replace(subject, recipe=replace(recipe, epochs=epochs))
    return Tune(**tuned.common(), label=f"{pruned.label}: tuned", after=pruned)


def _on_the_way(record: Record, made: Made) -> Record | None:
    """The record of what a network went through before, with the compute and the time of all of it."""
    before = made.before(record)
    earlier = before and _on_the_way(before, made)
    if before is None or earlier is None:
        return before
    return replace(
        before,
        train_compute=before.train_compute + earlier.train_compute,
        wall_s=before.wall_s + earlier.wall_s,
    )


def arm_alone(
    session: Session,
    subject: Subject,
    name: str,
    budgets: Budgets,
    sparsity: Sparsity,
    constraints: Constraints = NO_CONSTRAINTS,
) -> Point:
    """Make the network of an arm that needs no other, and leave it with its record in the session's folder.

    Args:
        constraints: what must stay.

    Raises:
        InputError: before anything is trained, where the budget is not the arm's or beyond the network.
    """
    arm = ARMS[name]
    if subject.finds_rate:
        raise InputError(f"--lr auto is for train, and for what prunes channels step by step, got {name}")
    settings = Settings(
        (budgets[0],),
        (name,),
        recipe=subject.recipe,
        prune=PruneSettings(constraints=constraints),
        sparsity=sparsity,
        terms=subject.terms,
    )
    check_settings(name, sparsity)
    arm.check_settings(settings)
    question = Comparison(subject.architecture, subject.data, settings, prunes=False)
    (budget,) = question.budgets
    arm.check(question, budget)
    subject.check_teaching()
    check_out(session.store.directory, FILES)
    graph = Graph(session.runtime.world)
    replicate = Replicate(question, graph, subject.seed)
    node = arm.node(replicate, budget)
    with session.working("prune", graph.compute):
        made = _make(graph, session, {"arm": name, "budget": str(budget)})
        return _leave(session, subject, made.record(node), arm.point(replicate, budget, made))


def _make(graph: Graph, session: Session, about: dict[str, str]) -> Made:
    """Make the runs; `about` is told to trackers of each."""
    make_graph(graph, session, Workers(1), about=lambda run_id: about)
    return Made(graph, session.store)


def _leave(session: Session, subject: Subject, record: Record, point: Point) -> Point:
    """Leave the network with its record in the session's folder."""
    store = session.store
    if session.runtime.is_main:
        leave_network(store, store.directory, record, point, subject.data, subject.terms.task)
    return point
