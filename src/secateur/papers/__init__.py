"""Each paper's grid of runs, its own numbers, and its tables and pictures with ours beside them."""

from __future__ import annotations

from .figure2 import draw_figure2
from .published import Published, load_published, published
from .tables import Entry, Row, table_rows, to_csv, to_html, to_markdown

__all__ = [
    "Entry",
    "Published",
    "Row",
    "draw_figure2",
    "load_published",
    "published",
    "table_rows",
    "to_csv",
    "to_html",
    "to_markdown",
]
