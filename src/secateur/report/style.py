"""How an arm looks everywhere: its colour, marker and dash, the same on the page and in the figures.

The hues are those of Fig. 1 in Crowley et al. 2018 (red, blue, pink, yellow, green), moved until they stay
apart under simulated protanopia, deuteranopia and tritanopia and read on white. Nothing is told by colour
alone: every arm has its own marker and its own dash too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

INK = "#20252b"
MUTED = "#66707a"
GRID = "#e7e5df"
DENSE = "#3a3f45"
SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class ArmStyle:
    """One arm's look: `symbol` and `dash` for plotly, `marker` and `line` for matplotlib."""

    color: str
    symbol: str
    marker: str
    dash: str
    line: str | tuple[int, tuple[float, ...]]
    meaning: str = ""


_DASHES: dict[str, str | tuple[int, tuple[float, ...]]] = {
    "solid": "-",
    "dash": (0, (5, 2.5)),
    "longdash": (0, (9, 3)),
    "dashdot": (0, (6, 2.5, 1.5, 2.5)),
    "dot": (0, (1.5, 2)),
    "longdashdot": (0, (10, 2.5, 1.5, 2.5)),
}

ARMS: dict[str, ArmStyle] = {
    "fisher-tuned": ArmStyle(
        "#b3261e", "circle", "o", "solid", _DASHES["solid"], "trained, then Fisher-pruned while fine-tuning"
    ),
    "fisher-scratch": ArmStyle(
        "#1f5bb5", "square", "s", "dash", _DASHES["dash"], "the pruned architecture, trained from scratch"
    ),
    "copycat": ArmStyle(
        "#df65a8",
        "diamond",
        "D",
        "longdash",
        _DASHES["longdash"],
        "the pruned profile, rescaled, from scratch",
    ),
    "width": ArmStyle(
        "#bf8700", "triangle-up", "^", "dashdot", _DASHES["dashdot"], "a narrower network, from scratch"
    ),
    "bottleneck": ArmStyle(
        "#4a9f68", "triangle-down", "v", "dot", _DASHES["dot"], "every middle width times z, from scratch"
    ),
}
_MORE = [
    ("#7a4fb5", "cross", "P"),
    ("#0a8a9f", "x", "X"),
    ("#7b5b3a", "pentagon", "p"),
    ("#5f6f7c", "hexagon", "h"),
    ("#a23b72", "star", "*"),
    ("#5a7d00", "triangle-left", "<"),
]


def order(arms: Iterable[str]) -> list[str]:
    """The arms in the paper's order, then any others by name.

    Example:
        >>> order(["snip", "width", "fisher-tuned"])
        ['fisher-tuned', 'width', 'snip']
    """
    present = set(arms)
    return [arm for arm in ARMS if arm in present] + sorted(present - set(ARMS))


def styles(arms: Iterable[str]) -> dict[str, ArmStyle]:
    """The look of each arm. Arms beyond the paper's five take further looks in the order of their names.

    Example:
        >>> looks = styles(["copycat", "snip", "magnitude"])
        >>> looks["copycat"].symbol, looks["magnitude"].symbol, looks["snip"].symbol
        ('diamond', 'cross', 'x')
    """
    looks: dict[str, ArmStyle] = {}
    for arm in order(arms):
        if arm in ARMS:
            looks[arm] = ARMS[arm]
            continue
        i = len([seen for seen in looks if seen not in ARMS])
        color, symbol, marker = _MORE[i % len(_MORE)]
        dash = list(_DASHES)[(i + 1) % len(_DASHES)]
        looks[arm] = ArmStyle(color, symbol, marker, dash, _DASHES[dash])
    return looks


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
