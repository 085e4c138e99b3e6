"""A run, and what it multiplied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.network.inputs import Inputs, call
from secateur.surgery.kernels import plain_kernels
from secateur.surgery.operators import Dims, costs_nothing, multiplied, operands


@dataclass(frozen=True, slots=True)
class Multiplied:
    """One product of two tensors that ran.

    Attributes:
        operator: its name.
        dims: rows (any number of sizes), what is summed over, columns; MACs are their product.
        weight: the parameter that is one of the two, by name; None where none is.
        einsum: whether `torch.einsum` asked for it, which only multiplies entry by entry, at no cost by our
            convention, where what is summed over has size 1.
    """

    operator: str
    dims: Dims
    weight: str | None
    einsum: bool = False

    @property
    def macs(self) -> int:
        return math.prod(self.dims)


class ProductWatch(TorchDispatchMode):
    """Notes every product that runs, and counts the calls of operators whose cost nobody knows.

    Args:
        weights: storage of a parameter (`storage_of`) -> its name.
    """

    def __init__(self, weights: Mapping[int, str]):
        super().__init__()
        self.products: list[Multiplied] = []
        self.unknown: dict[str, int] = {}
        self._weights = weights
        self.in_einsum = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # under inference mode, what is made of other operators comes as one
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> None:
        sizes = multiplied(func, args, kwargs, result)
        if sizes is not None:
            weight = self._weight(operands(func, args))
            name = func.overloadpacket.__name__
            self.products += [Multiplied(name, dims, weight, self.in_einsum) for dims in sizes]
        elif not costs_nothing(func):
            name = func._schema.name.removeprefix("aten::").replace("::", ".")
            self.unknown[name] = self.unknown.get(name, 0) + 1

    def _weight(self, factors: Sequence[Tensor]) -> str | None:
        """Find the parameter of the most numbers among the factors, whole or a part of it."""
        owned = [(factor.numel(), self._weights.get(storage_of(factor))) for factor in factors]
        found = [(numel, name) for numel, name in owned if name is not None]
        return max(found)[1] if found else None


class _Einsums(TorchFunctionMode):
    """Tells a recorder what `torch.einsum` asks for."""

    def __init__(self, recorder: ProductWatch):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before, self.recorder.in_einsum = self.recorder.in_einsum, func is torch.einsum
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.recorder.in_einsum = before


def storage_of(tensor: Tensor) -> int:
    """Tell which memory a tensor is a view of, on the meta device too; -1 where it has none."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return -1


@torch.no_grad()
def recorded(model: nn.Module, inputs: Inputs) -> ProductWatch:
    """Run a model on `inputs`, as it is, and note what it multiplies."""
    owners: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        if (storage := storage_of(parameter)) >= 0:
            owners.setdefault(storage, name)
    recorder = ProductWatch(owners)
    with plain_kernels(), torch.random.fork_rng(devices=[]), _Einsums(recorder), recorder:
        call(model, inputs)
    return recorder
