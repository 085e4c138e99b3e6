"""What is said under every paper's tables, and how text gets into Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from secateur.errors import unknown
from secateur.papers.cells import About

SCALES = ("smoke", "laptop", "paper")
MISSING = "–"


def conditions(about: About, counts: Iterable[int]) -> str:
    """Under what conditions our numbers were made, and whether they may be held against the paper's.

    Args:
        counts: of the runs behind each of our numbers.

    Raises:
        InputError: an unknown scale.
    """
    if about.scale not in SCALES:
        raise unknown("scale", about.scale, SCALES)
    text = (
        f"Scale: {about.scale}. Data: {about.data.rstrip('.')}. Selection: {about.selection}. "
        f"Device: {about.device}. Commit: {about.commit}. {_behind(counts)}"
    )
    if about.scale == "paper":
        return text
    return f"{text} The conditions are not the paper's: absolute numbers are not comparable with its own."


def _behind(counts: Iterable[int]) -> str:
    """What stands behind ± and the number in parentheses."""
    found = sorted(set(counts) - {0})
    if not found:
        return "No finished runs yet."
    if found == [1]:
        return "Ours: one run each (n = 1), so there is no standard deviation."
    n = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"Ours: mean ± sample standard deviation (n), n = {n} runs with different seeds."


def shown(mean: float | None, std: float | None, n: int, digits: int) -> str:
    """Our number as it stands in a table.

    Example:
        >>> shown(59.31, 0.42, 3, 1)
        '59.3 ± 0.4 (3)'
    """
    if mean is None:
        return MISSING
    spread = "" if std is None else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({n})"


def markdown(text: str) -> str:
    r"""Text as text on one line: nothing in it is markup.

    Example:
        >>> markdown("a|b <i>")
        'a\\|b \\<i\\>'
    """
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", " ".join(text.split()))
