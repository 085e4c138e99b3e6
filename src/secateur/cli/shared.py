"""What commands share: options that several take, and what is made of options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secateur.cli.generated import option
from secateur.cli.options import MACHINE, Options
from secateur.cli.terminal import say
from secateur.errors import InputError

if TYPE_CHECKING:
    from secateur.architecture.architecture import Architecture
    from secateur.cli.answer import Answer
    from secateur.compare.one_network import Subject
    from secateur.data import Data
    from secateur.runs.session import Session

WorkersOption = Annotated[
    str,
    option(
        "Networks trained side by side, in so many processes that share the threads; auto: several where "
        "they are small enough to gain by it, on a CPU.",
        MACHINE,
    ),
]

OnOption = Annotated[
    str,
    option(
        "Where these processes run: here, ray (a cluster of this machine, started for it), or "
        "ray://HOST:PORT, whose machines share the folder of --out.",
        MACHINE,
    ),
]

RetryFailedOption = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Make runs again that failed under an earlier command; else they are told and left, and the "
        "others go on.",
        rich_help_panel=MACHINE,
    ),
]

RunLimitOption = Annotated[
    float | None,
    typer.Option(
        "--run-limit",
        help="Minutes that one run may take; one that hangs is a failed run, and the others go on. Runs "
        "are then made in a process beside this one. By default no limit.",
        rich_help_panel=MACHINE,
    ),
]

PlanOption = Annotated[
    bool, typer.Option("--plan", help="Say what was found and what would be trained; train nothing.")
]


def user_path(text: str | Path) -> Path:
    """Read a path of the command line: `~` is the home folder, and an empty one is refused."""
    from secateur.records.out import expanded

    try:
        return expanded(text, "a path")
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


def path_option(help_text: str, panel: str | None = None) -> Any:
    """An option that takes a path."""
    return typer.Option(parser=user_path, metavar="PATH", help=help_text, rich_help_panel=panel)


def path_argument(help_text: str, metavar: str = "DIR") -> Any:
    """An argument that is a path."""
    return typer.Argument(parser=user_path, metavar=metavar, help=help_text)


def session_for(
    options: Options, out: Path, files: Sequence[str], log_with: Sequence[str] | None = None
) -> tuple[Session, Data, Architecture]:
    """What to work with, as the options say; everything is checked, nothing is written.

    Args:
        files: that will be written into `out`, whatever else will be; none of the user's may be among them.
        log_with: services that the runs are shown in.
    """
    from secateur.data.batches import check_batch
    from secateur.device import Runtime
    from secateur.progress import reporter_for
    from secateur.records.out import check_out
    from secateur.runs.session import Session
    from secateur.runs.store import RunStore
    from secateur.tracking.services import check_services

    check_out(out, files, model=options.model_path, data=options.data_folder)
    trackers = check_services(log_with)
    runtime = Runtime(options.device)
    reporter = reporter_for(sys.stdout, silent=not runtime.is_main)
    with reporter:
        data, architecture = options.load(reporter)
        options.try_on(architecture, data)
        check_batch(data, options.recipe().batch_size, runtime.device)
    if runtime.is_main and data.found:
        say(data.found.line())
    return Session(RunStore(out), runtime, reporter, trackers=trackers), data, architecture


def planned(
    session: Session,
    subject: Subject,
    work: Callable[[Session], Any],
    settings: Mapping[str, Any] | None = None,
) -> Answer | None:
    """What one network would take, as `--plan` says it; nothing is trained and nothing written.

    Args:
        settings: what was set of methods: method -> setting -> value.
    """
    from secateur.cli import printing
    from secateur.runs.rehearsal import rehearsed

    graph = rehearsed(session, work)
    return printing.plan_of_one(graph, subject, session, settings or {}) if session.runtime.is_main else None


def factory_named(name: str | None) -> Any:
    """What builds a network, by the name that the user gave."""
    from secateur.architecture.factories import factory_of

    return None if name is None else factory_of(name)


def budgets_of(texts: list[str]) -> tuple[Any, ...]:
    """Each budget by itself, whether it was given by an option of its own or after a comma."""
    from secateur.budget import Budget, split

    return tuple(Budget.parse(part) for text in texts for part in split(text))


def only_one(budgets: tuple[Any, ...]) -> Any:
    """The one budget there is; InputError where there are several."""
    if len(budgets) != 1:
        raise InputError(f"one budget is taken here, got {', '.join(map(str, budgets))}: give one of them")
    return budgets[0]


_NOT_ASKED = ("--json", "--quiet", "-q", "--open", "--retry-failed")


def command_line() -> str:
    """The command as it can be given again, without what is only of this once: how its result is shown."""
    return shlex.join(["secateur", *(word for word in sys.argv[1:] if word not in _NOT_ASKED)])
