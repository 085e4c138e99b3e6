"""The state of optimizers, which follows every cut of what they step.

A cut keeps the entries `index` along one dimension of a parameter of shape (d_0, d_1, ...). What an optimizer
keeps of that parameter follows by its own shape:

    (d_0, d_1, ...)         momentum, Adam's moments            the same entries
    (d_0, 1), (d_0,)        factored second moments (Adafactor) the same entries, where it has that dimension
    (d_i, d_i), by number   preconditioners (Shampoo, SOAP)     rows and columns of their dimension
    one number              step counters                       nothing changes
    anything else           quantised blocks, flat histories    the state is dropped, which is said once

State that is dropped is made anew by the optimizer's next step, as at its first. The optimizers that are
handed in are cut at once, and so is every other one that has stepped since a method was prepared. One that
has not is brought up to date before its next step.
"""

from __future__ import annotations

import itertools
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakTensorKeyDictionary

from secateur.errors import InputError

Optimizers = Optimizer | Sequence[Optimizer] | None
"""One optimizer, or several."""

RATE_SCALE = "lr_scale"
"""The key under which a parameter group says by what it multiplies the rate that a loop sets."""


@dataclass(frozen=True)
class Cut:
    """What one parameter lost.

    Attributes:
        shape: before.
        index: the entries kept.
        dim: along which dimension.
    """

    shape: tuple[int, ...]
    index: Tensor
    dim: int

    @property
    def after(self) -> tuple[int, ...]:
        """The shape that is left."""
        return (*self.shape[: self.dim], len(self.index), *self.shape[self.dim + 1 :])

    def of(self, value: Tensor, *dims: int) -> Tensor:
        """Keep the entries along these dimensions of a tensor."""
        for dim in dims:
            value = value.index_select(dim, self.index.to(value.device))
        return value


class _Unclear(Exception):
    """A state tensor that does not show which of its entries belong to which channel."""


_STEPS: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()
"""How often each optimizer has stepped, since anybody wanted to know."""
_SCALERS: WeakKeyDictionary[Optimizer, tuple[ref[torch.amp.GradScaler], float]] = WeakKeyDictionary()
"""Optimizer -> what scales its losses, and by how much at its last step."""
_CUTS: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Parameter -> the shape that it had first, and for each dimension the entries kept of that; None: all."""
_SAID: WeakSet[Optimizer] = WeakSet()
_WATCHING: list[Any] = []


def watch_optimizers() -> None:
    """Note every optimizer of the process that steps, from now on, and what scales its losses."""
    if not _WATCHING:
        _WATCHING.append(register_optimizer_step_pre_hook(_before_step))


def _before_step(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
    if optimizer not in _STEPS and _CUTS:
        _bring_up_to_date(optimizer)
    if (scaler := _calling_scaler()) is not None:
        _SCALERS[optimizer] = ref(scaler), float(scaler.get_scale())
        found = getattr(optimizer, "found_inf", None)  # a fused optimizer is called, and then skips by itself
        if found is not None and bool(found):
            return
    _STEPS[optimizer] = _STEPS.get(optimizer, 0) + 1


def _calling_scaler() -> torch.amp.GradScaler | None:
    """The scaler that has an optimizer step; it leaves no trace of itself but on the stack."""
    frame = sys._getframe(2)
    for _ in range(6):  # torch's wrapper of the step, schedulers' and Accelerate's around it, the scaler
        if frame is None:
            return None
        caller = frame.f_locals.get("self") if "scaler" in frame.f_code.co_filename else None
        if isinstance(caller, torch.amp.GradScaler):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None


def steps_of(optimizers: Optimizers) -> int:
    """How many steps these optimizers have made since `watch_optimizers`, without those that were skipped."""
    return sum(_STEPS.get(each, 0) for each in listed(optimizers))


def loss_scale(optimizers: Optimizers, *, now: bool = False) -> float | None:
    """By what the losses were multiplied at the last step, or are now; None: nothing is known to scale them.

    It is a `torch.amp.GradScaler` that does; it is known from the first step on that it has them make.
    """
    for each in listed(optimizers):
        if each in _SCALERS:
            known, at_last_step = _SCALERS[each]
            scaler = known() if now else None
            return at_last_step if scaler is None else float(scaler.get_scale())
    return None


def listed(optimizers: Optimizers) -> list[Optimizer]:
    """The optimizers, each once.

    Raises:
        InputError: for what is none.
    """
    if optimizers is None:
        return []
    found: list[Any] = list(optimizers) if isinstance(optimizers, (list, tuple)) else [optimizers]
    for each in found:
        if not hasattr(each, "param_groups") or not hasattr(each, "state"):
            raise InputError(
                "the optimizer that shrinks along is a torch optimizer, or a list of them; got "
                f"{type(each).__name__}"
            )
    return found


def check_steps(who: str, model: nn.Module, optimizers: Optimizers) -> None:
    """InputError where none of the optimizers steps a parameter of the model: it would not shrink along."""
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for each in listed(optimizers) for parameter in _parameters(each)):
        raise InputError(
            f"{who}: the optimizer holds none of the model's parameters, so it would not shrink along: build "
            "it from the parameters of the model that prepare returned"
        )


def follow_cut(optimizers: Iterable[Optimizer], parameter: Tensor, cut: Cut) -> None:
    """Cut what these optimizers, and all that have stepped, keep of a parameter that was cut in place."""
    done: set[int] = set()  # wrappers share the state of what they wrap
    for optimizer in itertools.chain(optimizers, list(_STEPS)):
        state = optimizer.state
        if id(state) not in done:
            done.add(id(state))
            _follow(optimizer, parameter, cut)
    if isinstance(parameter, nn.Parameter):
        _note(parameter, cut)


@torch.no_grad()
def follow_mask(optimizers: Optimizers, parameter: Tensor, mask: Tensor) -> None:
    """Set to zero what these optimizers keep, entry by entry, of the weights outside a mask.

    What is kept of the others stays as it is: momentum is carried over. State of another shape than the
    parameter's (factored, quantised, step counters) is left alone.
    """
    for optimizer in listed(optimizers):
        for value in (optimizer.state.get(parameter) or {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape and not _is_quantised(value):
                value.masked_fill_(~mask.to(value.device), 0)


def _follow(optimizer: Optimizer, parameter: Tensor, cut: Cut) -> None:
    _forget_flat(optimizer, parameter)
    state = optimizer.state.get(parameter)
    if state:
        try:
            optimizer.state[parameter] = _cut_state(state, cut)
        except _Unclear as found:
            del optimizer.state[parameter]
            _say(optimizer, str(found))
    for group in optimizer.param_groups:
        _cut_beside(group, parameter, cut)


def _note(parameter: nn.Parameter, cut: Cut) -> None:
    """Keep in mind which entries are left, for optimizers that nobody knows yet."""
    whole: list[Tensor | None] = [None] * len(cut.shape)
    first, kept = _CUTS.get(parameter) or (cut.shape, whole)
    before = kept[cut.dim]
    kept[cut.dim] = cut.index if before is None else before[cut.index.to(before.device)]
    _CUTS[parameter] = (first, kept)


def _bring_up_to_date(optimizer: Optimizer) -> None:
    """Cut the state of an optimizer that has not stepped since the parameters were whole."""
    for parameter in [each for each in _parameters(optimizer) if each in _CUTS]:
        shape, kept = _CUTS[parameter]
        if _is_cut_already(optimizer.state.get(parameter) or {}, tuple(shape), tuple(parameter.shape)):
            continue
        for dim, index in enumerate(kept):
            if index is not None:
                cut = Cut(tuple(shape), index, dim)
                _follow(optimizer, parameter, cut)
                shape = cut.after


def _is_cut_already(state: Mapping[str, Any], whole: tuple[int, ...], now: tuple[int, ...]) -> bool:
    """Whether a state fits the parameter as it is and not as it was: one from a checkpoint does."""

    def fits(value: Tensor, shape: tuple[int, ...]) -> bool:
        return all(size in (1, along) for size, along in zip(value.shape, shape, strict=False))

    held = [value for value in state.values() if isinstance(value, Tensor) and value.numel() > 1]
    return (
        bool(held)
        and all(fits(value, now) for value in held)
        and not all(fits(value, whole) for value in held)
    )


def _cut_state(state: Mapping[str, Any], cut: Cut) -> dict[str, Any]:
    """The state of one parameter after a cut of it.

    Raises:
        _Unclear: where it cannot be cut.
    """
    for key, value in state.items():
        if _is_quantised(value):
            raise _Unclear(f"'{key}' is quantised ({str(value.dtype).removeprefix('torch.')})")
    return {key: _cut_value(str(key), value, cut) for key, value in state.items()}


def _is_quantised(value: Any) -> bool:
    """Whether it holds codes of one byte, whose scales belong to blocks of entries."""
    if not isinstance(value, Tensor) or value.numel() <= 1:
        return False
    return value.dtype.itemsize == 1 and value.dtype != torch.bool


def _cut_value(key: str, value: Any, cut: Cut) -> Any:
    if isinstance(value, Tensor):
        return _cut_tensor(key, value, cut)
    if isinstance(value, Mapping):
        return {name: _cut_value(str(name), each, cut) for name, each in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if _is_by_dimension(value, cut):
        both = [cut.of(each, 0, 1) if i == cut.dim and len(each) else each for i, each in enumerate(value)]
        return type(value)(both)
    return type(value)([_cut_value(key, each, cut) for each in value])


def _is_by_dimension(values: Sequence[Any], cut: Cut) -> bool:
    """Whether there is a square matrix for each dimension, or an empty list where that would be too large."""
    square = [
        not len(value) if isinstance(value, list) else _is_square(value, size)
        for value, size in zip(values, cut.shape, strict=False)
    ]
    return len(values) == len(cut.shape) > 0 and all(square)


def _is_square(value: Any, size: int) -> bool:
    return isinstance(value, Tensor) and tuple(value.shape) == (size, size)


def _cut_tensor(key: str, value: Tensor, cut: Cut) -> Tensor:
    """One state tensor after a cut; left as it is where it has nothing of the dimension that was cut."""
    shape = tuple(value.shape)
    if value.numel() <= 1 or shape == cut.after:
        return value
    numbered = re.search(r"_(\d+)$", key)
    if numbered and int(numbered[1]) < len(cut.shape) and _is_square(value, cut.shape[int(numbered[1])]):
        return cut.of(value, 0, 1) if int(numbered[1]) == cut.dim else value
    where = _positions(key, shape, cut)
    if len(where) != 1:
        raise _Unclear(f"'{key}' of shape {shape} does not show which entries belong to which channel")
    at = where.pop()
    try:
        return value if at is None else cut.of(value, at)
    except (RuntimeError, NotImplementedError, TypeError) as error:  # tensors of somebody's own kind
        raise _Unclear(f"'{key}' cannot be cut ({type(error).__name__})") from None


def _positions(key: str, shape: tuple[int, ...], cut: Cut) -> set[int | None]:
    """Which dimension of a state tensor was cut, by every way to read its shape; None: it has none."""
    old, dims = cut.shape, range(len(cut.shape))
    if len(shape) == len(old):
        fits = all(size in (1, whole) for size, whole in zip(shape, old, strict=True))
        if not fits or (len(set(old)) < len(old) == 2 and "precond" in key.lower()):
            return set()
        return {None if shape[cut.dim] == 1 else cut.dim}
    readings = [part for part in itertools.combinations(dims, len(shape)) if _sizes(old, part) == shape]
    named = {"row": (*dims[:-1],), "col": (*dims[:-2], *dims[-1:])}  # without the last, the last but one
    for word, part in named.items():
        if word in key.lower() and part in readings:
            readings = [part]
    return {part.index(cut.dim) if cut.dim in part else None for part in readings}


def _sizes(shape: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[dim] for dim in part)


def _cut_beside(group: dict[str, Any], parameter: Tensor, cut: Cut) -> None:
    """Cut what a group keeps in lists beside its parameters: copies of theirs, one for each."""
    for key, values in group.items():
        if key == "params" or not isinstance(values, (list, tuple)) or len(values) != len(group["params"]):
            continue
        if any(isinstance(value, Tensor) for value in values):
            group[key] = type(values)(
                cut.of(value, cut.dim)
                if each is parameter and isinstance(value, Tensor) and tuple(value.shape) == cut.shape
                else value
                for each, value in zip(group["params"], values, strict=True)
            )


def _forget_flat(optimizer: Optimizer, parameter: Tensor) -> None:
    """Have L-BFGS begin anew: its history is one vector of all parameters."""
    if hasattr(optimizer, "_numel_cache") and any(each is parameter for each in _parameters(optimizer)):
        optimizer._numel_cache = None
        if optimizer.state:
            optimizer.state.clear()
            _say(optimizer, "its history is of all weights at once")


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _say(optimizer: Optimizer, why: str) -> None:
    """Warn, once for each optimizer, that state is dropped."""
    if optimizer not in _SAID:
        _SAID.add(optimizer)
        warnings.warn(
            f"{type(optimizer).__name__}: {why}: of every weight that is cut the state is dropped, and the "
            "optimizer makes it anew, as at its first step",
            stacklevel=2,
        )
