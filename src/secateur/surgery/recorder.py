"""The run that finds out what there is to do: which operators mix, by what, and where examples lie."""

from __future__ import annotations

from typing import Any

from secateur.surgery.actions import Action
from secateur.surgery.matrix_products import CONSTANT_LIKE, aten, product_of
from secateur.surgery.recorded_layers import RecordedLayers
from secateur.surgery.recorded_meetings import RecordedMeetings
from secateur.surgery.recorded_products import RecordedProducts
from secateur.surgery.watching import flat_tensors

FUSED = {aten._scaled_dot_product_flash_attention_for_cpu}


class Recorder(RecordedLayers, RecordedProducts, RecordedMeetings):
    """Runs a model once, and notes what later runs do at which operator.

    What is known after the run is said by its bases, each of which knows operators of one kind.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        index = self.next_operator(func)
        if index is None:
            return func(*args, **kwargs)
        tensors = flat_tensors((args, kwargs))
        moving = [tensor for tensor in tensors if self.dynamic(tensor)]
        if not moving:
            return self._static(index, func, args, kwargs)
        if func.overloadpacket in CONSTANT_LIKE:
            return func(*args, **kwargs)
        action, bits = self._action(index, func, args, kwargs)
        if bits is None:
            bits = 0
            for tensor in moving:
                bits |= self.bits(tensor)
        if action is not None:
            self.actions[index] = (func.overloadpacket.__name__, action)
            result = action.run(self.state, func, args, kwargs)
        else:
            result = func(*args, **kwargs)
            if not func.is_view:
                bits |= self._meet(index, func, args, kwargs, tensors, moving, result)
        changed = [tensors[0]] if func._schema.is_mutable and tensors else []
        for tensor in (*flat_tensors(result), *changed):
            self.taint(tensor, bits)
        return result

    def _static(self, index: int, func: Any, args: Any, kwargs: Any) -> Any:
        product = product_of(func, args)
        if product is not None:
            for side in (1, 0):
                data = product.sides[1 - side]
                direct = self._direct(product.sides[side])
                if direct is not None and (direct[0] is not None or self.tape.own(data) is None):
                    made = self._static_layer(index, product, side, func)
                    if made is not None:
                        return made
        result = func(*args, **kwargs)
        self.tape.record(func, args, kwargs, result)
        return result

    def _action(self, index: int, func: Any, args: Any, kwargs: Any) -> tuple[Action | None, int | None]:
        """What is to be done at an operator, and the bits of what it gives; None where it is plainly run."""
        packet = func.overloadpacket
        if packet in FUSED:
            return self._attended(index, args, kwargs)
        if packet is aten.convolution and not self.dynamic(args[1]) and self.dynamic(args[0]):
            return self._convolved(index, args)
        if packet is aten.embedding and not self.dynamic(args[0]):
            return self._embedded(index, args)
        product = product_of(func, args)
        if product is None:
            return None, None
        moving = [self.dynamic(side) for side in product.sides]
        if all(moving):
            return self._contracted(index, product)
        if any(moving):
            return self._mixed(index, func, product, moving.index(True))
        return None, None
