"""The model families, one per file; every width is an argument."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from secateur.models.base import Declared, Family
from secateur.models.conv4 import Conv4, conv4
from secateur.models.resnet import ResNet18, resnet18
from secateur.models.vgg import VGG19, vgg19
from secateur.models.wide_resnet import STAGES, WideResNet, wide_resnet

FACTORIES: dict[str, Callable[..., Family]] = {
    "wide_resnet": wide_resnet,
    "resnet18": resnet18,
    "vgg19": vgg19,
    "conv4": conv4,
}
"""What makes a network of each family, by the name that `architecture.json` has."""

NAMES = ("wrn-16-1", "wrn-40-2", "resnet18", "vgg19", "conv4")
"""Examples of names, as `--model` takes them; wrn-D-K for any depth D and width K."""

_WRN = re.compile(r"wrn-(\d{1,4})-(\d{1,4}(?:\.\d{1,6})?)")


def parse_name(name: str) -> tuple[str, dict[str, Any]] | None:
    """Read a name as the command line takes it.

    Args:
        name: one of `NAMES`, or wrn-D-K for any depth and width; upper case will do.

    Returns:
        The factory's name and its arguments; None for a name that is none of ours.
    """
    name = name.lower()
    if found := _WRN.fullmatch(name):
        width = float(found[2])
        return "wide_resnet", {"depth": int(found[1]), "width": int(width) if width.is_integer() else width}
    return (name, {}) if name in FACTORIES and name != "wide_resnet" else None


def display_name(model: Family) -> str:
    """Name a model for people.

    Args:
        model: of a built-in family, pruned or not.

    Returns:
        For example 'wrn-16-0.75', where k is that of the widest stage, or 'vgg19 x0.5'.
    """
    arguments = model.arguments
    if model.factory == "wide_resnet":
        return f"wrn-{arguments['depth']}-{arguments['stages'][-1] / STAGES[-1]:.3g}"
    width = arguments["width"] if "width" in arguments else arguments["stages"][-1] / 512
    return model.factory if width == 1 else f"{model.factory} x{width:.3g}"


__all__ = [
    "FACTORIES",
    "NAMES",
    "VGG19",
    "Conv4",
    "Declared",
    "Family",
    "ResNet18",
    "WideResNet",
    "conv4",
    "display_name",
    "parse_name",
    "resnet18",
    "vgg19",
    "wide_resnet",
]
