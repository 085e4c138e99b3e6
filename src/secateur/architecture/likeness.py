"""Whether two networks are the same: their state to the bit, tables in no state, and what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.errors import kind_and_line
from secateur.network.alike import alike
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, call, on_device, output_tensors
from secateur.network.modes import in_evaluation, modes_kept
from secateur.network.run_errors import RUN_ERRORS
from secateur.network.tensor_files import load_state
from secateur.surgery.graph import ChannelGraph

ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""By how much outputs of equal weights may differ, in units of the largest: kernels sum in other orders."""
_ROUNDING_HALF = 2e-2


@dataclass(frozen=True)
class Table:
    """A tensor that is cut and that nobody trains: positions, frequencies, masks.

    Attributes:
        module, name: where it is held.
        groups: those that cut it.
    """

    module: str
    name: str
    groups: tuple[str, ...]


def tables(whole: nn.Module, graph: ChannelGraph) -> list[Table]:
    """Find the tables among the tensors that a graph cuts beside the layers."""
    found: dict[tuple[str, str], list[str]] = {}
    for group in graph:
        for site in group.sites:
            module, (own, at, _) = site.axis[0], site.axis[1].partition("@")
            if at and not getattr(whole.get_submodule(module), own).requires_grad:
                found.setdefault((module, own), []).append(group.name)
    return [Table(*place, tuple(dict.fromkeys(names))) for place, names in found.items()]


@torch.no_grad()
def put_tables(model: nn.Module, cut: nn.Module, graph: ChannelGraph) -> None:
    """Give a network the tables of one that was cut from a whole one: its own may be of another width."""
    for table in tables(cut, graph):
        value = getattr(cut.get_submodule(table.module), table.name)
        getattr(model.get_submodule(table.module), table.name).copy_(value)


def difference(
    one: nn.Module, other: nn.Module, graph: ChannelGraph, inputs: Inputs, *, state: bool = True
) -> str | None:
    """Say in what `other` is not the same network as `one`; None: in nothing.

    Of buffers that are not in the state dict, those must be equal that are cut; of others (counters, caches)
    the outputs tell.

    Args:
        graph: what is cut in both.
        inputs: as both take them; where they are none that `one` runs on, only the tensors are compared.
        state: whether the states must be equal; else `other` is given that of `one`, whose shapes it has.
    """
    if state:
        if unlike := _unlike(one.state_dict(), other.state_dict()):
            return f"'{unlike}' is another tensor"
    else:
        load_state(other, one.state_dict())
    held, found = (_tables_beside_state(network, one, graph) for network in (one, other))
    if unlike := _unlike(held, found):
        return (
            f"'{unlike}', which is not in the state dict, holds other numbers: make it of the same numbers "
            "every time, or register it with persistent=True"
        )
    return _other_outputs(one, other, inputs)


def _tables_beside_state(model: nn.Module, like: nn.Module, graph: ChannelGraph) -> dict[str, object]:
    """Map name to table of `model`, of those that `like` has cut and that its state dict has not."""
    names = {table: f"{table.module}.{table.name}".lstrip(".") for table in tables(like, graph)}
    inside = like.state_dict()
    return {
        name: getattr(model.get_submodule(table.module), table.name, None)
        for table, name in names.items()
        if name not in inside
    }


def _unlike(one: Mapping[str, object], other: Mapping[str, object]) -> str | None:
    """Name the first tensor that is not the same to the bit."""
    for name in dict.fromkeys((*one, *other)):
        if name not in one or name not in other or not _equal(one[name], other[name]):
            return name
    return None


def _equal(one: object, other: object) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return one is other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one, other = one.detach().cpu(), other.detach().cpu()
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def _other_outputs(one: nn.Module, other: nn.Module, inputs: Inputs) -> str | None:
    try:
        expected = given_in_evaluation(_on_cpu(one), inputs)
    except RUN_ERRORS:
        return None  # inputs that a file describes, say
    try:
        found = given_in_evaluation(other, inputs)
    except RUN_ERRORS as error:
        return f"it does not run: {kind_and_line(error)}"
    if [each.shape for each in found] != [each.shape for each in expected]:
        return "its outputs have other shapes"
    if all(_close(a, b) for a, b in zip(found, expected, strict=True)):
        return None
    return "it computes something else of the same weights"


@torch.no_grad()
def given_in_evaluation(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """Run a network in evaluation mode, for the tensors that it gives; what it draws is always the same."""
    with modes_kept(model), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return output_tensors(call(in_evaluation(model), on_device(inputs, model)))


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether outputs are equal to the bit, or to rounding."""
    return alike([one], [other], ROUNDING.get(one.dtype, _ROUNDING_HALF))


def _on_cpu(model: nn.Module) -> nn.Module:
    """Copy a network to the CPU where it is elsewhere: kernels there round more coarsely."""
    elsewhere = any(parameter.device.type != "cpu" for parameter in model.parameters())
    return copied(model).cpu() if elsewhere else model
