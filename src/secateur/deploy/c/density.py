"""From how many zeros on a layer is faster without them: measured, `python -m benchmarks sparse_latency` shows it."""

from __future__ import annotations

import numpy as np

CONVOLUTION = 0.4
"""Share of nonzeros up to which a convolution is stored and executed sparse.

Measured on ResNet18's, Conv4's and MobileNet's layers (AMD EPYC 9004, gcc 12, vectors of 16, 8, 4 and of 1 float): there
the sparse kernel takes 0.5 to 0.95 of the dense one's time, as fast it is with 0.45 (1x1 at 14x14 pixels) to 0.9 (3x3
at 32x32) of the weights."""

FEW_OUTPUTS = 0.25
"""The same where a channel of the output is no longer than one vector of 16: at 4x4 pixels they are as fast at 0.3 to
0.6."""

VECTOR = 0.2
"""The same of a linear layer through which one vector goes. It reads its inputs one by one, the dense one side by side:
with vectors both are as fast at 0.13 to 0.2 while the weights lie in a cache, without vectors at 0.6; where the weights
come from memory or flash it is their bytes that count, 6 for each nonzero, 4 for each weight."""


def executed_sparse(weight: np.ndarray, outputs: int) -> bool:
    """Tell whether a layer is to be stored and executed without its zeros.

    Args:
        weight: (cout, ...), zeros in place.
        outputs: numbers in a channel of the output: pixels of a convolution, vectors of a linear layer.
    """
    if not weight.size:
        return False
    if weight.ndim == 2 and outputs == 1:
        limit = VECTOR
    else:
        limit = FEW_OUTPUTS if outputs <= 16 else CONVOLUTION
    return bool(np.count_nonzero(weight) <= limit * weight.size)
