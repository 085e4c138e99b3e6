"""Portable, pickle-free description of a network: which factory, which arguments, which widths.

An architecture rebuilds, re-initialises, rescales, saves and loads a network: of the built-in families, or of
any model whose factory the user passes. Its file, `architecture.json`, is meant to be read by people:

    {"format": "secateur-architecture", "schema": 3, "version": "0.1.0",
     "factory": "wide_resnet", "arguments": {"depth": 16, ...},
     "input": {"shape": [3, 32, 32], "dtype": "float32"}, "classes": 10,
     "groups": [{"name": "blocks.0", "width": 11, "of": 16,
                 "layers": ["blocks.0.conv1", "blocks.0.bn2", "blocks.0.conv2"]}, ...],
     "layout": null, "params": 43612, "macs": 402176}

`width` is the group's present width, `of` that in the whole network. `layout` is a hash of the whole
network's tensor names and shapes, for factories that are not built in; their groups say where their channels
lie, so that loading runs nothing. It imports nothing that the file names. docs/architecture.md describes
every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from secateur.architecture.family import FamilyOrigin, construct, read_family
from secateur.architecture.file import (
    ARCHITECTURE_FILE,
    FORMAT,
    SCHEMA,
    problem_with,
    read_architecture,
)
from secateur.architecture.from_transformers import factory_beside
from secateur.architecture.opening import Factory, origin_of, read_foreign
from secateur.architecture.origin import GroupOfWhole, Kept, Origin
from secateur.architecture.patterns import as_pattern
from secateur.architecture.scaling import bottlenecked, narrowed, scaled
from secateur.architecture.sites import kept_as_json, kept_in
from secateur.atomic import write_json
from secateur.budget import Budget, Limits
from secateur.errors import InputError
from secateur.models import FACTORIES, Family
from secateur.network.plain import bare
from secateur.records.ours import VERSION
from secateur.records.out import check_ours, expanded
from secateur.records.shown import Shown
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.constraints import Bounds, Constraints

_WIDTHS_SHOWN = 12
_IN_WORDS = {"params": "parameters", "macs": "MACs", "classes": "classes"}


@dataclass(frozen=True)
class Architecture:
    """A network without its weights; compare with `==`.

    Attributes:
        factory: a key of `secateur.models.FACTORIES`, or the name of a factory that the user passed.
        arguments: the factory's arguments but `widths`.
        widths: the width of every prunable group, in network order.
        origin: how its networks are made; left out, by the built-in family of that name.
        kept: the channels that are left, of groups of which it is not the first ones: tables that nobody
            trains (positions, frequencies) keep their entries. It is of no other consequence.
    """

    factory: str
    arguments: dict[str, Any] = field(hash=False)
    widths: tuple[int, ...]
    origin: Origin = field(default=None, compare=False, repr=False)  # type: ignore[assignment]
    kept: Kept = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.origin is None or self.origin.is_family:  # `replace` hands on one of other arguments
            object.__setattr__(self, "origin", FamilyOrigin(self.factory, self.arguments))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what can be: of a foreign network's origin, nothing, and building says so."""
        return (Architecture, (self.factory, self.arguments, self.widths, self.origin, dict(self.kept)))

    @classmethod
    def of(cls, model: nn.Module) -> Architecture:
        """Read off the architecture of a network as it is now, pruned or not.

        Raises:
            InputError: where the model is not of a built-in family and has not been inspected.
        """
        model = bare(model)
        origin = FamilyOrigin.of(model) if isinstance(model, Family) else origin_of(model)
        if origin is None:
            raise InputError(
                f"the architecture of a {type(model).__name__} is not known yet: call "
                "sc.inspect(model, inputs, factory=build) first, or build it with one of secateur.models"
            )
        return cls.at(origin, origin.widths_of(model), origin.kept_of(model))

    @classmethod
    def at(cls, origin: Origin, widths: Sequence[int], kept: Kept | None = None) -> Architecture:
        """The networks of an origin at some widths."""
        return cls(origin.name, origin.arguments, tuple(widths), origin, dict(kept or {}))

    @classmethod
    def whole(cls, origin: Origin) -> Architecture:
        """The uncut network of an origin."""
        return cls.at(origin, origin.widths)

    @classmethod
    def from_identity(cls, identity: dict[str, Any], origin: Origin | None = None) -> Architecture:
        """Read what `identity` was taken of; of a foreign network with its origin."""
        widths = tuple(identity["widths"])
        kept = kept_in(identity)
        return cls(identity["factory"], identity["arguments"], widths, origin, kept)  # type: ignore[arg-type]

    def resumed(self, identity: dict[str, Any]) -> Architecture:
        """Read the architecture in a checkpoint of this network (`as_left`); its widths may be others."""
        return Architecture.from_identity(identity, self.origin)

    @classmethod
    def from_factory(cls, factory: str, arguments: dict[str, Any]) -> Architecture:
        """Take a built-in factory's own widths; InputError where it refuses the arguments."""
        return cls.of(construct(factory, arguments, None))

    def __repr__(self) -> str:
        return f"<Architecture {self._in_a_line()}>"

    def _repr_html_(self) -> str:
        of_whole = [group.width for group in self.origin.groups_at(self.widths)]
        rows = [
            (name, f"{width:,}", f"{whole:,}")
            for name, width, whole in zip(self.group_names(), self.widths, of_whole, strict=True)
        ]
        return Shown(self._in_a_line(), ("group", "channels", "of"), rows).html()

    def _in_a_line(self) -> str:
        widths = ", ".join(map(str, self.widths[:_WIDTHS_SHOWN]))
        more = f", ... ({len(self.widths)} groups)" if len(self.widths) > _WIDTHS_SHOWN else ""
        return f"{self.display_name}: {self.params:,} params, {self.macs:,} MACs, widths {widths}{more}"

    @property
    def is_family(self) -> bool:
        """Whether the networks are of a built-in family."""
        return self.origin.is_family

    @property
    def comes_trained(self) -> bool:
        """Whether it begins with weights that were trained elsewhere: it is tuned then, not trained anew."""
        return self.origin.comes_trained_at(self.widths)

    @property
    def display_name(self) -> str:
        """The network's name for people, e.g. 'wrn-16-0.75' or 'mypackage.nets:build'."""
        return self.origin.display_name

    def build(self, seed: int | None = None) -> Any:
        """Build a freshly initialised network on the CPU.

        Args:
            seed: makes it repeatable, and spares the global generator.

        Raises:
            InputError: for a network that is not of a built-in family, where its factory is not known.
        """
        with _seeded(seed):
            return self.origin.make(self.widths, self.kept)

    def rebuild(self) -> Any:
        """Build the network that a saved state is put into: what no state holds is what it was."""
        with _seeded(0):
            return self.origin.rebuilt(self.widths, self.kept)

    def skeleton(self) -> Any:
        """Build the network on the meta device: shapes only, nothing is allocated."""
        return self.origin.skeleton(self.widths)

    def with_widths(self, widths: Sequence[int]) -> Architecture:
        """Take other group widths, and leave the rest; of the channels that are kept the first stay."""
        kept = {}
        for name, width in zip(self.group_names(), widths, strict=False) if self.kept else ():
            left = tuple(self.kept.get(name, ()))[:width]
            if len(left) == width and left != tuple(range(width)):
                kept[name] = left
        return replace(self, widths=tuple(widths), kept=kept)

    def with_arguments(self, **changes: Any) -> Architecture:
        """Take other factory arguments and the factory's own widths."""
        return Architecture.at(*self.origin.with_arguments(changes))

    def left_as(self, identity: Mapping[str, Any]) -> Architecture:
        """Take the widths that an identity of this network has, and the channels kept where it says them."""
        return replace(self.with_widths(identity["widths"]), kept=kept_in(identity))

    @property
    def params(self) -> int:
        """Number of parameters."""
        return self.cost("params")

    @property
    def macs(self) -> int:
        """MACs of one inference (convention: `secateur.network.counting`)."""
        return self.cost("macs")

    @property
    def classes(self) -> int | None:
        """How many classes the network tells apart; None where its output has no scores."""
        return self.origin.classes

    def cost(self, resource: str) -> int:
        """Count a budget's resource."""
        return self.origin.cost(self.widths, resource)

    def bounds(self, constraints: Constraints, *, streams: bool) -> Bounds | None:
        """Find what must stay of the network at these widths; None where nothing has to.

        Args:
            streams: of a built-in family, its residual streams too (`secateur.surgery.anatomy.anatomy_of`).

        Raises:
            InputError: where a constraint names nothing in it.
        """
        if not constraints:
            return None
        skeleton = self.skeleton()
        return constraints.on(anatomy_of(skeleton, streams=streams).graph, skeleton)

    def scaled_to(self, budget: Budget | Limits | str, bounds: Bounds | None = None) -> Architecture:
        """Copycat: every group's width times one alpha, the largest that meets the budget.

        A relative budget is a share of *this* architecture. Widths round to within one channel of alpha times
        the width, met and never exceeded (`secateur.architecture.fitting.fit_scale`).

        Args:
            bounds: what must stay of the whole network: its groups stop at their floors.

        Raises:
            InputError: where even widths of 1 are too many.

        Reference: Crowley et al. 2018, section 3.2: B(N_i, alpha N_mj, N_o).
        """
        return self.with_widths(scaled(self.origin, self.widths, *self._limit(budget), bounds))

    def bottlenecked_to(self, budget: Budget | Limits | str, bounds: Bounds | None = None) -> Architecture:
        """The groups inside the blocks times one z, the largest that meets the budget; streams stay as wide.

        Of a built-in family that is `scaled_to`: its widths are those inside the blocks. Of another network
        the groups inside are those that one layer alone writes (`ChannelGroup.inner`); a plain chain has no
        others, so that this is its `narrowed_to`. A relative budget is a share of *this* architecture.

        Raises:
            InputError: where every group is a stream, or even widths of 1 inside the blocks are too many.

        Reference: Crowley et al. 2018, section 3.1 (the green curve of Fig. 1).
        """
        return self.with_widths(bottlenecked(self.origin, self.widths, *self._limit(budget), bounds))

    def narrowed_to(self, budget: Budget | Limits | str, bounds: Bounds | None = None) -> Architecture:
        """The factory's own shape with every layer times one k, the largest that meets the budget: WRN-d-k.

        Families with residual stages scale the stages, every middle layer as wide as its block's output;
        plain chains scale every layer. A relative budget is a share of *this* architecture.

        Raises:
            InputError: where one channel a layer is too many.

        Reference: Crowley et al. 2018, section 3.1 (the yellow curve of Fig. 1).
        """
        return Architecture.at(*narrowed(self.origin, *self._limit(budget), bounds))

    def _limit(self, budget: Budget | Limits | str) -> tuple[str, int]:
        """Read the resource and the units of a budget, a share being one of *this* network."""
        if isinstance(budget, Limits):
            return budget.resource, budget.units
        budget = Budget.parse(budget)
        return budget.resource, budget.limit(self.cost(budget.resource))

    @property
    def has_blocks(self) -> bool:
        """Whether there are channels inside blocks, so that `bottlenecked_to` has something to narrow."""
        return bool(self.origin.inside)

    def group_names(self) -> tuple[str, ...]:
        """Name the prunable groups, in network order."""
        return self.origin.names_at(self.widths)

    def identity(self) -> dict[str, Any]:
        """Say what makes two architectures the same, for hashing into a run's identity."""
        same = {"factory": self.factory, "arguments": self.arguments, "widths": list(self.widths)}
        return {**same, **self.origin.identity_at(self.widths, self.kept)}

    def as_left(self) -> dict[str, Any]:
        """Say it as `identity` does, with the channels that are left of every group: what `resumed` reads."""
        kept = {name: as_pattern(left) for name, left in self.kept.items()}
        return {**self.identity(), **({"kept": kept} if kept else {})}

    def diff(self, other: Architecture) -> list[GroupDiff]:
        """Compare two architectures: one row for each group that is not equally wide in both."""
        mine, theirs = (dict(zip(one.group_names(), one.widths, strict=True)) for one in (self, other))
        names = [*mine, *(name for name in theirs if name not in mine)]
        return [
            GroupDiff(name, mine.get(name), theirs.get(name))
            for name in names
            if mine.get(name) != theirs.get(name)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Write down the content of `architecture.json`."""
        at = zip(self.group_names(), self.widths, self.origin.groups_at(self.widths), strict=True)
        groups = [{"name": name, "width": width, **self._described(name, group)} for name, width, group in at]
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "version": VERSION,
            "factory": self.factory,
            "arguments": self.arguments,
            "input": self.origin.inputs,
            "classes": self.classes,
            "groups": groups,
            **self.origin.described(),
            "layout": self.origin.layout,
            "params": self.params,
            "macs": self.macs,
        }

    def _described(self, name: str, group: GroupOfWhole) -> dict[str, Any]:
        """What the file says of a group beside its name and width."""
        sets = {"sets": group.sets} if group.sets else {}
        sites = {"sites": group.sites} if group.sites else {}
        return {
            "of": group.width,
            "layers": group.layers,
            **sets,
            **kept_as_json(self.kept.get(name)),
            **sites,
        }

    @classmethod
    def from_dict(
        cls, content: Any, source: str = "architecture", factory: Factory | None = None
    ) -> Architecture:
        """Check and read the content of `architecture.json`; InputError names what is wrong with it."""
        problem = problem_with(content)
        if problem:
            raise InputError(f"{source}: {problem}")
        if content["factory"] in FACTORIES:
            found = cls.at(*read_family(content, source))
        else:
            found = cls.at(*read_foreign(content, source, factory))
        for key, made in found.origin.checked(found.widths).items():
            if content.get(key, made) != made:
                raise InputError(
                    f"{source}: the widths make {made} {_IN_WORDS[key]}, but the file says {content[key]}: "
                    "it was edited or damaged"
                )
        return found

    def save(self, path: str | Path) -> None:
        """Write `architecture.json` (or the named file), whole or not at all; no file that is not ours."""
        path = expanded(path, "the file to save")
        path = path / ARCHITECTURE_FILE if path.is_dir() else path
        check_ours([path])
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path, factory: Factory | None = None) -> Architecture:
        """Read a file, or the `architecture.json` of a folder; InputError names what is wrong with it.

        Args:
            factory: builds the whole network, where it is not of a built-in family; nothing is imported. A
                network of `transformers` is built from the configuration that lies beside the file.
        """
        content, path = read_architecture(path)
        if factory is None:
            factory = factory_beside(path)
        return cls.from_dict(content, str(path), factory)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class GroupDiff(NamedTuple):
    """A group that two architectures do not share: its width in each, None where it has none there."""

    name: str
    first: int | None
    second: int | None
