"""Proof by numbers: a cut network computes what the whole one does when nobody reads the channels cut.

The reference is the uncut network in which every layer that mixes channels reads zero where they were.
Where a normalisation takes its statistics over the very channels that are cut (layer norm, group norm),
removing is by definition not zeroing: there the reference normalises over the channels kept.

Groups are proved on a copy with random weights (`secateur.surgery.trial`), a finished cut with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from secateur.errors import InputError
from secateur.network.inputs import Inputs, on_device
from secateur.progress import told
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.mending import mended
from secateur.surgery.quiet import how_it_trains
from secateur.surgery.sieve import Mend, Sieve
from secateur.surgery.tracing import trace
from secateur.surgery.trial import SETS, Trial, parts

CALM = 1e-5  # of the largest output: the most that rounding may come to where a cut is proved
LIVELIER = 2  # draws of weights that are tried where the outputs do not see a group


def trace_and_prove(model: nn.Module, inputs: Inputs, *, seed: int = 0) -> ChannelGraph:
    """Find the channel groups of any model and prove each; those that fail are frozen, with the reason.

    Args:
        inputs: real inputs, a few examples, as the model takes them.
        seed: of the channel sets, weights and random inputs of the proof.

    Raises:
        InputError: where the model cannot be run, or nothing in it can be pruned.
    """
    graph = proved(model, trace(model, inputs), inputs, seed=seed)
    if not graph.groups:
        named = "; ".join(f"{frozen.name}: {frozen.reason}" for frozen in graph.frozen)
        why = named or "it has no layers to cut"
        raise InputError(f"nothing in {type(model).__name__} can be pruned: {why}")
    return graph


def proved(
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    *,
    seed: int = 0,
    after: Callable[[], None] = lambda: None,
) -> ChannelGraph:
    """Freeze every group that fails its proof, or mend it where that is possible.

    A model that runs otherwise in training (heads, layers that are skipped) is proved in that mode too.

    Args:
        after: called after every cut that was tried.
    """
    counted = _Counted(graph, after)
    with torch.random.fork_rng(devices=[]), counted:
        after = counted.tried
        trial, graph = _sifted(model, graph, inputs, mended, seed=seed, after=after)
        trials = [trial]
        trains = how_it_trains(model, on_device(inputs, model))
        if trains.differs and trains.failure is None:
            trial, found = _sifted(model, graph, inputs, _no_mend, seed=seed, training=True, after=after)
            refused = {each.name: f"in training: {each.reason}" for each in found.frozen}
            graph = graph.without({name: why for name, why in refused.items() if name in graph.groups})
            trials.append(trial)
        return _seen(model, graph, inputs, trials, seed, after)


class _Counted:
    """Counts the cuts that are tried, and tells whoever shows progress; entered while they are."""

    def __init__(self, graph: ChannelGraph, after: Callable[[], None]):
        self.done, self.after, self.reporter = 0, after, told()
        self.total = SETS + len(parts(list(graph.groups))) + 1  # where nothing fails

    def tried(self) -> None:
        self.done += 1
        self.reporter.proving(self.done, max(self.total, self.done + 1))
        self.after()

    def __enter__(self) -> None:
        self.reporter.proving(0, self.total)

    def __exit__(self, *_: object) -> None:
        self.reporter.proving(self.total, self.total)


def _sifted(
    model: nn.Module, graph: ChannelGraph, inputs: Inputs, mend: Mend, **options: Any
) -> tuple[Trial, ChannelGraph]:
    """Prove all groups in one mode, at small images; at the size of the inputs where that tells otherwise."""
    trial = Trial(model, inputs, **options)
    found = Sieve(trial, graph, mend).sifted()
    if trial.difference_at_size(found):
        trial = Trial(model, inputs, at_size=True, **options)
        found = Sieve(trial, graph, mend).sifted()
    return trial, found


def _no_mend(*_: object) -> None:
    """Leave a group as it is: what was proved in evaluation would have to be proved again."""


def _seen(
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    trials: Sequence[Trial],
    seed: int,
    after: Callable[[], None],
) -> ChannelGraph:
    """Freeze groups that the outputs see too little of in every mode; livelier weights may show more."""
    unseen, *others = [trial.unseen(graph) for trial in trials]
    hardly, *hidden = [set(trial.hardly_seen(graph)) for trial in trials]
    unseen = {name: why for name, why in unseen.items() if all(name in other for other in others)}
    doubtful = {*unseen, *hardly.intersection(*hidden)}
    for again in range(1, LIVELIER + 1):
        if not doubtful:
            break
        try:
            other = Trial(model, inputs, seed + again, livelier=True, after=after)
        except InputError:  # these weights are too lively
            continue
        if other.bench.tolerance > CALM:  # so are these: rounding alone changes the outputs by as much
            continue
        still = other.unseen(graph.without({name: "" for name in graph.groups if name not in doubtful}))
        shown = [name for name in graph.groups if name in doubtful and name not in still]
        graph = graph.without({name: why for name in shown if (why := other.failure(graph, [name]))})
        unseen = {name: why for name, why in unseen.items() if name in still}
        doubtful = set(unseen)
    return graph.without(unseen)
