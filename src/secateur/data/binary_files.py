"""Files of the first days: MNIST's IDX files and CIFAR's binary version, as arrays."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from secateur.data.arrays import MOST_BYTES, Pair, list_arrays
from secateur.data.labels import assign
from secateur.data.listing import Listing
from secateur.data.memory import check_memory
from secateur.data.names import groups_of, split_name
from secateur.errors import InputError, first_line
from secateur.records.found import listed, plain

_IDX = re.compile(r"^(?P<which>.*?)(?P<what>images|labels)[-.]idx[13][-.]ubyte(\.gz)?$", re.IGNORECASE)
_CIFAR = re.compile(r"^(data_batch_\d|test_batch|train|test)\.bin$")
CIFAR_SIDE = 32

# --- IDX ------------------------------------------------------------------------------------------------


def is_idx(path: Path) -> bool:
    """Whether a file is called as MNIST's are."""
    return _IDX.match(path.name) is not None


def read_idx(files: Sequence[Path], where: str) -> Listing:
    """Read `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and those of `t10k`, compressed or not.

    Raises:
        InputError: one of four is missing, several sets lie together, or a file is cut off.
    """
    pairs: dict[str, dict[str, Path]] = {}
    for path in files:
        if match := _IDX.match(path.name):
            pairs.setdefault(match["which"], {}).setdefault(match["what"].lower(), path)
    for which, found in pairs.items():
        if missing := {"images", "labels"} - set(found):
            raise InputError(
                f"IDX files come as images and labels, but {where} has no {missing.pop()} for "
                f"'{plain(which.rstrip('-._'))}': add that file"
            )
    groups = [group for group in groups_of(pairs) if group.complete]
    if len(groups) > 1:
        sets = listed([name for group in groups for name in group.names["train"]])
        raise InputError(
            f"one set of IDX files is read, but {where} has several ({sets}): keep one in the folder"
        )
    if groups:
        chosen = {split: names[0] for split, names in groups[0].names.items()}
    elif len(pairs) == 1 and split_name(next(iter(pairs))) is None:
        chosen = {"all": next(iter(pairs))}
    else:
        there: dict[str, str] = {}
        for which in pairs:
            if found_name := split_name(which):
                there[found_name.split] = which
        chosen = assign(there or {"test": ""}, where)
    splits = {split: [_idx_pair(pairs[which])] for split, which in chosen.items()}
    return list_arrays(splits, where)


def _idx_pair(files: Mapping[str, Path]) -> Pair:
    return Pair(_idx(files["images"], 3), _idx(files["labels"], 1), files["images"].name)


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """One array of bytes: its header says how many."""
    try:
        open_file: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
        with open_file(path, "rb") as file:
            return _idx_content(file, dimensions, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{plain(str(path))} cannot be read ({first_line(error)}): fetch it again"
        ) from error


def _idx_content(file: IO[bytes], dimensions: int, path: Path) -> np.ndarray:
    header = file.read(4 + 4 * dimensions)
    shape = tuple(int.from_bytes(header[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions))
    size = int(np.prod(shape, dtype=object)) if shape else 0
    if header[:4] != bytes([0, 0, 8, dimensions]) or not 0 < size <= MOST_BYTES:
        raise InputError(
            f"{plain(str(path))} must be an IDX file of bytes in {dimensions} dimensions, but begins with "
            f"{header[:4].hex(' ') or 'nothing'} and sizes {shape}: fetch it again"
        )
    check_memory(2 * size, f"{plain(str(path))}: its {shape[0]:,} images", "keep fewer images")
    content = file.read(size)
    if len(content) < size:
        raise InputError(
            f"{plain(str(path))} is cut off: it has {len(content):,} of {size:,} bytes: fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


# --- CIFAR ----------------------------------------------------------------------------------------------


def is_cifar(path: Path) -> bool:
    """Whether a file is called as those of CIFAR's binary version are."""
    return _CIFAR.match(path.name) is not None


def read_cifar(files: Sequence[Path], where: str) -> Listing:
    """Read `cifar-10-batches-bin` or `cifar-100-binary`: a label or two, then 3072 bytes, for each image.

    Raises:
        InputError: a file's length is none of these.
    """
    fine = any(path.name in ("train.bin", "test.bin") for path in files)
    width = (2 if fine else 1) + 3 * CIFAR_SIDE**2
    splits: dict[str, list[Pair]] = {}
    for path in sorted(files):
        if path.stat().st_size % width or not path.stat().st_size:
            raise InputError(
                f"{plain(str(path))} must be a multiple of {width} bytes, as CIFAR's binary version is, "
                f"but has {path.stat().st_size:,}: fetch it again"
            )
        check_memory(2 * path.stat().st_size, f"{plain(str(path))}: its images", "keep fewer files")
        rows = np.fromfile(path, np.uint8).reshape(-1, width)
        images = rows[:, -3 * CIFAR_SIDE**2 :].reshape(-1, 3, CIFAR_SIDE, CIFAR_SIDE)
        split = "test" if path.name.startswith("test") else "train"
        splits.setdefault(split, []).append(Pair(images, rows[:, 1 if fine else 0], path.name))
    names = _cifar_names(files[0].parent / ("fine_label_names.txt" if fine else "batches.meta.txt"))
    return list_arrays(assign(splits, where), where, names)


def _cifar_names(path: Path) -> list[str] | None:
    """The classes' names, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError):
        return None
    return lines or None
