"""Lively copies: a network with random weights where every channel counts, none saturates, nothing explodes.

With random weights and statistics no gate that happens to be closed (a zero scale, a dead activation) hides a
wrong cut. Every parameter is scaled by its fan-in; what the layers give is then brought to the size of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from secateur.network import copies
from secateur.network.modes import in_evaluation
from secateur.network.weights import weight_layers
from secateur.surgery.cutting import CHANNELWISE, is_transposed
from secateur.surgery.reference import read_dim

_CALM = (0.5, 2.0)
"""The size of a layer's output that is left as it is."""


@torch.no_grad()
def randomized(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Copy a model, with random weights and statistics at which activations keep their size, to evaluate."""
    copied = in_evaluation(copies.copied(model))
    done: set[int] = set()
    layers = [module for module in copied.modules() if isinstance(module, (_ConvNd, nn.Linear))]
    for module in [*layers, *copied.modules()]:  # a weight that is shared is first of all a layer's
        for name, value in module.named_parameters(recurse=False):
            if id(value) not in done:
                done.add(id(value))
                _draw(module, name, value, generator)
        if isinstance(module, _NormBase) and module.running_mean is not None and id(module) not in done:
            done.add(id(module))
            _uniform(module.running_mean, -0.5, 0.5, generator)
            _uniform(module.running_var, 0.5, 2.0, generator)  # type: ignore[arg-type]
    return copied


def _draw(module: nn.Module, name: str, value: Tensor, generator: torch.Generator) -> None:
    """Fill a parameter: what is added small, what scales about one, what mixes normal by its fan-in."""
    if not (value.is_floating_point() or value.is_complex()):
        return
    if "bias" in name:
        most = 0.5 if isinstance(module, CHANNELWISE) else 0.2
        _uniform(value, -most, most, generator)
    elif sum(size > 1 for size in value.shape) <= 1 and not _is_layer_weight(module, name):
        _uniform(value, 0.5, 1.5, generator)
    else:
        normal = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        value.copy_((normal * _spread(module, name, value)).to(value))


def _uniform(value: Tensor, low: float, high: float, generator: torch.Generator) -> None:
    drawn = torch.rand(value.shape, generator=generator, dtype=torch.float64)
    value.copy_((low + (high - low) * drawn).to(value))


def _is_layer_weight(module: nn.Module, name: str) -> bool:
    return name == "weight" and isinstance(module, (_ConvNd, nn.Linear))


def _spread(module: nn.Module, name: str, value: Tensor) -> float:
    """Choose the standard deviation of a parameter of two or more dimensions, so that outputs are about one.

    Which dimension of a bare parameter is read nobody says: the larger fan-in explodes in no case.
    """
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return 1.0
    if isinstance(module, (_ConvNd, nn.Linear)) and value.dim() > 1:
        written = 1 if is_transposed(module) and name == "weight" else 0
        gain = 2.0 if _is_layer_weight(module, name) else 1.0
        return float((gain * max(1, value.shape[written]) / max(1, value.numel())) ** 0.5)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)):
        return float(max(1, value.shape[-1]) ** -0.5)
    sizes = [size for size in value.shape if size > 1] or [1]
    return float((min(sizes[:2]) / max(1, value.numel())) ** 0.5)


@torch.no_grad()
def tempered(model: nn.Module, run: Callable[[], Any], *, livelier: bool = False) -> None:
    """Scale the weights of every layer, in the order of their calls, so that what it gives is of size one.

    Args:
        run: calls the model on inputs.
        livelier: each channel by itself, its mean taken away where there is a bias: what tells examples apart
            then survives however many layers there are.
    """
    with _hooked(model, _of_each_channel if livelier else _of_size_one):
        run()


@contextmanager
def _hooked(model: nn.Module, change: Callable[[nn.Module, Tensor], Tensor | None]) -> Iterator[None]:
    done: set[int] = set()

    def hook(module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        weight = module._parameters.get("weight")
        if weight is None or id(weight) in done or not isinstance(output, Tensor) or not output.numel():
            return None
        done.add(id(weight))
        return change(module, output) if output.is_floating_point() else None

    hooks = [layer.register_forward_hook(hook) for layer in weight_layers(model).values()]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


def _of_size_one(module: nn.Module, output: Tensor) -> Tensor | None:
    size = float(output.detach().double().square().mean().sqrt())
    if not 0 < size < float("inf") or _CALM[0] <= size <= _CALM[1]:
        return None
    for value in (module.weight, module.bias):
        if isinstance(value, Tensor):
            value.div_(size)
    return output / size


def _of_each_channel(module: nn.Module, output: Tensor) -> Tensor | None:
    if is_transposed(module) and module.groups != 1:  # its weight has no dimension of what it writes
        return _of_size_one(module, output)
    dim = output.dim() + read_dim(module)  # where it would read is where it writes
    rows = output.double().movedim(dim, 0).reshape(output.shape[dim], -1)
    spread, mean = rows.std(1, correction=0), rows.mean(1)
    alive = (spread > 1e-6 * rows.square().mean().sqrt()) & spread.isfinite()
    if not bool(alive.any()):
        return _of_size_one(module, output)
    spread = torch.where(alive, spread, torch.ones_like(spread)).to(output)
    written = 1 if is_transposed(module) else 0
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    weight.div_(spread.view(*[1] * written, -1, *[1] * (weight.dim() - written - 1)))
    shape = [1] * output.dim()
    shape[dim] = -1
    if not isinstance(bias, Tensor):
        return output / spread.view(shape)
    bias.sub_(mean.to(bias)).div_(spread)
    return (output - mean.to(output).view(shape)) / spread.view(shape)
