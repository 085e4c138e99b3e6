"""Networks of the built-in families, made by their factory at any widths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from secateur.architecture.origin import GroupOfWhole, Kept
from secateur.budget import COUNTERS
from secateur.data import Data
from secateur.errors import InputError, unknown
from secateur.models import FACTORIES, Family, display_name
from secateur.network.counting import are_large
from secateur.network.described import describe_inputs
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.costs import COUNTED, Costs


@dataclass(frozen=True)
class FamilyOrigin:
    """A built-in factory with its arguments, which are checked where something is built or asked.

    What has no docstring here is what `secateur.architecture.origin.Origin` says of it.

    Attributes:
        name: a key of `secateur.models.FACTORIES`.
        arguments: the factory's arguments but `widths`.
    """

    name: str
    arguments: dict[str, Any]

    is_family = True
    proof = "a built-in family"
    widest = None
    layout = None

    @classmethod
    def of(cls, model: Family) -> FamilyOrigin:
        """Read off the factory and the arguments of a network; the widths are its own."""
        return cls(model.factory, json.loads(json.dumps(model.arguments)))

    @property
    def display_name(self) -> str:
        return self._own.display_name

    @property
    def widths(self) -> tuple[int, ...]:
        return self._own.widths

    @property
    def inside(self) -> tuple[int, ...]:
        """All: what a family declares as streams is no group of widths."""
        return tuple(range(len(self.widths)))

    @property
    def stages(self) -> list[int] | None:
        return self.arguments.get("stages")

    @property
    def classes(self) -> int:
        return int(self.arguments["num_classes"])

    @property
    def inputs(self) -> Any:
        return describe_inputs(torch.empty(1, *self._own.input_shape, device="meta"))

    def names_at(self, widths: Sequence[int]) -> tuple[str, ...]:
        return tuple(group.name for group in self.skeleton(widths).groups)

    def groups_at(self, widths: Sequence[int]) -> list[GroupOfWhole]:
        spanned = [[*group.writers, *group.norms, *group.readers] for group in self.skeleton(widths).groups]
        return [GroupOfWhole(*group, "") for group in zip(self.widths, spanned, strict=True)]

    def checked(self, widths: Sequence[int]) -> dict[str, int | None]:
        counts: dict[str, int | None] = {name: self.cost(widths, name) for name in ("params", "macs")}
        return {"params": counts["params"], "classes": self.classes, "macs": counts["macs"]}

    def described(self) -> dict[str, Any]:
        return {}

    def make(self, widths: Sequence[int], kept: Kept | None = None) -> Family:
        return construct(self.name, self.arguments, widths, device="cpu")

    def rebuilt(self, widths: Sequence[int], kept: Kept | None = None) -> Family:
        return self.make(widths)

    def skeleton(self, widths: Sequence[int]) -> Family:
        return construct(self.name, self.arguments, widths)

    def cost(self, widths: Sequence[int], resource: str) -> int:
        return _cost(self.name, self._spelled, tuple(widths), resource)

    def clamped(self, widths: Sequence[int]) -> tuple[int, ...]:
        return tuple(widths)

    def identity_at(self, widths: Sequence[int], kept: Kept | None = None) -> dict[str, Any]:
        return {}

    def comes_trained_at(self, widths: Sequence[int]) -> bool:
        return False

    def with_arguments(self, changes: dict[str, Any]) -> tuple[FamilyOrigin, tuple[int, ...]]:
        own = FamilyOrigin(self.name, {**self.arguments, **changes})._own
        return FamilyOrigin(self.name, json.loads(own.arguments)), own.widths

    def fitted_to(self, data: Data, widths: Sequence[int]) -> FamilyOrigin:
        return self._with({**self.arguments, **arguments_for(data.shape, data.num_classes)}, widths)

    def at_images(self, shape: Sequence[int], widths: Sequence[int]) -> FamilyOrigin:
        return self._with({**self.arguments, **arguments_for(shape, self.classes)}, widths)

    def kept_of(self, model: nn.Module) -> Kept:
        return {}  # no channel of a family differs from another but by its weights

    def _with(self, arguments: dict[str, Any], widths: Sequence[int]) -> FamilyOrigin:
        fitted = FamilyOrigin(self.name, arguments)
        fitted.skeleton(widths)  # refuses images too small for the family
        return fitted

    def widths_of(self, model: nn.Module) -> tuple[int, ...]:
        assert isinstance(model, Family)
        return model.widths

    @property
    def _spelled(self) -> str:
        return json.dumps(self.arguments, sort_keys=True)

    @property
    def _own(self) -> _Own:
        return _own(self.name, self._spelled)


def arguments_for(shape: Sequence[int], num_classes: int) -> dict[str, Any]:
    """Give the arguments of every family that follow from data: images of (channels, height, width)."""
    return {"in_channels": shape[0], "image_size": list(shape[1:]), "num_classes": num_classes}


def read_family(content: dict[str, Any], source: str) -> tuple[FamilyOrigin, tuple[int, ...]]:
    """Read origin and widths from an architecture file whose form is right.

    Raises:
        InputError: where the factory refuses the arguments, or makes other groups than the file names.
    """
    own = construct(content["factory"], content["arguments"], None)
    names = [group["name"] for group in content["groups"]]
    if names != [group.name for group in own.groups]:
        raise InputError(
            f"{source}: the groups must be those of {content['factory']} in order, got {names[:4]}..."
        )
    return FamilyOrigin.of(own), tuple(group["width"] for group in content["groups"])


@dataclass(frozen=True)
class _Own:
    """What there is to know of a network at the factory's own widths; `arguments` as JSON, all of them."""

    arguments: str
    widths: tuple[int, ...]
    display_name: str
    input_shape: tuple[int, int, int]


@lru_cache(maxsize=4096)
def _own(factory: str, arguments: str) -> _Own:
    """Find it out: a comparison of many budgets asks again and again, and to build a network takes 3 ms."""
    model = _model(factory, arguments)
    return _Own(json.dumps(model.arguments), model.widths, display_name(model), model.input_shape)


@lru_cache(maxsize=4)
def _model(factory: str, arguments: str) -> Family:
    """The network at the factory's own widths, without weights; nobody changes it."""
    return construct(factory, json.loads(arguments), None)


@lru_cache(maxsize=16384)
def _cost(factory: str, arguments: str, widths: tuple[int, ...], resource: str) -> int:
    """Count a resource at any widths, or say what is wrong with them."""
    if widths == _own(factory, arguments).widths:
        return COUNTERS[resource](_model(factory, arguments))
    large = are_large(_own(factory, arguments).input_shape)  # a closed form names every feature
    if resource in COUNTED and all(width >= 1 for width in widths) and not large:
        costs = _family_costs(factory, arguments)
        names = list(costs.graph.groups)
        if len(names) == len(widths):
            return costs.at(dict(zip(names, widths, strict=True)))[resource]
    return COUNTERS[resource](construct(factory, json.loads(arguments), widths))


@lru_cache(maxsize=64)
def _family_costs(factory: str, arguments: str) -> Costs:
    """Find the closed form of what a family's networks cost at any widths: a recount takes 20 ms."""
    return anatomy_of(construct(factory, json.loads(arguments), None)).costs


def construct(
    factory: str, arguments: dict[str, Any], widths: Sequence[int] | None, device: str = "meta"
) -> Family:
    """Call a built-in factory; None: its own widths.

    Raises:
        InputError: for an unknown factory, or where it refuses arguments or widths.
    """
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
