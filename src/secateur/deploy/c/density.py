"""From how many zeros on a layer is stored and executed without them: measured."""

from __future__ import annotations

import numpy as np

CONVOLUTION = 0.4
"""Share of nonzeros up to which a convolution is stored and executed sparse.

Measured on layers of ResNet18, Conv4 and MobileNetV2 (AMD EPYC 9004, gcc 12), CPU time of the sparse kernel
over the dense one's: at 0.4 it takes 0.49 to 0.95 with vectors of 16 floats, 0.37 to 0.77 with vectors of 8
and of 4, 0.5 without vectors. They are as fast at 0.42 (1x1 at 14x14 pixels) to 0.8 (3x3 at 32x32)."""

FEW_OUTPUTS = 0.25
"""The same where a channel of the output has 16 numbers at most, one vector: at 4x4 pixels both are as fast
at 0.3 (stride 2) to 0.6."""

VECTOR = 0.2
"""The same of a linear layer through which one vector goes. The sparse kernel reads inputs one by one, the
dense one side by side: with vectors both are as fast at 0.13 to 0.2 while the weights lie in a cache, without
vectors at 0.6; where the weights come from memory or flash their bytes count: 6 a nonzero, 4 a weight."""


def executed_sparse(weight: np.ndarray, outputs: int) -> bool:
    """Tell whether a layer is to be stored and executed without its zeros.

    Args:
        weight: (cout, ...), zeros in place.
        outputs: numbers in a channel of the output: pixels of a convolution, vectors of a linear layer.
    """
    if not weight.size:
        return False
    several = FEW_OUTPUTS if outputs <= 16 else CONVOLUTION
    limit = VECTOR if weight.ndim == 2 and outputs == 1 else several
    return bool(np.count_nonzero(weight) <= limit * weight.size)
