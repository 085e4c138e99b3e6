"""Weights in 8 bits: whole numbers from -127 to 127 and a scale for each output channel, symmetric.

Only what is stored is in 8 bits, a quarter of the flash. The kernels turn it into float32 some at a time, and
compute in that, so that activations lose nothing and need no calibration.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.deploy.c.program import Convolution, Linear, Program, Step

MOST = 127


def quantized(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round weights to a whole number of scales; zeros stay zeros.

    Args:
        weight: float32 (outputs, ...).

    Returns:
        int8 of the same shape, and float32 (outputs,): scale * number is half a scale off at most.

    Example:
        >>> numbers, scales = quantized(np.array([[0.5, -1.27], [0.0, 0.0]], np.float32))
        >>> numbers.tolist(), [round(float(scale), 4) for scale in scales]
        ([[50, -127], [0, 0]], [0.01, 1.0])
    """
    rows = weight.reshape(len(weight), -1)
    largest = np.abs(rows).max(1, initial=0)
    scales = np.where(largest > 0, largest.astype(np.float64) / MOST, 1).astype(np.float32)
    scales[scales == 0] = np.finfo(np.float32).smallest_subnormal  # of weights below what float32 can divide
    numbers = np.clip(np.rint(rows / scales[:, None].astype(np.float64)), -MOST, MOST)
    return numbers.astype(np.int8).reshape(weight.shape), scales


def dequantized(program: Program) -> Program:
    """The same program with its weights rounded, in float32: what the C in int8 must agree with."""
    return replace(program, steps=tuple(map(_dequantized, program.steps)))


def _dequantized(step: Step) -> Step:
    if not isinstance(step, (Convolution, Linear)):
        return step
    numbers, scales = quantized(step.weight)
    shape = (-1, *[1] * (step.weight.ndim - 1))
    return replace(step, weight=(numbers.astype(np.float32) * scales.reshape(shape)))
