"""What a network costs at any widths of its channel groups, in closed form: no forward pass, no cut.

Every tensor's dimensions are numbers or sizes of axes, so its size after a cut follows from the axes' sizes.
One channel less changes the few tensors of its group: the new cost takes microseconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from secateur.models import Family
from secateur.network.counting import layer_positions, uses_of_weights
from secateur.network.inputs import Inputs, call, modes_kept, on_device, tile
from secateur.network.tensor_files import state_bytes
from secateur.network.weights import weight_layers
from secateur.surgery.cutting import CHANNELWISE, Axis, is_transposed, passes_on
from secateur.surgery.graph import ChannelGraph

COUNTED = ("params", "macs", "nonzeros")
"""The resources that are known in closed form. "nonzeros" are the weights that could be zero, and are not."""

_HARMLESS = (
    *("pool", "norm", "softmax", "upsample", "interpolate", "pad", "cat", "stack", "copy", "clone", "arange"),
    *("mean", "sum", "var", "std", "max", "min", "prod", "cumsum", "index", "gather", "scatter", "select"),
    *("embedding", "dropout", "empty", "zeros", "ones", "full", "rand", "roll", "flip", "sort", "topk"),
    *("lift", "detach", "_to_copy", "scalar_tensor", "_local_scalar", "nonzero", "where", "one_hot", "arg"),
    *("repeat", "constant", "im2col", "col2im", "unfold", "grid", "bernoulli", "eye", "fill", "resize"),
    *("view", "prelu"),
)
"""Parts of the names of operators that cost nothing by our convention: they move, choose, average, scale."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose dimensions follow the axes: `dims[i]` is a number, or an axis and what divides its size.

    Attributes:
        is_parameter, is_weight: what it counts for.
        uses: how often one example uses it, over all layers that share it (weights only).
    """

    name: str
    dims: tuple[int | tuple[Axis, int], ...]
    is_parameter: bool
    is_weight: bool
    uses: int
    dtype: torch.dtype

    def shape(self, sizes: Mapping[Axis, int]) -> tuple[int, ...]:
        return tuple(dim if isinstance(dim, int) else sizes[dim[0]] // dim[1] for dim in self.dims)

    def cost(self, sizes: Mapping[Axis, int]) -> tuple[int, int, int]:
        """Count params, MACs and weights at the axes' sizes."""
        numel = 1
        for dim in self.dims:
            numel *= dim if isinstance(dim, int) else sizes[dim[0]] // dim[1]
        return (numel * self.is_parameter, numel * self.uses, numel * self.is_weight)


def _uses(model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """Count how often each layer's weights are used for the first example."""
    if isinstance(model, Family):
        return layer_positions(model, model.input_shape)
    return uses_of_weights(model, on_device(inputs, model))


class Costs:
    """Counts params, MACs and weights of a network as its channels go.

    Args:
        model: the network as it is; `graph` is its graph.
        inputs: one example or more: MACs are those of the first.
        referee: whether to look for operators beyond the layers; the built-in families have none.

    Attributes:
        other_macs: MACs that `torch.utils.flop_counter` counts beyond those of the layers (attention,
            functional convolutions); taken as constant.
        uncounted: operators that neither knows, with the number of calls: they are in no number.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, inputs: Inputs, *, referee: bool = True):
        self.graph = graph
        uses = _uses(model, inputs)
        self._tensors = _tensors_of(model, graph, uses)
        self._sizes = {axis: graph.size(axis) for axis in graph.axes()}
        self._spread = _spreads(graph)
        self._of_group = {
            name: [t for t in self._tensors if any(not isinstance(d, int) and d[0] in spread for d in t.dims)]
            for name, spread in self._spread.items()
        }
        self.other_macs, self.uncounted = 0, dict[str, int]()
        if referee:
            layers = sum(weight.numel() * uses.get(name, 0) for name, weight in _weights(model).items())
            self.other_macs, self.uncounted = other_operators(model, inputs, layers)
        self._now = self._total(self._sizes)

    def copy(self, graph: ChannelGraph) -> Costs:
        """Make the costs of a copy of the network, whose graph is `graph`."""
        other = object.__new__(Costs)
        other.__dict__.update(self.__dict__, graph=graph)
        other._sizes = {axis: graph.size(axis) for axis in graph.axes()}
        other._now = other._total(other._sizes)
        return other

    @property
    def now(self) -> dict[str, int]:
        """What the network costs at present."""
        return dict(zip(COUNTED, self._now, strict=True))

    def without(self, name: str, channels: int = 1) -> dict[str, int]:
        """Count what it would cost with so many channels less in a group: in microseconds."""
        return dict(zip(COUNTED, self._without(name, channels)[0], strict=True))

    def remove(self, name: str, channels: int = 1) -> None:
        """Follow a removal of channels from a group."""
        self._now, changed = self._without(name, channels)
        self._sizes |= changed

    def at(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Count what it costs with groups at other widths; those not named stay at the present ones."""
        return dict(zip(COUNTED, self._total(self.sizes_at(widths)), strict=True))

    def sizes_at(self, widths: Mapping[str, int]) -> dict[Axis, int]:
        """Find the size of every axis with groups at other widths."""
        sizes = dict(self._sizes)
        for name, width in widths.items():
            less = self.graph.width(name) - width
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
            {t.name: torch.empty(t.shape(sizes), dtype=t.dtype, device="meta") for t in self._tensors}
        )

    def terms(self, resource: str) -> Iterator[tuple[int, list[tuple[Axis, int]]]]:
        """What a resource is the sum of: a number, times the sizes of axes, each divided by a number."""
        column = COUNTED.index(resource)
        if resource == "macs":
            yield self.other_macs, []
        for tensor in self._tensors:
            number = (tensor.is_parameter, tensor.uses, tensor.is_weight)[column]
            if number:
                fixed = math.prod(dim for dim in tensor.dims if isinstance(dim, int))
                yield number * fixed, [dim for dim in tensor.dims if not isinstance(dim, int)]

    def size_in(self, axis: Axis, names: Sequence[str]) -> tuple[int, list[int]]:
        """The size of an axis as `rest + sum_i entries_i * width_i` over the groups named."""
        entries = [self._spread[name].get(axis, 0) for name in names]
        widths = (self.graph.width(name) for name in names)
        return self._sizes[axis] - sum(n * w for n, w in zip(entries, widths, strict=True)), entries

    def _without(self, name: str, channels: int) -> tuple[tuple[int, int, int], dict[Axis, int]]:
        changed = {axis: self._sizes[axis] - channels * n for axis, n in self._spread[name].items()}
        after = {**self._sizes, **changed}
        params, macs, weights = self._now
        for tensor in self._of_group[name]:
            old, new = tensor.cost(self._sizes), tensor.cost(after)
            params += new[0] - old[0]
            macs += new[1] - old[1]
            weights += new[2] - old[2]
        return (params, macs, weights), changed

    def _total(self, sizes: Mapping[Axis, int]) -> tuple[int, int, int]:
        costs = [tensor.cost(sizes) for tensor in self._tensors]
        params, macs, weights = (sum(column) for column in zip(*costs, strict=True))
        return (params, macs + self.other_macs, weights)


def _spreads(graph: ChannelGraph) -> dict[str, dict[Axis, int]]:
    """Map group and axis to how many of its entries belong to one channel."""
    return {group.name: {site.axis: site.entries.shape[1] for site in group.sites} for group in graph}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: layer.weight for name, layer in weight_layers(model).items()}


def _tensors_of(model: nn.Module, graph: ChannelGraph, uses: Mapping[str, int]) -> list[_Tensor]:
    """List every tensor of the state dict; of a shared one, the first name counts and has all the uses."""
    held: dict[str, Tensor] = dict(model.state_dict(keep_vars=True))
    owners: dict[int, str] = {}
    total: dict[str, int] = {}
    weights = {f"{name}.weight" if name else "weight": name for name in weight_layers(model)}
    for name, value in held.items():
        owner = owners.setdefault(id(value), name)
        if name in weights:
            total[owner] = total.get(owner, 0) + uses.get(weights[name], 0)
    axes = set(graph.axes())
    found = []
    for name, value in held.items():
        own = owners[id(value)] == name
        found.append(
            _Tensor(
                name,
                _dims(model, name, value, axes),
                own and isinstance(value, nn.Parameter),
                own and name in weights,
                total.get(name, 0) if own else 0,
                value.dtype,
            )
        )
    return found


def _dims(model: nn.Module, name: str, value: Tensor, axes: set[Axis]) -> tuple[int | tuple[Axis, int], ...]:
    """Find which axis each dimension of a tensor follows."""
    module, _, own = name.rpartition(".")
    layer = model.get_submodule(module)
    dims: list[int | tuple[Axis, int]] = list(value.shape)

    def follow(dim: int, kind: str, divisor: int = 1) -> None:
        if (module, kind) in axes:
            dims[dim] = ((module, kind), divisor)

    if isinstance(layer, _ConvNd):
        if own == "bias":
            follow(0, "out")
        elif own == "weight":
            whole, divided = ("in", "out") if is_transposed(layer) else ("out", "in")
            follow(0, whole)
            if not passes_on(layer):
                follow(1, divided, layer.groups)
    elif isinstance(layer, nn.Linear):
        follow(0, "out")
        if own == "weight":
            follow(1, "in")
    elif isinstance(layer, CHANNELWISE):
        if value.dim():  # the count of batches has no dimension
            follow(0, "out")
    else:
        for dim in range(value.dim()):
            follow(dim, f"{own}@{dim}")
    return tuple(dims)


def state_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor of a network's state dict, as `Costs.shapes_at` foretells them."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def other_operators(model: nn.Module, inputs: Inputs, layer_macs: int) -> tuple[int, dict[str, int]]:
    """(MACs that the referee counts beyond `layer_macs`, operators that it does not know -> calls).

    The referee is `torch.utils.flop_counter`, which counts two FLOPs for each multiply-accumulate.
    """
    counter, watch = FlopCounterMode(display=False), _Operators()
    with modes_kept(model), torch.no_grad(), counter, watch:
        call(model.eval(), tile(on_device(inputs, model), 1))
    return max(0, counter.get_total_flops() // 2 - layer_macs), watch.unknown


@torch.no_grad()
def program(model: nn.Module, inputs: Inputs) -> str:
    """Hash what a model computes: the operators that one example passes, with settings, as 12 hex digits.

    Two models of equal tensors, of which one has a GELU where the other has a ReLU, differ in it.
    """
    watch = _Operators()
    with modes_kept(model), torch.random.fork_rng(devices=[]), watch:
        call(model.eval(), tile(inputs, 1))
    return hashlib.sha256("\n".join(watch.seen).encode()).hexdigest()[:12]


class _Operators(TorchDispatchMode):
    """Notes what runs, and names the operators whose cost nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown: dict[str, int] = {}
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        plain = [arg for arg in (*args, *(kwargs or {}).values()) if _is_plain(arg)]
        self.seen.append(f"{func}{plain}")
        known = (
            func.overloadpacket in flop_registry
            or torch.Tag.pointwise in func.tags
            or func.is_view
            or any(part in name for part in _HARMLESS)
        )
        if not known:
            self.unknown[name] = self.unknown.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def _is_plain(value: Any) -> bool:
    """Tell numbers, texts and lists of them from the rest: what looks the same in every process."""
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))
