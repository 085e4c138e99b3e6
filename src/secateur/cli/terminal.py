"""The streams that the command line writes to: any encoding, any width, full, or read by nobody."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from secateur.names import harmless

NARROWEST = 20
_GAPS = (2, 1)  # spaces between columns, the most readable first
_TOGETHER = "\0"  # a space at which no line is broken
_PLAIN = {
    **dict.fromkeys("‐‑‒–—−", "-"),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("─━═╌╸╺", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
    **{"±": "+/-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "→": "->", "…": "...", "·": "*", "•": "*"},
    **{"µ": "u", "σ": "sigma", "α": "alpha", "λ": "lambda", "∞": "inf", "✓": "yes", "\xa0": " "},
}
"""What stands for a character in an encoding that lacks it; all others become a question mark."""


def _in_plain_letters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in missing), error.end


codecs.register_error("secateur", _in_plain_letters)


class Enduring(io.RawIOBase):
    """What a stream writes to: what cannot be written is lost, and stops nobody's work.

    Attributes:
        problem: why something could not be written, the first time.
    """

    def __init__(self, stream: io.TextIOWrapper, raw: io.RawIOBase):
        self._stream, self._raw = stream, raw  # the stream is kept, as it would close what it writes to
        self.problem: OSError | None = None

    def write(self, content: Any) -> int | None:
        """Write bytes, or remember why not."""
        try:
            return self._raw.write(content)
        except OSError as error:
            self.problem = self.problem or error
            return len(content)

    def writable(self) -> bool:
        """It is: that is the point."""
        return True

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return self._raw.isatty()

    def fileno(self) -> int:
        """Of what it writes to."""
        return self._raw.fileno()


def prepare_streams() -> None:
    """Have stdout and stderr take every character, be there at all, and fail nobody where they are full."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="secateur")
            setattr(sys, name, _enduring(stream))


def _enduring(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    buffer: Any = stream.buffer
    raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves the buffer out
    if isinstance(raw, Enduring) or not isinstance(buffer, io.BufferedWriter | io.FileIO):
        return stream
    enduring = Enduring(stream, raw)
    unbuffered: Any = enduring  # which Python itself gives a stream of text, too
    return io.TextIOWrapper(
        unbuffered if raw is buffer else io.BufferedWriter(enduring),
        encoding=stream.encoding,
        errors="secateur",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def unwritten() -> OSError | None:
    """Why something that was printed could not be written; None where all was."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.problem if isinstance(raw, Enduring) else None


def width() -> int | None:
    """Characters in a line, by `COLUMNS` or the terminal; None in pipes and files: lines may be long."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isascii() and asked.isdigit() and int(asked):
        return max(NARROWEST, int(asked))
    return max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None


def printable(text: str) -> str:
    """The text as stdout's encoding has it, without controls: what stands for a character may be longer."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return harmless(text).encode(encoding, "secateur").decode(encoding)


def in_line(text: str) -> str:
    """`printable` on one line."""
    return printable(text).replace("\n", "?")


def show(text: str) -> None:
    """Print a text as it is, whatever the width: it is to be copied, or has lines of its own."""
    print(printable(text))


def say(text: str) -> None:
    """Print a sentence, broken between words where lines have an end."""
    limit = width()
    for line in printable(text).splitlines() or [""]:
        print("\n".join(folded(line, limit)) if limit else line)


def folded(text: str, limit: int, indent: str = "") -> list[str]:
    """The lines of a text, none longer than `limit`; words that are longer than a line are cut."""
    return textwrap.wrap(text, limit, subsequent_indent=indent, break_on_hyphens=False) or [""]


class Table:
    """Rows under heads: the first two columns hold words, the others numbers.

    Where the rows do not fit beside each other, each is told in lines of its own with the heads between, so
    that no column is cut or squeezed.
    """

    def __init__(self, *heads: str):
        self.heads = tuple(map(in_line, heads))
        self.rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row, with a cell for every head."""
        assert len(cells) == len(self.heads), (cells, self.heads)
        self.rows.append(tuple(map(in_line, cells)))

    def show(self) -> None:
        """Print it."""
        for line in self.lines(width()):
            print(line)

    def lines(self, limit: int | None) -> Iterator[str]:
        """The lines, none longer than `limit`; widths are measured once, there may be thousands of rows."""
        widths = [max(map(len, column)) for column in zip(self.heads, *self.rows, strict=True)]
        limit = sys.maxsize if limit is None else limit
        spare = limit - sum(widths)
        gap = next((gap for gap in _GAPS if gap * (len(widths) - 1) <= spare), None)
        if gap is not None:
            yield from (_beside(row, widths, gap) for row in (self.heads, *self.rows))
        else:
            yield from (line for row in self.rows for line in self._below(row, limit))

    def _below(self, row: Sequence[str], limit: int) -> list[str]:
        """One row over several lines: the words first, then what each number is."""
        first = folded("  ".join(cell for cell in row[:2] if cell), limit, "  ")
        told = [f"{head} {cell}" for head, cell in zip(self.heads[2:], row[2:], strict=True) if cell]
        whole = ", ".join(each.replace(" ", _TOGETHER) for each in told)
        lines = textwrap.wrap(whole, limit, initial_indent="  ", subsequent_indent="  ")
        return first + [line.replace(_TOGETHER, " ") for line in lines]


def _beside(row: Sequence[str], widths: Sequence[int], gap: int) -> str:
    cells = [
        cell.ljust(width) if index < 2 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return (" " * gap).join(cells).rstrip()
