"""A network cut to widths, and run to see what it multiplies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.network.attention import with_own_heads
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, map_inputs
from secateur.network.modes import in_evaluation, modes_kept
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.multiplying import Multiplied, ProductWatch, recorded

Widths = Mapping[str, int]
LARGE = 10**10  # MACs: a third of a second on one core


@dataclass
class CutRun:
    """What ran at some widths."""

    widths: dict[str, int]
    products: list[Multiplied]
    numels: dict[str, int]

    @property
    def macs(self) -> int:
        return sum(product.macs for product in self.products)

    @property
    def kinds(self) -> list[tuple[str, str | None, int]]:
        return [(product.operator, product.weight, len(product.dims)) for product in self.products]


class Cutter:
    """Runs copies of a network that are cut to widths.

    A large one runs without numbers, on torch's meta device, if it gives the same there; for a small one that
    would take longer.

    Args:
        graph: of `model`, as it is.
        example: one example.

    Attributes:
        base: what ran in the network as it is.
        unknown: operators in it whose cost nobody knows -> calls.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, example: Inputs):
        self.graph = copy.deepcopy(graph)
        self.model, self.inputs = model, example
        plain = self._record(model)
        self.unknown = plain.unknown
        self.base = self._made(model, plain)
        self._with_own_heads()
        if self.base.macs > LARGE:
            self._without_numbers()

    def _with_own_heads(self) -> None:
        """Run attention as it runs once it is cut, so that what is multiplied is the same at all widths."""
        if not any(type(module) is nn.MultiheadAttention for module in self.model.modules()):
            return
        model = copied(self.model, _not_carried(self.model))
        with_own_heads(model, {axis[0] for axis in self.graph.axes()})
        base = self._made(model, self._record(model))
        if base.macs == self.base.macs:
            self.model, self.base = model, base

    def _without_numbers(self) -> None:
        """Go over to the meta device, if the network runs there, and multiplies as much."""
        try:
            model = without_numbers(self.model)
            inputs = map_inputs(self.inputs, lambda x: x.to("meta"))
            base = self._made(model, self._record(model, inputs))
        except Exception:  # somebody's code, which may look at numbers
            return
        if base.macs == self.base.macs:
            self.model, self.inputs, self.base = model, inputs, base

    def run(self, widths: Widths) -> CutRun:
        """Run at widths; groups that are not named stay as wide as they are."""
        small, graph = copied(self.model, _not_carried(self.model)), copy.deepcopy(self.graph)
        graph.narrow(small, dict(widths))
        return self._made(small, self._record(small), graph)

    def macs(self, widths: Widths) -> int:
        """Count the MACs at widths."""
        return self.run(widths).macs

    def _made(self, model: nn.Module, found: ProductWatch, graph: ChannelGraph | None = None) -> CutRun:
        numels = {name: parameter.numel() for name, parameter in model.named_parameters()}
        return CutRun((graph or self.graph).widths, found.products, numels)

    def _record(self, model: nn.Module, inputs: Inputs | None = None) -> ProductWatch:
        with modes_kept(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it has to say it said when it ran for its user
            return recorded(in_evaluation(model), self.inputs if inputs is None else inputs)


def without_numbers(model: nn.Module) -> nn.Module:
    """Copy a model onto the meta device, its tensors never copied; what is shared stays shared."""
    memo = _not_carried(model)
    for module in model.modules():
        held = (*module._parameters.values(), *module._buffers.values(), *module.__dict__.values())
        for value in held:
            if isinstance(value, nn.Parameter):
                memo[id(value)] = nn.Parameter(_blank(value), requires_grad=value.requires_grad)
            elif isinstance(value, Tensor):
                memo[id(value)] = _blank(value)
    return copied(model, memo)


def _not_carried(model: nn.Module) -> dict[int, Any]:
    """What `copy.deepcopy` is to leave out: what a model carries of ours, which knows its costs."""
    return {id(value): None for name, value in vars(model).items() if name.startswith("_secateur")}


def _blank(value: Tensor) -> Tensor:
    return torch.empty_like(value, device="meta", requires_grad=False)
