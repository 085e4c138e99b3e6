"""Calling any model: what it takes (a tensor, several, or named ones) and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError, kind_and_line

_MAX_ENTRIES, _MAX_TENSORS = 2**25, 64
Inputs = Any
"""A tensor; a tuple or list of positional arguments; or a mapping of keyword arguments."""


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call the model on `inputs`, and give what it returns."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, (tuple, list)):
        return model(*inputs)
    raise InputError(
        f"a model's inputs are a tensor, a tuple of tensors or a dictionary of named ones, got "
        f"{type(inputs).__name__}"
    )


LABELS = ("labels", "label", "label_ids")
"""What the targets are called in a batch that is one dictionary, as those of `transformers` are."""


def pair_of(batch: Any, name: str = "data") -> tuple[Inputs, Any]:
    """Take a batch apart: (inputs, targets), or one dictionary with the targets among the inputs.

    Raises:
        InputError: for anything else.

    Example:
        >>> pair_of({"input_ids": 1, "labels": 2})
        ({'input_ids': 1}, 2)
    """
    if isinstance(batch, Mapping):
        found = [label for label in LABELS if label in batch]
        if len(found) != 1:
            raise InputError(
                f"{name}: a batch that is one dictionary has its targets under one of {', '.join(LABELS)}, "
                f"got {', '.join(map(str, batch))}: rename them, or yield pairs (inputs, targets)"
            )
        return {key: value for key, value in batch.items() if key != found[0]}, batch[found[0]]
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        got = f"{len(batch)} items" if isinstance(batch, (tuple, list)) else type(batch).__name__
        raise InputError(
            f"{name}: a batch is a pair (inputs, targets), or one dictionary with labels, got {got}: put "
            "several inputs into a tuple or a dictionary, and a single batch into a list"
        )
    return batch[0], batch[1]


def in_words(inputs: Inputs) -> str:
    """Shapes and types of a batch, short: "float32 (8, 3, 32, 32)"."""
    found = [
        f"{str(each.dtype).removeprefix('torch.')} {tuple(each.shape)}" for each in input_tensors(inputs)
    ]
    return ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")


@torch.no_grad()
def check_runs(model: nn.Module, inputs: Inputs, what: str = "the inputs given") -> None:
    """Raise InputError, in one line, where a model cannot be called on inputs; it is left as it was."""
    try:
        with modes_kept(model):
            call(model.eval(), on_device(inputs, model))
    except InputError:
        raise
    except Exception as error:  # somebody's code, on inputs of a shape, type or name that it does not take
        raise InputError(
            f"{type(model).__name__} cannot be run on {what}, {in_words(inputs)}: {kind_and_line(error)}: "
            "give it inputs of the size, channels and names that it was made for"
        ) from None


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore every module's own training mode at the end: some may be frozen in evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def map_inputs(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Change every tensor in `inputs`, and keep how they are wrapped."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: map_inputs(value, change) for name, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(map_inputs(value, change) for value in inputs)
    return inputs


def input_tensors(inputs: Inputs) -> list[Tensor]:
    """List every tensor in `inputs`, in order."""
    found: list[Tensor] = []
    map_inputs(inputs, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def batch_of(inputs: Inputs) -> int:
    """Count the examples in a batch: the first dimension of its first tensor."""
    tensors = input_tensors(inputs)
    if not tensors or not tensors[0].dim():
        raise InputError("a model's inputs must hold a tensor with examples along its first dimension")
    return len(tensors[0])


def tile(inputs: Inputs, examples: int) -> Inputs:
    """Repeat the first example of `inputs` so many times."""
    return map_inputs(inputs, lambda tensor: tensor[:1].repeat(examples, *[1] * (tensor.dim() - 1)))


def on_device(inputs: Inputs, model: nn.Module) -> Inputs:
    """Move the inputs to where the model's parameters are."""
    parameter = next(model.parameters(), None)
    return inputs if parameter is None else map_inputs(inputs, lambda tensor: tensor.to(parameter.device))


def output_tensors(output: Any) -> list[Tensor]:
    """List every floating-point tensor that a model gave back, however it is wrapped."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, Mapping):
        return [tensor for value in output.values() for tensor in output_tensors(value)]
    if isinstance(output, (tuple, list)):
        return [tensor for value in output for tensor in output_tensors(value)]
    return []


def logits_of(output: Any) -> Tensor:
    """Find the class scores in a model's output: it, `output["logits"]`, `output.logits` or its first item.

    Raises:
        InputError: where none of these is a tensor.
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif not isinstance(output, (Tensor, Mapping)) and isinstance(getattr(output, "logits", None), Tensor):
        output = output.logits
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise InputError(
            "the class scores must be the model's output, its first item, or be named 'logits' in it; got "
            f"{type(output).__name__}: pass a loss function that takes the output as it is"
        )
    return output


def describe_inputs(inputs: Inputs) -> Any:
    """Describe shapes (of one example) and types as JSON: what `example_of` makes inputs from."""
    if isinstance(inputs, Tensor):
        return {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")}
    if isinstance(inputs, Mapping):
        return {"named": {name: describe_inputs(value) for name, value in inputs.items()}}
    if isinstance(inputs, (tuple, list)):
        return {"positional": [describe_inputs(value) for value in inputs]}
    raise InputError(f"an input is a tensor, got {type(inputs).__name__}")


def example_of(description: Any, examples: int = 2, seed: int = 0) -> Inputs:
    """Make inputs of the shapes described: normal noise for floats, zeros for whole numbers.

    Raises:
        InputError: where the description is malformed, or asks for more than 2^25 numbers in all: before
            any of them is there.
    """
    _check_described(description, examples)
    generator = torch.Generator().manual_seed(seed)

    def make(part: dict[str, Any]) -> Inputs:
        if "named" in part:
            return {name: make(value) for name, value in part["named"].items()}
        if "positional" in part:
            return tuple(make(value) for value in part["positional"])
        return _tensor_of(part, examples, generator)

    return make(description)


def _check_described(description: Any, examples: int) -> None:
    parts, tensors, entries = [(description, 0)], 0, 0
    while parts:
        part, depth = parts.pop()
        if depth > 3 or not isinstance(part, dict):
            raise InputError(f"an input is described by its shape and dtype, got {ascii(part)[:80]}")
        if isinstance(part.get("named"), dict):
            parts += [(value, depth + 1) for value in part["named"].values()]
        elif isinstance(part.get("positional"), list):
            parts += [(value, depth + 1) for value in part["positional"]]
        else:
            tensors, entries = tensors + 1, entries + _entries_of(part) * examples
        if tensors > _MAX_TENSORS or entries > _MAX_ENTRIES:
            raise InputError(
                f"a model's inputs are at most {_MAX_TENSORS} tensors, and {_MAX_ENTRIES:,} numbers for "
                f"{examples} examples; got more: nothing of that size is made"
            )
    if not tensors:
        raise InputError("a model's inputs hold at least one tensor, got none")


def _entries_of(part: dict[str, Any]) -> int:
    shape, name = part.get("shape"), part.get("dtype")
    fits = isinstance(shape, list) and len(shape) <= 8 and all(type(n) is int and n > 0 for n in shape)
    if not fits:
        raise InputError(f"an input's shape is a list of at most 8 sizes, got {ascii(shape)[:80]}")
    if not isinstance(name, str) or name not in _DTYPES:
        raise InputError(f"an input's dtype is one of {', '.join(_DTYPES)}; got {ascii(name)[:40]}")
    return math.prod(shape)  # type: ignore[arg-type]


def _tensor_of(part: dict[str, Any], examples: int, generator: torch.Generator) -> Tensor:
    dtype = _DTYPES[part["dtype"]]
    if dtype.is_floating_point:
        return torch.randn(examples, *part["shape"], generator=generator).to(dtype)
    return torch.zeros(examples, *part["shape"], dtype=dtype)


_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32)
} | {"uint8": torch.uint8, "bool": torch.bool}
