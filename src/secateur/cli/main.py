"""The command line. Torch is imported by the commands that need it, so that `--help` answers at once."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from types import FrameType
from typing import Annotated, NoReturn

import typer

from secateur.cli import checking, commands, measuring, pushing, runs, using
from secateur.cli.answer import answering
from secateur.cli.mistakes import usage_message
from secateur.cli.reproduce import reproduce
from secateur.cli.terminal import prepare_streams, unwritten
from secateur.errors import (
    OUT_OF_MEMORY,
    InputError,
    TrainingError,
    UnfinishedError,
    extra_of,
    first_line,
    kind_and_line,
    missing,
    out_of_memory,
    refused,
    require_posix,
)
from secateur.names import harmless
from secateur.process import keep_freed_memory
from secateur.records.ours import VERSION

app = typer.Typer(
    name="secateur",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_app = typer.Typer(help="List, show, check or delete the runs of an output folder.", no_args_is_help=True)
for command in (commands.compare, commands.train, commands.prune):
    app.command()(answering(command))
app.command("inspect")(answering(commands.inspect_model))
for command in (commands.diff, commands.export, reproduce, commands.scale, commands.report):
    app.command()(answering(command))
for command in (using.predict, using.evaluate, measuring.measure, measuring.forecast, pushing.push):
    app.command()(answering(command))
app.add_typer(runs_app, name="runs")
runs_app.command("list")(answering(runs.list_runs))
runs_app.command("show")(answering(runs.show_run))
runs_app.command("check")(answering(checking.check_runs))
runs_app.command("delete")(answering(runs.delete_run))

_INTERRUPTED = "interrupted: finished epochs and runs are kept; the same command continues"
_ANNOUNCED = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
"""By which the end of a session, or a cluster ahead of its time limit, says that this is to end."""
_UNFINISHED = 75
"""EX_TEMPFAIL of sysexits.h: the same command, later, goes on."""
_READER_LEFT = 128 + 13
"""What a shell says of a program that SIGPIPE ended."""


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"secateur {VERSION}")
        raise typer.Exit


@app.callback()
def of_every_command(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", is_eager=True, callback=_show_version, help="Print the version."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the result; of every command.")
    ] = False,
) -> None:
    """The best neural network inside a size budget: pruned, or trained smaller, and honestly compared.

    Every command takes `--json` (one document on stdout) and `--quiet`, and has an example in its `--help`.

    Example: `secateur compare --data digits --epochs 5 --prune-every 2`
    """


def _raise_interrupt(_signal: int, frame: FrameType | None) -> None:
    """Interrupt what goes on; an import, which may swallow that or break, is left at once.

    torch's own modules made a RecursionError of it, numpy's "cannot load module more than once". To leave so
    loses nothing: whatever is written survives a SIGKILL at any moment.
    """
    if _is_importing(frame):
        os.write(2, f"secateur: {_INTERRUPTED}\n".encode())
        os._exit(130)
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _listen_to_signals() -> None:
    signal.signal(signal.SIGTERM, _raise_interrupt)
    for name in _ANNOUNCED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not ignored, as by nohup
            signal.signal(number, _raise_interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as by nohup
        signal.signal(signal.SIGINT, _raise_interrupt)


def _say_of_thread(failed: threading.ExceptHookArgs) -> None:
    """Say in a line what a thread died of, as one that writes event files; who waits for it is told too."""
    if os.environ.get("SECATEUR_DEBUG"):
        threading.__excepthook__(failed)
    elif failed.exc_value is not None:
        _say_on_stderr(f"work in the background ended ({kind_and_line(failed.exc_value)})")


def main() -> None:
    """Run the command line; every error a user can meet becomes one line, never a traceback.

    Exit codes: 0 done, 2 bad input (nothing was written), 1 anything else, 3 some runs of a comparison failed
    and its results are of the others, 75 the minutes given are over, 130 interrupted (by Ctrl-C, SIGTERM,
    SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU). Output that cannot be written stops nothing: all is done, then 141
    says that its reader left (`| head`), 1 that it was lost.
    """
    _listen_to_signals()
    threading.excepthook = _say_of_thread
    prepare_streams()
    keep_freed_memory()
    code = _ended()
    problem = unwritten()
    if problem is not None and code == 0:
        code = _READER_LEFT if isinstance(problem, BrokenPipeError) else _said_of(problem)
    sys.exit(code)


def _ended() -> int:
    """Run the command line, and give its exit code."""
    try:
        return _run()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _said_of(problem: OSError) -> int:
    _say_on_stderr(
        f"stdout could not be written ({problem.strerror}): the work was done, what it said is lost"
    )
    return 1


def _run() -> int:
    """Run the command line, and give its exit code; what cannot be mended has been said on stderr."""
    from typer.exceptions import TyperException
    from typer.main import get_command

    try:
        require_posix("the command line")
        code = app(standalone_mode=False, prog_name="secateur")
    except TyperException as error:
        if not error.format_message():
            return error.exit_code  # no command was given, and the help has been shown
        _fail(usage_message(error, get_command(app), sys.argv[1:]), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _fail(_INTERRUPTED, 130)
    except InputError as error:
        _fail(str(error), 2)
    except TrainingError as error:
        _fail(str(error), 1)
    except UnfinishedError as error:
        _fail(str(error), _UNFINISHED)
    except ModuleNotFoundError as error:
        if not (error.name and extra_of(error.name)):
            _fail_of_ours(error)
        _fail(str(missing(error.name)), 2)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            _fail(f"{OUT_OF_MEMORY} ({first_line(error, 120)})", 1)
        _fail(f"{refused(error)}; what was finished is kept, and the same command goes on", 1)
    except (MemoryError, RuntimeError, ImportError) as error:
        if said := _lost_another(error):
            _fail(said, 1)
        if said := _refused_torch(error):
            _fail(said, 1)
        if not out_of_memory(error):
            _fail_of_ours(error)
        _fail(f"{OUT_OF_MEMORY} ({first_line(error, 120)})", 1)
    except SystemExit:  # of typer's own, as it completes a command line
        raise
    except BaseException as error:  # the last resort: no traceback reaches a user
        _fail_of_ours(error)
    if code == 130:  # typer turns Ctrl-C into this
        _fail(_INTERRUPTED, 130)
    return code if isinstance(code, int) else 0


def _fail_of_ours(error: BaseException) -> NoReturn:
    if os.environ.get("SECATEUR_DEBUG"):
        raise error
    what = f"internal error, {kind_and_line(error, 2000)}"
    _fail(f"{what}: SECATEUR_DEBUG=1 shows where; please report it", 1)


def _lost_another(error: BaseException) -> str | None:
    """Whether one of several processes is gone, outside of a run; without torch there are not several."""
    if "secateur.device" not in sys.modules:
        return None
    from secateur.device import lost_another

    return lost_another(error)


def _refused_torch(error: BaseException) -> str | None:
    """What torch says where the system refuses it a file: it has no class for that."""
    found = re.search(
        r"file failed with strerror: (.+)|PytorchStreamWriter failed (writing) file", str(error)
    )
    return found and refused(OSError(f"torch: {found[1] or 'a file could not be written'}"))


def _fail(message: str, code: int) -> NoReturn:
    _say_on_stderr(message)
    sys.exit(code)


def _say_on_stderr(message: str) -> None:
    print(f"secateur: {' '.join(harmless(message).split())}", file=sys.stderr)
