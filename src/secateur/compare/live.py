"""The page of a comparison while it goes on: written again as runs end, at little cost, and never in its way.

Nothing but `report.html` is written before the end, so that nobody takes for results what is none. Drawing it
costs at most `SHARE` of the time, and so does the banner on top, which is put anew between two drawings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from secateur.atomic import make_folder, write_text
from secateur.compare.lacking import Lacking
from secateur.errors import kind_and_line
from secateur.progress import Reporter
from secateur.report.progress import Progress, Running, with_banner
from secateur.runs.graph import Made

EVERY_S = 5.0
"""The least time between two writings."""
SHARE, GRACE_S = 0.03, 5.0
"""How much of the time drawings may cost, and banners, beside so many seconds that each may cost anyway."""
SURE_AFTER = 0.02
"""The share of the work behind which the rest of the time can be guessed."""

Draw = Callable[[Progress], str]
"""Makes the page of the runs that are finished."""


@dataclass
class Account:
    """The seconds that one kind of writing took: in all, and the last time."""

    spent: float = 0.0
    last: float = 0.0

    def affordable(self, elapsed: float) -> bool:
        """Whether one more keeps it within its share of the time."""
        return self.spent + self.last <= GRACE_S + SHARE * elapsed

    def add(self, seconds: float) -> None:
        """Count one."""
        self.spent, self.last = self.spent + seconds, seconds


class LivePage:
    """Writes the page again where that is due; `hearer` is told what happens.

    Args:
        path: of the page; its folder is made.
        made: the runs that are wanted.
        draw: makes the page.
        lacking: says what is not there yet, given the names of the nodes that are.
        command: that goes on where this is left.
        note: is told, once, that the page cannot be written.
        clock: seconds, of which only differences matter.
    """

    def __init__(
        self,
        path: Path,
        made: Made,
        draw: Draw,
        lacking: Callable[[Set[str]], Lacking],
        command: str,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path, self.made, self.draw, self.lacking = path, made, draw, lacking
        self.command, self.note, self.clock = command, note, clock
        self.started = clock()
        self._there: set[str] = set()
        self._look_around()
        self.done_before = self._done_compute()
        self.hearers: list[Hearer] = []
        self.stale = True  # a run ended since the charts were drawn
        self._page, self._drawn, self._left_out = "", 0, False
        self._written, self._drawings, self._banners = -EVERY_S, Account(), Account()

    def hearer(self) -> Hearer:
        """Who is told of the runs of one worker."""
        self.hearers.append(Hearer(self))
        return self.hearers[-1]

    def look(self) -> None:
        """Write the page, where that is due."""
        now = self.clock()
        if self._page and now - self._written < EVERY_S:
            return
        if not self._page or (self.stale and self._drawings.affordable(now - self.started)):
            work, account = self._draw, self._drawings
        elif self._banners.affordable(now - self.started):
            work, account = self._put_banner, self._banners
        else:
            return
        self._guarded(work)
        self._written = self.clock()
        account.add(self._written - now)

    def stop(self, why: str) -> None:
        """Say on the page that it does not go on, and why; its charts stay as they are, for that is quick."""
        if self._page:
            self._guarded(lambda: self._write(with_banner(self._page, self._progress(why))))

    def _draw(self) -> None:
        progress = self._progress()
        self._drawn = progress.done
        self._page = self.draw(replace(progress, drawn=self._drawn))
        self._write(self._page)
        self.stale = False

    def _put_banner(self) -> None:
        self._page = with_banner(self._page, self._progress())
        self._write(self._page)

    def _write(self, page: str) -> None:
        make_folder(self.path.parent)
        write_text(self.path, page)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do it; what it cannot do is said, and stops nothing."""
        try:
            work()
        except Exception as error:
            if not self._left_out:
                self.note(f"the page cannot be written while runs are made ({kind_and_line(error)})")
            self._left_out = True

    def _progress(self, stopped: str = "") -> Progress:
        self._look_around()
        running = [Running(each.label, each.share) for each in self.hearers if each.label]
        lacking = self.lacking(self._there)
        return Progress(
            len(self._there),
            len(self.made.graph),
            time.time(),
            self.command,
            None if stopped else self._left_s(),
            () if stopped else tuple(running),
            lacking.waiting,
            self._drawn,
            stopped,
            lacking.failed,
        )

    def _look_around(self) -> None:
        """Find the runs that were finished since; what is there stays, and is not looked for again."""
        left = (node for node in self.made.graph if node.name not in self._there)
        self._there.update(node.name for node in left if self.made.has(node))

    def _left_s(self) -> float | None:
        """About how long it takes still, as fast as it went since this command began."""
        whole = self.made.graph.compute - self.done_before
        done = self._done_compute() - self.done_before
        done += sum(each.compute * each.share for each in self.hearers if each.label)
        if whole <= 0 or done < SURE_AFTER * whole:
            return None
        return (self.clock() - self.started) * max(0.0, whole - done) / done

    def _done_compute(self) -> float:
        return sum(node.compute for node in self.made.graph if node.name in self._there)


class Hearer(Reporter):
    """What one worker has in hand."""

    def __init__(self, page: LivePage):
        self.page = page
        self.label, self.compute, self.share = "", 0.0, 0.0

    def beside(self) -> Reporter:
        return self.page.hearer()

    def run_started(self, label: str, compute: float) -> None:
        self.label, self.compute, self.share = label, compute, 0.0
        self.page.look()

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        self.share = done
        self.page.look()

    def epoch(self, row: dict[str, Any]) -> None:
        self.page.look()

    def run_finished(self, text: str) -> None:
        self.label, self.page.stale = "", True
        self.page.look()
