"""Networks that are not ours, made again: by their factory, at any widths of their channel groups."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from secateur.architecture.building import (
    Build,
    built,
    constructing,
    cut_bare_parameters,
    factory_name,
    layout_hash,
    narrow_sizes,
    order_of_creation,
)
from secateur.errors import InputError, first_line
from secateur.network.inputs import Inputs, call, describe_inputs, logits_of, modes_kept, on_device
from secateur.surgery.anatomy import Anatomy, inspect, known_anatomy, opened, remember
from secateur.surgery.costs import program, state_shapes
from secateur.surgery.tracing import trace

OFFERED = ("num_classes", "in_channels", "image_size")
"""The arguments that a factory is called with, where it has parameters of these names; no others."""


@dataclass(eq=False)
class Origin:
    """Where a foreign network comes from.

    Attributes:
        name: of the factory, as the user gave it ("mypackage.nets:build", "hf:..."), or of the class.
        arguments: what the factory was called with; JSON-able.
        build: the whole network, freshly initialised; None where nobody passed a factory.
        anatomy: of the whole network; never cut itself.
        pretrained: the whole network with weights to start from, where there are any.
        classes: how many scores the network gives; None where its output has none.
    """

    name: str
    arguments: dict[str, Any]
    build: Build | None
    anatomy: Anatomy
    pretrained: Build | None = None
    classes: int | None = None
    _created: list[str | None] | None = field(default=None, repr=False)
    _start: str | None = field(default=None, repr=False)
    _program: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        build: Build,
        inputs: Inputs,
        *,
        name: str | None = None,
        arguments: dict[str, Any] | None = None,
        pretrained: Build | None = None,
        seed: int = 0,
    ) -> Origin:
        """Build the whole network once, and find and prove its channel groups.

        Raises:
            InputError: where the factory gives no module, or nothing in it can be pruned.
        """
        model = built(build, name or factory_name(build))
        anatomy = inspect(model, inputs, seed=seed)
        return cls(
            name or factory_name(build),
            arguments or {},
            build,
            anatomy,
            pretrained,
            classes_of(model, inputs),
        ).adopted()

    def adopted(self) -> Origin:
        """The anatomy knows its origin, and so does every network made from it."""
        self.anatomy.origin = self
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channel groups, in network order."""
        return tuple(self.anatomy.graph.groups)

    @property
    def widths(self) -> tuple[int, ...]:
        """The groups' widths in the whole network."""
        return tuple(self.anatomy.graph.widths.values())

    @property
    def inputs(self) -> Any:
        """Shapes and types of one example, as JSON."""
        return describe_inputs(self.anatomy.inputs)

    @property
    def layout(self) -> str:
        """Twelve hex digits of the whole network's tensor names and shapes: which code the widths are of."""
        return layout_hash(self.anatomy.costs.shapes_at({}))

    @property
    def program(self) -> str:
        """A hash of what the whole network computes (`secateur.surgery.costs.program`)."""
        if self._program is None:
            assert self.anatomy.whole is not None
            self._program = program(self.anatomy.whole, self.anatomy.inputs)
        return self._program

    def start(self, widths: Sequence[int]) -> str | None:
        """A hash of the weights that a network at these widths starts from; None: it is initialised."""
        if self.pretrained is None or tuple(widths) != self.widths:
            return None
        if self._start is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)  # a classifier of another size is drawn anew each time
                state = built(self.pretrained, self.name).state_dict()
            found = hashlib.sha256()
            for name, value in state.items():
                found.update(name.encode() + value.float().numpy().tobytes())
            self._start = found.hexdigest()[:12]
        return self._start

    def anatomy_at(self, widths: Sequence[int]) -> Anatomy:
        """The anatomy of the network at these widths; the last channels are those that are gone."""
        graph = self.anatomy.graph.uncut()
        graph.mark_gone(graph.beyond(self.by_name(widths)))
        return self.anatomy.with_graph(graph)

    def shapes(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor at these widths."""
        return self.anatomy.costs.shapes_at(self.by_name(widths))

    def by_name(self, widths: Sequence[int]) -> dict[str, int]:
        """Group -> width."""
        return dict(zip(self.names, widths, strict=True))

    def skeleton(self, widths: Sequence[int]) -> nn.Module:
        """The network at these widths on the meta device: shapes only."""
        whole = self.anatomy.whole
        assert whole is not None
        model = copy.deepcopy(whole).to("meta")
        self._narrow(model, widths)
        remember(model, self.anatomy_at(widths))
        return model

    def make(self, widths: Sequence[int]) -> nn.Module:
        """The network at these widths on the CPU, initialised by its own factory at these very sizes.

        The whole network starts from its pretrained weights where it has some. Where the factory cannot be
        had to build narrower layers, the network is cut from a whole one, freshly initialised.

        Raises:
            InputError: where nobody passed a factory.
        """
        if self.build is None:
            raise InputError(
                f"'{self.name}' cannot be built again, as its factory is not known here: pass it, as in "
                "sc.load(directory, factory=build) or sc.inspect(model, inputs, factory=build)"
            )
        if tuple(widths) == self.widths:
            model = built(self.pretrained or self.build, self.name)
        else:
            model = self._made_narrow(widths) or self._cut_from_whole(widths)
        remember(model, self.anatomy_at(widths))
        return model

    def _cut_from_whole(self, widths: Sequence[int]) -> nn.Module:
        assert self.build is not None
        model = built(self.build, self.name)
        self._narrow(model, widths)
        return model

    def _narrow(self, model: nn.Module, widths: Sequence[int]) -> None:
        self.anatomy.graph.uncut().narrow(model, self.by_name(widths))

    def _made_narrow(self, widths: Sequence[int]) -> nn.Module | None:
        """The factory, run while every layer is given its narrow sizes; None where that fails."""
        assert self.build is not None
        if self._created is None:
            self._created = order_of_creation(self.build)
        sizes = self.anatomy.costs.sizes_at(self.by_name(widths))
        whole = self.anatomy.whole
        assert whole is not None
        created: list[nn.Module] = []
        random = torch.get_rng_state()
        try:
            with constructing(created, narrow_sizes(whole, self._created, sizes)):
                model = built(self.build, self.name)
            cut_bare_parameters(model, sizes)
        except (InputError, RuntimeError, ValueError, TypeError, AssertionError, IndexError):
            model = None
        if model is not None and state_shapes(model) == self.shapes(widths):
            return model
        torch.set_rng_state(random)
        return None


def inspect_model(
    model: nn.Module, inputs: Inputs, *, factory: Build | None = None, seed: int = 0
) -> Anatomy:
    """Find and prove the channel groups of any model, and remember how it is made again.

    Args:
        model: any module that runs; it is not changed, but carries its anatomy from now on.
        inputs: a few real examples, as the model takes them: a tensor, a tuple, or a dictionary.
        factory: builds a fresh network of the same shape, for all that trains one from scratch; its module
            and name are written into `architecture.json`.
        seed: of the channel sets, weights and random inputs of the proof.

    Returns:
        The anatomy: `graph.groups`, `graph.frozen` with reasons, `costs`.

    Raises:
        InputError: where the model does not run on the inputs, or nothing in it can be pruned.

    Example:
        >>> sc.inspect(model, images).graph.groups  # doctest: +SKIP
    """
    anatomy = inspect(model, inputs, seed=seed)
    if factory is not None and anatomy.whole is not None:
        _check_same(factory, anatomy)
        classes = classes_of(model, inputs)
        origin = Origin(factory_name(factory), {}, factory, anatomy.uncut(), None, classes)
        anatomy.origin = origin.adopted()
    return anatomy


def _check_same(factory: Build, anatomy: Anatomy) -> None:
    """InputError where a factory does not build the network that was inspected."""
    with torch.random.fork_rng(devices=[]):
        other = built(factory, factory_name(factory))
    if state_shapes(other) != anatomy.uncut().costs.shapes_at({}):
        raise InputError(
            f"the factory '{factory_name(factory)}' builds a network with other tensors than the model: pass "
            "the one that the model was built with"
        )


def origin_of(model: nn.Module) -> Origin | None:
    """Where an inspected model comes from; one without a factory is named after its class."""
    anatomy = known_anatomy(model)
    if anatomy is None:
        return None
    if anatomy.origin is None:
        whole = anatomy.uncut()
        assert whole.whole is not None
        Origin(
            factory_name(type(model)), {}, None, whole, None, classes_of(whole.whole, anatomy.inputs)
        ).adopted()
        anatomy.origin = whole.origin
    assert isinstance(anatomy.origin, Origin)
    return anatomy.origin


def reopened(
    factory: Callable[..., nn.Module],
    inputs: Inputs,
    groups: Sequence[Mapping[str, Any]],
    *,
    name: str,
    arguments: dict[str, Any],
    source: str,
) -> Origin:
    """The origin of a network whose groups were proved before, as its file says; traced, not proved again.

    Args:
        factory: is called with `arguments`.

    Raises:
        InputError: where the factory's network does not have these groups.
    """
    build = partial(factory, **arguments)
    model = built(build, name)
    try:
        graph = trace(model, inputs)
    except InputError:
        raise
    except Exception as error:  # the user's code on inputs that a file describes
        raise InputError(
            f"{source}: the network that '{name}' builds does not take the inputs described: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from None
    for group in groups:
        if group["name"] not in graph.groups:
            raise InputError(
                f"{source}: the network that '{name}' builds has no channel group '{group['name']}': it was "
                "changed, or it is another one"
            )
        if group.get("sets"):
            graph = graph.with_group(graph.groups[group["name"]].tied(group["sets"]))
        if graph.width(group["name"]) != group["of"]:
            raise InputError(
                f"{source}: '{group['name']}' has {graph.width(group['name'])} channels in the network that "
                f"'{name}' builds, and {group['of']} in the file: it was changed, or it is another one"
            )
    known = {group["name"] for group in groups}
    graph = graph.without({n: "not proved when the file was written" for n in graph.groups if n not in known})
    anatomy = opened(model, graph, inputs)
    return Origin(name, arguments, build, anatomy, None, classes_of(model, inputs)).adopted()


@torch.no_grad()
def classes_of(model: nn.Module, inputs: Inputs) -> int | None:
    """How many scores a model gives for an example; None where its output has no scores."""
    try:
        with modes_kept(model):
            logits = logits_of(call(model.eval(), on_device(inputs, model)))
    except InputError:
        return None
    return logits.shape[1] if logits.dim() > 1 else None
