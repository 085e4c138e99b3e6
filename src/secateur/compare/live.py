"""The page of a comparison while it goes on: written again as runs end, at little cost, and never in its way.

Nothing but `report.html` is written before the end, so that nobody takes for results what is none. The page
costs at most `SHARE` of the time: between two drawings of its charts only the banner on top is put anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from secateur.atomic import make_folder, write_text
from secateur.errors import kind_and_line
from secateur.progress import Reporter
from secateur.report.progress import Progress, Running, with_banner
from secateur.runs.graph import Made

EVERY_S = 5.0
"""The least time between two writings."""
SHARE, GRACE_S = 0.03, 5.0
"""How much of the time the page may cost, beside so many seconds that it may cost anyway."""
SURE_AFTER = 0.02
"""The share of the work behind which the rest of the time can be guessed."""

Draw = Callable[[Progress], str]
"""Makes the page of the runs that are finished."""


class LivePage:
    """Writes the page again where that is due; `hearer` is told what happens.

    Args:
        path: of the page; its folder is made.
        made: the runs that are wanted.
        draw: makes the page.
        waiting: says which points are not there yet, in words.
        command: that goes on where this is left.
        note: is told, once, that the page cannot be written.
        clock: seconds, of which only differences matter.
    """

    def __init__(
        self,
        path: Path,
        made: Made,
        draw: Draw,
        waiting: Callable[[], Sequence[str]],
        command: str,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path, self.made, self.draw, self.waiting = path, made, draw, waiting
        self.command, self.note, self.clock = command, note, clock
        self.started = clock()
        self.done_before = self._done_compute()
        self.hearers: list[Hearer] = []
        self.stale = True  # a run ended since the charts were drawn
        self._page, self._drawn, self._left_out = "", 0, False
        self._written, self._spent, self._drawing = -EVERY_S, 0.0, 0.0

    def hearer(self) -> Hearer:
        """Who is told of the runs of one worker."""
        self.hearers.append(Hearer(self))
        return self.hearers[-1]

    def look(self) -> None:
        """Write the page, where that is due."""
        now = self.clock()
        if self._page and now - self._written < EVERY_S:
            return
        affordable = self._spent + self._drawing <= GRACE_S + SHARE * (now - self.started)
        if not self._page or (self.stale and affordable):
            self._guarded(self._draw)
        else:
            self._guarded(self._put_banner)
        self._written = self.clock()
        self._spent += self._written - now

    def stop(self, why: str) -> None:
        """Say on the page that it does not go on, and why; its charts stay as they are, for that is quick."""
        if self._page:
            self._guarded(lambda: self._write(with_banner(self._page, self._progress(why))))

    def _draw(self) -> None:
        begun = self.clock()
        self._drawn = self._done()
        self._page = self.draw(self._progress())
        self._write(self._page)
        self.stale, self._drawing = False, self.clock() - begun

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
        running = [Running(each.label, each.share) for each in self.hearers if each.label]
        return Progress(
            self._done(),
            len(self.made.graph),
            time.time(),
            self.command,
            None if stopped else self._left_s(),
            () if stopped else tuple(running),
            tuple(self.waiting()),
            self._drawn,
            stopped,
        )

    def _done(self) -> int:
        return sum(self.made.has(node) for node in self.made.graph)

    def _left_s(self) -> float | None:
        """About how long it takes still, as fast as it went since this command began."""
        whole = self.made.graph.compute - self.done_before
        done = self._done_compute() - self.done_before
        done += sum(each.compute * each.share for each in self.hearers if each.label)
        if whole <= 0 or done < SURE_AFTER * whole:
            return None
        return (self.clock() - self.started) * max(0.0, whole - done) / done

    def _done_compute(self) -> float:
        return sum(node.compute for node in self.made.graph if self.made.has(node))


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
