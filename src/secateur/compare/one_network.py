"""One network: trained, or trained and pruned to one budget."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, WEIGHTS_FILE
from secateur.budget import Budgets, Limits
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.arms.weights import WeightArm
from secateur.compare.comparison import Comparison
from secateur.compare.replicate import Replicate
from secateur.compare.results import leave_network
from secateur.compare.settings import Settings, Sparsity
from secateur.data import Data
from secateur.errors import InputError, unknown
from secateur.methods import CHANNEL_METHODS, ChannelReparametrization
from secateur.records.out import FOLDER_FILES, check_out
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.graph import Graph, Made
from secateur.runs.points import point_of
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.session import Session
from secateur.runs.train import Train
from secateur.training.recipe import Recipe

METHODS = (*CHANNEL_METHODS, ChannelReparametrization.name, *WEIGHT_ARMS)
"""What `secateur prune` takes: criteria for channels, and arms of `secateur compare` that need no other."""

FILES = (*FOLDER_FILES, ARCHITECTURE_FILE, WEIGHTS_FILE, ARTEFACT_FILE, "record.json")
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
        budgets[0].of_nonzeros(f"{method} pruning")
    elif method == ChannelReparametrization.name:
        budgets[0].of_trainable(method)


@dataclass(frozen=True)
class Subject:
    """What is trained or pruned: the network, its data, how, and which replicate."""

    architecture: Architecture
    data: Data
    recipe: Recipe
    seed: int = 0


def train_one(session: Session, subject: Subject) -> Point:
    """Train from scratch and leave the network with its record in the session's folder."""
    check_out(session.store.directory, FILES)
    label = f"train seed {subject.seed}"
    run = Train(
        architecture=subject.architecture,
        data=subject.data,
        recipe=subject.recipe,
        seed=subject.seed,
        label=label,
    )
    graph = Graph(session.runtime.world)
    node = graph.add(run)
    with session.working("train", graph.compute):
        record = _make(graph, session).record(node)
        return _leave(session, subject, record, point_of(record, "dense", None, epochs=subject.recipe.epochs))


def prune_one(session: Session, subject: Subject, settings: PruneSettings, budgets: Budgets) -> Point:
    """Train, prune until every budget holds, and leave the network with its record in the session's folder.

    Raises:
        InputError: before anything is trained, where pruning cannot reach the budgets.
    """
    check_out(session.store.directory, FILES)
    target = Target(Limits.of(budgets, subject.architecture))
    target.check(subject.architecture, settings)
    run = PruneChannels(
        architecture=subject.architecture,
        data=subject.data,
        recipe=subject.recipe,
        seed=subject.seed,
        label=f"{settings.method} {budgets} seed {subject.seed}",
        settings=settings,
        target=target,
    )
    graph = Graph(session.runtime.world)
    node = graph.add(run)
    with session.working("prune", graph.compute):
        made = _make(graph, session)
        record = made.record(node)
        point = point_of(record, f"{settings.method}-tuned", str(budgets), before=made.before(record))
        return _leave(session, subject, record, point)


def arm_alone(session: Session, subject: Subject, name: str, budgets: Budgets, sparsity: Sparsity) -> Point:
    """Make the network of an arm that needs no other, and leave it with its record in the session's folder.

    Raises:
        InputError: before anything is trained, where the budget is not the arm's or beyond the network.
    """
    check_out(session.store.directory, FILES)
    arm = ARMS[name]
    settings = Settings((budgets[0],), (name,), recipe=subject.recipe, sparsity=sparsity)
    if isinstance(arm, WeightArm):
        arm.shares(subject.recipe, sparsity)
    question = Comparison(subject.architecture, subject.data, settings, prunes=False)
    (budget,) = question.budgets
    arm.check(question, budget)
    graph = Graph(session.runtime.world)
    replicate = Replicate(question, graph, subject.seed)
    node = arm.node(replicate, budget)
    with session.working("prune", graph.compute):
        made = _make(graph, session)
        return _leave(session, subject, made.record(node), arm.point(replicate, budget, made))


def _make(graph: Graph, session: Session) -> Made:
    make_graph(graph, session, Workers(1))
    return Made(graph, session.store)


def _leave(session: Session, subject: Subject, record: Record, point: Point) -> Point:
    """Leave the network with its record in the session's folder."""
    if session.runtime.is_main:
        leave_network(session.store, session.store.directory, record, point, subject.data)
    return point
