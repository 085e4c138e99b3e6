"""The command line. Torch is imported by the commands that need it, so that `--help` answers at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import typer

from secateur.cli import commands, runs
from secateur.cli.reproduce import reproduce
from secateur.errors import InputError, TrainingError
from secateur.process import keep_freed_memory

app = typer.Typer(
    name="secateur",
    help="The best neural network inside a size budget: pruned, or trained smaller from scratch, "
    "and honestly compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
runs_app = typer.Typer(help="List, show or delete the runs of an output folder.", no_args_is_help=True)
for command in (commands.compare, commands.train, commands.prune):
    app.command()(command)
app.command("inspect")(commands.inspect_model)
for command in (commands.diff, commands.export, reproduce, commands.scale, commands.report):
    app.command()(command)
app.add_typer(runs_app, name="runs")
runs_app.command("list")(runs.list_runs)
runs_app.command("show")(runs.show_run)
runs_app.command("delete")(runs.delete_run)

_INTERRUPTED = "interrupted: finished epochs and runs are kept; the same command continues"


def _raise_interrupt(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; every error a user can meet becomes one line, never a traceback.

    Exit codes: 0 done, 2 bad input (nothing was written), 1 anything else, 130 interrupted.
    """
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, _raise_interrupt)
    keep_freed_memory()
    debug = bool(os.environ.get("SECATEUR_DEBUG"))
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        if not (message := error.format_message()):
            sys.exit(error.exit_code)  # no command was given, and the help has been shown
        _fail(f"{message} See `secateur --help`.", error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_INTERRUPTED, 130)
    except InputError as error:
        _fail(str(error), 2)
    except TrainingError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"the system refused: {error}: check the path, the permissions and the space left", 2)
    except Exception as error:  # the last resort: no traceback reaches a user
        if debug:
            raise
        _fail(
            (
                f"internal error, {type(error).__name__}: {error}: SECATEUR_DEBUG=1 shows where; please "
                "report it"
            ),
            1,
        )
    else:
        if code == 130:  # typer turns Ctrl-C into this
            _fail(_INTERRUPTED, 130)
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"secateur: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
