"""Sizes that modules hold as Python numbers (`num_heads`, `split_size`), and which of them may follow a cut.

A place is an integer that a module's code reads while it runs. What could follow a group's width is proposed
here by its value alone; whether it must is for the proof to say (`secateur.surgery.mending`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.bench import Bench
from secateur.surgery.cutting import CHANNELWISE, Axis
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.held_numbers import Number

_FOLLOWED = {
    *(
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "output_padding",
        "groups",
    ),
    *("in_features", "out_features", "num_features", "num_channels", "num_groups", "num_parameters"),
    *("normalized_shape", "_reversed_padding_repeated_twice"),
}
"""What `secateur.surgery.cutting` sets itself where a layer is cut, and what never follows a width."""


Meaning = tuple[str, str, int | None, str]
"""(class, attribute, item, how it follows): what is alike in numbers of modules that are alike."""


@dataclass(frozen=True)
class Place:
    """Where a module holds an integer: an attribute, or an item of a tuple or list."""

    module: str
    attribute: str
    index: int | None = None


@dataclass(frozen=True)
class Proposal:
    """Numbers of one meaning that may follow a group together: of all modules of a class, as of every block.

    Attributes:
        meaning: what they have in common.
        numbers: one for each module.
        likely: 0 where the value is a width or a size itself, 1 a multiple of the width, 2 a sum with others;
            1 more where none of the group's layers lies in the modules.
    """

    meaning: Meaning
    numbers: tuple[Number, ...]
    likely: int


def places_read(bench: Bench) -> dict[Place, int]:
    """Find the integers above 1 that the modules' code reads while the model runs, with their values."""
    read: dict[str, set[str]] = {}
    model = bench.model
    with _recorded(model, read):
        bench.outputs(model, bench.batches[0])
    found: dict[Place, int] = {}
    for name, module in model.named_modules():
        layer = isinstance(module, (_ConvNd, nn.Linear, *CHANNELWISE))
        for attribute in sorted(read.get(name, set()) - (_FOLLOWED if layer else set())):
            held = vars(module).get(attribute)
            if _is_size(held):
                found[Place(name, attribute)] = held
            elif isinstance(held, (tuple, list)):
                found |= {Place(name, attribute, i): item for i, item in enumerate(held) if _is_size(item)}
    return found


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 1


@contextmanager
def _recorded(model: nn.Module, read: dict[str, set[str]]) -> Iterator[None]:
    """Note which attributes of their own the modules are asked for, while this holds."""
    classes: list[tuple[nn.Module, type]] = []
    try:
        for name, module in model.named_modules():
            classes.append((module, type(module)))
            _record(module, read.setdefault(name, set()))
        yield
    finally:
        for module, cls in classes:
            object.__setattr__(module, "__class__", cls)


def _record(module: nn.Module, read: set[str]) -> None:
    def look_up(self: nn.Module, attribute: str) -> Any:
        if attribute in object.__getattribute__(self, "__dict__"):
            read.add(attribute)
        return super(recording, self).__getattribute__(attribute)

    cls = type(module)
    recording: Any = type(cls.__name__, (cls,), {"__getattribute__": look_up, "__module__": cls.__module__})
    try:
        object.__setattr__(module, "__class__", recording)
    except TypeError:  # a class of another layout stays as it is, and is not asked
        return


def proposals(
    graph: ChannelGraph, name: str, model: nn.Module, places: Mapping[Place, int]
) -> list[Proposal]:
    """Propose numbers that follow a group, the likeliest first.

    Args:
        graph: uncut; its own numbers stay where nothing else is proposed.
        model: the uncut network.
        places: what `places_read` found in it.
    """
    forms = _Forms(graph, name)
    held = {Place(n.module, n.attribute, n.index): n for n in graph.numbers}
    near, holds = _near(graph, name), holders(graph, name)
    found: dict[Meaning, list[tuple[int, Number]]] = {}
    for place, value in places.items():
        if not near(place.module):
            continue
        module = type(model.get_submodule(place.module)).__qualname__
        for how, likely, each, rest in forms.of(value, held.get(place)):
            number = Number(place.module, place.attribute, place.index, each, rest)
            where = how if place.module in holds else f"{how} beside"
            found.setdefault((module, place.attribute, place.index, where), []).append((likely, number))
    made: dict[tuple[Number, ...], Proposal] = {}
    for meaning, all_ in found.items():
        likely = max(likely for likely, _ in all_) + (1 if meaning[3].endswith(" beside") else 0)
        numbers = tuple(number for _, number in all_)
        made.setdefault(numbers, Proposal(meaning, numbers, likely))
    return sorted(made.values(), key=lambda proposal: proposal.likely)


class _Forms:
    """How a number can follow a group: as (name, likely, each, rest)."""

    def __init__(self, graph: ChannelGraph, name: str):
        self.name, self.width = name, graph.groups[name].width
        self.spreads = sorted({site.entries.shape[1] for site in graph.groups[name].sites})
        self.axes: dict[tuple[tuple[tuple[str, int], ...], int], int] = {}
        whole = graph.uncut()
        for site in graph.groups[name].sites:
            each, rest = _of_axis(whole, site.axis)
            self.axes[each, rest] = whole.size(site.axis)

    def of(
        self, value: int, held: Number | None
    ) -> Iterator[tuple[str, int, tuple[tuple[str, int], ...], int]]:
        """List the ways in which a value follows the group's width."""
        if held is not None and any(name != self.name for name, _ in held.each):
            others = tuple(pair for pair in held.each if pair[0] != self.name)
            for each in (1, *self.spreads):
                if held.rest >= each * self.width:
                    left = held.rest - each * self.width
                    yield f"{each} more", 2 if left else 0, (*others, (self.name, each)), left
            return
        if value == self.width:
            yield "width", 0, ((self.name, 1),), 0
        for (each_of, rest), size in self.axes.items():
            if value == size:
                yield "axis", 0, each_of, rest
        for each in self.spreads:
            if value == self.width * each:
                yield "share", 0, ((self.name, each),), 0
        if value % self.width == 0:
            yield "multiple", 1, ((self.name, value // self.width),), 0
        for each in self.spreads:
            if value > self.width * each:
                yield f"{each} and more", 2, ((self.name, each),), value - self.width * each


def _of_axis(graph: ChannelGraph, axis: Axis) -> tuple[tuple[tuple[str, int], ...], int]:
    """The size of an axis as what each group's channel adds, and the rest."""
    each = tuple(
        (group.name, site.entries.shape[1]) for group in graph for site in group.sites if site.axis == axis
    )
    return each, graph.size(axis) - sum(adds * graph.width(name) for name, adds in each)


def _common(graph: ChannelGraph, name: str) -> tuple[str, ...]:
    """Find the parts of the name of the innermost module that holds all of the group's layers."""
    layers = [tuple(site.axis[0].split(".")) for site in graph.groups[name].sites]
    common = layers[0]
    for names in layers:
        same = (a == b for a, b in zip(common, names, strict=False))
        common = common[: sum(itertools.takewhile(bool, same))]
    return common


def _near(graph: ChannelGraph, name: str) -> Callable[[str], bool]:
    """Tell which modules may run between the group's layers: all within what holds these."""
    root = ".".join(_common(graph, name))
    return lambda module: not root or module == root or module.startswith(f"{root}.")


def holders(graph: ChannelGraph, name: str) -> set[str]:
    """Find the modules that hold a layer of the group or are one, up to the one that holds them all."""
    depth = len(_common(graph, name))
    layers = {tuple(site.axis[0].split(".")) for site in graph.groups[name].sites}
    return {".".join(names[:to]) for names in layers for to in range(depth, len(names) + 1)}


def free_of(graph: ChannelGraph, name: str) -> ChannelGraph:
    """Make the graph in which no number follows a group that none else shares: what was tried and failed."""
    numbers = tuple(n for n in graph.numbers if any(other != name for other, _ in n.each))
    return replace(graph.uncut(), numbers=numbers)
