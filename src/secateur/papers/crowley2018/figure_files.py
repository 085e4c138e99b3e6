"""A figure of the paper as files: the picture by itself, and on a page with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.atomic import write_bytes
from secateur.papers.sheet import Sheet
from secateur.report import svg
from secateur.report.drawing import encode, house_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(
    out: Path, name: str, draw: Callable[[], Figure], shown: str, sheet_with: Callable[[str], Sheet], csv: str
) -> None:
    """Leave a figure as PNG and SVG, and its numbers as markdown, CSV and HTML.

    Args:
        name: of the files, before their suffixes.
        draw: makes the figure.
        shown: what it shows, for who cannot see it.
        sheet_with: makes the page, of the picture as SVG.
        csv: the numbers.
    """
    with house_style():
        figure = draw()
        pictures = {kind: encode(figure, kind) for kind in ("png", "svg")}
        figure.patch.set_visible(False)
        inline = svg.markup(figure, name, shown, clipped=True)
    sheet = sheet_with(inline)
    texts = {"md": sheet.to_markdown(), "csv": csv, "html": sheet.to_html()}
    for kind, data in {**pictures, **{kind: text.encode() for kind, text in texts.items()}}.items():
        write_bytes(out / f"{name}.{kind}", data)
