"""Where a data set comes from: the embedded digits, `$SECATEUR_DATA`, a folder, a file, or the Hub."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load

from secateur.data.contents import Source, lazily, source_of
from secateur.data.dataset import Split
from secateur.data.decode import Decoded
from secateur.data.hub import HUB, fetch, hub_repository, read_fetched
from secateur.data.pixels import PixelFormat
from secateur.data.reading import Reading
from secateur.data.splits import hold_out_test
from secateur.errors import InputError, require_packages, unknown
from secateur.records.found import plain

DATASETS = ("digits", "cifar10", "tiny-imagenet")
"""The data sets that go by a name of their own."""

DIGITS_TEST = 500
_SHOWN = 120  # characters of a name in messages

_ELSEWHERE = {
    "mnist": "hf:ylecun/mnist",
    "fashionmnist": "hf:zalando-datasets/fashion_mnist",
    "cifar100": "hf:uoft-cs/cifar100",
    "svhn": "hf:ufldl-stanford/svhn",
    "food101": "hf:ethz/food101",
    "imagenet": "hf:ILSVRC/imagenet-1k",
    "imagenet1k": "hf:ILSVRC/imagenet-1k",
}
"""Sets that people ask for by name, and what they are called on the Hub."""


def find_source(name: str, reading: Reading | None = None) -> Source:
    """The source of any data set but the embedded one.

    Raises:
        InputError: no such data set, folder or file, or the Hub has not got it or cannot be reached.
    """
    reading = reading or Reading()
    if not name.strip():
        raise InputError(
            f"data must be a name, a folder or a file, got an empty text: one of {', '.join(DATASETS)}"
        )
    if name in HUB:
        return _named(name, reading)
    if name.startswith("hf:"):
        return _of_hub(hub_repository(name), name, reading)
    path = Path(os.path.expanduser(name))
    if os.path.exists(path):  # not `Path.exists`, which raises where a name is too long
        return source_of(path, path.resolve().name, reading)
    raise _not_found(name)


def folder_of(name: str) -> Path | None:
    """Find the folder that data of this name are read from; None where they are no folder here."""
    known = os.environ.get("SECATEUR_DATA")
    if name in DATASETS:
        path = Path(known, name) if known and name != "digits" else None
    else:
        path = Path(os.path.expanduser(name))
    return path if path is not None and path.is_dir() else None


def _named(name: str, reading: Reading) -> Source:
    """A set that has a name here: `$SECATEUR_DATA` first, then the Hub."""
    folder = Path(os.environ.get("SECATEUR_DATA", ""), name)
    if "SECATEUR_DATA" not in os.environ or not folder.is_dir():
        return _of_hub(HUB[name], name, reading)
    source = source_of(folder, name, reading)
    return replace(source, remarks=(*source.remarks, *not_the_folder(name, f"$SECATEUR_DATA/{name}")))


def not_the_folder(name: str, taken: str) -> tuple[str, ...]:
    """What is to be said where the working folder has a folder of the same name."""
    if not Path(name).is_dir():
        return ()
    return (f"this is {taken}, not the folder ./{name} here",)


def _of_hub(repository: str, name: str, reading: Reading) -> Source:
    """A data set of the Hugging Face Hub, fetched or found in its cache."""
    here = f"./{name}" if Path(name).is_dir() else ""
    found, files = fetch(repository, name, here)
    read = lazily(lambda: read_fetched(found, repository, reading))
    return Source(name, files, read, remarks=not_the_folder(name, f"{repository} of the Hub") if here else ())


def _not_found(name: str) -> InputError:
    shown = plain(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
    if re.match(r"^[a-z][a-z0-9+.-]*://", name, re.IGNORECASE):
        return InputError(
            f"data are not fetched from addresses, got '{shown}': fetch it, then pass the folder or file"
        )
    plainly = re.sub(r"[-_. ]", "", name).lower()
    known = {re.sub(r"[-_]", "", one): one for one in DATASETS}
    if plainly in known:
        return InputError(
            f"unknown data set '{shown}': did you mean '{known[plainly]}'? A folder is written ./{shown}"
        )
    if plainly in _ELSEWHERE:
        return InputError(
            f"unknown data set '{shown}': pass {_ELSEWHERE[plainly]} to have it from the Hugging Face Hub, "
            "or a folder that has it"
        )
    if "/" in name or os.sep in name or name.startswith((".", "~")):
        from_hub = (
            "" if name.count("/") != 1 or name.startswith((".", "~", "/")) else f"; of the Hub, hf:{shown}"
        )
        return InputError(
            f"data folder '{shown}' does not exist: pass a folder or one of {', '.join(DATASETS)}{from_hub}"
        )
    return InputError(f"{unknown('data set', shown, DATASETS)}, a folder, or hf:owner/name")


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
    if wanted == PixelFormat(1, 8, 8):
        return images
    require_packages("PIL", what="resizing images")
    from PIL import Image

    resized = [wanted.pixels(Image.fromarray(image)) for image in images[:, 0].numpy()]
    return torch.from_numpy(np.stack(resized))
