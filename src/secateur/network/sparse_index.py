"""The index of a sparse file: which tensors are in it and how they are written; read from any writer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from secateur.errors import InputError
from secateur.network.tensor_files import SPELLED
from secateur.records.reading import parse_json

MOST_BYTES = 16_000_000
"""Of an index, unpacked."""

FLOATS = ("F16", "BF16", "F32", "F64")
"""Those whose bytes lie in streams of their own, and whose zero has a sign."""

DTYPES: dict[str, torch.dtype] = {
    spelled: getattr(torch, name)
    for name, spelled in SPELLED.items()
    if spelled not in ("F4", "C64") and hasattr(torch, name)
}
"""How an index spells torch's dtypes; networks with others keep to plain files."""

_MOST_AXES = 16
_MOST_ENTRIES = 1 << 40


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    Attributes:
        dtype: as safetensors spells it.
        values: the dtype that its values are written in.
        nonzeros: how many of them are written; None: all are, zeros too, and it has no gaps.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: str
    nonzeros: int | None = None

    @property
    def size(self) -> int:
        """Entries of the tensor."""
        return math.prod(self.shape)

    @property
    def written(self) -> int:
        """Values in the file."""
        return self.size if self.nonzeros is None else self.nonzeros

    @property
    def bytes(self) -> int:
        """Of the tensor in memory."""
        return self.size * DTYPES[self.dtype].itemsize

    def to_json(self) -> dict[str, Any]:
        """As the index has it; what goes without saying is left out."""
        found: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.nonzeros is not None:
            found["nonzeros"] = self.nonzeros
        if self.values != self.dtype:
            found["values"] = self.values
        return found

    @classmethod
    def from_json(cls, content: Any) -> Entry:
        """Read what a file says, checked; InputError where it cannot be."""
        if not isinstance(content, dict) or not {"name", "dtype", "shape"} <= content.keys():
            raise InputError("every tensor of its index has a name, a dtype and a shape")
        if unknown_keys := content.keys() - {"name", "dtype", "shape", "nonzeros", "values"}:
            raise InputError(f"nothing is known of {ascii(min(unknown_keys))[:80]} in its index")
        name, dtype, shape = content["name"], content["dtype"], content["shape"]
        values: Any = content.get("values", dtype)
        nonzeros: Any = content.get("nonzeros")
        if not isinstance(name, str):
            raise InputError(f"names in its index are text, got {ascii(name)[:80]}")
        who = f"tensor {ascii(name)[:80]} of its index"
        if wrong := next((each for each in (dtype, values) if not _is_dtype(each)), None):
            raise InputError(f"{who} has the dtype {ascii(wrong)[:80]}, which is none that is read here")
        if values != dtype and not {values, dtype} <= set(FLOATS):
            raise InputError(f"{who} is {dtype}, which is not written as {values}")
        if not _is_shape(shape):
            raise InputError(f"{who} has no shape that is read here, got {ascii(shape)[:80]}")
        entry = cls(name, dtype, tuple(shape), values, nonzeros)
        if nonzeros is not None and not (_is_count(nonzeros) and nonzeros <= entry.size):
            raise InputError(f"{who} has {entry.size:,} entries, got {ascii(nonzeros)[:80]} nonzeros")
        return entry


def streams_of(dtype: str) -> list[str]:
    """What the streams of values of a dtype are called: of floats one for each byte, the lowest first."""
    if dtype not in FLOATS:
        return [dtype]
    return [f"{dtype}.{byte}" for byte in range(DTYPES[dtype].itemsize)]


def value_lengths(entries: Iterable[Entry]) -> dict[str, int]:
    """How many bytes each stream of values holds."""
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.values] = counts.get(entry.values, 0) + entry.written
    return {
        stream: count * (1 if dtype in FLOATS else DTYPES[dtype].itemsize)
        for dtype, count in counts.items()
        for stream in streams_of(dtype)
    }


def sparse_ones(entries: Iterable[Entry]) -> list[Entry]:
    """Pick those that have gaps."""
    return [entry for entry in entries if entry.nonzeros is not None]


def written_index(entries: Iterable[Entry]) -> bytes:
    """Write an index, as JSON."""
    return json.dumps({"tensors": [entry.to_json() for entry in entries]}, separators=(",", ":")).encode()


def read_index(content: bytes) -> list[Entry]:
    """Read and check an index; InputError where anything in it cannot be."""
    found = parse_json(content, "its index")
    listed = found.get("tensors") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(listed, list):
        raise InputError('its index must be an object with a list "tensors"')
    entries = [Entry.from_json(each) for each in listed]
    if len({entry.name for entry in entries}) < len(entries):
        raise InputError("every tensor of its index has a name of its own")
    return entries


def _is_dtype(value: Any) -> bool:
    return isinstance(value, str) and value in DTYPES


def _is_shape(value: Any) -> bool:
    """Few axes, and also those of an empty tensor not too long together: torch multiplies them."""
    if not isinstance(value, list) or len(value) > _MOST_AXES or not all(map(_is_count, value)):
        return False
    return math.prod(max(1, side) for side in value) < _MOST_ENTRIES


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_ENTRIES
