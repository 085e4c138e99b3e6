"""What identifies a user's function: its name, its source, and the values that it was made with."""

from __future__ import annotations

import functools
import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

_DEEPEST = 4


def describe_callable(function: Any) -> dict[str, Any]:
    """Describe a function, a partial, or an object that is called, as JSON: other code, another description.

    A function is told by its module and name, its source (where there is none, its bytecode), its defaults,
    what it closes over, and the numbers and texts that it reads from its module; an object by its class and
    attributes. What other functions do that it calls is not looked at.

    Returns:
        {"name": "package.module:function", "code": 12 hex digits}.
    """
    found = hashlib.sha256()
    for part in _parts(function, 0):
        found.update(part.encode() + b"\0")
    return {"name": _name(function), "code": found.hexdigest()[:12]}


def _name(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def _parts(value: Any, depth: int) -> list[str]:
    """Texts that together tell a value from another one of its kind."""
    if depth > _DEEPEST:
        return ["..."]
    if value is None or isinstance(value, (bool, int, float, str, bytes, complex)):
        return [f"{type(value).__name__} {value!r}"]
    if isinstance(value, (Tensor, nn.Parameter)):
        return [_of_tensor(value)]
    if isinstance(value, dict):
        return ["dict", *(part for key in value for part in (str(key), *_parts(value[key], depth + 1)))]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *(part for each in value for part in _parts(each, depth + 1))]
    if isinstance(value, functools.partial):
        return ["partial", *_parts([value.func, value.args, value.keywords], depth)]
    if inspect.ismethod(value):
        return ["method", *_parts([value.__func__, value.__self__], depth)]
    if inspect.isfunction(value):
        return _of_function(value, depth)
    if inspect.isclass(value) or inspect.isbuiltin(value) or inspect.ismodule(value):
        return [_name(value) if not inspect.ismodule(value) else value.__name__]
    return _of_object(value, depth)


def _of_tensor(value: Tensor) -> str:
    plain = value.detach().cpu().contiguous()
    digest = hashlib.sha256(plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return f"{plain.dtype} {list(plain.shape)} {digest.hexdigest()}"


def _of_function(function: Any, depth: int) -> list[str]:
    code = function.__code__
    compiled = f"{code.co_code.hex()} {code.co_names} {_constants(code.co_consts)}"
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):  # typed in, or made by exec
        text = compiled
    closed = [_content(cell) for cell in function.__closure__ or ()]
    read = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    plain = {name: value for name, value in read.items() if isinstance(value, (bool, int, float, str))}
    if function.__name__ == "<lambda>":  # several may stand on one line
        text += compiled
    own = [function.__defaults__, function.__kwdefaults__, closed, plain]
    return [_name(function), text, *_parts(own, depth + 1)]


def _constants(constants: tuple[Any, ...]) -> str:
    return repr([each.co_code.hex() if inspect.iscode(each) else each for each in constants])


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _of_object(value: Any, depth: int) -> list[str]:
    """Its class, with the source of what is called, and its attributes."""
    kind = type(value)
    names = ((base, name) for base in kind.__mro__ for name in ("forward", "__call__"))
    called = next((vars(base)[name] for base, name in names if name in vars(base)), None)
    source = _of_function(called, depth + 1) if inspect.isfunction(called) else []
    return [_name(kind), *source, *_parts(getattr(value, "__dict__", {}), depth + 1)]
