"""A finished cut, proved with its own weights: put back into the whole network, they give the same output."""

from __future__ import annotations

import copy

import torch
from torch import nn

from secateur.errors import TrainingError
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, map_inputs, on_device
from secateur.network.modes import in_evaluation
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import distance, first_difference
from secateur.surgery.bench import Bench
from secateur.surgery.computed_weights import as_plain
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.lively import randomized
from secateur.surgery.precision import in_dtype, in_types_of, is_number, tensors_of
from secateur.surgery.probe_size import differ, shrunk
from secateur.surgery.quiet import how_it_trains, quiet_training
from secateur.surgery.trial import SURE, first_examples


@torch.no_grad()
def prove_cut(whole: nn.Module, compact: nn.Module, graph: ChannelGraph, inputs: Inputs) -> None:
    """Prove a finished cut with its own weights: put back into the whole network, they give the same output.

    At small images where the model takes them, in float64; then at the size of the inputs.

    Args:
        whole: the uncut network; any weights.
        compact: the network that was cut.
        graph: of `compact`, as it is now.
        inputs: real inputs.

    Raises:
        TrainingError: where the outputs differ; the message names the layer where that begins.
    """
    with torch.random.fork_rng(devices=[]):
        real = first_examples(on_device(inputs, compact))
        small = map_inputs(real, shrunk)
        full = _filled(whole, compact, graph).to(next(compact.parameters()).device)
        trains = how_it_trains(compact, small)
        for training in (False, True) if trains.differs and trains.failure is None else (False,):
            _prove(full, compact, graph, small, real, training=training)


def _prove(
    full: nn.Module, compact: nn.Module, graph: ChannelGraph, small: Inputs, real: Inputs, *, training: bool
) -> None:
    """Prove the cut in the most exact type and at the smallest inputs that the model takes, then at size."""
    exact, rough = torch.float64, torch.float32
    for dtype, batch in ((exact, small), (exact, real), (rough, real), (None, real)):
        pair = _Pair(full, compact, dtype, batch, training=training)
        if dtype is None or pair.runs():
            break
    pair.check(graph)
    if batch is small and differ(small, real):
        at_size = _Pair(full, compact, rough, real, training=training)
        if not at_size.runs() or at_size.distance(graph) > SURE:
            _Pair(full, compact, exact, real, training=training).check(graph)


class _Pair:
    """The whole network and the cut one, side by side in one floating-point type."""

    def __init__(
        self,
        full: nn.Module,
        compact: nn.Module,
        dtype: torch.dtype | None,
        batch: Inputs,
        *,
        training: bool,
    ):
        whole = in_types_of(copy.deepcopy(full), compact) if dtype is None else copy.deepcopy(full)
        mode = quiet_training if training else in_evaluation
        self.whole = Bench.of(mode(whole), dtype, [batch], chance=False)
        self.cut = Bench.of(mode(as_plain(copied(compact))), dtype, [batch], chance=False)
        self.batch = self.whole.batches[0]

    def runs(self) -> bool:
        try:
            self.cut.outputs(self.cut.model, self.batch)
            self.whole.outputs(self.whole.model, self.batch)
        except RUN_ERRORS:
            return False
        return True

    def distance(self, graph: ChannelGraph) -> float:
        found = self.cut.outputs(self.cut.model, self.batch)
        return distance(found, self.whole.reference(graph, self.batch))

    def check(self, graph: ChannelGraph) -> None:
        """Raise TrainingError where the two differ."""
        if self.distance(graph) > self.whole.tolerance:
            reason = first_difference(
                self.whole.model,
                self.cut.model,
                graph,
                lambda model: self.whole.run(model, self.batch),
                self.whole.tolerance,
            )
            raise TrainingError(f"the cut network does not compute what the masked one does: {reason}")


def _filled(whole: nn.Module, compact: nn.Module, graph: ChannelGraph) -> nn.Module:
    """Copy the whole network, with the compact weights at their places and random ones elsewhere.

    A network whose weights are their own places, cut alike, tells them.
    """
    full = as_plain(in_dtype(randomized(whole, torch.Generator().manual_seed(0)), torch.float64))
    places = copy.deepcopy(full)
    for value in tensors_of(places).values():
        if is_number(value):
            value.data = torch.arange(value.numel(), dtype=value.dtype, device=value.device).view(value.shape)
    gone = {name: set(range(graph.groups[name].width)).difference(kept) for name, kept in graph.kept.items()}
    graph.uncut().remove_several(places, {name: channels for name, channels in gone.items() if channels})
    there, to = tensors_of(places), tensors_of(full)
    for name, value in tensors_of(as_plain(copied(compact))).items():
        if is_number(value):
            place = there[name].real if there[name].is_complex() else there[name]
            flat = to[name].data.flatten().clone()
            flat[place.flatten().long()] = value.detach().flatten().to(flat)
            to[name].data.copy_(flat.view_as(to[name]))
        else:
            to[name].data.copy_(value)
    return full
