"""The exponential moving average of a network's weights, which follows every cut of the network.

    a_t = d_t * a_t-1 + (1 - d_t) * w_t        `Average.update`
    d_t = min(decay, (1 + t) / (10 + t))       `decay_at`

t counts the updates, from 0. The decay rises to its value: a short training would else end at its initial
weights. Parameters are averaged, and buffers of floating point (the running statistics of batch norm) with
them. Where channels are removed, the same entries leave the average (`secateur.surgery.cutting.follow_cuts`):
it is then what it would have been had these channels never been there.

In a loop of your own, with any method of Secateur's or with none:

    average = Average(model, decay=0.999)
    for x, y in batches:
        ...; optimizer.step(); optimizer.zero_grad()
        model = method.after_step(model, optimizer)
        average.update()
    with average.swapped():
        evaluate(model)            # the averages stand in the model here
    average.settle()               # and from here on: then method.finalize(model), sc.save(model, ...)

Reference: Polyak & Juditsky 1992; Tarvainen & Valpola 2017 (arXiv:1703.01780).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.surgery.cutting import follow_cuts


def decay_at(update: int, decay: float) -> float:
    """d_t: at update 0 it is 0.1, and it rises to `decay`."""
    return min(decay, (1 + update) / (10 + update))


def average_of(model: nn.Module, decay: float | None) -> Average | NoAverage:
    """Make the average that a recipe asks for, or what stands in for it where it asks for none."""
    return NoAverage() if decay is None else Average(model, decay)


class NoAverage:
    """Keeps nothing: the network is what it is."""

    def update(self) -> None:
        """Nothing is averaged."""

    def swapped(self) -> AbstractContextManager[Any]:
        """The network as it is."""
        return nullcontext()

    def settle(self) -> None:
        """It stays as it is."""


class Average:
    """Keeps the average of a network's weights; a cut of the network cuts it too.

    Args:
        model: as a method's `prepare` gave it back, on its device.
        decay: in (0, 1); 0.999 averages over about the last 1000 steps.

    Raises:
        InputError: for another decay.
    """

    def __init__(self, model: nn.Module, decay: float = 0.999):
        if not 0 < decay < 1:
            raise InputError(f"the decay of an average of weights must lie in (0, 1), got {decay}")
        self.model, self.decay, self.updates = model, decay, 0
        self._averages = {name: tensor.detach().clone() for name, tensor in _averaged(model)}
        follow_cuts(model, self)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now; call it after every step, behind the method's `after_step`."""
        share = 1 - decay_at(self.updates, self.decay)
        for name, tensor in _averaged(self.model):
            self._averages[name].lerp_(tensor.detach().to(self._averages[name].device), share)
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[nn.Module]:
        """Have the model compute with the averages for a while; its own weights come back, to the bit."""
        own = {name: tensor.detach().clone() for name, tensor in _averaged(self.model)}
        self.settle()
        try:
            yield self.model
        finally:
            _put(self.model, own)

    def settle(self) -> None:
        """Put the averages into the model for good."""
        _put(self.model, self._averages)

    def cut(self, name: str, index: Tensor, dim: int) -> None:
        """Follow a cut: keep the entries `index` along `dim` of one tensor."""
        if name in self._averages:
            old = self._averages[name]
            self._averages[name] = old.index_select(dim, index.to(old.device))

    def scale(self, name: str, factor: Tensor) -> None:
        """Follow a factor that is multiplied into one tensor for good."""
        if name in self._averages:
            old = self._averages[name]
            old.mul_(factor.to(old.device, old.dtype))

    def state(self) -> dict[str, Any]:
        """JSON-able: with `tensors` all that `restore` takes."""
        return {"updates": self.updates}

    def tensors(self) -> dict[str, Tensor]:
        """The averages, by the names that the network has for its tensors."""
        return dict(self._averages)

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` and `tensors` gave, of a network of the same shapes."""
        self.updates = int(state["updates"])
        for name, old in self._averages.items():
            self._averages[name] = torch.empty_like(old).copy_(tensors[name].to(old.device))


def _averaged(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of floating point, each once."""
    yield from model.named_parameters()
    yield from ((name, tensor) for name, tensor in model.named_buffers() if tensor.is_floating_point())


@torch.no_grad()
def _put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, tensor in _averaged(model):
        tensor.copy_(values[name])
