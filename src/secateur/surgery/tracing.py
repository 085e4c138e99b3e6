"""The channel groups of any model that runs, found by watching what reaches what.

A probe runs the model with every operator that mixes channels by a weight replaced by a source of constants.
Entries of a source are marked by NaN, which survives all that works channel by channel (activations, pooling,
padding, addition, concatenation, shuffles, reshapes) and spoils whatever mixes channels. What a weight reads
as NaN was written by the marked channel. The marks of one run are the bits of the channel numbers, one bit an
example, and their complements: so a few runs tell, for all layers at once, the very index of every channel at
every layer that reads it, whatever the code in between does with it.

Nothing is trusted that is found here: see `secateur.surgery.proof`.
"""

from __future__ import annotations

import torch
from torch import nn

from secateur.network.inputs import Inputs
from secateur.surgery.actions import OtherPath
from secateur.surgery.arrivals import Arrivals
from secateur.surgery.following import codes, decode
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.grouping import group_channels
from secateur.surgery.survey import Survey
from secateur.surgery.unrun import may_be_read

__all__ = ["codes", "decode", "trace"]


def trace(model: nn.Module, inputs: Inputs) -> ChannelGraph:
    """Find the channel groups of `model`, which is left as it is.

    Args:
        inputs: one example or more, as the model takes them: a tensor, a tuple, or a dictionary.

    Returns:
        The graph, unproved; what cannot be cut is in `frozen` with the reason.

    Raises:
        InputError: where the model cannot be run on the inputs.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            return _traced(model, inputs, apart=True)
        except OtherPath:  # what it does depends on how many examples there are
            return _traced(model, inputs, apart=False)


def _traced(model: nn.Module, inputs: Inputs, *, apart: bool) -> ChannelGraph:
    survey = Survey(model, inputs, apart=apart)
    links, arrivals = survey.links(), Arrivals()
    survey.follow(links, arrivals)
    arrivals.tie(links)
    graph = group_channels(model, survey, links)
    return graph.without(may_be_read(graph, survey.mixers, survey.order, survey.not_in_training))
