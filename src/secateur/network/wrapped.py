"""Tensors however they are wrapped: in tuples, lists, dictionaries, dataclasses, one in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Path = tuple[Any, ...]
"""The keys, indices and names of fields that lead from the outside to a value."""


def changed(value: Any, change: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Make the same wrapping with every value inside it changed: `change(path, value)`.

    Lists stay lists, named tuples and dataclasses what they are; any mapping becomes a dictionary.

    Example:
        >>> changed({"a": [1, 2]}, lambda path, value: (path, value))
        {'a': [(('a', 0), 1), (('a', 1), 2)]}
    """
    if isinstance(value, Mapping):
        return {name: changed(item, change, (*path, name)) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        items = [changed(item, change, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if is_record(value):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
        made = {name: changed(item, change, (*path, name)) for name, item in fields.items()}
        return dataclasses.replace(value, **made)
    return change(path, value)


def leaves(value: Any) -> list[tuple[Path, Any]]:
    """List every value inside, with where it is."""
    found: list[tuple[Path, Any]] = []
    changed(value, lambda path, leaf: found.append((path, leaf)))
    return found


def is_record(value: Any) -> bool:
    """Tell instances of dataclasses."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def tensors_given(output: Any) -> list[Tensor]:
    """List every tensor of real numbers in what a model gave back; complex ones as pairs of real numbers.

    Objects of other classes are looked into as well, but for caches: what a model keeps for its next call is
    no output.
    """
    found: list[Tensor] = []
    for tensor in _inside(output, set()):
        if tensor.is_complex():
            found.append(torch.view_as_real(tensor.resolve_conj()))
        elif tensor.is_floating_point():
            found.append(tensor)
    return found


def _inside(value: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
        return
    skipped = isinstance(value, (str, bytes, type, nn.Module)) or type(value).__name__.endswith("Cache")
    if skipped or callable(value) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        items: Any = value.values()
    elif isinstance(value, (tuple, list)):
        items = value
    else:
        items = vars(value).values() if hasattr(value, "__dict__") else ()
    for item in items:
        yield from _inside(item, seen)
