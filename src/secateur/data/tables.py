"""Tables in the schema of the Hugging Face Hub: parquet files, and data sets of the `datasets` library."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.data.decode import Encoded
from secateur.data.layout import assign, check_labels, split_of
from secateur.errors import InputError

if TYPE_CHECKING:
    import pyarrow

_LABEL_NAMES = ("label", "labels")


def read_parquet(files: Sequence[Path], where: str) -> tuple[dict[str, Encoded], tuple[str, ...]]:
    """Read parquet files named `train*`, `test*`, `valid*`; if no name says a split, all are one set.

    Beside files that name a split, others are left out.

    Returns:
        Images of "train", "test" and perhaps "val", or of "all"; the class names.

    Raises:
        InputError: a missing split, no clear image or label column, labels that are not 0..K-1.
    """
    groups: dict[str, list[Path]] = {}
    for path in sorted(files):
        groups.setdefault(split_of(path.name) or "all", []).append(path)
    if set(groups) != {"all"}:
        groups.pop("all", None)
        groups = assign(groups, where)
    tables = {split: [(path.name, _read(path)) for path in paths] for split, paths in groups.items()}
    return encode_tables(tables, where)


def from_dataset_dict(splits: Mapping[str, Any], where: str) -> tuple[dict[str, Encoded], tuple[str, ...]]:
    """The same of a `datasets.DatasetDict`; splits that are not train, test or validation are left out.

    Raises:
        InputError: as `read_parquet`.
    """
    named = {split_of(name): (name, part) for name, part in splits.items()}
    found = {split: pair for split, pair in named.items() if split}
    chosen = assign(found, where)
    tables = {split: [(name, _undecoded(part))] for split, (name, part) in chosen.items()}
    return encode_tables(tables, where)


def encode_tables(
    tables: Mapping[str, Sequence[tuple[str, pyarrow.Table]]], where: str
) -> tuple[dict[str, Encoded], tuple[str, ...]]:
    """Images and labels of each split's tables, and the class names.

    Args:
        tables: for each split, pairs of a name for messages and a table with an image column (a struct
            with `bytes`, or binary) and a label column (`label`, `labels`, or the only integers).
        where: the source, for messages.
    """
    encoded = {
        split: Encoded.joined(_encode(name, table) for name, table in parts)
        for split, parts in tables.items()
    }
    known = [_class_names(table) for parts in tables.values() for _, table in parts]
    names = known[0]
    if any(other != names for other in known):
        raise InputError(
            f"splits must have the same classes, but the class names of {where} differ between files"
        )
    labels = {split: part.labels for split, part in encoded.items()}
    return encoded, check_labels(labels, names, where)


def columns_of(schema: pyarrow.Schema, name: str) -> tuple[str, str]:
    """The image column and the label column.

    Raises:
        InputError: naming the columns there are, if one of the two is missing or not clear.
    """
    import pyarrow.types as types

    images = [field.name for field in schema if _holds_images(field.type)]
    integers = [field.name for field in schema if types.is_integer(field.type)]
    labels = [label for label in _LABEL_NAMES if label in integers][:1] or integers
    if len(images) != 1 or len(labels) != 1:
        found = ", ".join(f"{field.name} ({_short(field.type)})" for field in schema)
        raise InputError(
            f"{name} must have one image column (a struct with 'bytes') and one integer column 'label', "
            f"but has: {found}"
        )
    return images[0], labels[0]


def _holds_images(kind: pyarrow.DataType) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _short(kind: pyarrow.DataType) -> str:
    return str(kind).split("<")[0]


def _read(path: Path) -> pyarrow.Table:
    """Only the two columns needed, the file's metadata included."""
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        columns = columns_of(file.schema_arrow, str(path))
        return file.read(columns=list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable parquet file ({reason}): fetch it again") from error


def _undecoded(part: Any) -> pyarrow.Table:
    """A split's table with images still encoded, and with its features (the class names) as metadata."""
    table = part.with_format("arrow")[:]
    return table.replace_schema_metadata(part.features.arrow_schema.metadata)


def _encode(name: str, table: pyarrow.Table) -> Encoded:
    image, label = columns_of(table.schema, name)
    rows = [row for chunk in table[image].chunks for row in chunk.to_pylist()]
    names = [f"{name} row {i}" for i in range(len(rows))]
    images = [_image(row, where) for row, where in zip(rows, names, strict=True)]
    return Encoded(images, table[label].to_pylist(), names)


def _image(row: Any, where: str) -> bytes | Path:
    """The encoded image; `datasets` keeps only the path of an image that lies in a local file."""
    content, path = (row.get("bytes"), row.get("path")) if isinstance(row, dict) else (row, None)
    if content is not None:
        return content
    if path and Path(path).is_file():
        return Path(path)
    raise InputError(f"every row needs an image, but {where} has none: remove the row")


def _class_names(table: pyarrow.Table) -> list[str] | None:
    """The names of the label's ClassLabel feature in the Hub's metadata, or None."""
    _, label = columns_of(table.schema, "table")
    metadata = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(metadata).get("info", {}).get("features", {})
    return (features.get(label) or {}).get("names")
