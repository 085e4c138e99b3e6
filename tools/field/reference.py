"""A masked reference that needs no graph: what a cut removed is read off the numbers that are left.

Every parameter of a copy holds the numbers of its own entries. Whoever cuts that copy leaves, in what
remains, the places where it came from: no tool has to be asked, and none is believed. The reference of the
cut is then the uncut network whose entries that are gone are zero, where they are written and where they are
read. Where a normalisation takes its statistics over channels that are cut, removing is by definition not
zeroing: there it normalises over the channels that are left.

Nothing of `secateur.surgery` is used here, so an error in it cannot hide itself.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.network.inputs import Inputs, call, output_tensors

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
BY_NAME = re.compile(r"RMS|LayerNorm|GroupNorm|ResponseNorm|GRN|Std\w*Conv|StandardizedConv")
RIGHT = 1e-5
"""The largest difference, in units of the largest magnitude, of what is called right: in float64, and some
networks go through float32 inside."""

Places = dict[str, Tensor]
"""Name of a parameter or buffer -> for each entry that is left, its place in the flattened uncut one."""


class Unformed(Exception):
    """The reference of a cut cannot be made, so that nothing is known of it."""


def floats(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every float tensor of a model under each of its names, buffers outside the state dict too."""
    for name, value in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        if value.is_floating_point():
            yield name, value


def tag(model: nn.Module) -> None:
    """Replace every float tensor by the numbers of its own entries, in float64, in place."""
    for _, value in floats(model):
        value.data = torch.arange(value.numel(), dtype=torch.float64).view(value.shape)


def places_in(tagged: nn.Module) -> Places:
    """Read where each entry of a cut, tagged model was in the uncut one."""
    return {name: value.detach().long() for name, value in floats(tagged)}


def fill(compact: nn.Module, whole: nn.Module, places: Places) -> None:
    """Give a cut model the values that the uncut one has at their places, in place."""
    values = dict(floats(whole))
    for name, value in floats(compact):
        value.data = values[name].detach().flatten()[places[name].flatten()].view(places[name].shape)


@torch.no_grad()
def lively(model: nn.Module, seed: int) -> nn.Module:
    """Copy a model in float64 with random weights by fan-in and random statistics, to evaluate.

    Nothing is then closed by chance: no gate at zero, no dead layer hides a wrong cut.
    """
    drawn = torch.Generator().manual_seed(seed)
    copied = copy.deepcopy(model).double().eval()
    for value in copied.parameters():
        if value.is_floating_point():
            fan = max(1, value[0].numel()) if value.dim() > 1 else 1
            value.copy_(torch.randn(value.shape, generator=drawn, dtype=torch.float64) / math.sqrt(fan))
    for name, value in copied.named_buffers():
        if name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=drawn, dtype=torch.float64) + 0.5)
        elif name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=drawn, dtype=torch.float64))
    return copied


@torch.no_grad()
def blinded(
    whole: nn.Module,
    compact: nn.Module,
    places: Places,
    kept: Mapping[str, Tensor] | None = None,
    local: Container[str] = (),
) -> nn.Module:
    """Make the reference: the uncut network with all that is gone zero, normalising over what is left.

    Args:
        whole: the uncut network, with any weights.
        compact: the cut one, with the same weights at its places.
        places: of `compact`.
        kept: channels left of normalisations that hold no weight to read them from.
        local: modules said to compute statistics over their channels, beside those told by their class.

    Raises:
        Unformed: where the channels that a normalisation has lost are not known.
    """
    full = copy.deepcopy(whole)
    places = without_weight_norm(full, places)
    values = dict(floats(full))
    partly = {}
    for name, place in places.items():
        gone = torch.ones(values[name].numel(), dtype=torch.bool)
        gone[place.flatten()] = False
        if bool(gone.any()):
            values[name].view(-1)[gone] = 0
            partly.setdefault(name.rpartition(".")[0], name)
    for name, module in whole.named_modules():
        small = compact.get_submodule(name)
        if isinstance(module, NORMS):
            left = _channels_left(name, module, small, places, kept or {})
            if left is not None:
                _over_kept(full.get_submodule(name), _smaller(module, left), left, left)
        elif name in partly and (name in local or _by_name(module)):
            out, read = _axes_left(name, module, places)
            _over_kept(full.get_submodule(name), small, read, out)
    return full


def without_weight_norm(model: nn.Module, places: Places) -> Places:
    """Make normalised weights plain ones, as zeroing part of one changes the norm of the rest."""
    places = dict(places)
    for name, module in model.named_modules():
        start = f"{name}." if name else ""
        if parametrize.is_parametrized(module):
            for key in list(module.parametrizations):
                inner = f"{start}parametrizations.{key}."
                places[start + key] = places.pop(f"{inner}original1", places.get(f"{inner}original"))  # type: ignore[assignment]
            _make_plain(module)
            places = {key: place for key, place in places.items() if ".parametrizations." not in f".{key}"
                      or not key.startswith(f"{start}parametrizations.")}  # fmt: skip
        for key in [key for key in places if key == f"{start}weight_v"]:
            nn.utils.remove_weight_norm(module)
            places[f"{start}weight"] = places.pop(key)
            places.pop(f"{start}weight_g", None)
    return places


def _make_plain(module: nn.Module) -> None:
    """Have a copy hold what it computes; torch's own way would take the property from all copies' class."""
    computed = {key: getattr(module, key).detach() for key in module.parametrizations}  # type: ignore[union-attr]
    module.__class__ = type(module).__mro__[1]
    del module._modules["parametrizations"]
    for key, value in computed.items():
        module.register_parameter(key, nn.Parameter(value))


def _channels_left(
    name: str, module: nn.Module, small: nn.Module, places: Places, kept: Mapping[str, Tensor]
) -> Tensor | None:
    """Which channels of a stock normalisation are left; None where all are."""
    before, now = _channels(module), _channels(small)
    key = f"{name}.weight" if name else "weight"
    if key in places:
        left = places[key].flatten()
        return None if len(left) == before else left
    if name in kept:
        return None if bool(kept[name].all()) else kept[name].nonzero().flatten()
    if before != now:
        raise Unformed(
            f"{name} normalises over other channels than before, and holds no weight to tell which"
        )
    return None


def _by_name(module: nn.Module) -> bool:
    """Tell normalisations and standardised convolutions that are written by hand."""
    own = not isinstance(module, nn.modules.batchnorm._NormBase) and not list(module.children())
    return own and BY_NAME.search(type(module).__name__) is not None


def _channels(norm: Any) -> int:
    return norm.num_channels if isinstance(norm, nn.GroupNorm) else math.prod(norm.normalized_shape)


def _smaller(norm: Any, left: Tensor) -> nn.Module:
    """Make a normalisation of the channels left alone."""
    small = copy.deepcopy(norm)
    for key in ("weight", "bias"):
        value = getattr(norm, key, None)
        if isinstance(value, Tensor):
            setattr(small, key, nn.Parameter(value.detach().flatten()[left]))
    if isinstance(norm, nn.GroupNorm):
        of_group = torch.bincount(left // (norm.num_channels // norm.num_groups), minlength=norm.num_groups)
        of_group = of_group[of_group > 0]
        if bool((of_group != of_group[0]).any()):
            raise Unformed("a group normalisation has lost unequal shares of its groups")
        small.num_groups, small.num_channels = len(of_group), len(left)
    else:
        small.normalized_shape = (len(left),)
    return small


def _axes_left(name: str, module: nn.Module, places: Places) -> tuple[Tensor, Tensor]:
    """(channels left of what a module writes, of what it reads), of its largest parameter."""
    own = [(key, value) for key, value in module.named_parameters(recurse=False) if key]
    key, value = max(own, key=lambda pair: pair[1].dim() * (pair[1].numel() > 1))
    place = places[f"{name}.{key}" if name else key]
    if value.dim() < 2 or value.numel() == max(value.shape):
        return place.flatten(), place.flatten()
    strides = torch.empty(value.shape, device="meta").stride()
    out, read = ((place // strides[dim] % value.shape[dim]).unique() for dim in (0, 1))
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups > 1:
        raise Unformed(f"{name} is a standardised convolution with groups")
    return out, read


def _over_kept(module: nn.Module, small: nn.Module, read: Tensor, out: Tensor) -> None:
    """Have a module compute on the channels left alone, and give zero for the others."""

    def hook(_module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        x = given[0]
        dim = 1 if _channels_first(module, x) else x.dim() - 1
        part = small(x.index_select(dim, read), *given[1:])
        return torch.zeros_like(output).index_copy(dim, out, part)

    module.register_forward_hook(hook)


def _channels_first(module: nn.Module, x: Tensor) -> bool:
    if isinstance(module, (nn.GroupNorm, nn.modules.conv._ConvNd)) or "2d" in type(module).__name__.lower():
        return True
    size = (
        max(value.numel() for value in module.parameters())
        if list(module.parameters())
        else _channels(module)
    )
    return x.shape[-1] != size and x.shape[1] == size


def worst(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference in units of the largest magnitude of its output; infinite for other shapes."""
    pairs = list(zip(found, expected, strict=False))
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in pairs):
        return math.inf
    off = [float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs if a.numel()]
    return math.inf if any(math.isnan(value) for value in off) else max(off, default=0.0)


@torch.no_grad()
def answers(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """What a model gives in evaluation, as a list of tensors."""
    return output_tensors(call(model.eval(), inputs))
