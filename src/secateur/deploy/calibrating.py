"""The examples that int8 is calibrated on and judged by, read as arrays from whatever yields batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from secateur.deploy.given import Given
from secateur.errors import InputError
from secateur.network.inputs import map_inputs, pair_of
from secateur.network.wrapped import leaves

MOST = 256
"""Examples that are calibrated on, unless another number is asked for."""


def read_batches(batches: Iterable[Any], given: Given, most: int | None, what: str) -> list[list[np.ndarray]]:
    """Read batches as arrays by position, up to `most` examples; InputError for what is wrapped otherwise."""
    found: list[list[np.ndarray]] = []
    count = 0
    for batch in batches:
        one = _as_given(batch, given, what)
        left = one.count if most is None else min(one.count, most - count)
        if left <= 0:
            break
        if left < one.count:
            one = replace(one, examples=one.examples.first(left))
        count += left
        arrays = [value.numpy() for value in one.on_cpu().tensors.values()]
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"the inputs in {what} must be finite, got inf or NaN: mend the data")
        found.append(arrays)
    if not found:
        raise InputError(f"{what} holds no batch: pass a DataLoader or a list of inputs")
    return found


def _as_given(batch: Any, given: Given, what: str) -> Given:
    """A batch, wrapped as the example inputs; of a pair (inputs, targets) the inputs."""
    wanted = [path for path, leaf in leaves(given.examples.inputs) if isinstance(leaf, Tensor)]

    def paths(inputs: Any) -> list[Any]:
        return [path for path, leaf in leaves(inputs) if isinstance(leaf, Tensor)]

    plain = map_inputs(batch, lambda tensor: tensor)
    inputs = plain if paths(plain) == wanted else pair_of(plain, what)[0]
    if paths(inputs) != wanted:
        raise InputError(
            f"a batch of {what} is wrapped as the example inputs, which have {len(wanted)} tensors, got "
            f"{len(paths(inputs))}: yield them, or pairs (inputs, targets)"
        )
    return Given(given.examples.like(inputs), given.found)


def length(batch: Sequence[np.ndarray]) -> int:
    return max((len(array) for array in batch if array.ndim), default=1)
