"""Channel widths that a runtime likes: an export padded with channels of zero, where that is measured faster.

Pruning channel by channel leaves 37 here and 61 there; a runtime's kernels take 8 or 16 at once. `padded` is
the inverse of a cut: every group of channels that can be is made wider, to a multiple. Whatever writes the
new channels has weights and biases of zero, a batch norm scales and shifts them by zero, and whatever reads
them has weights of zero, so that the network computes what it did; that is tried on inputs before it is
handed out. `pad_for` exports both and lets a runtime say, side by side, which is faster. A padded file has
more parameters, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from secateur.budget import Deployment
from secateur.deploy.given import Given, Inputs, randomised, said_in_one_line
from secateur.deploy.latency import prepared
from secateur.deploy.rounds import Ratio, timed
from secateur.deploy.traced import copy_of
from secateur.errors import InputError
from secateur.names import AUTO
from secateur.network.inputs import call, map_inputs, output_tensors
from secateur.network.plain import bare
from secateur.network.weights import count_params
from secateur.surgery.anatomy import anatomy_of, forget
from secateur.surgery.computed_weights import as_plain, make_permanent
from secateur.surgery.cutting import Axis, is_transposed
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Site

LIKED = {"onnxruntime": 8, "openvino": 16}
"""Runtime -> the multiple of channels that its kernels like; others are not padded unless asked to."""

OFF = "off"
FASTER = 0.98  # of the time: the interval of the ratio has to lie below
SAME, SAME_ROUNDED = 1e-9, 1e-5  # in float64, or else, of the largest output
_LIMIT_S = 4.0
_MOST = 512


@dataclass(frozen=True)
class Padding:
    """What became of a network's widths on its way into a file.

    Attributes:
        multiple: that widths were padded to; None: they are as they were.
        said: in a line, for people; "" where nothing was asked or to be padded.
        params: of the network in the file.
        ratio: padded over plain, where both were measured.
    """

    multiple: int | None
    said: str
    params: int
    ratio: float | None = None


def read_padding(text: str | int) -> str | int:
    """Read "auto", "off" or a multiple of channels.

    Raises:
        InputError: for anything else.

    Example:
        >>> read_padding("8")
        8
    """
    text = str(text)
    if text in (AUTO, OFF):
        return text
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 2 <= int(text) <= _MOST:
        raise InputError(f"widths are padded to a multiple from 2 to {_MOST}, auto or off, got '{text[:40]}'")
    return int(text)


def pad_for(
    model: nn.Module, inputs: Inputs, runtime: str, asked: str | int
) -> tuple[nn.Module, Padding | None]:
    """The network to be exported: as it is, or a padded copy.

    Args:
        model: a network that is known (`sc.load`, `sc.prune`, `sc.inspect`); it is not changed.
        inputs: as it takes them.
        runtime: that the file is for.
        asked: "auto" (padded where `runtime` is measured to be faster so), "off", or a multiple.

    Returns:
        The network, and what was done; None where nothing was to be padded or asked.

    Raises:
        InputError: where a multiple was asked for and no channels can be padded.
    """
    asked = read_padding(asked)
    if isinstance(asked, int):
        return _as_asked(model, inputs, asked)
    if asked == OFF or runtime not in LIKED:
        return model, None
    try:
        return _where_faster(model, inputs, Deployment(runtime))
    except InputError as error:  # nobody asked for it
        return model, Padding(None, f"widths not padded: {error}", count_params(model))


def _as_asked(model: nn.Module, inputs: Inputs, multiple: int) -> tuple[nn.Module, Padding]:
    wide = padded(model, multiple, inputs)
    if wide is None:
        said = f"widths stay as they are: none that can be padded is no multiple of {multiple}"
        return model, Padding(None, said, count_params(model))
    said = f"widths padded to multiples of {multiple}: {_counts(wide, model)}"
    return wide, Padding(multiple, said, count_params(wide))


def _counts(wide: nn.Module, model: nn.Module) -> str:
    return f"{count_params(wide):,} parameters in the file, of {count_params(model):,}"


def _where_faster(model: nn.Module, inputs: Inputs, where: Deployment) -> tuple[nn.Module, Padding | None]:
    """The faster of both."""
    multiple = LIKED[where.runtime]
    wide = padded(model, multiple, inputs)
    if wide is None:
        return model, None
    times = side_by_side({"plain": model, "padded": wide}, inputs, where)
    ratio = Ratio.of(times["padded"].medians, times["plain"].medians)
    plain, other = (f"{times[name].median / 1e6:.3g} ms" for name in ("plain", "padded"))
    found = (
        f"{other} padded to multiples of {multiple}, {plain} as they are ({ratio.middle:.3f} of it, {where})"
    )
    if ratio.high < FASTER:
        said = f"widths padded: {found}; {_counts(wide, model)}"
        return wide, Padding(multiple, said, count_params(wide), ratio.middle)
    return model, Padding(None, f"widths not padded: {found}", count_params(model), ratio.middle)


def side_by_side(
    models: Mapping[str, nn.Module], inputs: Inputs, where: Deployment, limit_s: float = _LIMIT_S
) -> dict[str, Any]:
    """Time networks on one runtime in this process, in turns; name -> `secateur.deploy.rounds.Times`.

    Args:
        limit_s: seconds, without export and warm-up.
    """
    batch = Given.of(inputs).with_batch(where.batch_size)
    with prepared(models, batch, where) as runs:
        return timed(runs, limit_s=limit_s)


# Padding


def padded(model: nn.Module, multiple: int, inputs: Inputs | None = None) -> nn.Module | None:
    """Copy a network with its channel groups widened to a multiple; None where none is to be widened.

    Groups stay as they are whose channels lie apart from each other, or go through more that has numbers for
    them than convolutions, linear layers, batch norms and PReLU.

    Args:
        model: a network that is known; of a compiled or parallel one the network inside.
        inputs: to try the copy on; None: those that it was opened with.

    Raises:
        InputError: where the padded network would compute something else.

    Example:
        >>> from secateur.models import conv4, wide_resnet
        >>> padded(wide_resnet(10, 1, widths=[3, 9, 16]), 8).blocks[1].conv1.out_channels
        16
    """
    model = bare(model)
    anatomy = anatomy_of(model, streams=True)
    graph = anatomy.graph
    plain = make_permanent(as_plain(copy_of(model).cpu()))
    forget(plain)
    more = {
        group.name: -graph.width(group.name) % multiple for group in graph if _can_be(plain, graph, group)
    }
    more = {name: channels for name, channels in more.items() if channels}
    if not more:
        return None
    wide = copy_of(plain)
    for axis, places in _places(graph, more).items():
        _widen(wide.get_submodule(axis[0]), axis[1], places)
    _check_same(plain, wide, anatomy.inputs if inputs is None else inputs)
    return wide


def _can_be(model: nn.Module, graph: ChannelGraph, group: ChannelGroup) -> bool:
    """Whether channels of zero can be added to a group behind its last."""
    if any(group.name == name for number in graph.numbers for name, _ in number.each):
        return False
    return all(
        _takes(model.get_submodule(site.axis[0]), site) and _together(graph.present(site, group.name))
        for site in group.sites
    )


def _takes(module: nn.Module, site: Site) -> bool:
    """Whether a layer is of a kind that is widened here."""
    if site.axis[1] not in ("out", "in"):
        return False
    spread = site.entries.shape[1]
    if isinstance(module, _ConvNd) and module.groups > 1:  # each channel by itself
        return module.groups == module.in_channels == module.out_channels and spread == 1
    if isinstance(module, (_ConvNd, nn.Linear)):
        return spread == 1 or site.axis[1] == "in"
    return isinstance(module, (_BatchNorm, nn.PReLU)) and spread == 1


def _together(entries: Tensor) -> bool:
    """Whether a group's entries are a run of an axis, channel by channel."""
    flat = entries.flatten()
    return torch.equal(flat, torch.arange(len(flat)) + flat[0])


def _places(graph: ChannelGraph, more: Mapping[str, int]) -> dict[Axis, Tensor]:
    """Axis -> for each entry that it will have, the present one, or -1 where it is new."""
    behind: dict[Axis, dict[int, int]] = {}
    for name, channels in more.items():
        for site in graph.groups[name].sites:
            entries = graph.present(site, name)
            behind.setdefault(site.axis, {})[int(entries.max())] = channels * entries.shape[1]
    found = {}
    for axis, new in behind.items():
        places: list[int] = []
        for entry in range(graph.size(axis)):
            places += [entry, *[-1] * new.get(entry, 0)]
        found[axis] = torch.tensor(places)
    return found


def _widen(layer: nn.Module, kind: str, places: Tensor) -> None:
    """Give one axis of a layer new entries of zero."""
    size = len(places)
    if isinstance(layer, _ConvNd) and layer.groups > 1:
        if layer.groups != size:  # both of its axes are one
            _extend(layer, ("weight", "bias"), 0, places)
            layer.groups = layer.in_channels = layer.out_channels = size
    elif isinstance(layer, _ConvNd):
        _extend(layer, ("weight",), int((kind == "in") != is_transposed(layer)), places)
        if kind == "out":
            _extend(layer, ("bias",), 0, places)
            layer.out_channels = size
        else:
            layer.in_channels = size
    elif isinstance(layer, nn.Linear):
        _extend(layer, ("weight",), int(kind == "in"), places)
        if kind == "out":
            _extend(layer, ("bias",), 0, places)
            layer.out_features = size
        else:
            layer.in_features = size
    elif isinstance(layer, _BatchNorm):
        _extend(layer, ("weight", "bias", "running_mean"), 0, places)
        _extend(layer, ("running_var",), 0, places, 1.0)
        layer.num_features = size
    else:
        assert isinstance(layer, nn.PReLU)
        _extend(layer, ("weight",), 0, places)
        layer.num_parameters = size


def _extend(layer: nn.Module, names: Iterable[str], dim: int, places: Tensor, new: float = 0.0) -> None:
    """Put a layer's tensors at their places along a dimension, and a number where there is none of theirs."""
    for name in names:
        old = getattr(layer, name, None)
        if old is None:
            continue
        kept = old.detach().index_select(dim, places.clamp(min=0))
        shape = [1] * old.dim()
        shape[dim] = -1
        value = torch.where((places < 0).view(shape), torch.full_like(kept, new), kept)
        setattr(
            layer, name, nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value
        )


def _check_same(plain: nn.Module, wide: nn.Module, inputs: Inputs) -> None:
    """Raise InputError unless both give the same: in float64, or where a network cannot, in its own type."""
    given = Given.of(inputs).on_cpu()
    batch = given.wrapped(list(randomised(given.tensors, seed=0).values()))
    try:
        worst, allowed = _apart(plain, wide, batch, torch.float64), SAME
    except Exception:  # somebody's code, which makes float32 on its way
        with said_in_one_line("be run with padded widths"):
            worst, allowed = _apart(plain, wide, batch, None), SAME_ROUNDED
    if not worst <= allowed:
        raise InputError(
            "a padded network must compute what it did, got other outputs: leave widths as they are "
            "(--pad-widths off)"
        )


@torch.inference_mode()
def _apart(plain: nn.Module, wide: nn.Module, batch: Any, dtype: torch.dtype | None) -> float:
    """The largest difference, in units of the largest output; infinite where shapes differ."""

    def typed(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor

    pair = [copy_of(each).to(dtype) if dtype else copy_of(each) for each in (wide, plain)]
    found, expected = (output_tensors(call(each, map_inputs(batch, typed))) for each in pair)
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return float("inf")
        if one.numel():
            difference = float((one - other).abs().max()) / (float(other.abs().max()) or 1.0)
            worst = difference if not difference <= worst else worst  # NaN stays
    return worst
