"""Everything that a network multiplies, as products of sizes that follow the widths of its channel groups.

    MACs = sum over products of  times * prod over dimensions of (rest + sum_g each_g * width_g)

Operands are not looked at, only their sizes: copies of the network are cut to random widths and run
(`secateur.surgery.cut_runs`). A size that stays is a number. One that changes is the size of a group
or of an axis, times a number: the runs tell which. What they leave open is found by cutting each group alone.
Then the sum is held against what runs at other widths count, to the unit; where it fails, no formula is
claimed, and MACs are measured whenever somebody asks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import torch
from torch import nn

from secateur.errors import kind_and_line
from secateur.network.inputs import Inputs, on_device, tile
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.cut_runs import CutRun, Cutter, Widths
from secateur.surgery.cutting import Axis
from secateur.surgery.graph import ChannelGraph

_Each = tuple[tuple[str, int], ...]
"""(group, entries of a size that belong to one of its channels)."""
_Change = tuple[int, tuple[int, ...]]
"""A size, and how much less it is in each run."""
CHECKS = 2  # random widths at which the formula is held against a count
MOST_RUNS = 24  # random widths by which groups are told from each other
RUNS = 3  # at least


@dataclass(frozen=True)
class Size:
    """rest + sum of each * width, over groups."""

    rest: int
    each: _Each

    def at(self, widths: Widths) -> int:
        return self.rest + sum(each * widths[name] for name, each in self.each)


@dataclass(frozen=True)
class Product:
    """So many products of matrices of the same sizes.

    Attributes:
        dims: numbers, or sizes that follow groups; the last but one is what is summed over.
        times: how many of them there are.
        einsum: whether they cost nothing where that is 1 (`Multiplied.einsum`).
    """

    dims: tuple[int | Size, ...]
    times: int
    einsum: bool = False

    def at(self, widths: Widths) -> int:
        sizes = [dim if isinstance(dim, int) else dim.at(widths) for dim in self.dims]
        return 0 if self.einsum and sizes[-2] == 1 else self.times * math.prod(sizes)


@dataclass
class Products:
    """What a network multiplies.

    Attributes:
        uses: parameter -> how often each of its numbers is multiplied for one example, at any widths.
        products: all the rest.
        unknown: operators whose cost nobody knows -> calls.
        measure: where no formula holds: counts the MACs of the network cut to widths, by running it.
        unfollowed: why sizes could not be followed; "" where they were.
    """

    uses: dict[str, int]
    products: tuple[Product, ...]
    unknown: dict[str, int]
    measure: Callable[[Widths], int] | None = None
    unfollowed: str = ""


def products_of(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> Products:
    """Find what a network multiplies for one example, at any widths of its groups up to the present ones.

    Args:
        model: as it is; it is left so.
        graph: of it, as it is.
        inputs: one example or more, of which the first counts.
    """
    cutter = Cutter(model, graph, tile(on_device(inputs, model), 1))
    follower = _Follower(cutter)
    try:
        found = follower.followed()
    except RUN_ERRORS as error:  # groups that nobody proved
        whole = follower.constant()
        return Products(
            *whole, cutter.unknown, unfollowed=f"it fails where it is cut: {kind_and_line(error)}"
        )
    if found is not None:
        return Products(*found, cutter.unknown)
    known: dict[tuple[int, ...], int] = {}

    def measure(widths: Widths) -> int:
        key = tuple(widths[name] for name in graph.groups)
        if key not in known:
            known[key] = cutter.macs(widths)
        return known[key]

    return Products({}, (), cutter.unknown, measure, "they are no product of widths, so they are measured")


@dataclass
class _Follower:
    """Finds which sizes follow which groups."""

    cutter: Cutter
    runs: list[CutRun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph = self.cutter.graph
        self.generator = torch.Generator().manual_seed(0)
        self.wide = [name for name in self.graph.groups if self.graph.width(name) > 1]
        self.base = self.cutter.base

    def constant(self) -> tuple[dict[str, int], tuple[Product, ...]]:
        """What is multiplied, by parameters at any widths, and the rest as if nothing ever changed."""
        self.runs = [self.base]
        uses, rest = self._by_parameters()
        return uses, _merged([self._as_it_is(index) for index in rest])

    def followed(self) -> tuple[dict[str, int], tuple[Product, ...]] | None:
        """The same at any widths; None where no formula holds."""
        self.runs = [self.base]
        if not self.wide:
            return self.constant()
        while len(self.runs) <= RUNS or (len(self.runs) <= MOST_RUNS and not self._told_apart()):
            self.runs.append(self.cutter.run(self._drawn()))
        if any(run.kinds != self.base.kinds for run in self.runs):
            return None
        uses, rest = self._by_parameters()
        products = self._followed(rest)
        if products is None or not self._holds(uses, products):
            return None
        return uses, products

    def _drawn(self) -> dict[str, int]:
        """Random widths, of which few are 1: there, code may do something else."""
        widths = {}
        for name in self.wide:
            width = self.graph.width(name)
            least = 2 if width > 3 else 1
            widths[name] = int(torch.randint(least, width + 1, (), generator=self.generator))
        return widths

    def _less(self, name: str) -> tuple[int, ...]:
        """How many channels less a group has in each run."""
        return tuple(self.base.widths[name] - run.widths[name] for run in self.runs[1:])

    def _told_apart(self) -> bool:
        """Whether no group's widths are those of another, times a number, in all runs."""
        lines = {_direction(self._less(name)) for name in self.wide}
        return len(lines) == len(self.wide) and not any(not any(line) for line in lines)

    def _by_parameters(self) -> tuple[dict[str, int], list[int]]:
        """Parameter -> uses, where these are the same in all runs, and the numbers of the other products."""
        uses: Counter[str] = Counter()
        rest = []
        for index, product in enumerate(self.base.products):
            name = product.weight
            times, left = divmod(product.macs, self.base.numels[name]) if name else (0, 1)
            if name and not left and all(self._used(run, index, name, times) for run in self.runs):
                uses[name] += times
            else:
                rest.append(index)
        return dict(uses), rest

    @staticmethod
    def _used(run: CutRun, index: int, name: str, times: int) -> bool:
        return run.products[index].macs == times * run.numels[name]

    def _as_it_is(self, index: int) -> Product:
        product = self.base.products[index]
        return Product((product.macs,), 1)

    def _followed(self, indices: Sequence[int]) -> tuple[Product, ...] | None:
        """Find the sizes of products; None where one is no sum over groups."""
        candidates = self._candidates()
        sizes = {change: self._size(change, candidates) for change in self._changes(indices)}
        if any(size is None for size in sizes.values()):
            sizes |= self._alone(indices, [change for change, size in sizes.items() if size is None])
        found = []
        for index in indices:
            dims = [sizes[change] for change in self._changes([index])]
            if None in dims:
                return None
            product = Product(tuple(dim for dim in dims if dim is not None), 1)
            found.append(replace(product, einsum=self.base.products[index].einsum))
        return _merged(found)

    def _changes(self, indices: Sequence[int]) -> Iterator[_Change]:
        """Of every dimension of products: its size, and how much less it is in each run."""
        for index in indices:
            for dim, value in enumerate(self.base.products[index].dims):
                yield value, tuple(value - run.products[index].dims[dim] for run in self.runs[1:])

    def _candidates(self) -> dict[tuple[int, ...], _Each]:
        """What a size may follow: an axis or a single group, by the direction of how much less it is."""
        axes: dict[Axis, list[tuple[str, int]]] = {}
        for group in self.graph:
            for site in group.sites:
                axes.setdefault(site.axis, []).append((group.name, site.entries.shape[1]))
        found: dict[tuple[int, ...], _Each] = {}
        for each in [*axes.values(), *([(name, 1)] for name in self.wide)]:  # the last wins: a single group
            divisor = math.gcd(*(n for _, n in each))
            plain = tuple((name, n // divisor) for name, n in each)
            found[_direction(self._sums(plain))] = plain
        return found

    def _sums(self, each: _Each) -> list[int]:
        """How much less a sum over groups is in each run."""
        lines = [[n * less for less in self._less(name)] for name, n in each]
        return [sum(column) for column in zip(*lines, strict=True)]

    def _size(self, change: _Change, candidates: Mapping[tuple[int, ...], _Each]) -> int | Size | None:
        """What a dimension follows; None where it is no multiple of any candidate."""
        value, less = change
        if not any(less):
            return value
        each = candidates.get(_direction(less))
        if each is None:
            return None
        ratio = Fraction(sum(map(abs, less)), sum(self._sums(each)))
        if ratio.denominator != 1:
            return None
        return self._sized(value, tuple((name, int(ratio) * n) for name, n in each))

    def _sized(self, value: int, each: _Each) -> Size:
        return Size(value - sum(n * self.base.widths[name] for name, n in each), each)

    def _alone(self, indices: Sequence[int], wanted: Sequence[_Change]) -> dict[_Change, Size]:
        """Find what dimensions follow by cutting a channel of each group alone, as far as the runs agree."""
        slopes: dict[_Change, dict[str, set[int]]] = {change: {} for change in wanted}
        for name in self.wide:
            run = self.cutter.run({name: self.graph.width(name) - 1})
            if run.kinds != self.base.kinds:
                return {}
            for index in indices:
                for change, size in zip(self._changes([index]), run.products[index].dims, strict=True):
                    if change in slopes:
                        slopes[change].setdefault(name, set()).add(change[0] - size)
        found = {}
        for change, by_group in slopes.items():
            each = tuple((name, min(slope)) for name, slope in by_group.items() if slope != {0})
            unique = all(len(slope) == 1 for slope in by_group.values())  # two that look alike may differ
            if unique and tuple(self._sums(each)) == change[1]:
                found[change] = self._sized(change[0], each)
        return found

    def _holds(self, uses: Mapping[str, int], products: Sequence[Product]) -> bool:
        """Whether the formula gives what is counted at other random widths, and at the smallest."""
        for widths in [*(self._drawn() for _ in range(CHECKS)), dict.fromkeys(self.wide, 1)]:
            run = self.cutter.run(widths)
            total = sum(n * run.numels[name] for name, n in uses.items())
            if run.macs != total + sum(product.at(run.widths) for product in products):
                return False
        return True


def _direction(values: Sequence[int]) -> tuple[int, ...]:
    """Divide by what all have in common."""
    divisor = math.gcd(*values) or 1
    return tuple(abs(value) // divisor for value in values)


def _merged(products: Sequence[Product]) -> tuple[Product, ...]:
    """Put those of the same sizes together."""
    counted: Counter[tuple[tuple[int | Size, ...], bool]] = Counter()
    for product in products:
        counted[product.dims, product.einsum] += product.times
    return tuple(Product(dims, times, einsum) for (dims, einsum), times in counted.items())
