"""The state of a training, from which it continues as if nothing had been."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from secateur.methods import Method
from secateur.training.state import Progress


@dataclass
class Checkpoint:
    """Holds a training's state.

    Attributes:
        state: JSON-able: "progress", "method", and what whoever saves it adds.
        tensors: "model.NAME", "momentum.NAME" (SGD's buffer of a parameter) and "method.NAME".
    """

    state: dict[str, Any]
    tensors: dict[str, Tensor]


def pack(model: nn.Module, optimizer: Optimizer, method: Method, progress: Progress) -> Checkpoint:
    """The present state. Every process takes part, because a method may sum over them."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            tensors[f"momentum.{name}"] = buffer
    tensors |= {f"method.{name}": value for name, value in method.tensors().items()}
    return Checkpoint({"progress": asdict(progress), "method": method.state()}, tensors)


def unpack(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, method: Method) -> Progress:
    """Put a saved state back into the model, the optimizer and the method; how far the training had come.

    The model must have the architecture that the state was taken at.
    """
    model.load_state_dict(_under(checkpoint.tensors, "model"))
    momentum = _under(checkpoint.tensors, "momentum")
    for name, parameter in model.named_parameters():
        if name in momentum:  # in the parameter's own memory layout
            buffer = torch.empty_like(parameter).copy_(momentum[name].to(parameter.device))
            optimizer.state[parameter] = {"momentum_buffer": buffer}
    method.restore(checkpoint.state["method"], _under(checkpoint.tensors, "method"))
    return Progress(**checkpoint.state["progress"])


def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors named `part.NAME`, by NAME."""
    return {
        name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")
    }
