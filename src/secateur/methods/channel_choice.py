"""Which channels go next: of all groups the granule with the lowest mean score, or a whole block."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError, TrainingError
from secateur.methods.channel_limits import ChannelLimits
from secateur.methods.goal import cost_at
from secateur.surgery.anatomy import Anatomy, Removals, anatomy_of
from secateur.surgery.depth import Block, blocks_of
from secateur.surgery.graph import left_of
from secateur.surgery.optimizer_state import Optimizers


def removal_score(score_K: Tensor, macs: int, beta: float) -> Tensor:
    """score_k - beta * MACs_k; the channel with the lowest goes. (K,) -> (K,)."""
    return score_K - beta * macs


class ChannelChoice(ChannelLimits):
    """Removes what has the lowest score, and notes what went.

    Attributes:
        depth: whether residual blocks go, too.
        before_removal: is given the network before channels go; what it says stands with the first of them.
    """

    def __init__(self, *args: Any, depth: bool):
        super().__init__(*args)
        self.depth = depth
        self.before_removal: Callable[[nn.Module], dict[str, float]] | None = None
        self._alive: dict[str, list[int]] = {}  # present index -> index in the original network
        # Group -> its scores, and the granule that is lowest by them: they hold until the group is cut.
        self._granules: dict[str, tuple[Tensor, tuple[float, list[int]] | None]] = {}
        self._blocks: list[Block] = []

    # What a criterion overrides

    def ranked(self, model: nn.Module) -> Iterable[str]:
        """The groups that `raw_scores` ranks."""
        return self.anatomy.graph.groups

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        """What each channel is worth, group -> (K,): the lowest go. Groups left out are never cut."""
        raise NotImplementedError

    def can_go(self) -> list[str]:
        """The groups that may lose channels."""
        return [name for name in self.anatomy.graph.groups if self._next(name)]

    @property
    def examples(self) -> int:
        """Examples seen in the present window, over all processes."""
        raise NotImplementedError

    # What follows from it

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """The removal score of every channel over the window so far: group name -> (K,)."""
        raw = self.raw_scores(model)
        if self.config.beta == 0:
            return {name: removal_score(values, 0, 0.0) for name, values in raw.items()}
        now = self.anatomy.costs.now["macs"]
        return {
            name: removal_score(values, now - self.anatomy.costs.without(name)["macs"], self.config.beta)
            for name, values in raw.items()
        }

    def _remove(self, model: nn.Module, optimizer: Optimizers, at_once: int) -> None:
        """Remove as many granules as are due, by the scores of this window."""
        scores = self.scores(model)
        for name, values in scores.items():
            if not bool(values.isfinite().all()):
                raise TrainingError(f"{self.name}: scores of {name} are not finite: the training diverged")
        found = self.before_removal(model) if self.before_removal is not None else {}
        first = len(self.removed)
        removals = Removals(self.anatomy, model, optimizer)
        self._granules.clear()
        done = 0
        try:
            while not self._is_met(model) and (at_once == 0 or done < at_once):
                open_to_cuts = self._open_to_cuts(model, scores)
                examples = 0 if done else self.examples  # the window's examples count once
                done += 1
                if block := self._block_due(open_to_cuts):
                    removals.make()
                    self._remove_block(model, block, optimizer, examples)
                    scores = {name: values for name, values in scores.items() if name not in block.groups}
                    continue
                name, channels = self._lowest(open_to_cuts)
                self._note(name, channels, examples)
                removals.add(name, channels)
                if "latency" in self.goal.limits:  # which is measured on the network itself
                    removals.make()
                keep = torch.ones(len(scores[name]), dtype=torch.bool)
                keep[channels] = False
                scores[name] = scores[name][keep.to(scores[name].device)]
            if found:
                self.removed[first].update(found)
        finally:
            removals.make()

    def _note(self, name: str, channels: list[int], examples: int) -> None:
        now = {key: self.anatomy.costs.now[key] for key in ("params", "macs", "nonzeros")}
        if "bytes" in self.goal.limits:
            now["bytes"] = cost_at(self.anatomy, "bytes")
        for index, channel in enumerate(channels):
            seen = 0 if index else examples
            entry = {"group": name, "channel": self._alive[name][channel], **now, "examples": seen}
            self.removed.append(entry)
        self._alive[name] = left_of(self._alive[name], channels)

    def _open_to_cuts(self, model: nn.Module, scores: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of the scores those of groups that may be cut now: once the budget holds, those with shares due."""
        due = {} if self.removals is not None else self._shares_due()
        if not due or not self._within_budget(model):
            return scores
        return {name: scores[name] for name in due}

    def _without_blocks(self, model: nn.Module, ranked: set[str]) -> tuple[nn.Module, Anatomy]:
        """Find the blocks that may go, if they are asked for: the network without them, and its anatomy."""
        if not self.depth:
            return model, self.anatomy
        whole, graph = self.anatomy.whole, self.anatomy.graph.uncut()
        if whole is None:
            raise InputError(
                f"{self.name}: depth takes blocks out of networks that are no built-in ones, got "
                f"{type(model).__name__}: build it with fewer blocks"
            )
        floors = self.bounds.floors
        self._blocks = [
            block
            for block in blocks_of(whole, graph, self.anatomy.inputs)
            if ranked.issuperset(block.groups) and not any(name in floors for name in block.groups)
        ]
        if not self._blocks:
            raise InputError(
                f"{self.name}: depth takes out residual blocks, which hand on what they take and have "
                f"channels of their own, and {type(model).__name__} has none: leave depth out"
            )
        least = copy.deepcopy(model)
        anatomy_of(least).skip(least, self._blocks)
        return least, anatomy_of(least)

    def _block_due(self, scores: dict[str, Tensor]) -> Block | None:
        """The block to remove next; None where channels are."""
        if not self._blocks:
            return None
        best = self._best(scores)
        lowest, found = math.inf if best is None else best[0], None
        for block in self._blocks:
            if all(name in scores and not self._next(name) for name in block.groups):
                mean = float(torch.cat([scores[name].flatten() for name in block.groups]).mean())
                if mean < lowest:
                    lowest, found = mean, block
        return found

    def _remove_block(self, model: nn.Module, block: Block, optimizer: Optimizers, examples: int) -> None:
        for index, name in enumerate(block.groups):
            width = self.anatomy.graph.width(name)
            self._note(name, list(range(width)), 0 if index else examples)
        self.anatomy.skip(model, [block], optimizer)
        self._blocks.remove(block)

    def _lowest(self, scores: dict[str, Tensor]) -> tuple[str, list[int]]:
        """The channels to remove: of all groups the granule with the lowest mean score."""
        best = self._best(scores)
        if best is None:
            raise InputError(
                f"{self.name}: every group is as narrow as it can be at "
                f"{self.anatomy.costs.now['params']:,} parameters, short of the goal: ask for a larger "
                f"budget, or fewer removals{f' ({self.bounds.text})' if self.bounds else ''}"
            )
        return best[1], best[2]

    def _best(self, scores: dict[str, Tensor]) -> tuple[float, str, list[int]] | None:
        """The granule with the lowest mean score, of all groups; None where none can go."""
        best: tuple[float, str, list[int]] | None = None
        for name, values in scores.items():
            known = self._granules.get(name)
            if known is None or known[0] is not values:
                known = self._granules[name] = (values, self._granule_of(name, values))
            found = known[1]
            if found is not None and (best is None or found[0] < best[0]):
                best = (found[0], name, found[1])
        return best

    def _granule_of(self, name: str, values: Tensor) -> tuple[float, list[int]] | None:
        """Find the mean score and the channels of a group's lowest granule; None where none can go."""
        due = self._next(name)
        if not due:
            return None
        lowest = values.argmin()[None] if due == 1 else values.topk(due, largest=False).indices
        return float(values[lowest].mean()), sorted(lowest.tolist())
