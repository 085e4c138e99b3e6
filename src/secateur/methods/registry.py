"""Siblings find their place by lying there: every class in a folder's files that has a name of its own.

Other people's packages offer theirs as entry points, in the groups secateur.methods and secateur.arms:

    [project.entry-points."secateur.methods"]
    lamp = "my_package.lamp:Lamp"
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Container, Iterable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import TypeVar

from secateur.errors import kind_and_line

Kind = TypeVar("Kind")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


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


def offered(
    group: str, base: type[Kind], ours: Container[str], needs: Sequence[str] = ()
) -> Iterator[type[Kind]]:
    """Load the classes that installed packages offer; what cannot be taken is left out, with a warning.

    Each is given `package`, the distribution and its version, which stands in the identity of its runs.

    Args:
        group: of the entry points, "secateur.methods" or "secateur.arms".
        base: what they must derive from.
        ours: names that are taken: nobody else's class has one of these.
        needs: what a class must say of itself besides its name.
    """
    found: dict[str, str] = {}
    for entry in sorted(entry_points(group=group), key=lambda each: (each.name, _package(each))):
        package = _package(entry)
        if found.get(entry.name) == package:
            continue  # one distribution, found twice along the path
        if entry.name in ours or entry.name in found:
            kind, wrong = None, f"{found.get(entry.name, 'Secateur')} has one of that name"
        else:
            kind, wrong = _loaded(entry, base, needs)
        if kind is None:
            said = f"{group}: '{entry.name}' of {package} is left out: {wrong}"
            warnings.warn_explicit(said, UserWarning, "secateur", 1)  # no line of code of ours beneath it
            continue
        found[entry.name] = package
        kind.package = package  # type: ignore[attr-defined]
        yield kind


def _loaded(entry: EntryPoint, base: type[Kind], needs: Sequence[str]) -> tuple[type[Kind] | None, str]:
    """The class of an entry point, or None and what is wrong with it."""
    if not _NAME.fullmatch(entry.name):
        return None, "a name is of lower-case letters, digits and hyphens"
    try:
        kind = entry.load()
    except Exception as error:  # other people's code
        return None, f"{entry.value} cannot be imported ({kind_and_line(error)})"
    if not inspect.isclass(kind) or not issubclass(kind, base):
        return None, f"{entry.value} is no class on {base.__module__}.{base.__name__}"
    if getattr(kind, "name", None) != entry.name:
        return None, f"{entry.value} calls itself '{getattr(kind, 'name', None)}'"
    if missing := [name for name in needs if not hasattr(kind, name)]:
        return None, f"{entry.value} does not say its {missing[0]}"
    return kind, ""


def package_of(kind: type) -> dict[str, str]:
    """What goes into a run's hash of who offers a method: nothing of ours."""
    package = getattr(kind, "package", None)
    return {} if package is None else {"package": package}


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module
