"""Where the stages of a network end: the last layers before its feature maps change their size.

Found by running it, whatever it is made of. Of all modules that give maps (N, C, H, W) of one size the last
to finish is the end of that stage; a block that changes the size itself is passed over with all that is in
it, where there is a choice, so that the next stage's first layers are not taken for this one's end. For a
residual network these are its stages, for a plain chain the last layers before each pooling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.network.inputs import Inputs, call, output_tensors
from secateur.network.modes import in_evaluation, modes_kept

Size = tuple[int, int]
"""Height and width of a feature map."""


@dataclass(frozen=True)
class _Finished:
    """A module that gave a map, in the order in which modules finish."""

    name: str
    size: Size


@torch.no_grad()
def spatial_ends(model: nn.Module, inputs: Inputs) -> dict[Size, str]:
    """Name the module at the end of each stage, by the size of its maps, the first stage first.

    Maps of one position, and outputs that are no maps, are left out.
    """
    finished: list[_Finished] = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if (found := _map_in(output)) is not None:
                finished.append(_Finished(name, _size(found)))

        return hook

    named = [(name, module) for name, module in model.named_modules() if name]
    hooks = [module.register_forward_hook(note(name)) for name, module in named]
    try:
        with modes_kept(model):
            call(in_evaluation(model), inputs)
    finally:
        for each in hooks:
            each.remove()
    sizes = dict.fromkeys(each.size for each in finished)
    return {size: _end(size, finished) for size in sizes}


def _end(size: Size, finished: list[_Finished]) -> str:
    """The last module of that size; of those that stand in no module of another size, if there are any."""
    others = {each.name for each in finished if each.size != size}
    own = [each.name for each in finished if each.size == size]
    outside = [name for name in own if not any(name.startswith(f"{other}.") for other in others)]
    return (outside or own)[-1]


@contextmanager
def watching(model: nn.Module, ends: Mapping[Size, str]) -> Iterator[dict[Size, Tensor]]:
    """Collect what the modules give while the context lasts: their last maps of these sizes."""
    seen: dict[Size, Tensor] = {}

    def keep(size: Size) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            found = _map_in(output)
            if found is not None and _size(found) == size:  # one that is called at several sizes
                seen[size] = found

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(keep(size)) for size, name in ends.items()]
    try:
        yield seen
    finally:
        for each in hooks:
            each.remove()


def _map_in(output: Any) -> Tensor | None:
    """The feature map that a module gave, if it did: of several positions."""
    found = output_tensors(output)
    is_map = len(found) >= 1 and found[0].dim() == 4 and found[0].shape[2] * found[0].shape[3] > 1
    return found[0] if is_map else None


def _size(found: Tensor) -> Size:
    return int(found.shape[2]), int(found.shape[3])
