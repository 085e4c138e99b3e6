"""Other people's text as Markdown that says it, and does nothing: names of classes, data, devices."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")  # ASCII punctuation: all that a backslash makes plain
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "@": "&#64;"}
_PLAIN = " ,.-%()/+='"
"""Punctuation that is markup nowhere within a line, where it stands behind another letter."""
_LINKED = re.compile(r"(?i)(?<=www)\.|(?<=http):|(?<=https):|(?<=ftp):")
_MOST = 200


def said(text: str, most: int = _MOST) -> str:
    r"""Text as text, on one line: no markup, no HTML, no link, no cell's end.

    Example:
        >>> said("a|b <i>\n# c"), said("fisher macs=60% seed 0"), said("[x](https://y)")
        ('a\\|b &lt;i&gt; \\# c', 'fisher macs=60% seed 0', '\\[x\\](https\\://y)')
    """
    line = shortened(text, most)
    spelt = "".join(
        letter if _is_plain(line, i) else _MARKUP.sub(_plainly, letter) for i, letter in enumerate(line)
    )
    return _LINKED.sub(r"\\\g<0>", spelt)


def _is_plain(line: str, i: int) -> bool:
    """Whether a letter of a line is no markup where it stands; a colon is none before a space."""
    return i > 0 and (line[i] in _PLAIN or line[i : i + 2] in (":", ": "))


def _plainly(found: re.Match[str]) -> str:
    return _HTML.get(found[0], f"\\{found[0]}")


def shortened(text: str, most: int = _MOST) -> str:
    """Text on one line of printable letters, cut where it is long."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def code(text: str, most: int = _MOST) -> str:
    """Text as code within a line; nothing in it ends the code.

    Example:
        >>> code("macs=60%"), code("a`b")
        ('`macs=60%`', '`` a`b ``')
    """
    line = shortened(text, most) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}" if longest else f"{fence}{line}{fence}"


def block(text: str, language: str = "") -> str:
    """Lines as a block of code; nothing in them ends it."""
    lines = [shortened(line, 1000) if line.strip() else "" for line in text.splitlines()]
    kept = [
        " " * (len(raw) - len(raw.lstrip(" "))) + line
        for raw, line in zip(text.splitlines(), lines, strict=True)
    ]
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return "\n".join([f"{fence}{language}", *kept, fence])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are Markdown already; the first column is text, the others stand to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
