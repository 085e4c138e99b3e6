"""How a command is watched: `--open`, its page in a browser, and `--log-with`, its runs elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from secateur.cli import names
from secateur.cli.answer import is_json
from secateur.cli.generated import completing
from secateur.cli.options import MACHINE
from secateur.cli.terminal import say
from secateur.errors import InputError, kind_and_line

OpenOption = Annotated[
    bool,
    typer.Option(
        "--open",
        help="Show the report in a browser, at an address of this machine alone; at a terminal until Ctrl-C.",
    ),
]

LogWithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log-with",
        help="Show each run in wandb, tensorboard or mlflow besides, under its own id; with commas, or "
        "repeated.",
        autocompletion=completing(names.TRACKERS),
        rich_help_panel=MACHINE,
    ),
]

Finish = Callable[[], None]
"""What is done when everything has been said."""


def check_open(wanted: bool, plan: bool) -> None:
    """Raise InputError where there will be no page to open."""
    if wanted and plan:
        raise InputError(
            "--open shows the report of runs that are made, and --plan makes none: leave one out"
        )


@contextmanager
def opened(wanted: bool, folder: Path, page: str, there: bool = False) -> Iterator[Finish | None]:
    """Serve a folder while a command works, and open its page; gives what is done at the end.

    A browser or a port that cannot be had is said, and stops nothing.

    Args:
        there: the page is the last already.
    """
    if not wanted:
        yield None
        return
    from secateur.report.serving import Served, open_browser

    ready = [time.monotonic()] if there else []
    try:
        served = Served(folder, page).__enter__()
    except OSError as error:
        say(f"--open: no address can be had ({kind_and_line(error)}); the page is '{folder / page}'")
        yield None
        return
    began = open_browser(served.address)
    say(f"The report is at {served.address}{'' if began else ' (no browser was found here to open it)'}")
    stays = sys.stdin is not None and sys.stdin.isatty() and not is_json()

    def finish() -> None:
        if stays:
            say("It stays there until Ctrl-C.")
        served.wait(stays, ready[0], began)
        served.close()

    try:
        yield finish
        ready.append(time.monotonic())
    except BaseException:
        served.close()
        raise
