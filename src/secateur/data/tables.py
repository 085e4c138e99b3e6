"""Tables of images and labels: parquet and arrow files, and data sets of the `datasets` library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.data.class_names import class_labels, names_of
from secateur.data.decode import Encoded
from secateur.data.held_tables import TableFile, cells, check_held, check_room, holds_images, value_kind
from secateur.data.labels import (
    LABEL_NAMES,
    assign,
    check_labelled,
    check_labels,
    choose_column,
    number_labels,
)
from secateur.data.listing import Listing
from secateur.data.names import split_of, tokens
from secateur.data.reading import Reading
from secateur.errors import InputError, require_packages
from secateur.records.found import plain

if TYPE_CHECKING:
    import pyarrow

_IMAGE_WORDS = frozenset(
    ["image", "images", "img", "photo", "picture", "path", "file", "filename", "filepath"]
)


@dataclass(frozen=True)
class Part:
    """One table of a split.

    Args:
        name: for messages.
        table: its image column and its label column, and the Hub's metadata.
        folder: what its paths are relative to.
        beneath: paths must lie below one of these.
    """

    name: str
    table: pyarrow.Table
    folder: Path
    beneath: tuple[Path, ...]


def read_tables(groups: Mapping[str, Sequence[Path]], root: Path, reading: Reading) -> Listing:
    """Read the files of each split.

    Args:
        groups: "train", "test" and perhaps "val", or "all" -> parquet or arrow files, in order.
        root: the data folder: no path in a table leads out of it.

    Raises:
        InputError: no clear image or label column, or labels that are none.
    """
    files = {path: TableFile.opened(path) for paths in groups.values() for path in paths}
    columns = {path: columns_of(file.schema, str(path), reading) for path, file in files.items()}
    check_room([(file, columns[path]) for path, file in files.items()], plain(str(root)))
    parts = {
        split: [Part(path.name, files[path].read(columns[path]), path.parent, (root,)) for path in paths]
        for split, paths in groups.items()
    }
    return encode_tables(parts, plain(str(root)), reading)


def from_dataset_dict(
    splits: Mapping[str, Any], where: str, reading: Reading | None = None, beneath: tuple[Path, ...] = ()
) -> Listing:
    """The same of a `datasets.DatasetDict`; splits that are not train, test or validation are left out.

    Args:
        beneath: where the library keeps what it fetched: no path that the set names leads out of these.

    Raises:
        InputError: as `read_tables`, and where two of its splits could be one of these.
    """
    chosen = {
        split: (name, splits[name]) for split, name in _named(splits, where, reading or Reading()).items()
    }
    parts = {split: [Part(name, _undecoded(part), Path(), beneath)] for split, (name, part) in chosen.items()}
    listing = encode_tables(parts, where, reading or Reading())
    others = [name for name in splits if name not in [name for name, _ in chosen.values()]]
    left_out = {f"split {plain(name)}": len(splits[name]) for name in others}
    return Listing(listing.splits, listing.classes, {**listing.left_out, **left_out}, listing.remarks)


def _named(splits: Mapping[str, Any], where: str, reading: Reading) -> dict[str, str]:
    """Which of a data set's splits is train, test, val."""
    if reading.splits:
        for name in reading.splits.values():
            if name not in splits:
                raise InputError(
                    f"--splits names splits of {where}, but '{name}' is none of {', '.join(splits)}"
                )
        return dict(reading.splits)
    found: dict[str, str] = {}
    for name in splits:
        split = split_of(name)
        if split in found:
            raise InputError(
                f"one part per split, but '{found[split]}' and '{name}' of {where} are both '{split}': "
                "choose with --splits train=NAME,test=NAME"
            )
        if split:
            found[split] = name
    if not found:
        raise InputError(
            f"missing split: {where} has {', '.join(splits)} and no 'train': name them with "
            f"--splits train=NAME,test=NAME"
        )
    return assign(found, where)


def encode_tables(parts: Mapping[str, Sequence[Part]], where: str, reading: Reading) -> Listing:
    """Images and labels of each split's tables, and the class names."""
    tables = [part.table for each in parts.values() for part in each]
    check_held(tables, where)
    columns = {
        split: [columns_of(p.table.schema, p.name, reading) for p in each] for split, each in parts.items()
    }
    images = {
        split: [_images(part, image) for part, (image, _) in zip(each, columns[split], strict=True)]
        for split, each in parts.items()
    }
    values = {
        split: [
            value
            for part, (_, label) in zip(each, columns[split], strict=True)
            for value in _labels(part, label)
        ]
        for split, each in parts.items()
    }
    found = [names_of(table.schema, label) for table, (_, label) in zip(tables, _flat(columns), strict=True)]
    if any(other.names != found[0].names for other in found):
        raise InputError(
            f"splits must have the same classes, but the class names of {where} differ between files"
        )
    numbers, classes, remarks = _numbered(values, found[0].names, where)
    splits = {}
    for split, each in images.items():
        content, names = (
            [one for part in each for one in part[0]],
            [name for part in each for name in part[1]],
        )
        splits[split] = Encoded(content, numbers[split], names)
    return Listing(splits, classes, {}, (*found[0].remarks, *remarks))


def _flat(columns: Mapping[str, Iterable[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [pair for pairs in columns.values() for pair in pairs]


def _numbered(
    values: Mapping[str, list[Any]], names: Sequence[str] | None, where: str
) -> tuple[Mapping[str, list[int]], tuple[str, ...], list[str]]:
    """Labels 0..K-1, the class names, and what is to be said of them."""
    whole = all(type(value) is int or value is None for each in values.values() for value in each)
    if whole:
        for split, each in values.items():
            check_labelled(split, set(each), where)
    if whole and names is not None:
        return values, check_labels(values, names, where), []
    numbers, classes = number_labels(values, where)
    check_labels(numbers, classes, where)
    gaps = whole and classes != tuple(map(str, range(len(classes))))
    return numbers, classes, [f"labels are the numbers {classes[0]} to {classes[-1]}"] if gaps else []


def columns_of(schema: pyarrow.Schema, name: str, reading: Reading) -> tuple[str, str]:
    """The image column and the label column.

    Raises:
        InputError: naming the columns there are, if one of the two is missing or not clear.
    """
    shown = ", ".join(f"{plain(field.name)} ({_short(field.type)})" for field in schema)
    where = f"table {plain(name)}"
    images = [field.name for field in schema if holds_images(field.type)]
    texts = [field.name for field in schema if _is_text(field.type)]
    possible = images or [name for name in texts if _IMAGE_WORDS & set(tokens(name))]
    if reading.image_column is not None:
        possible = images + texts
    image = choose_column(possible, reading.image_column, "image", where, shown)
    labels = [field.name for field in schema if field.name != image and _can_label(field.type)]
    if not reading.label_column:
        marked = [name for name in class_labels(schema) if name in labels]
        if len(marked) == 1 and not [
            name for name in labels if name.lower() in LABEL_NAMES and name not in marked
        ]:
            labels = marked
    return image, choose_column(labels, reading.label_column, "label", where, shown, LABEL_NAMES)


def may_have_images(path: Path) -> bool:
    """Whether a parquet file has a column of images, or of their paths; a broken file may."""
    require_packages("pyarrow", what="reading tables")
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        schema = parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError):
        return True
    return any(
        holds_images(each.type) or (_is_text(each.type) and _IMAGE_WORDS & set(tokens(each.name)))
        for each in schema
    )


def _is_text(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    kind = value_kind(kind)
    return types.is_string(kind) or types.is_large_string(kind)


def _can_label(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _can_label(kind.value_type)
    return types.is_integer(kind) or types.is_boolean(kind) or _is_text(kind) or types.is_floating(kind)


def _short(kind: pyarrow.DataType) -> str:
    return str(kind).split("<")[0]


def _undecoded(part: Any) -> pyarrow.Table:
    """A split's table with images still encoded, and with its features (the class names) as metadata."""
    table = part.with_format("arrow")[:]
    return table.replace_schema_metadata(part.features.arrow_schema.metadata)


def _labels(part: Part, label: str) -> list[Any]:
    return cells(part.table[label], f"table {plain(part.name)}")


def _images(part: Part, image: str) -> tuple[list[bytes | Path], list[str]]:
    """Encoded images, or the files that hold them, and a name for each."""
    rows = cells(part.table[image], f"table {plain(part.name)}")
    names = [f"{plain(part.name)} row {i}" for i in range(len(rows))]
    return [_image(row, where, part) for row, where in zip(rows, names, strict=True)], names


def _image(row: Any, where: str, part: Part) -> bytes | Path:
    """The encoded image; `datasets` keeps only the path of an image that lies in a local file."""
    if isinstance(row, str):
        row = {"path": row}
    content, path = (row.get("bytes"), row.get("path")) if isinstance(row, dict) else (row, None)
    if content is not None:
        return content
    if not path:
        raise InputError(f"every row needs an image, but {where} has none: remove the row")
    return file_beneath(path, where, part.folder, part.beneath)


def file_beneath(path: str, where: str, folder: Path, beneath: Sequence[Path]) -> Path:
    """The file that a table names, relative to its own folder, below one of these where links lead.

    Raises:
        InputError: it is not there, or lies outside the data folder.
    """
    found = Path(os.path.normpath(folder / path.replace("\\", "/")))
    true = os.path.realpath(found)
    if not any(true.startswith(f"{os.path.realpath(each)}{os.sep}") for each in beneath):
        root = plain(str(beneath[0])) if beneath else "(none)"
        raise InputError(
            f"images must lie below the data folder {root}, but {where} names '{plain(path)}': copy it "
            "there, or pass the folder above both"
        )
    if not found.is_file():
        raise InputError(
            f"every row needs an image, but {where} names '{plain(path)}', which is not there (looked for as "
            f"{plain(str(found))}): add the file, or remove the row"
        )
    return found
