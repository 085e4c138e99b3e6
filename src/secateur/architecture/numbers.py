"""What follows the widths beside tensors, in `architecture.json`: numbers that modules hold.

Only plain whole numbers are ever set, on attributes that the factory's own network has, and only where the
file's rule gives the very number that the whole network holds.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from secateur.errors import InputError
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.held_numbers import Number

Json = dict[str, Any]
_MOST, _MOST_TERMS = 10**9, 1000


def numbers_as_json(graph: ChannelGraph) -> Json:
    """Write down the numbers that follow cuts, and modules that compute over the channels kept, if any."""
    numbers = [_number_as_json(number) for number in graph.numbers]
    over = dict(graph.over_kept)
    return {**({"numbers": numbers} if numbers else {}), **({"over_kept": over} if over else {})}


def _number_as_json(number: Number) -> Json:
    index = {} if number.index is None else {"index": number.index}
    rest = {"rest": number.rest} if number.rest else {}
    return {
        "module": number.module,
        "attribute": number.attribute,
        **index,
        "each": dict(number.each),
        **rest,
    }


def problem_with_numbers(content: Json) -> str | None:
    """Say what is wrong with the form of the numbers in a file; None: nothing."""
    numbers, over = content.get("numbers", []), content.get("over_kept", {})
    if not isinstance(numbers, list) or not all(map(_has_form, numbers)):
        bad = (
            next((each for each in numbers if not _has_form(each)), numbers)
            if isinstance(numbers, list)
            else numbers
        )
        return (
            '"numbers" are a module, an attribute (no name with two underscores), whole numbers for each '
            f"group and a rest, got {ascii(bad)[:80]}"
        )
    if not isinstance(over, dict) or not all(type(dim) is int and -8 <= dim <= 8 for dim in over.values()):
        return f'"over_kept" gives a dimension from -8 to 8 for each module, got {ascii(over)[:80]}'
    return None


def _has_form(number: Any) -> bool:
    if not isinstance(number, dict) or not isinstance(number.get("module"), str):
        return False
    attribute, each = number.get("attribute"), number.get("each")
    if not isinstance(attribute, str) or not attribute.isidentifier() or attribute.startswith("__"):
        return False
    if not isinstance(each, dict) or len(each) > _MOST_TERMS:
        return False
    index = number.get("index", 0)
    if type(index) is not int or not 0 <= index < _MOST_TERMS:
        return False
    return all(type(n) is int and abs(n) <= _MOST for n in (*each.values(), number.get("rest", 0)))


def with_numbers(graph: ChannelGraph, content: Json, whole: nn.Module, source: str) -> ChannelGraph:
    """Add to a graph what a file says beside its groups; its form has been checked.

    Raises:
        InputError: where the whole network has no such number, or another one.
    """
    modules = dict(whole.named_modules(remove_duplicate=False))
    for name in content.get("over_kept", {}):
        if name not in modules:
            raise InputError(
                f"{source}: the network that the factory builds has no module {ascii(name)[:80]}"
            )
    numbers = [_number(each, graph, modules, source) for each in content.get("numbers", [])]
    graph = graph.with_numbers(numbers) if numbers else graph
    graph.over_kept = dict(content.get("over_kept", {}))
    return graph


def _number(each: Json, graph: ChannelGraph, modules: Mapping[str, nn.Module], source: str) -> Number:
    index = each.get("index")
    number = Number(
        each["module"], each["attribute"], index, tuple(each["each"].items()), each.get("rest", 0)
    )
    held = _held(modules.get(number.module), number.attribute, index)
    who = f"'{number.module[:80]}.{number.attribute[:80]}'"
    if held is None:
        raise InputError(
            f"{source}: the file sets {who!a}, which is no whole number of the network that the factory "
            "builds: it was changed, or it is another one"
        )
    if unknown := [name for name in each["each"] if name not in graph.groups]:
        group = ascii(unknown[0])[:80]
        raise InputError(f"{source}: {who!a} follows the group {group}, which the file does not name")
    if (value := number.value(graph.uncut().widths)) != held:
        raise InputError(
            f"{source}: {who!a} is {held} in the network that the factory builds, and {value} by the file: "
            "it was changed, or it is another one"
        )
    return number


def _held(module: nn.Module | None, attribute: str, index: int | None) -> int | None:
    """Read a plain whole number that a module holds; None where there is none. No property is run."""
    if module is None:
        return None
    held = inspect.getattr_static(module, attribute, None)
    if index is not None:
        held = held[index] if isinstance(held, (tuple, list)) and index < len(held) else None
    return held if type(held) is int else None
