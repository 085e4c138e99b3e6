"""The layers that a network runs, by shape: what costs are looked up by on another device.

A layer is a convolution or a product with a matrix, wherever in the code it stands; it is called after the
module that it runs in. Everything else is counted: what numbers it gives, and the MACs of products of two
activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from secateur.deploy.given import Given, Inputs
from secateur.network.inputs import call
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.plain import bare
from secateur.records.device_table import Channels, Shape
from secateur.surgery.watching import ModuleWatch, flat_tensors


@dataclass(frozen=True)
class Found:
    """A layer that ran: its module's name ("conv#2" the second time), its shape, its channels."""

    name: str
    shape: Shape
    channels: Channels

    @property
    def module(self) -> str:
        """The module that it runs in."""
        return module_of(self.name)


def module_of(name: str) -> str:
    """The module of a layer: "conv" of "conv#2"."""
    return name.partition("#")[0]


@dataclass(frozen=True)
class Layers:
    """What ran for one batch.

    Attributes:
        found: in the order in which they ran.
        elements: numbers that all other operators gave.
        products: multiply-accumulates of products of activations.
    """

    found: tuple[Found, ...]
    elements: int
    products: int


@torch.no_grad()
def layers_of(model: nn.Module, inputs: Inputs, batch_size: int = 1) -> Layers:
    """Run a network once and see which layers it has; it is left as it was.

    Args:
        inputs: examples, repeated up to the batch.
    """
    model = bare(model)
    batch = Given.of(inputs).with_batch(batch_size).examples
    anchor = next(iter((*model.parameters(), *model.buffers(), *flat_tensors([batch.inputs]))))
    batch = batch.map(lambda value: value.to(anchor.device))
    watch = _LayerWatch(model)
    with modes_kept(model), _unfused(), watch:
        call(in_evaluation(model), batch)
    return Layers(tuple(watch.found), watch.elements, watch.products)


@contextmanager
def _unfused() -> Iterator[None]:
    """Keep torch from operators that hide the layers within: of attention, encoders, recurrent layers."""
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags warns of other hardware
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch._C._set_mkldnn_enabled(onednn)
        torch.backends.mha.set_fastpath_enabled(fast)


class _LayerWatch(ModuleWatch):
    """Notes layers, and counts all else."""

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.found: list[Found] = []
        self.elements = self.products = 0
        self._uses: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if read := _LAYERS.get(name):
            self._note(*read(*args))
        elif name in _PRODUCTS:
            left, right = _PRODUCTS[name](args)
            self.products += left.numel() * right.shape[-1]
        elif not func.is_view:
            self.elements += sum(tensor.numel() for tensor in flat_tensors([result]))
        return result

    def _note(self, shape: Shape, channels: Channels) -> None:
        module = self._inside[-1] if self._inside else ""
        self._uses[module] = use = self._uses.get(module, 0) + 1
        self.found.append(Found(module if use == 1 else f"{module}#{use}", shape, channels))


def _convolution(
    given: Tensor,
    weight: Tensor,
    _bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    more: Any,
    groups: int,
    *_: Any,
) -> tuple[Shape, Channels]:
    ins, outs = (weight.shape[0] // groups, weight.shape[1]) if transposed else weight.shape[1::-1]
    spatial = given.dim() - 2
    shape = Shape(
        kind="transposed" if transposed else "convolution",
        kernel=tuple(weight.shape[2:]),
        stride=_each(stride, spatial),
        padding=_each(padding, spatial),
        dilation=_each(dilation, spatial),
        more=_each(more, spatial) if transposed else (),
        size=tuple(given.shape[2:]),
    )
    return shape, (groups, ins, outs if transposed else outs // groups)


def _each(values: Any, spatial: int) -> tuple[int, ...]:
    found = tuple(int(value) for value in values)
    return found * spatial if len(found) == 1 else found


def _matrix(left: Tensor, right: Tensor) -> tuple[Shape, Channels]:
    rows = prod(left.shape[:-1])
    return Shape(kind="linear", size=(rows,)), (1, right.shape[0], right.shape[-1] if right.dim() > 1 else 1)


_LAYERS: dict[str, Callable[..., tuple[Shape, Channels]]] = {
    "convolution": _convolution,
    "addmm": lambda _bias, left, right, *_: _matrix(left, right),
    "mm": lambda left, right, *_: _matrix(left, right),
    "mv": lambda left, right, *_: _matrix(right[None], left.t()),
    "addmv": lambda _bias, left, right, *_: _matrix(right[None], left.t()),
}

_PRODUCTS: dict[str, Callable[[Any], Any]] = {
    "bmm": lambda args: args[:2],
    "baddbmm": lambda args: args[1:3],
}
