"""The state of a training, from which it continues as if nothing had been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Checkpoint:
    """A training state: `state` is JSON-able, `tensors` hold the rest."""

    state: dict[str, Any]
    tensors: dict[str, Tensor]
