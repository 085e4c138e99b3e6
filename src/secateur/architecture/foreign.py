"""Networks that are not ours, made again by their own factory at any widths of their channel groups."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from secateur.architecture.building import (
    Build,
    built,
    constructing,
    cut_bare_parameters,
    layout_hash,
    narrow_sizes,
    order_of_creation,
)
from secateur.architecture.origin import GroupOfWhole, carry_origin
from secateur.budget import COUNTERS
from secateur.data import Data
from secateur.data.batches import first_images
from secateur.errors import InputError
from secateur.network.described import describe_inputs
from secateur.surgery.anatomy import Anatomy, anatomy_of, remember
from secateur.surgery.costs import COUNTED, program, state_shapes

EXAMPLES = 4  # images with which a network is opened and checked


@dataclass(eq=False)
class ForeignOrigin:
    """A factory of the user's, with the channel groups of the whole network that it builds.

    What has no docstring here is what `secateur.architecture.origin.Origin` says of it.

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

    is_family = False
    proof = "every group proved against a masked reference"
    stages = None
    counts_checked = ("params", "classes")  # torch's own counter, which sees other operators, may change

    def __deepcopy__(self, memo: dict[int, Any]) -> ForeignOrigin:
        """Share it: copies of a network come from the same place."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as None: a factory is the user's code, and no file may bring it back."""
        return (type(None), ())

    @property
    def display_name(self) -> str:
        return self.name

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the channel groups, in network order; the same at all widths."""
        return tuple(self.anatomy.graph.groups)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.anatomy.graph.widths.values())

    @property
    def widest(self) -> tuple[int, ...]:
        return self.widths

    @property
    def inside(self) -> tuple[int, ...]:
        return tuple(index for index, group in enumerate(self.anatomy.graph) if group.inner)

    @property
    def inputs(self) -> Any:
        return describe_inputs(self.anatomy.inputs)

    @property
    def layout(self) -> str:
        return layout_hash(self.anatomy.costs.shapes_at({}))

    @property
    def program(self) -> str:
        """A hash of what the whole network computes (`secateur.surgery.costs.program`)."""
        if self._program is None:
            assert self.anatomy.whole is not None
            self._program = program(self.anatomy.whole, self.anatomy.inputs)
        return self._program

    def names_at(self, widths: Sequence[int]) -> tuple[str, ...]:
        return self.names

    def groups_at(self, widths: Sequence[int]) -> list[GroupOfWhole]:
        return [
            GroupOfWhole(width, list(group.modules), group.sets)
            for width, group in zip(self.widths, self.anatomy.graph, strict=True)
        ]

    def cost(self, widths: Sequence[int], resource: str) -> int:
        if resource in COUNTED:
            return self.anatomy.costs.at(self.by_name(widths))[resource]
        return COUNTERS[resource](self.skeleton(widths))

    def clamped(self, widths: Sequence[int]) -> tuple[int, ...]:
        return tuple(min(width, most) for width, most in zip(widths, self.widths, strict=True))

    def identity_at(self, widths: Sequence[int]) -> dict[str, Any]:
        """Say which code it is, as the user may have changed it, and which weights it starts from."""
        code = {"groups": list(self.names), "layout": self.layout, "program": self.program}
        start = self.start(widths)
        return {**code, "start": start} if start else code

    def with_arguments(self, changes: dict[str, Any]) -> tuple[ForeignOrigin, tuple[int, ...]]:
        if changes:
            raise InputError(
                f"the arguments of a built-in family can be changed, got the factory '{self.name}': build "
                "another network with it, and inspect that"
            )
        return self, self.widths

    def fitted_to(self, data: Data, widths: Sequence[int]) -> ForeignOrigin:
        return self._for(describe_inputs(first_images(data, EXAMPLES)), f"the data set {data.label} has")

    def at_images(self, shape: Sequence[int], widths: Sequence[int]) -> ForeignOrigin:
        return self._for({"shape": list(shape), "dtype": "float32"}, "--input says")

    def _for(self, given: Any, who: str) -> ForeignOrigin:
        """Itself; InputError unless it takes what is given."""
        if self.inputs != given:
            raise InputError(
                f"the model takes {_in_words(self.inputs)}, {who} {_in_words(given)}: choose --image-size, "
                "or build it for these images"
            )
        return self

    def widths_of(self, model: nn.Module) -> tuple[int, ...]:
        return tuple(anatomy_of(model).graph.widths.values())

    def comes_trained_at(self, widths: Sequence[int]) -> bool:
        return self.pretrained is not None and tuple(widths) == self.widths

    def start(self, widths: Sequence[int]) -> str | None:
        """Hash the weights that a network at these widths starts from; None: it is initialised."""
        if self.pretrained is None or not self.comes_trained_at(widths):
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
        """Make the anatomy of the network at these widths; the last channels are those that are gone."""
        graph = self.anatomy.graph.uncut()
        graph.note_removal(graph.beyond(self.by_name(widths)))
        return self.anatomy.with_graph(graph)

    def shapes(self, widths: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Tell the shape of every tensor at these widths."""
        return self.anatomy.costs.shapes_at(self.by_name(widths))

    def by_name(self, widths: Sequence[int]) -> dict[str, int]:
        """Map each group's name to its width."""
        return dict(zip(self.names, widths, strict=True))

    def skeleton(self, widths: Sequence[int]) -> nn.Module:
        whole = self.anatomy.whole
        assert whole is not None
        model = copy.deepcopy(whole).to("meta")
        self._narrow(model, widths)
        self._make_known(model, widths)
        return model

    def make(self, widths: Sequence[int]) -> nn.Module:
        """Build the network on the CPU, initialised by its own factory at these very sizes.

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
        self._make_known(model, widths)
        return model

    def _make_known(self, model: nn.Module, widths: Sequence[int]) -> None:
        """Have a network at these widths carry its anatomy and where it comes from."""
        remember(model, self.anatomy_at(widths))
        carry_origin(model, self)

    def _cut_from_whole(self, widths: Sequence[int]) -> nn.Module:
        assert self.build is not None
        model = built(self.build, self.name)
        self._narrow(model, widths)
        return model

    def _narrow(self, model: nn.Module, widths: Sequence[int]) -> None:
        self.anatomy.graph.uncut().narrow(model, self.by_name(widths))

    def _made_narrow(self, widths: Sequence[int]) -> nn.Module | None:
        """Run the factory while every layer is given its narrow sizes; None where that fails."""
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


def _in_words(described: Any) -> str:
    """An input as JSON describes it, for people: "3x32x32 float32"."""
    if isinstance(described, dict) and isinstance(described.get("shape"), list):
        return f"{'x'.join(map(str, described['shape']))} {described.get('dtype')}"
    return str(described)
