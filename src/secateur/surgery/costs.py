"""What a network costs at any widths of its channel groups, in closed form: no forward pass, no cut.

Every tensor's dimensions are numbers or sizes of axes, so its size after a cut follows from the axes' sizes,
and so do the MACs of all that is multiplied by a parameter. What else is multiplied (attention) is a product
of sizes that follow groups, too (`secateur.surgery.products`). One channel less changes the few tensors and
products of its group: the new cost takes microseconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.errors import InputError
from secateur.models import Family
from secateur.network.counting import layer_positions, uses_of_weights
from secateur.network.inputs import Inputs, call, on_device, tile
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.tensor_files import state_bytes
from secateur.surgery.cutting import Axis
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.products import Product, Products, Size, products_of
from secateur.surgery.state import Dims, StateTensor, sized, state_tensors

COUNTED = ("params", "macs", "nonzeros")
"""The resources that are known in closed form. "nonzeros" are the weights that could be zero, and are not."""

_Counts = tuple[int, int, int]
"""Of each of them."""


@dataclass(frozen=True)
class _Work:
    """Products of matrices of the same sizes: `times` of them, MACs each the product of `dims`."""

    dims: Dims
    times: int
    einsum: bool

    def cost(self, sizes: Mapping[Axis, int]) -> tuple[int, int, int]:
        """Count params, MACs and weights at the sizes."""
        found = sized(self.dims, sizes)
        return (0, 0 if self.einsum and found[-2] == 1 else self.times * math.prod(found), 0)


class Costs:
    """Counts params, MACs and weights of a network as its channels go.

    Args:
        model: the network as it is; `graph` is its graph.
        inputs: one example or more: MACs are those of the first.
        referee: whether to look for what is multiplied beyond the layers; the built-in families have nothing.
        whole: the uncut network, where `model` is cut: what sizes follow is found by cutting it.

    Attributes:
        other_macs: MACs of products that no parameter is part of and that no cut changes.
        uncounted: operators whose cost nobody knows, with the number of calls: they are in no number.
        unfollowed: why MACs of products beyond the parameters are no closed form; "" where they are. They are
            then measured at every question, or, of a graph that nobody proved, taken as constant.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        inputs: Inputs,
        *,
        referee: bool = True,
        whole: nn.Module | None = None,
    ):
        self.graph, self._inputs = graph, inputs
        if referee:
            found = products_of(whole or model, graph.uncut() if whole else graph, inputs)
        else:
            found = _declared(model)
        self._tensors = state_tensors(model, graph, found.uses)
        self._forms = {
            _named(dim): dim for each in found.products for dim in each.dims if isinstance(dim, Size)
        }
        self._spread = _spreads(graph, self._forms)
        self._works = [_work(each) for each in found.products]
        self.other_macs = sum(w.cost({})[1] for w in self._works if not _follows(w.dims))
        self.uncounted, self.unfollowed = found.unknown, found.unfollowed
        self._measured = found.measure
        self._of_group = self._by_group()
        self._set_sizes()

    def _set_sizes(self) -> None:
        """Take up the graph's present widths."""
        self._widths = self.graph.widths
        self._sizes = {axis: self.graph.size(axis) for axis in self.graph.axes()}
        self._sizes |= {axis: form.at(self._widths) for axis, form in self._forms.items()}
        self._counted: _Counts | None = None  # when somebody first asks, as it may have to be measured

    def _by_group(self) -> dict[str, list[StateTensor | _Work]]:
        """What each group is part of."""
        found: dict[str, list[StateTensor | _Work]] = {name: [] for name in self._spread}
        for each in self._everything():
            axes = {dim[0] for dim in each.dims if not isinstance(dim, int)}
            for name, spread in self._spread.items():
                if not axes.isdisjoint(spread):
                    found[name].append(each)
        return found

    def _everything(self) -> Iterator[StateTensor | _Work]:
        yield from self._tensors
        yield from self._works

    def copy(self, graph: ChannelGraph) -> Costs:
        """Make the costs of a copy of the network, whose graph is `graph`."""
        other = object.__new__(Costs)
        other.__dict__.update(self.__dict__, graph=graph)
        other._set_sizes()
        return other

    @property
    def _now(self) -> _Counts:
        if self._counted is None:
            self._counted = self._total(self._sizes, self._widths)
        return self._counted

    @property
    def now(self) -> dict[str, int]:
        """What the network costs at present."""
        return dict(zip(COUNTED, self._now, strict=True))

    def nonzero_macs(self, model: nn.Module) -> int:
        """Count the MACs whose weight is not zero, and those without a weight (attention).

            nonzero MACs = MACs - sum over weights of  zeros(weight) * uses(weight)

        Args:
            model: the network that these are the costs of, as it is.
        """
        held = model.state_dict()
        uses = {t.name: t.uses for t in self._tensors if t.uses and t.is_weight}
        if self._measured is not None:  # nobody knows which parameter is multiplied how often: layers do
            layers = uses_of_weights(model, on_device(self._inputs, model))
            uses = {f"{name}.weight": used for name, used in layers.items() if f"{name}.weight" in held}
        zeros = ((held[name] == 0).sum().item() * used for name, used in uses.items())
        return self.now["macs"] - int(sum(zeros))

    def without(self, name: str, channels: int = 1) -> dict[str, int]:
        """Count what it would cost with so many channels less in a group: in microseconds."""
        return dict(zip(COUNTED, self._without(name, channels)[0], strict=True))

    def remove(self, name: str, channels: int = 1) -> None:
        """Follow a removal of channels from a group."""
        self._counted, changed = self._without(name, channels)
        self._sizes |= changed
        self._widths = {**self._widths, name: self._widths[name] - channels}

    def at(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Count what it costs with groups at other widths; those not named stay at the present ones."""
        found = self._total(self.sizes_at(widths), {**self._widths, **widths})
        return dict(zip(COUNTED, found, strict=True))

    def sizes_at(self, widths: Mapping[str, int]) -> dict[Axis, int]:
        """Find the size of every axis with groups at other widths."""
        sizes = dict(self._sizes)
        for name, width in widths.items():
            less = self._widths[name] - width
            for axis, spread in self._spread[name].items():
                sizes[axis] -= less * spread
        return sizes

    def shapes_at(self, widths: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Find the shape of every tensor of the state dict with groups at other widths."""
        sizes = self.sizes_at(widths)
        return {tensor.name: tensor.shape(sizes) for tensor in self._tensors}

    def bytes_at(self, widths: Mapping[str, int]) -> int:
        """Count the bytes of the saved weights, to the byte, with groups at other widths."""
        sizes = self.sizes_at(widths)
        return state_bytes(
            {
                t.name: torch.empty(t.shape(sizes), dtype=t.dtype, device="meta")
                for t in self._tensors
                if t.again is None  # it is written under its first name
            }
        )

    def terms(self, resource: str) -> Iterator[tuple[int, list[tuple[Axis, int]]]]:
        """What a resource is the sum of: a number, times the sizes of axes, each divided by a number.

        Raises:
            InputError: for MACs that are no closed form.
        """
        column = COUNTED.index(resource)
        if resource == "macs":
            if self._measured is not None:
                raise InputError(
                    "the MACs of the network are no formula of its widths "
                    f"({self.unfollowed}): ask for params, or choose a criterion (fisher)"
                )
            yield self.other_macs, []
            yield from (_term(work.times, work.dims) for work in self._works if _follows(work.dims))
        for tensor in self._tensors:
            number = (tensor.is_parameter, tensor.uses, tensor.is_weight)[column]
            if number:
                yield _term(number, tensor.dims)

    def size_in(self, axis: Axis, names: Sequence[str]) -> tuple[int, list[int]]:
        """The size of an axis as `rest + sum_i entries_i * width_i` over the groups named."""
        entries = [self._spread[name].get(axis, 0) for name in names]
        widths = (self._widths[name] for name in names)
        return self._sizes[axis] - sum(n * w for n, w in zip(entries, widths, strict=True)), entries

    def _without(self, name: str, channels: int) -> tuple[_Counts, dict[Axis, int]]:
        changed = {axis: self._sizes[axis] - channels * n for axis, n in self._spread[name].items()}
        after = {**self._sizes, **changed}
        params, macs, weights = self._now
        for each in self._of_group[name]:
            old, new = each.cost(self._sizes), each.cost(after)
            params += new[0] - old[0]
            macs += new[1] - old[1]
            weights += new[2] - old[2]
        if self._measured is not None:
            macs = self._measured({**self._widths, name: self._widths[name] - channels})
        return (params, macs, weights), changed

    def _total(self, sizes: Mapping[Axis, int], widths: Mapping[str, int]) -> _Counts:
        costs = [each.cost(sizes) for each in self._everything()]
        params, macs, weights = (sum(column) for column in zip(*costs, strict=True))
        return (params, macs if self._measured is None else self._measured(widths), weights)


def _declared(model: nn.Module) -> Products:
    """Of a built-in family: how often each layer's weights are used for one example, and nothing else."""
    if not isinstance(model, Family):
        return Products({}, (), {})
    positions = layer_positions(model, model.input_shape)
    return Products({f"{name}.weight": used for name, used in positions.items()}, (), {})


def _named(size: Size) -> Axis:
    """Name a size that follows groups as if it were an axis, by what it is."""
    return ("", " + ".join([*(f"{n} {name}" for name, n in size.each), str(size.rest)]))


def _work(product: Product) -> _Work:
    dims = tuple(dim if isinstance(dim, int) else (_named(dim), 1) for dim in product.dims)
    return _Work(dims, product.times, product.einsum)


def _follows(dims: Dims) -> bool:
    return any(not isinstance(dim, int) for dim in dims)


def _term(number: int, dims: Dims) -> tuple[int, list[tuple[Axis, int]]]:
    fixed = math.prod(dim for dim in dims if isinstance(dim, int))
    return number * fixed, [dim for dim in dims if not isinstance(dim, int)]


def _spreads(graph: ChannelGraph, forms: Mapping[Axis, Size]) -> dict[str, dict[Axis, int]]:
    """Map group and axis (or size) to how many of its entries belong to one channel."""
    found = {group.name: {site.axis: site.entries.shape[1] for site in group.sites} for group in graph}
    for axis, form in forms.items():
        for name, each in form.each:
            found[name][axis] = each
    return found


def state_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor of a network's state dict, as `Costs.shapes_at` foretells them."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@torch.no_grad()
def program(model: nn.Module, inputs: Inputs) -> str:
    """Hash what a model computes: the operators that one example passes, with settings, as 12 hex digits.

    Two models of equal tensors, of which one has a GELU where the other has a ReLU, differ in it.
    """
    watch = _Operators()
    with modes_kept(model), torch.random.fork_rng(devices=[]), watch:
        call(in_evaluation(model), tile(inputs, 1))
    return hashlib.sha256("\n".join(watch.seen).encode()).hexdigest()[:12]


class _Operators(TorchDispatchMode):
    """Notes what runs, with the settings that are no tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [arg for arg in (*args, *(kwargs or {}).values()) if _is_plain(arg)]
        self.seen.append(f"{func}{plain}")
        return func(*args, **(kwargs or {}))


def _is_plain(value: Any) -> bool:
    """Tell numbers, texts and lists of them from the rest: what looks the same in every process."""
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
