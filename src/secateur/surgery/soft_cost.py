"""What a network costs as a function of widths that need not be whole: `Costs`, differentiable.

    C(S) = c + sum_i l_i S_i + sum_ij p_ij S_i S_j + sum_q n_q prod_f (r_qf + a_qf . S)      `SoftCost`

Every tensor's cost is a product of the sizes of its axes, at most two of which follow channel groups in most
(what a layer reads, what it writes), and every axis' size is affine in the widths of the groups on it. Where
three sizes and more change (as where positions are channels, too), the product q stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.surgery.costs import Costs

F64 = torch.float64


Affine = tuple[float, Tensor]
"""(what is there without the groups, how much each channel of theirs adds (G,)) of a size."""


@dataclass(frozen=True)
class SoftCost:
    """C(S) = constant + linear . S + S . pairs . S + higher products, over widths S_i of groups, in float64.

    At whole widths it is what `Costs.at` gives, exactly (below 2^53).

    Attributes:
        constant: what none of the groups is part of.
        linear: (G,) per channel: biases, normalisation, layers with one prunable end.
        pairs: (G, G) per pair of channels, reader first: layers that read one group and write another.
        higher: products of three sizes and more that change: a number, and the sizes.
    """

    constant: float
    linear: Tensor
    pairs: Tensor
    higher: tuple[tuple[float, tuple[Affine, ...]], ...] = ()

    @classmethod
    def of(cls, costs: Costs, resource: str, names: Sequence[str]) -> SoftCost:
        """The cost in `resource` ("params", "macs", "nonzeros") as a function of the groups named.

        All other groups stay as wide as they are.

        Raises:
            InputError: for MACs that are no closed form (`Costs.terms`).
        """
        constant, linear = 0.0, torch.zeros(len(names), dtype=F64)
        pairs = torch.zeros(len(names), len(names), dtype=F64)
        higher = []
        for number, axes in costs.terms(resource):
            sizes = [_affine(costs, axis, divisor, names) for axis, divisor in axes]
            number *= math.prod(round(rest) for rest, slope in sizes if not slope.any())
            sizes = [(rest, slope) for rest, slope in sizes if slope.any()]
            if len(sizes) > 2:
                higher.append((float(number), tuple(sizes)))
                continue
            (rest, slope), (other, other_slope) = (*sizes, _ONE, _ONE)[:2]
            constant += number * rest * other
            linear += number * (rest * other_slope + other * slope)
            if len(sizes) == 2:
                pairs += number * torch.outer(torch.as_tensor(other_slope), torch.as_tensor(slope))
        return cls(constant, linear, pairs, tuple(higher))

    def __call__(self, widths: Tensor) -> Tensor:
        """C at (G,) widths; a float64 scalar, differentiable."""
        found = self.constant + widths @ self.linear + widths @ self.pairs @ widths
        for number, sizes in self.higher:
            found = found + number * math.prod(_values(sizes, widths))
        return found

    def count(self, widths: Sequence[int]) -> int:
        """C at whole widths."""
        return round(float(self(torch.tensor(widths, dtype=F64))))

    def slope(self, widths: Tensor) -> Tensor:
        """dC/dS, (G,)."""
        found = self.linear + (self.pairs + self.pairs.T) @ widths
        for number, sizes in self.higher:
            values = _values(sizes, widths)
            for index, (_, slope) in enumerate(sizes):
                others = math.prod(values[:index] + values[index + 1 :])
                found = found + number * others * slope
        return found


_ONE: tuple[float, Tensor | float] = (1.0, 0.0)


def _values(sizes: Sequence[Affine], widths: Tensor) -> list[Tensor]:
    return [rest + slope @ widths for rest, slope in sizes]


def _affine(costs: Costs, axis: tuple[str, str], divisor: int, names: Sequence[str]) -> Affine:
    rest, entries = costs.size_in(axis, names)
    return rest / divisor, torch.tensor(entries, dtype=F64) / divisor
