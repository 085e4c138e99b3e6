"""What a comparison is going to train, and about how long that takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from secateur.architecture.architecture import Architecture
from secateur.budget import COUNTERS, Budget
from secateur.errors import InputError
from secateur.methods import ChannelReparametrization
from secateur.methods.channel_reparametrization import Config
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.runs.sparse import SPARSE_ARMS, sparse_arms
from secateur.training.recipe import Recipe

if TYPE_CHECKING:
    from secateur.compare.comparison import Comparison
    from secateur.runs.session import Session

TIMED_STEPS = 3
FOUND = ("fisher-tuned", "fisher-scratch", "copycat")
"""Arms whose architectures pruning has to find."""


@dataclass(frozen=True)
class PlanRow:
    """One network that will be trained, as far as it is known beforehand.

    Attributes:
        architecture: None where pruning has to find it first.
        params, macs: exact where the architecture is known, else the estimate that `exact` denies.
        compute: training MACs of this run alone, for one seed.
    """

    arm: str
    budget: str
    limit: int | None
    architecture: Architecture | None
    params: int
    macs: int
    epochs: int | None
    compute: int

    @property
    def exact(self) -> bool:
        """Whether sizes and compute are exact; the pruned ones are estimates."""
        return self.architecture is not None


def planned_rows(of: Comparison, session: Session) -> list[PlanRow]:
    """What one seed of a comparison will train, in order; nothing is trained."""
    rows, done = [], _dense_compute(of, session)
    if of.needs_dense:
        params, macs = COUNTERS["params"](of.skeleton), of.architecture.macs
        epochs = of.settings.recipe.epochs
        rows.append(PlanRow("dense", "", None, of.architecture, params, macs, epochs, done))
    for budget in of.budgets:
        tuned = _dense_compute(of, session) + (pruning_estimate(of, budget) if of.needs_trajectory else 0)
        for arm in of.settings.arms:
            row = _row(of, session, arm, budget, tuned)
            rows.append(replace(row, compute=tuned - done) if arm == "fisher-tuned" else row)
        done = tuned
    return rows


def pruning_estimate(of: Comparison, budget: Budget) -> int:
    """Training MACs of pruning to the budget, were the channels taken evenly from all groups."""
    small = of.known("bottleneck", budget)
    removals = sum(of.architecture.widths) - sum(small.widths)
    examples = (removals + 1) * of.settings.prune.every * of.settings.recipe.batch_size
    mean_macs = (of.architecture.macs + small.macs) // 2
    return TRAINING_MACS_PER_INFERENCE_MAC * mean_macs * examples


def _dense_compute(of: Comparison, session: Session) -> int:
    return session.epoch_compute(of.architecture, of.settings.recipe) * of.settings.recipe.epochs


def _row(of: Comparison, session: Session, arm: str, budget: Budget, spent: int) -> PlanRow:
    limit = of.limits[budget.text]
    if arm in SPARSE_ARMS:
        return _sparse_row(of, session, arm, budget)
    if arm == ChannelReparametrization.name:
        return _gated_row(of, session, budget)
    known = None if arm in FOUND else of.known(arm, budget)
    likely = known or of.known("bottleneck", budget)
    epochs = None if arm == "fisher-tuned" else of.epochs(session, likely, spent)
    compute = session.epoch_compute(likely, of.settings.recipe) * (epochs or 0)
    params = likely.params if known else limit
    return PlanRow(arm, budget.text, limit, known, params, likely.macs, epochs, compute)


def _gated_row(of: Comparison, session: Session, budget: Budget) -> PlanRow:
    """Dense until the cut, then about as large as the width arm's network."""
    recipe, limit = of.settings.recipe, of.limits[budget.text]
    try:
        likely = of.known("width", budget)
    except InputError:  # gates reach further down than a narrower network does
        likely = of.architecture
    share = Config().cut_at
    dense, small = (session.epoch_compute(net, recipe) for net in (of.architecture, likely))
    compute = round((dense * share + small * (1 - share)) * recipe.epochs)
    name = ChannelReparametrization.name
    return PlanRow(name, budget.text, limit, None, limit, likely.macs, recipe.epochs, compute)


def _sparse_row(of: Comparison, session: Session, arm: str, budget: Budget) -> PlanRow:
    """A network that keeps its shape. Training before a cut counts once; all budgets share it."""
    arms = sparse_arms(of.settings.sparsity)
    dense, epochs, _ = arms[arm].recipes(of.settings.recipe, of.settings.sparsity)
    total = epochs + (dense.epochs if dense else 0)
    first = next((name for name in of.settings.arms if name in arms and arms[name].tuned), None)
    shared = dense.epochs if dense and arm == first and budget == of.budgets[0] else 0
    compute = session.epoch_compute(of.architecture, of.settings.recipe) * (epochs + shared)
    params, macs, limit = of.architecture.params, of.architecture.macs, of.limits[budget.text]
    return PlanRow(arm, budget.text, limit, of.architecture, params, macs, total, compute)


def estimate_seconds(
    session: Session, architecture: Architecture, recipe: Recipe, rows: Sequence[PlanRow]
) -> list[float]:
    """Seconds for each row, from a few steps of throwaway networks: a + b * MACs for a step.

    Two sizes are timed, the network itself and a quarter of it, because small networks are bound by the
    number of layers rather than by arithmetic.
    """
    small = architecture.narrowed_to("params=25%")
    large_s = _seconds_a_step(session, architecture, recipe)
    small_s = _seconds_a_step(session, small, recipe)
    per_mac = max(0.0, (large_s - small_s) / (architecture.macs - small.macs))
    fixed = max(0.0, large_s - per_mac * architecture.macs)
    return [_steps(row, recipe.batch_size) * (fixed + per_mac * row.macs) for row in rows]


def _steps(row: PlanRow, batch_size: int) -> float:
    return row.compute / (TRAINING_MACS_PER_INFERENCE_MAC * row.macs * batch_size)


def _seconds_a_step(session: Session, architecture: Architecture, recipe: Recipe) -> float:
    """Median time of a training step on noise, after a warm-up step."""
    runtime = session.runtime
    model = runtime.place(architecture.build(seed=0))
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(recipe.batch_size, *session.data.shape, generator=noise).to(runtime.device)
    y = torch.zeros(recipe.batch_size, dtype=torch.int64, device=runtime.device)
    times = []
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        with runtime.autocast(recipe.precision):
            logits = model(runtime.arrange(x, runtime.layout(model)))
        F.cross_entropy(logits.float(), y).backward()
        float(next(model.parameters()).grad.sum())  # type: ignore[union-attr]  # waits for the device
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
