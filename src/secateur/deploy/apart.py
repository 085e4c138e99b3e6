"""Whether a network computes for an example alone what it computes for it in a batch.

A normalisation by the batch, as `BatchNorm2d(track_running_stats=False)` does it in evaluation too, or
anything else that mixes examples, gives other numbers for a batch than for each of its examples. Whatever
takes a batch apart must know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.deploy.given import Given
from secateur.deploy.traced import relative
from secateur.network.example_axes import two_different
from secateur.network.examples import Examples


@dataclass(frozen=True)
class Beside:
    """What a network gives for two examples, together and each alone.

    Attributes:
        together, first, second: its outputs, in order.
    """

    together: tuple[Tensor, ...]
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    @classmethod
    def of(cls, plain: nn.Module, given: Given) -> Beside | None:
        """Run it on two examples; None where they are not told apart, or it does not run on them.

        Args:
            plain: takes tensors by position and gives a tuple of tensors.
            given: one example, or more.
        """
        if not given.examples.apart or given.examples.lists:
            return None
        for pair in _pairs(given.examples):
            both = [Given(each, given.found) for each in (pair, pair.take([0]), pair.take([1]))]
            try:
                with torch.inference_mode():
                    return cls(*(tuple(plain(*each.tensors.values())) for each in both))
            except Exception:  # somebody's code, on what it may not take: numbers out of range, or a batch
                continue
        return None

    @property
    def dims(self) -> list[int | None]:
        """Of every output the dimension along which examples lie; None where there is not just one."""
        return [_differing(one, two) for one, two in zip(self.first, self.together, strict=True)]

    @property
    def difference(self) -> float:
        """The largest difference that the other example makes, in units of an output's largest magnitude."""
        found = (
            relative(self.together[n].numpy(), torch.cat([self.first[n], self.second[n]], dim))
            for n, dim in enumerate(self.dims)
            if dim is not None
        )
        return max(found, default=0.0)


def _pairs(examples: Examples) -> Iterator[Examples]:
    """Make two examples that differ, where it is allowed; the last are the first one twice."""
    one = examples.take([0])
    alike = two_different(examples)
    if all(torch.equal(x, y) for x, y in zip(_tensors(alike), _tensors(alike.take([1, 0])), strict=True)):
        yield one.beside(one.map(lambda x: x + 1))  # the next token, of a text of one token only
    yield alike
    yield one.take([0, 0])


def _tensors(examples: Examples) -> list[Tensor]:
    return list(Given(examples).tensors.values())


def _differing(one: Tensor, two: Tensor) -> int | None:
    """The one dimension in which the shapes differ."""
    if one.dim() != two.dim():
        return None
    axes = [axis for axis, sides in enumerate(zip(one.shape, two.shape, strict=True)) if len(set(sides)) > 1]
    return axes[0] if len(axes) == 1 else None
