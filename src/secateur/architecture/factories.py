"""Networks by the name that a user gives: `mypackage.nets:build`, `hf:OWNER/NAME`, `timm:NAME`.

The user names the code on the command line, so it is theirs to import; a file never does.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from secateur.architecture.building import factory_name
from secateur.architecture.foreign import EXAMPLES, ForeignOrigin
from secateur.architecture.from_transformers import image_classifier
from secateur.architecture.model_names import file_for_module, misspelt_factory
from secateur.architecture.opening import open_factory
from secateur.architecture.origin import OFFERED
from secateur.data import Data
from secateur.data.batches import first_images
from secateur.errors import InputError, first_line, require_packages
from secateur.process import silent

PREFIXES = ("hf:", "timm:")
_DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def names_factory(name: str) -> bool:
    """Tell whether a name is of a factory rather than of a built-in family or a file."""
    return name.startswith(PREFIXES) or _DOTTED.fullmatch(name) is not None


def check_factory(name: str) -> None:
    """Raise InputError at once, before data are read, where the factory cannot be had."""
    _factory(name)


def origin_for(name: str, data: Data) -> ForeignOrigin:
    """Build the network for these data, and find and prove what can be cut.

    Raises:
        InputError: where the factory fails, the network does not take the images, or gives other than one
            score for each class.
    """
    return origin_on(name, first_images(data, EXAMPLES), data.num_classes, data.label)


def origin_on(name: str, images: torch.Tensor, num_classes: int, label: str) -> ForeignOrigin:
    """Do as `origin_for` on images (N, C, H, W) of so many classes, from data of that label."""
    return _fitting(_open(name, images, num_classes), num_classes, label)


def _fitting(origin: ForeignOrigin, num_classes: int, label: str) -> ForeignOrigin:
    """The origin; InputError where its network gives other than one score for each class."""
    if origin.classes != num_classes:
        raise InputError(
            f"the model '{origin.name}' gives {origin.classes} scores, the data set {label} has "
            f"{num_classes} classes: have the factory take num_classes, or return that many"
        )
    return origin


def origin_at(name: str, shape: Sequence[int], num_classes: int) -> ForeignOrigin:
    """Do as `origin_for` without data: on noise of an image's (channels, height, width)."""
    noise = torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))
    return _open(name, noise, num_classes)


def origin_by(factory: Callable[..., nn.Module], data: Data) -> ForeignOrigin:
    """Do as `origin_for` with a factory that is at hand, not named."""
    name = factory_name(factory)
    origin = _opened(name, factory, None, first_images(data, EXAMPLES), data.num_classes)
    return _fitting(origin, data.num_classes, data.label)


def _open(name: str, images: torch.Tensor, num_classes: int) -> ForeignOrigin:
    factory, pretrained = _factory(name)
    return _opened(name, factory, pretrained, images, num_classes)


def _opened(
    name: str,
    factory: Callable[..., nn.Module],
    pretrained: Callable[..., nn.Module] | None,
    images: torch.Tensor,
    num_classes: int,
) -> ForeignOrigin:
    known = (num_classes, images.shape[1], list(images.shape[2:]))
    arguments = _accepted(factory, dict(zip(OFFERED, known, strict=True)))
    return open_factory(
        partial(factory, **arguments),
        images,
        name=name,
        arguments=arguments,
        pretrained=partial(pretrained, **arguments) if pretrained else None,
    )


def factory_of(name: str) -> Callable[..., nn.Module]:
    """Find the factory that a user names, for an architecture file whose network is not built in."""
    if not names_factory(name):
        advice = file_for_module(name)
        raise InputError(
            f"a factory is named package.module:function, hf:OWNER/NAME or timm:NAME, got '{name}'"
            + (f": {advice}" if advice else "")
        )
    return _factory(name)[0]


def has_pretrained(name: str) -> bool:
    """Tell whether a factory has pretrained weights to give; InputError where there is no such factory."""
    return _factory(name)[1] is not None


def _factory(name: str) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module] | None]:
    """Find what builds a fresh network, and what builds one with pretrained weights, where there are any."""
    if name.startswith("hf:"):
        return image_classifier(name.removeprefix("hf:"))
    if name.startswith("timm:"):
        return _from_timm(name.removeprefix("timm:"))
    return _imported(name), None


def _imported(name: str) -> Callable[..., nn.Module]:
    module_name, _, path = name.partition(":")
    if advice := file_for_module(name):
        raise InputError(f"the factory '{name}' cannot be imported: {advice}")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` would; a console script does not
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        way = "package.module:function, from a folder in which `python -c 'import package.module'` works"
        raise InputError(
            f"the factory '{name}' cannot be imported ({first_line(error)}): "
            f"{misspelt_factory(name) or f'name it {way}'}"
        ) from None
    except (Exception, SystemExit) as error:  # a user's code: anything may come out of it
        raise InputError(
            f"importing '{module_name}' failed with {type(error).__name__}: {first_line(error)}"
        ) from None
    for part in path.split("."):
        if not hasattr(found, part):
            advice = misspelt_factory(name) or "check the name after the colon"
            raise InputError(f"'{name}': the module '{module_name}' has no '{path}': {advice}")
        found = getattr(found, part)
    if not callable(found):
        raise InputError(f"'{name}' must be callable and return a module, got {type(found).__name__}")
    return found


def _accepted(factory: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Pick, of what we know about the data, what the factory has parameters for."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if getattr(factory, "__module__", "").startswith("torchvision.models"):
        named.add("num_classes")  # hands its **kwargs on to the class, which has it
    return {name: value for name, value in offered.items() if name in named}


def _from_timm(name: str) -> tuple[Callable[..., nn.Module], Callable[..., nn.Module] | None]:
    require_packages("timm", what="a timm: model")
    timm = silent("timm")
    if not timm.is_model(name):
        raise InputError(f"timm has no model '{name}': timm.list_models() names them")

    def build(num_classes: int, in_channels: int, *, pretrained: bool = False) -> nn.Module:
        return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels)

    return build, partial(build, pretrained=True) if timm.is_model_pretrained(name) else None
