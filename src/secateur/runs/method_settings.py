"""Settings of methods from outside: which there are, what they may be, and how they are written.

A method's settings are the fields of its `Config` and the keywords of its constructor, but for what the run
gives it: the budget, the steps, the loss, and the layers that keep all their weights. Nothing lists them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from secateur.errors import InputError, unknown
from secateur.methods import CHANNEL_METHODS, METHODS, ChannelReparametrization, Method
from secateur.records.written import exact

Given = dict[str, dict[str, Any]]
"""Method -> setting -> value."""

SETTABLE = tuple(name for name in METHODS if name not in (*CHANNEL_METHODS, ChannelReparametrization.name))
"""Methods that zero weights: those that arms of comparisons are made of."""

_GIVEN_BY_THE_RUN = ("budget", "steps", "loss", "keep")
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "none"}
_LOGICAL = {"true": True, "false": False}


def settings_of(method: str) -> dict[str, Any]:
    """Find what can be set of a method: name -> type, as annotated.

    Example:
        >>> settings_of("gradual-magnitude")["every"]
        <class 'int'>
    """
    kind = METHODS[method]
    found = _keywords(kind)
    if kind.default_shares is None:  # which cannot be told
        found.pop("layer_shares", None)
    config = getattr(_made(method, {}), "config", None)
    if is_dataclass(config):
        hints = get_type_hints(type(config))
        found |= {each.name: hints[each.name] for each in fields(config)}
    return {name: hint for name, hint in found.items() if name not in _GIVEN_BY_THE_RUN and _plain(hint)}


def _keywords(method: type[Method]) -> dict[str, Any]:
    """The keywords that a method's constructor names, and those of its bases that it hands on."""
    found: dict[str, Any] = {}
    for kind in method.__mro__:
        begin: Any = vars(kind).get("__init__")
        if begin is None:
            continue
        hints, parameters = get_type_hints(begin), inspect.signature(begin).parameters.values()
        own = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
        found |= {name: hints[name] for name in own if name not in found}
        if not any(each.kind is each.VAR_KEYWORD for each in parameters):
            break  # what its bases take it gives them itself
    return found


def parse(texts: Iterable[str]) -> Given:
    """Read settings as they are written on the command line: METHOD.NAME=VALUE.

    Raises:
        InputError: for another form, an unknown name, a value of another type, or a setting given twice.

    Example:
        >>> parse(["gradual-magnitude.end=0.6", "snip.batches=4"])
        {'gradual-magnitude': {'end': 0.6}, 'snip': {'batches': 4}}
    """
    found: Given = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        method, dot, setting = name.rpartition(".")
        if not (equals and dot and method and setting and value):
            raise InputError(
                f"a setting is written METHOD.NAME=VALUE, got '{text}': write for example "
                "gradual-magnitude.end=0.6"
            )
        own = found.setdefault(method, {})
        if setting in own:
            raise InputError(f"every setting is given once, got {name} twice: leave one out")
        own[setting] = _read(name, _hint(method, setting), value)
    return found


def checked(given: Mapping[str, Mapping[str, Any]]) -> Given:
    """Check settings by the methods that take them; numbers as their settings have them.

    Raises:
        InputError: for an unknown method or name, a value of another type, or one that the method refuses.
    """
    found: Given = {}
    for method, own in given.items():
        typed = {name: _fitted(f"{method}.{name}", _hint(method, name), value) for name, value in own.items()}
        _made(method, typed)  # has the checks of ranges
        if typed:
            found[method] = typed
    return found


def in_words(given: Mapping[str, Mapping[str, Any]]) -> str:
    """Write settings as the command line takes them, with commas; empty where there are none."""
    return ", ".join(
        f"{method}.{name}={written(value)}" for method, own in given.items() for name, value in own.items()
    )


def written(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(exact(value) if isinstance(value, float) else value)


def _hint(method: str, name: str) -> Any:
    """The type of a setting; InputError where there is no such method or setting."""
    if method not in SETTABLE:
        raise unknown("method of a setting", method, SETTABLE)
    known = settings_of(method)
    if name not in known:
        if not known:
            raise InputError(f"{method} has no settings, got {method}.{name}: leave it out")
        raise unknown(f"setting of {method}", name, known)
    return known[name]


def _made(method: str, settings: dict[str, Any]) -> Any:
    """The method at any budget: it checks its settings when it is made."""
    kind: Any = METHODS[method]
    steps = {"steps": 1} if kind.takes_steps else {}
    return kind("nonzeros=1%", **steps, **settings)


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The types that a value may have."""
    return get_args(hint) if isinstance(hint, UnionType) or get_origin(hint) is Union else (hint,)


def _plain(hint: Any) -> bool:
    """Whether values are numbers, words or logical: what JSON and a command line can hold."""
    return all(kind in _WORDS or get_origin(kind) is Literal for kind in _kinds(hint))


def _expected(hint: Any) -> str:
    """What a setting takes, in words."""
    return " or ".join(
        " or ".join(map(written, get_args(kind))) if get_origin(kind) is Literal else _WORDS[kind]
        for kind in _kinds(hint)
    )


def _read(name: str, hint: Any, text: str) -> Any:
    """The value of a text, by the first type that it fits."""
    for kind in sorted(_kinds(hint), key=lambda kind: kind is str):
        if get_origin(kind) is Literal:
            found = [value for value in get_args(kind) if written(value) == text]
            if found:
                return found[0]
        elif kind is NoneType and text.lower() == "none":
            return None
        elif kind is bool and text.lower() in _LOGICAL:
            return _LOGICAL[text.lower()]
        elif kind is str:
            return text
        elif kind in (int, float):
            try:
                return _fitted(name, kind, kind(text))
            except ValueError:
                continue
    raise InputError(f"{name} takes {_expected(hint)}, got '{text}'")


def _fitted(name: str, hint: Any, value: Any) -> Any:
    """The value as its setting has it: whole numbers for fractions too; InputError for another type."""
    for kind in _kinds(hint):
        if get_origin(kind) is Literal:
            if value in get_args(kind):
                return value
        elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            if math.isfinite(value):
                return float(value)
        elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
    raise InputError(f"{name} takes {_expected(hint)}, got {value!r}")
