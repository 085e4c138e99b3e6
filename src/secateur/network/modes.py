"""Training and evaluation: put a network into one of them, and back into what every module of it was in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def in_evaluation(model: Network) -> Network:
    """Put a network into evaluation mode, and give it back: whatever its own `eval` returns."""
    _switch(model, False)
    return model


def in_training(model: Network) -> Network:
    """Put a network into training mode, and give it back: whatever its own `train` returns."""
    _switch(model, True)
    return model


def _switch(model: nn.Module, mode: bool) -> None:
    try:
        model.train() if mode else model.eval()  # a network's own may keep parts of it in evaluation
    except (TypeError, NotImplementedError):  # an override without arguments; a graph that knows no modes
        for module in model.modules():
            module.training = mode


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore every module's own training mode at the end: some may be frozen in evaluation."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
