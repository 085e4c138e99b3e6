"""What a network remembers in its modules' attributes between calls, kept as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Put back what a run leaves in the attributes of modules, as tables that are made once and then kept."""
    before = [
        (module, {name: _held(value) for name, value in vars(module).items() if name not in _TORCHS})
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, held in before:
            own = vars(module)
            for name in [name for name in own if name not in held and name not in _TORCHS]:
                del own[name]
            own.update(held)


_TORCHS = frozenset(vars(nn.Module()))


def _held(value: Any) -> Any:
    return copy.copy(value) if isinstance(value, (dict, list, set)) else value
