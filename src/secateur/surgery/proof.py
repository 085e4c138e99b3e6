"""Proof by numbers: a cut network computes what the whole one does when nobody reads the channels cut.

The reference is the uncut network in which every layer that mixes channels reads zero where they were.
Where a normalisation takes its statistics over the very channels that are cut (layer norm, group norm),
removing is by definition not zeroing: there the reference normalises over the channels kept.

The proof is made on a copy with random weights and normalisation statistics, so that no gate that happens to
be closed (a zero scale, a dead activation) hides a wrong cut; in float64 where the model runs in it.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from secateur.errors import InputError, TrainingError, kind_and_line
from secateur.network.inputs import Inputs, call, map_inputs, on_device, output_tensors
from secateur.network.weights import weight_layers
from secateur.surgery.cutting import CHANNELWISE, is_transposed
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.probe import RUN_ERRORS, channel_dim
from secateur.surgery.tracing import trace
from secateur.surgery.watching import Step, StepWatch

Gone = Mapping[str, set[int]]
"""Group -> channels that are cut, in the uncut network's numbering."""

SETS = 6  # of channels, at which every group is proved
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the largest output
_MOVERS = ("view", "reshape", "transpose", "permute", "cat", "split", "index", "gather", "pad", "roll")


def traced(model: nn.Module, inputs: Inputs, *, seed: int = 0) -> ChannelGraph:
    """The channel groups of any model, each proved; those that fail are frozen, with the reason.

    Args:
        inputs: real inputs, a few examples, as the model takes them.
        seed: of the channel sets, weights and random inputs of the proof.

    Raises:
        InputError: where the model cannot be run, or nothing in it can be pruned.
    """
    graph = proved(model, trace(model, inputs), inputs, seed=seed)
    if not graph.groups:
        named = "; ".join(f"{of.name}: {of.reason}" for of in graph.frozen) or "it has no layers to cut"
        raise InputError(f"nothing in {type(model).__name__} can be pruned: {named}")
    return graph


def proved(model: nn.Module, graph: ChannelGraph, inputs: Inputs, *, seed: int = 0) -> ChannelGraph:
    """The graph with every group frozen that fails its proof, or mended where a balanced cut is right."""
    trial = Trial(model, inputs, seed)
    names = list(graph.groups)
    if trial.failure(graph, names) is None and trial.parted(graph) is None:
        return graph.without(trial.unseen(graph))
    proven: list[str] = []
    refused: dict[str, str] = {}
    for name in names:  # one after the other, each with those that passed before
        reason = trial.failure(graph, [name]) or trial.failure(graph, [*proven, name])
        if reason is None:
            proven.append(name)
        elif mended := _balanced(trial, graph, name, proven):
            graph = mended
            proven.append(name)
        else:
            refused[name] = reason
    graph = graph.without(refused)
    return graph.without(trial.unseen(graph))


def _balanced(trial: Trial, graph: ChannelGraph, name: str, proven: Sequence[str]) -> ChannelGraph | None:
    """The graph with the group's channels tied in sets, where that passes: a shuffle wants equal shares."""
    group = graph.groups[name]
    for size in (size for size in range(2, 17) if group.width % size == 0 and group.width > size):
        for kind in ("parts", "runs"):
            mended = graph.with_group(group.tied(f"{size} {kind}"))
            if not (trial.failure(mended, [name]) or trial.failure(mended, [*proven, name])):
                return mended
    return None


class Trial:
    """A model made lively, and the inputs on which cuts of it are tried."""

    def __init__(self, model: nn.Module, inputs: Inputs, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)
        self.model = lively(model, self.generator)
        real = map_inputs(on_device(inputs, model), lambda x: x[:4])
        noise = map_inputs(real, lambda x: _noise_like(x, self.generator))
        self.batches = [real, noise]
        self.dtype = self._runs_in()
        self.model = self.model.to(self.dtype)
        self.batches = [self._cast(batch) for batch in self.batches]
        self._check_repeatable()

    def _runs_in(self) -> torch.dtype:
        """Float64 where the model runs in it, else float32."""
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
        """InputError where two runs differ: then a cut network would differ too, and prove nothing."""
        one, other = (self._outputs(self.model, self.batches[0]) for _ in range(2))
        if not _agree(one, other, TOLERANCE[self.dtype]):
            raise InputError(
                f"{type(self.model).__name__} gives another output for the same input in evaluation mode, "
                "or NaN, so no cut can be proved: remove what is random in it"
            )

    @staticmethod
    @torch.no_grad()
    def _outputs(model: nn.Module, inputs: Inputs) -> list[Tensor]:
        return output_tensors(call(model, inputs))

    def _cast(self, inputs: Inputs) -> Inputs:
        return map_inputs(inputs, lambda x: _as(x, self.dtype))

    def sets(self, graph: ChannelGraph, names: Sequence[str]) -> list[dict[str, set[int]]]:
        """What to cut of each group, SETS times."""
        drawn = {name: self._sets(graph.groups[name].width) for name in names}
        return [{name: drawn[name][index] for name in names} for index in range(SETS)]

    def _sets(self, width: int) -> list[set[int]]:
        """One channel, all others; a half, the other; some, the others. Of up to 3 channels, every set.

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
        """Why cuts of these groups at once are wrong; None where they are right."""
        for index, gone in enumerate(self.sets(graph, names)):
            if reason := self.difference(graph.uncut(), gone, self.batches[index % 2]):
                return reason
        return None

    def parted(self, graph: ChannelGraph) -> str | None:
        """Why cuts of some groups without others are wrong: of any two, each is cut once without the other.

        Groups that must lose equally many channels (the halves of a chunk) may pass together.
        """
        for names in parts(list(graph.groups)):
            gone = self.sets(graph, names)[-1]
            if reason := self.difference(graph.uncut(), gone, self.batches[1]):
                return reason
        return None

    @torch.no_grad()
    def difference(self, graph: ChannelGraph, gone: Gone, batch: Inputs) -> str | None:
        """How the cut model differs from the masked one, and where that begins; None where they agree."""
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
        if not _agree(found, expected, TOLERANCE[self.dtype]):
            return _blame(self.model, compact, graph, batch, TOLERANCE[self.dtype])
        return None

    @torch.no_grad()
    def unseen(self, graph: ChannelGraph) -> dict[str, str]:
        """Groups whose cut changes no output: there is nothing to prove them by."""
        plain = [output_tensors(call(self.model, batch)) for batch in self.batches]
        refused = {}
        for name in graph.groups:
            part = graph.uncut()
            part.mark_gone({name: set(range(1, graph.groups[name].width))})
            with masked(self.model, part):
                changed = any(
                    not _agree(output_tensors(call(self.model, batch)), before, TOLERANCE[self.dtype])
                    for batch, before in zip(self.batches, plain, strict=True)
                )
            if not changed:
                refused[name] = "cutting it changes no output, so nothing can be proved"
        return refused


def parts(names: Sequence[str]) -> list[list[str]]:
    """Few parts of which, for any two names, one holds the first only and one the second only.

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


@torch.no_grad()
def prove_cut(whole: nn.Module, compact: nn.Module, graph: ChannelGraph, inputs: Inputs) -> None:
    """Prove a finished cut with its own weights: put back into the whole network, they give the same output.

    Args:
        whole: the uncut network; any weights.
        compact: the network that was cut.
        graph: of `compact`, as it is now.
        inputs: real inputs.

    Raises:
        TrainingError: where the outputs differ; the message names the layer where that begins.
    """
    generator = torch.Generator().manual_seed(0)
    full = lively(whole, generator).double()
    small = copy.deepcopy(compact).eval().double()
    _put_back(full, small, graph)
    real = map_inputs(on_device(inputs, compact), lambda x: _as(x[:4], torch.float64))
    full.to(next(small.parameters()).device)
    try:
        with masked(full, graph):
            expected = output_tensors(call(full, real))
        found, dtype = output_tensors(call(small, real)), torch.float64
    except RUN_ERRORS:  # a model that does not run in float64
        full, small = full.float(), small.float()
        real = map_inputs(real, lambda x: _as(x, torch.float32))
        with masked(full, graph):
            expected = output_tensors(call(full, real))
        found, dtype = output_tensors(call(small, real)), torch.float32
    if not _agree(found, expected, TOLERANCE[dtype]):
        reason = _blame(full, small, graph, real, TOLERANCE[dtype])
        raise TrainingError(f"the cut network does not compute what the masked one does: {reason}")


def _put_back(full: nn.Module, compact: nn.Module, graph: ChannelGraph) -> None:
    """The compact weights at their places in the full network: a network of places, cut alike, says where."""
    places = copy.deepcopy(full)
    for value in (*places.parameters(), *places.buffers()):
        if value.is_floating_point():
            value.data = torch.arange(value.numel(), dtype=value.dtype).view(value.shape)
    fresh = graph.uncut()
    for name, kept in graph.kept.items():
        fresh.remove(places, name, sorted(set(range(graph.groups[name].width)) - set(kept)))
    here, there, to = compact.state_dict(), places.state_dict(), full.state_dict()
    for name, value in here.items():
        if value.is_floating_point():
            to[name].view(-1)[there[name].flatten().long()] = value.flatten().to(to[name])
        else:
            to[name].copy_(value)


@contextmanager
def masked(model: nn.Module, graph: ChannelGraph) -> Iterator[None]:
    """`model`, uncut, as the masked reference of what `graph` has cut."""
    read = {site.axis for group in graph for site in group.reads}
    hooks = []
    for axis in graph.axes():
        left, module = graph.left(axis), model.get_submodule(axis[0])
        if bool(left.all()):
            continue
        if axis in read:
            hooks.append(module.register_forward_pre_hook(_blank(module, left)))
        elif isinstance(module, (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)):
            hooks.append(module.register_forward_hook(_over_kept(left)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blank(module: nn.Module, left: Tensor) -> Callable[..., Any]:
    dim = -1 if isinstance(module, nn.Linear) else 1

    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        x = inputs[0]
        gone = (~left).nonzero().flatten().to(x.device)
        return (x.index_fill(dim, gone, 0), *inputs[1:])

    return hook


def _over_kept(left: Tensor) -> Callable[..., Tensor]:
    """A normalisation of the channels kept, over the channels kept; the others are not read by anyone."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        x = inputs[0]
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


@torch.no_grad()
def lively(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy in evaluation mode with random weights and statistics, at which activations keep their size."""
    copied = copy.deepcopy(model).eval()

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


def _noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    if not x.is_floating_point():
        return x
    return torch.randn(x.shape, generator=generator).to(x)


def _as(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() else x


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> bool:
    """Whether every output has the shape and, to the tolerance, the values expected; NaN never agrees."""
    if len(found) != len(expected) or any(a.shape != b.shape for a, b in zip(found, expected, strict=True)):
        return False
    return all(_close(a, b, tolerance) for a, b in zip(found, expected, strict=True))


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool(((a - b).abs() <= tolerance * b.abs().max().clamp(min=1e-30)).all())


def _blame(whole: nn.Module, compact: nn.Module, graph: ChannelGraph, batch: Inputs, tolerance: float) -> str:
    """The first layer at which the compact network leaves the reference, and what moves channels before."""
    with masked(whole, graph), StepWatch(whole) as of_whole:
        call(whole, batch)
    with StepWatch(compact) as of_compact:
        call(compact, batch)
    expected = [step for step in of_whole.steps if step.output is not None]
    movers: list[str] = []
    index = 0
    for step in of_compact.steps:
        if step.output is None:
            movers += [step.operator] if any(word in step.operator for word in _MOVERS) else []
            continue
        if index >= len(expected) or not _same_step(step, expected[index], compact, graph, tolerance):
            before = f", after {', '.join(dict.fromkeys(movers))}" if movers else ""
            return f"{step.module} reads other channels than those that were cut{before}"
        index, movers = index + 1, []
    return "the outputs differ" + (f", after {', '.join(dict.fromkeys(movers))}" if movers else "")


def _same_step(
    found: Step, expected: Step, compact: nn.Module, graph: ChannelGraph, tolerance: float
) -> bool:
    """Whether a layer gives the same; of one that was cut, the channels kept. Other shapes tell nothing."""
    assert found.output is not None
    assert expected.output is not None
    value, axis = expected.output, (found.module, "out")
    if axis in graph.axes():
        module = compact.get_submodule(found.module)
        dim = -1 if isinstance(module, nn.Linear) else channel_dim(module, found.output)
        value = value.index_select(dim, graph.left(axis).nonzero().flatten().to(value.device))
    if value.shape != found.output.shape or not value.is_floating_point():
        return True
    return _close(found.output, value, tolerance)
