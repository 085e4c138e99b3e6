"""A network, described for another process: of a family by its identity, else by its factory's name.

Unlike a file, which imports nothing, this comes from the user's own process, whose factory is known to be
theirs; the other process asks it for the very same object.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from secateur.architecture.architecture import Architecture
from secateur.architecture.building import factory_name
from secateur.architecture.factories import PREFIXES, factory_of, names_factory
from secateur.architecture.foreign import ForeignOrigin
from secateur.architecture.resolve import resolve_model
from secateur.data import Data
from secateur.errors import InputError

Described = dict[str, Any]
"""`widths`, `kept` where it matters which channels these are, and as `whole` what is the same for all."""


def describe(architecture: Architecture) -> Described:
    """Describe a network as JSON.

    Raises:
        InputError: where its factory has no name to import it by.
    """
    origin = architecture.origin
    if not isinstance(origin, ForeignOrigin):
        return {"whole": {"family": architecture.identity()}, "widths": list(architecture.widths)}
    name = importable_name(origin)
    if name is None:
        raise InputError(f"the factory of '{architecture.factory}' cannot be imported by another process")
    at = {key: value for key, value in architecture.identity().items() if key in ("widths", "kept")}
    if origin.pretrained is not None or name.startswith(PREFIXES):
        return {"whole": {"named": name}, **at}
    whole = Architecture.whole(origin)
    return {"whole": {"factory": name, "content": whole.to_dict()}, **at}


def described_again(described: Described, data: Data) -> Architecture:
    """Make the architecture of its description, for these data."""
    return whole_again(described["whole"], data).left_as(described)


def whole_again(whole: dict[str, Any], data: Data) -> Architecture:
    """Make the uncut network of its description: for foreign ones it is traced, which takes its time."""
    if "family" in whole:
        return Architecture.from_identity(whole["family"])
    if "named" in whole:
        return resolve_model(whole["named"], data)
    return Architecture.from_dict(whole["content"], "the model", factory_of(whole["factory"]))


def importable_name(origin: ForeignOrigin) -> str | None:
    """The name by which another process gets the very factory that is at hand here; None: there is none.

    It is asked of the factory itself, never taken from a file's word.
    """
    build: Any = origin.build
    if isinstance(build, partial):
        if build.args or build.keywords != origin.arguments:
            return None
        build = build.func
    if origin.name.startswith(PREFIXES) and getattr(build, "__module__", "") == names_factory.__module__:
        return origin.name
    return name_to_import(build)


def name_to_import(build: Any) -> str | None:
    """The name by which another process imports a factory, the very object; None: there is none."""
    name = factory_name(build)
    module, _, path = name.partition(":")
    found: Any = None if module == "__main__" else sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return name if found is not None and found is build and names_factory(name) else None
