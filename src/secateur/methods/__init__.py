"""Pruning methods: siblings of equal shape, one file each."""

from typing import Any

from secateur.methods.base import Method
from secateur.methods.batch_norm_scale import BatchNormScale
from secateur.methods.channel_reparametrization import ChannelReparametrization
from secateur.methods.channels import ChannelPruning
from secateur.methods.fisher import Fisher
from secateur.methods.l1 import L1
from secateur.methods.magnitude import Magnitude
from secateur.methods.norms import FilterNorm
from secateur.methods.random import Random
from secateur.methods.random_channels import RandomChannels
from secateur.methods.registry import named_classes, offered
from secateur.methods.reparametrization import Reparametrization
from secateur.methods.snip import SNIP
from secateur.methods.snip_channels import SNIPChannels
from secateur.methods.taylor import Taylor

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in named_classes(__name__, __path__, Method)}
"""Every method, by name: a class in this folder's files that has one, and what other packages offer."""

METHODS.update((kind.name, kind) for kind in offered("secateur.methods", Method, frozenset(METHODS)))

CHANNEL_METHODS: dict[str, type[ChannelPruning]] = {
    name: kind for name, kind in METHODS.items() if issubclass(kind, ChannelPruning)
}
"""The criteria for channels, by name."""

__all__ = [
    "CHANNEL_METHODS",
    "L1",
    "METHODS",
    "SNIP",
    "BatchNormScale",
    "ChannelPruning",
    "ChannelReparametrization",
    "FilterNorm",
    "Fisher",
    "Magnitude",
    "Method",
    "Random",
    "RandomChannels",
    "Reparametrization",
    "SNIPChannels",
    "Taylor",
]


def __getattr__(name: str) -> Any:
    """Find a method that lies in the folder by its class's name; those above are named for type checkers."""
    for kind in METHODS.values():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    """Give the methods, those too that are named nowhere but in their files."""
    return sorted({*__all__, *(kind.__name__ for kind in METHODS.values())})
