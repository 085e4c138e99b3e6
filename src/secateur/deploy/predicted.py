"""Latency on another device, foretold from what layers and whole networks cost there (`device.json`).

    latency = alpha * sum of layers + beta * numbers of other operators + gamma * products + delta

A layer's cost is interpolated linearly along each of groups, inputs and outputs, between points of its grid;
a wider layer never costs less than a narrower one. The four numbers are at least 0 and have the least sum of
squared relative errors over the whole networks that were measured. The error that is stated of a table is
that of every whole network foretold without it, from all the others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Protocol

import numpy as np
from torch import nn

from secateur.deploy.given import Inputs
from secateur.deploy.layer_shapes import Found, Layers, layers_of, module_of
from secateur.errors import InputError
from secateur.records.device_table import Channels, DeviceTable, Layer, Shape, Site, Whole

_FEWEST = 3  # whole networks by which an error can be told
_LARGE = 0.25


@dataclass(frozen=True)
class Errors:
    """How far `n` whole networks are from what a table foretells, as shares of what was measured."""

    median: float
    worst: float
    n: int

    def __str__(self) -> str:
        return f"within {_percent(self.worst)} (median {_percent(self.median)}, {self.n} networks)"


@dataclass(frozen=True)
class Predicted:
    """A latency that was foretold, not measured; it reads like `secateur.deploy.latency.Latency`.

    Attributes:
        seconds: for one batch.
        runtime, batch_size, threads, device: of the table.
        errors: of the table; None: it has too few whole networks.
    """

    seconds: float
    runtime: str
    version: str
    batch_size: int
    threads: int
    device: str
    dtype: str
    errors: Errors | None

    @property
    def nanoseconds(self) -> int:
        """Rounded up: never in our favour."""
        return math.ceil(self.seconds * 1e9)

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        error = f"foretold {self.errors}" if self.errors else "foretold, its error not known"
        return (
            f"{self.seconds * 1e3:.3g} ms ({error}; {self.runtime} {self.version}, batch {self.batch_size}, "
            f"{threads}, {self.device}, {self.dtype})"
        )


class Reaching(Protocol):
    """A site, measured or not."""

    @property
    def shape(self) -> Shape:
        """Of its layers."""
        ...

    def reaches(self, channels: Channels) -> bool:
        """Whether a layer of so many channels lies within its grid."""
        ...


def predicted(model: nn.Module, inputs: Inputs, table: DeviceTable, source: str = "the table") -> Predicted:
    """What a network will take on the table's device.

    Args:
        model: the network that the table is of, or that network cut.
        source: the table's file, for messages.

    Raises:
        InputError: where it is another network.
    """
    reader = reader_of(table)
    real = (each.dtype for each in model.parameters() if each.is_floating_point())
    dtypes = {str(dtype).removeprefix("torch.") for dtype in real}
    if dtypes - {table.dtype}:
        raise InputError(
            f"{source} is of a network in {table.dtype}, got one in {', '.join(sorted(dtypes))}: convert it"
        )
    layers = layers_of(model, inputs, table.batch)
    reader.check(layers, source)
    seconds = reader.nanoseconds(reader.features(layers)) / 1e9
    known = (table.runtime, table.version, table.batch, table.threads, table.device, table.dtype)
    return Predicted(seconds, *known, reader.errors)


@lru_cache(maxsize=8)
def reader_of(table: DeviceTable) -> Reader:
    """The same table's reader, made once."""
    return Reader(table)


class Reader:
    """A table, ready to foretell.

    Attributes:
        errors: of what it foretells; None where there are fewer than three whole networks.
    """

    def __init__(self, table: DeviceTable):
        self.table = table
        self._grids = [_rising(site) for site in table.sites]
        self._layers = {layer.name: layer for layer in table.layers}
        features = np.array([self._features_of(whole) for whole in table.wholes])
        measured = np.array([whole.ns for whole in table.wholes], dtype=float)
        self._weights = fitted(features, measured)
        self.errors = _errors(features, measured)

    def check(self, layers: Layers, source: str) -> None:
        """Raise InputError unless these are layers of the table's network, cut or not."""
        for found in layers.found:
            if site_of(found, self.table.layers, self.table.sites) is not None:
                continue
            known = self._layers.get(found.name)
            if known is None:
                raise InputError(
                    f"{source} is of another network: it has no layer '{found.name}', a {found.shape}: emit "
                    "a folder for this network, and measure that"
                )
            site = self.table.sites[known.site]
            if site.shape != found.shape:
                raise InputError(
                    f"{source} is of another network, or of other inputs: '{found.name}' is a {found.shape}, "
                    f"and a {site.shape} there: emit a folder for this network at this size, and measure that"
                )
            raise InputError(
                f"{source} reaches from {_in_words(tuple(axis[0] for axis in site.axes))} to "
                f"{_in_words(known.channels)} at '{found.name}', got {_in_words(found.channels)}: emit a "
                "folder for this network, and measure that"
            )

    def features(self, layers: Layers) -> tuple[float, float, float, float]:
        """What a latency is a sum of, before it is weighed: nanoseconds of layers, counts of the rest, 1."""
        total = sum(self._cost(found) for found in layers.found)
        return total, float(layers.elements), float(layers.products), 1.0

    def nanoseconds(self, features: Sequence[float]) -> float:
        """A latency, of what `features` gave."""
        return float(np.dot(self._weights, features))

    def _cost(self, found: Found) -> float:
        index = site_of(found, self.table.layers, self.table.sites)
        assert index is not None, found
        return interpolated(self.table.sites[index], self._grids[index], found.channels)

    def _features_of(self, whole: Whole) -> tuple[float, float, float, float]:
        total = sum(
            interpolated(self.table.sites[index], self._grids[index], (groups, ins, outs))
            for index, groups, ins, outs in whole.layers
        )
        return total, float(whole.elements), float(whole.products), 1.0


def site_of(found: Found, layers: Sequence[Layer], sites: Sequence[Reaching]) -> int | None:
    """The site that a layer's cost is read from; None where the table is of another network.

    It is the layer's own; of a module that runs other layers once it is cut (attention, whose one projection
    becomes three) that of any of its layers.
    """
    own = sorted(
        (layer for layer in layers if module_of(layer.name) == found.module),
        key=lambda layer: layer.name != found.name,
    )
    for layer in own:
        site = sites[layer.site]
        if site.shape == found.shape and site.reaches(found.channels):
            return layer.site
    return None


def in_words(table: DeviceTable, source: str) -> str:
    """Say what a table promises, in a line for people."""
    errors = reader_of(table).errors
    where = f"{table.device}, {table.runtime} {table.version}, batch {table.batch}, threads {table.threads}"
    if errors is None:
        return f"{source} ({where}): too few whole networks to tell how far it is off"
    large = ": that is far; do not rely on it, measure what comes out" if errors.worst > _LARGE else ""
    return f"{source} ({where}) foretells whole networks {errors}{large}"


def interpolated(site: Site, grid: np.ndarray, channels: Channels) -> float:
    """A layer's nanoseconds: linear along each axis between the neighbouring points of the grid."""
    values = grid
    for axis, here in zip(site.axes, channels, strict=True):
        index = int(np.searchsorted(axis, here))
        if axis[index] == here:
            values = values[index]
            continue
        share = (here - axis[index - 1]) / (axis[index] - axis[index - 1])
        values = values[index - 1] * (1 - share) + values[index] * share
    return float(values)


def _rising(site: Site) -> np.ndarray:
    """The grid's costs, made to rise along every axis: where a narrower layer took longer, that counts."""
    grid = np.array(site.ns, dtype=float).reshape([len(axis) for axis in site.axes])
    for axis in range(3):
        grid = np.maximum.accumulate(grid, axis=axis)
    return grid


def fitted(features: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Weights of at least 0 with the least squared relative error, of as many terms as the networks bear.

    Args:
        features: (networks, terms); the first term is the layers', the last is 1.
        measured: (networks,), above 0.
    """
    terms = features.shape[1]
    most = max(1, min(terms, (len(measured) - 1) // 2 + 1))
    scale = np.maximum(features.max(axis=0), 1e-300)
    relative = features / scale / measured[:, None]
    best, least = np.zeros(terms), math.inf
    for size in range(1, most + 1):
        for chosen in combinations(range(terms), size):
            if 0 not in chosen:
                continue
            columns = relative[:, chosen]
            found = np.linalg.lstsq(columns, np.ones(len(measured)), rcond=None)[0]
            error = float(((columns @ found - 1) ** 2).sum())
            if (found >= 0).all() and found[0] > 0 and error < least:
                best, least = np.zeros(terms), error
                best[list(chosen)] = found / scale[list(chosen)]
    return best


def _errors(features: np.ndarray, measured: np.ndarray) -> Errors | None:
    """The error of each network foretold from the others."""
    if len(measured) < _FEWEST:
        return None
    found = []
    for index in range(len(measured)):
        others = np.arange(len(measured)) != index
        foretold = float(features[index] @ fitted(features[others], measured[others]))
        found.append(abs(foretold / measured[index] - 1))
    return Errors(float(statistics.median(found)), float(max(found)), len(found))


def _in_words(channels: Sequence[int]) -> str:
    groups, ins, outs = channels
    return f"{groups * ins} -> {groups * outs} channels" + (f" in {groups} groups" if groups > 1 else "")


def _percent(share: float) -> str:
    """Rounded up to a whole percent from 1% on: an error is not made smaller."""
    return f"{math.ceil(share * 100 - 1e-9)}%"
