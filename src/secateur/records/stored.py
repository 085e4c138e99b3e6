"""Values that are stored as JSON: a class's fields are its keys, in order, and their types are checked.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Removal(Stored):
        group: str                            # must be there
        examples: int = 0                     # always written; files of older versions may lack it
        bytes: int | None = optional()        # written only where it is not None
        more: Mapping[str, float] = rest()    # all keys that no other field has

Fields may be `str`, `bool`, `int`, `float`, another `Stored`, `T | None`, `tuple[T, ...]`, `Mapping[str, T]`,
and `Any` within a mapping or a tuple. Where a number may have a fraction, a whole one stays whole, so that
what is written again is written alike. Keys that a class does not know are passed over.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from secateur.errors import InputError
from secateur.records.reading import is_file_name, read_json
from secateur.records.seal import check_seal, sealed

LARGEST = sys.float_info.max
"""No number may be beyond it, either way: whole ones too become fractions when they are shown."""

_OMITTED, _REST = "omitted where it is the default", "takes the other keys"

Reader = Callable[[Any], Any]


class Absent(Enum):
    """What an optional field holds where its key is not there, if None would say something else."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


class Wrong(Exception):
    """A part of the JSON is not what it must be; who calls says where that part lies."""

    def __init__(self, invariant: str, received: Any = ABSENT):
        super().__init__(invariant)
        self.path, self.invariant, self.received = "", invariant, received

    def inside(self, part: str) -> Wrong:
        """The same, said from one level further up."""
        self.path = f"{part}.{self.path}" if self.path and self.path[0] != "[" else f"{part}{self.path}"
        return self


def optional(default: Any = None) -> Any:
    """A field whose key is written only where the value is not `default`."""
    return field(default=default, metadata={_OMITTED: True})


def rest() -> Any:
    """The field that takes every key that no other field has."""
    return field(default_factory=dict, metadata={_REST: True})


class Stored:
    """Base of the values; each is a frozen dataclass with keywords only.

    Class attributes:
        SCHEMA: of the whole file that the class describes, written first and checked; None: a part of a file.
        AGAIN: how a user gets a file that can be read.
        SEALED: whether the file has a digest (`records.seal`), which is then checked.
        FREE: its keys that people may change.
    """

    __slots__ = ()
    SCHEMA: ClassVar[int | None] = None
    AGAIN: ClassVar[str] = "make it again with the command that left it"
    SEALED: ClassVar[bool] = False
    FREE: ClassVar[tuple[str, ...]] = ()

    def for_file(self) -> dict[str, Any]:
        """What a whole file holds: `to_json`, with its digest where it has one."""
        return sealed(self.to_json(), self.FREE) if self.SEALED else self.to_json()

    def to_json(self) -> dict[str, Any]:
        """What is written: plain dictionaries, lists, text and numbers."""
        content: dict[str, Any] = {} if self.SCHEMA is None else {"schema": self.SCHEMA}
        for each in fields(self):  # type: ignore[arg-type]  # subclasses are dataclasses
            value = getattr(self, each.name)
            if each.metadata.get(_REST):
                content.update(value)
            elif not (each.metadata.get(_OMITTED) and value is each.default):
                content[each.name] = _plain(value)
        return content

    def __getitem__(self, key: str) -> Any:
        """Read a key as the file has it: `point["accuracy"]`, as when these values were dictionaries."""
        return self.to_json()[key]

    def __contains__(self, key: object) -> bool:
        return key in self.to_json()

    def keys(self) -> Any:
        """The keys that are written, so that `dict(value)` is what the file holds."""
        return self.to_json().keys()

    @classmethod
    def from_json(cls, content: Any, source: str = "") -> Self:
        """The value that was written.

        Args:
            content: what `json.loads` gave.
            source: the file, for messages.

        Raises:
            InputError: where a key is missing or is not of its type: the file, the key, what it must be; or
                where the content is not what its digest is of.
        """
        source = source or cls.__name__.lower()
        if cls.SCHEMA is not None and not (isinstance(content, dict) and content.get("schema") == cls.SCHEMA):
            found = content.get("schema") if isinstance(content, dict) else content
            raise InputError(f"{source}: schema {cls.SCHEMA} is read here, got {_shown(found)}: {cls.AGAIN}")
        try:
            found = cls.read(content)
        except Wrong as wrong:
            where = f"'{wrong.path}' " if wrong.path else ""
            raise InputError(
                f"{source}: {where}must be {wrong.invariant}, got {_shown(wrong.received)}: {cls.AGAIN}"
            ) from None
        if cls.SEALED:
            check_seal(content, source, cls.AGAIN)
        return found

    @classmethod
    def load(cls, path: Path) -> Self:
        """The value in a file.

        Raises:
            InputError: where `read_json` refuses it, or it is not what `from_json` takes.
        """
        return cls.from_json(read_json(path, cls.AGAIN), str(path))

    @classmethod
    def read(cls, content: Any) -> Self:
        """`from_json` for a part: Wrong says what, and whoever reads the whole says where."""
        if not isinstance(content, dict):
            raise Wrong("an object", content)
        known = _readers(cls)  # type: ignore[arg-type]  # a class is hashable
        found: dict[str, Any] = {}
        for name, (each, read) in known.items():
            if each.metadata.get(_REST):
                found[name] = read({key: value for key, value in content.items() if key not in known})
            elif name in content:
                found[name] = _read_at(name, read, content[name])
            elif each.default is MISSING and each.default_factory is MISSING:
                raise Wrong("there").inside(name)
        value = cls(**found)
        value.check()
        return value

    def check(self) -> None:
        """Hook for what types do not say: Wrong where something is not as it must be."""


def check_id(where: str, run_id: str | None) -> None:
    """Raise Wrong for the id of a run that would, as a folder's name, lead anywhere else."""
    if run_id is not None and not is_file_name(run_id):
        raise Wrong("the id of a run, one name of letters, digits and -_.=%,+@:", run_id).inside(where)


def _plain(value: Any) -> Any:
    """As `json.dumps` takes it."""
    if isinstance(value, Stored):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    """A received value, short enough for one line."""
    text = "nothing" if value is ABSENT else json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:60]}..."


@cache
def _readers(cls: Any) -> dict[str, tuple[Field[Any], Reader]]:
    """For every field of a class its declaration and what reads it."""
    hints = get_type_hints(cls)
    return {each.name: (each, _reader(hints[each.name])) for each in fields(cls)}


def _reader(hint: Any) -> Reader:
    """What takes JSON and gives a value of the type `hint`, or raises Wrong."""
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return _read_anything
    if kind is tuple:
        return partial(_read_list, _reader(arguments[0]))
    if kind is Mapping:
        return partial(_read_object, _reader(arguments[1]))
    if arguments:  # a union: T | None, or with Absent in it too
        (own,) = [each for each in arguments if each not in (type(None), Absent)]
        return partial(_read_unless_null, _reader(own))
    return hint.read if issubclass(hint, Stored) else _SCALARS[hint]


def _read_at(part: str, read: Reader, value: Any) -> Any:
    try:
        return read(value)
    except Wrong as wrong:
        raise wrong.inside(part) from None


def _read_anything(value: Any) -> Any:
    return value


def _read_unless_null(read: Reader, value: Any) -> Any:
    return None if value is None else read(value)


def _read_list(read: Reader, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Wrong("a list", value)
    if read is _read_anything:
        return tuple(value)
    return tuple(_read_at(f"[{index}]", read, each) for index, each in enumerate(value))


def _read_object(read: Reader, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Wrong("an object", value)
    if read is _read_anything:
        return dict(value)
    return {key: _read_at(key, read, each) for key, each in value.items()}


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("text", value)
    return value


def _read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false", value)
    return value


def _read_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise Wrong("a whole number", value)
    return value


def _read_float(value: Any) -> float:
    """NaN is no number of ours: it is neither below the largest nor above it."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -LARGEST <= value <= LARGEST:
        raise Wrong("a finite number", value)
    return value


_SCALARS: dict[Any, Reader] = {str: _read_text, bool: _read_bool, int: _read_int, float: _read_float}
