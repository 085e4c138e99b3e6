"""The masked reference: the uncut network, in which nobody reads the channels that are to go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.cutting import Axis, cut
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.stand_ins import channel_dim

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)


@contextmanager
def masked(model: nn.Module, graph: ChannelGraph) -> Iterator[None]:
    """Make `model`, uncut, the masked reference of what `graph` has cut, while this holds.

    Every layer that mixes channels reads zero where they were, and so does whatever reads a parameter along
    them. What computes over the very channels that are cut (a normalisation's statistics, or a module of
    `graph.over_kept`) does so over those kept.
    """
    read = {site.axis for group in graph for site in group.reads}
    with ExitStack() as stack:
        for axis in graph.axes():
            left, module = graph.left(axis), model.get_submodule(axis[0])
            if bool(left.all()) or _over_kept(axis[0], graph):
                continue
            if axis in read:
                stack.enter_context(_reading_zero(module, axis, left))
            elif isinstance(module, NORMS) and axis[1] == "out":
                stack.enter_context(_hooked(module, _normalises_kept(left)))
        for name, dim in graph.over_kept.items():
            module = model.get_submodule(name)
            if inside := _cut_inside(module, name, graph, read):
                hook = _computes_over_kept(module, name, graph, dim, inside)
                stack.enter_context(_hooked(module, hook))
        yield


@contextmanager
def _hooked(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _reading_zero(module: nn.Module, axis: Axis, left: Tensor) -> Iterator[None]:
    """Have a layer, or whoever reads a parameter, read zero at the entries that are not left."""
    if "@" in axis[1]:
        name, _, dim = axis[1].partition("@")
        with _zeroed(getattr(module, name), int(dim), left):
            yield
    elif reads_by_weight(module):
        assert isinstance(module, nn.Linear)
        with _zeroed(module.weight, 1, left):
            yield
    else:
        handle = module.register_forward_pre_hook(_reads_zero(module, left), with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


def reads_by_weight(module: nn.Module) -> bool:
    """Whether what a layer reads is told by its weight: a linear one may never be called itself.

    Torch's attention and windows of torchvision's hand the weight to a function.
    """
    return isinstance(module, nn.Linear) and module._parameters.get("weight") is not None


@contextmanager
def _zeroed(value: Tensor, dim: int, left: Tensor) -> Iterator[None]:
    """Set the entries that are not left to zero, whoever else holds the parameter, and put them back."""
    gone = (~left).nonzero().flatten().to(value.device)
    with torch.no_grad():
        held = value.detach().index_select(dim, gone)
        value.detach().index_fill_(dim, gone, 0)
    try:
        yield
    finally:
        with torch.no_grad():
            value.detach().index_copy_(dim, gone, held)


def read_dim(module: nn.Module) -> int:
    """Tell along which dimension of its input a convolution or linear layer reads channels.

    Counted from the last: a convolution takes one image without a batch, too.
    """
    return -1 - len(module.kernel_size) if isinstance(module, _ConvNd) else -1


def _reads_zero(module: nn.Module, left: Tensor) -> Callable[..., Any]:
    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs["input"]
        gone = (~left).nonzero().flatten().to(x.device)
        return with_input(args, kwargs, x.index_fill(read_dim(module), gone, 0))

    return hook


def with_input(
    args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Make the arguments of a layer's call with another input."""
    return ((x, *args[1:]), kwargs) if args else ((), {**kwargs, "input": x})


def _normalises_kept(left: Tensor) -> Callable[..., Tensor]:
    """Normalise the channels kept, over the channels kept; the others are not read by anyone."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor) -> Tensor:
        x = args[0] if args else kwargs["input"]
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


def _over_kept(module: str, graph: ChannelGraph) -> bool:
    """Whether a module is one that computes over the channels kept, or is inside of one."""
    return any(module == name or module.startswith(f"{name}.") for name in graph.over_kept)


def _cut_inside(
    module: nn.Module, name: str, graph: ChannelGraph, read: Collection[Axis]
) -> dict[Axis, Tensor]:
    """Map the axes of a module (and of those inside) to what is left of them; none where nothing is cut.

    Of a layer that reads, such as a standardised convolution, it is what it reads only. The axes are named as
    from that module.
    """
    layer = isinstance(module, (_ConvNd, nn.Linear))
    inside = {
        (axis[0][len(name) :].removeprefix("."), axis[1]): graph.left(axis)
        for axis in graph.axes()
        if axis[0] == name or axis[0].startswith(f"{name}.")
        if not layer or (axis in read and axis[1] == "in")
    }
    return {} if all(bool(left.all()) for left in inside.values()) else inside


def _computes_over_kept(
    module: nn.Module, name: str, graph: ChannelGraph, dim: int, inside: Mapping[Axis, Tensor]
) -> Callable[..., Any]:
    """Run a copy of the module that is cut by itself, on the channels kept.

    What it gives is put back between zeros where it has a channel for each that was kept, as of a norm.
    """
    part = copy.deepcopy(module)
    cut(part, inside)
    layer = isinstance(module, (_ConvNd, nn.Linear))
    for number in graph.numbers:
        if number.module == name and not layer:
            replace(number, module="").set(part, graph.widths)

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        x = args[0] if args else next(iter(kwargs.values()))
        fitting = [left for left in inside.values() if len(left) == x.shape[dim]]
        if not fitting:
            raise ValueError(f"what {name} computes over has no channels of those that are cut")
        kept = fitting[0].nonzero().flatten().to(x.device)
        small = x.index_select(dim, kept)
        found = part(small, *args[1:], **kwargs) if args else part(**{**kwargs, next(iter(kwargs)): small})
        if layer or not isinstance(found, Tensor) or found.shape == output.shape:
            return found
        return torch.zeros_like(output).index_copy(dim, kept, found)

    return hook
