"""A run with marks: at each operator it does what was recorded for it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.surgery.actions import Action, OtherPath, Run, emit_all
from secateur.surgery.cutting import Axis
from secateur.surgery.layout import Layout
from secateur.surgery.place import Counting
from secateur.surgery.recorder import Recorder
from secateur.surgery.watching import SpreadWatch


class Marker(Counting, TorchDispatchMode):
    """Does at each operator what was recorded for it."""

    def __init__(self, record: Recorder, run: Run, watch: SpreadWatch | None):
        super().__init__()
        self.record, self.state, self.watch = record, run, watch

    def _turn(self, axis: Axis) -> Layout | None:
        turn = self.next_turn(axis)
        if (axis, turn) not in self.record.seen_at:
            raise OtherPath("a layer was called more often than before")
        return self.record.seen_at[axis, turn]

    def observe(self, axis: Axis, x: Tensor, dim: int) -> None:
        if axis not in self.record.readers:
            return
        with self.apart():
            if (axis, self.turns.get(axis, -1) + 1) in self.record.seen_at:
                layout = self._turn(axis)
                if not self.state.looking:
                    self.state.see(axis, x.isnan(), layout, (dim % x.dim(),))

    def emit(
        self,
        axis: Axis,
        _size: int,
        like: Tensor,
        shapes: list[tuple[int, ...]],
        places: list[tuple[int, int]],
    ) -> list[Tensor]:
        with self.apart():
            return emit_all(self.state, axis, like, shapes, places, self._turn(axis))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        index = self.next_operator(func)
        if index is None:
            return func(*args, **kwargs)
        found: tuple[str, Action] | None = self.record.actions.get(index)
        if found is None:
            result = func(*args, **kwargs)
        elif found[0] != func.overloadpacket.__name__:
            raise OtherPath(f"{func.overloadpacket.__name__} runs where {found[0]} did")
        else:
            result = found[1].run(self.state, func, args, kwargs)
        if self.watch:
            self.watch.saw(func, args, result)
        return result
