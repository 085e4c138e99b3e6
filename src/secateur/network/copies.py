"""Copies of networks, of those too that torch does not copy as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from secateur.errors import InputError, kind_and_line

__all__ = ["computed_tensors", "copied"]

Network = TypeVar("Network", bound=nn.Module)


def copied(model: Network, known: Mapping[int, Any] | None = None) -> Network:
    """Copy a network.

    `copy.deepcopy` refuses tensors with a graph behind them, as a weight that a hook computes (old-style
    weight normalisation) is after a forward pass, and whatever a forward pass leaves as an attribute. The
    copy has their values; the network itself is left as it is.

    Args:
        known: id of something in it -> what takes its place in the copy.

    Raises:
        InputError: where something in it cannot be copied; it is named.
    """
    try:
        return copy.deepcopy(model, computed_tensors(model) | dict(known or {}))
    except Exception as error:  # of whatever the model holds
        held = _uncopied(model)
        what = f"what it holds as '{held}'" if held else type(model).__name__
        raise InputError(
            f"{type(model).__name__} cannot be copied: {kind_and_line(error)}: cuts are proved on copies, "
            f"and {what} has none: make it when it is needed, or give its class a __deepcopy__"
        ) from None


def computed_tensors(model: nn.Module) -> dict[int, Any]:
    """Map what torch would not copy to what stands for it: the memory that `copy.deepcopy` goes by."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module._buffers.values()):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return memo


def _uncopied(model: nn.Module) -> str | None:
    """Name the attribute that cannot be copied, by its dotted name."""
    memo = {**computed_tensors(model), **{id(module): module for module in model.modules()}}
    for name, module in model.named_modules():
        for own, value in vars(module).items():
            if own == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:
                return f"{name}.{own}" if name else own
    return None
