"""Uneven widths computed as even ones: channels padded with zeros, for the time of a training step.

A CPU's vector units take 8 or 16 channels at once, and a network of which channels were pruned one by one has
37 here and 61 there: with 125 of its 1,344 channels gone, WRN-40-2 trains more slowly than whole. Within a
`Padding`, every convolution writes a multiple of `LANES` channels, those beyond its own with weights of zero;
a normalisation has scales and shifts of zero for them, and what reads them, weights of zero. They are zero in
the forward pass and get no gradient in the backward pass, so what is computed is the same network. The
parameters keep their shapes: whoever cuts, counts, saves or optimises them sees nothing of it. What looks at
activations does: they may have more channels than their layers.

For the built-in families, in which a channel goes through nothing that would not leave zero zero, or that
would mix it with others (a concatenation, a normalisation over channels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from secateur.models.base import Family, Projection

LANES = 8


class Padding:
    """A context in which the forward pass of `model` is computed with padded channels.

    It does nothing where the model is none of ours, or even. It is made for the widths that the model has:
    after a cut, make another.
    """

    def __init__(self, model: nn.Module):
        self._layers = _layers(model) if is_uneven(model) else []

    def __enter__(self) -> Padding:
        for layer, forward in self._layers:
            layer.forward = forward.__get__(layer)  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        for layer, _forward in self._layers:
            del layer.forward


def is_uneven(model: nn.Module) -> bool:
    """Whether padding would change anything."""
    if not isinstance(model, Family):
        return False
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return any(layer.out_channels % LANES for layer in convolutions)


def _layers(model: nn.Module) -> list[tuple[nn.Module, Callable[..., Any]]]:
    return [(layer, _FORWARD[type(layer)]) for layer in model.modules() if type(layer) in _FORWARD]


def _weight(layer: nn.Conv2d, inputs: int) -> Tensor:
    """Its weight for so many input channels and an even number of output channels."""
    read = inputs - layer.in_channels
    if read != -layer.in_channels % LANES:
        read = 0  # not padded; or wrong, which the convolution itself will say
    return _with_zeros(layer.weight, 0, 0, 0, 0, 0, read, 0, -layer.out_channels % LANES)


def _with_zeros(x: Tensor, *amounts: int) -> Tensor:
    return F.pad(x, amounts) if any(amounts) else x


def _convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    bias = None if layer.bias is None else _with_zeros(layer.bias, 0, -layer.out_channels % LANES)
    return layer._conv_forward(x, _weight(layer, x.shape[1]), bias)


def _projection(layer: Projection, x: Tensor) -> Tensor:
    return layer.project(x, _weight(layer, x.shape[1]))


def _normalisation(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    more = x.shape[1] - layer.num_features
    if not more:
        return nn.BatchNorm2d.forward(layer, x)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, variance = _with_zeros(layer.running_mean, 0, more), _with_zeros(layer.running_var, 0, more)
    weight, bias = _with_zeros(layer.weight, 0, more), _with_zeros(layer.bias, 0, more)
    y = F.batch_norm(x, mean, variance, weight, bias, layer.training, layer.momentum or 0.0, layer.eps)
    if layer.training:
        assert layer.num_batches_tracked is not None
        layer.num_batches_tracked.add_(1)
        layer.running_mean.copy_(mean[:-more])
        layer.running_var.copy_(variance[:-more])
    return y


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return nn.Linear.forward(layer, x[:, : layer.in_features])


_FORWARD: dict[type, Callable[..., Any]] = {
    nn.Conv2d: _convolution,
    Projection: _projection,
    nn.BatchNorm2d: _normalisation,
    nn.Linear: _linear,
}
