"""What a user calls a model: a name, a file, a module; and the architecture that is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.factories import (
    check_factory,
    factory_of,
    names_factory,
    origin_at,
    origin_by,
    origin_for,
    origin_on,
)
from secateur.architecture.family import arguments_for
from secateur.architecture.from_transformers import is_pretrained_folder
from secateur.architecture.model_names import unknown_model
from secateur.data import Data
from secateur.errors import InputError
from secateur.models import parse_name


def check_model_name(name: str, factory: str | None = None) -> None:
    """Raise InputError where no model goes by that name and no architecture file lies there.

    Args:
        factory: the name of what builds the network of an architecture file; it goes with nothing else.
    """
    name = full_name(name)
    if names_factory(name):
        check_factory(name)
    elif not _is_path(name) and parse_name(name) is None:
        raise unknown_model(name)
    if factory is not None and not _is_path(name):
        raise InputError(
            f"--factory says what builds the network of an architecture.json, got '{factory}' with the model "
            f"'{name}', which says so itself: leave it out, or name the factory as the model"
        )


def full_name(name: str) -> str:
    """A folder that `save_pretrained` left is a model of `transformers`: "hf:" before it."""
    return f"hf:{name}" if is_pretrained_folder(name) else name


def _is_path(name: str) -> bool:
    return name.endswith(".json") or (name != "" and Path(name).is_dir())


def resolve_model(
    model: str | nn.Module | Architecture | Callable[..., nn.Module], data: Data, factory: str | None = None
) -> Architecture:
    """Find the architecture that is meant, with the data's channels, image size and classes.

    Args:
        model: a name, a factory or its name, an architecture file, a module, or an architecture.
        factory: the name of what builds the network of an architecture file that is not built in.

    Raises:
        InputError: for an unknown name, a foreign module, another number of classes, or images too small.
    """
    if isinstance(model, str):
        check_model_name(model)
        model = full_name(model)
        if names_factory(model):
            return Architecture.whole(origin_for(model, data))
        if parsed := parse_name(model):
            return Architecture.from_factory(
                parsed[0], {**parsed[1], **arguments_for(data.shape, data.num_classes)}
            )
        model = Architecture.load(model, factory_of(factory) if factory else None)
    if not isinstance(model, (nn.Module, Architecture)):
        return Architecture.whole(origin_by(model, data))
    architecture = Architecture.of(model) if isinstance(model, nn.Module) else model
    if architecture.classes != data.num_classes:
        raise InputError(
            f"the model has {architecture.classes} classes, the data set {data.label} has "
            f"{data.num_classes}: build the model with num_classes={data.num_classes}"
        )
    return Architecture.at(architecture.origin.fitted_to(data, architecture.widths), architecture.widths)


def network_on(name: str, images: Tensor, num_classes: int) -> Architecture:
    """Find the architecture that a name means, for images (N, C, H, W) that somebody else loaded."""
    if names_factory(name):
        return Architecture.whole(origin_on(name, images, num_classes, "of these loaders"))
    if parsed := parse_name(name):
        channels, height, width = images.shape[1:]
        fitting = arguments_for((channels, height, width), num_classes)
        return Architecture.from_factory(parsed[0], {**parsed[1], **fitting})
    return Architecture.load(name)


def model_at(
    name: str, shape: tuple[int, int, int], num_classes: int, factory: str | None = None
) -> Architecture:
    """Do as `resolve_model` without data: for images of (channels, height, width).

    Args:
        num_classes: that it tells apart; a file or folder says so itself.
    """
    check_model_name(name)
    name = full_name(name)
    if names_factory(name):
        return Architecture.whole(origin_at(name, shape, num_classes))
    if parsed := parse_name(name):
        return Architecture.from_factory(parsed[0], {**parsed[1], **arguments_for(shape, num_classes)})
    architecture = Architecture.load(name, factory_of(factory) if factory else None)
    return Architecture.at(architecture.origin.at_images(shape, architecture.widths), architecture.widths)
