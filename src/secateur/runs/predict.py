"""Classes of images: files, folders and patterns in, one prediction for each image out.

Images are read in threads and predicted in batches, so that any number of photos takes little memory. What
cannot be read is named, and the others are predicted.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from secateur.architecture.opening import Factory
from secateur.data.formats import hint, is_hidden, left_out_because
from secateur.data.pixels import without_bombs
from secateur.data.preprocessing import why_unreadable
from secateur.errors import InputError
from secateur.records.ours import is_ours
from secateur.records.out import expanded
from secateur.runs.predictor import Predictor

BATCH = 64
"""Images that are decoded and predicted together."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image.

    Attributes:
        file: the image's path, or its place among those that were passed: "image 0".
        classes: the names, the most probable first; of regression the outputs' names, in order.
        probabilities: of each of `classes`, in [0, 1]; of regression the numbers.
        task: what they mean: of several labels each may hold, of one class exactly one does.
    """

    file: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    task: str

    @property
    def said(self) -> tuple[str, ...]:
        """The class; of several labels those from a probability of one half on; of regression none."""
        if self.task == "classification":
            return self.classes[:1]
        pairs = zip(self.classes, self.probabilities, strict=True)
        return tuple(name for name, share in pairs if share >= 0.5) if self.task == "multilabel" else ()

    def to_json(self, top: int) -> dict[str, Any]:
        """The prediction with its `top` classes, as plain values."""
        if self.task == "regression":
            return {"file": self.file, "outputs": dict(zip(self.classes, self.probabilities, strict=True))}
        pairs = zip(self.classes[:top], self.probabilities[:top], strict=True)
        found = [{"class": name, "probability": share} for name, share in pairs]
        if self.task == "multilabel":
            return {"file": self.file, "labels": list(self.said), "top": found}
        return {"file": self.file, **found[0], "top": found}


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be predicted, and why."""

    file: str
    why: str


def predict(
    network: Any,
    images: Any,
    *,
    factory: Factory | None = None,
    device: str = "auto",
    trusted: bool = False,
) -> list[Prediction]:
    """Predict images: `sc.predict`.

    Args:
        network: a folder, an exported file, or a network that `sc.load` gave.
        images: a path, a pattern or a folder, which is read with all below it; an image of Pillow; an array
            uint8 (H, W) or (H, W, C); or a sequence of these.
        factory: builds the network of a folder, where it is not of a built-in family.
        device: "cpu", "cuda", ...; "auto": the GPU where there is one. Of an exported file always the CPU.
        trusted: whether a `.c` file may be built and run: it is a program, whatever it says of itself.

    Returns:
        One for each image, in order.

    Raises:
        InputError: where the network does not say what it takes, or an image cannot be read.

    Example:
        >>> sc.predict("small/", "photo.jpg")[0].said  # doctest: +SKIP
        ('beach',)
    """
    predictor = Predictor.open(network, factory, device, trusted)
    several = isinstance(images, Sequence) and not isinstance(images, str | bytes)
    sources = [each for one in (images if several else [images]) for each in _sources(one)]
    found = list(predictions(predictor, sources))
    broken = [each for each in found if isinstance(each, Unreadable)]
    if broken:
        raise InputError(f"every image must be readable, but {broken[0].file} is not: {broken[0].why}")
    return [each for each in found if isinstance(each, Prediction)]


def _sources(image: Any) -> list[Any]:
    return list(images_at(image)) if isinstance(image, str | Path) else [image]


def images_at(named: str | Path) -> Iterator[Path]:
    """Find the images that a path means: itself; all below a folder; those that a pattern finds.

    Of a folder those are taken that Pillow opens, or that are called like images; hidden ones, and folders
    that Secateur wrote, are passed over.

    Raises:
        InputError: where there is nothing of that name, or no image in the folder.
    """
    path = expanded(named, "an image")
    if path.is_dir():
        yield from _below(path)
    elif path.exists():
        yield path
    else:
        yield from _matching(path)


def _matching(pattern: Path) -> Iterator[Path]:
    found = sorted(glob.glob(str(pattern), recursive=True)) if glob.has_magic(str(pattern)) else []
    if not found:
        raise InputError(
            f"no image at '{pattern}': name a file, a folder, or a pattern such as 'photos/*.jpg'"
        )
    for name in found:
        if not os.path.isdir(name):
            yield Path(name)


def _below(folder: Path) -> Iterator[Path]:
    """Find the images in a folder and all below it, in order; links to folders are not followed."""
    count, left_out = 0, set()
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not is_hidden(Path(name)) and not is_ours(Path(root, name))
        )
        for path in (Path(root, name) for name in sorted(files) if not is_hidden(Path(name))):
            if reason := left_out_because(path):
                left_out.add(reason)
            else:
                count += 1
                yield path
    if not count:
        ways = hint(left_out)
        raise InputError(f"no image that can be read lies in '{folder}'" + (f": {ways}" if ways else ""))


def predictions(
    predictor: Predictor, sources: Iterable[Any], top: int | None = None
) -> Iterator[Prediction | Unreadable]:
    """Predict images batch by batch, in order.

    Args:
        top: so many classes are kept of each image, besides those that it is said to have; None: all.
    """
    names = ((source, _name_of(source, i)) for i, source in enumerate(sources))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while batch := list(islice(names, BATCH)):
            with without_bombs():
                pixels = list(pool.map(lambda each: _pixels(predictor, *each), batch))
            readable = [each for each in pixels if not isinstance(each, Unreadable)]
            scores = iter(predictor.probabilities(np.stack(readable)) if readable else ())
            for (_, name), found in zip(batch, pixels, strict=True):
                yield found if isinstance(found, Unreadable) else _ranked(predictor, name, next(scores), top)


def _name_of(source: Any, index: int) -> str:
    return str(source) if isinstance(source, str | Path) else f"image {index}"


def _pixels(predictor: Predictor, source: Any, name: str) -> np.ndarray | Unreadable:
    """uint8 (C, H, W) of one image, or why it has none."""
    try:
        return predictor.preprocessing.raw(source)
    except Exception as error:  # Pillow's decoders raise whatever they meet in a broken file
        return Unreadable(name, why_unreadable(error))


def _ranked(predictor: Predictor, name: str, scores: Tensor, top: int | None) -> Prediction:
    """The most probable class first; numbers as they are."""
    task = predictor.task.name
    if task == "regression":
        return Prediction(name, predictor.classes, tuple(scores.tolist()), task)
    if top is not None and task == "multilabel":
        top = max(top, int((scores >= 0.5).sum()))
    order = scores.argsort(descending=True, stable=True)[:top]
    classes = tuple(predictor.classes[i] for i in order.tolist())
    return Prediction(name, classes, tuple(scores[order].tolist()), task)
