"""What stands along an axis: the numbers that write each of its entries, or read it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.computed_weights import effective_weight
from secateur.surgery.cutting import Axis, dimension, is_transposed


def along(model: nn.Module, axis: Axis, value: Tensor | None = None) -> Tensor:
    """The weights that write or read every entry of an axis: (entries, ...).

    Of a layer's "out" axis those that write it, of its "in" axis those that read it (of a grouped layer those
    of the entry's own group); of "PARAMETER@DIM" all numbers of that parameter.

    Args:
        value: of the weight's shape, in place of it; its gradient for example.
    """
    name, kind = axis
    layer = model.get_submodule(name)
    if found := dimension(kind):
        of_parameter: Tensor = getattr(layer, found[0]) if value is None else value
        return of_parameter.movedim(found[1], 0)
    weight = effective_weight(layer) if value is None else value
    whole = "in" if is_transposed(layer) else "out"
    if kind == whole:
        return weight
    if isinstance(layer, _ConvNd) and layer.groups > 1:  # stored (groups * rows, columns of one group, ...)
        apart = weight.view(layer.groups, -1, *weight.shape[1:])
        return apart.transpose(1, 2).flatten(0, 1)
    return weight.transpose(0, 1)


def parameter_along(model: nn.Module, axis: Axis) -> nn.Parameter | None:
    """The plain parameter that `along` looks at; None where the weight is computed, or is a buffer."""
    name, kind = axis
    found = dimension(kind)
    return model.get_submodule(name)._parameters.get(found[0] if found else "weight")
