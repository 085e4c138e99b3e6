"""Images with targets that are no classes: which table, which images, which splits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secateur.data.contents import group_tables
from secateur.data.decode import Encoded
from secateur.data.held_tables import TableFile, cells, check_held, check_room, holds_images
from secateur.data.labels import assign, choose_column
from secateur.data.lists import Images, Labelled, Rows, check_beneath, lists_in, read_rows, splits_of
from secateur.data.names import split_of
from secateur.data.reading import Reading
from secateur.data.tables import file_beneath
from secateur.data.targets import Targets, targets_of
from secateur.data.tree import LISTS, TABLES, Folder, scan
from secateur.errors import InputError
from secateur.records.found import plain

_IMAGE_NAMES = ("image", "img", "images", "path", "file", "file_name", "filename")
_NO_TARGETS = ("index", "id", "width", "height")
_TRIED = 50

Columns = dict[str, dict[str, list[Any]]]  # name -> split -> values


@dataclass(frozen=True)
class Targeted:
    """Images and their targets, not decoded yet.

    Args:
        name: of the data set.
        files: what its content depends on.
        parts: split -> images, all of one class: the targets are beside them.
        targets: their targets, in the same order.
    """

    name: str
    files: tuple[Path, ...]
    parts: Mapping[str, Encoded]
    targets: Targets


def find_targeted(name: str, task: str, reading: Reading) -> Targeted:
    """Find images with targets.

    Raises:
        InputError: nothing that has them, or columns that are not clear.
    """
    path = Path(os.path.expanduser(name))
    if not name.strip() or not path.exists():
        raise InputError(
            f"--task {task} reads images with targets: a CSV or parquet file, or a folder with one; got "
            f"'{plain(name)}'"
        )
    if reading.skip_unreadable:
        raise InputError(
            f"--skip-unreadable is for classes, got --task {task}: remove the rows of what cannot be read"
        )
    if path.suffix.lower() in TABLES and path.is_file():
        return _of_tables({"all": [path]}, path.parent, path.stem, task, reading)
    root = scan(path if path.is_dir() else path.parent).root
    if path.is_file():
        if path.suffix.lower() not in LISTS:
            raise _without(path, task)
        found = _of_lists(root, Folder(root.path, lists=[path]), path.parent.resolve().name, task, reading)
        check_beneath((each for each in found.files if each != path), root.path, path)
        return found
    tables = sorted(table for folder in root.walk() for table in folder.tables)
    if tables:
        groups, _ = group_tables(tables, root.path)
        chosen = groups if "all" in groups else assign(groups, plain(str(root.path)))
        return _of_tables(chosen, root.path, path.resolve().name, task, reading)
    return _of_lists(root, root, path.resolve().name, task, reading)


def _without(path: Path, task: str) -> InputError:
    columns = "file,price" if task == "regression" else "file,label_a,label_b"
    return InputError(
        f"--task {task} needs targets for the images, from the columns of a CSV, JSON lines or parquet file, "
        f"but {plain(str(path))} has none: add one ({columns})"
    )


# Lists beside images


def _of_lists(root: Folder, lists: Folder, name: str, task: str, reading: Reading) -> Targeted:
    images = Images(root)
    labelled = _labelled(lists, images, task, reading)
    where = labelled[0].rows.where if len(labelled) == 1 else plain(str(root.path))
    numbered = [
        replace(one, labels=[f"{number} {row}" for row in range(len(one.rows.rows))])
        for number, one in enumerate(labelled)
    ]
    splits, _ = splits_of(numbered, root, where)
    splits = splits if "all" in splits else assign(splits, where)
    columns: Columns = {}
    for column in _columns(labelled[0], reading):
        values = [one.rows.column(column) for one in labelled]
        columns[column] = {
            split: [_taken(values, place) for _, place in pairs] for split, pairs in splits.items()
        }
    parts = {
        split: Encoded([path for path, _ in pairs], [0] * len(pairs), [plain(str(path)) for path, _ in pairs])
        for split, pairs in splits.items()
    }
    files = (*(one.rows.path for one in labelled), *(path for part in splits.values() for path, _ in part))
    return Targeted(name, files, parts, targets_of(columns, task, reading.label_column, where))


def _taken(values: Sequence[Sequence[str]], place: str) -> str:
    number, row = place.split()
    return values[int(number)][int(row)].strip()


def _labelled(lists: Folder, images: Images, task: str, reading: Reading) -> list[Labelled]:
    """The lists that name images; which of their columns are targets is not their matter."""
    paths = [*lists.lists, *(path for folder in lists.folders for path in folder.lists)]
    for path in paths:
        columns = _columns_of(read_rows(path, images.find), images, reading)
        if columns:
            found = lists_in(lists, images, replace(reading, label_column=columns[0])).labelled
            if found:
                return found
    raise _without(lists.path, task)


def _columns(labelled: Labelled, reading: Reading) -> list[str]:
    """The columns that could be targets: all but those that name images, splits and rows."""
    rows, images = labelled.rows, labelled.images[:_TRIED]

    def names_images(column: str) -> bool:
        tried = zip(rows.column(column)[:_TRIED], images, strict=True)
        own = [path is not None and _last(value) in (path.name, path.stem) for value, path in tried]
        return sum(own) * 2 > len(own)

    return [name for name in rows.columns if _may_be(name, rows, reading, names_images(name))]


def _columns_of(rows: Rows, images: Images, reading: Reading) -> list[str]:
    """The same of a list of which nothing is known yet; none where it names no images."""
    found = {
        name: any(images.find(value, rows) is not None for value in rows.column(name)[:_TRIED])
        for name in rows.columns
    }
    if not rows.rows or not any(found.values()):
        return []
    return [name for name in rows.columns if _may_be(name, rows, reading, found[name])]


def _last(value: str) -> str:
    """The last part of a path, as lists have it."""
    return value.strip().replace("\\", "/").rpartition("/")[2]


def _may_be(name: str, rows: Rows, reading: Reading, names_images: bool) -> bool:
    """Whether a column can hold targets: it was asked for, or says neither images, nor splits, nor rows."""
    if reading.label_column and name in [each.strip() for each in reading.label_column.split(",")]:
        return True
    return not names_images and not _is_idle(name, rows, reading)


def _is_idle(name: str, rows: Rows, reading: Reading) -> bool:
    """Whether a column numbers rows or says splits."""
    return (
        not name
        or name == reading.image_column
        or name.lower() in _NO_TARGETS
        or name.lower().startswith("unnamed:")
        or all(split_of(value) for value in rows.column(name))
    )


# Tables with images


def _of_tables(
    groups: Mapping[str, Sequence[Path]], root: Path, name: str, task: str, reading: Reading
) -> Targeted:
    where = plain(str(root))
    columns: Columns = {}
    parts = {}
    opened = {path: TableFile.opened(path) for paths in groups.values() for path in paths}
    check_room([(file, file.names) for file in opened.values()], where)
    for split, paths in groups.items():
        parts[split] = Encoded.joined(_part(opened[path], split, root, reading, columns) for path in paths)
    if any(len(values) < len(groups) for values in columns.values()):
        columns = {name: values for name, values in columns.items() if len(values) == len(groups)}
    files = tuple(path for paths in groups.values() for path in paths)
    return Targeted(name, files, parts, targets_of(columns, task, reading.label_column, where))


def _part(file: TableFile, split: str, root: Path, reading: Reading, columns: Columns) -> Encoded:
    """One table's images; its other columns are added to `columns`."""
    path, table = file.path, file.read(file.names)
    whose = f"table {plain(path.name)}"
    check_held([table], plain(str(path)))
    shown = ", ".join(f"{plain(field.name)} ({str(field.type).split('<')[0]})" for field in table.schema)
    possible = _image_columns(table.schema)
    image = choose_column(possible, reading.image_column, "image", whose, shown)
    found = cells(table[image], whose)
    names = [f"{plain(path.name)} row {row}" for row in range(len(found))]
    for other in table.schema.names:
        if other != image and other.lower() not in _NO_TARGETS:
            columns.setdefault(other, {}).setdefault(split, []).extend(cells(table[other], whose))
    images = [_image(cell, where, path.parent, root) for cell, where in zip(found, names, strict=True)]
    return Encoded(images, [0] * len(images), names)


def _image(cell: Any, where: str, folder: Path, root: Path) -> bytes | Path:
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if isinstance(content, str):
        content, path = None, content
    if content is None and not path:
        raise InputError(f"every row needs an image, but {where} has none: remove the row")
    return content if content is not None else file_beneath(str(path), where, folder, (root,))


def _image_columns(schema: Any) -> list[str]:
    """Columns of bytes; where there are none, texts that are called as images are."""
    found = [field.name for field in schema if holds_images(field.type)]
    return found or [field.name for field in schema if field.name.lower() in _IMAGE_NAMES]
