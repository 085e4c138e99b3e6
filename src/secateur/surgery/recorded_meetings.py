"""Where parameters meet activations without a product: sums, norms' weights, tokens put in front."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from secateur.surgery.actions import Met
from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout
from secateur.surgery.matrix_products import NORMS, aten
from secateur.surgery.weight_axes import WeightAxes


class RecordedMeetings(WeightAxes):
    """Ties what is made of parameters to the activations that it is put together with."""

    def _meet(
        self,
        index: int,
        func: Any,
        args: Any,
        kwargs: Any,
        tensors: list[Tensor],
        moving: list[Tensor],
        result: Any,
    ) -> int:
        """Have what is made of parameters tied to the activations that it is put together with."""
        still = [tensor for tensor in tensors if not self.dynamic(tensor) and self.tape.bits(tensor)]
        looks: list[tuple[Axis, int, int, Layout | None]] = []
        emits: list[tuple[Axis, int, int, Layout]] = []
        bits = 0
        if not still or not isinstance(result, (Tensor, tuple)):
            return 0
        for number, tensor in enumerate(still):
            for dim in range(tensor.dim()):
                found = _aligned(func, tensor, dim, moving, result) if tensor.shape[dim] > 1 else None
                if found is None:
                    continue
                other, at = found
                axis = (f"{self.prefix}{index}", f"{number}@{dim}")
                self.made[axis] = self.where
                if not self._look(tensor, dim, axis):
                    continue
                which = next(i for i, each in enumerate(tensors) if each is other)
                layout = self._layout(other)
                if layout is not None and layout.dim == at:
                    continue
                looks.append((axis, which, at, layout))
                self.reader(axis, tensor.shape[dim], other)
                if func.overloadpacket is aten.cat and layout is not None and layout.dim != dim:
                    mine = next(i for i, each in enumerate(tensors) if each is tensor)
                    emits.append((axis, mine, dim, layout))
                    bits |= self.source(axis, tensor.shape[dim])
        if looks:
            self.actions[index] = (func.overloadpacket.__name__, Met(looks, emits))
        return bits


def _aligned(
    func: Any, still: Tensor, dim: int, moving: list[Tensor], result: Any
) -> tuple[Tensor, int] | None:
    """Find an activation that has a dimension beside one of what is made of parameters."""
    packet = func.overloadpacket
    if packet in NORMS:
        x = moving[0]
        return (x, 1) if still.dim() == 1 and x.dim() > 1 and x.shape[1] == len(still) else None
    if packet in (aten.native_layer_norm, aten._fused_rms_norm):
        x = moving[0]
        at = x.dim() - still.dim() + dim
        return (x, at) if at >= 0 and x.shape[at] == still.shape[dim] else None
    if not isinstance(result, Tensor):
        return None
    if packet in (aten.cat, aten.stack):
        for x in moving:
            if (
                x.dim() == still.dim()
                and x.shape[dim] == still.shape[dim]
                and result.dim() == x.dim()
                and result.shape[dim] == x.shape[dim]
            ):
                return x, dim
        return None
    for x in moving:
        at = x.dim() - still.dim() + dim
        if at < 0 or x.shape[at] != still.shape[dim] or result.dim() < max(x.dim(), still.dim()):
            continue
        if result.shape[result.dim() - still.dim() + dim] == still.shape[dim]:
            return x, at
    return None
