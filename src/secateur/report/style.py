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

from .palette import DENSE

Corners = tuple[tuple[float, float], ...]  # of a mark that matplotlib has no name for


@dataclass(frozen=True)
class ArmStyle:
    """One arm's look: `marker` and `line` as matplotlib has them."""

    color: str
    marker: str | Corners
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


def _look(color: str, marker: str | Corners, lengths: tuple[float, ...]) -> ArmStyle:
    """A look whose dash has no name: dashes and gaps, in units of the line's width."""
    return ArmStyle(color, marker, (0, lengths))


ARMS: dict[str, ArmStyle] = {
    "fisher-tuned": ArmStyle("#b3261e", "o", _DASHES["solid"]),
    "fisher-scratch": ArmStyle("#1f5bb5", "s", _DASHES["dash"]),
    "copycat": ArmStyle("#df65a8", "D", _DASHES["longdash"]),
    "width": ArmStyle("#bf8700", "^", _DASHES["dashdot"]),
    "bottleneck": ArmStyle("#4a9f68", "v", _DASHES["dot"]),
    "magnitude": _look("#875ad2", "X", (4, 1.5, 1, 1.5, 1, 1.5)),
    "magnitude-tuned": _look("#870f87", "P", (3, 1.5)),
    "magnitude-tuned-layerwise": _look("#a596c3", _star(4, 0.5), (5, 1.5, 2, 1.5)),
    "random-tuned": _look("#f06978", "<", (2, 3.5)),
    "random-tuned-layers": _look("#a54b5a", ">", (1, 3)),
    "l1": _look("#695a00", ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)), (1.5, 1.5)),
    "reparametrization": _look("#2d3cb4", _star(6, 0.58), (12, 1.5)),
    "reparametrization-faithful": _look("#0096ff", "p", (4, 4)),
    "snip": _look("#7800f0", ((0, -1), (0.55, 0), (0, 1), (-0.55, 0), (0, -1)), (1, 1.5, 1, 4)),
    "channel-reparametrization": _look(
        "#1e7896", ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1)), (8, 1.5, 3, 1.5)
    ),
    "iterative-magnitude": _look(
        "#3b0927",
        ((-1, -1), (0, -0.6), (1, -1), (0.6, 0), (1, 1), (0, 0.6), (-1, 1), (-0.6, 0), (-1, -1)),
        (7, 1, 1, 1),
    ),
    "set": _look("#12010c", _star(8, 0.8), (2.5, 1)),
    "rigl": _look("#386dff", ((0, -1), (1, 0), (0, 1), (0, 0), (-1, 0), (0, -1)), (4, 2, 4, 4)),
    "granet": _look(
        "#9179d4",
        ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, 0), (0, 0), (0, -1), (-1, -1)),
        (10, 1, 3, 1),
    ),
    "ac-dc": _look("#483048", _star(4, 0.8), (6, 1.5, 6, 4)),
    "str": _look("#907830", ((-1, -1), (1, 1), (1, -1), (-1, -1)), (2, 1.5, 2, 4)),
    "powerpropagation": _look("#d81890", ((-1, -1), (-1, 1), (1, 1), (-1, -1)), (10, 4)),
    "spartan": _look("#780000", _ARROW, (7, 1.5, 1, 1.5, 1, 1.5)),
    "l0": _look("#001860", tuple((x, -y) for x, y in _ARROW), (1, 1.5, 1, 6)),
}
_MORE_COLORS = ("#5f6f7c", "#7b5b3a", "#0b6e4f", "#a23b72", "#5a7d00", "#c4501b", "#3d5a80", "#6b3fa0")
_MORE_MARKS: tuple[Corners | str, ...] = (
    "h",
    "8",
    _star(3, 0.35),
    "H",
    ((0, -0.55), (1, 0), (0, 0.55), (-1, 0), (0, -0.55)),
    tuple((x, -y) for x, y in _star(3, 0.35)),
    ((-1, 1), (1, 1), (1, -1), (-1, 1)),
    ((1, -1), (-1, -1), (-1, 1), (1, -1)),
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
            _MORE_MARKS[(i + shift) % count],
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
        >>> looks["copycat"].marker, looks["grasp"].marker
        ('D', '8')
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
        "dense": ArmStyle(DENSE, "*", "-"),
        "other": ArmStyle("#9aa1a8", ".", (0, (1, 1.6))),
    }
    return {**looks, **{name: grey[name] for name in names if name in grey}}


def dash(i: int) -> str | tuple[int, tuple[float, ...]]:
    """The i-th dash: tells budgets apart within one arm."""
    return list(_DASHES.values())[i % len(_DASHES)]
