"""One of several processes that make the runs of a comparison side by side: `python -m secateur.worker`.

It reads jobs from its standard input and says on its standard output what becomes of them, a line of JSON
each. It ends when its input does, so with the process that started it, however that ends; what was begun goes
on from its last epoch the next time. Signals are left to that process: Ctrl-C and SIGTERM may reach all of a
group at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.process import keep_freed_memory
from secateur.progress import Reporter

if TYPE_CHECKING:
    from secateur.runs.store import RunStore

STEP_EVERY_S = 0.1
Say = Callable[[dict[str, Any]], None]
Make = Callable[[dict[str, Any]], None]


class PipeReporter(Reporter):
    """Passes on what it is told, as messages."""

    def __init__(self, say: Say):
        self._say = say
        self._last = 0.0

    def run_started(self, label: str, compute: float) -> None:
        self._tell("run_started", label=label, compute=compute)

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        if time.monotonic() - self._last >= STEP_EVERY_S:
            self._last = time.monotonic()
            self._tell("step", done=done, loss=loss, accuracy=accuracy, **more)

    def epoch(self, row: dict[str, Any]) -> None:
        self._tell("epoch", row=row)

    def run_finished(self, text: str) -> None:
        self._tell("run_finished", text=text)

    def note(self, text: str) -> None:
        self._tell("note", text=text)

    def _tell(self, event: str, **content: Any) -> None:
        self._say({"event": event, "content": content})


def main() -> None:
    """Be a worker: of the folder that is named, with so many threads."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    say, jobs = _channel(), _jobs()
    keep_freed_memory()
    make = _opened(Path(sys.argv[1]), int(sys.argv[2]), say)
    while True:
        job = jobs.get()
        try:
            make(job["work"])
        except (InputError, TrainingError, OSError) as error:
            kind = next(of for of in (InputError, TrainingError, OSError) if isinstance(error, of))
            say({"failed": kind.__name__, "text": str(error)})
        except Exception as error:
            traceback.print_exc()
            say({"failed": "", "text": kind_and_line(error)})
        else:
            say({"done": job["name"]})


def _channel() -> Say:
    """Messages go where standard output went; whatever else prints, a user's model say, is no message."""
    channel: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=channel, flush=True)

    return say


def _jobs() -> queue.SimpleQueue[dict[str, Any]]:
    """The jobs as they come. A thread waits for them, and ends the process when there can be no more."""
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        with open(0, "rb", buffering=0, closefd=False) as unbuffered:  # no lock to be held at the end
            for line in unbuffered:
                jobs.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return jobs


def _opened(folder: Path, threads: int, say: Say) -> Make:
    """What makes a job's runs. What cannot be taken up here is refused, and the process ends."""
    import torch

    from secateur.compare.handover import WORK

    torch.set_num_threads(threads)
    work = json.loads((folder / WORK).read_text(encoding="utf-8"))
    paper = work.get("reproduction")
    try:
        store, make = _reproduction(paper, say) if paper else _comparison(folder, say)
    except InputError as error:
        say({"refused": str(error)})
        sys.exit(0)
    say({"ready": True})

    def done(described: dict[str, Any]) -> None:
        try:
            make(described)
        finally:
            store.release()

    return done


def _comparison(folder: Path, say: Say) -> tuple[RunStore, Make]:
    from secateur.compare.comparison import Comparison, Settings
    from secateur.compare.handover import take
    from secateur.compare.jobs import make
    from secateur.compare.replicate import Replicate

    taken = take(folder, PipeReporter(say))
    session, settings = taken.session, Settings(**taken.settings)
    comparison = Comparison(taken.architecture, session.data, settings, checked=True)
    return session.store, lambda work: make(Replicate(comparison, session, work["seed"], taken.rows), work)


def _reproduction(work: dict[str, Any], say: Say) -> tuple[RunStore, Make]:
    from secateur.papers import crowley2018, dupont2021
    from secateur.papers.reproduction import BaseReproduction
    from secateur.runs.store import RunStore

    papers: dict[str, Callable[..., BaseReproduction]] = {
        "crowley2018": crowley2018.Reproduction,
        "dupont2021": dupont2021.Reproduction,
    }
    if "cells" in work:
        work["cells"] = dupont2021.parse_cells(work["cells"])
    reproduction = papers[work.pop("paper")](**work, reporter=PipeReporter(say))
    reproduction.store = RunStore(reproduction.out, shared=True)
    sessions = reproduction.sessions()
    return reproduction.store, lambda work: reproduction.make(work, sessions)


if __name__ == "__main__":
    main()
