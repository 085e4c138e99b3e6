"""Whether a network's numbers are numbers: one of NaN answers too, and means nothing by it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.network.sparse_file import MOST_BYTES
from secateur.network.weight_file import open_tensors

_STATISTICS = ("running_mean", "running_var")
"""Buffers that training writes. Others may hold infinities or NaN on purpose, as masks of attention do."""
_LEARNT = ("weight", "bias", *_STATISTICS)
"""How tensors are called, by convention, that no network has as masks."""
_AGAIN = "go back to weights from before that, and lower the rate or clip gradients"


class Unsound(NamedTuple):
    """A tensor that is not finite.

    Attributes:
        name: of a parameter or buffer.
        wrong, numel: how many of its numbers are none, of how many.
    """

    name: str
    wrong: int
    numel: int

    def __str__(self) -> str:
        return f"{self.wrong:,} of {self.numel:,} in {ascii(self.name)[1:-1][:200]} are NaN or infinite"


def not_finite(model: nn.Module) -> Unsound | None:
    """Find the first weight, or statistic of a batch norm, that is not finite; None where all are.

    Weights that are not trained may hold infinities, but no NaN; other buffers hold what they like.
    """
    named = [(name, value.detach(), trains) for name, value, trains in _numbers(model) if _is_real(value)]
    if not named:
        return None
    device = named[0][1].device  # asked once: others wait for a GPU as rarely as can be
    bad = torch.stack([_wrong(value, trains).any().to(device) for _, value, trains in named]).tolist()
    found = next((each for each, wrong in zip(named, bad, strict=True) if wrong), None)
    return None if found is None else Unsound(found[0], int(_wrong(*found[1:]).sum()), found[1].numel())


def check_finite(model: nn.Module, what: str) -> None:
    """Refuse a network that is no network any more, by whoever writes, reads or uses one.

    Args:
        what: it is, for the message: "the network in 'out'".

    Raises:
        InputError: names the first tensor that is not finite, and how much of it.
    """
    found = not_finite(model)
    if found is not None:
        raise _refusal(what, found)


def check_finite_file(path: Path) -> None:
    """The same of a file whose network cannot be built here: of what is a weight or a statistic by its name.

    Raises:
        InputError: as `check_finite`; where the file is damaged.
    """
    for name, value in open_tensors(path).tensors(MOST_BYTES).items():
        if name.rpartition(".")[2] in _LEARNT and _is_real(value) and bool((wrong := _wrong(value)).any()):
            raise _refusal(str(path), Unsound(name, int(wrong.sum()), value.numel()))


def _refusal(what: str, found: Unsound) -> InputError:
    return InputError(f"{what} must have finite weights, but {found}: {_AGAIN}")


def _numbers(model: nn.Module) -> list[tuple[str, Tensor, bool]]:
    parameters = [(name, value, value.requires_grad) for name, value in model.named_parameters()]
    buffers = model.named_buffers()
    return parameters + [(name, v, True) for name, v in buffers if name.rpartition(".")[2] in _STATISTICS]


def _is_real(value: Tensor) -> bool:
    """Whether a tensor is there, and could hold what is no number."""
    return (value.is_floating_point() or value.is_complex()) and value.numel() > 0 and not value.is_meta


def _wrong(value: Tensor, trains: bool = True) -> Tensor:
    """Which entries are not finite: bool, of the same shape, on its device."""
    wide = value.float() if value.itemsize == 1 else value  # float8 answers nothing itself
    return ~wide.isfinite() if trains else wide.isnan()
