"""How long it takes to know what a network would cost with one channel less (WRN-40-2 at 32x32)."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from secateur import models
from secateur.budget import count_model_macs, count_params
from secateur.surgery.anatomy import anatomy_of, inspect

ROUNDS = 9


def run() -> dict[str, Any]:
    """Closed form against a full recount of the cut network, interleaved; microseconds, medians of rounds."""
    model = models.wide_resnet(depth=40, width=2)
    declared = anatomy_of(model)
    plain = torch.nn.Sequential(model)  # the same network as a foreign one: its residual streams too
    traced = inspect(plain, torch.randn(2, 3, 32, 32))
    rounds = [_round(model, declared, traced) for _ in range(ROUNDS + 1)][1:]
    found = {key: statistics.median(row[key] for row in rounds) for key in rounds[0]}
    return {
        "unit": "microseconds",
        "rounds": ROUNDS,
        "median": {key: round(value, 2) for key, value in found.items()},
        "closed_form_over_recount": round(found["inner group"] / found["full recount"], 6),
    }


def _round(model: torch.nn.Module, declared: Any, traced: Any) -> dict[str, float]:
    inner = [_seconds(declared.costs.without, name) for name in declared.graph.groups]
    every = [_seconds(traced.costs.without, name) for name in traced.graph.groups]
    recount = _seconds(lambda: (count_params(model), count_model_macs(model)))
    return {
        "inner group": statistics.median(inner) * 1e6,
        "residual stream, the widest": max(every) * 1e6,
        "full recount": recount * 1e6,
    }


def _seconds(function: Any, *args: Any) -> float:
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started
