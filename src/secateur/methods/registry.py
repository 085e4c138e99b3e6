"""Siblings find their place by lying there: every class in a folder's files that has a name of its own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

Kind = TypeVar("Kind")


def named_classes(package: str, path: Iterable[str], base: type[Kind]) -> Iterator[type[Kind]]:
    """Import a package's files, and give the classes in them that derive from `base` and have a `name`.

    Bases that siblings share leave the name to them.

    Args:
        package: its dotted name.
        path: its `__path__`; folders in it are not entered.
    """
    for module in iter_modules(path):
        if module.ispkg:
            continue
        home = f"{package}.{module.name}"
        for _, kind in inspect.getmembers(import_module(home), inspect.isclass):
            if (
                kind.__module__ == home
                and issubclass(kind, base)
                and kind is not base
                and "name" in vars(kind)
            ):
                yield kind
