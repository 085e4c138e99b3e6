"""How the images were normalised that a model's weights were trained on, where the model says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from secateur.architecture.factories import has_pretrained
from secateur.architecture.from_transformers import quiet
from secateur.data import Data
from secateur.data.normalization import NORMALIZATIONS, Normalization, named
from secateur.errors import InputError
from secateur.models import parse_name
from secateur.process import silent
from secateur.records.reading import read_json

_ARTEFACT = "artefact.json"
_RESCALED = 1 / 255


def normalized_for(
    model: str | nn.Module | Any, data: Data, normalize: str | Sequence[Sequence[float]] | None = None
) -> tuple[Data, Normalization | None]:
    """The data as the model's weights want them, and what was changed about them, to be said.

    Args:
        normalize: "data", "imagenet", "model" or numbers, as `data.normalization.named` reads them; None: the
            model's, if it has weights and says; else the data's own.

    Raises:
        InputError: "model", and the model does not say.
    """
    chosen = named(normalize)
    if normalize in (None, "model"):
        chosen = normalization_of(model)
    if normalize == "model" and chosen is None:
        others = ", ".join(name for name in NORMALIZATIONS if name != "model")
        name = model if isinstance(model, str) else type(model).__name__
        raise InputError(
            f"the model '{name}' does not say how its images are normalised: use --normalize {others}, or "
            "mean=... std=..."
        )
    return (chosen.applied(data), chosen.of(data.shape[0])) if chosen else (data, None)


def normalization_of(model: str | nn.Module | Any) -> Normalization | None:
    """What a model says of its images; None where it has no weights, or does not say.

    Asked are timm's configuration, the image processor of transformers, and what Secateur saved.
    """
    if isinstance(model, nn.Module):
        return _of_module(model)
    if not isinstance(model, str) or parse_name(model):  # a built-in network, whatever folders there are
        return None
    for prefix, asked in _ASKED.items():
        if model.startswith(prefix):
            found = asked(model.removeprefix(prefix)) if has_pretrained(model) else None
            return _read(found, model)
    return _of_saved(Path(model))


def _of_module(model: nn.Module) -> Normalization | None:
    """Of a loaded network (`model.preprocess`) or one of timm's (`model.pretrained_cfg`)."""
    preprocess: Any = getattr(model, "preprocess", None)
    whose = type(model).__name__
    if hasattr(preprocess, "mean"):
        return _read({"mean": preprocess.mean, "std": preprocess.std}, whose)
    return _read(getattr(model, "pretrained_cfg", None), whose)


def _of_saved(place: Path) -> Normalization | None:
    """Of a folder that Secateur saved, or of the architecture file in it."""
    file = (place.parent if place.suffix == ".json" else place) / _ARTEFACT
    try:
        return _read(read_json(file).get("preprocessing"), str(place))
    except (InputError, AttributeError):
        return None


def _of_timm(name: str) -> Mapping[str, Any] | None:
    timm = silent("timm")
    found = timm.get_pretrained_cfg(name)
    return {"mean": found.mean, "std": found.std} if found else None


def _of_transformers(name: str) -> Mapping[str, Any] | None:
    transformers = silent("transformers")
    try:
        with quiet(transformers):
            found, _ = transformers.ImageProcessingMixin.get_image_processor_dict(name)
    except (OSError, ValueError):
        return None
    if not found.get("do_rescale", True) or abs(found.get("rescale_factor", _RESCALED) - _RESCALED) > 1e-6:
        return None  # pixels of another range, which nothing here can say
    if not found.get("do_normalize", True):
        return {"mean": (0.0,), "std": (1.0,)}
    return {"mean": found.get("image_mean"), "std": found.get("image_std")}


_ASKED: dict[str, Callable[[str], Mapping[str, Any] | None]] = {"hf:": _of_transformers, "timm:": _of_timm}


def _read(found: Any, whose: str) -> Normalization | None:
    """A configuration's mean and std; None where it has none that could be meant."""
    try:
        mean, std = (tuple(float(value) for value in found[name]) for name in ("mean", "std"))
        return Normalization(mean, std, whose)
    except (KeyError, TypeError, ValueError, InputError):
        return None
