"""The safetensors file of a network: its size to the byte before it is written; tensors as it takes them."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from secateur.errors import InputError

SPELLED = {
    **{"bool": "BOOL", "float4_e2m1fn_x2": "F4", "uint8": "U8", "int8": "I8", "float8_e5m2": "F8_E5M2"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0", "float8_e4m3fnuz": "F8_E4M3FNUZ"},
    **{"float8_e5m2fnuz": "F8_E5M2FNUZ", "int16": "I16", "uint16": "U16", "float16": "F16"},
    **{"bfloat16": "BF16", "int32": "I32", "uint32": "U32", "float32": "F32", "complex64": "C64"},
    **{"float64": "F64", "int64": "I64", "uint64": "U64"},
}
"""torch's dtype -> how safetensors spells it. In a file the tensors lie in the reverse of this order."""


_RANK = {dtype: rank for rank, dtype in enumerate(SPELLED)}


def artefact_bytes(model: nn.Module) -> int:
    """Count the bytes of the safetensors file with the network's state, to the byte, without writing it.

    Eight bytes say how long the header is; the header, JSON padded with spaces to a multiple of eight, has
    one entry for every tensor; then come the tensors. Shapes are enough, so the meta device will do. A tensor
    under several names is written under the first, and counts once.

    Example:
        >>> artefact_bytes(nn.Linear(3, 2))
        160
    """
    return state_bytes(written_state(model))


def repeats(model: nn.Module) -> dict[str, str]:
    """Map every later name in the state dict of a tensor that has several to the first one.

    A module registered twice has such names, and tied weights.
    """
    first: dict[int, str] = {}
    named = model.state_dict(keep_vars=True).items()
    return {name: one for name, value in named if (one := first.setdefault(id(value), name)) != name}


def written_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without what is in it already under another name: what a network's file holds."""
    again = repeats(model)
    return {name: value for name, value in model.state_dict().items() if name not in again}


def state_bytes(state: Mapping[str, Tensor]) -> int:
    """`artefact_bytes` of a state dict; InputError where it holds what safetensors cannot.

    The order of the tensors matters, as it decides how many digits their offsets have: by dtype, the widest
    first, then by name.
    """
    dtypes = {name: _dtype_of(name, tensor) for name, tensor in state.items()}
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in sorted(state, key=lambda name: (-_RANK[dtypes[name]], name.encode())):
        tensor, begin = state[name], end
        end += tensor.numel() * tensor.element_size()
        shape = list(tensor.shape)
        if dtypes[name] == "float4_e2m1fn_x2":
            shape[-1] *= 2  # two numbers to the byte
        header[name] = {"dtype": SPELLED[dtypes[name]], "shape": shape, "data_offsets": [begin, end]}
    written = len(json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode())
    return 8 + (written + 7) // 8 * 8 + end


def with_metadata(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Make a safetensors file whose metadata lie in this order: the library's own has another every time."""
    content = memoryview(save(dict(tensors), metadata=dict(metadata)))
    end = 8 + int.from_bytes(content[:8], "little")
    header = {**json.loads(bytes(content[8:end])), "__metadata__": dict(metadata)}  # where it was: first
    told = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    return b"".join((len(told).to_bytes(8, "little"), told, content[end:]))


def _dtype_of(name: str, value: object) -> str:
    """Name the dtype; InputError unless it is a tensor of a kind that safetensors writes."""
    dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
    if dtype not in _RANK:
        raise InputError(
            f"a network's file holds tensors of numbers that safetensors knows, but '{name}' is {dtype}: "
            "convert it, or leave it out of the state"
        )
    return dtype


def spelled_dtype(name: str, tensor: Tensor) -> str:
    """How safetensors spells a tensor's dtype; InputError where it has no word for it."""
    return SPELLED[_dtype_of(name, tensor)]


def check_state(model: nn.Module) -> None:
    """Raise InputError where a network's state could not be saved: no tensors, or of sizes not known yet."""
    kinds = (UninitializedParameter, UninitializedBuffer)
    named = (*model.named_parameters(), *model.named_buffers())
    if lazy := next((name for name, value in named if isinstance(value, kinds)), None):
        raise InputError(
            f"the layers of a network have sizes, but '{lazy}' has none before it has run: call the model "
            "once on a batch, and have its factory do so too"
        )
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise InputError(
                f"the state of a network holds tensors, which alone are saved, but '{name}' is a "
                f"{type(value).__name__}: keep it in a buffer or in an attribute that its factory sets"
            )
        _dtype_of(name, value)


def load_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors into a network as its own state dict, with the versions of its modules, which some want.

    The network takes on the tensors' dtypes: where those of real numbers are all of one, with all it holds.
    """
    _take_dtypes(model, tensors)
    state = OrderedDict(tensors)
    state._metadata = getattr(model.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    model.load_state_dict(state)


def _take_dtypes(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Have a network hold numbers as the tensors do; what its modules share they go on sharing."""
    held = model.state_dict(keep_vars=True)
    if all(value.dtype == tensors[name].dtype for name, value in held.items() if name in tensors):
        return
    real = {value.dtype for value in tensors.values() if value.is_floating_point()}
    if len(real) == 1:
        model.to(real.pop())
    for name, value in held.items():
        if name in tensors and value.dtype != tensors[name].dtype:
            value.data = value.data.to(tensors[name].dtype)


def unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make tensors as safetensors takes them: on the CPU, contiguous, none in another's memory."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        found[name] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return found
