"""What a comparison is going to train, and about how long that takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from secateur.architecture import Architecture
from secateur.budget import TRAINING_MACS_PER_INFERENCE_MAC

if TYPE_CHECKING:
    from secateur.execution import Session

TIMED_STEPS = 3


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


def estimate_seconds(
    session: Session, architecture: Architecture, batch_size: int, rows: Sequence[PlanRow]
) -> list[float]:
    """Seconds for each row, from a few steps of throwaway networks: a + b * MACs for a step.

    Two sizes are timed, the network itself and a quarter of it, because small networks are bound by the
    number of layers rather than by arithmetic.
    """
    small = architecture.narrowed_to("params=25%")
    large_s = _seconds_a_step(session, architecture, batch_size)
    small_s = _seconds_a_step(session, small, batch_size)
    per_mac = max(0.0, (large_s - small_s) / (architecture.macs - small.macs))
    fixed = max(0.0, large_s - per_mac * architecture.macs)
    return [_steps(row, batch_size) * (fixed + per_mac * row.macs) for row in rows]


def _steps(row: PlanRow, batch_size: int) -> float:
    return row.compute / (TRAINING_MACS_PER_INFERENCE_MAC * row.macs * batch_size)


def _seconds_a_step(session: Session, architecture: Architecture, batch_size: int) -> float:
    """Median time of a training step on noise, after a warm-up step."""
    runtime = session.runtime
    model = runtime.place(architecture.build(seed=0))
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, *session.data.shape, generator=noise).to(runtime.device)
    y = torch.zeros(batch_size, dtype=torch.int64, device=runtime.device)
    times = []
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        with runtime.autocast():
            logits = model(runtime.arrange(x, runtime.layout(model)))
        F.cross_entropy(logits.float(), y).backward()
        float(next(model.parameters()).grad.sum())  # type: ignore[union-attr]  # waits for the device
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
