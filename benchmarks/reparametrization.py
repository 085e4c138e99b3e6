"""What gates on the weights cost: a training step under `Reparametrization`, over the same step without.

ResNet18 and VGG19 (32x32, batch 128, fp32, channels last, SGD with momentum). Faithful mode learns t and
adds the penalty; exact mode has its gates closed to 5% and solves for t as often as it does in training, so
that its time is the mean over one period of that. The plain step is the same loop on the same network
without a method. A second plain network is the control: what it differs from 1 by is
chance, and no claim is finer than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.networks import Steps, batch, finish, network
from benchmarks.records import Found, Settings
from benchmarks.timing import measure
from secateur.errors import InputError
from secateur.methods import Reparametrization

BARS = {
    "cpu": {"eager": 1.03, "compiled": 1.015},
    "cuda": {"compiled": 1.02},
}
IMPLEMENTATIONS: dict[str, dict[str, Any]] = {"eager": {}, "compiled": {"compiled": True}}
NETWORKS = ("resnet18", "vgg19")
BUDGET = "nonzeros=5%"
CONTROL = "step of another copy"
ROUNDS = 2  # times as many as elsewhere


def method(mode: str, implementation: str = "eager", steps: int = 100_000) -> Reparametrization:
    """Faithful, or exact with its gates closed from the first steps on."""
    chosen = IMPLEMENTATIONS[implementation]
    if mode == "faithful":
        return Reparametrization(BUDGET, mode=mode, **chosen)
    return Reparametrization(BUDGET, steps=steps, start=0.0, end=1e-5, **chosen)


def run(settings: Settings) -> Found:
    """For each network and implementation: faithful / plain, and exact / plain."""
    found = Found()
    for name in NETWORKS:
        _compare(found, settings, name, list(IMPLEMENTATIONS)[: 1 if settings.quick else None])
    period = method("exact").config.solve_every
    found.notes.append(
        f"times of a round are means over {period} steps, which take turns one by one: exact mode solves for "
        f"t once in so many; {ROUNDS * settings.rounds} rounds"
    )
    return found


def _compare(found: Found, settings: Settings, name: str, implementations: Sequence[str]) -> None:
    """All of them take turns in one measurement, beside the plain step and its control."""
    period = method("exact").config.solve_every
    data = batch(settings, name)
    steps = {label: Steps(network(name, settings), data) for label in ("step", CONTROL)}
    cases: dict[str, tuple[str, float | None]] = {f"{name} control": (CONTROL, None)}
    for implementation in implementations:
        for mode in ("faithful", "exact"):
            label = f"{mode} step, {implementation}"
            try:
                steps[label] = Steps(network(name, settings), data, method=method(mode, implementation))
            except InputError as error:  # no compiler here
                found.notes.append(f"{name} {implementation}: left out: {error}")
                break
            bar = BARS[settings.device].get(implementation)
            cases[f"{name} {mode} {implementation}"] = label, bar
    times = measure(
        dict(steps),
        rounds=ROUNDS * settings.rounds,
        finish=finish(settings),
        at_least_s=0,
        warm_up=period,
        passes=period,
    )
    for case, (label, bar) in cases.items():
        found.add(case, times, label, "step", bar=bar)
