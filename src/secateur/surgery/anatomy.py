"""A network, opened: its channel groups with their proof, and what it costs at any widths of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from secateur.errors import InputError
from secateur.models import Family
from secateur.network.copies import copied
from secateur.network.counting import remember_costs
from secateur.network.example_axes import examples_of
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, check_runs, map_inputs, read_as, take_first
from secateur.network.modes import in_evaluation
from secateur.network.plain import check_plain
from secateur.network.tensor_files import check_state
from secateur.records.shown import Shown
from secateur.surgery.copies import check_copies
from secateur.surgery.copies_alike import copies_of
from secateur.surgery.costs import Costs
from secateur.surgery.depth import Block, skip, without_blocks
from secateur.surgery.families import family_graph
from secateur.surgery.finished import prove_cut
from secateur.surgery.graph import ChannelGraph, check_removal, left_of
from secateur.surgery.optimizer_state import Optimizers
from secateur.surgery.proof import trace_and_prove

_ATTRIBUTE = "_secateur_anatomy"


class Anatomy:
    """What surgery knows of one network; it follows every cut that is made through it.

    Attributes:
        graph: the channel groups, and what is frozen and why.
        costs: params, MACs and weights, now and at other widths; of a network that was read from a file they
            are counted when somebody first asks.
        inputs: the examples that it was opened with.
        whole: the uncut network as it was, for the proof at the end; None for the built-in families, whose
            groups are declared and tested rather than found.
        skipped: blocks that are gone from the whole network, with the length of what they gave
            (`secateur.surgery.depth`).
    """

    def __init__(
        self,
        graph: ChannelGraph,
        costs: Costs | Callable[[], Costs],
        inputs: Inputs,
        whole: nn.Module | None,
        skipped: Mapping[str, int] | None = None,
    ):
        self.graph, self.inputs, self.whole = graph, inputs, whole
        self.skipped = dict(skipped or {})
        self._costs = costs

    @property
    def costs(self) -> Costs:
        """Params, MACs and weights of the network as it is, which follow its cuts."""
        if not isinstance(self._costs, Costs):
            self._costs = self._costs().copy(self.graph)
        return self._costs

    def __deepcopy__(self, memo: dict[int, Any]) -> Anatomy:
        """Copy it for a copy of the network: what never changes is shared."""
        return self.with_graph(copy.deepcopy(self.graph, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as None: `torch.save` of a pruned module leaves a plain one."""
        return (type(None), ())

    def with_graph(self, graph: ChannelGraph) -> Anatomy:
        """Make the anatomy of a copy of the network that is cut as `graph` says."""
        costs = self._costs.copy(graph) if isinstance(self._costs, Costs) else self._costs
        return Anatomy(graph, costs, self.inputs, self.whole, self.skipped)

    def at_inputs(self, model: nn.Module, inputs: Inputs) -> Anatomy:
        """Make the anatomy of the same network for inputs of another shape: its costs, and its proof.

        Args:
            model: the network as it is now, which carries the new anatomy from then on.

        Raises:
            InputError: where it does not run on them.
        """
        check_runs(model, inputs)
        few = few_of(self.as_examples(inputs))
        costs = Costs(model, self.graph, few, whole=self.whole)
        found = Anatomy(self.graph, costs, few, self.whole, self.skipped)
        remember(model, found)
        return found

    def as_examples(self, inputs: Inputs) -> Inputs:
        """Take another batch's examples to lie where those of the inputs lie that it was opened with."""
        return self.inputs.like(inputs) if isinstance(self.inputs, Examples) else inputs

    def examples_called(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Examples:
        """Find the examples in what the network was called with, where they lie in the inputs known."""
        plain = Examples.by_shape((*args, dict(kwargs)))
        if not isinstance(self.inputs, Examples) or self.inputs.first_everywhere:
            return plain
        known = self.inputs.inputs
        given = (
            kwargs if isinstance(known, Mapping) else args if isinstance(known, (tuple, list)) else args[0]
        )
        try:
            return self.inputs.like(given)
        except InputError:  # called in another way
            return plain

    def uncut(self) -> Anatomy:
        """Make the anatomy of the whole network."""
        return self.with_graph(self.graph.uncut())

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        return self._shown().html()

    def _shown(self) -> Shown:
        """What can be cut, and what cannot."""
        graph, now = self.graph, self.now
        rows = [
            (name, f"{graph.width(name):,}", ", ".join(graph.groups[name].modules)) for name in graph.groups
        ]
        title = (
            f"Anatomy: {len(rows)} groups of channels that can be cut, {len(graph.frozen)} frozen; "
            f"{now['params']:,} params, {now['macs']:,} MACs"
        )
        frozen = [f"frozen: {each.name} ({each.width}): {each.reason}" for each in graph.frozen]
        return Shown(title, ("group", "channels", "layers"), rows, frozen)

    @property
    def now(self) -> dict[str, int]:
        """What the network costs at present (`secateur.network.counting.KnownCosts`)."""
        return self.costs.now

    def remove(
        self, model: nn.Module, name: str, channels: Sequence[int], optimizer: Optimizers = None
    ) -> None:
        """Remove present channels of a group from network, optimizer and books (`ChannelGraph.remove`)."""
        self.graph.remove(model, name, channels, optimizer)
        if isinstance(self._costs, Costs):
            self._costs.remove(name, len(set(channels)))

    def narrow(self, model: nn.Module, widths: dict[str, int]) -> None:
        """Cut groups to widths, the last channels first (`ChannelGraph.narrow`)."""
        self.graph.narrow(model, widths)
        if isinstance(self._costs, Costs):
            self._costs = self._costs.copy(self.graph)

    def skip(self, model: nn.Module, blocks: Sequence[Block], optimizer: Optimizers = None) -> None:
        """Take blocks out of network, optimizer, books, and the whole network that it is proved by."""
        assert self.whole is not None
        gone = {block.name: block.length for block in blocks}
        copies = list(copies_of(model))
        skip(model, gone, optimizer)
        for alike in copies:
            skip(alike, gone)
        self.whole = copied(self.whole)
        skip(self.whole, gone)
        self.graph = without_blocks(self.graph, blocks)
        self.skipped |= gone
        self._costs = Costs(model, self.graph, self.inputs, whole=self.whole)

    def prove(self, model: nn.Module) -> None:
        """Prove what has been cut so far on real inputs, with the network's own weights (`prove_cut`)."""
        if self.whole is not None:
            prove_cut(self.whole, model, self.graph, self.inputs)


class Removals:
    """Removals that the books follow one by one, and that are cut all at once: that is far faster.

    Between `add` and `make` widths and costs of the anatomy are those that the network will have.
    """

    def __init__(self, anatomy: Anatomy, model: nn.Module, optimizer: Optimizers = None):
        self.anatomy, self.model, self.optimizer = anatomy, model, optimizer
        self._before: dict[str, list[int]] = {}

    def add(self, name: str, channels: Sequence[int]) -> None:
        """Remove channels of a group, by their numbers once all that was added before is gone."""
        graph = self.anatomy.graph
        gone = check_removal(name, channels, graph.width(name))
        self._before.setdefault(name, graph.kept[name])
        graph.kept[name] = left_of(graph.kept[name], gone)
        self.anatomy.costs.remove(name, len(gone))

    def make(self) -> None:
        """Cut the network, and what follows it."""
        graph, gone = self.anatomy.graph, dict[str, list[int]]()
        for name, before in self._before.items():
            left = set(graph.kept[name])
            gone[name] = [index for index, old in enumerate(before) if old not in left]
            graph.kept[name] = before
        self._before.clear()
        if gone:
            graph.remove_several(self.model, gone, self.optimizer)


def open_model(model: nn.Module, inputs: Inputs, *, seed: int = 0, batch_dim: int | None = None) -> Anatomy:
    """Trace and prove the channel groups of any model. The model is not changed; it carries its anatomy.

    Args:
        model: any module that runs.
        inputs: a few real examples, as the model takes them: a tensor, a tuple, or a dictionary.
        seed: of the channel sets, weights and random inputs of the proof.
        batch_dim: the dimension along which examples lie, where running the model does not tell
            (`secateur.network.example_axes`).

    Raises:
        InputError: where the model does not run on the inputs, or nothing in it can be pruned.

    Example:
        >>> open_model(model, images).graph.groups  # doctest: +SKIP
    """
    if isinstance(model, Family):
        return anatomy_of(model)
    check_plain(model)
    check_state(model)
    forget(model)
    given = examples_of(model, inputs, batch_dim)
    check_copies(model, given)
    try:
        graph = trace_and_prove(model, given, seed=seed)
    except InputError as error:
        if given.lists:  # a detector: what it gives after suppression varies with every number
            raise InputError(
                f"{error}: wrap a network that takes lists in one that takes a batch, and gives what its "
                "heads give (docs/your-own.md, Detectors)"
            ) from None
        raise
    return open_with_graph(model, graph, given)


def open_unrun(
    whole: nn.Module, graph: ChannelGraph, inputs: Inputs, skipped: Mapping[str, int] | None = None
) -> Anatomy:
    """Make the anatomy of a whole network whose graph is known, without running it: its costs come later.

    Args:
        whole: is kept as it is, and nothing may change it from then on.
        inputs: examples; where the network does not run on them, whoever asks for its costs is told.
    """
    counted: list[Costs] = []

    def costs() -> Costs:
        if not counted:  # shared by all copies of the anatomy
            check_runs(whole, inputs, "the inputs described")
            counted.append(Costs(whole, graph.uncut(), inputs))
        return counted[0]

    return Anatomy(graph, costs, inputs, whole, skipped)


def open_with_graph(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> Anatomy:
    """Make the anatomy of an uncut model whose graph is known; the model carries it."""
    few = few_of(inputs)
    whole = in_evaluation(copied(model).cpu())
    for parameter in whole.parameters():
        parameter.grad = None
    anatomy = Anatomy(graph, Costs(model, graph, few, whole=whole), few, whole)
    remember(model, anatomy)
    return anatomy


def few_of(inputs: Inputs) -> Inputs:
    """The first examples, on the CPU: enough to count and to prove by."""
    return map_inputs(take_first(inputs, 4), lambda tensor: tensor.detach().cpu().clone())


def remember(model: nn.Module, anatomy: Anatomy) -> None:
    """Have the network carry its anatomy, and count by it; copies of it carry copies."""
    setattr(model, _ATTRIBUTE, anatomy)
    remember_costs(model, anatomy)


def forget(model: nn.Module) -> None:
    """Make it a plain network again, which carries nothing."""
    model.__dict__.pop(_ATTRIBUTE, None)
    remember_costs(model, None)


def read_for(model: nn.Module, inputs: Inputs) -> Inputs:
    """Take the examples of a batch to lie where a network that was inspected has them."""
    known = known_anatomy(model)
    return inputs if known is None else read_as(inputs, known.inputs)


def known_anatomy(model: nn.Module) -> Anatomy | None:
    """Look up the anatomy that a network carries; None where it carries none."""
    found = getattr(model, _ATTRIBUTE, None)
    assert found is None or isinstance(found, Anatomy)
    return found


def anatomy_of(model: nn.Module, *, streams: bool = False) -> Anatomy:
    """Look up the anatomy of a network as it is now: what it carries, or what its built-in family declares.

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
        like = next(model.parameters())  # a network on the meta device is counted without memory
        example = torch.zeros(1, *model.input_shape, dtype=like.dtype, device=like.device)
        return Anatomy(graph, Costs(model, graph, example, referee=False), example, None)
    raise InputError(
        f"the channels of a {type(model).__name__} are not known yet: call sc.inspect(model, inputs) first, "
        "with a batch of inputs as the model takes them"
    )


def cost_at(anatomy: Anatomy, resource: str, widths: Mapping[str, int] | None = None) -> int:
    """Count a resource ("bytes" among them) now, or with groups at other widths."""
    if resource == "bytes":
        return anatomy.costs.bytes_at(widths or {})
    return (anatomy.costs.at(widths) if widths else anatomy.costs.now)[resource]
