"""The floating-point type in which a proof computes, whatever types a model's own code asks for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def to_dtype(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Convert floating-point numbers, and complex ones to as many digits; leave others. None: leave all."""
    if dtype is None:
        return x
    if x.is_complex():
        return x.to(_COMPLEX[dtype])
    return x.to(dtype) if x.is_floating_point() else x


def is_number(x: Tensor) -> bool:
    """Whether a tensor holds floating-point or complex numbers: what a precision can be asked of."""
    return x.is_floating_point() or x.is_complex()


def in_dtype(model: nn.Module, dtype: torch.dtype | None) -> nn.Module:
    """Convert a model's parameters and buffers, in place. (`Module.to` makes complex ones real.)"""
    return model if dtype is None else model._apply(lambda tensor: to_dtype(tensor, dtype))


def in_types_of(model: nn.Module, other: nn.Module) -> nn.Module:
    """Convert parameters and buffers to the types that another network has under the same names, in place."""
    types = {name: value.dtype for name, value in tensors_of(other).items()}
    for name, value in tensors_of(model).items():
        if is_number(value):
            value.data = value.data.to(types.get(name, value.dtype))
    return model


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """List every parameter and buffer by name, those outside the state dict too, under all their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


@contextlib.contextmanager
def computing_in(dtype: torch.dtype | None) -> Iterator[None]:
    """Have all operators compute in `dtype`, also where the code converts to another; None: as it is written.

    A model that takes its logits to float32, or runs a part in half precision, is so computed to all digits.
    """
    if dtype is None:
        yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Widened(dtype):
            yield
    finally:
        torch.set_default_dtype(before)


class _Widened(TorchDispatchMode):
    """Gives every operator that is asked for a floating-point type the one that all compute in."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = (kwargs or {}).get("dtype")
        if isinstance(asked, torch.dtype) and asked != self.dtype:
            if asked.is_floating_point:
                kwargs = {**kwargs, "dtype": self.dtype}
            elif asked.is_complex:
                kwargs = {**kwargs, "dtype": _COMPLEX[self.dtype]}
        return func(*args, **(kwargs or {}))
