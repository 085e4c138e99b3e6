"""What a network costs as a function of widths that need not be whole: `Costs`, differentiable.

    C(S) = c + sum_i l_i S_i + sum_ij p_ij S_i S_j                          `SoftCost`

Every tensor's cost is a product of the sizes of its axes, at most two of which follow channel groups (what a
layer reads, what it writes), and every axis' size is affine in the widths of the groups on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.surgery.costs import Costs

F64 = torch.float64


@dataclass(frozen=True)
class SoftCost:
    """C(S) = constant + linear . S + S . pairs . S over the widths S_i of channel groups, in float64.

    At whole widths it is what `Costs.at` gives, exactly (below 2^53).

    Attributes:
        constant: what none of the groups is part of.
        linear: (G,) per channel: biases, normalisation, layers with one prunable end.
        pairs: (G, G) per pair of channels, reader first: layers that read one group and write another.
    """

    constant: float
    linear: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, costs: Costs, resource: str, names: Sequence[str]) -> SoftCost:
        """The cost in `resource` ("params", "macs", "nonzeros") as a function of the groups named.

        All other groups stay as wide as they are.
        """
        constant, linear = 0.0, torch.zeros(len(names), dtype=F64)
        pairs = torch.zeros(len(names), len(names), dtype=F64)
        for number, axes in costs.terms(resource):
            sizes = [_affine(costs, axis, divisor, names) for axis, divisor in axes]
            assert len(sizes) <= 2, "a tensor follows channels in two dimensions at most"
            (rest, slope), (other, other_slope) = (*sizes, _ONE, _ONE)[:2]
            constant += number * rest * other
            linear += number * (rest * other_slope + other * slope)
            if len(sizes) == 2:
                pairs += number * torch.outer(torch.as_tensor(other_slope), torch.as_tensor(slope))
        return cls(constant, linear, pairs)

    def __call__(self, widths: Tensor) -> Tensor:
        """C at (G,) widths; a float64 scalar, differentiable."""
        return self.constant + widths @ self.linear + widths @ self.pairs @ widths

    def count(self, widths: Sequence[int]) -> int:
        """C at whole widths."""
        return round(float(self(torch.tensor(widths, dtype=F64))))

    def slope(self, widths: Tensor) -> Tensor:
        """dC/dS, (G,)."""
        return self.linear + (self.pairs + self.pairs.T) @ widths


_ONE: tuple[float, Tensor | float] = (1.0, 0.0)


def _affine(costs: Costs, axis: tuple[str, str], divisor: int, names: Sequence[str]) -> tuple[float, Tensor]:
    """(what is there without the groups, how much each channel of theirs adds (G,)) of an axis' share."""
    rest, entries = costs.size_in(axis, names)
    return rest / divisor, torch.tensor(entries, dtype=F64) / divisor
