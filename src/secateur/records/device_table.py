"""What layers and whole networks cost on another device: `device.json`, which an emitted folder writes.

Nanoseconds of one batch, the median after warm-up in the quietest of three rounds. A layer is a convolution
or a product with a matrix of weights, alone; layers that differ in nothing but their name share a site.
docs/device.md says how to get one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import ClassVar

from secateur.errors import InputError
from secateur.records.stored import Stored, Wrong

FORMAT = "secateur-device-table"
TABLE_FILE = "device.json"
RUNTIMES = ("c", "onnxruntime")
"""What measures itself elsewhere: C that a compiler makes, or onnxruntime."""

MOST_BYTES = 2**25
_MOST_LAYERS, _MOST_POINTS, _MOST_AXIS, _MOST_NETWORKS = 20_000, 500_000, 32, 64
_LARGEST, _LONGEST_NS, _LONGEST_TEXT = 10**9, 10**15, 400
_AGAIN = "emit the folder again, run it there, and take the file that it writes as it is"

KINDS = ("convolution", "transposed", "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape(Stored):
    """What layers of one site have in common: all but how many channels there are.

    Attributes:
        kind: one of `KINDS`.
        kernel, stride, padding, dilation: of a convolution, along every spatial dimension.
        more: the output padding of a transposed convolution, else empty.
        size: of a convolution's input along its spatial dimensions; of a matrix, how many vectors go through
            it, over the batch.
    """

    kind: str
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    more: tuple[int, ...] = ()
    size: tuple[int, ...] = ()

    def check(self) -> None:
        """What types do not say."""
        if self.kind not in KINDS:
            raise Wrong(f"one of {', '.join(KINDS)}", self.kind).inside("kind")
        for name in ("kernel", "stride", "padding", "dilation", "more", "size"):
            values = getattr(self, name)
            if len(values) > 3 or not all(0 <= value <= _LARGEST for value in values):
                raise Wrong(f"at most 3 lengths up to {_LARGEST}", list(values)).inside(name)

    def __str__(self) -> str:
        size = "x".join(map(str, self.size))
        if self.kind == "linear":
            return f"linear on {size} vector{'s' * (self.size != (1,))}"
        stride = "x".join(map(str, self.stride))
        return f"{self.kind} {'x'.join(map(str, self.kernel))}, stride {stride}, on {size}"


Channels = tuple[int, ...]
"""(groups, inputs of a group, outputs of a group): what of a layer may be cut."""


def within(axes: tuple[tuple[int, ...], ...], channels: tuple[int, ...]) -> bool:
    """Whether channels lie between the first and the last point of every axis."""
    return all(axis[0] <= here <= axis[-1] for axis, here in zip(axes, channels, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site(Stored):
    """What layers of one shape cost, on a grid of channels.

    Attributes:
        groups, ins, outs: the grid, each rising: how many groups, and inputs and outputs of each group.
        ns: nanoseconds at every point, outs fastest.
    """

    shape: Shape
    groups: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    ns: tuple[float, ...]

    @property
    def axes(self) -> tuple[tuple[int, ...], ...]:
        """The grid, along all of its axes."""
        return self.groups, self.ins, self.outs

    def reaches(self, channels: Channels) -> bool:
        """Whether a layer of so many channels lies within the grid: nothing is extrapolated."""
        return within(self.axes, channels)

    def check(self) -> None:
        """What types do not say."""
        for name, axis in zip(("groups", "ins", "outs"), self.axes, strict=True):
            _check_axis(name, axis)
        points = prod(len(axis) for axis in self.axes)
        if len(self.ns) != points:
            raise Wrong(f"{points} numbers, one a point of the grid", len(self.ns)).inside("ns")
        for value in self.ns:
            _check_ns(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer(Stored):
    """A layer of the network that the table is of, uncut.

    Attributes:
        name: of its module; "conv#2" for a second use of it.
        site: index in `DeviceTable.sites`.
        channels: `Channels`.
    """

    name: str
    site: int
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Stored):
    """A whole network of some widths, measured: the network itself, or cut.

    Attributes:
        layers: (site, groups, ins, outs) of every layer, in order.
        elements: numbers that all other operators give, for the batch.
        products: multiply-accumulates of products without weights (attention), for the batch.
        ns: nanoseconds of a batch.
    """

    layers: tuple[tuple[int, ...], ...]
    elements: int
    products: int
    ns: float

    def check(self) -> None:
        """What types do not say."""
        _check_ns(self.ns)
        for name in ("elements", "products"):
            if not 0 <= getattr(self, name) <= 10**18:
                raise Wrong("a count of at least 0", getattr(self, name)).inside(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTable(Stored):
    """The file.

    Attributes:
        runtime: one of `RUNTIMES`; version: of the compiler, or of onnxruntime.
        device: what the machine calls itself.
        batch: examples at a time; threads: of the CPU.
        dtype: of the networks: "float32".
        layers: of the network that it is of, uncut.
        wholes: that network first, then narrower ones.
    """

    SCHEMA: ClassVar[int] = 1
    AGAIN: ClassVar[str] = _AGAIN
    format: str
    runtime: str
    version: str
    device: str
    batch: int
    threads: int
    dtype: str
    layers: tuple[Layer, ...]
    sites: tuple[Site, ...]
    wholes: tuple[Whole, ...]

    @property
    def content_hash(self) -> str:
        """Twelve hex digits of what it says, wherever the file lies and however it is laid out."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def check(self) -> None:
        """What types do not say: sizes are bounded, and every layer lies within its site's grid."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")
        if self.runtime not in RUNTIMES:
            raise Wrong(f"one of {', '.join(RUNTIMES)}", self.runtime).inside("runtime")
        for name in ("version", "device", "dtype"):
            text = getattr(self, name)
            if not 0 < len(text) <= _LONGEST_TEXT or not text.isprintable():
                raise Wrong(f"a printable text of at most {_LONGEST_TEXT} letters", text).inside(name)
        for name in ("batch", "threads"):
            if not 1 <= getattr(self, name) <= 999_999:
                raise Wrong("a whole number from 1 to 999999", getattr(self, name)).inside(name)
        self._check_lengths()
        for where, channels, site in self._references():
            if not 0 <= site < len(self.sites):
                raise Wrong(f"the index of one of {len(self.sites)} sites", site).inside(where)
            if len(channels) != 3 or not self.sites[site].reaches(channels):
                raise Wrong(f"within the grid of site {site}", list(channels)).inside(where)

    def _check_lengths(self) -> None:
        for name, most in (("layers", _MOST_LAYERS), ("sites", _MOST_LAYERS), ("wholes", _MOST_NETWORKS)):
            if not 0 < len(getattr(self, name)) <= most:
                raise Wrong(f"a list of 1 to {most}", len(getattr(self, name))).inside(name)
        if (points := sum(len(site.ns) for site in self.sites)) > _MOST_POINTS:
            raise Wrong(f"at most {_MOST_POINTS} points on all grids", points).inside("sites")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise Wrong("layers of different names", next(n for n in names if names.count(n) > 1))
        for index, whole in enumerate(self.wholes):
            if not 0 < len(whole.layers) <= _MOST_LAYERS:
                raise Wrong(f"a list of 1 to {_MOST_LAYERS}", len(whole.layers)).inside(f"wholes.[{index}]")

    def _references(self) -> Iterator[tuple[str, Channels, int]]:
        for index, layer in enumerate(self.layers):
            yield f"layers.[{index}]", layer.channels, layer.site
        for number, whole in enumerate(self.wholes):
            for index, entry in enumerate(whole.layers):
                yield f"wholes.[{number}].layers.[{index}]", entry[1:], entry[0] if entry else -1


def read_table(path: Path) -> DeviceTable:
    """Read a table that came from another machine.

    Raises:
        InputError: where there is none, or it is not what an emitted folder writes.
    """
    if not path.is_file():
        raise InputError(
            f"no table at '{path}': secateur measure --emit DIR leaves a folder that writes {TABLE_FILE} "
            "where the network is to run"
        )
    if (size := path.stat().st_size) > MOST_BYTES:
        raise InputError(f"{path}: a table has at most {MOST_BYTES:,} bytes, got {size:,}: {_AGAIN}")
    try:
        return DeviceTable.load(path)
    except OSError as error:
        raise InputError(f"{path}: the table cannot be read ({error.strerror}): {_AGAIN}") from None


def _check_axis(name: str, axis: tuple[int, ...]) -> None:
    rising = all(low < high for low, high in pairwise(axis))
    if not 0 < len(axis) <= _MOST_AXIS or not rising or axis[0] < 1 or axis[-1] > _LARGEST:
        raise Wrong(f"1 to {_MOST_AXIS} rising numbers from 1 to {_LARGEST}", list(axis)).inside(name)


def _check_ns(value: float) -> None:
    if not 0 < value <= _LONGEST_NS:
        raise Wrong("nanoseconds above 0, at most 11 days", value).inside("ns")
