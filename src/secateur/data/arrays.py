"""Images that lie in files as arrays: NumPy's .npz, MNIST's IDX files, CIFAR's binary files.

Each image is handed on as a PGM or PPM, a header of a few bytes before the pixels, so that arrays and files
go the same way from there.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.data.decode import Encoded
from secateur.data.labels import assign, check_labels, number_labels
from secateur.data.listing import Listing
from secateur.data.memory import EACH_BYTES, check_memory
from secateur.data.names import split_name, tokens
from secateur.errors import InputError, first_line
from secateur.records.found import listed, plain

MOST_BYTES = 2**33  # of one array, in memory
_LESS = "keep fewer images, or write them as files"
_BROKEN = (
    *(OSError, ValueError, EOFError, LookupError, TypeError, SyntaxError, NotImplementedError, RuntimeError),
    *(MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_IMAGES_WORDS = frozenset(["x", "image", "images", "data", "img", "imgs", "pixels", "arr"])
_LABEL_WORDS = frozenset(["y", "label", "labels", "target", "targets", "class", "classes"])


@dataclass(frozen=True)
class Pair:
    """Images and labels of one split, as arrays of any shape; `name` for messages."""

    images: np.ndarray
    labels: np.ndarray
    name: str


def list_arrays(
    pairs: Mapping[str, Sequence[Pair]], where: str, names: Sequence[str] | None = None
) -> Listing:
    """Check arrays and hand them on as images.

    Args:
        pairs: of each split.
        names: of the classes, where the source says them.

    Raises:
        InputError: shapes or kinds that are no images and their labels.
    """
    remarks: list[str] = []
    each_pair = [pair for each in pairs.values() for pair in each]
    taken = sum(pair.images.size + len(pair.images) * EACH_BYTES for pair in each_pair if pair.images.ndim)
    check_memory(taken, f"{where}: its images", _LESS)
    values = {split: [v for pair in each for v in _label_values(pair)] for split, each in pairs.items()}
    numbers, classes = number_labels(values, where)
    if names is not None:
        classes, numbers = (
            tuple(names),
            {split: [int(str(v)) for v in each] for split, each in values.items()},
        )
    check_labels(numbers, classes, where)
    splits = {}
    for split, each in pairs.items():
        images = [image for pair in each for image in _portable(pair, remarks)]
        titles = [f"{plain(pair.name)} number {i}" for pair in each for i in range(len(pair.labels))]
        splits[split] = Encoded(images, numbers[split], titles)
    return Listing(splits, classes, {}, tuple(dict.fromkeys(remarks)))


def _label_values(pair: Pair) -> list[object]:
    """One for each image; (N, 1) is taken as (N,), one-hot rows as their one."""
    labels = pair.labels
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.size and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all():
        labels = labels.argmax(1)
    if labels.ndim != 1 or len(labels) != len(pair.images):
        raise InputError(
            f"labels must be one for each image, but {plain(pair.name)} has labels of shape "
            f"{pair.labels.shape} for images of shape {pair.images.shape}: one class number or name an "
            "image is read"
        )
    return labels.tolist()


def _portable(pair: Pair, remarks: list[str]) -> list[bytes]:
    """Every image as the content of a PGM or PPM file."""
    images = _channels_last(pair)
    images = _as_bytes(images, pair.name, remarks)
    height, width, channels = images.shape[1:]
    header = f"P{'6' if channels == 3 else '5'} {width} {height} 255\n".encode()
    return [header + image.tobytes() for image in images]


def _channels_last(pair: Pair) -> np.ndarray:
    """(N, H, W, C), C = 1 or 3."""
    images = pair.images
    if images.ndim == 3:
        return images[..., None]
    first, last = (
        images.ndim == 4 and images.shape[1] in (1, 3),
        images.ndim == 4 and images.shape[3] in (1, 3),
    )
    if first == last or 0 in images.shape:
        raise InputError(
            "images must be (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, but "
            f"{plain(pair.name)} has {images.shape}: reshape them"
        )
    return images.transpose(0, 2, 3, 1) if first else images


def _as_bytes(images: np.ndarray, name: str, remarks: list[str]) -> np.ndarray:
    """uint8; numbers from 0 to 1 are scaled, whole ones up to 255 kept."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == bool:
        return images.astype(np.uint8) * 255
    low, high = (float(images.min()), float(images.max())) if images.dtype.kind in "iuf" else (np.nan, np.nan)
    if images.dtype.kind == "f" and low >= 0 and high <= 1:
        remarks.append("pixels from 0 to 1 are read as 0 to 255")
        return np.rint(images * 255).astype(np.uint8)
    if low >= 0 and high <= 255 and (images.dtype.kind in "iu" or np.array_equal(images, np.rint(images))):
        return images.astype(np.uint8)
    raise InputError(
        f"pixels must be 0 to 255, or 0 to 1, but {plain(name)} has {images.dtype} from {low:g} to "
        f"{high:g}: scale them, and save them as uint8"
    )


# --- .npz -----------------------------------------------------------------------------------------------


def read_npz(path: Path) -> Listing:
    """Read an .npz of `x_train`, `y_train`, `x_test`, `y_test` (or `train_images`, ...), or of two arrays.

    Raises:
        InputError: not an .npz, arrays that are pickled objects, or names that do not tell.
    """
    where = plain(str(path))
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            shapes = _npz_shapes(path)
            names = _npz_names(list(file.files), where)
            _check_size(shapes, where)
            check_memory(2 * sum(shapes.values()), f"{where}: its arrays", _LESS)
            pairs = {split: [Pair(file[x], file[y], f"{path.name} {x}")] for split, (x, y) in names.items()}
    except InputError:
        raise
    except _BROKEN as error:
        pickled = "allow_pickle" in str(error) and zipfile.is_zipfile(path)
        broken = "it is no zip of arrays" if not zipfile.is_zipfile(path) else first_line(error)
        reason = "it holds pickled objects" if pickled else broken or type(error).__name__
        raise InputError(
            f"{where} must be arrays of numbers as numpy.savez writes them, but cannot be read "
            f"({plain(reason)}): save images as uint8 and labels as whole numbers"
        ) from error
    return list_arrays(pairs, where)


def _npz_shapes(path: Path) -> dict[str, int]:
    """The bytes that each array would take."""
    with zipfile.ZipFile(path) as file:
        return {each.filename: each.file_size for each in file.infolist()}


def _check_size(sizes: Mapping[str, int], where: str) -> None:
    name, size = max(sizes.items(), key=lambda item: item[1])
    if size > MOST_BYTES:
        raise InputError(
            f"an array may take 8 GiB, but {plain(name)} of {where} takes {size:,} bytes: write image files"
        )


def _npz_names(arrays: Sequence[str], where: str) -> dict[str, tuple[str, str]]:
    """The arrays of images and labels of each split, by the words in their names."""
    images = {
        name for name in arrays if set(tokens(name)) & _IMAGES_WORDS and not set(tokens(name)) & _LABEL_WORDS
    }
    labels = {name for name in arrays if set(tokens(name)) & _LABEL_WORDS}
    by_split: dict[str, list[list[str]]] = {}
    for index, group in enumerate((images, labels)):
        for name in sorted(group):
            found = split_name(name)
            by_split.setdefault(found.split if found else "all", [[], []])[index].append(name)
    if any(len(x) != 1 or len(y) != 1 for x, y in by_split.values()) or not by_split:
        raise InputError(
            f"an .npz must have x_train, y_train, x_test and y_test, or images and labels, but {where} has "
            f"{listed(list(arrays), 12) or 'nothing'}: rename its arrays"
        )
    pairs = {split: (x[0], y[0]) for split, (x, y) in by_split.items()}
    return pairs if set(pairs) == {"all"} else assign({k: v for k, v in pairs.items() if k != "all"}, where)
