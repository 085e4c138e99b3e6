"""Cuts tried out: on a copy of a model with random weights, against the masked reference.

Every cut is tried in float32 first, at the smallest images that the model takes. What agrees there to the
last digits is right; what does not, or whose wrong cut only the last digits would tell, float64 decides.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from secateur.errors import InputError, kind_and_line
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, input_tensors, map_inputs, on_device, take_first
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import agree, distance
from secateur.surgery.bench import Bench, Gone
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup
from secateur.surgery.lively import randomized, tempered
from secateur.surgery.noise import second_batch
from secateur.surgery.precision import to_dtype
from secateur.surgery.probe_size import differ, shrunk
from secateur.surgery.quiet import quiet_training
from secateur.surgery.seeing import least_seen, seen_of

SETS = 6  # of channels, at which every group is tried
QUICK_SETS = 2  # of them where a trial only looks for the groups to blame
EXAMPLES, EXAMPLES_OF_LARGE = 4, 2
LARGE = 50_000  # numbers in an example of which two are enough
SURE = 1e-5  # of the largest output: what float32 may differ by and be right
MARGIN = 10  # how many times the tolerance the outputs must change by for a cut to be proved by them
_USELESS = 3  # right cuts that float32 doubted, after which it is not asked again


class Trial:
    """Tries cuts on a copy of a model with random weights, against the masked reference.

    Attributes:
        bench: the copy, in float64 where the model runs in it, and the inputs that it is tried on: the first
            real examples, and noise of the same shapes. Small images, where the model takes them.
        draft: the same in float32; None where that tells nothing.
        whole_size: the real examples at their own size, where `bench` has smaller ones.
        after: called after every cut that was tried.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        seed: int = 0,
        *,
        training: bool = False,
        livelier: bool = False,
        at_size: bool = False,
        after: Callable[[], None] = lambda: None,
    ):
        """Copy the model, which is not changed.

        Args:
            seed: of weights, noise and channel sets.
            training: run the copy as in training, without dropout and batch statistics.
            livelier: weights for which the outputs see the most of every layer.
            at_size: never at a smaller size than that of the inputs.

        Raises:
            InputError: where the model runs in no type, or not twice to the same outputs.
        """
        self.name = type(model).__name__
        self.after = after
        self.generator = torch.Generator().manual_seed(seed)
        given = on_device(inputs, model)
        real = first_examples(given)
        self.bench = self._runnable(lambda: self._copy_of(model, training), real, at_size, not training)
        bench, batch = self.bench, self.bench.batches[0]
        with torch.random.fork_rng(devices=[]):
            tempered(bench.model, lambda: bench.run(bench.model, batch), livelier=livelier)
        self._check_repeatable()
        bench.measure_rounding()
        swapped = swapped_examples(batch)
        bench.batches.append(
            second_batch(batch, lambda x: bench.outputs(bench.model, x), self.generator, swapped)
        )
        self.whole_size = real if differ(real, batch) else None
        self.draft = self._drafted()
        self._seen: dict[ChannelGroup, tuple[float, float]] = {}
        self._doubts = 0

    @property
    def model(self) -> nn.Module:
        """The copy, in evaluation mode (or in a quiet training mode) and in `dtype`."""
        return self.bench.model

    @property
    def dtype(self) -> torch.dtype:
        """What the copy computes in."""
        return self.bench.dtype or next(self.model.parameters()).dtype

    @property
    def batches(self) -> list[Inputs]:
        """The inputs it is tried on."""
        return self.bench.batches

    def _copy_of(self, model: nn.Module, training: bool) -> nn.Module:
        copied = randomized(model, self.generator)
        return quiet_training(copied) if training else copied

    def _runnable(self, made: Callable[[], nn.Module], real: Inputs, at_size: bool, chance: bool) -> Bench:
        """Put the model on a bench in the most exact type and at the smallest size in which it runs."""
        reason = ""
        for dtype in (torch.float64, torch.float32, None):
            model = made()
            for inputs in (real,) if at_size else (map_inputs(real, shrunk), real):
                bench = Bench.of(model, dtype, [inputs], chance=chance)
                try:
                    bench.outputs(bench.model, bench.batches[0])
                    return bench
                except RUN_ERRORS as error:
                    reason = kind_and_line(error)
        raise InputError(
            f"{self.name} runs neither in float64 nor in float32, so no cut can be proved: {reason}"
        )

    def _check_repeatable(self) -> None:
        """Raise InputError where two runs differ: then a cut network would differ too, and prove nothing.

        What a model draws in evaluation too (a sample, a mask) is its mean from then on.
        """
        for chance in dict.fromkeys((self.bench.chance, False)):
            self.bench.chance = chance
            one, other = (self.bench.outputs(self.model, self.batches[0]) for _ in range(2))
            if agree(one, other, self.bench.tolerance):
                break
        else:
            raise InputError(
                f"{self.name} gives another output for the same input in evaluation mode, "
                "or NaN, so no cut can be proved: remove what is random in it"
            )

    def _drafted(self) -> Bench | None:
        """Make the same bench in float32, where it is sure to its last digits."""
        if self.bench.dtype is not torch.float64:
            return None
        draft = Bench.of(copy.deepcopy(self.model), torch.float32, self.batches, chance=self.bench.chance)
        try:
            found = draft.outputs(draft.model, draft.batches[0])
        except RUN_ERRORS:
            return None
        expected = self.bench.outputs(self.model, self.batches[0])
        return (
            draft
            if distance([x.to(y) for x, y in zip(found, expected, strict=True)], expected) < SURE
            else None
        )

    def sets(self, graph: ChannelGraph, names: Sequence[str]) -> list[dict[str, set[int]]]:
        """Draw what to cut of each group, SETS times."""
        drawn = {name: self._sets(graph.groups[name].width) for name in names}
        return [{name: drawn[name][index] for name in names} for index in range(SETS)]

    def _sets(self, width: int) -> list[set[int]]:
        """Draw a half, the other; one channel, all others; some, the others. Of up to 3 channels, every set.

        A cut that is wrong with one channel only (the last, if a roll moves it to the front) is among the
        halves, and there are others left for it to be told by.
        """
        if width <= 3:
            every = [{i for i in range(width) if number >> i & 1} for number in range(1, 2**width - 1)]
            return (every * SETS)[:SETS]
        sizes = (width // 2, 1, int(torch.randint(2, width - 1, (), generator=self.generator)))
        sets = [self._some(width, size) for size in sizes]
        return [gone for some in sets for gone in (some, set(range(width)) - some)]

    def _some(self, width: int, count: int) -> set[int]:
        return set(torch.randperm(width, generator=self.generator)[:count].tolist())

    def failure(self, graph: ChannelGraph, names: Sequence[str], *, quick: bool = False) -> str | None:
        """Say why cuts of these groups at once are wrong; None where they are right.

        Args:
            quick: by two sets only, to find out who is to blame; no proof.
        """
        if not names:
            return None
        for index, gone in enumerate(self.sets(graph, names)[: QUICK_SETS if quick else SETS]):
            if reason := self.difference(graph, gone, index % 2):
                return reason
        return None

    def apart(self, graph: ChannelGraph, names: Sequence[str]) -> tuple[list[str], str] | None:
        """Find groups of which cuts are wrong without the others, and why; None where there are none."""
        for part in parts(names):
            gone = self.sets(graph, part)[-1]
            if reason := self.difference(graph, gone, 1):
                return part, reason
        return None

    def difference(self, graph: ChannelGraph, gone: Gone, batch: int) -> str | None:
        """Say how a cut model differs from the masked one on a batch, and where that begins; None: not."""
        self.after()
        if self.draft is None:
            return self.bench.difference(graph, gone, self.batches[batch])
        if self.draft.apart(graph, gone, self.draft.batches[batch]) <= SURE and self._is_plain(graph, gone):
            return None
        reason = self.bench.difference(graph, gone, self.batches[batch])
        if reason is None:
            self._doubts += 1
            self.draft = self.draft if self._doubts < _USELESS else None
        return reason

    def difference_at_size(self, graph: ChannelGraph) -> str | None:
        """Say how cuts of all groups differ at the size of the real inputs, where smaller ones were tried."""
        if self.whole_size is None or not graph.groups:
            return None
        self.after()
        gone = self.sets(graph, list(graph.groups))[0]
        if self.draft and self.draft.apart(graph, gone, self._cast(self.draft)) <= SURE:
            return None
        return self.bench.difference(graph, gone, self._cast(self.bench))

    def _cast(self, bench: Bench) -> Inputs:
        return map_inputs(self.whole_size, lambda x: to_dtype(x, bench.dtype))

    def _is_plain(self, graph: ChannelGraph, names: Mapping[str, object]) -> bool:
        """Whether the outputs see every reader of these groups so well that float32 tells a wrong cut."""
        seen = self.seen(graph)
        return all(seen[name][1] >= MARGIN * SURE for name in names)

    def seen(self, graph: ChannelGraph) -> dict[str, tuple[float, float]]:
        """Tell for each group how much of it the outputs see: in all, and at the reader that shows least."""
        if any(group not in self._seen for group in graph):
            bench = self.bench
            for batch in bench.batches:
                found = seen_of(
                    bench.model,
                    graph,
                    lambda batch=batch: bench.tensors(bench.model, batch),  # type: ignore[misc]
                    torch.Generator().manual_seed(0),
                )
                for group in graph:
                    before = self._seen.get(group, (0.0, 0.0))
                    now = least_seen(group, found)
                    self._seen[group] = (max(before[0], now[0]), max(before[1], now[1]))
        return {group.name: self._seen[group] for group in graph}

    @torch.no_grad()
    def unseen(self, graph: ChannelGraph) -> dict[str, str]:
        """List groups whose cut changes no output, or too little: there is nothing to prove them by."""
        least = MARGIN * self.bench.tolerance
        doubtful = [name for name, (whole, _) in self.seen(graph).items() if whole < least]
        if not doubtful:
            return {}
        plain = [self.bench.outputs(self.model, batch) for batch in self.batches]
        refused = {}
        for name in doubtful:
            part = graph.uncut()
            part.note_removal({name: set(range(1, graph.groups[name].width))})
            change = max(
                self._distance(part, batch, before) for batch, before in zip(self.batches, plain, strict=True)
            )
            if change <= self.bench.tolerance:
                refused[name] = "cutting it changes no output, so nothing can be proved"
            elif change < least:
                refused[name] = (
                    f"cutting it changes the output by {change:.0e} of its size, too little to prove"
                )
        return refused

    def _distance(self, part: ChannelGraph, batch: Inputs, plain: Sequence[Tensor]) -> float:
        """Measure how much the outputs change when what `part` has cut is not read; 0 where that fails."""
        try:
            return distance(self.bench.reference(part, batch), plain)
        except RUN_ERRORS:
            return 0.0

    def hardly_seen(self, graph: ChannelGraph) -> list[str]:
        """List groups one of whose readers the outputs see too little of: livelier weights are to tell."""
        least = MARGIN * self.bench.tolerance
        return [name for name, (_, least_read) in self.seen(graph).items() if least_read < least]


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


def first_examples(inputs: Inputs) -> Inputs:
    """Take the first examples, of large ones fewer: what cuts are tried on."""
    most = max((x.numel() for x in input_tensors(take_first(inputs, 1))), default=0)
    return take_first(inputs, EXAMPLES_OF_LARGE if most > LARGE else EXAMPLES)


def swapped_examples(inputs: Inputs) -> Inputs:
    """Take the same examples from the last to the first."""
    found = Examples.by_shape(inputs)
    turned = found.take(range(found.count - 1, -1, -1))
    return turned if isinstance(inputs, Examples) else turned.inputs
