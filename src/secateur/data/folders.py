"""Folders of image files: `DIR/train/CLASS/*.jpg` with `DIR/test` or `DIR/valid`, or `DIR/CLASS/*.jpg`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from secateur.data.decode import Encoded
from secateur.data.layout import assign, check_complete, split_of
from secateur.errors import InputError

EXTENSIONS = frozenset(
    [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".jp2"]
)


def read_folder(root: Path) -> tuple[dict[str, Encoded], tuple[str, ...]]:
    """List the images of each split; nothing is decoded.

    A sub-folder of a class is part of the class. Hidden files, files that are no images and, beside
    `train`, folders that name no split are left out.

    Returns:
        Images of "train", "test" and perhaps "val", or of "all" if `root` holds class folders; the sorted
        class names.

    Raises:
        InputError: no class folders, one class only, a class without images, a missing split, or splits
            whose classes differ.
    """
    roots = _split_roots(root)
    files = {split: _images_by_class(folder) for split, folder in roots.items()}
    classes = _common_classes(files, roots)
    return {split: _encoded(by_class, classes) for split, by_class in files.items()}, classes


def _split_roots(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in _visible_folders(root):
        split = split_of(folder.name)
        if split in found:
            raise InputError(
                f"one folder per split, but {found[split]} and {folder} are both '{split}': merge them"
            )
        if split:
            found[split] = folder
    return assign(found, str(root)) if found else {"all": root}


def _visible_folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images_by_class(folder: Path) -> dict[str, list[Path]]:
    classes = _visible_folders(folder)
    if not classes:
        raise InputError(
            f"no class folders in {folder}: expected {folder}/CLASS/*.jpg, one folder for each class"
        )
    if len(classes) == 1:
        raise InputError(
            f"there must be at least two classes, but {folder} has only '{classes[0].name}': add one"
        )
    return {path.name: _images_below(path) for path in classes}


def _images_below(folder: Path) -> list[Path]:
    images = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        images += [Path(parent, name) for name in files if _is_image(name)]
    return sorted(images)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def _common_classes(
    files: Mapping[str, Mapping[str, Sequence[Path]]], roots: Mapping[str, Path]
) -> tuple[str, ...]:
    first, *others = files
    classes = tuple(sorted(files[first]))
    for split in others:
        only = sorted(set(files[split]) ^ set(classes))
        if only:
            has, lacks = (first, split) if only[0] in classes else (split, first)
            raise InputError(
                f"splits must have the same classes, but '{only[0]}' is in {roots[has]} and not in "
                f"{roots[lacks]}: add or remove it"
            )
    for split, by_class in files.items():
        check_complete(split, [name for name in classes if by_class[name]], classes, str(roots[split]))
    return classes


def _encoded(by_class: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Encoded:
    pairs = [(path, k) for k, name in enumerate(classes) for path in by_class[name]]
    paths = [path for path, _ in pairs]
    return Encoded(paths, [k for _, k in pairs], [str(path) for path in paths])
