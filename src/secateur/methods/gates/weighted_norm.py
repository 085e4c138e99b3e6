"""Normalisations in whose statistics a channel counts only as far as its gate is open.

    mean = sum_k h_k x_k / sum_k h_k        var = sum_k h_k (x_k - mean)^2 / sum_k h_k        `weighted_norm`

Layer, RMS and group normalisation take their statistics over the channels. A channel that is cut is missing
there, so a gate of 0 has to take it out of them too; batch and instance normalisation keep channels apart.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from secateur.methods.gates.gate import full

OVER_CHANNELS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
"""Normalisations with statistics over channels."""


def weighted_norm(norm: nn.Module, x: Tensor, h_C: Tensor, dim: int) -> Tensor:
    """A layer, RMS or group normalisation in whose statistics channel k has the weight h_k.

    With every h 0 or 1 it is, at the channels of 1, the normalisation over these channels alone.

    Args:
        norm: the layer, with its scale and shift.
        x: what it is given; its channels lie along dimension `dim`.
        h_C: (C,), at least 0.

    Returns:
        As the layer does, in float32 at least.
    """
    grouped = isinstance(norm, nn.GroupNorm)
    groups, behind = (norm.num_groups, 1) if isinstance(norm, nn.GroupNorm) else (1, -1)
    value = full(x).movedim(dim, behind)
    rows = value.reshape(len(value), groups, len(h_C) // groups, -1) if grouped else value[..., None, :, None]
    h = full(h_C).view(groups, -1, 1)
    share = h / (h.sum(1, keepdim=True) * rows.shape[-1]).clamp_min(torch.finfo(h.dtype).tiny)
    if not isinstance(norm, nn.RMSNorm):
        rows = rows - (rows * share).sum((-2, -1), keepdim=True)
    eps: Any = torch.finfo(x.dtype).eps if norm.eps is None else norm.eps
    rows = rows * ((rows.square() * share).sum((-2, -1), keepdim=True) + eps).rsqrt()
    value = rows.reshape(value.shape)
    shape = (-1, *[1] * (value.dim() - 2)) if grouped else (-1,)
    for own, applied in (("weight", torch.mul), ("bias", torch.add)):
        parameter = getattr(norm, own, None)
        value = value if parameter is None else applied(value, parameter.view(shape))
    return value.movedim(behind, dim)
