"""The colours of all drawings, on light paper and on dark.

Everything is drawn in the colours of light paper. On a page each becomes a variable with its name, so that
one drawing serves light, dark and print: `var(--c-20252b)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

INK = "#20252b"
MUTED = "#59636c"
GRID = "#e7e5df"
DENSE = "#3a3f45"
PALE = "#eceae4"
"""What is gone: behind what is left."""
CARD = "#ffffff"
"""What drawings lie on."""
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_DARK = {
    INK: "#e9e7e1",
    MUTED: "#a9b1b9",
    GRID: "#343a41",
    DENSE: "#c3c9cf",
    PALE: "#363c43",
    CARD: "#1d2126",
}
_DARKEST, _LIGHTEST = 0.62, 0.86
"""OKLab lightness of what is black, and white, on light paper, when it is to be read on dark."""


def dark(color: str) -> str:
    """A colour's counterpart on dark paper: as light as it must be to be read, of the same hue.

    The lightest stay apart from the darkest, as lightness is squeezed, not cut off.

    Example:
        >>> dark("#20252b"), dark("#12010c")
        ('#e9e7e1', '#9b8494')
    """
    if color in _DARK:
        return _DARK[color]
    lightness, a, b = _oklab(color)
    lightness = _DARKEST + (_LIGHTEST - _DARKEST) * lightness
    return next(
        found
        for share in range(20, -1, -1)  # as colourful as the screen can show it
        if (found := _hex(lightness, a * share / 20, b * share / 20)) is not None
    )


def variable(color: str) -> str:
    """How a page's drawing names a colour.

    Example:
        >>> variable("#b3261e")
        'var(--c-b3261e)'
    """
    return f"var(--c-{color[1:]})"


def named_in(markup: Iterable[str]) -> list[str]:
    """The colours that drawings name, sorted."""
    return sorted({f"#{found}" for text in markup for found in re.findall(r"var\(--c-([0-9a-f]{6})\)", text)})


def declarations(colors: Iterable[str]) -> tuple[str, str]:
    """The variables' values, on light paper and on dark screens, as they stand in a rule.

    Example:
        >>> declarations(["#20252b"])
        ('--c-20252b:#20252b;', '--c-20252b:#e9e7e1;')
    """
    listed = sorted(set(colors))
    return (
        "".join(f"--c-{color[1:]}:{color};" for color in listed),
        "".join(f"--c-{color[1:]}:{dark(color)};" for color in listed),
    )


def _oklab(color: str) -> tuple[float, float, float]:
    """Lightness, green to red, blue to yellow (Ottosson 2020)."""
    red, green, blue = (_linear(int(color[i : i + 2], 16) / 255) for i in (1, 3, 5))
    long, middle, short = (
        math.cbrt(x * red + y * green + z * blue)
        for x, y, z in (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    )
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _hex(lightness: float, a: float, b: float) -> str | None:
    """The colour on a screen; None where there is none."""
    long, middle, short = (
        (lightness + x * a + y * b) ** 3
        for x, y in (
            (0.3963377774, 0.2158037573),
            (-0.1055613458, -0.0638541728),
            (-0.0894841775, -1.2914855480),
        )
    )
    channels = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    if not all(-0.0005 <= channel <= 1.0005 for channel in channels):
        return None
    return "#" + "".join(f"{round(255 * _gamma(min(max(channel, 0.0), 1.0))):02x}" for channel in channels)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
