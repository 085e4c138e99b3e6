"""What is measured on another device: each shape of layer on a grid of channels, and whole networks.

The grid of a layer reaches from the channels that it has when every group is down to one channel to those
that it has in the whole network, with 1/2, 1/4 and 1/8 of these between: whatever pruning leaves lies within.
What no cut changes has one point. Whole networks are the network itself, cut evenly, and cut at random.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from typing import Any

from torch import nn

from secateur.deploy.layer_shapes import Found, Layers, layers_of
from secateur.deploy.predicted import site_of
from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.records.device_table import FORMAT, Channels, DeviceTable, Layer, Shape, within
from secateur.surgery.anatomy import anatomy_of

_SHARES = (1.0, 0.5, 0.25, 0.125)
_EVENLY = (0.75, 0.5, 0.25)
_LEAST = 0.125
PLAN_FILE = "table.json"
"""The table without its times, in every emitted folder: what tells that it is one."""

NETWORKS = 8
"""How many whole networks are measured, where a network has so many widths."""


def kept_text(name: str) -> str:
    """A file that lies beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class GridSite:
    """A `records.device_table.Site` whose costs are not known yet."""

    shape: Shape
    groups: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def axes(self) -> tuple[tuple[int, ...], ...]:
        """The grid, along all of its axes."""
        return self.groups, self.ins, self.outs

    @property
    def points(self) -> Iterator[Channels]:
        """Every point of the grid, outs fastest."""
        return product(self.groups, self.ins, self.outs)

    def reaches(self, channels: Channels) -> bool:
        """Whether a layer of so many channels lies within the grid."""
        return within(self.axes, channels)


@dataclass(frozen=True)
class Plan:
    """What a folder measures.

    Attributes:
        batch, threads: examples at a time, CPU threads.
        layers: of the whole network.
        networks: the networks whose whole is measured, in evaluation mode, with what they run.
    """

    batch: int
    threads: int
    layers: tuple[Layer, ...]
    sites: tuple[GridSite, ...]
    networks: tuple[tuple[nn.Module, Layers], ...]

    @classmethod
    def of(cls, model: nn.Module, batch: int = 1, threads: int = 1, networks: int = NETWORKS) -> Plan:
        """What is to be measured of a network that was opened (`sc.inspect`), on the inputs of that.

        Raises:
            InputError: where it runs no layer at all.
        """
        inputs = anatomy_of(model).inputs
        whole = layers_of(model, inputs, batch)
        if not whole.found:
            raise InputError(
                f"a network to be measured elsewhere has convolutions or linear layers, got "
                f"{type(model).__name__}, which runs none"
            )
        least = layers_of(_cut(model, 0.0), inputs, batch)
        layers, sites = _sites(whole, least)
        several = tuple((each, layers_of(each, inputs, batch)) for each in _networks(model, networks))
        return cls(batch, threads, layers, sites, several)

    def table(self, runtime: str) -> dict[str, Any]:
        """The table as JSON, with None for all that is to be measured: see `slots`."""
        return {
            "schema": DeviceTable.SCHEMA,
            "format": FORMAT,
            "runtime": runtime,
            "version": None,
            "device": None,
            "batch": self.batch,
            "threads": self.threads,
            "dtype": "float32",
            "layers": [each.to_json() for each in self.layers],
            "sites": [
                {
                    "shape": site.shape.to_json(),
                    "groups": site.groups,
                    "ins": site.ins,
                    "outs": site.outs,
                    "ns": [None for _ in site.points],
                }
                for site in self.sites
            ],
            "wholes": [
                {
                    "layers": [[self._site_of(each), *each.channels] for each in layers.found],
                    "elements": layers.elements,
                    "products": layers.products,
                    "ns": None,
                }
                for _, layers in self.networks
            ],
        }

    def _site_of(self, found: Found) -> int:
        index = site_of(found, self.layers, self.sites)
        if index is None:
            raise InputError(
                f"'{found.module}' runs other layers once it is cut, {found.shape}, which were not foreseen: "
                "such a network cannot be measured elsewhere"
            )
        return index

    @property
    def points(self) -> list[tuple[Shape, Channels]]:
        """Every layer that is measured alone, in the order of the table."""
        return [(site.shape, channels) for site in self.sites for channels in site.points]


def _sites(whole: Layers, least: Layers) -> tuple[tuple[Layer, ...], tuple[GridSite, ...]]:
    """Layers of one shape and as many channels share a site, whose grid reaches down to the least of any.

    Of a module that runs other layers once it is cut the grid spans all of them.
    """
    smallest = {found.name: found.channels for found in least.found}
    uses = [Counter(found.module for found in each.found) for each in (whole, least)]
    reached: dict[tuple[Shape, Channels], Channels] = {}
    keys = []
    for found in whole.found:
        low, high = smallest.get(found.name, found.channels), found.channels
        if 0 < uses[1][found.module] != uses[0][found.module]:
            both = (*whole.found, *least.found)
            alike = [
                each.channels for each in both if (each.module, each.shape) == (found.module, found.shape)
            ]
            low, high = _each(min, alike), _each(max, alike)
        keys.append((found.shape, high))
        reached[found.shape, high] = _each(min, [reached.get((found.shape, high), low), low])
    index = {key: number for number, key in enumerate(reached)}
    sites = tuple(GridSite(shape, *map(_axis, low, high)) for (shape, high), low in reached.items())
    layers = tuple(
        Layer(name=found.name, site=index[key], channels=found.channels)
        for found, key in zip(whole.found, keys, strict=True)
    )
    return layers, sites


def _each(choose: Callable[[Iterable[int]], int], channels: Sequence[Channels]) -> Channels:
    """The least, or the most, of groups, inputs and outputs."""
    groups, ins, outs = (choose(lengths) for lengths in zip(*channels, strict=True))
    return groups, ins, outs


def _axis(low: int, high: int) -> tuple[int, ...]:
    """Lengths from low to high: shares of high, rounded, and low itself."""
    shares = {max(low, round(high * share)) for share in _SHARES}
    return tuple(sorted({low, *shares})) if low < high else (high,)


def _networks(model: nn.Module, number: int) -> list[nn.Module]:
    """The network itself, cut evenly, and cut at random, each of other widths; fewer where it has so few."""
    draw, found = random.Random(0), dict[tuple[tuple[str, int], ...], nn.Module]()
    shares: list[float | None] = [1.0, *_EVENLY, *([None] * 4 * number)]
    for share in shares:
        small = _cut(model, share, draw)
        found.setdefault(tuple(anatomy_of(small).graph.widths.items()), small)
        if len(found) == number:
            break
    return list(found.values())


def _cut(model: nn.Module, share: float | None, draw: random.Random | None = None) -> nn.Module:
    """A copy with every group cut to a share of its width; None: to one drawn for each."""
    small = copied(model)
    anatomy = anatomy_of(small)
    widths = {}
    for name, width in anatomy.graph.widths.items():
        here = share if share is not None else draw.uniform(_LEAST, 1.0) if draw else 1.0
        widths[name] = max(1, round(width * here))
    anatomy.narrow(small, widths)
    return small
