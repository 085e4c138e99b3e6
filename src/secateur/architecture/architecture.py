"""Portable, pickle-free description of a network: which factory, which arguments, which widths.

An architecture rebuilds, re-initialises, rescales, saves and loads a network: of the built-in families, or of
any model whose factory the user passes. Its file, `architecture.json`, is meant to be read by people:

    {"format": "secateur-architecture", "schema": 2, "version": "0.1.0",
     "factory": "wide_resnet", "arguments": {"depth": 16, ...},
     "input": {"shape": [3, 32, 32], "dtype": "float32"}, "classes": 10,
     "groups": [{"name": "blocks.0", "width": 11, "of": 16,
                 "layers": ["blocks.0.conv1", "blocks.0.bn2", "blocks.0.conv2"]}, ...],
     "layout": null, "params": 43612, "macs": 402176}

`width` is the group's present width, `of` that in the whole network. `layout` is a hash of the whole
network's tensor names and shapes, for factories that are not built in. Loading imports nothing that the file
names. docs/architecture.md describes every key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from secateur.architecture.building import layout_without_memory
from secateur.architecture.file import (
    ARCHITECTURE_FILE,
    FORMAT,
    SCHEMA,
    problem_with,
    read_architecture,
)
from secateur.architecture.fitting import fit_scale
from secateur.architecture.origin import Origin, origin_of, reopened
from secateur.atomic import write_json
from secateur.budget import COUNTERS, Budget, Limits
from secateur.errors import InputError, unknown
from secateur.models import FACTORIES, Family
from secateur.network.inputs import describe_inputs, example_of
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.costs import COUNTED, Costs

Factory = Callable[..., nn.Module]


_IN_WORDS = {"params": "parameters", "macs": "MACs", "classes": "classes"}


@dataclass(frozen=True)
class Architecture:
    """A network without its weights; compare with `==`.

    Attributes:
        factory: a key of `secateur.models.FACTORIES`, or the name of a factory that the user passed.
        arguments: the factory's arguments but `widths`.
        widths: the width of every prunable group, in network order.
        origin: how a network that is not of a built-in family is made; None for those that are.
    """

    factory: str
    arguments: dict[str, Any] = field(hash=False)
    widths: tuple[int, ...]
    origin: Origin | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, model: nn.Module) -> Architecture:
        """The architecture of a network as it is now, pruned or not.

        Raises:
            InputError: where the model is not of a built-in family and has not been inspected.
        """
        if isinstance(model, Family):
            return cls(model.factory, json.loads(json.dumps(model.arguments)), model.widths)
        origin = origin_of(model)
        if origin is None:
            raise InputError(
                f"the architecture of a {type(model).__name__} is not known yet: call "
                "sc.inspect(model, inputs, factory=build) first, or build it with one of secateur.models"
            )
        widths = tuple(anatomy_of(model).graph.widths.values())
        return cls(origin.name, origin.arguments, widths, origin)

    @classmethod
    def whole(cls, origin: Origin) -> Architecture:
        """The uncut network of a factory that is not built in."""
        return cls(origin.name, origin.arguments, origin.widths, origin)

    @classmethod
    def from_identity(cls, identity: dict[str, Any], origin: Origin | None = None) -> Architecture:
        """What `identity` was taken of; of a foreign network with its origin."""
        return cls(identity["factory"], identity["arguments"], tuple(identity["widths"]), origin)

    def resumed(self, identity: dict[str, Any]) -> Architecture:
        """The architecture that a checkpoint of this network's training has, whose widths may be others."""
        return Architecture.from_identity(identity, self.origin)

    @classmethod
    def from_factory(cls, factory: str, arguments: dict[str, Any]) -> Architecture:
        """The factory's own widths; InputError where it refuses the arguments."""
        return cls.of(_construct(factory, arguments, None))

    def build(self, seed: int | None = None) -> Any:
        """A freshly initialised network on the CPU; `seed` makes it repeatable and spares the global RNG.

        Raises:
            InputError: for a network that is not of a built-in family, where its factory is not known.
        """
        with _seeded(seed):
            if self.origin is not None:
                return self.origin.make(self.widths)
            return _construct(self.factory, self.arguments, self.widths, device="cpu")

    def skeleton(self) -> Any:
        """The network on the meta device: shapes only, nothing is allocated."""
        if self.origin is not None:
            return self.origin.skeleton(self.widths)
        return _construct(self.factory, self.arguments, self.widths)

    def with_widths(self, widths: Sequence[int]) -> Architecture:
        """The same family member with other group widths."""
        return replace(self, widths=tuple(widths))

    def with_arguments(self, **changes: Any) -> Architecture:
        """Rebuilt with changed factory arguments and the factory's own widths."""
        return Architecture.from_factory(self.factory, {**self.arguments, **changes})

    @property
    def params(self) -> int:
        """Number of parameters."""
        return self.cost("params")

    @property
    def macs(self) -> int:
        """MACs of one inference (convention: `secateur.budget`)."""
        return self.cost("macs")

    @property
    def classes(self) -> int | None:
        """How many classes the network tells apart; None where its output has no scores."""
        return self.origin.classes if self.origin else int(self.arguments["num_classes"])

    def cost(self, resource: str) -> int:
        """The count of a budget's resource."""
        if self.origin is not None and resource in COUNTED:
            return self.origin.anatomy.costs.at(self.origin.by_name(self.widths))[resource]
        if resource in COUNTED and all(width >= 1 for width in self.widths):
            costs = _family_costs(self.factory, json.dumps(self.arguments, sort_keys=True))
            names = list(costs.graph.groups)
            if len(names) == len(self.widths):
                return costs.at(dict(zip(names, self.widths, strict=True)))[resource]
        return COUNTERS[resource](self.skeleton())  # or says what is wrong with the widths

    def scaled_to(self, budget: Budget | Limits | str) -> Architecture:
        """Copycat: every group's width times one alpha, the largest that meets the budget.

        A relative budget is a share of *this* architecture. Widths round to within one channel of alpha times
        the width, met and never exceeded (`secateur.architecture.fitting.fit_scale`).

        Raises:
            InputError: where even widths of 1 are too many.

        Reference: Crowley et al. 2018, section 3.2: B(N_i, alpha N_mj, N_o).
        """
        resource, limit = self._limit(budget)
        what = f"scaled {self.factory} group widths"
        if self.origin is None:
            return self.with_widths(fit_scale(self.widths, self._cost_at(resource), limit, what)[1])
        whole = Architecture.whole(self.origin)
        if whole.cost(resource) <= limit:
            return whole
        return self._clamped(fit_scale(self.widths, self._cost_at(resource), limit, what)[1])

    def _limit(self, budget: Budget | Limits | str) -> tuple[str, int]:
        """The resource and the units of a budget, a share being one of *this* network."""
        if isinstance(budget, Limits):
            return budget.resource, budget.units
        budget = Budget.parse(budget)
        return budget.resource, budget.limit(self.cost(budget.resource))

    def bottlenecked_to(self, budget: Budget | Limits | str) -> Architecture:
        """The groups inside the blocks times one z, the largest that meets the budget; streams stay as wide.

        Of a built-in family that is `scaled_to`: its widths are those inside the blocks. Of another network
        the groups inside are those that one layer alone writes (`ChannelGroup.inner`); a plain chain has no
        others, so that this is its `narrowed_to`. A relative budget is a share of *this* architecture.

        Raises:
            InputError: where every group is a stream, or even widths of 1 inside the blocks are too many.

        Reference: Crowley et al. 2018, section 3.1 (the green curve of Fig. 1).
        """
        if self.origin is None:
            return self.scaled_to(budget)
        inner = self._inside()
        if not inner:
            raise InputError(
                f"a bottleneck narrows the channels inside blocks, and '{self.factory}' has none: all its "
                f"{len(self.widths)} channel groups are residual streams; narrow every group (the arm width)"
            )
        resource, limit = self._limit(budget)

        def at(widths: Sequence[int]) -> Architecture:
            narrowed = dict(zip(inner, widths, strict=True))
            return self._clamped([narrowed.get(i, width) for i, width in enumerate(self.widths)])

        whole = [self.origin.widths[i] for i in inner]
        if at(whole).cost(resource) <= limit:
            return at(whole)
        what = (
            f"{self.factory} widths inside the blocks, the streams as they are (the arm width narrows both)"
        )
        base = [self.widths[i] for i in inner]
        return at(fit_scale(base, lambda widths: at(widths).cost(resource), limit, what)[1])

    @property
    def has_blocks(self) -> bool:
        """Whether there are channels inside blocks, so that `bottlenecked_to` has something to narrow."""
        return bool(self._inside())

    def _inside(self) -> list[int]:
        """Which of the widths are those of channels inside blocks, or of a plain chain."""
        if self.origin is None:
            return list(range(len(self.widths)))
        return [i for i, group in enumerate(self.origin.anatomy.graph) if group.inner]

    def _cost_at(self, resource: str) -> Callable[[list[int]], int]:
        return lambda widths: self._clamped(widths).cost(resource)

    def _clamped(self, widths: Sequence[int]) -> Architecture:
        """At these widths; foreign groups are no wider than their factory makes them."""
        if self.origin is not None:
            widths = [min(width, of) for width, of in zip(widths, self.origin.widths, strict=True)]
        return self.with_widths(widths)

    def narrowed_to(self, budget: Budget | Limits | str) -> Architecture:
        """The factory's own shape with every layer times one k, the largest that meets the budget: WRN-d-k.

        Families with residual stages scale the stages, every middle layer as wide as its block's output;
        plain chains scale every layer. A relative budget is a share of *this* architecture.

        Raises:
            InputError: where one channel a layer is too many.

        Reference: Crowley et al. 2018, section 3.1 (the yellow curve of Fig. 1).
        """
        resource, limit = self._limit(budget)
        if self.origin is not None:  # every group, those of residual streams among them
            return Architecture.whole(self.origin).scaled_to(Limits.at({resource: limit}))
        if "stages" not in self.arguments:
            return self.with_arguments().scaled_to(Limits.at({resource: limit}))

        def with_stages(stages: list[int]) -> Architecture:
            return self.with_arguments(stages=stages)

        what = f"{self.factory} stage widths"
        stages = self.arguments["stages"]
        return with_stages(
            fit_scale(stages, lambda widths: with_stages(widths).cost(resource), limit, what)[1]
        )

    def group_names(self) -> tuple[str, ...]:
        """The names of the prunable groups, in network order."""
        if self.origin is not None:
            return self.origin.names
        return tuple(group.name for group in self.skeleton().groups)

    def identity(self) -> dict[str, Any]:
        """What makes two architectures the same, for hashing into a run's identity."""
        same = {"factory": self.factory, "arguments": self.arguments, "widths": list(self.widths)}
        if self.origin is None:
            return same
        start = self.origin.start(self.widths)
        origin = self.origin
        code = {"layout": origin.layout, "program": origin.program}  # the user may have changed it
        found = {**same, "groups": list(origin.names), **code}
        return {**found, "start": start} if start else found

    def diff(self, other: Architecture) -> list[GroupDiff]:
        """Where two architectures differ: one row for each group that is not equally wide in both."""
        mine, theirs = (dict(zip(of.group_names(), of.widths, strict=True)) for of in (self, other))
        names = [*mine, *(name for name in theirs if name not in mine)]
        return [
            GroupDiff(name, mine.get(name), theirs.get(name))
            for name in names
            if mine.get(name) != theirs.get(name)
        ]

    def to_dict(self) -> dict[str, Any]:
        """The content of `architecture.json`."""
        own, layers, sets = self._described_groups()
        groups = [
            {"name": name, "width": width, "of": of, "layers": spanned, **({"sets": tied} if tied else {})}
            for name, width, of, spanned, tied in zip(
                self.group_names(), self.widths, own, layers, sets, strict=True
            )
        ]
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "version": version("secateur"),
            "factory": self.factory,
            "arguments": self.arguments,
            "input": self.origin.inputs if self.origin else describe_inputs(_example(self.skeleton())),
            "classes": self.classes,
            "groups": groups,
            "layout": self.origin.layout if self.origin else None,
            "params": self.params,
            "macs": self.macs,
        }

    def _described_groups(self) -> tuple[Sequence[int], list[list[str]], list[str]]:
        """Of every group the width in the whole network, the layers spanned, and how channels are tied."""
        if self.origin is not None:
            groups = list(self.origin.anatomy.graph)
            return self.origin.widths, [list(of.modules) for of in groups], [of.sets for of in groups]
        spanned = [[*group.writers, *group.norms, *group.readers] for group in self.skeleton().groups]
        return _construct(self.factory, self.arguments, None).widths, spanned, [""] * len(spanned)

    @classmethod
    def from_dict(
        cls, content: Any, source: str = "architecture", factory: Factory | None = None
    ) -> Architecture:
        """Check and read the content of `architecture.json`; InputError names what is wrong with it."""
        problem = problem_with(content)
        if problem:
            raise InputError(f"{source}: {problem}")
        if content["factory"] in FACTORIES:
            found = cls._of_family(content, source)
        else:
            found = cls._of_foreign(content, source, factory)
        for key, made in found._counts().items():
            if content.get(key, made) != made:
                raise InputError(
                    f"{source}: the widths make {made} {_IN_WORDS[key]}, but the file says {content[key]}: "
                    "it was edited or damaged"
                )
        return found

    def _counts(self) -> dict[str, int | None]:
        """What a file must agree with; MACs only where no operator of torch's own counter is among them."""
        counts: dict[str, int | None] = {"params": self.params, "classes": self.classes}
        return counts if self.origin else {**counts, "macs": self.macs}

    @classmethod
    def _of_family(cls, content: dict[str, Any], source: str) -> Architecture:
        own = _construct(content["factory"], content["arguments"], None)
        names = [group["name"] for group in content["groups"]]
        if names != [group.name for group in own.groups]:
            raise InputError(
                f"{source}: the groups must be those of {content['factory']} in order, got {names[:4]}..."
            )
        return cls.of(own).with_widths([group["width"] for group in content["groups"]])

    @classmethod
    def _of_foreign(cls, content: dict[str, Any], source: str, factory: Factory | None) -> Architecture:
        name = content["factory"]
        if factory is None:
            raise InputError(
                f"{source}: the network is of '{name[:80]}', which is not built in and which a file may not "
                f"import: pass the factory (sc.load(directory, factory=build), or --model {name[:80]}). "
                f"Built in are {', '.join(FACTORIES)}"
            )
        groups = content["groups"]
        try:
            inputs = example_of(content.get("input"))
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        if (layout := layout_without_memory(factory, content["arguments"])) not in (None, content["layout"]):
            raise _of_other_tensors(source, layout, content["layout"])
        origin = reopened(factory, inputs, groups, name=name, arguments=content["arguments"], source=source)
        if origin.layout != content["layout"]:
            raise _of_other_tensors(source, origin.layout, content["layout"])
        widths = {group["name"]: group["width"] for group in groups}
        return cls(name, content["arguments"], tuple(widths[of] for of in origin.names), origin)

    def save(self, path: str | Path) -> None:
        """Write `architecture.json` (or the named file), whole or not at all."""
        path = Path(path)
        write_json(path / ARCHITECTURE_FILE if path.is_dir() else path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path, factory: Factory | None = None) -> Architecture:
        """Read a file, or the `architecture.json` of a folder; InputError names what is wrong with it.

        Args:
            factory: builds the whole network, where it is not of a built-in family; nothing is imported.
        """
        content, path = read_architecture(path)
        return cls.from_dict(content, str(path), factory)


def _of_other_tensors(source: str, built: str | None, saved: str) -> InputError:
    return InputError(
        f"{source}: the factory builds a network with other tensors (layout {built}) than the one that was "
        f"saved ({saved}): pass the same factory"
    )


@lru_cache(maxsize=64)
def _family_costs(factory: str, arguments: str) -> Costs:
    """What a family's networks cost in closed form, at any widths of their groups: a recount takes 20 ms."""
    return anatomy_of(_construct(factory, json.loads(arguments), None)).costs


def _example(model: Family) -> Tensor:
    return torch.empty(1, *model.input_shape, device="meta")


def _construct(
    factory: str, arguments: dict[str, Any], widths: Sequence[int] | None, device: str = "meta"
) -> Family:
    if factory not in FACTORIES:
        raise unknown("model family", factory, FACTORIES)
    try:
        with torch.device(device), _ShapesOnly() if device == "meta" else nullcontext():
            return FACTORIES[factory](**arguments, widths=widths)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from None


class _ShapesOnly(TorchFunctionMode):
    """Skips initialisation, which on the meta device fills nothing, yet costs more than all the rest."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_):
            return args[0]
        return func(*args, **(kwargs or {}))


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
