"""Lists as files hold them: CSV, TSV and JSON lines, as texts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.data.memory import check_memory
from secateur.errors import InputError
from secateur.records.found import plain

_MOST_BYTES = 2**28
_CELL_BYTES = 16  # in memory, of a cell that may be empty: one byte in the file
_FEWER = "keep the two columns only"


@dataclass
class Rows:
    """A list as it was written: texts.

    Args:
        path: the file.
        columns: their names; "1", "2", ... where the file has no header.
        rows: as many texts each as there are columns.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]

    @property
    def where(self) -> str:
        return plain(str(self.path))

    @property
    def shown(self) -> str:
        return ", ".join(map(plain, self.columns))

    def column(self, name: str) -> list[str]:
        """The values of a column."""
        index = self.columns.index(name)
        return [row[index] for row in self.rows]


def read_rows(path: Path, names_image: Callable[[str, Rows], object] = lambda value, rows: False) -> Rows:
    """Read a CSV, TSV or JSON lines file.

    Args:
        names_image: whether a text is the name of an image: a first row that has one is no header.

    Raises:
        InputError: it is too large, not UTF-8, or its rows are not alike.
    """
    where = plain(str(path))
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(
            f"a list of labels may have 256 MiB, but {where} is larger: keep the two columns only"
        )
    check_memory(_CELL_BYTES * path.stat().st_size, f"{where}: its rows", _FEWER)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"a list of labels must be UTF-8, but {where} is not: save it as UTF-8") from None
    if path.suffix.lower() == ".jsonl":
        return _json_rows(path, text)
    lines = text.splitlines()
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines[0] if lines else "")
    try:
        read = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise InputError(f"{where} is no readable list ({error}): write it again") from None
    if not read:
        return Rows(path, [], [])
    width = len(read[0])
    for number, row in enumerate(read, start=1):
        if len(row) != width:
            raise InputError(
                f"all rows of a list must have the same columns, but row {number} of {where} has "
                f"{len(row)} and the first has {width}: correct it (a comma within a label needs quotes)"
            )
    header, rows = [name.strip() for name in read[0]], read[1:]
    first = Rows(path, header, rows)
    if any(names_image(value, first) for value in header):
        return Rows(path, [str(index + 1) for index in range(width)], read)
    if len(set(header)) < len(header):
        raise InputError(f"columns must have different names, but {where} has {first.shown}: rename one")
    return first


def _delimiter(line: str) -> str:
    """What stands between the columns of the first line: most often of these, a comma where none is there."""
    return max(",;\t|", key=line.count)


def _json_rows(path: Path, text: str) -> Rows:
    where = plain(str(path))
    found: list[Mapping[str, object]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"every line must be a JSON object, but line {number} of {where} is none: correct it"
            )
        found.append(row)
    columns = list(dict.fromkeys(key for row in found for key in row))
    cells = len(found) * len(columns)  # where every line has a key of its own, the square of the lines
    check_memory(_CELL_BYTES * cells, f"{where}: its {cells:,} cells", _FEWER)
    return Rows(path, columns, [[_text(row.get(name)) for name in columns] for row in found])


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
