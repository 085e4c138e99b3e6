"""At which size a network is probed: images of a small side, where it takes them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from secateur.network.inputs import Inputs, input_tensors

PROBE_SIDE = 64  # larger images are probed at this side, where the model takes it


def shrunk(x: Tensor) -> Tensor:
    """Shrink images to a small side, their proportions kept; leave everything else as it is."""
    if x.dim() != 4 or not x.is_floating_point() or max(x.shape[2:]) <= PROBE_SIDE:
        return x
    factor = PROBE_SIDE / max(x.shape[2:])
    return F.interpolate(x, [max(1, round(side * factor)) for side in x.shape[2:]])


def differ(one: Inputs, other: Inputs) -> bool:
    """Whether two inputs that are wrapped alike have other shapes."""
    pairs = zip(input_tensors(one), input_tensors(other), strict=True)
    return any(a.shape != b.shape for a, b in pairs)


def shapes_of(inputs: Inputs) -> str:
    """Name the shapes of inputs, for a message."""
    return ", ".join(str(tuple(tensor.shape)) for tensor in input_tensors(inputs))
