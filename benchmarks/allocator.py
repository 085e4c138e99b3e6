"""What glibc's malloc costs by default: a training step with the thresholds that the command line sets, over
the same step without.

A fresh process each, one after the other; each warms up, then gives the median time of a step and its page
faults. ResNet18 and WRN-40-2, batch 128, fp32.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from typing import Any

from benchmarks.machine import keep_freed_memory
from benchmarks.processes import ask
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import rotated, significant, summary

NETWORKS = ("resnet18", "wrn-40-2")
WARM_UP, STEPS = 2, 3
KINDS = ("tuned", "default")


def run(settings: Settings) -> Found:
    """For each network a pair of processes every round."""
    if settings.device != "cpu":
        return Found(notes=["measured on a CPU only: it is about the host's memory"])
    found = Found()
    for name in NETWORKS:
        answers: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        for number in range(settings.rounds):
            for kind in rotated(KINDS, number):
                question = {"network": name, "tuned": kind == "tuned", "quick": settings.quick}
                answers[kind].append(ask("benchmarks.allocator", question))
        seconds = {kind: [answer["seconds"] for answer in answers[kind]] for kind in KINDS}
        faults = {kind: statistics.median(a["faults"] for a in answers[kind]) for kind in KINDS}
        ratio = summary([a / b for a, b in zip(seconds["tuned"], seconds["default"], strict=True)])
        ms = {kind: significant(1e3 * statistics.median(seconds[kind])) for kind in KINDS}
        more = {"page_faults_per_step": faults}
        found.cases.append(
            Case(name, "step, malloc tuned", "step, malloc by default", ratio, ms=ms, more=more)
        )
        found.notes.append(f"{name}: page faults per step {faults['default']:,.0f} -> {faults['tuned']:,.0f}")
    return found


def child(question: dict[str, Any]) -> dict[str, float]:
    """In the fresh process: median seconds and mean page faults of a step."""
    if question["tuned"]:
        keep_freed_memory()
    from benchmarks.networks import Steps, batch, network

    settings = Settings(quick=question["quick"])
    step = Steps(network(question["network"], settings), batch(settings, question["network"]))
    for _ in range(WARM_UP):
        step()
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(STEPS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {"seconds": statistics.median(seconds), "faults": faults / STEPS}


if __name__ == "__main__":
    print(json.dumps(child(json.loads(sys.argv[1]))))
