"""A network, opened: its channel groups with their proof, and what it costs at any widths of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from secateur.errors import InputError
from secateur.models import Family
from secateur.network.counting import ANATOMY_ATTRIBUTE
from secateur.network.inputs import Inputs, map_inputs, on_device
from secateur.network.weights import weight_layers
from secateur.surgery.costs import Costs
from secateur.surgery.families import family_graph
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.proof import prove_cut, traced


class Anatomy:
    """What surgery knows of one network; it follows every cut that is made through it.

    Attributes:
        graph: the channel groups, and what is frozen and why.
        costs: params, MACs and weights, now and at other widths.
        inputs: the examples that it was opened with.
        whole: the uncut network as it was, for the proof at the end; None for the built-in families, whose
            groups are declared and tested rather than found.
        origin: how the network is made again (`secateur.architecture.origin.Origin`), where that is known.
    """

    def __init__(
        self, graph: ChannelGraph, costs: Costs, inputs: Inputs, whole: nn.Module | None, origin: Any = None
    ):
        self.graph, self.costs, self.inputs, self.whole = graph, costs, inputs, whole
        self.origin = origin

    def __deepcopy__(self, memo: dict[int, Any]) -> Anatomy:
        """Of a copy of the network: what never changes is shared."""
        return self.with_graph(copy.deepcopy(self.graph, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Not pickled along: `torch.save` of a pruned module leaves a plain one, without its factory."""
        return (type(None), ())

    def with_graph(self, graph: ChannelGraph) -> Anatomy:
        """Of a copy of the network that is cut as `graph` says."""
        return Anatomy(graph, self.costs.copy(graph), self.inputs, self.whole, self.origin)

    def uncut(self) -> Anatomy:
        """Of the whole network."""
        return self.with_graph(self.graph.uncut())

    def remove(
        self, model: nn.Module, name: str, channels: Sequence[int], optimizer: Optimizer | None = None
    ) -> None:
        """Remove present channels of a group from network, optimizer and books (`ChannelGraph.remove`)."""
        self.graph.remove(model, name, channels, optimizer)
        self.costs.remove(name, len(set(channels)))

    def narrow(self, model: nn.Module, widths: dict[str, int]) -> None:
        """Cut groups to widths, the last channels first (`ChannelGraph.narrow`)."""
        self.graph.narrow(model, widths)
        self.costs = self.costs.copy(self.graph)

    def prove(self, model: nn.Module) -> None:
        """Prove what has been cut so far on real inputs, with the network's own weights (`prove_cut`)."""
        if self.whole is not None:
            prove_cut(self.whole, model, self.graph, self.inputs)


def inspect(model: nn.Module, inputs: Inputs, *, seed: int = 0) -> Anatomy:
    """Find and prove the channel groups of any model. The model is not changed; it remembers its anatomy.

    Args:
        model: any module that runs.
        inputs: a few real examples, as the model takes them: a tensor, a tuple, or a dictionary.
        seed: of the channel sets, weights and random inputs of the proof.

    Raises:
        InputError: where the model does not run on the inputs, or nothing in it can be pruned.

    Example:
        >>> sc.inspect(model, images).graph.groups  # doctest: +SKIP
    """
    if isinstance(model, Family):
        return anatomy_of(model)
    _check_trainable(model)
    forget(model)
    return opened(model, traced(model, inputs, seed=seed), inputs)


def opened(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> Anatomy:
    """The anatomy of an uncut model whose graph is known; the model remembers it."""
    few = map_inputs(inputs, lambda tensor: tensor[:4].detach().cpu().clone())
    whole = copy.deepcopy(model).cpu().eval()
    for parameter in whole.parameters():
        parameter.grad = None
    anatomy = Anatomy(graph, Costs(model, graph, few), few, whole)
    remember(model, anatomy)
    return anatomy


def remember(model: nn.Module, anatomy: Anatomy) -> None:
    """Have the network carry its anatomy; copies of it carry copies."""
    setattr(model, ANATOMY_ATTRIBUTE, anatomy)


def forget(model: nn.Module) -> None:
    """The plain network again."""
    model.__dict__.pop(ANATOMY_ATTRIBUTE, None)


def known_anatomy(model: nn.Module) -> Anatomy | None:
    """The anatomy that a network carries, if it does."""
    found = getattr(model, ANATOMY_ATTRIBUTE, None)
    assert found is None or isinstance(found, Anatomy)
    return found


def anatomy_of(model: nn.Module, *, streams: bool = False) -> Anatomy:
    """The anatomy of a network as it is now: the one that it carries, or what its built-in family declares.

    Args:
        streams: of a built-in family, its residual streams too; those of other models are always among the
            groups.

    Raises:
        InputError: for any other model that has not been inspected.
    """
    if found := known_anatomy(model):
        return found
    if isinstance(model, Family):
        graph = family_graph(model, streams=streams)
        example = on_device(torch.zeros(1, *model.input_shape, dtype=next(model.parameters()).dtype), model)
        return Anatomy(graph, Costs(model, graph, example, referee=False), example, None)
    raise InputError(
        f"the channels of a {type(model).__name__} are not known yet: call sc.inspect(model, inputs) first, "
        "with a batch of inputs as the model takes them"
    )


def _check_trainable(model: nn.Module) -> None:
    """InputError for what is no module with layers that could be cut."""
    if not isinstance(model, nn.Module):
        raise InputError(f"a model is a torch.nn.Module, got {type(model).__name__}")
    if not weight_layers(model):
        raise InputError(
            f"nothing in {type(model).__name__} can be pruned: it has no convolution and no linear layer"
        )
