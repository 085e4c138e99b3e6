"""Calling any model: what it takes (a tensor, several, or named ones) and what it gives back.

Where the examples lie in what it takes is told by `secateur.network.examples.Examples`, which goes wherever
inputs go: plain inputs have them along the first dimension, as `Examples.by_shape` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from secateur.errors import InputError, kind_and_line
from secateur.network.examples import Examples
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.wrapped import changed, is_record, leaves, tensors_given

Inputs = Any
"""A tensor; a tuple or list of positional arguments; a mapping of keyword ones; or `Examples` of these."""


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call the model on `inputs`, and give what it returns."""
    if isinstance(inputs, Examples):
        inputs = inputs.inputs
    if isinstance(inputs, (Tensor, PackedSequence)) or is_record(inputs):
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
            call(in_evaluation(model), on_device(inputs, model))
    except InputError:
        raise
    except Exception as error:  # somebody's code, on inputs of a shape, type or name that it does not take
        raise InputError(
            f"{type(model).__name__} cannot be run on {what}, {in_words(inputs)}: {kind_and_line(error)}: "
            "give it inputs of the size, channels and names that it was made for"
        ) from None


def map_inputs(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Change every tensor in `inputs`, and keep how they are wrapped."""
    if isinstance(inputs, Examples):
        return inputs.map(change)
    return changed(inputs, lambda _, leaf: change(leaf) if isinstance(leaf, Tensor) else leaf)


def input_tensors(inputs: Inputs) -> list[Tensor]:
    """List every tensor in `inputs`, in order."""
    plain = inputs.inputs if isinstance(inputs, Examples) else inputs
    return [leaf for _, leaf in leaves(plain) if isinstance(leaf, Tensor)]


def batch_of(inputs: Inputs) -> int:
    """Count the examples in a batch, as long as `Examples.by_shape` reads it where nobody said."""
    found = Examples.by_shape(inputs)
    if not found.apart:
        raise InputError("a model's inputs must hold a tensor with examples along its first dimension")
    return found.count


def read_as(inputs: Inputs, known: Inputs) -> Inputs:
    """Take the examples of a batch to lie where those of known inputs do, unless they come first there."""
    if isinstance(known, Examples) and not known.first_everywhere:
        return known.like(inputs)
    return inputs


def take_first(inputs: Inputs, count: int) -> Inputs:
    """Take the first examples of `inputs`, as many as there are of so many."""
    found = Examples.by_shape(inputs).first(count)
    return found if isinstance(inputs, Examples) else found.inputs


def tile(inputs: Inputs, examples: int) -> Inputs:
    """Repeat the first example of `inputs` so many times."""
    found = Examples.by_shape(inputs).tiled(examples)
    return found if isinstance(inputs, Examples) else found.inputs


def on_device(inputs: Inputs, model: nn.Module) -> Inputs:
    """Move the inputs to where the model's parameters are."""
    parameter = next(model.parameters(), None)
    return inputs if parameter is None else map_inputs(inputs, lambda tensor: tensor.to(parameter.device))


def output_tensors(output: Any) -> list[Tensor]:
    """List every floating-point tensor that a model gave back, however it is wrapped."""
    return tensors_given(output)


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
