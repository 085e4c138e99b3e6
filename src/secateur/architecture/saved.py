"""Networks in a folder: `architecture.json`, `model.safetensors`, `artefact.json`; written and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.artefact import Artefact, TrainedOn, carry_artefact, read_artefact, told
from secateur.architecture.file import ARCHITECTURE_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE, WEIGHTS_FILE
from secateur.architecture.from_transformers import described
from secateur.architecture.opening import Factory
from secateur.atomic import write_bytes, write_json
from secateur.data.preprocessing import Preprocessing
from secateur.errors import InputError
from secateur.network.modes import in_evaluation
from secateur.network.plain import bare
from secateur.network.tensor_files import unshared
from secateur.records.out import check_out, expanded
from secateur.surgery.costs import state_shapes


def save_model(
    model: nn.Module,
    directory: str | Path,
    *,
    data: TrainedOn | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    artefact: Artefact | None = None,
) -> None:
    """Write a network into a folder, which is made if need be.

    `architecture.json` and `model.safetensors`, and `artefact.json` where it is known what its classes are
    called and what it takes: a network that was loaded knows it.

    Args:
        data: what it was trained on, as `load_data` gives it: names its classes and says what it takes.
        classes: their names, in the order of its scores; in place of the data's.
        preprocessing: what makes an input of an image; in place of the data's.
        artefact: the whole of it, in place of all of these.

    Raises:
        InputError: where the folder holds files of these names that Secateur did not write.

    Of a network of `transformers` its configuration too, so that the folder can be loaded without a factory.

    Example:
        >>> sc.save(model, "out/"); model = sc.load("out/")  # doctest: +SKIP
        >>> sc.save(model, "out/", data=data); sc.load("out/").classes  # doctest: +SKIP
    """
    directory = expanded(directory, "the folder to save in")
    model = bare(model)
    architecture = Architecture.of(model)
    theirs = described(model)
    known = artefact or told(model, architecture.classes, data, classes, preprocessing)
    check_out(directory, (ARCHITECTURE_FILE, WEIGHTS_FILE, ARTEFACT_FILE, TRANSFORMERS_FILE))
    directory.mkdir(parents=True, exist_ok=True)
    architecture.save(directory / ARCHITECTURE_FILE)  # first, as it makes the weights known as ours
    if known is None:
        (directory / ARTEFACT_FILE).unlink(missing_ok=True)  # of another network that was saved here
    else:
        write_json(directory / ARTEFACT_FILE, known.to_json())
    write_bytes(directory / WEIGHTS_FILE, save(unshared(model.state_dict())))
    if theirs is None:
        (directory / TRANSFORMERS_FILE).unlink(missing_ok=True)
    else:
        write_json(directory / TRANSFORMERS_FILE, theirs)


def load_model(
    directory: str | Path, factory: Factory | None = None, like: Architecture | None = None
) -> Any:
    """Rebuild the network that `save_model` wrote, in evaluation mode, on the CPU.

    Where the folder has an `artefact.json`, it knows its classes, `model.classes`, and what it takes:
    `model(model.preprocess("photo.jpg"))`.

    Args:
        factory: builds the whole network, where it is not of a built-in family: its own class is then what
            comes back. Nothing is imported that the files name; a model class of `transformers` is looked up
            in that package, and built from `transformers.json`.
        like: an architecture of the same whole network, which then need not be built and traced again, and
            which says what inputs the network runs on.

    Raises:
        InputError: where a file is missing, damaged, or the two do not belong together; weights are compared
            with the architecture by shape before anything is allocated.
    """
    directory = expanded(directory, "the folder to load")
    if like is not None:  # it would be built and traced again, and may run on images of another size
        architecture = like.with_widths(_widths_in(directory / ARCHITECTURE_FILE, like.group_names()))
    else:
        architecture = Architecture.load(directory / ARCHITECTURE_FILE, factory)
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"no weights at '{path}': name a folder with {ARCHITECTURE_FILE} and {WEIGHTS_FILE}")
    expected = state_shapes(architecture.skeleton())
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if found != expected:
                wrong = sorted(
                    name for name in found.keys() | expected if found.get(name) != expected.get(name)
                )
                raise InputError(
                    f"{path}: the weights must have the architecture's shapes, but '{wrong[0]}' is "
                    f"{found.get(wrong[0], 'missing')} instead of {expected.get(wrong[0], 'absent')}"
                )
            model = architecture.build(seed=0)
            model.load_state_dict({name: file.get_tensor(name) for name in expected})
    except SafetensorError as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}): it was cut off or is another kind of file"
        ) from None
    if artefact := read_artefact(directory, architecture.classes):
        carry_artefact(model, artefact)
    return in_evaluation(model)


def _widths_in(path: Path, names: Sequence[str]) -> list[int]:
    """Read the widths in an architecture file that we wrote ourselves, of a network that is at hand."""
    groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
    widths = {group["name"]: group["width"] for group in groups}
    return [widths[name] for name in names]
