"""What it takes to know what a network would cost with one channel less (WRN-40-2 at 32x32).

The closed form, for a channel inside a block and for the widest residual stream of the same network opened
as a foreign one, over counting parameters and MACs of the network anew.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from benchmarks.networks import network, side
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import Times
from secateur.network.counting import count_model_macs
from secateur.network.weights import count_params
from secateur.surgery.anatomy import anatomy_of, open_model

RECOUNT = "full recount"


def run(settings: Settings) -> Found:
    """Medians over all groups within a round, then over rounds; the first round is the warm-up."""
    model = network("wrn-40-2", settings)
    declared = anatomy_of(model)
    pixels = side(settings)
    traced = open_model(torch.nn.Sequential(model), torch.randn(2, 3, pixels, pixels))
    rounds = [_round(model, declared, traced) for _ in range(settings.rounds + 1)][1:]
    times = Times({key: [row[key] for row in rounds] for key in rounds[0]})
    found = Found()
    for name in rounds[0]:
        if name != RECOUNT:
            ratio = times.ratio(name, RECOUNT)
            found.cases.append(Case(name, f"closed form, {name}", RECOUNT, ratio, ms=times.ms(name, RECOUNT)))
    return found


def _round(model: torch.nn.Module, declared: Any, traced: Any) -> dict[str, float]:
    inner = [_seconds(declared.costs.without, name) for name in declared.graph.groups]
    every = [_seconds(traced.costs.without, name) for name in traced.graph.groups]
    return {
        "inner group": statistics.median(inner),
        "residual stream, the widest": max(every),
        RECOUNT: _seconds(lambda: (count_params(model), count_model_macs(model))),
    }


def _seconds(function: Any, *args: Any) -> float:
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started
