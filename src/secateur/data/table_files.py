"""Tables below a folder: which are of which split, and whether they are the data at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secateur.data.layout import lay_out, through_wrappers
from secateur.data.names import SplitName, split_name
from secateur.data.tables import may_have_images
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import listed, plain


def group_tables(tables: Sequence[Path], root: Path) -> tuple[dict[str, list[Path]], int]:
    """Tables by split, or all as "all"; and how many name no split where others do.

    A file's own name says the split, else the nearest folder's.

    Raises:
        InputError: several sets lie together, or names say splits in ways that do not go together.
    """
    named = {path: _split_said(path.relative_to(root)) for path in tables}
    groups: dict[tuple[str, ...], dict[str, list[Path]]] = {}
    for path, found in named.items():
        if found:
            groups.setdefault(found.rest, {}).setdefault(found.split, []).append(path)
    complete = {rest: group for rest, group in groups.items() if "train" in group and len(group) > 1}
    where = plain(str(root))
    if len(complete) > 1 or (
        not complete and {"train", "test"} <= {split for each in groups.values() for split in each}
    ):
        files = listed(
            [str(paths[0].relative_to(root)) for each in groups.values() for paths in each.values()]
        )
        raise InputError(
            f"tables must be one set with one name for each split, but {where} has {files}: choose with "
            f"--splits train=FILE,test=FILE"
        )
    chosen = next(iter(complete.values())) if complete else groups.get((), {})
    if not chosen:
        return {"all": list(tables)}, 0
    for split, paths in chosen.items():
        folders = {path.parent for path in paths}
        if len(folders) > 1:
            several = listed([str(folder.relative_to(root)) for folder in sorted(folders)])
            raise InputError(
                f"tables of one split must lie in one folder, but '{split}' of {where} is in {several}: "
                "pass one configuration's folder, or choose with --splits train=DIR,test=DIR"
            )
    return chosen, len(tables) - sum(map(len, chosen.values()))


def _split_said(path: Path) -> SplitName | None:
    for name in (path.stem, *reversed(path.parent.parts)):
        if found := split_name(name):
            return found
    return None


def beside_class_folders(root: Folder, tables: Sequence[Path]) -> bool:
    """Whether a folder has class folders, and tables that are something else.

    Raises:
        InputError: it has class folders, and tables of images.
    """
    if not root.count:
        return False
    try:
        lay_out(through_wrappers(root))
    except InputError:
        return False
    with_images = [path for path in tables if may_have_images(path)]
    if with_images:
        raise InputError(
            f"a folder must have class folders or tables of images, but {plain(str(root.path))} has both: "
            f"--classes-in . takes the folders, --data {plain(str(with_images[0]))} that table alone"
        )
    return True
