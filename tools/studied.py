"""The networks of the studies: `exact_study` and `controls`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One that is pruned: a built-in family at a width, and the side of its images."""

    family: str
    width: float
    image_size: int | None = None


NETWORKS = {
    "small": Network("resnet18", 0.125, 16),
    "resnet18": Network("resnet18", 0.25),
    "vgg19": Network("vgg19", 0.25),
    "conv4": Network("conv4", 1.0),
}
