"""A model's inputs described as JSON, and inputs made of such a description: what a saved network runs on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from secateur.errors import InputError
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs
from secateur.network.wrapped import Path

_MAX_ENTRIES, _MAX_TENSORS, _MAX_VALUES, _MAX_DEPTH = 2**25, 64, 4096, 5
_SINGLE = (type(None), bool, int, float, str)


def describe_inputs(inputs: Inputs, *, values: bool = False) -> Any:
    """Describe shapes (of one example) and types as JSON: what `examples_described` makes inputs from.

    Args:
        values: also what real inputs hold where other numbers would not do: of one example the whole numbers
            and truth values (lengths, masks, ids), of what belongs to all examples everything; up to 4,096
            numbers of a tensor, else their range. Two batches of one kind differ in it.

    Raises:
        InputError: for an argument that JSON does not hold.
    """
    found = Examples.by_shape(inputs)

    def describe(value: Any, path: Path) -> Any:
        if isinstance(value, Tensor):
            return _described(value, found.dims.get(path), found.count, values)
        if path in found.lists:
            return {"each_example": describe_item(value[0], (*path, 0))}
        if isinstance(value, Mapping):
            return {"named": {str(name): describe(item, (*path, name)) for name, item in value.items()}}
        if isinstance(value, (tuple, list)):
            kind = "listed" if isinstance(value, list) and path else "positional"
            return {kind: [describe(item, (*path, index)) for index, item in enumerate(value)]}
        if type(value) in _SINGLE and not (isinstance(value, float) and not math.isfinite(value)):
            return {"value": value}
        raise InputError(
            "an input is a tensor, None, a truth value, a number, a text, or a list, tuple or dictionary of "
            f"these, got {type(value).__name__}: give the model one that it makes it from, or leave it out"
        )

    def describe_item(value: Any, path: Path) -> Any:
        """What lies in a list of examples belongs to its example, and has no dimension for others."""
        if isinstance(value, Tensor):
            return _described(value, None, 0, values)
        return describe(value, path)

    return describe(found.inputs, ())


def _described(value: Tensor, dim: int | None, count: int, values: bool) -> Any:
    """Describe a tensor whose `count` examples lie along `dim`; of 0 examples, it is one itself."""
    shape, one = list(value.shape), value
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise InputError(f"an input's dtype is one of {', '.join(_DTYPES)}; got {dtype}: convert it")
    told: dict[str, Any] = {"shape": shape, "dtype": dtype}
    if dim is not None:
        each = shape.pop(dim) // count
        told |= ({"examples": dim} if dim else {}) | ({"each": each} if each > 1 else {})
        one = value.narrow(dim, 0, each)
    elif count:
        told["examples"] = None
    real = value.is_floating_point() and (dim is not None or not count)
    if values and not real and value.device.type != "meta":
        told |= _values(one.detach().cpu())
    return told


def _values(one: Tensor) -> dict[str, Any]:
    """The numbers themselves, or their range where they are many."""
    if not one.numel():
        return {}
    if one.numel() <= _MAX_VALUES:
        return {"values": [_plain(number) for number in one.flatten().tolist()]}
    return {} if one.is_floating_point() else {"low": int(one.min()), "high": int(one.max())}


def _plain(number: float) -> Any:
    return number if math.isfinite(number) else str(number)  # JSON knows no infinity


def without_values(description: Any) -> Any:
    """Make a description that two batches of one kind share: shapes, types, settings."""
    if isinstance(description, dict):
        drop = ("values", "low", "high") if "shape" in description else ()
        return {key: without_values(item) for key, item in description.items() if key not in drop}
    return [without_values(item) for item in description] if isinstance(description, list) else description


def examples_described(description: Any, examples: int = 2, seed: int = 0) -> Examples:
    """Make inputs of the shapes described: of the values there are, else noise for floats, zeros for others.

    Raises:
        InputError: where the description is malformed, or asks for more than 2^25 numbers in all: before
            any of them is there.
    """
    _check_described(description, examples)
    generator = torch.Generator().manual_seed(seed)
    dims: dict[Path, int] = {}
    lists: set[Path] = set()

    def make(part: dict[str, Any], path: Path, alone: bool) -> Any:
        if "named" in part:
            return {name: make(item, (*path, name), alone) for name, item in part["named"].items()}
        for kind, wrap in (("positional", tuple), ("listed", list)):
            if kind in part:
                return wrap(make(item, (*path, index), alone) for index, item in enumerate(part[kind]))
        if "each_example" in part:
            lists.add(path)
            return [make(part["each_example"], (*path, index), True) for index in range(examples)]
        if "value" in part:
            return part["value"]
        dim = None if alone else part.get("examples", 0)
        if dim is not None:
            dims[path] = dim
        return _tensor_of(part, dim, examples, generator)

    return Examples(make(description, (), False), dims, frozenset(lists), examples)


def _check_described(description: Any, examples: int) -> None:
    parts, tensors, entries = [(description, 0)], 0, 0
    while parts:
        part, depth = parts.pop()
        if depth > _MAX_DEPTH or not isinstance(part, dict):
            raise InputError(f"an input is described by its shape and dtype, got {ascii(part)[:80]}")
        inside = _inside(part)
        if inside is not None:
            parts += [(item, depth + 1) for item in inside]
        elif "value" in part:
            _check_single(part["value"])
        else:
            tensors, entries = tensors + 1, entries + _entries_of(part) * examples
        if tensors > _MAX_TENSORS or entries > _MAX_ENTRIES or len(parts) > 16 * _MAX_TENSORS:
            raise InputError(
                f"a model's inputs are at most {_MAX_TENSORS} tensors, and {_MAX_ENTRIES:,} numbers for "
                f"{examples} examples; got more: nothing of that size is made"
            )
    if not tensors:
        raise InputError("a model's inputs hold at least one tensor, got none")


def _inside(part: dict[str, Any]) -> list[Any] | None:
    """What a described argument holds; None where it is a tensor or a single value."""
    if isinstance(part.get("named"), dict):
        return list(part["named"].values())
    for kind in ("positional", "listed"):
        if isinstance(part.get(kind), list):
            return list(part[kind])
    return [part["each_example"]] if "each_example" in part else None


def _check_single(value: Any) -> None:
    if type(value) not in _SINGLE or (isinstance(value, str) and len(value) > 1000):
        raise InputError(
            f"an input's value is none, a truth value, a number or a text, got {ascii(value)[:80]}"
        )


def _entries_of(part: dict[str, Any]) -> int:
    """Count the numbers of one example of a described tensor; InputError where it is malformed."""
    shape, name = part.get("shape"), part.get("dtype")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise InputError(f"an input's shape is a list of at most 8 sizes, got {ascii(shape)[:80]}")
    if not isinstance(name, str) or name not in _DTYPES:
        raise InputError(f"an input's dtype is one of {', '.join(_DTYPES)}; got {ascii(name)[:40]}")
    dim, each = part.get("examples", 0), part.get("each", 1)
    if not (dim is None or (type(dim) is int and 0 <= dim <= len(shape))):
        raise InputError(
            f"an input's examples lie along a dimension in 0..{len(shape)}, got {ascii(dim)[:40]}"
        )
    if type(each) is not int or not 1 <= each <= _MAX_ENTRIES:
        raise InputError(f"an input has a number of entries for each example, got {ascii(each)[:40]}")
    entries = math.prod(shape) * each
    _check_values(part, entries)
    return entries


def _check_values(part: dict[str, Any], entries: int) -> None:
    values = part.get("values", [])
    fits = (
        isinstance(values, list) and (not values or len(values) == entries) and all(map(_is_number, values))
    )
    low, high = part.get("low", 0), part.get("high", 0)
    if not fits or type(low) is not int or type(high) is not int or not -(2**63) <= low <= high < 2**63 - 1:
        raise InputError(f"an input's values are a number for each of its {entries:,} entries, or a range")


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float) or value in ("inf", "-inf", "nan")


def _tensor_of(part: dict[str, Any], dim: int | None, examples: int, generator: torch.Generator) -> Tensor:
    dtype, shape, each = _DTYPES[part["dtype"]], list(part["shape"]), part.get("each", 1)
    if dim is not None:
        shape.insert(dim, each)
    if values := part.get("values"):
        plain = [float(v) if isinstance(v, str) else v for v in values]
        return _repeated(
            torch.tensor(plain, dtype=torch.float64 if dtype.is_floating_point else dtype)
            .to(dtype)
            .view(shape),
            dim,
            examples,
        )
    if dim is not None:
        shape[dim] = each * examples
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if "low" in part:
        return torch.randint(part["low"], part["high"] + 1, shape, generator=generator).to(dtype)
    return torch.zeros(shape, dtype=dtype)


def _repeated(one: Tensor, dim: int | None, examples: int) -> Tensor:
    return one if dim is None else torch.cat([one] * examples, dim)


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
} | {
    **{name: getattr(torch, name) for name in ("int64", "int32", "int16", "int8", "uint8")},
    "bool": torch.bool,
}
