"""The place in a run, by which what was recorded once is found again: operators and calls, by number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from secateur.surgery.cutting import Axis
from secateur.surgery.matrix_products import ALIASES


class Counting:
    """The place in a run: which operator it is at, and how often each layer was called.

    A run is recorded once and then followed, operator by operator and call by call.

    Attributes:
        count: operators so far.
        paused: whether what runs is no part of the run.
        turns: axis of a layer -> the number of its last call.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.count = 0
        self.paused = False
        self.turns: dict[Axis, int] = {}

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is computed while this holds is no part of the run."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    def next_operator(self, func: Any) -> int | None:
        """Count an operator: its number; None where it is no part of the run, or does nothing."""
        if self.paused or func.overloadpacket in ALIASES:
            return None
        self.count += 1
        return self.count - 1

    def next_turn(self, axis: Axis) -> int:
        """Count a call of a layer."""
        turn = self.turns[axis] = self.turns.get(axis, -1) + 1
        return turn
