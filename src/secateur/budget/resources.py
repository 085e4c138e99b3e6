"""What a budget can limit: the resources, how each is counted, and what each may be asked of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import nn

from secateur.errors import InputError, unknown
from secateur.network.counting import count_model_macs
from secateur.network.tensor_files import artefact_bytes
from secateur.network.weights import count_params, count_weights


class _Counters(dict[str, Callable[[nn.Module], int]]):
    """Says in one line why a resource has no counter, wherever one is asked for."""

    def __missing__(self, resource: str) -> Callable[[nn.Module], int]:
        raise self.refusal(resource)

    def refusal(self, resource: str) -> InputError:
        """Why there is no counter for it."""
        if resource == MEASURED:
            return InputError(
                f"{MEASURED} is measured on a machine, not counted, so nothing can be solved for it: ask for "
                f"one of {', '.join(self)}, and measure the network that comes out"
            )
        return unknown("resource", resource, self)


MEASURED = "latency"


COUNTERS = _Counters(params=count_params, nonzeros=count_weights, macs=count_model_macs, bytes=artefact_bytes)
"""Resource -> its count for a dense model. A new resource is one entry here, and one in `amounts.UNITS`."""


TRAINABLE = ("params", "nonzeros", "macs")
"""The resources that a network can be trained down to; every run records these."""


COMPARED = (*TRAINABLE, "bytes")
"""What the budgets of a comparison can limit; every point has these."""


OF_WEIGHTS = ("nonzeros", "bytes")
"""What zeros make less: of bytes the file, where it is written sparse."""


class Counted(Protocol):
    """A network that knows its own counts without being built, as `Architecture` does."""

    def cost(self, resource: str) -> int:
        """The count of a resource, a key of `COUNTERS`."""
        ...


def count(resource: str, network: nn.Module | Counted) -> int:
    """The count of a resource in a network; InputError where it is not one that is counted."""
    counter = COUNTERS[resource]
    return counter(network) if isinstance(network, nn.Module) else network.cost(resource)


def beyond(resource: str, original: int, text: str, limit: int) -> str:
    """Why a budget is refused that does not bind."""
    return (
        f"a budget must not exceed the network's own size, {original:,} {resource}; "
        f"got '{text}' ({limit:,}): ask for at most {resource}={original}"
    )


def check_weights(resource: str, text: str, who: str) -> None:
    """InputError unless the resource is one that zeros make less."""
    if resource not in OF_WEIGHTS:
        raise InputError(
            f"{who} sets weights to zero, which makes no layer smaller: its budget must be in nonzeros or "
            f"bytes, got '{text}': write for example nonzeros=5% or bytes=200kB, the size of the file"
        )


def check_compared(resource: str, text: str) -> None:
    """InputError unless the resource is one that networks can be compared within."""
    if resource not in COMPARED:
        check_trainable(resource, text, "a comparison")


def check_trainable(resource: str, text: str, who: str) -> None:
    """InputError unless the resource is one that a network can be trained down to."""
    if resource not in TRAINABLE:
        fix = "ask for macs, and measure the network that comes out"
        if resource == "bytes":
            fix = "ask for params, which take 4 bytes each in float32"
        raise InputError(f"{who} trains down to a budget in {', '.join(TRAINABLE)}, got '{text}': {fix}")
