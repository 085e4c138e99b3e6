"""Networks in a folder: `architecture.json` and `model.safetensors`, written and read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from secateur.architecture.architecture import Architecture
from secateur.architecture.file import ARCHITECTURE_FILE, WEIGHTS_FILE
from secateur.architecture.opening import Factory
from secateur.architecture.from_transformers import CONFIG_FILE, config_of
from secateur.atomic import write_bytes, write_json
from secateur.errors import InputError
from secateur.network.tensor_files import unshared
from secateur.surgery.costs import state_shapes


def save_model(model: nn.Module, directory: str | Path) -> None:
    """Write `architecture.json` and `model.safetensors` into `directory`, which is made if need be.

    Of a network of `transformers` its configuration too, so that the folder can be loaded without a factory.

    Example:
        >>> sc.save(model, "out/"); model = sc.load("out/")  # doctest: +SKIP
    """
    directory = Path(directory)
    architecture = Architecture.of(model)
    directory.mkdir(parents=True, exist_ok=True)
    write_bytes(directory / WEIGHTS_FILE, save(unshared(model.state_dict())))
    architecture.save(directory / ARCHITECTURE_FILE)
    if (config := config_of(model)) is not None:
        write_json(directory / CONFIG_FILE, config)


def load_model(
    directory: str | Path, factory: Factory | None = None, like: Architecture | None = None
) -> Any:
    """Rebuild the network that `save_model` wrote, in evaluation mode, on the CPU.

    Args:
        factory: builds the whole network, where it is not of a built-in family: its own class is then what
            comes back. Nothing is imported that the files name; a model class of `transformers` is looked up
            in that package, and built from `config.json`.
        like: an architecture of the same whole network, which then need not be built and traced again.

    Raises:
        InputError: where a file is missing, damaged, or the two do not belong together; weights are compared
            with the architecture by shape before anything is allocated.
    """
    directory = Path(directory)
    if like is not None and not like.is_family:  # it would be built and traced again
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
    return model.eval()


def _widths_in(path: Path, names: Sequence[str]) -> list[int]:
    """Read the widths in an architecture file that we wrote ourselves, of a network that is at hand."""
    groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
    widths = {group["name"]: group["width"] for group in groups}
    return [widths[name] for name in names]
