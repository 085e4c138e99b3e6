"""Proof by numbers: a cut network computes what the whole one does when nobody reads the channels cut.

The reference is the uncut network in which every layer that mixes channels reads zero where they were.
Where a normalisation takes its statistics over the very channels that are cut (layer norm, group norm),
removing is by definition not zeroing: there the reference normalises over the channels kept.

Groups are proved on a copy with random weights (`secateur.surgery.trial`), a finished cut with its own.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from secateur.errors import InputError, TrainingError
from secateur.network.inputs import Inputs, call, map_inputs, on_device, output_tensors
from secateur.surgery.agreement import TOLERANCE, agree, first_difference
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.mending import mended
from secateur.surgery.probe import RUN_ERRORS
from secateur.surgery.reference import masked
from secateur.surgery.tracing import trace
from secateur.surgery.trial import Trial, randomized, to_dtype


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


def proved(model: nn.Module, graph: ChannelGraph, inputs: Inputs, *, seed: int = 0) -> ChannelGraph:
    """Freeze every group that fails its proof, or mend it where a balanced cut is right."""
    trial = Trial(model, inputs, seed)
    names = list(graph.groups)
    if trial.failure(graph, names) is None and trial.failure_apart(graph) is None:
        return graph.without(trial.unseen(graph))
    proven: list[str] = []
    refused: dict[str, str] = {}
    for name in names:  # one after the other, each with those that passed before
        if name not in graph.groups:  # merged into another
            continue
        reason = trial.failure(graph, [name]) or trial.failure(graph, [*proven, name])
        if reason is None:
            proven.append(name)
        elif better := mended(trial, graph, name, proven, reason):
            graph = better
            proven = [other for other in proven if other in graph.groups]
            refused = {other: why for other, why in refused.items() if other in graph.groups}
            proven.append(name)
        else:
            refused[name] = reason
    graph = graph.without(refused)
    return graph.without(trial.unseen(graph))


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
    full = randomized(whole, generator).double()
    small = copy.deepcopy(compact).eval().double()
    _put_back(full, small, graph)
    real = map_inputs(on_device(inputs, compact), lambda x: to_dtype(x[:4], torch.float64))
    full.to(next(small.parameters()).device)
    try:
        with masked(full, graph):
            expected = output_tensors(call(full, real))
        found, dtype = output_tensors(call(small, real)), torch.float64
    except RUN_ERRORS:  # a model that does not run in float64
        full, small = full.float(), small.float()
        real = map_inputs(real, lambda x: to_dtype(x, torch.float32))
        with masked(full, graph):
            expected = output_tensors(call(full, real))
        found, dtype = output_tensors(call(small, real)), torch.float32
    if not agree(found, expected, TOLERANCE[dtype]):
        reason = first_difference(full, small, graph, real, TOLERANCE[dtype])
        raise TrainingError(f"the cut network does not compute what the masked one does: {reason}")


def _put_back(full: nn.Module, compact: nn.Module, graph: ChannelGraph) -> None:
    """Copy the compact weights to their places in the full one: a network of places, cut alike, tells."""
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
