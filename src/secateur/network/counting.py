"""Multiply-accumulates of any network, counted; what is counted is said wherever a number is printed.

Convention for MACs: one multiply-accumulate of a convolution, a linear layer or any other product of matrices
(attention, recurrent layers) for ONE example at the model's input shape; biases, normalisation, activations,
pooling and additions are not counted. `torch.utils.flop_counter` counts the same operations as two FLOPs each
(tested). In the built-in families all products are layers' (`layer_positions`); of other networks
`secateur.surgery.costs` knows.
Convention for training: forward, gradient of the inputs, gradient of the weights, so 3 MACs for each of
inference; a compute figure is training examples seen times training MACs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from secateur.errors import InputError
from secateur.models import FACTORIES, Family
from secateur.network.inputs import Inputs, call, tile
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.weights import weight_layers

TRAINING_MACS_PER_INFERENCE_MAC = 3


MACS_CONVENTION = (
    "MACs: multiply-accumulates of convolutions, linear layers and matrix products, for one example"
)


TRAINING_CONVENTION = (
    f"training MACs: {TRAINING_MACS_PER_INFERENCE_MAC} for each of these, over all training examples seen"
)
"""Both are printed wherever such numbers are."""


_ATTRIBUTE = "_secateur_costs"
_LARGE = 2**20  # entries of an image


class KnownCosts(Protocol):
    """Something that knows what one network costs as it is now, and follows every cut of it.

    It is the hook by which counting learns of networks whose inputs only others know: surgery fills it in.
    A copy of the network carries a copy, which then follows the cuts of that copy.
    """

    @property
    def now(self) -> Mapping[str, int]:
        """Resource -> its present count; "macs" among them, for one example."""


def remember_costs(model: nn.Module, known: KnownCosts | None) -> None:
    """Have a model carry what knows its costs; None: it carries nothing any more."""
    if known is None:
        model.__dict__.pop(_ATTRIBUTE, None)
    else:
        setattr(model, _ATTRIBUTE, known)


def costs_of(model: nn.Module) -> Mapping[str, int] | None:
    """Look up resource -> present count of a model; None where nobody left them (`remember_costs`)."""
    known: KnownCosts | None = getattr(model, _ATTRIBUTE, None)
    return None if known is None else known.now


def layer_positions(model: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """Count how often each layer's weights are used for one example of `input_shape`.

    It is the number of output positions (1 for a linear layer after a flatten). Removing channels does not
    change it, so MACs after a removal need no forward pass. Buffers and training mode are left as they were.
    """
    if isinstance(model, Family) and tuple(input_shape) == model.input_shape:
        arguments = json.dumps(model.arguments, sort_keys=True)
        return dict(_family_positions(model.factory, arguments, len(model.groups)))
    anchor = next(model.parameters())
    return uses_of_weights(model, torch.zeros(1, *input_shape, device=anchor.device, dtype=anchor.dtype))


def are_large(shape: Sequence[int]) -> bool:
    """Whether images (C, H, W) are so large that counting what a built-in network does takes memory."""
    return math.prod(shape) > _LARGE


@lru_cache(maxsize=64)
def _family_positions(factory: str, arguments: str, groups: int) -> dict[str, int]:
    """Count `layer_positions` of a built-in network on its narrowest version: widths do not change them.

    It is a real network of a few weights: on the meta device torch would load its compiler to follow shapes.
    On images that are large it is there nevertheless, where they take no memory and no time.
    """
    given = json.loads(arguments)
    device = torch.device("meta" if are_large((given["in_channels"], *given["image_size"])) else "cpu")
    with torch.random.fork_rng(devices=[]), device:
        narrow = FACTORIES[factory](**given, widths=[1] * groups)
    return uses_of_weights(narrow, torch.zeros(1, *narrow.input_shape, device=device))


def uses_of_weights(model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """Count `layer_positions` of any model, for the first example of `inputs`; calls of a layer add up.

    A transposed convolution uses its weights once for every *input* position.
    """
    positions: dict[str, int] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def record(layer: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(layer, _ConvTransposeNd):
                used = given[0].numel() // layer.in_channels
            else:
                used = output.numel() // output.shape[-1 if isinstance(layer, nn.Linear) else 1]
            positions[name] = positions.get(name, 0) + used

        return record

    hooks = [layer.register_forward_hook(hook_for(name)) for name, layer in weight_layers(model).items()]
    try:
        with torch.no_grad(), modes_kept(model):
            call(in_evaluation(model), tile(inputs, 1))
    finally:
        for hook in hooks:
            hook.remove()
    return positions


def count_macs(model: nn.Module, positions: Mapping[str, int]) -> int:
    """Sum the MACs of one example: for each layer, its weights times the positions they are used at.

    Args:
        positions: from `layer_positions`, measured on this model at any of its widths.
    """
    layers = weight_layers(model)
    return sum(layers[name].weight.numel() * used for name, used in positions.items())


def count_model_macs(model: nn.Module) -> int:
    """Count the MACs of one example, at a built-in model's `input_shape` or the inputs of an inspection.

    Raises:
        InputError: where a foreign model has not been inspected, so that nobody knows its inputs.
    """
    if (known := costs_of(model)) is not None:
        return known["macs"]
    if not hasattr(model, "input_shape"):
        raise InputError(
            f"the MACs of a {type(model).__name__} depend on its inputs: call sc.inspect(model, inputs) first"
        )
    return count_macs(model, layer_positions(model, model.input_shape))  # type: ignore[arg-type]
