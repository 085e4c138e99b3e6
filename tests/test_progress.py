"""What long work shows: bars on a terminal, quiet lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from secateur.progress import BarReporter, LineReporter, Reporter, reporter_for

ROW = {"epoch": 3, "loss": 0.5, "val_accuracy": 0.75, "train_accuracy": 0.5, "removed": 2}


def work(reporter):
    with reporter:
        reporter.begin("compare wrn-16-1 on digits", 100.0)
        reporter.run_started("width params=50% seed 0", 60.0)
        reporter.step(done=0.5, loss=0.512, accuracy=0.871)
        reporter.epoch(ROW)
        reporter.run_finished("width params=50% seed 0: 90.0% with 1,234 parameters (2 s)")
        reporter.run_started("fisher-tuned params=50% seed 0", 40.0)
        reporter.step(done=0.25, loss=0.1, accuracy=0.9, removed=17)


def test_lines_are_one_for_each_finished_run():
    stream = io.StringIO()
    work(LineReporter(stream))
    assert stream.getvalue() == "width params=50% seed 0: 90.0% with 1,234 parameters (2 s)\n"


def test_lines_speak_up_every_half_minute():
    stream = io.StringIO()
    reporter = LineReporter(stream)
    reporter.run_started("copycat", 1.0)
    reporter.step(done=0.3, loss=0.5, accuracy=0.5)
    reporter._last -= 31
    reporter.epoch(ROW)
    reporter.epoch(ROW)
    assert stream.getvalue() == "  copycat: 30%, epoch 3, loss 0.500, validation 75.0%, 2 removed\n"


def test_bars_show_the_whole_and_the_run_in_hand():
    stream = io.StringIO()
    reporter = BarReporter(Console(file=stream, force_terminal=True, width=140))
    work(reporter)
    shown = stream.getvalue()
    for text in ("compare wrn-16-1 on digits", "loss 0.100, accuracy 90.0%, 17 removed", "90.0% with 1,234"):
        assert text in shown
    assert reporter.bars.tasks[0].percentage == 60 + 40 / 4


def test_the_stream_decides():
    assert isinstance(reporter_for(io.StringIO()), LineReporter)
    assert type(reporter_for(io.StringIO(), silent=True)) is Reporter
