"""How long work shows itself: bars on a terminal, lines elsewhere, nothing in a library."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from secateur.names import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0
_TOLD: ContextVar[Reporter] = ContextVar("told")


class Reporter:
    """Told of everything that happens; says nothing. Subclasses show it."""

    _before: Token[Reporter]

    def __enter__(self) -> Reporter:
        self._before = _TOLD.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        _TOLD.reset(self._before)

    def begin(self, what: str, total: float) -> None:
        """A piece of work of `total` units of compute (estimated) begins, e.g. a comparison."""

    def run_started(self, label: str, compute: float) -> None:
        """A run begins, worth `compute` units of the whole."""

    def run_begun(
        self, run_id: str, label: str, seed: int, identity: Mapping[str, Any], history: Sequence[Any]
    ) -> None:
        """Which run it is that was started, by its id and identity, and the epochs that it has behind it."""

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        """The run in hand is `done` (a share in [0, 1]); `more` are the method's numbers."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch ended; `row` is its line of the history."""

    def run_finished(self, text: str) -> None:
        """A run ended; `text` says with what."""

    def note(self, text: str) -> None:
        """Something that takes a while begins, and nobody can say how far it is."""

    def decoding(self, what: str, done: int, total: int) -> None:
        """Images are being decoded."""

    def proving(self, done: int, total: int) -> None:
        """Of about `total` cuts that prove a network's channel groups, `done` were tried."""

    def beside(self) -> Reporter:
        """What is told of one of several runs that are made side by side; by default the same as of all."""
        return self


class Several(Reporter):
    """Tells each of several reporters, in their order."""

    def __init__(self, *each: Reporter):
        self.each = each
        self._entered = ExitStack()

    def __enter__(self) -> Reporter:
        for one in self.each:
            self._entered.enter_context(one)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._entered.close()

    def begin(self, what: str, total: float) -> None:
        self._tell("begin", what, total)

    def run_started(self, label: str, compute: float) -> None:
        self._tell("run_started", label, compute)

    def run_begun(
        self, run_id: str, label: str, seed: int, identity: Mapping[str, Any], history: Sequence[Any]
    ) -> None:
        self._tell("run_begun", run_id, label, seed, identity, history)

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        self._tell("step", done=done, loss=loss, accuracy=accuracy, **more)

    def epoch(self, row: dict[str, Any]) -> None:
        self._tell("epoch", row)

    def run_finished(self, text: str) -> None:
        self._tell("run_finished", text)

    def note(self, text: str) -> None:
        self._tell("note", text)

    def decoding(self, what: str, done: int, total: int) -> None:
        self._tell("decoding", what, done, total)

    def proving(self, done: int, total: int) -> None:
        self._tell("proving", done, total)

    def beside(self) -> Reporter:
        return Several(*(one.beside() for one in self.each))

    def _tell(self, event: str, *content: Any, **named: Any) -> None:
        for one in self.each:
            getattr(one, event)(*content, **named)


class LineReporter(Reporter):
    """For logs and pipes: a line for each run that ends, and one every half minute in between."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stdout
        self.label = ""
        self.done = 0.0
        self._last = time.monotonic()

    def run_started(self, label: str, compute: float) -> None:
        self.label, self.done = label, 0.0

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        self.done = done

    def epoch(self, row: dict[str, Any]) -> None:
        if time.monotonic() - self._last >= LINE_EVERY_S:
            self._say(
                f"  {self.label}: {self.done:.0%}, epoch {row['epoch']}, loss {row['loss']:.3f}"
                f"{_measured(row)}{_pruned(row)}"
            )

    def run_finished(self, text: str) -> None:
        self._say(text)

    def note(self, text: str) -> None:
        self._say(text)

    def decoding(self, what: str, done: int, total: int) -> None:
        if done == total:
            self._say(f"{what}: {total:,} images")

    def proving(self, done: int, total: int) -> None:
        if done < total and time.monotonic() - self._last >= LINE_EVERY_S:
            self._say(f"  proving what can be cut: {done} of about {total} cuts tried")

    def beside(self) -> Reporter:
        return LineReporter(self.stream)

    def _say(self, text: str) -> None:
        print(harmless(text), file=self.stream, flush=True)
        self._last = time.monotonic()


@dataclass
class _Whole:
    """All the work, on its bar: what the runs that ended were worth, and what is done of those in hand."""

    bar: TaskID | None = None
    done: float = 0.0
    in_hand: dict[int, float] = field(default_factory=dict)

    @property
    def completed(self) -> float:
        return self.done + sum(self.in_hand.values())


class BarReporter(Reporter):
    """Bars on a terminal: all the work, and each run in hand with its loss, accuracy and time left."""

    def __init__(self, console: Console | None = None, beside: BarReporter | None = None):
        self.bars: Progress = beside.bars if beside else _bars(console)
        self.whole: _Whole = beside.whole if beside else _Whole()
        self.run: TaskID | None = None
        self.compute = 0.0  # of the run in hand

    def __enter__(self) -> Reporter:
        self.bars.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        super().__exit__(kind, error, trace)

    def begin(self, what: str, total: float) -> None:
        self.whole.bar = self.bars.add_task(harmless(what), total=total, note="")

    def run_started(self, label: str, compute: float) -> None:
        self._drop_run()
        self.compute = compute
        self.run = self.bars.add_task(harmless(label), total=1.0, note="")

    def step(self, *, done: float, loss: float, accuracy: float | None = None, **more: float) -> None:
        if self.run is None:
            return
        known = "" if accuracy is None else f", accuracy {accuracy:.1%}"
        note = f"loss {loss:.3f}{known}{_pruned(more)}"
        self.bars.update(self.run, completed=done, note=note)
        self.whole.in_hand[id(self)] = self.compute * done
        self._show_whole()

    def run_finished(self, text: str) -> None:
        self._drop_run()
        self.whole.done += self.compute
        self._show_whole()
        self.bars.console.print(harmless(text), highlight=False, markup=False)

    def note(self, text: str) -> None:
        self.bars.console.print(harmless(text), highlight=False, markup=False)

    def beside(self) -> Reporter:
        return BarReporter(beside=self)

    def _show_whole(self) -> None:
        if self.whole.bar is not None:
            self.bars.update(self.whole.bar, completed=self.whole.completed)

    def decoding(self, what: str, done: int, total: int) -> None:
        if self.run is None:
            self.run = self.bars.add_task(harmless(what), total=total, note="")
        self.bars.update(self.run, completed=done, total=total)
        if done == total:
            self._drop_run()

    def proving(self, done: int, total: int) -> None:
        self.decoding("proving what can be cut", done, total)

    def _drop_run(self) -> None:
        self.whole.in_hand.pop(id(self), None)
        if self.run is not None:
            self.bars.remove_task(self.run)
            self.run = None


def _bars(console: Console | None) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", table_column=None, markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=console,
    )


def told() -> Reporter:
    """Who is told of what takes long: the reporter that is entered at present, else one that says nothing."""
    return _TOLD.get(None) or Reporter()


def reporter_for(stream: TextIO, silent: bool = False) -> Reporter:
    """Bars where `stream` is a terminal, else lines; nothing for a process that is not to talk."""
    if silent:
        return Reporter()
    if not stream.isatty():
        return LineReporter(stream)
    from rich.console import Console

    return BarReporter(Console(file=stream))


def duration(seconds: float) -> str:
    """A length of time in a few characters.

    Example:
        >>> duration(89), duration(840), duration(9000)
        ('89 s', '14 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _measured(row: Mapping[str, Any]) -> str:
    """What the network is worth after an epoch, as far as that was measured; metrics in plain numbers."""
    shown = "{:.1%}" if row["train_accuracy"] is not None else "{:.4g}"
    for split, key in (("validation", "val_accuracy"), ("training", "train_accuracy")):
        if row[key] is not None:
            return f", {split} {shown.format(row[key])}"
    return ""


def _pruned(numbers: Mapping[str, Any]) -> str:
    """How far the pruning is, in the words of `Method.progress`."""
    if "removed" in numbers:
        return f", {numbers['removed']} removed"
    if "remaining" in numbers:
        return f", {numbers['remaining']:.2%} of the weights in use"
    return ""
