"""A network on its device, while a method may cut it: everything that depends on its present size."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from secateur.device import Runtime
from secateur.methods import Method
from secateur.models.padding import Padding
from secateur.network.counting import count_model_macs
from secateur.network.inputs import Inputs, call, map_inputs
from secateur.network.modes import in_training
from secateur.network.weights import count_params


class PlacedNetwork:
    """Holds a network that trains, and makes anew what was built around it whenever it shrinks.

    Attributes:
        model: the network itself.
        layout: the memory layout of its weights and inputs.
        wrapped: what is called in training: the model, or around it what averages over processes.
        padding: a context in which it computes with padded channels, where that was measured to be faster.
        params, macs: its size; MACs are of one example.
    """

    model: nn.Module
    layout: torch.memory_format
    wrapped: nn.Module
    padding: AbstractContextManager[Any]
    params: int
    macs: int

    def __init__(self, model: nn.Module, runtime: Runtime, method: Method):
        self.runtime, self.method = runtime, method
        self.place(model)

    def place(self, model: nn.Module) -> None:
        """Take the network as it is now, with all that depends on its size."""
        self.model = self.runtime.place(model)
        self.layout = self.runtime.layout(self.model)
        self.wrapped = self.runtime.wrap(self.model)
        self.padding = self._padding()
        self.params = count_params(self.model)
        self.macs = count_model_macs(self.model)

    def follow(self, model: nn.Module) -> None:
        """Take the network from the method; only if it shrank, all that depends on its size is made anew."""
        self.model = model
        if count_params(model) != self.params:
            self.place(model)

    def output(self, inputs: Inputs, precision: str) -> Any:
        """Forward pass of a training step."""
        in_training(self.model)
        with self.runtime.autocast(precision), self.padding:
            return call(self.wrapped, map_inputs(inputs, self._arranged))

    def _arranged(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) in the network's layout; all else as it is."""
        return self.runtime.arrange(x, self.layout) if x.dim() == 4 and x.is_floating_point() else x

    def _padding(self) -> AbstractContextManager[Any]:
        """Channels are padded where that was measured to be faster, and the method minds nothing of it."""
        faster = self.runtime.device.type == "cpu" and self.layout == torch.channels_last
        return Padding(self.model) if faster and self.method.takes_padding else nullcontext()
