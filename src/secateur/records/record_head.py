"""What a list of runs says of a record; a folder may hold 10,000 of them, each of up to megabytes.

Rows of a history, or of removed channels, are counted and not looked into. Those that differ from an earlier
one in digits alone are left out before the rest is read, so that what is damaged is noticed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from secateur.records.measure import ACCURACY, Measure
from secateur.records.reading import parse_json, read_file
from secateur.records.stored import Stored, optional

_BEGIN, _BETWEEN, _END = b'\n "%s": [\n  {', b"\n  },\n  {", b"\n  }\n ]"
"""Of a list of flat objects in a file of ours, where `atomic.write_json` breaks lines."""
_MOST_ROWS = 100_000
"""Of one list; a file that has more is read like any other."""


@dataclass(frozen=True)
class RecordHead:
    """A finished run, in a line.

    Attributes:
        label: the run in words.
        params: of the finished network.
        accuracy: on the test split, in [0, 1]; or the value of `measure`.
        epochs: how many were trained, a part of one counted as one.
    """

    label: str
    params: int
    accuracy: float
    measure: Measure
    epochs: int

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it of a `record.json`; InputError where that is none of ours."""
        content, unread = skimmed(read_file(path, _Head.AGAIN), "history")
        content, _ = skimmed(content, "removed")
        head = _Head.from_json(parse_json(content, str(path), _Head.AGAIN), str(path))
        return cls(
            head.label, head.params, head.accuracy, head.metric or ACCURACY, len(head.history) + unread
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head(Stored):
    """Those keys of a record that are needed; nothing is asked of the others."""

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "delete the run's folder, and the same command makes it again"

    label: str
    params: int
    accuracy: float
    metric: Measure | None = optional()  # noqa: RUF009  # a field
    history: tuple[Any, ...]


def skimmed(content: bytes, name: str) -> tuple[bytes, int]:
    r"""Leave out rows of one list that differ from others there in digits alone.

    Args:
        content: JSON as we write it; of what is laid out otherwise nothing is left out.
        name: of the list, a key of the outermost object; its rows are objects of plain values.

    Returns:
        what is left, as sound or as damaged as before; how many rows are missing from it.

    Example:
        >>> skimmed(b'{\n "a": [\n  {\n   "b": 1\n  },\n  {\n   "b": 22\n  }\n ]\n}', "a")
        (b'{\n "a": [\n  {\n   "b": 22\n  }\n ]\n}', 1)
    """
    begin = _BEGIN % name.encode()
    start = content.find(begin) + len(begin)
    end = content.find(_END, start)
    if start < len(begin) or end < 0 or content.count(_BETWEEN, start, end) >= _MOST_ROWS:
        return content, 0
    rows = content[start:end].split(_BETWEEN)
    shapes = content[start:end].translate(None, b"0123456789").split(_BETWEEN)
    if len(shapes) != len(rows):
        return content, 0
    kinds = dict(zip(shapes, rows, strict=True))
    return content[:start] + _BETWEEN.join(kinds.values()) + content[end:], len(rows) - len(kinds)
