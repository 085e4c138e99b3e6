"""Whether a copy of a network is on its own: a hook or a closure may still run the network it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from secateur.errors import InputError
from secateur.network.alike import alike
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, call, on_device, output_tensors, take_first
from secateur.network.modes import in_evaluation, modes_kept
from secateur.surgery.quiet import quiet_training, without_chance

_CLOSE = 1e-3  # of the largest output: the same numbers in the same order


@torch.no_grad()
def check_copies(model: nn.Module, inputs: Inputs) -> None:
    """Raise InputError where a copy uses tensors of the network it was made of, or computes something else.

    Cuts are tried on copies, which must neither reach into the network nor miss what happened to themselves.
    """
    few = take_first(on_device(inputs, model), 2)
    owners = _owners(model)
    with modes_kept(model), without_chance():
        expected = output_tensors(call(in_evaluation(model), few))
    twin = copied(model)
    watch = _Uses(owners)
    with without_chance(), watch:
        found = output_tensors(call(in_evaluation(twin), few))
        with suppress(Exception):  # somebody's code: what does not run in training is said elsewhere
            call(quiet_training(twin), few)
    if watch.used:
        raise InputError(
            f"a copy of {type(model).__name__} still uses '{watch.used}' of the network that it was "
            "made of, as a hook, a closure, a patched forward or a weak reference refers to that: use the "
            "module that the hook is given, or self in a method of the class"
        )
    if not alike(found, expected, _CLOSE):
        raise InputError(
            f"a copy of {type(model).__name__} gives other outputs for the same inputs than the network "
            "itself, so no cut can be proved on it: keep what it computes with in parameters and buffers"
        )


def _owners(model: nn.Module) -> dict[int, str]:
    """Map the memory of every parameter and buffer to its name."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {_memory(tensor): name for name, tensor in named if tensor.numel()}


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # of a kind that has none
        return id(tensor)


class _Uses(TorchDispatchMode):
    """Finds the first operator that is given a tensor of somebody's."""

    def __init__(self, owners: Mapping[int, str]):
        super().__init__()
        self.owners = owners
        self.used: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.used is None:
            for value in tree_leaves((args, kwargs or {})):
                if isinstance(value, Tensor) and value.numel() and _memory(value) in self.owners:
                    self.used = self.owners[_memory(value)]
        return func(*args, **(kwargs or {}))
