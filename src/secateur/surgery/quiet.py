"""Training mode without its chance: what runs only in training is seen, and the same twice gives the same.

Auxiliary heads, deep supervision and layers that are skipped at random run in training only. There the flags
`training` are those of a training, but stock dropouts are off, stock normalisations take their running
statistics, and whatever is drawn is its mean: so a dropout (drop path, stochastic depth) multiplies by one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

from secateur.errors import kind_and_line
from secateur.network.alike import alike
from secateur.network.copies import copied
from secateur.network.example_axes import tells_apart
from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, call, output_tensors, take_first
from secateur.network.modes import in_evaluation, in_training

Network = TypeVar("Network", bound=nn.Module)

_SEED = 20_260_101
_DRAWN = 0.62  # between 0 and 1 where anything is as likely; keeps what is dropped below a half
_CLOSE = 1e-4  # of the largest output: a factor p / p may be off by rounding


def quiet_training(model: Network) -> Network:
    """Set a network's flags as its own `train()` does, all that is stock and random or of the batch off.

    It stays so: give it a copy.
    """
    in_training(model)
    for module in model.modules():
        if isinstance(module, (_DropoutNd, _NormBase)):
            module.training = False
        elif isinstance(module, (nn.RNNBase, nn.MultiheadAttention)):
            module.dropout = 0.0
    return model


@contextmanager
def without_chance() -> Iterator[None]:
    """Have every draw be its mean while this holds; generators are afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(_SEED)
    np.random.seed(_SEED)
    try:
        with torch.random.fork_rng(devices=[]), _Means():
            torch.manual_seed(_SEED)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


class _Means(TorchDispatchMode):
    """Puts means in the place of draws."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        mean = _MEANS.get(name.rstrip("_"))
        if mean is None:
            return _undropped(func, args, kwargs)
        if name == "bernoulli_":
            return mean(args[0], args[1] if len(args) > 1 else kwargs.get("p", 0.5))
        if name.endswith("_"):
            return mean(args[0], *(args[1:] or ((0.5,) if name == "bernoulli_" else ())))  # its default
        return mean(_made(func, name, args, kwargs), *(args[1:] if isinstance(args[0], Tensor) else ()))


def _made(func: Any, name: str, args: Any, kwargs: Any) -> Tensor:
    """A tensor of the shape that is drawn."""
    made = func(*args, **kwargs)
    return args[0].clone().to(made.dtype) if name == "bernoulli" and len(args) < 2 else made


def _undropped(func: Any, args: Any, kwargs: Any) -> Any:
    """Run what drops on its own (fused attention, native dropout) with nothing to drop; else as it is."""
    values = dict(kwargs)
    positional = list(args)
    for index, argument in enumerate(func._schema.arguments):
        if argument.name in ("p", "dropout_p", "dropout"):
            off: Any = 0.0
        elif argument.name == "train" or (argument.name == "training" and "rrelu" in str(func)):
            off = False
        else:
            continue
        if index < len(positional):
            positional[index] = off
        else:
            values[argument.name] = off
    return func(*positional, **values)


def _bernoulli(x: Tensor, p: Any = None, *_: Any) -> Tensor:
    """p itself; where that is no number that the tensor holds, whether it is likely."""
    given = x if p is None or isinstance(p, torch.Generator) else p
    mean = given if isinstance(given, Tensor) else torch.tensor(float(given))
    if not x.is_floating_point():
        mean = mean >= 0.5
    return x.copy_(mean.to(x.device))


def _uniform(x: Tensor, low: Any = 0.0, high: Any = 1.0, *_: Any) -> Tensor:
    low, high = (
        value if isinstance(value, (int, float)) else default for value, default in ((low, 0), (high, 1))
    )
    return x.fill_(low + _DRAWN * (high - low))


def _normal(x: Tensor, mean: Any = 0.0, std: Any = 1.0, *_: Any) -> Tensor:
    mean, std = (v if isinstance(v, (int, float)) else default for v, default in ((mean, 0), (std, 1)))
    return x.fill_(mean + _DRAWN * std)  # not the mean alone, or nobody would see the deviation


def _in_order(x: Tensor, *_: Any) -> Tensor:
    return x.copy_(torch.arange(len(x), device=x.device))


def _constant(value: float) -> Callable[..., Tensor]:
    return lambda x, *_: x.fill_(value)


_MEANS: dict[str, Callable[..., Tensor]] = {
    "bernoulli": _bernoulli,
    "rand": lambda x, *_: _uniform(x),
    "rand_like": lambda x, *_: _uniform(x),
    "uniform": _uniform,
    "randn": lambda x, *_: _normal(x),
    "randn_like": lambda x, *_: _normal(x),
    "normal": _normal,
    "exponential": _constant(1.0),
    "randperm": _in_order,
}


@dataclass(frozen=True)
class Trains:
    """How a model runs in training, chance aside, beside how it runs in evaluation.

    Attributes:
        differs: whether other modules are called, in another order, or other outputs come of it.
        apart: whether an example's output does not depend on the others, as statistics of the batch would
            have it.
        failure: why it does not run on these inputs in training; None where it does.
    """

    differs: bool
    apart: bool = True
    failure: str | None = None


@torch.no_grad()
def how_it_trains(model: nn.Module, inputs: Inputs) -> Trains:
    """Tell how a model runs in training; it is left as it was."""
    few = take_first(inputs, 2)
    twin = copied(model)
    try:
        trained = _trail(quiet_training(twin), few)
    except Exception as error:  # somebody's code
        return Trains(True, failure=kind_and_line(error))
    calls, outputs = _trail(in_evaluation(twin), few)
    if calls == trained[0] and alike(outputs, trained[1], _CLOSE):
        return Trains(False)
    with without_chance():
        return Trains(True, apart=tells_apart(quiet_training(twin), Examples.by_shape(few)))


def _trail(model: nn.Module, inputs: Inputs) -> tuple[list[str], list[Tensor]]:
    """Which modules are called, in order, and what the model gives."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., None]:
        return lambda *_: calls.append(name)

    hooks = [module.register_forward_pre_hook(noted(name)) for name, module in model.named_modules()]
    try:
        with without_chance():
            outputs = output_tensors(call(model, inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return calls, outputs
