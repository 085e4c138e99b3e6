"""Folders whose folders are classes: what lies in them, and what is wrong where they are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from secateur.data.formats import hint
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import listed, plain

ByClass = dict[str, list[Path]]


def images_by_class(root: Folder) -> ByClass:
    """Each folder's images, its sub-folders' with them."""
    folders = [folder for folder in root.folders if not folder.documents]
    by_class = {folder.name: folder.all_images() for folder in folders}
    check_classes(by_class, root)
    for folder in folders:
        if not folder.count:
            kinds = folder.reasons()
            files = f" but {', '.join(f'{n} {kind}' for kind, n in kinds.items())}" if kinds else ""
            way = hint(kinds) or "add some, or remove the class"
            if way.startswith("for"):
                way = f"{way}, or remove the class"
            raise InputError(
                f"every class needs images, but class '{plain(folder.name)}' in {shown(root)} has "
                f"none{files}: {way}"
            )
    return by_class


def check_classes(by_class: Mapping[str, object], root: Folder) -> None:
    where = shown(root)
    if not by_class and root.images and root.reasons()[".cls"]:
        raise InputError(
            f"no class folders in {where}, which has images and .cls files as WebDataset shards do: these "
            f"are not read; sort the images into {where}/CLASS/"
        )
    if not by_class and root.images:
        raise InputError(
            f"no class folders in {where}, which holds {len(root.images)} images: sort them into "
            f"{where}/CLASS/, or put a labels.csv with the columns file,label beside "
            f"them{by_prefix(root.images)}"
        )
    if not by_class:
        files = root.reasons()
        way = hint(files)
        rest = f" (it has {', '.join(f'{n} {kind}' for kind, n in files.most_common(4))})" if files else ""
        raise InputError(
            f"no class folders in {where}{rest}: expected {where}/CLASS/*.jpg, one folder for each class"
            + (f"; {way}" if way else "")
        )
    if len(by_class) == 1:
        beside = ", ".join(f"{n} {kind}" for kind, n in root.reasons().most_common(4))
        way = "add one"
        if beside:  # labels, perhaps, in a file that is none of the lists that are read
            way += ", or put a labels.csv with the columns file,label beside it"
        raise InputError(
            f"there must be at least two classes, but {where} has only '{plain(next(iter(by_class)))}'"
            f"{f' (beside it: {beside})' if beside else ''}: {way}"
        )


def by_prefix(images: Sequence[Path]) -> str:
    """The classes that names seem to begin with (`cat.0.jpg`), as a hint."""
    prefixes = Counter(
        "".join(letter if letter.isalpha() else " " for letter in path.stem).split(" ")[0] for path in images
    )
    names = [name for name, count in prefixes.items() if name and count > 1]
    if not 2 <= len(names) <= len(images) // 2 or sum(prefixes[name] for name in names) < len(images):
        return ""
    return f" (names begin with {listed(sorted(names))}, but names are not taken as labels)"


def shown(folder: Folder) -> str:
    return plain(str(folder.path))
