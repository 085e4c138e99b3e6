"""One network: trained, or trained and pruned to one budget."""

from __future__ import annotations

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.atomic import write_bytes, write_json
from secateur.budget import Budget, Budgets
from secateur.methods import ChannelReparametrization
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.runs.points import point_of
from secateur.runs.session import PruneSettings, Session, Target
from secateur.runs.sparse import Sparsity, sparse_arms
from secateur.training.recipe import Recipe


def train_one(session: Session, architecture: Architecture, recipe: Recipe, seed: int) -> Point:
    """Train from scratch and leave the network with its record in the session's folder."""
    with session.working("train", session.epoch_compute(architecture, recipe) * recipe.epochs):
        record = session.train(architecture, recipe, seed, f"train seed {seed}")
        return _leave(session, record, point_of(record, "dense", None, epochs=recipe.epochs))


def prune_one(
    session: Session,
    architecture: Architecture,
    recipe: Recipe,
    settings: PruneSettings,
    budgets: Budgets,
    seed: int,
) -> Point:
    """Train, prune until every budget holds, and leave the network with its record in the session's folder.

    Raises:
        InputError: before anything is trained, where pruning cannot reach the budgets.
    """
    target = Target.of(budgets, architecture)
    target.check(architecture, settings)
    with session.working("prune", session.epoch_compute(architecture, recipe) * recipe.epochs):
        label = f"{settings.method} {budgets} seed {seed}"
        record = session.prune(architecture, recipe, seed, settings, target, label)
        before = session.before(record)
        point = point_of(record, f"{settings.method}-tuned", str(budgets), before=before)
        return _leave(session, record, point)


def gate_one(
    session: Session, architecture: Architecture, recipe: Recipe, budget: Budget, seed: int
) -> Point:
    """Train under the channel reparametrization to the budget; leave the network in the session's folder.

    Raises:
        InputError: before anything is trained, where the budget cannot be reached.
    """
    arm = ChannelReparametrization.name
    target = Target(budget.resource, budget.of_trainable(arm).limit_for(architecture.skeleton()))
    target.check_gated(architecture)
    with session.working("prune", session.epoch_compute(architecture, recipe) * recipe.epochs):
        record = session.gate_channels(architecture, recipe, seed, target, f"{arm} {budget} seed {seed}")
        return _leave(session, record, point_of(record, arm, budget.text, epochs=recipe.epochs))


def sparsify_one(
    session: Session,
    architecture: Architecture,
    recipe: Recipe,
    arm: str,
    settings: Sparsity,
    budget: Budget,
    seed: int,
) -> Point:
    """Make the network of an arm of `sparse`; leave it with its record in the session's folder.

    Raises:
        InputError: before anything is trained, where the budget is not in nonzeros or beyond the network.
    """
    limit = budget.of_nonzeros(f"{arm} pruning").limit_for(architecture.skeleton())
    of = sparse_arms(settings)[arm]
    of.recipes(recipe, settings)  # refuses too few epochs
    with session.working("prune", session.epoch_compute(architecture, recipe) * recipe.epochs):
        label = f"{arm} {budget} seed {seed}"
        record = session.sparsify(architecture, recipe, seed, of, settings, limit, label)
        return _leave(session, record, point_of(record, arm, budget.text, before=session.before(record)))


def _leave(session: Session, record: Record, point: Point) -> Point:
    """Write `record.json` (the point, then the rest of the run's record) beside the network."""
    store = session.store
    if session.runtime.is_main:
        for name in (WEIGHTS_FILE, ARCHITECTURE_FILE):
            write_bytes(store.directory / name, (store.path(record.run_id) / name).read_bytes())
        whole = record.to_json()
        rest = {key: whole[key] for key in ("history", "identity", "environment")}
        write_json(store.directory / "record.json", {"schema": Record.SCHEMA, **point.to_json(), **rest})
    return point
