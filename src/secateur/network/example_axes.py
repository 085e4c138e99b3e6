"""Where the examples of a model's inputs lie, found by running it: one example's output ignores the others.

Of the places that the shapes allow, the likely ones first, two different examples a and b are run as (a, b),
(b, a) and (a, a). The places are right where a's output is the same beside a as beside b, and moves along
when a does. Time steps of a sequence, taken for examples, change each other's outputs, or do not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

import torch
from torch import Tensor, nn

from secateur.errors import InputError, kind_and_line
from secateur.network.alike import alike
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, call, in_words, input_tensors, on_device, output_tensors
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.wrapped import Path, leaves

MOST_TRIES, MOST_OF_ONE = 40, 12  # ways to read the inputs, in all and of one count of examples
_CLOSE = 1e-3  # of the largest output: both runs are of the same size, so rounding is about the same

_Outputs = list[Tensor]


@torch.no_grad()
def examples_of(model: nn.Module, inputs: Inputs, batch_dim: int | None = None) -> Examples:
    """Find where the examples lie in `inputs`.

    Args:
        model: is run in evaluation mode, on at most two examples at once, and left as it was.
        batch_dim: the dimension along which examples lie, where the model cannot tell: 1 for (time, batch,
            features).

    Raises:
        InputError: where the model runs on no reading of the inputs, or gives back no numbers to compare.
    """
    if isinstance(inputs, Examples):
        return inputs
    _check_dim(inputs, batch_dim)
    placed = on_device(inputs, model)
    best: tuple[int, Examples] | None = None
    with modes_kept(model), torch.random.fork_rng(devices=[]):
        in_evaluation(model)
        for tried in islice(_readings(placed, batch_dim), MOST_TRIES):
            level = _level(model, tried)
            if level is not None and (best is None or level > best[0]):
                best = (level, tried)
            if best and best[0] == _APART:
                break
        if best is None or (best[0] == _MIXED and batch_dim is None):
            best = _as_one(model, placed, best)
    return best[1].like(inputs) if best[1].apart else Examples(inputs, {})


def tells_apart(model: nn.Module, examples: Examples) -> bool:
    """Tell whether, in the mode that the model is in, an example's output shows nothing of the others."""
    return examples.apart and _level(model, examples) == _APART


def _as_one(model: nn.Module, inputs: Inputs, best: tuple[int, Examples] | None) -> tuple[int, Examples]:
    """Where examples cannot be told apart: the first reading that runs; else all are one, if that runs."""
    if best is not None:
        return best
    try:
        call(model, inputs)
    except Exception as error:  # somebody's code, on inputs of a shape, type or name that it does not take
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))
        raise InputError(
            f"{type(model).__name__} cannot be run on the inputs given, {shapes}: "
            f"{kind_and_line(error)}: give it inputs of the size, channels and names that it was made for"
        ) from None
    return (_MIXED, Examples(inputs, {}))


def _check_dim(inputs: Inputs, batch_dim: int | None) -> None:
    if batch_dim is None:
        return
    most = max((leaf.dim() for _, leaf in leaves(inputs) if isinstance(leaf, Tensor)), default=0)
    if type(batch_dim) is not int or not 0 <= batch_dim < most:
        raise InputError(
            f"batch_dim is the dimension of the inputs along which examples lie, 0 to {most - 1} for "
            f"{in_words(inputs)}; got {batch_dim!r}"
        )


def _readings(inputs: Inputs, batch_dim: int | None) -> Iterator[Examples]:
    """List the places at which examples may lie, by the shapes; the likely ones first."""
    seen: set[tuple[frozenset[tuple[Path, int]], frozenset[Path]]] = set()
    for each in _all_readings(inputs, batch_dim):
        key = (frozenset(each.dims.items()), each.lists)
        if each.apart and key not in seen:
            seen.add(key)
            yield each


def _all_readings(inputs: Inputs, batch_dim: int | None) -> Iterator[Examples]:
    yield Examples.by_shape(inputs, batch_dim or 0)
    tensors = [(path, leaf) for path, leaf in leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()]
    most = max((tensor.dim() for _, tensor in tensors), default=0)
    for dim in range(most) if batch_dim is None else [batch_dim]:
        for count in dict.fromkeys(tensor.shape[dim] for _, tensor in tensors if tensor.dim() > dim):
            if count:
                choices = [_dims_of(tensor, dim, count) for _, tensor in tensors]
                for chosen in islice(product(*choices), MOST_OF_ONE):
                    places = zip(tensors, chosen, strict=True)
                    yield Examples(inputs, {path: d for (path, _), d in places if d is not None}, count=count)


def _dims_of(tensor: Tensor, dim: int, count: int) -> list[int | None]:
    """List the dimensions of a tensor that can hold so many examples; None: it belongs to all of them."""
    order = list(dict.fromkeys((dim, 0, *range(tensor.dim()))))
    found: list[int | None] = [d for d in order if d < tensor.dim() and tensor.shape[d] == count]
    several = [d for d in order[:2] if d < tensor.dim() and tensor.shape[d] % count == 0 and d not in found]
    return [*found, None, *several] if count > 1 else [*found, None]


_MIXED, _RAN, _GROWN, _APART = range(4)


def _level(model: nn.Module, tried: Examples) -> int | None:
    """Tell how well the model's outputs bear out a reading of its inputs; None where it does not run so."""
    try:
        pair = two_different(tried)
        ab, ba, aa = (output_tensors(call(model, pair.take(order))) for order in ([0, 1], [1, 0], [0, 0]))
    except Exception:  # somebody's code, given what is perhaps no example
        return None
    if not any(tensor.dim() for tensor in ab):
        return _RAN
    found = _MIXED
    for split in _splits(ab):
        parts = [split(each) for each in (ab, ba, aa)]
        if None in parts:
            continue
        (a_b, b_a), (b_first, a_last), (a_one, a_two) = parts  # type: ignore[misc]
        if _same(a_one, a_two) and _same(a_b, a_one):
            if _same(a_b, a_last) and _same(b_a, b_first) and not _same(a_b, b_a):
                return _APART
            found = max(found, _GROWN if _same(a_b, b_a) else _MIXED)
    return found


def two_different(tried: Examples) -> Examples:
    """Take two examples; where the inputs are all alike, make the second one of noise."""
    pair = tried.take([0, min(1, tried.count - 1)])
    swapped = pair.take([1, 0])
    if not all(torch.equal(x, y) for x, y in zip(_tensors(pair), _tensors(swapped), strict=True)):
        return pair
    one, generator = tried.take([0]), torch.Generator().manual_seed(0)

    def other(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x.flip(-1) if x.dim() else x
        return torch.randn(x.shape, generator=generator).to(x)

    return one.beside(Examples(one.map(other).inputs, one.dims, one.lists, 1))


def _tensors(given: Examples) -> list[Tensor]:
    return [leaf for _, leaf in leaves(given.inputs) if isinstance(leaf, Tensor)]


class _Split:
    """One way to divide outputs in two: a tensor along a dimension, in halves or in turns; or their list."""

    def __init__(self, index: int | None, dim: int = 0, turns: bool = False):
        self.index, self.dim, self.turns = index, dim, turns

    def __call__(self, outputs: _Outputs) -> tuple[_Outputs, _Outputs] | None:
        if self.index is None:
            half = len(outputs) // 2
            return (outputs[:half], outputs[half:]) if half * 2 == len(outputs) else None
        if self.index >= len(outputs) or outputs[self.index].dim() <= self.dim:
            return None
        tensor = outputs[self.index].movedim(self.dim, 0)
        if not len(tensor) or len(tensor) % 2:
            return None
        one, other = (tensor[::2], tensor[1::2]) if self.turns else tensor.chunk(2)
        return [one], [other]


def _splits(outputs: _Outputs) -> Iterator[_Split]:
    for index, tensor in enumerate(outputs):
        for dim in range(tensor.dim()):
            yield _Split(index, dim)
            if tensor.shape[dim] > 2:
                yield _Split(index, dim, turns=True)
    if len(outputs) > 1:
        yield _Split(None)


def _same(one: _Outputs, other: _Outputs) -> bool:
    return alike(one, other, _CLOSE)
