"""About how long a plan takes on this machine, from a few steps of throwaway networks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch

from secateur.architecture.architecture import Architecture
from secateur.compare.arms import PlanRow
from secateur.device import Runtime
from secateur.network.counting import TRAINING_MACS_PER_INFERENCE_MAC
from secateur.network.inputs import logits_of
from secateur.training.batches import AnyData
from secateur.training.recipe import Recipe

TIMED_STEPS = 3
_TIMED_MACS = {"cpu": 10**10}  # of one timed step, by kind of device: a second or so
_TIMED_MACS_ELSEWHERE = 10**12


def estimate_seconds(
    runtime: Runtime, data: AnyData, architecture: Architecture, recipe: Recipe, rows: Sequence[PlanRow]
) -> list[float]:
    """Estimate the seconds of each row: a + b * MACs for a step.

    Two sizes are timed, the network itself and a quarter of it, because small networks are bound by the
    number of layers rather than by arithmetic. Where images are large, part of a batch is timed and counted
    up: a whole one may take minutes, and more memory than there is.
    """
    examples = timed_examples(architecture.macs, recipe.batch_size, runtime.device.type)
    small = architecture.narrowed_to("params=25%")
    large_s = _seconds_a_step(runtime, data, architecture, recipe, examples)
    small_s = _seconds_a_step(runtime, data, small, recipe, examples)
    per_mac = max(0.0, (large_s - small_s) / (architecture.macs - small.macs))
    fixed = max(0.0, large_s - per_mac * architecture.macs)
    parts = recipe.batch_size / examples
    return [_steps(row, recipe.batch_size) * parts * (fixed + per_mac * row.macs) for row in rows]


def timed_examples(macs: int, batch_size: int, device: str) -> int:
    """Examples of a timed step, 2..batch_size: about a second's work of a network of so many MACs.

    Example:
        >>> timed_examples(12_500_000, 128, "cpu"), timed_examples(1_300_000_000, 128, "cpu")
        (128, 2)
    """
    affordable = _TIMED_MACS.get(device, _TIMED_MACS_ELSEWHERE) // (TRAINING_MACS_PER_INFERENCE_MAC * macs)
    return max(2, min(batch_size, affordable))


def _steps(row: PlanRow, batch_size: int) -> float:
    return row.compute / (TRAINING_MACS_PER_INFERENCE_MAC * row.macs * batch_size)


def _seconds_a_step(
    runtime: Runtime, data: AnyData, architecture: Architecture, recipe: Recipe, examples: int
) -> float:
    """Median time of a training step on so many examples of noise, after a warm-up step."""
    model = runtime.place(architecture.build(seed=0))
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(examples, *data.shape, generator=noise).to(runtime.device)
    times = []
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        with runtime.autocast(recipe.precision):
            logits = model(runtime.arrange(x, runtime.layout(model)))
        logits_of(logits).float().square().mean().backward()  # any loss costs about nothing
        float(next(model.parameters()).grad.sum())  # type: ignore[union-attr]  # waits for the device
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])
