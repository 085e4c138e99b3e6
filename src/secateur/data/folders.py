"""Folders of image files, by what `layout` decided, or by what a list beside the images says."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from secateur.data.decode import Encoded
from secateur.data.labels import assign, check_complete, check_labels, check_spelling, number_labels, said_of
from secateur.data.layout import Layout, lay_out, lay_out_as_told
from secateur.data.listing import Listing
from secateur.data.lists import Images, Labelled, Lists, check_beneath, lists_in, splits_of
from secateur.data.reading import Reading
from secateur.data.tree import Folder
from secateur.errors import InputError
from secateur.records.found import plain

UNLABELLED = "images without a label"


def list_folder(root: Folder, reading: Reading) -> tuple[Listing, list[Path]]:
    """List the images of each split; nothing is decoded. Besides, the lists that labels were taken from.

    A sub-folder of a class is part of the class.

    Raises:
        InputError: no class folders and no list, one class only, a class without images, a missing split,
            splits whose classes differ, or a folder that can be read in two ways.
    """
    if reading.classes_in is not None or (reading.splits and not _names_lists(reading.splits)):
        return _of_layout(lay_out_as_told(root, reading.splits, reading.classes_in)), []
    images = Images(root)
    lists = lists_in(root, images, reading)
    try:
        layout = lay_out(root)
    except InputError as error:
        if not lists.labelled:
            raise _with_lists(error, lists) from None
        layout = None
    if layout is None or reading.label_column is not None:
        return _of_lists(lists, root, images)
    _check_agreement(layout, lists, root)
    listing = _of_layout(layout)
    return listing, []


def list_by(path: Path, root: Folder, reading: Reading) -> tuple[Listing, list[Path]]:
    """List the images that one list names."""
    images = Images(root)
    alone = Folder(root.path, lists=[path])
    lists = lists_in(alone, images, reading)
    if not lists.labelled:
        raise InputError(
            f"a list must name images and say their labels, but {plain(str(path))} does not "
            f"({lists.others[path]}): it needs columns such as file,label, and the images in its folder"
        )
    listing, used = _of_lists(lists, root, images)
    for part in listing.splits.values():
        check_beneath((each for each in part.images if isinstance(each, Path)), root.path, path)
    return listing, used


def _names_lists(splits: Mapping[str, str]) -> bool:
    return any(Path(name).suffix for name in splits.values())


def _with_lists(error: InputError, lists: Lists) -> InputError:
    """Why the lists that there are did not help, where labels are missing."""
    if not lists.others:
        return error
    why = "; ".join(f"{plain(path.name)}: {reason}" for path, reason in list(lists.others.items())[:3])
    return InputError(f"{error} ({why})")


def _check_agreement(layout: Layout, lists: Lists, root: Folder) -> None:
    """Refuse a list whose labels are others than the folders' names."""
    folder_of = {
        path: name
        for by_class in layout.splits.values()
        for name, paths in by_class.items()
        for path in paths
    }
    for one in lists.labelled:
        if one.named and not _agrees(one, folder_of):
            raise InputError(
                f"labels must come from folders or from a list, but {plain(str(root.path))} has class "
                f"folders, and {plain(one.rows.path.name)} says others: --label-column {plain(one.column)} "
                "takes the list's, --classes-in . the folders'"
            )


def _agrees(one: Labelled, folder_of: Mapping[Path, str]) -> bool:
    """Whether every class of a list is one folder, whatever it is called."""
    labelled = zip(one.images, one.labels, strict=True)
    pairs = {(folder_of[path], label) for path, label in labelled if path and path in folder_of}
    if None in one.images:
        return False  # rows that name no image, or several, agree with nothing
    return len({folder for folder, _ in pairs}) == len(pairs) == len({label for _, label in pairs})


# --- from a layout --------------------------------------------------------------------------------------


def _of_layout(layout: Layout) -> Listing:
    where = layout.where["all"] if "all" in layout.where else _common(layout.where.values())
    splits = layout.splits if "all" in layout.splits else assign(layout.splits, where)
    folders = {split: layout.where.get(split, layout.where.get("val", where)) for split in splits}
    classes = _common_classes(splits, folders)
    encoded = {split: _encoded(by_class, classes) for split, by_class in splits.items()}
    remarks = (*layout.remarks, *said_of(layout.splits))
    return Listing(encoded, tuple(map(plain, map(_readable, classes))), dict(layout.left_out), remarks)


def _common(folders: Iterable[str]) -> str:
    found = list(folders)
    return os.path.commonpath(found) if found else ""


def _common_classes(
    splits: Mapping[str, Mapping[str, Sequence[Path]]], folders: Mapping[str, str]
) -> tuple[str, ...]:
    first, *others = splits
    classes = tuple(sorted(splits[first]))
    check_spelling({name for by_class in splits.values() for name in by_class}, _common(folders.values()))
    for split in others:
        only = sorted(set(splits[split]) ^ set(classes))
        if only:
            has, lacks = (first, split) if only[0] in classes else (split, first)
            more = f" (and {len(only) - 1} others)" if len(only) > 1 else ""
            raise InputError(
                f"splits must have the same classes, but '{plain(only[0])}'{more} is in {folders[has]} and "
                f"not in {folders[lacks]}: add or remove it"
            )
    for split, by_class in splits.items():
        check_complete(split, [name for name in classes if by_class[name]], classes, folders[split])
    return classes


def _readable(name: str) -> str:
    """A folder's name as text, also where its bytes are none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _encoded(by_class: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Encoded:
    pairs = [(path, k) for k, name in enumerate(classes) for path in by_class[name]]
    paths = [path for path, _ in pairs]
    return Encoded(paths, [k for _, k in pairs], [plain(str(path)) for path in paths])


# --- from lists -----------------------------------------------------------------------------------------


def _of_lists(lists: Lists, root: Folder, images: Images) -> tuple[Listing, list[Path]]:
    where = plain(str(root.path))
    if not lists.labelled:
        raise _with_lists(
            InputError(
                f"--label-column names a column of a list, but {where} has no list that names its images"
            ),
            lists,
        )
    found, remarks = splits_of(lists.labelled, root, where)
    used = [one.rows.path for one in lists.labelled]
    files = ", ".join(plain(str(path.relative_to(root.path))) for path in used)
    splits = found if "all" in found else assign(found, where)
    numbers, classes = number_labels(
        {split: [label for _, label in pairs] for split, pairs in splits.items()}, files
    )
    check_labels(numbers, classes, files)
    encoded = {
        split: Encoded([path for path, _ in pairs], numbers[split], [plain(str(path)) for path, _ in pairs])
        for split, pairs in splits.items()
    }
    left_out: Counter[str] = Counter()
    if unlabelled := len(images.paths) - sum(len(part.labels) for part in encoded.values()):
        left_out[UNLABELLED] = unlabelled
    said = [f"labels are those of {files} ({plain(lists.labelled[0].column)})", *remarks, *said_of(found)]
    unused = [plain(path.name) for path, why in lists.others.items() if why == "it has no labels"]
    if unused:
        said.append(f"{', '.join(unused)} has no labels and was not used")
    return Listing(encoded, classes, dict(left_out), tuple(said)), used
