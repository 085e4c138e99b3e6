"""A network cut to widths, and run to see what it multiplies: without numbers, where it runs so."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.network.inputs import Inputs, map_inputs, modes_kept
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.recording import Multiplied, Recorder, recorded

Widths = Mapping[str, int]


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
    """Runs copies of a network that are cut to widths; without numbers where it runs so.

    Args:
        graph: of `model`, as it is.
        example: one example.
    """

    def __init__(self, model: nn.Module, graph: ChannelGraph, example: Inputs):
        self.graph = copy.deepcopy(graph)
        self.model, self.inputs = model, example
        self.plain = self._record(model)
        self.unknown = self.plain.unknown
        try:
            self.model = without_numbers(model)
            self.inputs = map_inputs(example, lambda x: x.to("meta"))
            same = _macs(self._record(self.model)) == _macs(self.plain)
        except Exception:  # somebody's code, which may look at numbers
            same = False
        if not same:
            self.model, self.inputs = model, example

    def run(self, widths: Widths) -> CutRun:
        """Run at widths; those of groups that are not named are as they are."""
        small, graph = copy.deepcopy(self.model), copy.deepcopy(self.graph)
        graph.narrow(small, dict(widths))
        found = self._record(small)
        numels = {name: parameter.numel() for name, parameter in small.named_parameters()}
        return CutRun(graph.widths, found.products, numels)

    def macs(self, widths: Widths) -> int:
        return self.run(widths).macs

    def _record(self, model: nn.Module) -> Recorder:
        with modes_kept(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it has to say it said when it ran for its user
            return recorded(model.eval(), self.inputs)


def _macs(found: Recorder) -> int:
    return sum(product.macs for product in found.products)


def without_numbers(model: nn.Module) -> nn.Module:
    """Copy a model onto the meta device, its tensors never copied; what is shared stays shared."""
    memo: dict[int, object] = {}
    for module in model.modules():
        held = (*module._parameters.values(), *module._buffers.values(), *module.__dict__.values())
        for value in held:
            if isinstance(value, nn.Parameter):
                memo[id(value)] = nn.Parameter(_blank(value), requires_grad=value.requires_grad)
            elif isinstance(value, Tensor):
                memo[id(value)] = _blank(value)
    return copy.deepcopy(model, memo)


def _blank(value: Tensor) -> Tensor:
    return torch.empty_like(value, device="meta", requires_grad=False)
