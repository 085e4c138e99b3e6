"""Proof by numbers: a cut network computes what the whole one does when nobody reads the channels cut.

The reference is the uncut network in which every layer that mixes channels reads zero where they were.
Where a normalisation takes its statistics over the very channels that are cut (layer norm, group norm),
removing is by definition not zeroing: there the reference normalises over the channels kept.

Groups are proved on a copy with random weights (`secateur.surgery.trial`), a finished cut with its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from secateur.errors import InputError
from secateur.network.inputs import Inputs
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.mending import mended
from secateur.surgery.sieve import Sieve
from secateur.surgery.tracing import trace
from secateur.surgery.trial import Trial

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
    training: bool = False,
    after: Callable[[], None] = lambda: None,
) -> ChannelGraph:
    """Freeze every group that fails its proof, or mend it where that is possible.

    Args:
        training: prove the network as it is in training, without dropout and batch statistics.
        after: called after every cut that was tried.
    """
    with torch.random.fork_rng(devices=[]):
        more: dict[str, Any] = {"training": training, "after": after}
        trial = Trial(model, inputs, seed, **more)
        found = Sieve(trial, graph, mended).sifted()
        if trial.difference_at_size(found):  # small images did not tell
            more["at_size"] = True
            trial = Trial(model, inputs, seed, **more)
            found = Sieve(trial, graph, mended).sifted()
        return _seen(model, found, inputs, trial, seed, **more)


def _seen(
    model: nn.Module, graph: ChannelGraph, inputs: Inputs, trial: Trial, seed: int, **more: Any
) -> ChannelGraph:
    """Freeze groups that the outputs see too little of; prove those that livelier weights show by these."""
    unseen = trial.unseen(graph)
    doubtful = {*unseen, *trial.hardly_seen(graph)}
    for again in range(1, LIVELIER + 1):
        if not doubtful:
            break
        try:
            other = Trial(model, inputs, seed + again, livelier=True, **more)
        except InputError:  # these weights are too lively
            continue
        still = other.unseen(graph.without({name: "" for name in graph.groups if name not in doubtful}))
        wrong = {
            name: why
            for name in graph.groups
            if name in doubtful and name not in still and (why := other.failure(graph, [name]))
        }
        graph = graph.without(wrong)
        unseen = {name: why for name, why in unseen.items() if name in still}
        doubtful = set(unseen)
    return graph.without(unseen)
