"""Gradient accumulation: a step's batch in parts, whose gradients add up to that of the whole.

    grad of the mean over B examples = sum over parts p of  B_p / B * grad of the mean over part p

So networks without batch statistics learn the same, to rounding; batch norm sees the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from secateur.errors import InputError
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, batch_of, map_inputs


class BatchPart(NamedTuple):
    """Part of a batch: inputs, targets, and the share of the batch's examples that it holds, in (0, 1]."""

    inputs: Inputs
    targets: Any
    share: float


def parts_of(inputs: Inputs, targets: Any, parts: int) -> Iterator[BatchPart]:
    """Divide a batch into so many parts as equal as can be, or into single examples where it has fewer.

    Raises:
        InputError: where its examples lie along another dimension than the first.
    """
    if parts > 1 and isinstance(inputs, Examples) and not inputs.first_everywhere:
        raise InputError(
            f"accumulate={parts} divides a batch along the first dimension, where these inputs have no "
            "examples: leave it out, and pass smaller batches"
        )
    whole = batch_of(inputs)
    parts = min(parts, whole)
    if parts == 1:
        yield BatchPart(inputs.inputs if isinstance(inputs, Examples) else inputs, targets, 1.0)
        return
    for number in range(parts):
        chosen = slice(whole * number // parts, whole * (number + 1) // parts)
        share = (chosen.stop - chosen.start) / whole
        yield BatchPart(_take(inputs, chosen), _take(targets, chosen), share)


def _take(batch: Any, chosen: slice) -> Any:
    return map_inputs(batch, lambda tensor: tensor[chosen])
