"""Records, points and what else tests are about, with everything filled in that a test does not care for."""

from __future__ import annotations

from typing import Any

import torch

from secateur import models
from secateur.device import Runtime
from secateur.papers.cells import About, DupontRun
from secateur.progress import Reporter
from secateur.records.point import Point
from secateur.records.record import Record
from secateur.training.loop import Training
from secateur.training.recipe import Recipe

SMALL = Recipe(epochs=3, batch_size=64)


def network(seed: int = 0, width: float = 0.5) -> torch.nn.Module:
    """A small network for the digits."""
    torch.manual_seed(seed)
    return models.wide_resnet(depth=10, width=width, in_channels=1, image_size=8)


def training(
    data: Any,
    recipe: Recipe = SMALL,
    *,
    model: torch.nn.Module | None = None,
    epochs: int | None = 3,
    device: str = "cpu",
    **given: Any,
) -> Training:
    """A training that says nothing; what else `Training` takes is `given`."""
    return Training(
        network() if model is None else model,
        data,
        recipe,
        seed=7,
        runtime=Runtime(device),
        reporter=Reporter(),
        epochs=epochs,
        **given,
    )


def record(run_id: str = "train-aa-s0", **changes: Any) -> Record:
    """A network of two groups after no epochs."""
    content = {
        "run_id": run_id,
        "label": "a run",
        "seed": 0,
        "identity": {},
        "architecture": {"widths": [5, 7], "groups": ["0", "3"]},
        "params": 100,
        "macs": 1000,
        "weights": 90,
        "nonzeros": 90,
        "bytes": 400,
        "accuracy": 0.5,
        "val_accuracy": 0.5,
        "train_compute": 10,
        "wall_s": 1.0,
        "history": (),
        "environment": {"threads": 1, "commit": "0123456789ab"},
    }
    return Record(**{**content, **changes})


def point(arm: str = "width", budget: str | None = "params=25%", seed: int = 0, **changes: Any) -> Point:
    """Of a network that counts neither weights nor nonzeros."""
    content = {
        "arm": arm,
        "budget": budget,
        "seed": seed,
        "params": 100 + seed,
        "macs": 1000,
        "accuracy": 0.5,
        "val_accuracy": 0.5,
        "train_compute": 10,
        "discovery_compute": 0,
        "wall_s": 1.0,
        "run_id": f"{arm}-s{seed}",
        "epochs": 1,
        "widths": {"0": 5},
    }
    return Point(**{**content, **changes})


def about(**changes: Any) -> About:
    """Of a reproduction at the laptop's scale."""
    content = {
        "scale": "laptop",
        "device": "NVIDIA H100",
        "commit": "3b4d533abcde",
        "data": "cifar10, 4,500 training images",
        "selection": "validation split",
        "command": "secateur paper dupont2021 --scale laptop",
        "seeds": 3,
        "environment": {},
    }
    return About(**{**content, **changes})


def dupont_run(method: str, rate: str | None, seed: int = 0, **changes: Any) -> DupontRun:
    """A line of Dupont et al. 2021: Conv-4 on CIFAR-10."""
    content = {
        "network": "conv4",
        "dataset": "cifar10",
        "rate": rate,
        "method": method,
        "seed": seed,
        "accuracy": 0.5,
        "accuracy_before": 0.6,
        "remaining": None,
        "nonzeros": 121251,
        "weights": 2425024,
        "epochs": 24,
        "val_accuracy": 0.5,
        "wall_s": 1.0,
        "train_compute": 10,
        "run_id": f"{method}-s{seed}",
    }
    return DupontRun(**{**content, **changes})
