"""What `sc.inspect` takes: finding and proving the channel groups of a network at 224 pixels.

Trace and proof together, over one forward and backward pass of a batch of 32 images at that size, in one
thread, both in every round. It needs torchvision and timm; without them it says so and claims nothing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.records import Case, Found, Settings
from benchmarks.timing import Action, measure
from secateur.surgery.anatomy import forget, open_model

BAR = 15.0
BATCH, SIDE = 32, 224
QUICK_BATCH, QUICK_SIDE = 2, 16
PARTS = ("resnet50", "mobilenet_v2", "convnext_tiny", "vit_small_patch16_224")
PASS, INSPECT = "forward and backward pass", "inspect"


def run(settings: Settings) -> Found:
    """Each network by itself; whoever measures has nothing else running."""
    found = Found()
    missing = [name for name in ("torchvision", "timm") if importlib.util.find_spec(name) is None]
    if missing and not settings.quick:
        found.notes.append(f"not measured: {' and '.join(missing)} not installed in this environment")
        return found
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in PARTS[:1] if settings.quick else PARTS:
            if settings.wanted(name):
                found.cases.append(_case(name, settings))
    finally:
        torch.set_num_threads(threads)
    return found


def _case(name: str, settings: Settings) -> Case:
    torch.manual_seed(0)
    model = _small() if settings.quick else _built(name)
    side, batch = (QUICK_SIDE, QUICK_BATCH) if settings.quick else (SIDE, BATCH)
    images = torch.randn(batch, 3, side, side)
    times = measure(
        {PASS: Action(_pass(model, images)), INSPECT: Action(lambda: _inspect(model, images[:4]))},
        rounds=settings.rounds,
        at_least_s=0,
        warm_up=1,
    )
    groups = open_model(model, images[:4]).graph
    more = {"groups": len(groups.groups), "frozen": len(groups.frozen)}
    ratio = times.ratio(INSPECT, PASS)
    over = f"{PASS} of {batch} images, {name}"
    return Case(name, "trace and proof", over, ratio, settings.bar(BAR), times.ms(INSPECT, PASS), more)


def _built(name: str) -> nn.Module:
    import timm
    import torchvision

    if hasattr(torchvision.models, name):
        model: nn.Module = getattr(torchvision.models, name)()
    else:
        model = timm.create_model(name)
    return model


def _small() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*layers, nn.Linear(8, 10))


def _pass(model: nn.Module, images: Tensor) -> Callable[[], Any]:
    def both() -> None:
        model.train()
        model(images).square().mean().backward()
        model.zero_grad(set_to_none=True)

    return both


def _inspect(model: nn.Module, images: Tensor) -> None:
    forget(model)
    open_model(model, images)
