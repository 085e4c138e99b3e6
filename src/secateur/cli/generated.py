"""Options made from dataclasses: of a command line's own fields, and of settings that stand elsewhere.

A settings class (`training.recipe.Recipe`) has each default and help text at its field; a class of options
names it with `OptionsOf`, and `taking` gives a command all of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import typer

from secateur.errors import InputError

Values = dict[str, Any]
Kind = TypeVar("Kind")
Found = TypeVar("Found")


def option(help_text: str, panel: str, *names: str, values: Sequence[str] = ()) -> Any:
    """An option shown in one of the panels of `--help`; `values`: what a shell completes it with."""
    completion = completing(values) if values else None
    return typer.Option(*names, help=help_text, rich_help_panel=panel, autocompletion=completion)


def completing(values: Sequence[str] | Callable[[], Sequence[str]]) -> Callable[[str], list[str]]:
    """What a shell completes a value with, behind the last comma where there are some."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        known = values() if callable(values) else values
        return [f"{before}{comma}{value}" for value in known if value.startswith(begun)]

    return complete


@dataclass(frozen=True)
class OneOption:
    """A field of a class of options that is one option."""

    name: str
    annotation: Any
    default: Any

    def parameters(self) -> list[inspect.Parameter]:
        """What typer makes the option of."""
        return [_parameter(self.name, self.annotation, self.default)]

    def taken(self, values: Values) -> Any:
        """The field's value, out of what was given."""
        return values.pop(self.name)


@dataclass(frozen=True)
class OptionsOf:
    """A field of a class of options that is many: one for each field of `settings` that has a help text.

    Its value is what was given for them, by the names of the settings class, and nothing else: what was left
    out is not in it, so that other defaults than those shown can hold.

    Args:
        only: these fields, in this order; by default all in the order of the class, but those `without`.
    """

    settings: type
    panel: str
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def offered(self) -> list[Field[Any]]:
        """The fields of the settings class that are options here."""
        known = {each.name: each for each in fields(self.settings) if "help" in each.metadata}
        return [known[name] for name in self.only or known if name not in self.without]

    def parameters(self) -> list[inspect.Parameter]:
        """What typer makes the options of; a row of numbers is a text with commas."""
        hints = get_type_hints(self.settings)
        return [self._parameter(each, hints[each.name]) for each in self.offered()]

    def _parameter(self, each: Field[Any], hint: Any) -> inspect.Parameter:
        """The option of one field: None where it was not given; its default is shown."""
        kind = _without_none(hint)
        values = (*(get_args(kind) if get_origin(kind) is Literal else ()), *each.metadata["words"])
        if values or isinstance(each.default, tuple):
            kind = str
        if isinstance(each.default, tuple):  # with commas, or repeated: none is dropped in silence
            kind = list[str]
        shown = option(each.metadata["help"], self.panel, values=values)
        shown.show_default = _as_text(each.default) if each.default is not None else False
        return _parameter(option_name(each), Annotated[kind | None, shown], None)

    def taken(self, values: Values) -> Values:
        """The settings that were given."""
        found: Values = {}
        for each in self.offered():
            name = option_name(each)
            value = values.pop(name)
            if value not in (None, [], ()):
                found[each.name] = _read(each, name, value)
        return found


def _without_none(hint: Any) -> Any:
    """The type of a setting, where it is given."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if isinstance(hint, UnionType) or get_origin(hint) is Union else hint


def _as_text(default: Any) -> str:
    """A default, as it would be written."""
    if isinstance(default, tuple):
        return ",".join(f"{number:g}" for number in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def _read(setting: Field[Any], name: str, value: Any) -> Any:
    """A value as it was given, as the setting's own type."""
    if isinstance(setting.default, tuple):
        return numbers(name, ",".join(value))
    if setting.metadata["words"] and value not in setting.metadata["words"]:
        return _number(setting, name, value)
    return value


def _number(setting: Field[Any], name: str, text: str) -> float:
    """The number that a setting has in place of words: whole where its default is."""
    instead = setting.metadata["words"]
    if not isinstance(setting.default, int):
        return number(name, text, instead)
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"--{name.replace('_', '-')} takes a whole number, or {' or '.join(instead)}, got '{text}'"
        ) from None


def option_name(setting: Field[Any]) -> str:
    """The name of a setting's option, with underscores."""
    return setting.metadata["option"] or setting.name


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def taking(kind: type[Any]) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Give a command every option of `kind`; it receives them as one object, `options`."""

    def decorate(command: Callable[..., Found]) -> Callable[..., Found]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        own_parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in own
            if parameter.name != "options"
        ]

        def run(**values: Any) -> Found:
            return command(options=assembled(kind, values), **values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        shared = [parameter for place in _places(kind).values() for parameter in place.parameters()]
        run.__signature__ = inspect.Signature([*own_parameters, *shared])  # type: ignore[attr-defined]
        return run

    return decorate


def assembled(kind: type[Kind], values: Values) -> Kind:
    """The options as one object, taken out of what was given on the command line."""
    taken: Values = {name: place.taken(values) for name, place in _places(kind).items()}
    return kind(**taken)


def _places(kind: type[Any]) -> dict[str, OneOption | OptionsOf]:
    """What each field of a class of options takes: one option, or those made from settings."""
    places: dict[str, OneOption | OptionsOf] = {}
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        hint = hints[each.name]
        made = hint.__metadata__[0]
        one = OneOption(each.name, hint, each.default)
        places[each.name] = made if isinstance(made, OptionsOf) else one
    return places


def words(*texts: str) -> list[str]:
    """The words of texts with commas."""
    return [word.strip() for text in texts for word in text.split(",") if word.strip()]


def number(name: str, text: str, instead: Sequence[str]) -> float:
    """The number of a text; InputError, with the option's name and its other values, where it holds none."""
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--{name.replace('_', '-')} takes a number, or {' or '.join(instead)}, got '{text}'"
        ) from None


def numbers(name: str, text: str) -> tuple[float, ...]:
    """The numbers of a text with commas; InputError, with the option's name, where it holds others."""
    try:
        return tuple(float(word) for word in words(text))
    except ValueError:
        raise InputError(
            f"--{name.replace('_', '-')} takes numbers with commas between them, got '{text}'"
        ) from None
