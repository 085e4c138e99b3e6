"""Cuts tried out: on a copy of a model with random weights, against the masked reference.

With random weights and statistics no gate that happens to be closed (a zero scale, a dead activation) hides a
wrong cut. The copy is in float64 where the model runs in it.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from secateur.errors import InputError, kind_and_line
from secateur.network import copies
from secateur.network.inputs import Inputs, call, map_inputs, on_device, output_tensors
from secateur.network.weights import weight_layers
from secateur.surgery.agreement import TOLERANCE, agree, first_difference
from secateur.surgery.cutting import CHANNELWISE, is_transposed
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.probe import RUN_ERRORS
from secateur.surgery.reference import masked
from secateur.surgery.watching import StepWatch

Gone = Mapping[str, set[int]]
"""Group -> channels that are cut, in the uncut network's numbering."""

SETS = 6  # of channels, at which every group is tried


class Trial:
    """Tries cuts on a copy of a model with random weights, against the masked reference.

    Attributes:
        model: the copy, in evaluation mode and in `dtype`.
        batches: the inputs it is tried on: the first real examples, and noise of the same shapes.
    """

    def __init__(self, model: nn.Module, inputs: Inputs, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)
        self.model = randomized(model, self.generator)
        real = map_inputs(on_device(inputs, model), lambda x: x[:4])
        noise = map_inputs(real, lambda x: _noise_like(x, self.generator))
        self.batches = [real, noise]
        self.dtype = self._runs_in()
        self.model = self.model.to(self.dtype)
        self.batches = [self._cast(batch) for batch in self.batches]
        self._check_repeatable()

    def _runs_in(self) -> torch.dtype:
        """Choose float64 where the model runs in it, else float32."""
        for self.dtype in TOLERANCE:
            try:
                self._outputs(self.model.to(self.dtype), self._cast(self.batches[0]))
                return self.dtype
            except RUN_ERRORS as error:
                reason = kind_and_line(error)
        raise InputError(
            f"{type(self.model).__name__} runs neither in float64 nor in float32, so no cut can be proved: "
            f"{reason}"
        )

    def _check_repeatable(self) -> None:
        """Raise InputError where two runs differ: then a cut network would differ too, and prove nothing."""
        one, other = (self._outputs(self.model, self.batches[0]) for _ in range(2))
        if not agree(one, other, TOLERANCE[self.dtype]):
            raise InputError(
                f"{type(self.model).__name__} gives another output for the same input in evaluation mode, "
                "or NaN, so no cut can be proved: remove what is random in it"
            )

    @staticmethod
    @torch.no_grad()
    def _outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
        return output_tensors(call(model, inputs))

    def _cast(self, inputs: Inputs) -> Inputs:
        return map_inputs(inputs, lambda x: to_dtype(x, self.dtype))

    def sets(self, graph: ChannelGraph, names: Sequence[str]) -> list[dict[str, set[int]]]:
        """Draw what to cut of each group, SETS times."""
        drawn = {name: self._sets(graph.groups[name].width) for name in names}
        return [{name: drawn[name][index] for name in names} for index in range(SETS)]

    def _sets(self, width: int) -> list[set[int]]:
        """Draw one channel, all others; a half, the other; some, the others. Of up to 3 channels, every set.

        A cut that is wrong with one channel only (the last, if a roll moves it to the front) is among the
        halves, and there are others left for it to be told by.
        """
        if width <= 3:
            every = [{i for i in range(width) if number >> i & 1} for number in range(1, 2**width - 1)]
            return (every * SETS)[:SETS]
        sizes = (1, width // 2, int(torch.randint(2, width - 1, (), generator=self.generator)))
        sets = [self._some(width, size) for size in sizes]
        return [gone for some in sets for gone in (some, set(range(width)) - some)]

    def _some(self, width: int, count: int) -> set[int]:
        return set(torch.randperm(width, generator=self.generator)[:count].tolist())

    def failure(self, graph: ChannelGraph, names: Sequence[str]) -> str | None:
        """Say why cuts of these groups at once are wrong; None where they are right."""
        for index, gone in enumerate(self.sets(graph, names)):
            if reason := self.difference(graph.uncut(), gone, self.batches[index % 2]):
                return reason
        return None

    def failure_apart(self, graph: ChannelGraph) -> str | None:
        """Say why cuts of some groups without others are wrong: of any two, each goes once without the other.

        Groups that must lose equally many channels (the halves of a chunk) may pass together.
        """
        for names in parts(list(graph.groups)):
            gone = self.sets(graph, names)[-1]
            if reason := self.difference(graph.uncut(), gone, self.batches[1]):
                return reason
        return None

    @torch.no_grad()
    def difference(self, graph: ChannelGraph, gone: Gone, batch: Inputs) -> str | None:
        """Say how the cut model differs from the masked one, and where that begins; None where they agree."""
        compact = copy.deepcopy(self.model)
        try:
            for name, channels in gone.items():
                graph.remove(compact, name, sorted(channels))
        except RUN_ERRORS as error:
            return f"it cannot be cut: {kind_and_line(error)}"
        with masked(self.model, graph):
            expected = output_tensors(call(self.model, batch))
        watch = StepWatch(compact)
        try:
            with watch:
                found = output_tensors(call(compact, batch))
        except RUN_ERRORS as error:
            return f"{watch.last} fails once channels are gone: {kind_and_line(error)}"
        if not agree(found, expected, TOLERANCE[self.dtype]):
            return first_difference(self.model, compact, graph, batch, TOLERANCE[self.dtype])
        return None

    @torch.no_grad()
    def unseen(self, graph: ChannelGraph) -> dict[str, str]:
        """List groups whose cut changes no output: there is nothing to prove them by."""
        plain = [output_tensors(call(self.model, batch)) for batch in self.batches]
        refused = {}
        for name in graph.groups:
            part = graph.uncut()
            part.note_removal({name: set(range(1, graph.groups[name].width))})
            with masked(self.model, part):
                changed = any(
                    not agree(output_tensors(call(self.model, batch)), before, TOLERANCE[self.dtype])
                    for batch, before in zip(self.batches, plain, strict=True)
                )
            if not changed:
                refused[name] = "cutting it changes no output, so nothing can be proved"
        return refused


@torch.no_grad()
def randomized(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Copy a model, with random weights and statistics at which activations keep their size, to evaluate."""
    copied = copies.copied(model).eval()

    def fill(value: Tensor, low: float, high: float) -> None:
        drawn = torch.rand(value.shape, generator=generator, dtype=torch.float64)
        value.copy_((low + (high - low) * drawn).to(value))

    mixing = {id(module.weight) for module in weight_layers(copied).values()}
    for value in copied.parameters():
        if id(value) in mixing:
            continue
        if value.is_floating_point():
            fill(value, 0.5, 1.5)
    for name, module in weight_layers(copied).items():
        weight = module.weight
        assert isinstance(weight, Tensor), name
        fan_in = weight.numel() // max(1, weight.shape[1 if is_transposed(module) else 0])
        normal = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        weight.copy_((normal * (2 / fan_in) ** 0.5).to(weight))
        if isinstance(module.bias, Tensor):
            fill(module.bias, -0.2, 0.2)
    for other in copied.modules():
        if isinstance(other, CHANNELWISE) and isinstance(getattr(other, "bias", None), Tensor):
            fill(other.bias, -0.5, 0.5)  # type: ignore[arg-type]
        if isinstance(other, _NormBase) and other.running_mean is not None:
            fill(other.running_mean, -0.5, 0.5)
            fill(other.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return copied


def parts(names: Sequence[str]) -> list[list[str]]:
    """Divide into few parts of which, for any two names, one holds the first only and one the second only.

    Every name is in half of them, and no two in the same half (Sperner's largest antichain).

    Example:
        >>> parts(["a", "b", "c"])
        [['a'], ['b'], ['c']]
    """
    if len(names) < 2:
        return []
    count = next(n for n in itertools.count(2) if math.comb(n, n // 2) >= len(names))
    found: list[list[str]] = [[] for _ in range(count)]
    for name, held in zip(names, itertools.combinations(range(count), count // 2), strict=False):
        for index in held:
            found[index].append(name)
    return [part for part in found if part]


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    return torch.randn(x.shape, generator=generator).to(x)


def to_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x
