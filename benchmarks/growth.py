"""What grows: a folder of 10,000 runs, a report of 5,000 points, a comparison of 60 budgets.

Whole commands in fresh processes, each over one second: CPU seconds of the process and of those that it
starts, in user and system mode, so that they are its own. The runs and the results are made up here, as
large as real ones of 30 epochs; nothing is trained.
"""

from __future__ import annotations

import os
import resource
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.processes import secateur
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import measure, summary
from secateur.atomic import json_bytes
from secateur.compare.summary import summarise
from secateur.records.point import Point
from secateur.records.record import Epoch, Record
from secateur.records.results import DataSummary, Results, Verdict

BARS = {"list": 2.0, "show": 1.0, "report": 10.0}
"""CPU seconds; to import torch is in that of the report, and most of a plan, which has none."""
MOST_BYTES = 2_000_000
"""Of the page of 5,000 points."""
_ENVIRONMENT = {
    "threads": 1,
    "commit": "0123456789ab",
    "python": "3.11.7",
    "torch": "2.12.1",
    "device": "cpu",
}


def run(settings: Settings) -> Found:
    """Fresh processes in every round, in folders that are made first."""
    if settings.device != "cpu":
        return Found(notes=["measured on a CPU only: no device is touched"])
    runs, shape, budgets = (40, (3, 2, 2), 2) if settings.quick else (10_000, (50, 10, 10), 60)
    with tempfile.TemporaryDirectory() as folder:
        many, compared = Path(folder) / "runs", Path(folder) / "compared"
        for number in range(runs):
            write_run(many, f"train-{number:012x}-s0", f"width params={number} seed 0", 0.5, 1000 + number)
        results = write_comparison(compared, *shape)
        return _measured(settings, many, compared, len(results.points), budgets)


def _measured(settings: Settings, many: Path, compared: Path, points: int, budgets: int) -> Found:
    runs = len(os.listdir(many / "runs"))
    shares = ",".join(f"params={share}%" for share in range(80 - budgets, 80))
    plan = ("compare", "--data", "digits", "--model", "wrn-16-1", "--budget", shares, "--plan")
    lines = {
        "list": (f"runs list of {runs:,} runs", ("runs", "list", str(many))),
        "show": (f"runs show, of {runs:,} runs", ("runs", "show", f"train-{1:012x}", str(many))),
        "report": (f"report of {points:,} points", ("report", str(compared))),
        "plan": (f"compare --plan of {budgets} budgets", plan),
    }
    actions = {
        what: (lambda words=words: secateur(words, OMP_NUM_THREADS="1")) for what, words in lines.values()
    }
    times = measure(actions, rounds=settings.rounds, clock=cpu_seconds, at_least_s=0, warm_up=1)
    found = Found()
    for case, (what, _) in lines.items():
        seconds = summary(times.seconds[what])
        more: dict[str, Any] = {}
        if case == "report":
            more["bytes"] = (compared / "report.html").stat().st_size
        bar = BARS.get(case)
        found.cases.append(Case(case, what, "one CPU second", seconds, bar, times.ms(what), more))
    size = (compared / "report.html").stat().st_size
    found.notes.append(f"the page of {points:,} points has {size:,} bytes; its bar is {MOST_BYTES:,}")
    return found


def cpu_seconds() -> float:
    """What all processes took that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def history(epochs: int = 30) -> tuple[Epoch, ...]:
    """Of a training that nobody made."""
    return tuple(
        Epoch(
            epoch=n,
            loss=2 / n,
            train_accuracy=0.5 + n / 70,
            val_accuracy=0.5 + n / 100,
            lr=0.1 / n,
            params=100,
        )
        for n in range(1, epochs + 1)
    )


def write_run(directory: Path, run_id: str, label: str, accuracy: float, params: int) -> None:
    """Leave a finished run in a folder, as `compare` does; not synced, as there are thousands."""
    record = Record(
        run_id=run_id,
        label=label,
        seed=0,
        identity={"kind": "train", "recipe": {"epochs": 30, "lr": 0.1}, "data": "0123456789abcdef"},
        architecture={"factory": "wide_resnet", "widths": [16, 16, 32, 32, 64, 64]},
        params=params,
        macs=10 * params,
        weights=params,
        nonzeros=params,
        bytes=4 * params,
        accuracy=accuracy,
        val_accuracy=accuracy,
        train_compute=10**9,
        wall_s=12.5,
        history=history(),
        environment=_ENVIRONMENT,
    )
    path = directory / "runs" / run_id / "record.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(json_bytes(record.to_json()))


def write_comparison(directory: Path, budgets: int, arms: int, seeds: int) -> Results:
    """Leave results and runs of a comparison that nobody made; so many budgets, arms and seeds."""
    points = tuple(
        _point(f"arm-{arm}", 10_000 + 500 * budget, seed, 0.5 + 0.004 * budget + 0.01 * arm + 0.003 * seed)
        for budget, arm, seed in product(range(budgets), range(arms), range(seeds))
    )
    limits = {f"params={10_000 + 500 * budget}": 10_000 + 500 * budget for budget in range(budgets)}
    results = Results(
        command="secateur compare --data digits",
        model="wrn-16-1",
        data=DataSummary(
            name="digits",
            label="digits",
            train=1000,
            val=297,
            test=500,
            classes=10,
            shape=(1, 8, 8),
            fingerprint="0123456789abcdef",
        ),
        settings={"resource": "params", "seeds": seeds},
        points=points,
        summary=summarise(points, limits, test=500),
        verdict=Verdict(text="Nothing is judged yet.", per_budget=()),
        environment=_ENVIRONMENT,
    )
    for point in points:
        write_run(directory, point.run_id, f"{point.arm} {point.budget}", point.accuracy, point.params)
    (directory / "results.json").write_bytes(json_bytes(results.to_json()))
    return results


def _point(arm: str, limit: int, seed: int, accuracy: float) -> Point:
    return Point(
        arm=arm,
        budget=f"params={limit}",
        seed=seed,
        params=limit - int(arm[4:]),
        nonzeros=limit,
        weights=limit,
        bytes=4 * limit,
        macs=10 * limit,
        accuracy=accuracy,
        val_accuracy=accuracy,
        train_compute=10**9 + limit,
        discovery_compute=0,
        wall_s=12.5,
        run_id=f"train-{arm}-{limit}-s{seed}",
        epochs=30,
        widths={"blocks.0": 16, "blocks.1": 16},
    )
