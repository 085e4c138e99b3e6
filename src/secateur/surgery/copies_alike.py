"""Copies of a network that are cut as it is: an average of its weights, or a teacher made of it."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary, WeakSet

from torch import nn
from torch.optim.swa_utils import AveragedModel

from secateur.errors import InputError

_COPIES: WeakKeyDictionary[nn.Module, WeakSet[nn.Module]] = WeakKeyDictionary()


def follow(model: nn.Module, *copies: nn.Module) -> None:
    """Have copies of a network lose the channels that it loses, for as long as they live.

    So an average of weights that others keep (`torch.optim.swa_utils.AveragedModel`) goes on being the
    average, of the entries that are left. The library's own is `secateur.training.average.Average`.

    Args:
        model: the network that a method is going to cut.
        copies: of it as it is, of the same modules and shapes. Make them before the method's `prepare`.

    Raises:
        InputError: for what is no copy of it.

    Example:
        >>> averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))  # doctest: +SKIP
        >>> follow(model, averaged)  # doctest: +SKIP
    """
    for given in copies:
        copy = given.module if isinstance(given, AveragedModel) else given
        if copy is model or _shapes(copy) != _shapes(model):
            raise InputError(
                "what follows the cuts of a network is a copy of it, of the same shapes; got "
                f"{type(copy).__name__}: make it by copy.deepcopy(model) or AveragedModel(model), before "
                "anything is cut"
            )
        _COPIES.setdefault(model, WeakSet()).add(copy)


def copies_of(model: nn.Module) -> Iterator[nn.Module]:
    """The copies that follow a network, those that follow them among these."""
    for copy in list(_COPIES.get(model, ())):
        yield copy
        yield from copies_of(copy)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}
