"""A second batch to try cuts on: noise where the model takes it, else the real numbers in other places.

A logarithm, a category, a probability or a length cannot be noise: the model then fails, or gives NaN. What
can be noise and what cannot is found tensor by tensor, by running the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from secateur.network.inputs import Inputs, input_tensors, map_inputs
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import distance

Outputs = list[Tensor]
_REACTS = 1e-6
"""The least change of an output, of its magnitude, that says that it depends on an input."""


def second_batch(
    real: Inputs, run: Callable[[Inputs], Outputs], generator: torch.Generator, swapped: Inputs
) -> Inputs:
    """Make inputs of the same shapes as `real` that the model takes, and that its outputs tell from them.

    Args:
        run: the outputs for inputs.
        swapped: the same examples in another order, which is what is left where nothing else will do.
    """
    noisy = map_inputs(real, lambda x: _noise_like(x, generator))
    if _is_taken(noisy, run, run(real)):
        return noisy
    found = real
    for index in range(len(input_tensors(real))):
        for make in (_noise_like, _shuffled):
            tried = _changed(found, index, lambda x, make=make: make(x, generator))  # type: ignore[misc]
            if _is_taken(tried, run, run(found)):
                found = tried
                break
    return swapped if found is real else found


def _is_taken(inputs: Inputs, run: Callable[[Inputs], Outputs], expected: Sequence[Tensor]) -> bool:
    """Whether the model runs on inputs, and gives other outputs than `expected`, finite where those are."""
    try:
        found = run(inputs)
    except RUN_ERRORS:
        return False
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        return False
    if not all(torch.equal(a.isfinite(), b.isfinite()) for a, b in zip(found, expected, strict=True)):
        return False
    return distance(found, expected) > _REACTS


def _changed(inputs: Inputs, index: int, make: Callable[[Tensor], Tensor]) -> Inputs:
    """Change one tensor of the inputs, by its number among them."""
    left = iter(range(len(input_tensors(inputs))))
    return map_inputs(inputs, lambda x: make(x) if next(left) == index else x)


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Draw noise of the mean and spread of `x`; whole numbers stay, they may be tokens, lengths or masks."""
    if not x.is_floating_point() and not x.is_complex():
        return x
    known = x[x.isfinite()]
    spread, mean = (known.std(correction=0), known.mean()) if len(known) else (1.0, 0.0)
    dtype = torch.complex128 if x.is_complex() else torch.float64
    drawn = torch.randn(x.shape, generator=generator, dtype=dtype).to(x)
    return drawn * (spread if float(torch.as_tensor(spread).abs()) > 0 else 1.0) + mean


def _shuffled(x: Tensor, generator: torch.Generator) -> Tensor:
    """Give every entry the value that another example has there."""
    if x.dim() < 2 or not x.is_floating_point():
        return x
    order = torch.rand(x.shape, generator=generator).argsort(0).to(x.device)
    return x.gather(0, order)
