"""What a command says at its end, as text or as one JSON document, and what it may say before."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from secateur.errors import TrainingError, first_line

_AS_JSON = typer.Option("--json", help="Print the result as one JSON document.")
_QUIET = typer.Option("--quiet", "-q", help="Print nothing but the result.")


class Nowhere(io.StringIO):
    """Where `--quiet` has progress go."""


@dataclass(frozen=True)
class Answer:
    """What a command found.

    Attributes:
        content: for `--json`: what `json.dumps` takes.
        show: prints the same for people.
        code: the exit code; 1 or 3 where something is missing of the result, which was said on stderr.
        after: what is done when it has been said.
    """

    content: Any
    show: Callable[[], None]
    code: int = 0
    after: Callable[[], None] | None = None


def answering(command: Callable[..., Answer | None]) -> Callable[..., None]:
    """Give a command `--json` and `--quiet`: it returns what it found, and prints what goes on meanwhile.

    With `--json` all of that goes to stderr, and the one thing on stdout is the document; with `--quiet` it
    goes nowhere. None, which the other processes of a distributed run return, is not shown.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())

    def run(context: typer.Context, as_json: bool, quiet: bool, **values: Any) -> None:
        quiet = quiet or bool(context.find_root().params.get("quiet"))
        with _stdout_for_progress(as_json, quiet), _no_exit_within():
            answer = command(**values)
        if answer is not None and as_json:
            print(json.dumps(answer.content, indent=1, allow_nan=False))
        elif answer is not None:
            answer.show()
        if answer is not None and answer.after:
            sys.stdout.flush()
            answer.after()
        if answer is not None and answer.code:
            raise typer.Exit(answer.code)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*map(_by_name, own), *_shared()])  # type: ignore[attr-defined]
    return run


def is_quiet() -> bool:
    """Whether nothing is to be said of what goes on, on stderr either."""
    return isinstance(sys.stdout, Nowhere)


def is_json() -> bool:
    """Whether the result is to be one JSON document, and what goes on meanwhile is said on stderr."""
    return sys.stdout is sys.stderr


@contextlib.contextmanager
def _no_exit_within() -> Iterator[None]:
    """Have it said where code that a user gave ends the command: with exit(0) all would look well."""
    try:
        yield
    except SystemExit as stop:
        raise TrainingError(
            f"what the command was given (a network, say) ended it by exit({first_line(stop)}): have it "
            "raise an error instead"
        ) from None


@contextlib.contextmanager
def _stdout_for_progress(as_json: bool, quiet: bool) -> Iterator[None]:
    """Where what is printed before the result goes."""
    if quiet:
        with contextlib.redirect_stdout(Nowhere()):
            yield
    elif as_json:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    else:
        yield


def _by_name(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _shared() -> list[inspect.Parameter]:
    """The parameters that every command has besides its own."""
    by_name = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("context", by_name, annotation=typer.Context),
        inspect.Parameter("as_json", by_name, annotation=Annotated[bool, _AS_JSON], default=False),
        inspect.Parameter("quiet", by_name, annotation=Annotated[bool, _QUIET], default=False),
    ]
