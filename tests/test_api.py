"""The reference: every public name has an entry on a page of docs/api, and its docstring says what it takes,
what it gives and which errors to expect."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import secateur as sc
import secateur.deploy.int8

PAGES = Path(__file__).parents[1] / "docs" / "api"
ENTRIES = re.findall(
    r"^\.\. auto\w+:: secateur\.([\w.]+)$", "\n".join(page.read_text() for page in PAGES.glob("*.md")), re.M
)
INT8 = ("Int8Export", "to_int8_onnx", "to_int8_openvino")  # what docs/int8.md shows

NEVER_REFUSES = {
    "make_permanent",
    "models.display_name",
    "models.parse_name",
}
"""Functions that take what they are given."""


def public(module: ModuleType = sc, prefix: str = "") -> Iterator[str]:
    """Every name that is there to use, below `secateur`."""
    names = {*module.__all__}
    if module is sc.methods:
        names |= {kind.__name__ for kind in sc.methods.METHODS.values()}
    for name in sorted(names):
        found = getattr(module, name)
        if found is secateur.deploy.int8:
            yield from (f"{prefix}{name}.{one}" for one in INT8)
        elif inspect.ismodule(found):
            yield from public(found, f"{prefix}{name}.")
        else:
            yield prefix + name


def named(path: str) -> Any:
    found: Any = sc
    for part in path.split("."):
        if inspect.ismodule(found) and not hasattr(found, part):
            found = __import__(f"{found.__name__}.{part}", fromlist=[part])
        else:
            found = getattr(found, part)
    return found


PUBLIC = list(public())
CALLED = [name for name in ENTRIES if inspect.isfunction(named(name))]
KINDS = [name for name in ENTRIES if inspect.isclass(named(name))]
CLASSES = [name for name in KINDS if not issubclass(named(name), Exception)]


def sections(found: Any) -> dict[str, str]:
    """A docstring's sections, by their headings."""
    parts = re.split(r"^(\w+):(?=\s)", inspect.getdoc(found) or "", flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def described(found: Any) -> set[str]:
    """The names that a docstring's Args or Attributes describe."""
    said = sections(found)
    lines = re.findall(r"^ {4}(\w[\w, ]*?):", said.get("Args", "") + said.get("Attributes", ""), re.M)
    return {name.strip() for line in lines for name in line.split(",")}


def elsewhere(kind: type) -> list[Any]:
    """What a docstring says to see."""
    names = re.findall(r"[Ss]ee `(\w+)`", inspect.getdoc(kind) or "")
    module = sys.modules[kind.__module__]
    return [getattr(module, name) for name in names if hasattr(module, name)]


def parameters(found: Any) -> set[str]:
    kinds = (inspect.Parameter.VAR_POSITIONAL,)
    return {p.name for p in inspect.signature(found).parameters.values() if p.kind not in kinds} - {"self"}


def test_there_is_an_entry_for_every_public_name_and_no_name_has_two():
    assert len(PUBLIC) > 60
    entered = [named(name) for name in ENTRIES]
    assert [name for name in PUBLIC if not any(named(name) is one for one in entered)] == []
    assert len(ENTRIES) == len(set(ENTRIES))


def test_there_is_an_entry_for_the_settings_of_every_method():
    modules = {kind.__module__ for kind in sc.methods.METHODS.values()}
    settings = {
        f"{module}.{name}".removeprefix("secateur.")
        for module in modules
        for name, one in vars(sys.modules[module]).items()
        if name.endswith("Config") and getattr(one, "__module__", None) == module
    }
    assert len(settings) > 10
    assert settings <= set(ENTRIES)


@pytest.mark.parametrize("name", CALLED)
def test_a_function_says_what_it_takes_and_gives(name):
    function, said = named(name), sections(named(name))
    if described(function) != {"arguments", "settings"}:  # it takes what another does, and says which
        assert parameters(function) <= described(function)
    if inspect.signature(function).return_annotation not in ("None", None):
        assert "Returns" in said or "Yields" in said
    assert ("Raises" in said) != (name in NEVER_REFUSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_what_it_is_made_of_and_what_its_methods_do(name):
    kind = named(name)
    told = [one for one in kind.__mro__ if one.__module__.startswith("secateur")]
    told += [one for base in told for one in elsewhere(base)]
    assert parameters(kind) - {"args", "kwargs", "settings"} <= set().union(*map(described, told))
    for member, value in vars(kind).items():
        if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(kind, member) if inspect.isroutine(value) else value), member
