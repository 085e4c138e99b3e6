"""Whether outputs are the same, to rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def alike(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> bool:
    """Tell whether outputs are as many, of the same shapes, and about the values expected.

    NaN is like NaN, and an infinity like the same one.

    Args:
        tolerance: the largest difference, in units of the largest finite magnitude of that output.

    Example:
        >>> alike([torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 2.001])], 1e-3)
        True
    """
    if len(found) != len(expected):
        return False
    return all(a.shape == b.shape and _close(a, b, tolerance) for a, b in zip(found, expected, strict=True))


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if torch.equal(a, b):
        return True
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    a, b = a.double(), b.double()
    both = a.isfinite() & b.isfinite()
    same = (a == b) | (a.isnan() & b.isnan())
    most = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else 0.0
    return bool((same | (both & ((a - b).abs() <= tolerance * most))).all())
