"""Factories of other people: run, watched, and given narrower sizes while they run."""

from __future__ import annotations

import hashlib
import inspect as introspection
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from secateur.errors import InputError, first_line
from secateur.network.copies import computed_tensors, copied
from secateur.surgery.anatomy import known_anatomy
from secateur.surgery.costs import state_shapes
from secateur.surgery.cutting import Axis, axis_size, cut, passes_on, whole_groups
from secateur.surgery.graph import ChannelGraph

Build = Callable[[], nn.Module]


_SIZED: dict[type[nn.Module], tuple[str, ...]] = {
    **dict.fromkeys(
        (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
        ("out_channels", "in_channels"),
    ),
    nn.Linear: ("out_features", "in_features"),
    _NormBase: ("num_features",),
    nn.LayerNorm: ("normalized_shape",),
    nn.RMSNorm: ("normalized_shape",),
    nn.GroupNorm: ("num_channels",),
    nn.PReLU: ("num_parameters",),
}
"""Where a layer's constructor takes its sizes: of the out axis, then of the in axis."""


def built(build: Build, name: str) -> nn.Module:
    """Call a factory; InputError where that fails or is no module."""
    try:
        model = build()
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # a user's code: anything may come out of it
        raise InputError(
            f"the factory '{name}' failed with {type(error).__name__}: {first_line(error)}"
        ) from None
    if not isinstance(model, nn.Module):
        raise InputError(f"the factory '{name}' must return a torch.nn.Module, got {type(model).__name__}")
    if known_anatomy(model) is not None:  # its weights are not fresh, and cutting it would cut the user's own
        raise InputError(
            f"the factory '{name}' must build a new network every time, but gave one that is in use already: "
            "have it call the class"
        )
    return model


def on_meta(model: nn.Module) -> nn.Module:
    """Copy a network without its numbers; what its modules share, theirs share too."""
    memo = {key: value.to("meta") for key, value in computed_tensors(model).items()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    for buffer in model.buffers():
        memo.setdefault(id(buffer), buffer.detach().to("meta"))
    return copied(model, memo)


def layout_without_memory(factory: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> str | None:
    """Find the layout that a factory builds, on the meta device; None where it cannot be run there."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that are loaded go nowhere there
            model = factory(**arguments)
        return layout_hash(state_shapes(model))
    except Exception:  # whatever this is, it comes again, and is said, when the factory is run in earnest
        return None


def layout_hash(shapes: Mapping[str, Sequence[int]]) -> str:
    """Hash tensor names and shapes, as twelve hex digits."""
    lists = {name: list(shape) for name, shape in shapes.items()}
    return hashlib.sha256(json.dumps(lists, sort_keys=True).encode()).hexdigest()[:12]


def factory_name(build: Any) -> str:
    """Name a factory or class: its module and name, a colon between."""
    return f"{getattr(build, '__module__', '?')}:{getattr(build, '__qualname__', type(build).__name__)}"


@contextmanager
def constructing(created: list[nn.Module], resize: Callable[[int, dict[str, Any]], None]) -> Iterator[None]:
    """Note layers as they are created, while this holds; `resize(number, arguments)` may change sizes."""
    originals = {kind: kind.__init__ for kind in _SIZED}

    def wrap(original: Any) -> Any:
        signature = introspection.signature(original)

        def construct(self: nn.Module, *args: Any, **kwargs: Any) -> None:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            resize(len(created), bound.arguments)
            created.append(self)
            original(*bound.args, **bound.kwargs)

        return construct

    try:
        for kind, original in originals.items():
            kind.__init__ = wrap(original)  # type: ignore[method-assign]
        yield
    finally:
        for kind, original in originals.items():
            kind.__init__ = original  # type: ignore[method-assign]


def order_of_creation(build: Build) -> list[str | None]:
    """Name the layers in the order in which the factory creates them; None: not in the network."""
    created: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]), constructing(created, lambda *_: None):
        model = build()
    names = {id(module): name for name, module in model.named_modules()}
    return [names.get(id(module)) for module in created]


def narrow_sizes(
    whole: nn.Module, created: Sequence[str | None], sizes: Mapping[Axis, int]
) -> Callable[[int, dict[str, Any]], None]:
    """Make what gives the n-th layer that is created the sizes that its axes have."""

    def resize(number: int, arguments: dict[str, Any]) -> None:
        name = created[number] if number < len(created) else None
        if name is None:
            return
        layer = whole.get_submodule(name)
        keys = next(keys for kind, keys in _SIZED.items() if isinstance(layer, kind))
        for key, kind in zip(keys, ("out", "in"), strict=False):
            if (name, kind) in sizes:
                arguments[key] = sizes[name, kind]
        if isinstance(layer, _ConvNd) and passes_on(layer) and (name, "in") in sizes:
            arguments["groups"] = sizes[name, "in"] // (layer.in_channels // layer.groups)
        if isinstance(layer, nn.GroupNorm) and whole_groups(layer) and (name, "out") in sizes:
            arguments["num_groups"] = sizes[name, "out"] // (layer.num_channels // layer.num_groups)

    return resize


def cut_bare_parameters(model: nn.Module, graph: ChannelGraph) -> None:
    """Narrow parameters and buffers that modules hold beside their layers, which no constructor does.

    Args:
        graph: as it is to be: the entries that are left of it stay. What has that size already is left alone.
    """
    keeps = {}
    for axis in graph.axes():
        if "@" in axis[1] and axis_size(model, axis) != graph.size(axis):
            keeps[axis] = graph.left(axis)
    cut(model, keeps)
