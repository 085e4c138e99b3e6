"""Several small networks trained side by side on the cores (or the one GPU), over one after the other.

`loops`: k processes with a k-th of the cores each (on a GPU: four processes), over one process with all
cores that does the work of all. Every process has imported, built and warmed up before the clock starts, so
this is what training itself gains: k-fold where the cores do not help a single network at all, nothing
where they help fully. For networks of several sizes. `compare`: the whole command with `--workers 2` over
`--workers 1`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.machine import keep_freed_memory
from benchmarks.processes import Partner, secateur, serve
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import measure

PARTS = ("loops", "compare")
ON_A_GPU = 4  # processes
NETWORKS = {  # name -> (network, channels, side, steps of a round)
    "wrn-16-1 on 8x8 digits": ("wrn-16-1", 1, 8, 40),
    "wrn-16-1 at 32x32": ("wrn-16-1", 3, 32, 8),
    "conv4 at 32x32": ("conv4", 3, 32, 4),
    "wrn-40-2 at 32x32": ("wrn-40-2", 3, 32, 2),
}
TRAIN = "train"  # what a process is told
ALONE, TOGETHER = "one after the other", "side by side"


def run(settings: Settings) -> Found:
    """Both parts."""
    found = Found()
    if settings.wanted("loops"):
        for name in list(NETWORKS)[: 1 if settings.quick else None]:
            _loops(found, name, settings)
    if settings.wanted("compare"):
        _commands(found, settings)
    return found


def _loops(found: Found, name: str, settings: Settings) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = max(2, ON_A_GPU if settings.device == "cuda" else cores)
    question = {"network": name, "device": settings.device, "quick": settings.quick}
    with ExitStack() as stack:
        alone = stack.enter_context(trainer({**question, "threads": cores, "times": processes}))
        each = {**question, "threads": max(1, cores // processes), "times": 1}
        together = [stack.enter_context(trainer(each)) for _ in range(processes)]
        times = measure(
            {ALONE: lambda: all_of([alone]), TOGETHER: lambda: all_of(together)},
            rounds=settings.rounds,
            at_least_s=0,
        )
    _add(found, name, times, processes)


def _add(found: Found, name: str, times: Any, workers: int) -> None:
    ratio = times.ratio(TOGETHER, ALONE)
    more = {"speed_up": round(1 / ratio.middle, 3), "of": workers}
    found.cases.append(Case(name, TOGETHER, ALONE, ratio, ms=times.ms(), more=more))
    found.notes.append(f"{name}: {more['speed_up']:.2f}-fold with {workers} side by side")


def trainer(question: dict[str, Any]) -> Partner:
    """A process, warmed up, that trains a fixed number of steps whenever it is told to."""
    threads = {name: str(question["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    partner = Partner("benchmarks.side_by_side", question, **threads)
    partner(TRAIN)
    return partner


def all_of(partners: list[Partner]) -> None:
    """Start them all, and wait for the last."""
    for partner in partners:
        partner.start(TRAIN)
    for partner in partners:
        partner.wait(TRAIN)


def child(question: dict[str, Any]) -> None:
    """In the fresh process: train whenever told to."""
    keep_freed_memory()
    serve({TRAIN: _trainer(question)})


def _trainer(question: dict[str, Any]) -> Callable[[], None]:
    import torch

    from benchmarks.networks import Steps
    from secateur import models
    from secateur.models import parse_name

    torch.set_num_threads(question["threads"])
    name, channels, side, steps = NETWORKS[question["network"]]
    parsed = parse_name(name)
    assert parsed is not None
    factory, arguments = parsed
    shape = {"in_channels": channels, "image_size": side, "num_classes": 10}
    size, repeats = (8, 1) if question["quick"] else (128, steps * question["times"])
    device = question["device"]
    data = torch.randn(size, channels, side, side), torch.randint(10, (size,))
    x, y = (part.to(device) for part in data)
    step = Steps(models.FACTORIES[factory](**arguments, **shape), (x, y))

    def train() -> None:
        for _ in range(repeats):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    return train


def _commands(found: Found, settings: Settings) -> None:
    words = ["compare", "--data", "digits", "--prune-every", "2", "--seeds", "2", "--device", settings.device]
    if settings.quick:
        words += ["--model", "wrn-10-1", "--budget", "params=90%", "--arms", "width", "--epochs", "1"]
    else:
        words += ["--model", "wrn-16-1", "--budget", "params=50%", "--epochs", "10"]
        words += ["--arms", "fisher-scratch,width,bottleneck"]
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def compare(workers: int) -> None:
            out = str(Path(folder) / str(next(numbers)))
            secateur([*words, "--workers", str(workers), "--out", out])

        times = measure(
            {ALONE: lambda: compare(1), TOGETHER: lambda: compare(2)},
            rounds=settings.rounds,
            at_least_s=0,
            warm_up=1,
        )
    _add(found, "compare on digits, 2 workers", times, 2)


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
