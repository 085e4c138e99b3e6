"""What the outputs see of each channel: how much they change, to first order, when a layer reads it as zero.

One pass forward and one back tell it of every channel of every group at once. A cut that changes no output
proves nothing: a wrong one would change none either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.cutting import Axis
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup
from secateur.surgery.reference import read_dim, reads_by_weight, with_input

Seen = dict[Axis, Tensor]
"""Reading axis -> how much the outputs change, in their units, when an entry reads zero: (entries,)."""


def seen_of(
    model: nn.Module, graph: ChannelGraph, run: Callable[[], Sequence[Tensor]], generator: torch.Generator
) -> Seen:
    """Measure what the outputs see of every entry that is read; empty where the model has no gradients.

    Args:
        run: calls the model, and gives its outputs.
    """
    axes = list(dict.fromkeys(site.axis for group in graph for site in group.reads))
    try:
        with torch.enable_grad(), _watched(model, axes) as (inputs, parameters):
            outputs = [output for output in run() if output.requires_grad and output.numel()]
            total = sum((_projected(output, generator) for output in outputs), torch.zeros(()))
            reads = [(axis, x) for axis, xs in inputs.items() for x in xs]
            sources = [*(x for _, x in reads), *parameters.values()]
            if not outputs or not sources:
                return {}
            grads = torch.autograd.grad(total, sources, allow_unused=True)
            return _gathered(model, reads, parameters, grads)
    except RUN_ERRORS:  # what was changed in place, or has no derivative
        return {}


def _projected(output: Tensor, generator: torch.Generator) -> Tensor:
    """Add up an output with random signs: a change of size e in all entries changes it by about e."""
    signs = torch.randint(0, 2, output.shape, generator=generator) * 2.0 - 1
    finite = output.isfinite()
    largest = output.detach()[finite].abs().max() if bool(finite.any()) else output.new_ones(())
    value = torch.where(finite, output, torch.zeros_like(output)) * signs.to(output.device)
    value = torch.view_as_real(value).sum() if value.is_complex() else value.sum()
    return value / largest.clamp(min=1e-30) / output.numel() ** 0.5


@contextmanager
def _watched(
    model: nn.Module, axes: Sequence[Axis]
) -> Iterator[tuple[dict[Axis, list[Tensor]], dict[Axis, Tensor]]]:
    """Note what each layer reads, as a tensor that has a gradient of its own; parameters get one."""
    inputs: dict[Axis, list[Tensor]] = {}
    parameters: dict[Axis, Tensor] = {}
    hooks = []
    asked = [(value, value.requires_grad) for value in model.parameters()]
    for value, _ in asked:
        value.requires_grad_(False)
    for axis in axes:
        module = model.get_submodule(axis[0])
        if "@" in axis[1] or reads_by_weight(module):
            value = getattr(module, axis[1].partition("@")[0] if "@" in axis[1] else "weight")
            parameters[axis] = value.requires_grad_(True)
        else:
            hooks.append(module.register_forward_pre_hook(_note(inputs, axis), with_kwargs=True))
    try:
        yield inputs, parameters
    finally:
        for hook in hooks:
            hook.remove()
        for value, before in asked:
            value.requires_grad_(before)


def _note(inputs: dict[Axis, list[Tensor]], axis: Axis) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["input"]
        if not torch.is_grad_enabled():
            return None
        read = x if x.requires_grad else x.detach().requires_grad_(True)
        read = read.clone()
        inputs.setdefault(axis, []).append(read)
        return with_input(args, kwargs, read.clone())  # may be changed in place

    return hook


def _gathered(
    model: nn.Module,
    reads: Sequence[tuple[Axis, Tensor]],
    parameters: dict[Axis, Tensor],
    grads: Sequence[Tensor | None],
) -> Seen:
    dims = [read_dim(model.get_submodule(axis[0])) for axis, _ in reads]
    dims += [int(axis[1].partition("@")[2] or 1) for axis in parameters]
    found: Seen = {}
    for (axis, value), dim, grad in zip([*reads, *parameters.items()], dims, grads, strict=True):
        change = torch.zeros_like(value) if grad is None else (grad * value.detach().conj())
        each = change.movedim(dim, 0).flatten(1).sum(1)
        found[axis] = found.get(axis, 0) + each.detach().cpu().to(torch.complex128).abs().double()
    return found


def least_seen(group: ChannelGroup, seen: Seen) -> tuple[float, float]:
    """Tell how much is seen of a group's channels, on average (the root of the mean square).

    Returns:
        What all that reads them shows, and what the reader shows by which they are seen least.
    """
    each = [
        seen[site.axis][site.entries].square().sum(1).sqrt()
        if site.axis in seen
        else torch.zeros(group.width)
        for site in group.reads
    ]
    if not each:
        return 0.0, 0.0
    every = torch.stack([value.double() for value in each]).square()
    return float(every.sum(0).mean().sqrt()), float(every.mean(1).min().sqrt())
