"""A network's file, `model.safetensors`: plain, or sparse where zeros make that smaller; both are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from secateur.atomic import readable
from secateur.errors import InputError
from secateur.network.sparse_file import SparseFile, encoded, is_sparse_file, not_readable, zeros_of
from secateur.network.sparse_index import DTYPES
from secateur.network.tensor_files import spelled_dtype, state_bytes, unshared, written_state

_SPARSE_FROM = 0.1
"""From this share of zeros in a whole network on its file may be sparse. What is dense stays plain, though
compressed it were smaller: any reader of safetensors opens it, and its size is known before it is trained."""


class Tensors(Protocol):
    """The tensors of a file that is open."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Map name to shape of every tensor; nothing of their size is allocated."""
        ...

    def tensors(self, most_bytes: int) -> dict[str, Tensor]:
        """Read all of them; InputError where they would take more, or are damaged."""
        ...


def content_of(state: Mapping[str, Tensor], *, sparse: bool = True, values: str = "exact") -> bytes:
    """Make the file of a network's state: sparse where that is allowed, and smaller.

    Args:
        values: as what nonzeros of a sparse one are written (`sparse_file.VALUES`).

    Raises:
        InputError: where values shall be rounded, and the file is plain.
    """
    if sparse and _may_be_sparse(state):
        content = encoded(state, values)
        if len(content) < state_bytes(state):
            return content
    if values != "exact":
        raise InputError(
            f"values='{values}' are those of a sparse file, and this one is plain: prune the network first, "
            "or convert it (model.half())"
        )
    return save(unshared(state))


def file_bytes(model: nn.Module) -> int:
    """Count the bytes of the file that a network is saved in; of one that is mostly zeros by writing it.

    Example:
        >>> file_bytes(nn.Linear(3, 2))
        160
    """
    state = written_state(model)
    return len(content_of(state)) if _may_be_sparse(state) else state_bytes(state)


def open_tensors(path: str | Path) -> Tensors:
    """Open a file of either kind.

    Raises:
        InputError: where it is none, or says what cannot be.
    """
    return SparseFile(path) if is_sparse_file(path) else _PlainFile(path)


class _PlainFile:
    """A safetensors file as any library writes it."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        try:
            with readable(self.path), safe_open(self.path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise not_readable(self.path, error) from None

    def tensors(self, most_bytes: int) -> dict[str, Tensor]:
        """Read all of them; they take what the file does."""
        try:
            with readable(self.path), safe_open(self.path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise not_readable(self.path, error) from None


def _may_be_sparse(state: Mapping[str, Tensor]) -> bool:
    """Whether so much of a state is zero that its file may be sparse, and all of it could be written."""
    if not all(spelled_dtype(name, tensor) in DTYPES for name, tensor in state.items()):
        return False
    if any(tensor.device.type == "meta" for tensor in state.values()):
        return False
    whole = sum(tensor.numel() for tensor in state.values())
    return sum(map(zeros_of, state.values())) >= max(1, _SPARSE_FROM * whole)
