"""The page of what a network comes to where it runs: sizes, and a bar for each runtime, now and before.

One file that needs nothing but a browser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.atomic import make_folder, write_text
from secateur.records.measured import BEFORE, NOW, Measured

from .templates import environment

PAGE = "measured.html"


@dataclass(frozen=True)
class Bar:
    """A time, drawn.

    Attributes:
        which: NOW or BEFORE.
        share: of the longest time on the page, in percent; at least what can be seen.
        text: what is written behind it.
    """

    which: str
    share: float
    text: str


def write_measured(found: Measured, directory: Path) -> Path:
    """Write the page into a folder, which is made if need be; its path."""
    make_folder(directory)
    path = directory / PAGE
    write_text(path, render(found))
    return path


def render(found: Measured) -> str:
    """The page as text."""
    template = environment("secateur.report").get_template("measured.html")
    return template.render(network=found.network, **parts(found))


def parts(found: Measured) -> dict[str, Any]:
    """What the page shows, and the section of a comparison's page: tables, bars and sentences."""
    sizes, times = found.tables()
    return {
        "sizes": sizes,
        "times": times,
        "bars": bars(found),
        "notes": found.notes(),
        "setting": found.setting,
        "versions": ", ".join(f"{name} {version}" for name, version in found.versions.items()),
    }


def bars(found: Measured) -> list[tuple[str, list[Bar]]]:
    """For each runtime its bars, now and before: their lengths can be compared over the whole page."""
    longest = max((row.median_ns for row in found.timings), default=1)
    drawn = []
    for runtime in found.runtimes:
        timings = [found.timing(runtime, which) for which in (NOW, BEFORE)]
        drawn.append((runtime, [_bar(row.which, row.median_ns, longest) for row in timings if row]))
    return drawn


def _bar(which: str, nanoseconds: int, longest: int) -> Bar:
    return Bar(which, max(0.3, 100 * nanoseconds / longest), f"{nanoseconds / 1e6:.3g} ms {which}")
