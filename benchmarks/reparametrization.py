"""What gates on the weights cost: a training step under `Reparametrization`, over the same step without.

ResNet18 and VGG19 (32x32, batch 128, fp32, channels last, SGD with momentum). Faithful mode learns t and
adds the penalty; exact mode has its gates closed to 5% and solves for t as often as it does in training, so
that its time is the mean over one period of that. The plain step is the same loop on the same network
without a method. A second plain network is the control: what it differs from 1 by is the places in memory
that the two networks happened to get, and no claim is finer than that.
"""

from __future__ import annotations

from typing import Any

from benchmarks.networks import Steps, batch, finish, network, several
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
        for implementation in IMPLEMENTATIONS:
            if settings.quick and implementation == "compiled":
                continue
            try:
                _compare(found, settings, name, implementation)
            except InputError as error:  # no compiler here
                found.notes.append(f"{name} {implementation}: left out: {error}")
    period = method("exact").config.solve_every
    found.notes.append(f"times are means over {period} steps: exact mode solves for t once in so many")
    return found


def _compare(found: Found, settings: Settings, name: str, implementation: str) -> None:
    period = method("exact").config.solve_every
    data = batch(settings, name)
    steps = {label: Steps(network(name, settings), data) for label in ("step", CONTROL)}
    for mode in ("faithful", "exact"):
        steps[f"{mode} step"] = Steps(network(name, settings), data, method=method(mode, implementation))
    times = measure(
        {label: several(step, period) for label, step in steps.items()},
        rounds=settings.rounds,
        finish=finish(settings),
    )
    bar = BARS[settings.device].get(implementation)
    for mode in ("faithful", "exact"):
        found.add(f"{name} {mode} {implementation}", times, f"{mode} step", "step", bar=bar)
    found.add(f"{name} control beside {implementation}", times, CONTROL, "step")
