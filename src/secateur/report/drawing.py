"""How we draw with matplotlib: its settings, its figures, and their bytes, the same every time.

Drawn through matplotlib's object interface; pyplot and its global state are never touched. Matplotlib is
imported when something is drawn, never before.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from secateur.errors import require_packages
from secateur.records.ours import MARK

from .palette import GRID, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.formatter.useoffset": False,
    "font.size": 9.5,
    "grid.color": GRID,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: small, searchable, editable
    "svg.hashsalt": "secateur",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings on top of matplotlib's own defaults, whatever the user's configuration; undone after."""
    require_packages("matplotlib", what="a chart")
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a label in a script without a font
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def encode(figure: Figure, kind: str) -> bytes:
    """A figure as "png" (200 dpi, of at most 256 colours: a third of the bytes) or "svg"."""
    buffer = io.BytesIO()
    if kind == "svg":
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": MARK})
        return buffer.getvalue()
    from PIL import Image, PngImagePlugin

    figure.savefig(buffer, format="rgba", dpi=200)  # packed once, below
    drawn: Any = figure.canvas
    size = (int(drawn.renderer.width), int(drawn.renderer.height))
    about = PngImagePlugin.PngInfo()
    about.add_text("Software", MARK)
    pixels = Image.frombuffer("RGBA", size, buffer.getvalue(), "raw", "RGBA", 0, 1)
    few = pixels.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(smaller := io.BytesIO(), format="PNG", pnginfo=about, dpi=(200, 200))
    return smaller.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which arranges what is put into it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def page_figure(width: float, height: float) -> Figure:
    """An empty figure for a page, of so many pixels; a size in points is one in pixels there.

    Nothing in it is arranged by itself: that would take as long again as drawing it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    FigureCanvasAgg(figure)
    figure.patch.set_visible(False)
    return figure
