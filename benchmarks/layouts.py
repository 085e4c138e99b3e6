"""Where the time of a training step is: memory layout, precision, a compiler; over the plain NCHW fp32
step.

The same plain loop on the same batch of 128, for ResNet18, VGG19, WRN-40-2 and Conv4. Compiling takes long
and is no part of the step: its seconds are recorded beside it (`compile_s`, the first step less a later
one).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from benchmarks.networks import LAYOUTS, Steps, batch, finish, network
from benchmarks.records import Found, Settings
from benchmarks.timing import measure

NETWORKS = ("resnet18", "vgg19", "wrn-40-2", "conv4")
BASE = "contiguous fp32"


def run(settings: Settings) -> Found:
    """Three variants, and the compiled one, for each network."""
    found = Found()
    for name in NETWORKS:
        data = batch(settings, name)
        steps = {
            label: Steps(network(name, settings), data, layout=LAYOUTS[label.split()[0]], precision=precision)
            for label, precision in {
                BASE: "fp32",
                "channels_last fp32": "fp32",
                "channels_last bf16": "bf16",
            }.items()
        }
        compiled, took = _compiled(name, settings, found)
        if compiled:
            steps["channels_last fp32 compiled"] = compiled
        times = measure(dict(steps), rounds=settings.rounds, finish=finish(settings))
        for label in list(steps)[1:]:
            more = {"compile_s": took} if "compiled" in label else {}
            found.add(f"{name} {label}", times, label, BASE, **more)
    return found


def _compiled(name: str, settings: Settings, found: Found) -> tuple[Steps | None, float]:
    """A step through inductor, and what compiling took; None where that cannot be had."""
    if settings.quick:
        return None, 0.0
    try:
        step = Steps(network(name, settings), batch(settings, name), compiled=compiler())
        first, later = _seconds(step), _seconds(step)
    except Exception as error:  # a missing compiler, a bug of inductor: it is reported, not ours to mend
        found.notes.append(
            f"{name}: not compiled: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
        )
        return None, 0.0
    return step, round(first - later, 1)


def compiler(mode: str | None = None) -> Callable[[nn.Module], nn.Module]:
    """torch.compile for one shape; many networks of one class may be compiled in a process."""
    torch._dynamo.config.recompile_limit = 64

    def wrap(model: nn.Module) -> nn.Module:
        return torch.compile(model, mode=mode, dynamic=False)  # type: ignore[return-value]

    return wrap


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
