"""The C of the fast kernels, as it lies in `kernels/`: each file is a text with a few choices left open."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.eight import quantized
from secateur.deploy.c.program import Values
from secateur.errors import InputError

SUFFIXES = {"float32": "", "float16": "_half", "int8": "_byte"}
"""What the kernels are called by, by the weights that they read."""

PADDING = 8
"""Scales behind the last one that may be read, times a weight of zero."""

_READERS = {"float32": "floats", "float16": "halves", "int8": "bytes"}
_TYPES = {"float32": "float", "float16": "uint16_t", "int8": "int8_t"}
_OF_BYTES = re.compile(r"/\*8 (.*?) \*/ ?")

HALF_MAX = 65504
"""The largest float16."""

WIDEST = 16
"""Floats of the widest vector that a kernel may have: so far a run of outputs may be read beyond its end."""


@cache
def kernel(name: str, values: Values = "float32", wide: bool = False) -> str:
    """Read kernels/NAME.c and choose.

    Args:
        values: what weights are stored as. Others than float32 are turned to that, some at a time, in `room`;
            of int8 ones `/*8 ... */` holds what their scales need.
        wide: whether indices need 32 bits.
    """
    content = (files(__package__) / "kernels" / f"{name}.c").read_text(encoding="utf-8")
    text = Template(_OF_BYTES.sub(r"\1" if values == "int8" else "", content))
    index = "_wide" if wide else ""
    return text.substitute(
        index="uint32_t" if wide else "uint16_t",
        value=_TYPES[values],
        wide=index,
        suffix=SUFFIXES[values] + index,
        read=f"from_{_READERS[values]}",
    )


def kernels(names: Sequence[str], values: Values = "float32", wide: bool = False) -> tuple[str, ...]:
    """Several, in this order, with what turns weights into floats where that is needed."""
    read = kernel(_READERS[values])
    return (kernel("vectors"), read, *(kernel(name, values, wide) for name in names))


def stored(weight: np.ndarray, values: Values, layer: str) -> np.ndarray:
    """Weights as they are stored; the scales of int8 ones are a constant of their own (`scaled`).

    Raises:
        InputError: where one is too large for float16.
    """
    if values == "float16" and (largest := float(np.abs(weight).max(initial=0))) >= HALF_MAX + 16:
        raise InputError(
            f"values float16 must hold every weight, {HALF_MAX} at most, got {largest:.3g} in {layer}: "
            "export float32"
        )
    return quantized(weight)[0] if values == "int8" else weight.astype(values)


def scaled(name: str, weight: np.ndarray, values: Values) -> tuple[str, str]:
    """The scales of weights in int8: their declaration, and what is said in a call; of others nothing."""
    if values != "int8":
        return "", ""
    padding = np.zeros(PADDING, np.float32)  # of the channels that fill a block
    scales = np.concatenate([quantized(weight)[1], padding])
    return array(f"{name}_scales", scales), f", {name}_scales"


class Nonzeros:
    """A sparse layer as it is stored: for each output how many weights are not zero, where they read, what.

    Args:
        weight: (outputs, ...) as stored.
        places: where each weight of one output reads, of its shape; or one for each output.
    """

    def __init__(self, weight: np.ndarray, places: np.ndarray):
        rows = weight.reshape(len(weight), -1)
        ordered = np.argsort(places.reshape(-1), kind="stable")  # memory is read upwards
        outputs, column = np.nonzero(rows[:, ordered])
        self.values = rows[outputs, ordered[column]]
        self.places = places.reshape(-1)[ordered[column]]
        self.counts = np.bincount(outputs, minlength=len(weight))

    @property
    def wide(self) -> bool:
        """Whether 16 bits are too few for a place, or for a count."""
        return max(self.places.max(initial=0), self.counts.max(initial=0)) > np.iinfo(np.uint16).max

    @property
    def most(self) -> int:
        """Nonzeros of one output, at most."""
        return int(self.counts.max(initial=0))

    def constants(self, name: str) -> str:
        """The three arrays: NAME_at, NAME_values, NAME_counts."""
        index = np.uint32 if self.wide else np.uint16
        return (
            array(f"{name}_at", _some(self.places.astype(index)))
            + array(f"{name}_values", _some(self.values))
            + array(f"{name}_counts", self.counts.astype(index))
        )


def _some(values: np.ndarray) -> np.ndarray:
    """A zero where there is nothing: C has no empty arrays."""
    return values if values.size else np.zeros(1, values.dtype)


def floats_or_null(name: str, values: np.ndarray | None) -> tuple[str, str]:
    """A bias: its declaration, and what is said in a call."""
    return (array(name, values.astype(np.float32)), name) if values is not None else ("", "NULL")


def scratches(*sizes: int) -> tuple[str, int]:
    """Places in the scratch, one after the other, as the arguments of a call; and how many floats they take.

    Example:
        >>> scratches(100, 0, 20)
        ('scratch, NULL, scratch + 100', 120)
    """
    said, total = [], 0
    for size in sizes:
        said.append((f"scratch + {total}" if total else "scratch") if size else "NULL")
        total += size
    return ", ".join(said), total
