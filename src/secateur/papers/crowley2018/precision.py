"""Whether forward passes in bf16 are faster here: measured once for a folder, and kept with its runs.

A run's precision is part of what it is, so a folder keeps to the one that its first command found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.architecture.architecture import Architecture
from secateur.atomic import make_folder, write_json
from secateur.data import Data
from secateur.device import Runtime
from secateur.names import AUTO, Precision
from secateur.records.reading import read_json
from secateur.runs.environment import describe_environment

PRECISION_FILE = "precision.json"
WORTH = 1.1
"""So many times as fast bf16 has to be to be taken."""
_ROUNDS, _STEPS = 3, 2

Clock = Callable[[], float]


def settled(
    out: Path,
    architecture: Architecture,
    data: Data,
    batch_size: int,
    runtime: Runtime,
    clock: Clock = time.perf_counter,
) -> tuple[Precision, str]:
    """Read the folder's precision, or measure which it shall be and keep that; it, and why, in words."""
    path = out / PRECISION_FILE
    if path.is_file():
        found = read_json(path)
        kept = isinstance(found, dict) and found.get("precision") == "bf16"
        precision: Precision = "bf16" if kept else "fp32"
        return precision, f"forward passes in {precision}, as measured for this folder before"
    ratio = speed_of_bf16(architecture, data, batch_size, runtime, clock)
    precision = "bf16" if ratio >= WORTH else "fp32"
    environment = describe_environment(runtime, precision)
    make_folder(out)
    write_json(path, {"precision": precision, "ratio": ratio, "environment": environment})
    return precision, f"forward passes in {precision}: in bf16 a step is {ratio:.2f} times as fast here"


def speed_of_bf16(
    architecture: Architecture, data: Data, batch_size: int, runtime: Runtime, clock: Clock
) -> float:
    """How many times as fast a training step is in bf16; measured in turns, the fastest of each."""
    model = runtime.place(architecture.build(seed=0)).train()
    images = torch.zeros(batch_size, *data.shape, device=runtime.device)
    images = runtime.arrange(images.normal_(), runtime.layout(model))
    took: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + _ROUNDS):  # the first warms up
        for precision, times in took.items():
            begun = clock()
            for _ in range(_STEPS):
                _step(model, images, precision, runtime)
            times.append(clock() - begun)
    return min(took["fp32"][1:]) / min(took["bf16"][1:])


def _step(model: nn.Module, images: Tensor, precision: Precision, runtime: Runtime) -> None:
    """Forward and backward; the sum waits for the device."""
    with runtime.autocast(precision):
        output = model(images)
    targets = torch.zeros(len(images), dtype=torch.long, device=images.device)
    loss = F.cross_entropy(output.float(), targets)
    model.zero_grad()
    loss.backward()
    float(loss.detach())


__all__ = ["AUTO", "PRECISION_FILE", "settled", "speed_of_bf16"]
