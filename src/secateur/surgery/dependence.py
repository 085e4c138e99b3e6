"""What of a recorded run depends on the inputs: by way of which sources, and where the examples lie in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from secateur.surgery.actions import Run
from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout, layout_of
from secateur.surgery.place import Counting
from secateur.surgery.watching import ModuleWatch


class Dependence(Counting, ModuleWatch):
    """Knows of every tensor of a run whether it depends on the inputs, and on which sources.

    Attributes:
        state: the run, the second example of which is NaN throughout, if examples can be told apart.
        sources: axes that can be marked -> the bit that stands for them.
        readers: axes at which marks arrive -> the bits of the sources that may.
        sizes: of both.
        largest: entries of the largest tensor that depends on the inputs.
    """

    def __init__(self, model: nn.Module, examples: int):
        super().__init__(model)
        self.state = Run({}, examples, spoilt=torch.arange(examples) == 1 if examples > 1 else None)
        self.sources: dict[Axis, int] = {}
        self.readers: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.largest = 1
        self._dynamic: dict[int, tuple[StorageWeakRef, int]] = {}

    def taint(self, tensor: Tensor, bits: int = 0) -> None:
        """Note that a tensor depends on the inputs, and on which sources."""
        storage = tensor.untyped_storage()
        self._dynamic[storage._cdata] = (StorageWeakRef(storage), self.bits(tensor) | bits)
        if not tensor.requires_grad and tensor.is_floating_point():
            self.largest = max(self.largest, tensor.numel())

    def dynamic(self, tensor: Tensor) -> bool:
        found = self._dynamic.get(tensor.untyped_storage()._cdata)
        return found is not None and not found[0].expired()

    def bits(self, tensor: Tensor) -> int:
        """The sources that a tensor may carry marks of."""
        return self._dynamic[tensor.untyped_storage()._cdata][1] if self.dynamic(tensor) else 0

    def source(self, axis: Axis, size: int) -> int:
        """The bit of a source."""
        self.sizes[axis] = size
        return self.sources.setdefault(axis, 1 << len(self.sources))

    def reader(self, axis: Axis, size: int, tensor: Tensor) -> None:
        """Note that a tensor arrives at an axis."""
        self.sizes[axis] = size
        self.readers[axis] = self.readers.get(axis, 0) | self.bits(tensor)

    def _layout(self, x: Tensor, likely: int = 0, mask: Tensor | None = None) -> Layout | None:
        if self.state.spoilt is None:
            return None
        return layout_of(x.isnan() if mask is None else mask, likely)
