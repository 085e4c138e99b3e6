"""How far a comparison is while its page is watched: a banner on top, of which the last page has nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from secateur.progress import duration

from .templates import environment

RELOAD_EVERY_S = 10
BEGIN, END = "<!-- progress -->", "<!-- end of progress -->"
"""Where the banner stands on a page: `with_banner` puts another there."""

_BANNER = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
_REFRESH = re.compile(r'<noscript>\s*<meta http-equiv="refresh"[^>]*>\s*</noscript>')


@dataclass(frozen=True)
class Running:
    """A run in hand: its label, and the share of it that is done, in [0, 1]."""

    label: str
    share: float


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        done, total: runs that are finished, and all that are wanted.
        written: when, in seconds since 1970.
        command: that goes on where this was left.
        left_s: about how many seconds it takes still; None: nobody knows yet.
        running: the runs in hand.
        waiting: points that are not there yet, in words, with the seeds that are.
        drawn: of the runs, how many there were when the charts were drawn.
        stopped: why it does not go on, in words; empty while it does.
        failed: runs that failed, each with why.
    """

    done: int
    total: int
    written: float
    command: str
    left_s: float | None = None
    running: tuple[Running, ...] = ()
    waiting: tuple[str, ...] = ()
    drawn: int = 0
    stopped: str = ""
    failed: tuple[str, ...] = ()

    @property
    def every(self) -> int | None:
        """Seconds after which the page loads itself again; None where it does not go on."""
        return None if self.stopped else RELOAD_EVERY_S

    @property
    def text(self) -> str:
        """The banner's first line.

        Example:
            >>> Progress(12, 30, 0.0, "", left_s=840).text
            '12 of 30 runs finished; about 14 min left'
            >>> Progress(12, 30, 0.0, "", stopped="It was interrupted").text
            'Unfinished: 12 of 30 runs are there'
        """
        if self.stopped:
            return f"Unfinished: {self.done} of {self.total} runs are there"
        left = "" if self.left_s is None else f"; about {duration(self.left_s)} left"
        return f"{self.done} of {self.total} runs finished{left}"


def banner(progress: Progress) -> str:
    """The banner by itself, as it stands on the page."""
    return environment("secateur.report").get_template("partials/progress.html").render(progress=progress)


def with_banner(page: str, progress: Progress) -> str:
    """The page with another banner, else as it is; it loads itself again only while the work goes on."""
    found = _BANNER.search(banner(progress))
    assert found is not None
    page = _BANNER.sub(lambda _: found[0], page, count=1)
    return page if progress.every else _REFRESH.sub("", page)
