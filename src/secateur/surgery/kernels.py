"""Plain kernels: attention computed operator by operator, so that a mark that enters it also leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Compute attention by its formula while this holds, and nn.TransformerEncoder without its fast path.

    Fused attention on the CPU loses NaN, and the encoder's fast path is one opaque operator.
    """
    with no_fast_path(), sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def no_fast_path() -> Iterator[None]:
    """Have nn.TransformerEncoder and nn.MultiheadAttention run as they are written while this holds."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
