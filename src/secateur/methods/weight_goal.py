"""How many weights stay: those of a budget in nonzeros, or as many as a file of so many bytes holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from secateur.budget import Budget, Limits, Wanted, one_budget
from secateur.errors import InputError
from secateur.methods.sparing import Sparing
from secateur.network.masks import Masks, apply_masks, count_nonzeros, magnitudes
from secateur.network.weight_file import file_bytes
from secateur.network.weights import count_weights, prunable_weights

Fewer = Callable[[int], Masks]
"""Masks that keep so many of the weights that a model has."""

_RESERVE = 0.01
"""Of a budget in bytes, left free before training: trained weights may take more than those before."""

_EXACT = 1000
"""A file's weights are solved for to one in so many; what is found is within the limit all the same."""


class WeightGoal:
    """Says how many weights a method has to leave, and sees to it that a file is within its limit in the end.

    Zeros make a file small (`network.weight_file`), by how much depends on where they lie and on what the
    others are. So a budget in bytes is solved for twice: for the number of nonzeros before training, on the
    weights as they are then; and after the cut, on the file itself, for which a few more go if need be.

    Attributes:
        bytes: what the file may have; None: the budget is in nonzeros. Known from `fix` on.

    Raises:
        InputError: where the budget is in neither.
    """

    def __init__(self, wanted: Wanted, who: str):
        self.wanted: Budget | Limits = one_budget(wanted).of_weights(who)
        self.who = who
        self.bytes: int | None = None

    def fix(self, model: nn.Module, sparing: Sparing, fewer: Fewer) -> Limits:
        """Find how many weights stay.

        Args:
            model: as the method is given it, the original of a share.
            fewer: how the method chooses, or nearly so; it is asked several times where bytes are limited.

        Returns:
            The limit, in nonzeros.

        Raises:
            InputError: where the budget is beyond the network, or below what must stay.
        """
        limits = Limits.of(self.wanted, model).binding(model)
        sparing.find(model)
        if limits.resource == "nonzeros":
            sparing.check(limits, self.who)
            return limits
        self.bytes = limits.units
        size = _Sizes(model, fewer, untrained=True)
        self._check_least(size, sparing)
        aim = int(self.bytes * (1 - _RESERVE))
        return Limits.at({"nonzeros": max(sparing.total + 1, size.largest(sparing.total + 1, aim))})

    def settle(self, model: nn.Module, sparing: Sparing, fewer: Fewer) -> Masks | None:
        """Set as many more weights to zero as the file needs to be within its limit.

        Returns:
            The masks that were put on; None: it was within it, as it mostly is.
        """
        if self.bytes is None or file_bytes(model) <= self.bytes:
            return None
        size = _Sizes(model, fewer)
        self._check_least(size, sparing)
        masks = fewer(size.largest(sparing.total + 1, self.bytes))
        apply_masks(model, masks)
        return masks

    def _check_least(self, size: _Sizes, sparing: Sparing) -> None:
        assert self.bytes is not None
        least = size(sparing.total + 1)
        if least > self.bytes:
            left = f"what must stay ({sparing.constraints})" if sparing.total else "one weight"
            raise InputError(
                f"{self.who}: the budget of {self.bytes:,} bytes is below the file of a network that is down "
                f"to {left}, {least:,} (biases, normalisation and names are in it): ask for at least "
                f"bytes={least}"
            )


def largest_of(model: nn.Module, sparing: Sparing) -> Fewer:
    """What keeps the largest weights of a model, and those that are spared."""
    return lambda keep: sparing.choose(magnitudes(model), keep)


class _Sizes:
    """The size of a model's file if it had fewer weights; it is left as it is.

    Args:
        untrained: biases and normalisation may be ones and zeros still, which take next to nothing: they are
            counted as the numbers of all kinds that training makes of them.
    """

    def __init__(self, model: nn.Module, fewer: Fewer, *, untrained: bool = False):
        self.model, self.fewer, self.untrained = model, fewer, untrained
        self.most = count_nonzeros(model)
        self._known: dict[int, int] = {}

    def __call__(self, keep: int) -> int:
        if keep not in self._known:
            self._known[keep] = self._measured(keep)
        return self._known[keep]

    @torch.no_grad()
    def _measured(self, keep: int) -> int:
        weights = list(prunable_weights(self.model).values())
        others = self._others(weights) if self.untrained else []
        before = [(held, held.clone()) for held in (*weights, *others)]
        noise = torch.Generator().manual_seed(0)
        try:
            apply_masks(self.model, self.fewer(keep))
            for held in others:
                held.copy_(torch.randn(held.shape, generator=noise))
            return file_bytes(self.model)
        finally:
            for held, value in before:
                held.copy_(value)

    def _others(self, weights: list[Tensor]) -> list[Tensor]:
        """The state beside the weights that can be zero, as far as it is trained or gathered."""
        known = {id(weight) for weight in weights}
        state = self.model.state_dict(keep_vars=True).values()
        return [held for held in state if held.is_floating_point() and id(held) not in known]

    def largest(self, least: int, limit: int) -> int:
        """Find how many weights a file within the limit can have, nearly; at least so many, which it can."""
        most = self.most if least < self.most else count_weights(self.model)
        return largest(self, least, most, limit)


def largest(size: Callable[[int], int], least: int, most: int, limit: int) -> int:
    """Find the largest number whose size is within a limit, to one in a thousand; its size surely is.

    Args:
        size: grows with the number, but for noise.
        least: within the limit, else it is what is given back.

    Example:
        >>> largest(lambda k: 100 + 4 * k, 1, 500, 1000)
        225
    """
    if most <= least or size(most) <= limit:
        return max(least, most)
    low, high = least, most
    halve = False
    while high - low > max(1, low // _EXACT):
        share = 0.5 if halve else (limit - size(low)) / max(1, size(high) - size(low))
        middle = min(high - 1, max(low + 1, low + int(share * (high - low))))
        if size(middle) <= limit:
            low = middle
        else:
            high = middle
        halve = not halve
    return low
