"""The errors a user can meet, each one line: the invariant, the value received, the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """The user asked for something that cannot be done. The CLI prints the line and exits with code 2."""


class TrainingError(RuntimeError):
    """A run had to stop (a non-finite loss, say). The CLI prints the line and exits with code 1."""


class UnfinishedError(RuntimeError):
    """The time that was given is over; all that is finished is kept. The CLI's exit code is 75."""


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error of somebody else's code says, on one line."""
    text = str(error).strip().splitlines()
    return text[0][:most] if text else ""


def kind_and_line(error: BaseException) -> str:
    """The same with the error's type before it, shortened."""
    said = first_line(error, 160)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def unknown(kind: str, received: str, valid: Iterable[str]) -> InputError:
    """An `InputError` for a name that is not one of `valid`, naming the nearest valid one.

    Example:
        >>> str(unknown("arm", "copy-cat", ["copycat", "width"]))
        "unknown arm 'copy-cat': did you mean 'copycat'? (one of: copycat, width)"
    """
    names = list(valid)
    near = difflib.get_close_matches(received.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{received}': {hint}(one of: {', '.join(names)})")


def require(settings: object, checks: dict[str, bool], who: str = "") -> None:
    """InputError for the first invariant that does not hold, with the value of the setting it begins with.

    Args:
        checks: "epochs must be at least 1" -> whether that holds of `settings.epochs`.
        who: said before it.
    """
    for invariant, holds in checks.items():
        if not holds:
            raise InputError(f"{who}{invariant}, got {getattr(settings, invariant.split()[0])}")
