"""How much memory a network's activations take at their peak, whatever runtime it is given to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from secateur.network.inputs import Inputs, call, input_tensors, on_device, tile
from secateur.network.modes import in_evaluation, modes_kept


@torch.no_grad()
def peak_activation_bytes(model: nn.Module, inputs: Inputs) -> int:
    """The largest sum of activations that live while one operator runs, for the first example of `inputs`.

    Operators are torch's own in evaluation mode, one after another, none fused with its neighbour. An
    activation lives from the operator that makes it to the last one that reads it: the input from the start,
    what the network gives to the end. Views (a reshape, a slice) and operators in place make none, and an
    operator's own scratch memory is not counted, nor are parameters and buffers.

        peak = max over operators i of  sum of bytes of { a : made_a <= i <= last_read_a }

    Example:
        >>> peak_activation_bytes(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), torch.zeros(1, 4))
        64
    """
    one = on_device(tile(inputs, 1), model)
    watch = _Watch()
    watch.given(input_tensors(one))
    with modes_kept(model), torch.random.fork_rng(devices=[]), watch:
        result = call(in_evaluation(model), one)
    watch.read(_tensors(result))
    return watch.peak()


class _Watch(TorchDispatchMode):
    """Notes which memory every operator makes and reads; it is held meanwhile, so that none comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.held: dict[int, UntypedStorage] = {}
        self.made: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def given(self, tensors: list[Tensor]) -> None:
        """Take up what is there before the first operator."""
        self._make(tensors, 0)

    def read(self, tensors: Iterator[Tensor]) -> None:
        """Have the present operator read tensors: what was made neither by one nor given is no activation."""
        for tensor in tensors:
            if (key := _memory_of(tensor)) in self.made:
                self.last[key] = self.steps

    def peak(self) -> int:
        """The largest sum of bytes over all operators."""
        change = [0] * (self.steps + 2)
        for key, made in self.made.items():
            change[made] += self.held[key].nbytes()
            change[self.last[key] + 1] -= self.held[key].nbytes()
        most = now = 0
        for each in change:
            now += each
            most = max(most, now)
        return most

    def _make(self, tensors: list[Tensor], step: int) -> None:
        for tensor in tensors:
            key = _memory_of(tensor)
            if key not in self.held:
                self.made[key] = step
                self.held[key] = tensor.untyped_storage()
            self.last[key] = step

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        read = list(_tensors((args, kwargs)))
        for tensor in read:  # parameters, buffers and constants are no activations, nor are views of them
            self.held.setdefault(_memory_of(tensor), tensor.untyped_storage())
        result = func(*args, **(kwargs or {}))
        self.read(iter(read))
        self._make([tensor for tensor in _tensors(result) if self._is_activation(tensor)], self.steps)
        self.steps += 1
        return result

    def _is_activation(self, tensor: Tensor) -> bool:
        """Whether its memory is one, known or new; a parameter's is held, but was not made."""
        key = _memory_of(tensor)
        return key in self.made or key not in self.held


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor with memory of its own, however it is wrapped."""
    leaves = (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))
    return (leaf for leaf in leaves if leaf.layout == torch.strided)


def _memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
