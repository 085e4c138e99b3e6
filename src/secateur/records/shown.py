"""How a value shows itself where nobody formats it: a line or a small table, in a shell and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

from secateur.records.written import exact

MOST_ROWS = 60


@dataclass(frozen=True)
class Shown:
    """What there is to show.

    Attributes:
        title: the first line.
        heads, rows: of a table; the first column holds words, the others what is set to the right.
        notes: lines below it.
    """

    title: str
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Lines of text."""
        return "\n".join([self.title, *self._table(), *self.notes])

    def html(self) -> str:
        """The same for notebooks; whatever a name holds is text there."""
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<div><p><b>{escape(self.title)}</b></p>{self._html_table()}{notes}</div>"

    def _table(self) -> list[str]:
        rows, more = self._fitting()
        table = [tuple(self.heads), *rows] if rows else []
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(_aligned, range(len(row)), row, widths)).rstrip() for row in table]
        return [f"  {line}" for line in lines + more]

    def _html_table(self) -> str:
        rows, more = self._fitting()
        if not rows:
            return ""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.heads)
        body = "".join(f"<tr>{''.join(map(_cell, range(len(row)), row))}</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{''.join(more)}"

    def _fitting(self) -> tuple[Sequence[Sequence[str]], list[str]]:
        """The rows that are shown, and how many are not."""
        left = len(self.rows) - MOST_ROWS
        return self.rows[:MOST_ROWS], [f"... and {left} more"] if left > 0 else []


def _aligned(index: int, cell: str, width: int) -> str:
    return cell.rjust(width) if index else cell.ljust(width)


def _cell(index: int, cell: str) -> str:
    return f'<td style="text-align: {"right" if index else "left"}">{escape(cell)}</td>'


def changed(settings: Any, defaults: Callable[[], Any], unsaid: type | tuple[()] = ()) -> str:
    """Settings as the call that makes them, with what differs from the defaults alone.

    Args:
        settings: a dataclass.
        defaults: makes one as it is where nothing is given.
        unsaid: of what kind a value is that nobody gave, and that follows from others.
    """
    standard = defaults()
    told = [
        f"{each.name}={exact(value) if isinstance(value, float) else value!r}"
        for each in fields(settings)
        if each.init and each.repr and not isinstance(value := getattr(settings, each.name), unsaid)
        if value != getattr(standard, each.name)
    ]
    return f"{type(settings).__name__}({', '.join(told)})"
