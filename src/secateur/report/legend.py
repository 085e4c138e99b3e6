"""An arm's mark with a piece of its line, as legends and tables show it."""

from __future__ import annotations

import numpy as np

from .palette import CARD, variable
from .style import ArmStyle

WIDTH, HEIGHT, SIZE = 30, 14, 5.0
"""Of the picture, and half the mark's, in pixels."""
_CLOSE = 79
_STEPS = {1: "M", 2: "L", 3: "Q", 4: "C", _CLOSE: "Z"}
"""matplotlib's codes in a path -> SVG's."""


def sample(look: ArmStyle) -> str:
    """The mark as an `svg` element, in the page's colours; nothing that a screen reader says."""
    color, middle = variable(look.color), HEIGHT / 2
    gaps = "" if isinstance(look.line, str) else " ".join(f"{1.6 * length:g}" for length in look.line[1])
    dashes = f' stroke-dasharray="{gaps}"' if gaps else ""
    line = f'<path d="M0 {middle:g}H{WIDTH}" stroke="{color}" stroke-width="2"{dashes}/>'
    return (
        f'<svg class="mark" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'aria-hidden="true">{"" if look.marker == "*" else line}'
        f'<path d="{_outline(look)}" fill="{color}" stroke="{variable(CARD)}" stroke-width=".8"/></svg>'
    )


def _outline(look: ArmStyle) -> str:
    """The mark's path, in the middle of the picture."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(look.marker)  # type: ignore[arg-type]
    path = style.get_path().transformed(style.get_transform())
    size = (SIZE + 2 if look.marker == "*" else SIZE) / (float(np.abs(path.vertices).max()) or 1.0)
    steps = []
    for points, code in path.iter_segments(simplify=False):
        ends = [f"{WIDTH / 2 + size * x:.2f} {HEIGHT / 2 - size * y:.2f}" for x, y in points.reshape(-1, 2)]
        steps.append(_STEPS[int(code)] + ("" if int(code) == _CLOSE else " ".join(ends)))
    return "".join(steps)
