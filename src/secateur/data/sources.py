"""Where a data set comes from: the embedded digits, `$SECATEUR_DATA`, a folder, or the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load

from secateur.data.dataset import Split
from secateur.data.decode import Decoded, Encoded
from secateur.data.folders import read_folder
from secateur.data.pixels import PixelFormat
from secateur.data.splits import hold_out_test
from secateur.data.tables import from_dataset_dict, read_parquet
from secateur.errors import InputError, unknown

DATASETS = ("digits", "cifar10", "tiny-imagenet")
DIGITS_TEST = 500

_HUB = {"cifar10": "uoft-cs/cifar10", "tiny-imagenet": "zh-plus/tiny-imagenet"}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Source:
    """Images that were found and not read yet.

    Args:
        name: what the data set is called ("cifar10", a folder's basename, "hf:owner/name").
        files: what its content depends on; empty if no file tells (nothing is cached then).
        read: lists the encoded images of each split, and the class names.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], tuple[dict[str, Encoded], tuple[str, ...]]]


def find_source(name: str) -> Source:
    """The source of any data set but the embedded one.

    Raises:
        InputError: no such data set or folder, or the Hub has not got it or cannot be reached.
    """
    if name in _HUB:
        folder = Path(os.environ.get("SECATEUR_DATA", ""), name)
        in_data = "SECATEUR_DATA" in os.environ and folder.is_dir()
        return folder_source(folder, name) if in_data else hub_source(_HUB[name], name)
    if name.startswith("hf:"):
        return hub_source(_hub_repository(name), name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder_source(folder, folder.resolve().name)
    raise _not_found(name, folder)


def _not_found(name: str, folder: Path) -> InputError:
    if folder.exists():
        return InputError(f"a data set is a folder, but '{name}' is a file: pass the folder that holds it")
    if "/" in name or os.sep in name or name.startswith((".", "~")):
        return InputError(
            f"data folder '{name}' does not exist: pass a folder or one of {', '.join(DATASETS)}"
        )
    return InputError(f"{unknown('data set', name, DATASETS)}, a folder, or hf:owner/name")


def _hub_repository(name: str) -> str:
    repository = name.removeprefix("hf:")
    if not _HUB_NAME.fullmatch(repository):
        raise InputError(f"a data set of the Hub is written hf:owner/name, not '{name}'")
    return repository


def folder_source(folder: Path, name: str) -> Source:
    """Parquet files if the folder (or a folder in it) has any, else image files."""
    parquet = sorted(
        path
        for pattern in ("*.parquet", "*/*.parquet")
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if parquet:
        return Source(name, tuple(parquet), lambda: read_parquet(parquet, str(folder)))
    splits, classes = read_folder(folder)
    files = tuple(Path(image) for part in splits.values() for image in part.names)
    return Source(name, files, lambda: (splits, classes))


def hub_source(repository: str, name: str) -> Source:
    """A data set of the Hugging Face Hub, fetched (or found in its cache) by the `datasets` library.

    Raises:
        InputError: the library is missing, or it cannot fetch the data set.
    """
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"'{name}' comes from the Hugging Face Hub: run `pip install 'secateur[hub]'`, or "
            f"{_instead(name)}"
        ) from error
    try:
        found = datasets.load_dataset(repository)
    except Exception as error:  # the library passes on what its network, file and script layers raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"the Hugging Face Hub did not give '{repository}' ({reason}): check name and network, or "
            f"{_instead(name)}"
        ) from error
    files = {Path(file["filename"]) for part in found.values() for file in part.cache_files}
    return Source(name, tuple(sorted(files)), lambda: from_dataset_dict(found, repository))


def _instead(name: str) -> str:
    if name in _HUB:
        return f"set SECATEUR_DATA to a folder that has the folder '{name}' with its parquet or image files"
    return "pass a folder with its parquet files"


def load_digits(image_size: int | None = None, pixels: PixelFormat | None = None) -> Decoded:
    """The handwritten digits that come with this package: 1797 grey images of 8x8 pixels, 10 classes.

    Test split: 500 images, stratified, always the same. The file holds scikit-learn's `load_digits`
    (Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits", CC BY 4.0), its levels
    0..16 scaled to 0..255; `tests/test_data_sources.py` makes it and compares it with its source.
    """
    content = load(resources.files("secateur.data").joinpath("digits.safetensors").read_bytes())
    wanted = pixels or PixelFormat(1, image_size or 8, image_size or 8)
    images = _made(content["images"], wanted)
    classes = tuple(str(digit) for digit in range(10))
    test, train = hold_out_test(Split(images, content["labels"]), classes, DIGITS_TEST)
    return Decoded(
        torch.cat([train.images, test.images]),
        torch.cat([train.labels, test.labels]),
        {"train": len(train), "test": len(test)},
        classes,
        smallest=(8, 8),
        largest=(8, 8),
    )


def _made(images: torch.Tensor, wanted: PixelFormat) -> torch.Tensor:
    """The digits in another format; in their own they are what is stored."""
    from PIL import Image

    if wanted == PixelFormat(1, 8, 8):
        return images
    resized = [wanted.pixels(Image.fromarray(image)) for image in images[:, 0].numpy()]
    return torch.from_numpy(np.stack(resized))
