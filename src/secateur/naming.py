"""What a user calls a model: a name, a file, a module; and the architecture that is meant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from secateur.architecture import Architecture
from secateur.data import Data
from secateur.errors import InputError, unknown
from secateur.models import NAMES, parse_name


def check_model_name(name: str) -> None:
    """InputError where no model goes by that name and no architecture file lies there."""
    if not _is_path(name) and parse_name(name) is None:
        raise unknown("model", name, NAMES)


def _is_path(name: str) -> bool:
    return name.endswith(".json") or Path(name).is_dir()


def resolve_model(model: str | nn.Module | Architecture, data: Data) -> Architecture:
    """The architecture that is meant, with the data's channels, image size and classes.

    Raises:
        InputError: for an unknown name, a foreign module, another number of classes, or images too small.
    """
    shape = {
        "in_channels": data.shape[0],
        "image_size": list(data.shape[1:]),
        "num_classes": data.num_classes,
    }
    if isinstance(model, str):
        check_model_name(model)
        if parsed := parse_name(model):
            return Architecture.from_factory(parsed[0], {**parsed[1], **shape})
        model = Architecture.load(model)
    architecture = Architecture.of(model) if isinstance(model, nn.Module) else model
    if architecture.arguments["num_classes"] != data.num_classes:
        raise InputError(
            f"the model has {architecture.arguments['num_classes']} classes, the data set {data.label} has "
            f"{data.num_classes}: build the model with num_classes={data.num_classes}"
        )
    fitted = replace(architecture, arguments={**architecture.arguments, **shape})
    fitted.skeleton()  # refuses images too small for the family
    return fitted
