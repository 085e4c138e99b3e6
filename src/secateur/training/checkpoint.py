"""The state of a training, from which it continues as if nothing had been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.network.tensor_files import load_state
from secateur.training.state import Progress


@dataclass
class Checkpoint:
    """Holds a training's state.

    Attributes:
        state: JSON-able: "progress", then one entry for each part ("method", "average"), "optimizer" where
            that has more than tensors, and what whoever saves it adds.
        tensors: "model.NAME", "momentum.NAME" (SGD's buffer of a parameter), "optimizer.KEY.NAME" (what
            other optimizers hold of it), and "method.NAME", "average.NAME".
    """

    state: dict[str, Any]
    tensors: dict[str, Tensor]


class Part(Protocol):
    """What a training is made of beside its network and its optimizer: the method, the average."""

    def state(self) -> dict[str, Any]:
        """JSON-able."""

    def tensors(self) -> dict[str, Tensor]:
        """By name."""

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what the other two gave."""


def pack(model: nn.Module, optimizer: Optimizer, progress: Progress, parts: Mapping[str, Part]) -> Checkpoint:
    """The present state. Every process takes part, because a method may sum over them."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    state: dict[str, Any] = {"progress": asdict(progress)}
    numbers: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{_prefix(key)}.{name}"] = value
            elif value is not None:
                numbers.setdefault(name, {})[key] = value
    if numbers:
        state["optimizer"] = numbers
    for label, part in parts.items():
        tensors |= {f"{label}.{name}": value for name, value in part.tensors().items()}
        state[label] = part.state()
    return Checkpoint(state, tensors)


def unpack(
    checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, parts: Mapping[str, Part]
) -> Progress:
    """Put a saved state back into the model, the optimizer and the parts; how far the training had come.

    The model must have the architecture that the state was taken at.
    """
    load_state(model, _under(checkpoint.tensors, "model"))
    numbers = checkpoint.state.get("optimizer", {})
    held = _under(checkpoint.tensors, "optimizer")
    held |= {f"{_MOMENTUM}.{name}": value for name, value in _under(checkpoint.tensors, "momentum").items()}
    keys = sorted({key.partition(".")[0] for key in held})
    for name, parameter in model.named_parameters():
        found = dict(numbers.get(name, {}))
        for key in keys:
            if (value := held.get(f"{key}.{name}")) is not None:
                found[key] = _placed(value, parameter)
        if found:
            optimizer.state[parameter] = found
    for label, part in parts.items():
        part.restore(checkpoint.state[label], _under(checkpoint.tensors, label))
    return Progress(**checkpoint.state["progress"])


_MOMENTUM = "momentum_buffer"


def _prefix(key: str) -> str:
    """Where a state tensor of the optimizer stands: SGD's as it always has."""
    return "momentum" if key == _MOMENTUM else f"optimizer.{key}"


def _placed(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """A state tensor on the parameter's device, of its memory layout where it has its shape.

    A count of steps stays on the CPU, as optimizers have it there.
    """
    if value.shape == parameter.shape and value.dim():
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value.to(parameter.device))
    return value.clone() if value.dim() == 0 else value.to(parameter.device)


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.NAME`, by NAME."""
    return {
        name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")
    }
