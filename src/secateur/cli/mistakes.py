"""What is said of a command line that is not one: the nearest right word, and where the right help is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any

MEANT = {
    **dict.fromkeys(("list", "ls", "show", "delete"), "runs"),
    **{"help": "--help", "version": "--version", "test": "evaluate", "eval": "evaluate", "fit": "train"},
    **{"plan": "compare --plan", "convert": "export", "onnx": "export", "shrink": "prune", "plot": "report"},
}
"""What somebody meant who asked for a command that there is not, where no spelling tells."""
_KINDS = {int: "a whole number", float: "a number"}


def usage_message(error: Any, root: Any, words: Sequence[str]) -> str:
    """A usage error of typer's in one line that points to the help of the very command.

    Args:
        error: a `typer.exceptions.TyperException`.
        root: the command line as click has it.
        words: what was given to it.
    """
    path, command = _command_of(root, words)
    said = " ".join(_said(error, command, path, root, words).split()).rstrip(".")
    return f"{said}{'' if said.endswith('?') else '.'} See 'secateur {path}--help'."


def _said(error: Any, command: Any, path: str, root: Any, words: Sequence[str]) -> str:
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return f"No such option: {error.option_name}{_nearest_option(error.option_name, command, root)}"
    if missing := re.match(r"No such command '(.*?)'", error.message, re.S):
        return f"No such command '{missing[1]}'{_nearest_command(missing[1], command, path)}"
    param = getattr(error, "param", None)
    if kind == "MissingParameter":
        return f"{error.format_message().rstrip('.')}{_help_of(param)}"
    if kind == "BadParameter" and param is not None:
        return _wrong_value(error, param, words)
    return error.format_message()


def _nearest_option(option: str, command: Any, root: Any) -> str:
    """The nearest option of the command, or the commands that have this one."""
    others = [name for name, other in commands_of(root) if option in option_names(other)]
    near = _near(option.replace("_", "-").lower(), option_names(command), 0.85 if others else 0.6)
    if near:
        return f": did you mean {near}?"
    return f": it is an option of {', '.join(others)}" if others else ""


def _nearest_command(name: str, group: Any, path: str) -> str:
    near = _near(name.lower(), group.commands, 0.6)
    meant = near or (MEANT.get(name.lower()) if not path else None)
    if meant and (meant.startswith("-") or meant.split()[0] in group.commands):
        return f": did you mean 'secateur {path}{meant}'?"
    return f": there are {', '.join(group.commands)}"


def _wrong_value(error: Any, param: Any, words: Sequence[str]) -> str:
    """What the option takes, and what it was given."""
    name, kind = param.opts[0], _KINDS.get(_annotation(param))
    given = list(_values(words, param.opts))
    if kind is None:  # the parser's own message has the way out
        return error.format_message()
    if not given:
        return f"{error.format_message().rstrip('.')}{_help_of(param)}"
    one = kind.replace("a ", "one ", 1) if "," in given[-1] else kind
    return f"{name} takes {one}, got '{given[-1]}'{_help_of(param)}"


def _annotation(param: Any) -> Any:
    found = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    return next((kind for kind in _KINDS if kind in (found, *getattr(found, "__args__", ()))), None)


def _values(words: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """The values that were given to an option."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names and (equals or index + 1 < len(words)):
            yield value if equals else words[index + 1]


def _help_of(param: Any) -> str:
    """The first sentence of its help text."""
    text = re.split("(?<=[a-z])[.;:] ", getattr(param, "help", None) or "")[0]
    return f": {text.rstrip('.')}" if text else ""


def _near(word: str, known: Any, cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def option_names(command: Any) -> list[str]:
    """The options of a command, as they are written."""
    names = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    return [*(name for name in names if name.startswith("-")), "--help"]


def commands_of(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its name, those of groups too: "runs list"."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _command_of(root: Any, words: Sequence[str]) -> tuple[str, Any]:
    """The command that words are meant for: its name with a space behind, and what click has of it."""
    path, command = "", root
    for word in words:
        if word in getattr(command, "commands", {}):
            path, command = f"{path}{word} ", command.commands[word]
        elif not word.startswith("-"):
            break
    return path, command
