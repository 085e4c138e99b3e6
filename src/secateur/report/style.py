"""How an arm looks everywhere: its colour, marker and dash, the same on the page and in the figures.

The hues are those of Fig. 1 in Crowley et al. 2018 (red, blue, pink, yellow, green), moved until they stay
apart under simulated protanopia, deuteranopia and tritanopia and read on white. The arms that came later
take hues between those, chosen by the same measure (the least distance in OKLab under the three simulations
is 0.08 among them and to `width`, with whom they are compared) and one family a hue: magnitude violet,
random rose, reparametrization blue; snip has the electric violet that was left. The controls from elsewhere
(from iterative-magnitude to l0) are dark or muted; the least distance is 0.06 there. Nothing is
told by colour alone: every arm has its own marker and its own dash too.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

INK = "#20252b"
MUTED = "#66707a"
GRID = "#e7e5df"
DENSE = "#3a3f45"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


Corners = tuple[tuple[float, float], ...]  # of a mark that matplotlib has no name for


@dataclass(frozen=True)
class ArmStyle:
    """One arm's look: `symbol` and `dash` for plotly, `marker` and `line` for matplotlib."""

    color: str
    symbol: str
    marker: str | Corners
    dash: str
    line: str | tuple[int, tuple[float, ...]]


_DASHES: dict[str, str | tuple[int, tuple[float, ...]]] = {
    "solid": "-",
    "dash": (0, (5, 2.5)),
    "longdash": (0, (9, 3)),
    "dashdot": (0, (6, 2.5, 1.5, 2.5)),
    "dot": (0, (1.5, 2)),
    "longdashdot": (0, (10, 2.5, 1.5, 2.5)),
}


def _star(rays: int, inner: float) -> Corners:
    """A star with its first ray upwards; `inner` is the radius between the rays."""
    turns = [(math.pi * i / rays, inner if i % 2 else 1.0) for i in range(2 * rays + 1)]
    return tuple((radius * math.sin(angle), radius * math.cos(angle)) for angle, radius in turns)


_ARROW: Corners = ((0, 1), (0.8, -1), (0, -0.5), (-0.8, -1), (0, 1))


def _look(color: str, symbol: str, marker: str | Corners, lengths: tuple[float, ...]) -> ArmStyle:
    """A look whose dash has no name: dashes and gaps, in units of the line's width."""
    px = ",".join(f"{2 * length:g}px" for length in lengths)
    return ArmStyle(color, symbol, marker, px, (0, lengths))


ARMS: dict[str, ArmStyle] = {
    "fisher-tuned": ArmStyle("#b3261e", "circle", "o", "solid", _DASHES["solid"]),
    "fisher-scratch": ArmStyle("#1f5bb5", "square", "s", "dash", _DASHES["dash"]),
    "copycat": ArmStyle("#df65a8", "diamond", "D", "longdash", _DASHES["longdash"]),
    "width": ArmStyle("#bf8700", "triangle-up", "^", "dashdot", _DASHES["dashdot"]),
    "bottleneck": ArmStyle("#4a9f68", "triangle-down", "v", "dot", _DASHES["dot"]),
    "magnitude": _look("#875ad2", "x", "X", (4, 1.5, 1, 1.5, 1, 1.5)),
    "magnitude-tuned": _look("#870f87", "cross", "P", (3, 1.5)),
    "magnitude-tuned-layerwise": _look("#a596c3", "star-diamond", _star(4, 0.5), (5, 1.5, 2, 1.5)),
    "random-tuned": _look("#f06978", "triangle-left", "<", (2, 3.5)),
    "random-tuned-layers": _look("#a54b5a", "triangle-right", ">", (1, 3)),
    "l1": _look("#695a00", "hourglass", ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)), (1.5, 1.5)),
    "reparametrization": _look("#2d3cb4", "hexagram", _star(6, 0.58), (12, 1.5)),
    "reparametrization-faithful": _look("#0096ff", "pentagon", "p", (4, 4)),
    "snip": _look(
        "#7800f0", "diamond-tall", ((0, -1), (0.55, 0), (0, 1), (-0.55, 0), (0, -1)), (1, 1.5, 1, 4)
    ),
    "channel-reparametrization": _look(
        "#1e7896", "bowtie", ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1)), (8, 1.5, 3, 1.5)
    ),
    "iterative-magnitude": _look(
        "#3b0927",
        "square-x",
        ((-1, -1), (0, -0.6), (1, -1), (0.6, 0), (1, 1), (0, 0.6), (-1, 1), (-0.6, 0), (-1, -1)),
        (7, 1, 1, 1),
    ),
    "set": _look("#12010c", "circle-x", _star(8, 0.8), (2.5, 1)),
    "rigl": _look("#386dff", "diamond-x", ((0, -1), (1, 0), (0, 1), (0, 0), (-1, 0), (0, -1)), (4, 2, 4, 4)),
    "granet": _look(
        "#9179d4",
        "square-cross",
        ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, 0), (0, 0), (0, -1), (-1, -1)),
        (10, 1, 3, 1),
    ),
    "ac-dc": _look("#483048", "star-square", _star(4, 0.8), (6, 1.5, 6, 4)),
    "str": _look("#907830", "triangle-se", ((-1, -1), (1, 1), (1, -1), (-1, -1)), (2, 1.5, 2, 4)),
    "powerpropagation": _look("#d81890", "triangle-nw", ((-1, -1), (-1, 1), (1, 1), (-1, -1)), (10, 4)),
    "spartan": _look("#780000", "arrow-up", _ARROW, (7, 1.5, 1, 1.5, 1, 1.5)),
    "l0": _look("#001860", "arrow-down", tuple((x, -y) for x, y in _ARROW), (1, 1.5, 1, 6)),
}
_MORE_COLORS = ("#5f6f7c", "#7b5b3a", "#0b6e4f", "#a23b72", "#5a7d00", "#c4501b", "#3d5a80", "#6b3fa0")
_MORE_MARKS: tuple[tuple[str, Corners | str], ...] = (
    ("hexagon", "h"),
    ("octagon", "8"),
    ("star-triangle-up", _star(3, 0.35)),
    ("hexagon2", "H"),
    ("diamond-wide", ((0, -0.55), (1, 0), (0, 0.55), (-1, 0), (0, -0.55))),
    ("star-triangle-down", tuple((x, -y) for x, y in _star(3, 0.35))),
    ("triangle-ne", ((-1, 1), (1, 1), (1, -1), (-1, 1))),
    ("triangle-sw", ((1, -1), (-1, -1), (-1, 1), (1, -1))),
)
_MORE_DASHES = ((6, 1), (2, 2), (7, 2, 2, 2), (1, 2.5), (9, 1.5, 1, 1.5), (3, 3, 1, 3), (5, 5), (2, 1, 1, 1))
"""What arms look like that `ARMS` does not know; none of it is used there."""


def _derived(arm: str, taken: Iterable[ArmStyle]) -> ArmStyle:
    """A look that follows from the name alone, as long as no look `taken` is the same.

    Colour, mark and dash go together as long as there are enough of each; then they are shifted.
    """
    count = len(_MORE_COLORS)
    others = list(taken)
    first = zlib.crc32(arm.encode()) % count
    looks = [
        _look(
            _MORE_COLORS[i % count],
            *_MORE_MARKS[(i + shift) % count],
            _MORE_DASHES[(i + 2 * shift) % count],
        )
        for shift in range(count)
        for i in range(first, first + count)
    ]
    return next((look for look in looks if look not in others), looks[0])


def order(arms: Iterable[str]) -> list[str]:
    """The known arms in the order of `ARMS`, which begins with the paper's, then any others as they come.

    Example:
        >>> order(["snip", "synflow", "magnitude", "grasp", "width", "fisher-tuned", "grasp"])
        ['fisher-tuned', 'width', 'magnitude', 'snip', 'synflow', 'grasp']
    """
    present = dict.fromkeys(arms)
    return [arm for arm in ARMS if arm in present] + [arm for arm in present if arm not in ARMS]


def styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """The look of each arm. Arms that are not in `ARMS` have one that follows from their name.

    Example:
        >>> looks = styles(["copycat", "snip", "grasp"])
        >>> looks["copycat"].symbol, looks["grasp"].symbol, looks["snip"].symbol
        ('diamond', 'octagon', 'diamond-tall')
    """
    ordered = order(arms)
    looks = {arm: ARMS[arm] for arm in ordered if arm in ARMS}
    for arm in sorted(set(ordered) - set(looks)):
        looks[arm] = _derived(arm, looks.values())
    return {arm: looks[arm] for arm in ordered}


def looks_of(names: Sequence[str]) -> dict[str, ArmStyle]:
    """`styles`, with the unpruned network and unassigned runs in grey."""
    looks = styles(name for name in names if name not in ("dense", "other"))
    grey = {
        "dense": ArmStyle(DENSE, "star", "*", "solid", "-"),
        "other": ArmStyle("#9aa1a8", "circle", ".", "dot", ":"),
    }
    return {**looks, **{name: grey[name] for name in names if name in grey}}


def dash(i: int) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    """The i-th dash, for plotly and for matplotlib: tells budgets apart within one arm."""
    return list(_DASHES.items())[i % len(_DASHES)]
