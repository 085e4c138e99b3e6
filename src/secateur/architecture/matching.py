"""Whether a trained network and data belong together: image size, channels, which score is which class.

What does not fit would run on and be wrong, or fail in the middle: so it is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import Artefact, TrainedOn, read_artefact
from secateur.architecture.factories import PREFIXES
from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE, read_architecture
from secateur.architecture.from_transformers import labels_of
from secateur.data.preprocessing import Preprocessing
from secateur.errors import InputError
from secateur.models import parse_name
from secateur.network.weight_file import open_tensors
from secateur.records.found import listed
from secateur.surgery.costs import state_shapes


def weights_for(model: str) -> Path | None:
    """Find the folder that a trained network's weights lie in, by what the user calls the model.

    Returns:
        None where its factory gives them.

    Raises:
        InputError: where there are none, so that what is taken as trained would be drawn anew.
    """
    path = Path(model)
    folder = path.parent if model.endswith(".json") else path
    if (folder / ARCHITECTURE_FILE).is_file() and (model.endswith(".json") or path.is_dir()):
        if (folder / WEIGHTS_FILE).is_file():
            return folder
        raise InputError(
            f"--trained takes a network with its weights, but there is no {WEIGHTS_FILE} in '{folder}': name "
            "a folder that train or sc.save left"
        )
    if parse_name(model) is not None:
        raise InputError(
            f"--trained takes a network with its weights, and '{model}' has none: name a folder that train "
            "left, or leave out --trained, and it is trained first"
        )
    return None


def check_given(architecture: Architecture, data: TrainedOn, weights: Path | None) -> list[str]:
    """Refuse a trained network that these data do not suit.

    Args:
        architecture: fitted to the data.
        weights: the folder that the weights lie in; None: the factory gives them.

    Returns:
        What a user should know, a line each: that images of another size run than it was trained on.

    Raises:
        InputError: for another number of channels, layers that hold to another image size, classes in another
            order or of other names.
    """
    if weights is None:
        return _check_pretrained(architecture, data)
    artefact = read_artefact(weights, architecture.classes)
    if artefact is not None and data.classes:
        check_classes(f"the network in '{weights}'", artefact.classes, data.label, data.classes)
    trained, here = _saved_shape(weights), tuple(data.shape)
    if trained is not None and trained[0] != here[0]:
        raise InputError(
            f"the network in '{weights}' takes images of {_channels(trained[0])}, the data set {data.label} "
            f"has {_channels(here[0])}: give it images as it was trained on, or train it anew on these "
            "(without --trained)"
        )
    wrong = _other_shapes(architecture, weights)
    if wrong is not None and trained is not None and trained != here:
        raise InputError(
            f"the network in '{weights}' was trained on images of {_size(trained)}, to which its layers hold "
            f"({wrong}), the data set {data.label} has {_size(here)}: choose --image-size {trained[-1]}, or "
            "train it anew on these (without --trained)"
        )
    remarks = _other_making(artefact, data)
    if trained is not None and trained != here:
        remarks.append(
            f"trained on images of {_size(trained)}, it runs on {_size(here)} here: MACs, latency and "
            f"budgets are those at {_size(here)}"
        )
    return remarks


def _other_making(artefact: Artefact | None, data: TrainedOn) -> list[str]:
    """What is done to images here that was not done to those it was trained on."""
    before = artefact.preprocess if artefact is not None else None
    here: Preprocessing | None = getattr(data, "preprocessing", None)  # only images have one
    if before is None or here is None:
        return []
    return [
        f"trained on images with --{name} {value}, it runs on images with --{name} {other} here"
        for name in ("fit", "background")
        if (value := getattr(before.format, name)) != (other := getattr(here.format, name))
    ]


def check_classes(who: str, scores: Sequence[str], whose: str, classes: Sequence[str]) -> None:
    """Raise InputError unless the scores of a network stand for the classes of the data, in their order."""
    if not scores or list(scores) == list(classes):
        return
    if sorted(scores) == sorted(classes):
        place = next(i for i, (one, other) in enumerate(zip(scores, classes, strict=True)) if one != other)
        raise InputError(
            f"score {place} of {who} is the class '{scores[place]}', and in the data set {whose} class "
            f"{place} is '{classes[place]}': the classes must stand in the order that it was trained on, "
            f"{listed(scores)}; or train it anew on these (without --trained)"
        )
    raise InputError(
        f"{who} tells apart {listed(scores)}, the data set {whose} has {listed(classes)}: give it data of "
        "its own classes, or train it anew on these (without --trained)"
    )


def _check_pretrained(architecture: Architecture, data: TrainedOn) -> list[str]:
    """Of a model of `transformers` with weights of its own: its classifier must be one of these classes."""
    factory, origin = architecture.factory, architecture.origin
    if factory.startswith(PREFIXES) and getattr(origin, "pretrained", None) is None:
        raise InputError(
            f"--trained takes a network with its weights, and '{factory}' comes without: leave out "
            "--trained, and it is trained first"
        )
    if not factory.startswith("hf:"):
        return []
    labels = labels_of(factory.removeprefix("hf:"))
    if len(labels) != data.num_classes:
        raise InputError(
            f"--trained takes the network as it is, but '{factory}' tells apart {len(labels)} classes and "
            f"the data set {data.label} has {data.num_classes}, so that its classifier would be drawn anew: "
            "leave out --trained, and it is trained first"
        )
    named = [label.casefold() for label in labels]
    classes = [name.casefold() for name in data.classes]
    if sorted(named) == sorted(classes):
        check_classes(f"'{factory}'", named, data.label, classes)
        return []
    if named == [f"label_{number}" for number in range(len(named))]:
        return [f"'{factory}' does not name its classes: they are taken to be {listed(data.classes)}"]
    return [f"'{factory}' names its classes {listed(labels)}; they are taken to be {listed(data.classes)}"]


def _saved_shape(weights: Path) -> tuple[int, ...] | None:
    """(channels, height, width) that a saved network was made for; None where it takes something else."""
    content, _ = read_architecture(weights)
    inputs: Any = content.get("input") if isinstance(content, dict) else None
    if isinstance(inputs, dict) and isinstance(inputs.get("shape"), list) and len(inputs["shape"]) == 3:
        return tuple(inputs["shape"])
    arguments = content.get("arguments", {}) if isinstance(content, dict) else {}
    try:  # schema 1 leaves it to the family's arguments
        return (arguments["in_channels"], *arguments["image_size"])
    except (KeyError, TypeError):
        return None


def _other_shapes(architecture: Architecture, weights: Path) -> str | None:
    """The first tensor that has other sizes in the folder than in the architecture; None: none has."""
    expected, path = state_shapes(architecture.skeleton()), weights / WEIGHTS_FILE
    if not path.is_file():
        return None  # said where they are loaded
    try:
        found = open_tensors(path).shapes()
    except InputError:
        return None  # the same
    for name, shape in expected.items():
        if name in found and found[name] != shape:
            return f"{name} is {list(found[name])}, and {list(shape)} here"
    return None


def _channels(count: int) -> str:
    return "1 channel (grey)" if count == 1 else f"{count} channels"


def _size(shape: Sequence[int]) -> str:
    return f"{shape[-1]}x{shape[-2]} pixels"
