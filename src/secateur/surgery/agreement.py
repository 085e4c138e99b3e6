"""Whether a cut network agrees with its reference, and if not, at which layer that begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.surgery.graph import ChannelGraph
from secateur.surgery.reference import masked
from secateur.surgery.stand_ins import channel_dim
from secateur.surgery.watching import Step, StepWatch

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest output
_MOVERS = ("view", "reshape", "transpose", "permute", "cat", "split", "index", "gather", "pad", "roll")


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Measure the largest difference of any output, in units of that output's largest finite magnitude.

    Infinite where shapes differ, or where NaN or an infinity is not met by the same infinity.
    """
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        return math.inf
    return max((_apart(a, b) for a, b in zip(found, expected, strict=True) if a.numel()), default=0.0)


def _apart(a: Tensor, b: Tensor) -> float:
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    difference = (a - b).abs()
    if not bool(difference.isfinite().all()):
        difference = difference.masked_fill(a == b, 0)  # the same infinity, as masked scores have it
    largest = b.abs().nan_to_num(0, 0, 0).max().clamp(min=1e-30)
    found = float(difference.max() / largest)
    return math.inf if math.isnan(found) else found


def agree(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> bool:
    """Tell whether every output has the shape and about the values expected; NaN never agrees.

    Args:
        tolerance: the largest difference, in units of the output's largest magnitude.
    """
    return distance(found, expected) <= tolerance


def first_difference(
    whole: nn.Module,
    compact: nn.Module,
    graph: ChannelGraph,
    run: Callable[[nn.Module], Any],
    tolerance: float,
) -> str:
    """Name the layer at which the compact network leaves the reference, and what moves channels before.

    Args:
        run: calls a network on the inputs.
    """
    with masked(whole, graph), StepWatch(whole) as of_whole:
        run(whole)
    with StepWatch(compact) as of_compact:
        run(compact)
    expected = [step for step in of_whole.steps if step.output is not None]
    movers: list[str] = []
    index = 0
    for step in of_compact.steps:
        if step.output is None:
            movers += [step.operator] if any(word in step.operator for word in _MOVERS) else []
            continue
        if index >= len(expected) or not _same_step(step, expected[index], compact, graph, tolerance):
            before = f", after {', '.join(dict.fromkeys(movers))}" if movers else ""
            return f"{step.module} reads other channels than those that were cut{before}"
        index, movers = index + 1, []
    return "the outputs differ" + (f", after {', '.join(dict.fromkeys(movers))}" if movers else "")


def _same_step(
    found: Step, expected: Step, compact: nn.Module, graph: ChannelGraph, tolerance: float
) -> bool:
    """Tell whether a layer gives the same (of one that was cut, the channels kept)."""
    assert found.output is not None
    assert expected.output is not None
    value, axis = expected.output, (found.module, "out")
    if axis in graph.axes():
        module = compact.get_submodule(found.module)
        dim = -1 if isinstance(module, nn.Linear) else channel_dim(module, found.output)
        value = value.index_select(dim, graph.left(axis).nonzero().flatten().to(value.device))
    if value.shape != found.output.shape or not value.is_floating_point():  # that tells nothing
        return True
    return agree([found.output], [value], tolerance)
