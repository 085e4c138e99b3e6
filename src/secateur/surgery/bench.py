"""A network on the bench: a copy in one floating-point type, the inputs that it runs on, and cuts of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import kind_and_line
from secateur.network.inputs import Inputs, call, map_inputs, output_tensors
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import TOLERANCE, distance, first_difference
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.kernels import plain_kernels
from secateur.surgery.precision import computing_in, in_dtype, to_dtype
from secateur.surgery.quiet import without_chance
from secateur.surgery.reference import masked
from secateur.surgery.watching import StepWatch

Gone = Mapping[str, set[int]]
"""Group -> channels that are cut, in the uncut network's numbering."""

_SMALL = 2**16  # entries of a tensor that is copied with a network; larger ones are shared until they are cut
_LAST_DIGITS = 1e-14  # of a number in float64, some fifty times what is rounded off
_COARSE = 3e-2  # of the largest output: the tolerance of a model that runs in half precision only


@dataclass
class Bench:
    """A network in one floating-point type.

    Attributes:
        model: the uncut network.
        dtype: what it computes in, whatever its code converts to; None: as it is written.
        batches: the inputs it is tried on.
        chance: whether whatever the model draws is drawn; else it is its mean.
        rounding: how much the outputs change by rounding, at most, where that is known.
    """

    model: nn.Module
    dtype: torch.dtype | None
    batches: list[Inputs] = field(default_factory=list)
    chance: bool = True
    rounding: float = 0.0

    @classmethod
    def of(
        cls, model: nn.Module, dtype: torch.dtype | None, batches: list[Inputs], *, chance: bool = True
    ) -> Bench:
        """Put a model, which is changed, on the bench in that type."""
        cast = [map_inputs(batch, lambda x: to_dtype(x, dtype)) for batch in batches]
        return cls(in_dtype(model, dtype), dtype, cast, chance)

    @property
    def tolerance(self) -> float:
        """The largest difference between outputs that are the same, of the largest magnitude."""
        return max(self.rounding, _COARSE if self.dtype is None else TOLERANCE[self.dtype])

    def measure_rounding(self) -> None:
        """Find out how much rounding comes to in the outputs: deep networks may amplify it a million times.

        All weights are changed in their last digits, by some times what every operator rounds off.
        """
        if self.dtype is not torch.float64:
            return
        changed, generator = copy.deepcopy(self.model), torch.Generator().manual_seed(0)
        for value in changed.parameters():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device)
            value.data.mul_(1 + _LAST_DIGITS * noise)
        batch = self.batches[0]
        self.rounding = 3 * distance(self.outputs(changed, batch), self.outputs(self.model, batch))

    @contextmanager
    def _computing(self) -> Iterator[None]:
        chance = nullcontext() if self.chance else without_chance()
        with computing_in(self.dtype), plain_kernels(), chance:
            yield

    def run(self, model: nn.Module, batch: Inputs) -> Any:
        """Call a network, in the bench's type."""
        with self._computing():
            return call(model, batch)

    def tensors(self, model: nn.Module, batch: Inputs) -> list[Tensor]:
        """Find what a network gives, as a list of tensors, with gradients where those are on."""
        return output_tensors(self.run(model, batch))

    @torch.no_grad()
    def outputs(self, model: nn.Module, batch: Inputs) -> list[Tensor]:
        """Find what a network gives, as a list of tensors."""
        return self.tensors(model, batch)

    def compact(self, graph: ChannelGraph, gone: Gone) -> nn.Module:
        """Cut a copy of the network. `graph`, which is of the uncut network, follows."""
        copied = light_copy(self.model)
        graph.remove_several(copied, gone)
        return copied

    def reference(self, graph: ChannelGraph, batch: Inputs) -> list[Tensor]:
        """Find what the masked network gives, of what `graph` has cut."""
        with masked(self.model, graph):
            return self.outputs(self.model, batch)

    def apart(self, graph: ChannelGraph, gone: Gone, batch: Inputs) -> float:
        """Measure how far the cut network is from the masked one; infinite where either fails."""
        graph = graph.uncut()
        try:
            compact = self.compact(graph, gone)
            return distance(self.outputs(compact, batch), self.reference(graph, batch))
        except RUN_ERRORS:
            return float("inf")

    def difference(self, graph: ChannelGraph, gone: Gone, batch: Inputs) -> str | None:
        """Say how the cut model differs from the masked one, and where that begins; None where they agree."""
        graph = graph.uncut()
        try:
            compact = self.compact(graph, gone)
        except RUN_ERRORS as error:
            return f"it cannot be cut: {kind_and_line(error)}"
        try:
            found = self.outputs(compact, batch)
        except RUN_ERRORS as error:
            return self._where_it_fails(compact, batch, kind_and_line(error))
        try:
            expected = self.reference(graph, batch)
        except RUN_ERRORS as error:
            return f"the masked network fails: {kind_and_line(error)}"
        if distance(found, expected) <= self.tolerance:
            return None
        with torch.no_grad():
            return first_difference(
                self.model, compact, graph, lambda model: self.run(model, batch), self.tolerance
            )

    @torch.no_grad()
    def _where_it_fails(self, compact: nn.Module, batch: Inputs, reason: str) -> str:
        watch = StepWatch(compact)
        try:
            with watch:
                self.run(compact, batch)
        except RUN_ERRORS as error:
            reason = kind_and_line(error)
        return f"{watch.last} fails once channels are gone: {reason}"


def light_copy(model: nn.Module) -> nn.Module:
    """Copy a network that is to be cut: large tensors are shared, as a cut replaces them."""
    memo: dict[int, Any] = {}
    for value in model.parameters():
        if value.numel() > _SMALL and type(value) is nn.Parameter:
            memo[id(value)] = nn.Parameter(value.detach(), requires_grad=value.requires_grad)
    return copy.deepcopy(model, memo)
