"""Parquet and arrow files, read within the memory there is: what they take is known before they are read.

A value that repeats lies in a parquet file once, and a file of 1 kB can so name gigabytes. It is read as it
lies there, and handed on as one object that many rows share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.data.memory import EACH_BYTES, check_memory
from secateur.errors import InputError, first_line, require_packages
from secateur.records.found import plain

if TYPE_CHECKING:
    import pyarrow

_MOST_SHARED = 2**31 - 2**27  # bytes of a column in a row group that Arrow can hold with each value once
_STEP = 2**25  # bytes that are read between two looks at the memory
_LESS = "name fewer files (--splits train=FILE,test=FILE), or write the images as files in class folders"


@dataclass(frozen=True)
class TableFile:
    """A parquet or arrow file of which only the head was read.

    Args:
        path: the file.
        kind: "parquet" or "arrow".
        schema: its columns, and its metadata.
        names: of the columns.
        parquet: the open file, where it is one of parquet.
    """

    path: Path
    kind: str
    schema: pyarrow.Schema
    names: tuple[str, ...]
    parquet: Any = None

    @classmethod
    def opened(cls, path: Path) -> TableFile:
        """Read the head.

        Raises:
            InputError: it is no such file, or pyarrow is missing.
        """
        require_packages("pyarrow", what="reading tables")
        import pyarrow.parquet as parquet

        if path.suffix.lower() == ".arrow":
            with _readable(path, "arrow"), _mapped(path) as reader:
                return cls(path, "arrow", reader.schema, _names(reader.schema))
        with _readable(path, "parquet"):
            file = parquet.ParquetFile(path)
            return cls(path, "parquet", file.schema_arrow, _names(file.schema_arrow), file)

    def demand(self, columns: Sequence[str]) -> int:
        """Bytes that these columns will take, by the head: once as they are read, once as images."""
        if self.parquet is None:
            return 2 * self.path.stat().st_size
        with _readable(self.path, self.kind):
            return 2 * sum(self._sizes(columns)) + max(0, self.parquet.metadata.num_rows) * EACH_BYTES

    def read(self, columns: Sequence[str]) -> pyarrow.Table:
        """Read these columns, the metadata included.

        Raises:
            InputError: it is damaged, or holds more than its head says and than there is room for.
        """
        with _readable(self.path, self.kind):
            if self.parquet is None:
                return self._of_arrow(columns)
            if max(self._sizes(columns), default=0) > _MOST_SHARED:
                return self._row_by_row(columns)
            return self._shared(columns)

    def _of_arrow(self, columns: Sequence[str]) -> pyarrow.Table:
        with _mapped(self.path) as reader:
            table = reader.read_all().select(list(columns))
        table.validate(full=True)  # what the file says of itself is otherwise believed, up to a crash
        return table

    def _shared(self, columns: Sequence[str]) -> pyarrow.Table:
        """Each value of bytes or text once in each row group."""
        import pyarrow
        import pyarrow.parquet as parquet

        shared = [name for name, kind in self._leaves(columns).items() if kind == "BYTE_ARRAY"]
        file = parquet.ParquetFile(self.path, read_dictionary=shared or None, metadata=self.parquet.metadata)
        # one by one: of several together pyarrow makes no struct
        groups = [file.read_row_group(index, list(columns)) for index in range(file.num_row_groups)]
        return pyarrow.concat_tables(groups) if groups else self.schema.empty_table().select(list(columns))

    def _row_by_row(self, columns: Sequence[str]) -> pyarrow.Table:
        """Row groups that are larger than Arrow can share: stopped where memory ends."""
        import pyarrow

        batches, held = [], 0
        for batch in self.parquet.iter_batches(1, columns=list(columns)):
            batches.append(batch)
            if held // _STEP != (held := held + batch.nbytes) // _STEP:  # they will be copied out of it
                check_memory(held, f"{plain(str(self.path))}: its images", _LESS)
        return pyarrow.Table.from_batches(batches, None if batches else self.schema)

    def _leaves(self, columns: Sequence[str]) -> dict[str, str]:
        """Columns as they lie in the file ("image.bytes") -> how they are written."""
        schema = self.parquet.schema
        every = (schema.column(index) for index in range(len(schema)))
        return {each.path: each.physical_type for each in every if _is_of(each.path, columns)}

    def _sizes(self, columns: Sequence[str]) -> list[int]:
        """Bytes of each of these columns in each row group, unpacked."""
        found, said = [], self.parquet.metadata
        for group in (said.row_group(index) for index in range(said.num_row_groups)):
            for leaf in (group.column(index) for index in range(group.num_columns)):
                if _is_of(leaf.path_in_schema, columns):
                    found.append(max(0, leaf.total_uncompressed_size))
        return found


def check_room(files: Sequence[tuple[TableFile, Sequence[str]]], where: str) -> None:
    """Raise InputError where these columns of all files will not find room together; nothing is read."""
    check_memory(sum(file.demand(columns) for file, columns in files), f"{where}: reading its tables", _LESS)


def check_held(tables: Sequence[pyarrow.Table], where: str) -> None:
    """Raise InputError where the images of tables that were read, or mapped, will not find room."""
    held = sum(table.nbytes + len(table) * EACH_BYTES for table in tables)
    check_memory(held, f"{where}: its images", _LESS)


def cells(column: pyarrow.ChunkedArray, where: str) -> list[Any]:
    """Every value of a column; where one repeats in the file it is one object.

    Raises:
        InputError: a value is none of the column's kind (text that is no UTF-8).
    """
    try:
        return [value for chunk in column.chunks for value in _values(chunk)]
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"every value of a column must be of its kind, but some of {where} are not "
            f"({plain(first_line(error))}): write the table again"
        ) from error


def value_kind(kind: pyarrow.DataType) -> pyarrow.DataType:
    """What the values are, also where each is written once and numbered."""
    import pyarrow.types as types

    return kind.value_type if types.is_dictionary(kind) else kind


def holds_images(kind: pyarrow.DataType) -> bool:
    """Whether a column of this kind may hold encoded images."""
    import pyarrow.types as types

    kind = value_kind(kind)
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _values(array: pyarrow.Array) -> list[Any]:
    import pyarrow.types as types

    if types.is_dictionary(array.type):
        held = array.dictionary.to_pylist()
        return [None if index is None else held[index] for index in array.indices.to_pylist()]
    if types.is_struct(array.type) and array.type.num_fields:
        names = [field.name for field in array.type]
        parts = [_values(part) for part in array.flatten()]
        return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]
    return array.to_pylist()


def _names(schema: pyarrow.Schema) -> tuple[str, ...]:
    """Of the columns; UnicodeDecodeError where one, or one of a column's parts, is no text."""
    return tuple(each.name for each in schema if str(each.type))


def _is_of(path: str, columns: Sequence[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in columns)


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    """Read an arrow file: a stream, as `save_to_disk` writes it, or a file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        try:
            reader = pyarrow.ipc.open_stream(file)
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(file)
        yield reader


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Say in one line that a file is damaged, whatever pyarrow raises of it."""
    import pyarrow

    try:
        yield
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError, MemoryError) as error:
        reason = first_line(error) or type(error).__name__
        raise InputError(
            f"{plain(str(path))} is not a readable {kind} file ({plain(reason)}): fetch it again"
        ) from error
