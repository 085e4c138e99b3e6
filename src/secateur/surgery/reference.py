"""The masked reference: the uncut network, in which nobody reads the channels that are to go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.surgery.graph import ChannelGraph
from secateur.surgery.probe import channel_dim


@contextmanager
def masked(model: nn.Module, graph: ChannelGraph) -> Iterator[None]:
    """Make `model`, uncut, the masked reference of what `graph` has cut, while this holds.

    Every layer that mixes channels reads zero where they were. A normalisation that takes its statistics over
    the very channels that are cut normalises over those kept.
    """
    read = {site.axis for group in graph for site in group.reads}
    hooks = []
    for axis in graph.axes():
        left, module = graph.left(axis), model.get_submodule(axis[0])
        if bool(left.all()):
            continue
        if axis in read:
            hooks.append(module.register_forward_pre_hook(_reads_zero(module, left)))
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)):
            hooks.append(module.register_forward_hook(_normalises_kept(left)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _reads_zero(module: nn.Module, left: Tensor) -> Callable[..., Any]:
    dim = -1 if isinstance(module, nn.Linear) else 1

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x = inputs[0]
        gone = (~left).nonzero().flatten().to(x.device)
        return (x.index_fill(dim, gone, 0), *inputs[1:])

    return hook


def _normalises_kept(left: Tensor) -> Callable[..., Tensor]:
    """Normalise the channels kept, over the channels kept; the others are not read by anyone."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        x = inputs[0]
        dim = channel_dim(module, x)
        kept = left.nonzero().flatten().to(x.device)
        part = x.index_select(dim, kept).movedim(dim, 1 if isinstance(module, nn.GroupNorm) else -1)
        weight, bias = (_kept(getattr(module, name, None), kept) for name in ("weight", "bias"))
        if isinstance(module, nn.GroupNorm):
            groups = left.view(module.num_groups, -1).any(1).sum()
            normal = F.group_norm(part, int(groups), weight, bias, module.eps).movedim(1, dim)
        elif isinstance(module, nn.LayerNorm):
            normal = F.layer_norm(part, (len(kept),), weight, bias, module.eps).movedim(-1, dim)
        else:
            assert isinstance(module, nn.RMSNorm)
            normal = F.rms_norm(part, (len(kept),), weight, module.eps).movedim(-1, dim)
        return torch.zeros_like(x).index_copy(dim, kept, normal)

    return hook


def _kept(value: Tensor | None, kept: Tensor) -> Tensor | None:
    return None if value is None else value[kept]
