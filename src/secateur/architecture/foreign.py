"""Networks that are not ours, made again by their own factory at any widths of their channel groups."""

from __future__ import annotations

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
    on_meta,
    order_of_creation,
)
from secateur.architecture.likeness import difference, put_tables, tables
from secateur.architecture.numbers import numbers_as_json
from secateur.architecture.origin import GroupOfWhole, Kept, carry_origin
from secateur.architecture.patterns import as_pattern
from secateur.architecture.sites import frozen_as_json, sites_as_json
from secateur.budget import COUNTERS
from secateur.data import Data
from secateur.data.batches import first_images
from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.network.described import describe_inputs
from secateur.network.weights import count_params
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
    _narrow: bool | None = field(default=None, repr=False)  # whether it can be had narrow, where known

    is_family = False
    proof = "every group proved against a masked reference"
    stages = None

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
        assert self.anatomy.whole is not None
        return layout_hash(state_shapes(self.anatomy.whole))

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
            GroupOfWhole(width, list(group.modules), group.sets, sites_as_json(group))
            for width, group in zip(self.widths, self.anatomy.graph, strict=True)
        ]

    def cost(self, widths: Sequence[int], resource: str) -> int:
        if resource in COUNTED:
            try:
                return self.anatomy.costs.at(self.by_name(widths))[resource]
            except InputError:  # a file describes inputs on which it does not run
                if resource == "macs":
                    raise
        return COUNTERS[resource](self.skeleton(widths))

    def clamped(self, widths: Sequence[int]) -> tuple[int, ...]:
        return tuple(min(width, most) for width, most in zip(widths, self.widths, strict=True))

    def checked(self, widths: Sequence[int]) -> dict[str, int | None]:
        return {"params": count_params(self.skeleton(widths)), "classes": self.classes}

    def described(self) -> dict[str, Any]:
        graph = self.anatomy.graph
        frozen = {"frozen": frozen_as_json(graph)} if graph.frozen else {}
        inputs = describe_inputs(self.anatomy.inputs, values=True)  # lengths and masks hold no noise
        skipped = {"skipped": self.anatomy.skipped} if self.anatomy.skipped else {}
        return {"input": inputs, **frozen, **numbers_as_json(graph), **skipped}

    def identity_at(self, widths: Sequence[int], kept: Kept | None = None) -> dict[str, Any]:
        """Say which code it is, as the user may have changed it, and which weights it starts from.

        Which channels are kept is said of groups that cut tables: numbers that nobody trains.
        """
        code = {"groups": list(self.names), "layout": self.layout, "program": self.program}
        start = self.start(widths)
        assert self.anatomy.whole is not None
        tabled = {name for table in tables(self.anatomy.whole, self.anatomy.graph) for name in table.groups}
        which = {name: as_pattern(left) for name, left in (kept or {}).items() if name in tabled}
        return {**code, **({"start": start} if start else {}), **({"kept": which} if which else {})}

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

    def kept_of(self, model: nn.Module) -> Kept:
        kept = anatomy_of(model).graph.kept
        return {name: tuple(left) for name, left in kept.items() if list(left) != list(range(len(left)))}

    def anatomy_at(self, widths: Sequence[int], kept: Kept | None = None) -> Anatomy:
        """Make the anatomy of the network at these widths."""
        graph = self.anatomy.graph.uncut()
        left = self._left(widths, kept)
        gone = {name: set(graph.kept[name]).difference(left[name]) for name in left}
        graph.note_removal({name: channels for name, channels in gone.items() if channels})
        return self.anatomy.with_graph(graph)

    def _left(self, widths: Sequence[int], kept: Kept | None) -> dict[str, Sequence[int]]:
        """Map each group to the channels that are left."""
        return {name: (kept or {}).get(name, range(width)) for name, width in self.by_name(widths).items()}

    def by_name(self, widths: Sequence[int]) -> dict[str, int]:
        """Map each group's name to its width."""
        return dict(zip(self.names, widths, strict=True))

    def skeleton(self, widths: Sequence[int]) -> nn.Module:
        whole = self.anatomy.whole
        assert whole is not None
        model = on_meta(whole)
        self.anatomy.graph.uncut().narrow(model, self.by_name(widths))
        self._make_known(model, widths)
        return model

    def make(self, widths: Sequence[int], kept: Kept | None = None) -> nn.Module:
        """Build the network on the CPU, initialised by its own factory at these very sizes.

        The whole network starts from its pretrained weights where it has some. Where the factory cannot be
        had to build narrower layers, the network is cut from a whole one, freshly initialised.

        Raises:
            InputError: where nobody passed a factory.
        """
        build = self._known_build()
        if tuple(widths) == self.widths:
            model = built(self.pretrained or build, self.name)
        else:
            model = self._made_narrow(widths, kept) or self._cut_from_whole(widths, kept)
        self._make_known(model, widths, kept)
        return model

    def rebuilt(self, widths: Sequence[int], kept: Kept | None = None) -> nn.Module:
        """Cut a whole network of the factory's, so that all that no state holds is what it was.

        Raises:
            InputError: where nobody passed a factory.
        """
        model = self._cut_from_whole(widths, kept)
        self._make_known(model, widths, kept)
        return model

    def rehearsed(self) -> nn.Module:
        """Copy the whole network and cut the first channel of every group, for a try."""
        whole = self.anatomy.whole
        assert whole is not None
        model = copied(whole)
        kept = {name: range(min(1, width - 1), width) for name, width in self.by_name(self.widths).items()}
        self.anatomy.graph.uncut().keep(model, kept)
        self._make_known(model, [len(left) for left in kept.values()], kept)
        return model

    def again(self, **_arguments: Any) -> nn.Module:
        """Build the whole network for a saved one: by its factory, else a copy of the one inspected."""
        if self.build is not None:
            return self.build()
        assert self.anatomy.whole is not None
        return copied(self.anatomy.whole)

    def _known_build(self) -> Build:
        if self.build is None:
            raise InputError(
                f"'{self.name}' cannot be built again, as its factory is not known here: pass it, as in "
                "sc.load(directory, factory=build) or sc.inspect(model, inputs, factory=build)"
            )
        return self.build

    def _make_known(self, model: nn.Module, widths: Sequence[int], kept: Kept | None = None) -> None:
        """Have a network at these widths carry its anatomy and where it comes from."""
        remember(model, self.anatomy_at(widths, kept))
        carry_origin(model, self)

    def _cut_from_whole(self, widths: Sequence[int], kept: Kept | None) -> nn.Module:
        model = built(self._known_build(), self.name)
        self.anatomy.graph.uncut().keep(model, self._left(widths, kept))
        return model

    def _made_narrow(self, widths: Sequence[int], kept: Kept | None) -> nn.Module | None:
        """Run the factory while every layer is given its narrow sizes; None: that makes another network."""
        if self._narrow is False:
            return None
        random = torch.get_rng_state()
        model = self._run_narrow(self._known_build(), widths, kept)
        after = torch.get_rng_state()
        if model is not None and (self._narrow or self._is_as_cut(model, widths, kept)):
            torch.set_rng_state(after)
            return model
        torch.set_rng_state(random)
        return None

    def _is_as_cut(self, model: nn.Module, widths: Sequence[int], kept: Kept | None) -> bool:
        """Whether a network that was built narrow is one cut from a whole one, but for its weights.

        Its tables become those of the cut one first: where a factory makes them of a narrow width, they are
        others. A network whose code computes something else at narrow sizes would be another once loaded.
        """
        whole = self._cut_from_whole(widths, kept)
        graph = self.anatomy_at(widths, kept).graph
        try:
            put_tables(model, whole, graph)
        except RuntimeError:
            self._narrow = False
            return False
        same = difference(model, whole, graph, self.anatomy.inputs, state=False) is None
        self._narrow = same and (True if not tables(whole, graph) else None)  # with tables, every time
        return same

    def _run_narrow(self, build: Build, widths: Sequence[int], kept: Kept | None) -> nn.Module | None:
        if self._created is None:
            self._created = order_of_creation(build)
        graph, whole = self.anatomy_at(widths, kept).graph, self.anatomy.whole
        assert whole is not None
        sizes = {axis: graph.size(axis) for axis in graph.axes()}
        try:
            with constructing([], narrow_sizes(whole, self._created, sizes)):
                model = built(build, self.name)
            cut_bare_parameters(model, graph)
            graph.set_numbers(model)
        except (InputError, RuntimeError, ValueError, TypeError, AssertionError, LookupError, AttributeError):
            return None
        return model if state_shapes(model) == state_shapes(self.skeleton(widths)) else None


def _in_words(described: Any) -> str:
    """An input as JSON describes it, for people: "3x32x32 float32"."""
    if isinstance(described, dict) and isinstance(described.get("shape"), list):
        return f"{'x'.join(map(str, described['shape']))} {described.get('dtype')}"
    return str(described)
