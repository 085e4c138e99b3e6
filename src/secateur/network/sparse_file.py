"""Tensors that are mostly zero in a safetensors file near their entropy; docs/sparse-file.md has the layout.

from secateur.network import sparse_file
sparse_file.write("small.safetensors", tensors)                        # exact
sparse_file.write("small.safetensors", tensors, values="float16")      # rounded
tensors = sparse_file.read("small.safetensors")                        # dense again
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from secateur.atomic import readable, write_bytes
from secateur.errors import InputError, UnreadableError, first_line, unknown
from secateur.network.sparse_index import (
    DTYPES,
    FLOATS,
    Entry,
    read_index,
    sparse_ones,
    streams_of,
    value_lengths,
    written_index,
)
from secateur.network.sparse_index import MOST_BYTES as MOST_INDEX
from secateur.network.sparse_streams import (
    from_planes,
    gaps_of,
    packed,
    packed_size,
    planes_of,
    positions_of,
    unpacked,
)
from secateur.network.tensor_files import SPELLED, unshared, with_metadata
from secateur.records.reading import unreadable

FORMAT = "secateur-sparse"
VERSION = "1"
VALUES = ("exact", "float32", "float16")
"""As what nonzeros may be written: as they are, or rounded."""

MOST_BYTES = 1 << 34
"""What the tensors of a file may take together where nobody knows their shapes: a file can claim anything."""

_INDEX, _GAPS = "index", "gaps"
_SPARSE_FROM = 1 / 8
"""From this share of zeros on a tensor is written sparse: with fewer, saying where they are costs more."""

_ROUNDED = {"float32": "F32", "float16": "F16"}


class SparseFile:
    """A sparse file whose index was read and checked; what is in it is decoded by `tensors`.

    Attributes:
        entries: in the order in which they lie in the streams.

    Raises:
        InputError: where it is not such a file, is damaged, or says what cannot be.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._frames = _frames(self.path)
        try:
            self.entries = _index_in(self._frames)
            self._check_streams()
        except InputError as error:
            raise self._refusal(error) from None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Map name to shape of every tensor; nothing is decoded."""
        return {entry.name: entry.shape for entry in self.entries}

    def tensors(self, most_bytes: int = MOST_BYTES) -> dict[str, Tensor]:
        """Decode everything, dense.

        Args:
            most_bytes: what the tensors may take together; whoever has compared the shapes knows that.

        Raises:
            InputError: where they would take more, or the streams do not fit the index.
        """
        try:
            if (needed := sum(entry.bytes for entry in self.entries)) > most_bytes:
                raise InputError(
                    f"its tensors would take {needed:,} bytes, at most {most_bytes:,} are read: give "
                    "most_bytes where that is right"
                )
            return self._decoded()
        except InputError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: InputError) -> InputError:
        return InputError(f"{self.path}: not a sparse file that can be read: {error}")

    def _check_streams(self) -> None:
        """Compare the streams with the index: which there are, and how much each says that it holds."""
        lengths = value_lengths(self.entries)
        expected = {_INDEX, *lengths, *([_GAPS] if sparse_ones(self.entries) else [])}
        if self._frames.keys() != expected:
            odd = min(self._frames.keys() ^ expected)
            raise InputError(f"the stream {ascii(odd)[:80]} is there or not, and the index says otherwise")
        for name, length in lengths.items():
            if (said := packed_size(self._frames[name], f"stream {name}")) != length:
                raise InputError(f"stream {name} must hold {length:,} bytes, it says {said:,}")

    def _decoded(self) -> dict[str, Tensor]:
        positions = self._positions()
        values = self._values()
        found, at, taken = {}, 0, dict.fromkeys(values, 0)
        for entry in self.entries:
            kind, begin = entry.values, taken[entry.values]
            taken[kind] += entry.written
            bits = values[kind][begin : taken[kind]]
            if entry.nonzeros is None:
                found[entry.name] = _tensor(bits, entry)
                continue
            dense = np.zeros(entry.size, bits.dtype)
            dense[positions[at : at + entry.nonzeros]] = bits
            at += entry.nonzeros
            found[entry.name] = _tensor(dense, entry)
        return found

    def _positions(self) -> NDArray[np.int64]:
        """Where the nonzeros of all sparse tensors lie, each within its own tensor."""
        sparse = sparse_ones(self.entries)
        if not sparse:
            return np.empty(0, np.int64)
        size, count = sum(each.size for each in sparse), sum(each.written for each in sparse)
        length = packed_size(self._frames[_GAPS], "stream gaps")
        if length > count + size // 255:
            raise InputError(f"stream gaps holds at most {count + size // 255:,} bytes, it says {length:,}")
        gaps = np.frombuffer(unpacked(self._frames[_GAPS], length, "stream gaps"), np.uint8)
        positions = positions_of(gaps)
        if len(positions) != count or (length and gaps[-1] == 255):
            raise InputError(f"stream gaps must lead to {count:,} nonzeros, it leads to {len(positions):,}")
        if count and positions[-1] >= size:
            raise InputError(
                f"stream gaps must stay within {size:,} entries, it goes on to {positions[-1]:,}"
            )
        begins = np.cumsum([0, *(each.size for each in sparse)])
        counts = np.diff(np.searchsorted(positions, begins))
        for entry, held in zip(sparse, counts.tolist(), strict=True):
            if held != entry.nonzeros:
                raise InputError(
                    f"tensor {ascii(entry.name)[:80]} must have {entry.nonzeros:,} nonzeros, by its gaps it "
                    f"has {held:,}"
                )
        return positions - np.repeat(begins[:-1], counts)

    def _values(self) -> dict[str, NDArray[Any]]:
        """The values of every dtype, as bits, in the order of the index."""
        lengths, found = value_lengths(self.entries), {}
        for dtype in dict.fromkeys(entry.values for entry in self.entries):
            planes = [
                unpacked(self._frames[name], lengths[name], f"stream {name}") for name in streams_of(dtype)
            ]
            size = DTYPES[dtype].itemsize
            if dtype in FLOATS:
                found[dtype] = from_planes(planes, rotated=True)
            else:
                found[dtype] = np.frombuffer(planes[0], f"<u{size}").astype(f"u{size}", copy=False)
        return found


def not_readable(path: str | Path, error: Exception) -> InputError:
    """Make the error for a safetensors file that is none, or that the system refuses to read."""
    why = "it was cut off or is another kind of file"
    if isinstance(error, FileNotFoundError) and Path(path).exists():  # whatever refused to open it
        error = OSError("the library that opens it does not say why")
    if isinstance(error, OSError):
        found = unreadable(Path(path), error, "look at its permissions and its disk, then try again")
        if isinstance(found, UnreadableError):
            return found
    return InputError(f"{path}: not a readable safetensors file ({first_line(error)}): {why}")


def is_sparse_file(path: str | Path) -> bool:
    """Whether a safetensors file says that it is one of these; False where it is none.

    Raises:
        UnreadableError: nobody can tell now, as the system refuses to read it.
    """
    try:
        with readable(Path(path)), safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError) as error:
        found = not_readable(path, error)
        if isinstance(found, UnreadableError):
            raise found from None
        return False


def read(path: str | Path, most_bytes: int = MOST_BYTES) -> dict[str, Tensor]:
    """Read a file that `write` wrote: every tensor, dense, on the CPU.

    Args:
        most_bytes: what the tensors may take together. A small file can hold large tensors of zeros.

    Raises:
        InputError: where it is not such a file, is damaged, says what cannot be, or holds more.

    Example:
        >>> sparse_file.read("small/model.safetensors")  # doctest: +SKIP
    """
    return SparseFile(path).tensors(most_bytes)


def write(path: str | Path, tensors: Mapping[str, Tensor], values: str = "exact") -> int:
    """Write tensors to a file, whole or not at all: those with many zeros sparse, the others as they are.

    Args:
        tensors: of any dtype but complex ones; what zeros there are lose their sign where they are many.
        values: "exact": nonzeros are written as they are; "float32" or "float16": nonzeros of floats that
            are wider are rounded to it, to nearest, in tensors of two or more axes; what is read has the
            tensor's own dtype again, with the rounded numbers.

    Returns:
        The bytes of the file.

    Raises:
        InputError: for a dtype that cannot be written, or a number beyond what `values` can hold.

    Example:
        >>> sparse_file.write("small.safetensors", model.state_dict())  # doctest: +SKIP
    """
    content = encoded(tensors, values)
    write_bytes(Path(path), content)
    return len(content)


def encoded(tensors: Mapping[str, Tensor], values: str = "exact") -> bytes:
    """Make the bytes that `write` writes."""
    if values not in VALUES:
        raise unknown("kind of values", values, VALUES)
    prepared = [_prepared(name, tensor, values) for name, tensor in unshared(tensors).items()]
    prepared.sort(key=lambda each: _density(each[0]))  # neighbours in a stream are alike then
    streams: dict[str, list[bytes]] = {}
    begin, last = 0, -1  # where a tensor begins, and the nonzero before it, counted through all of them
    for entry, bits in prepared:
        if entry.nonzeros is not None:
            where = np.flatnonzero(bits)
            streams.setdefault(_GAPS, []).append(gaps_of(where + begin, last).tobytes())
            last = begin + int(where[-1]) if len(where) else last
            begin += entry.size
            bits = bits[where]
        planes = planes_of(bits, True) if entry.values in FLOATS else [bits.tobytes()]
        for stream, plane in zip(streams_of(entry.values), planes, strict=True):
            streams.setdefault(stream, []).append(plane)
    streams[_INDEX] = [written_index(entry for entry, _ in prepared)]
    held = {name: _as_tensor(packed(parts)) for name, parts in streams.items()}
    return with_metadata(held, {"format": FORMAT, "version": VERSION})


def _density(entry: Entry) -> float:
    """The share of entries that are written one by one; above 1 where there are no gaps."""
    return 2.0 if entry.nonzeros is None else entry.nonzeros / entry.size


def rounded(tensors: Mapping[str, Tensor], values: str) -> dict[str, Tensor]:
    """Give what `read` gives of tensors that were written with such values; those that stay are the same."""
    found = {}
    for name, tensor in tensors.items():
        kind = _prepared(name, unshared({name: tensor})[name], values)[0].values
        exact = DTYPES[kind] == tensor.dtype
        found[name] = tensor if exact else tensor.detach().to(DTYPES[kind]).to(tensor.dtype)
    return found


def zeros_of(tensor: Tensor) -> int:
    """Count the zeros of a tensor, of any dtype."""
    (plain,) = unshared({"": tensor}).values()
    dtype = SPELLED.get(str(plain.dtype).removeprefix("torch."), "")
    return plain.numel() - int(np.count_nonzero(_unsigned(_bits(plain.reshape(-1)), dtype)))


def _prepared(name: str, tensor: Tensor, values: str) -> tuple[Entry, NDArray[Any]]:
    """How a tensor is written, and all of its numbers as bits; zeros without a sign where it is sparse."""
    dtype = SPELLED.get(str(tensor.dtype).removeprefix("torch."), "")
    if dtype not in DTYPES:
        raise InputError(
            f"a sparse file holds real numbers of {', '.join(DTYPES)}, but '{name}' is {tensor.dtype}: "
            "convert it, or write a plain file"
        )
    kind, shape = dtype, tuple(tensor.shape)
    flat = tensor.reshape(-1)
    bits = _bits(flat)
    if np.count_nonzero(_unsigned(bits, dtype)) > (1 - _SPARSE_FROM) * bits.size or not bits.size:
        return Entry(name, dtype, shape, kind), bits
    wanted = _ROUNDED.get(values, dtype)
    if dtype in FLOATS and len(shape) > 1 and DTYPES[wanted].itemsize < DTYPES[dtype].itemsize:
        kind = wanted
        bits = _bits(_rounded(name, flat, DTYPES[wanted]))
    bits[_unsigned(bits, kind) == 0] = 0
    return Entry(name, dtype, shape, kind, int(np.count_nonzero(bits))), bits


def _unsigned(bits: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Numbers without their sign, of those whose zero has one."""
    if dtype not in FLOATS:
        return bits
    found: NDArray[Any] = bits & bits.dtype.type((1 << (8 * bits.dtype.itemsize - 1)) - 1)
    return found


def _rounded(name: str, flat: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to another dtype; InputError where that has no number for one."""
    found = flat.to(dtype)
    if bool((found.isinf() & ~flat.isinf()).any()):
        most = torch.finfo(dtype).max
        raise InputError(
            f"{str(dtype).removeprefix('torch.')} holds numbers up to {most:g}, but '{name}' has "
            f"{float(flat[flat.isfinite()].abs().max()):g}: write it with values='exact'"
        )
    if flat.count_nonzero() and not found.count_nonzero():
        raise InputError(
            f"{str(dtype).removeprefix('torch.')} has no number so small, '{name}' would be all zeros, got "
            f"{float(flat.abs().max()):g} at most: write it with values='exact'"
        )
    return found


def _bits(flat: Tensor) -> NDArray[Any]:
    """The numbers of a tensor of one axis as unsigned integers of its own memory."""
    if not flat.numel():
        return np.empty(0, f"u{flat.element_size()}")
    held: NDArray[Any] = flat.contiguous().view(torch.uint8).numpy()
    return held.view(f"u{flat.element_size()}").copy()


def _tensor(bits: NDArray[Any], entry: Entry) -> Tensor:
    """The tensor of an entry, of its bits."""
    if not entry.size:
        return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
    held = torch.from_numpy(np.array(bits).view(np.uint8))
    return held.view(DTYPES[entry.values]).reshape(entry.shape).to(DTYPES[entry.dtype])


def _as_tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _frames(path: Path) -> dict[str, bytes]:
    """Read the streams of a file, still compressed."""
    try:
        with readable(Path(path)), safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path}: not a sparse file: its metadata must say format {FORMAT}")
            if metadata.get("version") != VERSION:
                raise InputError(
                    f"{path}: version {VERSION} of sparse files is read here, got "
                    f"{ascii(metadata.get('version'))[:80]}: it was written by another version"
                )
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise not_readable(path, error) from None
    for name, held in found.items():
        if held.dtype != torch.uint8 or held.dim() != 1:
            raise InputError(
                f"{path}: streams of a sparse file are bytes, but {ascii(name)[:80]} is {held.dtype}"
            )
    return {name: held.numpy().tobytes() for name, held in found.items()}


def _index_in(frames: Mapping[str, bytes]) -> list[Entry]:
    """Read and check the index of a file."""
    if _INDEX not in frames:
        raise InputError("it has no stream 'index'")
    length = packed_size(frames[_INDEX], "its index")
    if length > MOST_INDEX:
        raise InputError(f"its index holds at most {MOST_INDEX:,} bytes, it says {length:,}")
    return read_index(unpacked(frames[_INDEX], length, "its index"))
