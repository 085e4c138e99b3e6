"""What "small" means: budgets, and the counting of what they limit.

Convention for MACs, used wherever a number is printed: one multiply-accumulate of a convolution or a linear
layer for ONE example at the model's input shape; biases, normalisation, activations, pooling and additions
are not counted. `torch.utils.flop_counter` counts the same operations as two FLOPs each (tested).
Convention for training: forward, gradient of the inputs, gradient of the weights, so 3 MACs for each of
inference; a compute figure is training examples seen times training MACs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Protocol, Self

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from secateur.calling import Inputs, call, modes_kept, tile
from secateur.errors import InputError, unknown
from secateur.latency import RUNTIMES, Deployment, artefact_bytes
from secateur.models import FACTORIES, Family

TRAINING_MACS_PER_INFERENCE_MAC = 3
MACS_CONVENTION = (
    "MACs: multiply-accumulates of convolutions, linear layers and matrix products, for one example"
)
TRAINING_CONVENTION = (
    f"training MACs: {TRAINING_MACS_PER_INFERENCE_MAC} for each of these, over all training examples seen"
)
"""Both are printed wherever such numbers are."""
ANATOMY_ATTRIBUTE = "_secateur_anatomy"  # where a foreign model carries what surgery found out about it
_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]{0,3}|%)", re.IGNORECASE)


def count_params(model: nn.Module) -> int:
    """Number of trainable scalars; a parameter shared by several layers counts once.

    Example:
        >>> count_params(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in model.parameters())


def layer_positions(model: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """How often each convolution's and linear layer's weights are used for one example of `input_shape`.

    It is the number of output positions (1 for a linear layer after a flatten). Removing channels does not
    change it, so MACs after a removal need no forward pass. Buffers and training mode are left as they were.
    """
    if isinstance(model, Family) and tuple(input_shape) == model.input_shape:
        arguments = json.dumps(model.arguments, sort_keys=True)
        return dict(_family_positions(model.factory, arguments, len(model.groups)))
    anchor = next(model.parameters())
    return uses_of_weights(model, torch.zeros(1, *input_shape, device=anchor.device, dtype=anchor.dtype))


@lru_cache(maxsize=64)
def _family_positions(factory: str, arguments: str, groups: int) -> dict[str, int]:
    """`layer_positions` of a built-in network, by its narrowest version: no width of a group changes them.

    It is a real network of a few weights: on the meta device torch would load its compiler to follow shapes.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        narrow = FACTORIES[factory](**json.loads(arguments), widths=[1] * groups)
    return uses_of_weights(narrow, torch.zeros(1, *narrow.input_shape))


def uses_of_weights(model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """`layer_positions` of any model, for the first example of `inputs`; calls of a layer add up.

    A transposed convolution uses its weights once for every *input* position.
    """
    positions: dict[str, int] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def record(layer: nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if isinstance(layer, _ConvTransposeNd):
                used = given[0].numel() // layer.in_channels
            else:
                used = output.numel() // output.shape[-1 if isinstance(layer, nn.Linear) else 1]
            positions[name] = positions.get(name, 0) + used

        return record

    hooks = [layer.register_forward_hook(hook_for(name)) for name, layer in weight_layers(model).items()]
    try:
        with torch.no_grad(), modes_kept(model):
            call(model.eval(), tile(inputs, 1))
    finally:
        for hook in hooks:
            hook.remove()
    return positions


def weight_layers(model: nn.Module) -> dict[str, _ConvNd | nn.Linear]:
    """The convolutions (of any dimension, transposed too) and linear layers, in order of registration."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (_ConvNd, nn.Linear))}


def prunable_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that can be zero, by the name of their layer; one shared by several layers comes once.

    Of a parametrized layer it is the weight that the layer computes with.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, layer in weight_layers(model).items():
        weight = layer.weight
        if id(weight) not in seen:
            found[name] = weight  # held, so that no computed weight takes the id of one before it
        seen.add(id(weight))
    return found


def count_macs(model: nn.Module, positions: Mapping[str, int]) -> int:
    """MACs for one example: for each layer, its weights times the positions they are used at.

    Args:
        positions: from `layer_positions`, measured on this model at any of its widths.
    """
    layers = weight_layers(model)
    return sum(layers[name].weight.numel() * used for name, used in positions.items())


def count_weights(model: nn.Module) -> int:
    """Weights of convolutions and linear layers, biases and normalisation left out: what can be zero.

    A weight shared by several layers counts once.

    Example:
        >>> count_weights(nn.Linear(3, 2))
        6
    """
    return sum(weight.numel() for weight in prunable_weights(model).values())


def count_model_macs(model: nn.Module) -> int:
    """MACs of one example: at a built-in model's `input_shape`, or at the inputs a model was inspected with.

    Raises:
        InputError: where a foreign model has not been inspected, so that nobody knows its inputs.
    """
    if (anatomy := getattr(model, ANATOMY_ATTRIBUTE, None)) is not None:
        return int(anatomy.costs.now["macs"])
    if not hasattr(model, "input_shape"):
        raise InputError(
            f"the MACs of a {type(model).__name__} depend on its inputs: call sc.inspect(model, inputs) first"
        )
    return count_macs(model, layer_positions(model, model.input_shape))  # type: ignore[arg-type]


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
"""Resource name -> its count for a dense model. A new resource is one entry here, and one in `_UNITS`."""
TRAINABLE = ("params", "nonzeros", "macs")
"""The resources that a network can be trained down to; every run records these."""


class Counted(Protocol):
    """A network that knows its own counts without being built, as `Architecture` does."""

    def cost(self, resource: str) -> int:
        """The count of a resource, a key of `COUNTERS`."""
        ...


def count(resource: str, network: nn.Module | Counted) -> int:
    """The count of a resource in a network; InputError where it is not one that is counted."""
    counter = COUNTERS[resource]
    return counter(network) if isinstance(network, nn.Module) else network.cost(resource)


def _beyond(resource: str, original: int, text: str, limit: int) -> str:
    """Why a budget is refused that does not bind."""
    return (
        f"a budget must not exceed the network's own size, {original:,} {resource}; "
        f"got '{text}' ({limit:,}): ask for at most {resource}={original}"
    )


def check_nonzeros(resource: str, text: str, who: str) -> None:
    """InputError unless the resource is nonzeros, as all that zeroes weights needs."""
    if resource != "nonzeros":
        raise InputError(
            f"{who} sets weights to zero, which makes no layer smaller: its budget must be in nonzeros, "
            f"got '{text}': write for example nonzeros=5%"
        )


def check_trainable(resource: str, text: str, who: str) -> None:
    """InputError unless the resource is one that a network can be trained down to."""
    if resource not in TRAINABLE:
        fix = "ask for macs, and measure the network that comes out"
        if resource == "bytes":
            fix = "ask for params, which take 4 bytes each in float32"
        raise InputError(f"{who} trains down to a budget in {', '.join(TRAINABLE)}, got '{text}': {fix}")


@dataclass(frozen=True)
class _Unit:
    """How amounts of a resource are written: suffix in lower case -> its factor, in words, an example."""

    factors: Mapping[str, Fraction | int]
    words: str
    example: str


_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_COUNT = _Unit(_THOUSANDS, "k, M, G or %", "500k")
_UNITS = {
    **dict.fromkeys(TRAINABLE, _COUNT),
    "bytes": _Unit(
        {
            **_THOUSANDS,
            **{f"{power}b": factor for power, factor in _THOUSANDS.items()},
            **{"kib": 2**10, "mib": 2**20, "gib": 2**30},
        },
        "kB, MB, GB, KiB, MiB, GiB or %",
        "1.5MB",
    ),
    MEASURED: _Unit({"s": 1, "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6)}, "s, ms, us or %", "2ms"),
}


@dataclass(frozen=True)
class Budget:
    """At most `amount` of `resource`, absolute, or a share of the original network (`relative`).

    Attributes:
        resource: a key of `COUNTERS`, or "latency".
        amount: the limit as given: a count, bytes, or seconds; a share lies in (0, 1].
        relative: whether `amount` is a share of the original.
        text: as the user wrote it, for tables.
        deployment: where a latency is measured; None for all that is counted.
    """

    resource: str
    amount: Fraction
    relative: bool
    text: str
    deployment: Deployment | None = None

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """Read 'params=500k', 'params=25%', 'bytes=1.5MB', 'latency=2ms@onnxruntime:batch=8:threads=2'.

        k, M and G are powers of 1000, with or without the B of bytes; KiB, MiB and GiB are powers of 1024.
        Latency is in s, ms or us, at a runtime, of a batch of 1 on 1 thread unless said.

        Raises:
            InputError: naming what is wrong and a budget that would be right.
        """
        if isinstance(text, Budget):
            return text
        resource, equals, amount = (part.strip() for part in text.partition("="))
        if not equals:
            raise InputError(
                f"a budget reads RESOURCE=AMOUNT, got '{text}': write for example params=500k or params=25%"
            )
        if resource not in _UNITS:
            raise unknown("budget resource", resource, _UNITS)
        if resource != MEASURED:
            return cls(resource, *_amount(resource, amount, text), f"{resource}={amount}")
        number, _, where = (part.strip() for part in amount.partition("@"))
        deployment = _deployment(where, text)
        return cls(resource, *_amount(resource, number, text), f"{resource}={amount}", deployment)

    @property
    def measured(self) -> bool:
        """Whether the resource is measured where the network runs, rather than counted."""
        return self.deployment is not None

    @property
    def runtime(self) -> str | None:
        """One of `secateur.latency.RUNTIMES` for a latency, else None."""
        return self.deployment.runtime if self.deployment else None

    @property
    def batch_size(self) -> int | None:
        """Examples at a time for a latency, else None."""
        return self.deployment.batch_size if self.deployment else None

    @property
    def threads(self) -> int | None:
        """CPU threads for a latency, else None."""
        return self.deployment.threads if self.deployment else None

    def of_nonzeros(self, who: str) -> Budget:
        """The budget itself; InputError unless it limits nonzeros, as all that zeroes weights needs."""
        check_nonzeros(self.resource, self.text, who)
        return self

    def of_trainable(self, who: str) -> Budget:
        """The budget itself; InputError unless it is in what a network can be trained down to."""
        check_trainable(self.resource, self.text, who)
        return self

    def limit(self, original: int) -> int:
        """The budget in units, of latency in nanoseconds, rounded down: never in our favour.

        Nonzeros, which are met exactly, are rounded to the nearest as the papers' tables are (half to even).

        Args:
            original: the original network's count of the resource, or its latency in nanoseconds, for a
                relative budget.

        Example:
            >>> Budget.parse("params=25%").limit(1003)
            250
        """
        exact = self.amount * (original if self.relative else 10**9 if self.measured else 1)
        return round(exact) if self.resource == "nonzeros" else int(exact)

    def limit_for(self, network: nn.Module | Counted) -> int:
        """`limit` with `network` as the original; InputError where the budget would not bind at all.

        A latency has to be measured: `limit` with the nanoseconds of `secateur.latency.measure`.
        """
        original = count(self.resource, network)
        limit = self.limit(original)
        if limit > original:
            raise InputError(_beyond(self.resource, original, self.text, limit))
        return limit

    def __str__(self) -> str:
        return self.text


class Budgets(tuple[Budget, ...]):
    """Budgets that hold together, each of another resource.

    Raises:
        InputError: where there is none, a resource comes twice, or nonzeros come with another.

    Example:
        >>> [str(budget) for budget in Budgets.parse("params=500k, macs=40M")]
        ['params=500k', 'macs=40M']
    """

    __slots__ = ()

    def __new__(cls, budgets: Iterable[Budget]) -> Budgets:
        self = super().__new__(cls, budgets)
        resources = [budget.resource for budget in self]
        if not resources:
            raise InputError("at least one budget is needed, got none: write for example params=25%")
        for resource in resources:
            if resources.count(resource) > 1:
                raise InputError(f"every resource has one budget, got '{self}': keep one for {resource}")
        if "nonzeros" in resources and len(resources) > 1:
            raise InputError(
                "a budget in nonzeros is met by setting weights to zero, which makes no layer smaller, so it "
                f"cannot hold together with another, got '{self}': ask for nonzeros alone, or leave them out"
            )
        return self

    @classmethod
    def parse(cls, text: str | Budget | Iterable[str | Budget]) -> Budgets:
        """Read 'params=500k,macs=40M', or take what is parsed already."""
        if isinstance(text, Budget):
            return cls([text])
        parts = text.split(",") if isinstance(text, str) else text
        return cls(map(Budget.parse, parts))

    def __str__(self) -> str:
        return ",".join(budget.text for budget in self)


@dataclass(frozen=True)
class Limits(Mapping[str, int]):
    """At most so many units of every resource named: what budgets come to for one network.

    It reads as a mapping, resource -> units, in the order of `COUNTERS`, the latency last. A latency is
    known only once the original was measured, where the network runs: until then it is `open`, a budget
    without units, and `fixed` gives the limits with it.

    Attributes:
        counted: (resource, units) of all that is counted, units at least 0.
        latency: the budget that is measured, as it was written; None: there is none.
        nanoseconds: what that budget comes to; None: not known yet.

    Example:
        >>> dict(Limits.of("params=25%", nn.Linear(9, 10)))
        {'params': 25}
    """

    counted: tuple[tuple[str, int], ...] = ()
    latency: Budget | None = None
    nanoseconds: int | None = None

    @classmethod
    def at(cls, units: Mapping[str, int]) -> Self:
        """Limits in units of what is counted.

        Raises:
            InputError: for a resource that is not counted, or units that are no count.

        Example:
            >>> Limits.at({"macs": 10**6, "params": 4000})
            Limits(counted=(('params', 4000), ('macs', 1000000)), latency=None, nanoseconds=None)
        """
        for resource, amount in units.items():
            if resource not in COUNTERS:
                raise COUNTERS.refusal(resource)
            if not isinstance(amount, int) or amount < 0:
                raise InputError(
                    f"a limit is a whole number of {resource}, at least 0, got {amount!r}: "
                    "give the text of a budget for shares"
                )
        return cls(tuple((resource, units[resource]) for resource in COUNTERS if resource in units))

    @classmethod
    def of(cls, wanted: Wanted, network: nn.Module | Counted) -> Limits:
        """What budgets come to, percentages being shares of `network`; limits are what they are.

        Raises:
            InputError: where one counted budget alone, or all of several, would not bind.
        """
        if isinstance(wanted, Limits):
            return wanted
        budgets = Budgets.parse(wanted)
        counted = [budget for budget in budgets if not budget.measured]
        latency = next((budget for budget in budgets if budget.measured), None)
        if len(budgets) == 1 and counted:
            return cls.at({counted[0].resource: counted[0].limit_for(network)})
        original = {budget.resource: count(budget.resource, network) for budget in counted}
        found = cls.at({budget.resource: budget.limit(original[budget.resource]) for budget in counted})
        if latency is None and all(original[resource] < limit for resource, limit in found.items()):
            texts = ", ".join(map(str, budgets))
            raise InputError(
                f"a budget must not exceed the network's own size; every one of '{texts}' does: ask for less"
            )
        return replace(found, latency=latency)

    def binding(self, network: nn.Module | Counted) -> Limits:
        """The limits themselves; InputError where one is above what the network has."""
        for resource, limit in self.counted:
            if limit > (original := count(resource, network)):
                raise InputError(_beyond(resource, original, f"{resource}={limit}", limit))
        return self

    def fixed(self, original_ns: int) -> Limits:
        """The same limits once it is known how long the original takes, in nanoseconds."""
        assert self.latency is not None, self
        return replace(self, nanoseconds=self.latency.limit(original_ns))

    def resumed(self, units: Mapping[str, int]) -> Limits:
        """The limits that a run began with, `dict` of them, in place of those of the network it is at now.

        Raises:
            InputError: where there are none, so that nothing would be left to reach; where a latency is among
                them, and these limits do not say how it is measured.
        """
        if not units and self._named():
            raise InputError(
                f"the state to continue from has no limits, got '{self}': make the method with what it had"
            )
        counted = {resource: amount for resource, amount in units.items() if resource != MEASURED}
        if MEASURED in units and self.latency is None:
            raise InputError(
                f"the state to continue from has a limit on latency, got '{self or 'no limits'}': "
                "make the method with the budget that it had"
            )
        return replace(Limits.at(counted), latency=self.latency, nanoseconds=units.get(MEASURED))

    @property
    def open(self) -> bool:
        """Whether there is a latency that has not been measured yet."""
        return self.latency is not None and self.nanoseconds is None

    @property
    def resource(self) -> str:
        """The resource of the one limit there is; InputError where there are several."""
        names = [name for name, _ in self._named()]
        if len(names) != 1:
            raise InputError(f"one budget is taken here, got '{self or 'none'}': give that of one resource")
        return names[0]

    @property
    def units(self) -> int:
        """The units of the one limit there is; InputError where there are several, or it is not known."""
        resource = self.resource
        if self.open:
            raise COUNTERS.refusal(resource)
        return self[resource]

    def without_latency(self) -> Limits:
        """The limits on what is counted; there may be none."""
        return replace(self, latency=None, nanoseconds=None)

    def met(self, costs: Mapping[str, int]) -> bool:
        """Whether all limits hold of `costs`, which has to name every resource that is limited."""
        assert not self.open, f"{self} is not known before the original is measured"
        return all(costs[resource] <= limit for resource, limit in self.items())

    def identity(self) -> dict[str, int | str]:
        """What goes into a run's hash: units; a latency, which is measured anew in every run, as its text."""
        return {**dict(self.counted), **({MEASURED: self.latency.text} if self.latency else {})}

    def of_nonzeros(self, who: str) -> Limits:
        """The limits themselves; InputError unless they limit nonzeros, as all that zeroes weights needs."""
        check_nonzeros(self.resource, str(self), who)
        return self

    def of_trainable(self, who: str) -> Limits:
        """The limits themselves; InputError unless they are one, in what a network can be trained down to."""
        check_trainable(self.resource, str(self), who)
        return self

    def _named(self) -> list[tuple[str, int | None]]:
        """Every limit, also one that is not known yet."""
        return [*self.counted, *([(MEASURED, self.nanoseconds)] if self.latency else [])]

    def __getitem__(self, resource: str) -> int:
        """The units of a resource; KeyError where it is not limited, or not known yet."""
        found = dict(self._named())[resource]
        if found is None:
            raise KeyError(resource)
        return found

    def __iter__(self) -> Iterator[str]:
        return (resource for resource, units in self._named() if units is not None)

    def __len__(self) -> int:
        return sum(units is not None for _, units in self._named())

    def __str__(self) -> str:
        latency = [self.latency.text] if self.latency else []
        return ",".join([*(f"{resource}={units}" for resource, units in self.counted), *latency])


Wanted = str | Budget | Budgets | Limits
"""What a method is asked for: a budget or several, as a user writes them, or what they come to."""


def one_budget(wanted: Wanted) -> Budget | Limits:
    """What a method of one budget is given: limits as they are, else one budget, read from its text.

    Raises:
        InputError: where it is not a budget, or more than one.
    """
    if isinstance(wanted, Limits):
        return wanted
    if isinstance(wanted, Budgets) and len(wanted) == 1:
        return wanted[0]
    return Budget.parse(wanted if isinstance(wanted, Budget) else str(wanted))


def _amount(resource: str, amount: str, text: str) -> tuple[Fraction, bool]:
    """The number in the resource's unit, and whether it is a share; InputError for all else."""
    unit, at = _UNITS[resource], "@onnxruntime" if resource == MEASURED else ""
    example = f"{resource}={unit.example}{at} or {resource}=25%{at}"
    found = _AMOUNT.fullmatch(amount)
    suffix = found[2].lower() if found else ""
    relative = suffix == "%"
    if not found or not (relative or suffix in unit.factors):
        raise InputError(
            f"a budget's amount is a number with {unit.words}, got '{amount}' in '{text}': "
            f"write for example {example}"
        )
    value = Fraction(found[1]) * (Fraction(1, 100) if relative else unit.factors[suffix])
    if value <= 0:
        raise InputError(f"a budget must be above zero, got '{text}': write for example {example}")
    if relative and value > 1:
        raise InputError(
            "a budget in percent is a share of the original network, at most 100%, got "
            f"'{text}': write for example {resource}=50%{at}"
        )
    return value, relative


def _deployment(where: str, text: str) -> Deployment:
    """Where a latency is measured; InputError where that is not said."""
    if not where:
        raise InputError(
            f"a latency budget names the runtime it is measured with, got '{text}': write for example "
            f"{MEASURED}=2ms@torch (one of: {', '.join(RUNTIMES)})"
        )
    try:
        return Deployment.parse(where)
    except InputError as error:
        raise InputError(f"{error}, in '{text}'") from None


def fit_scale(
    base: Sequence[int], cost: Callable[[list[int]], int], limit: int, what: str = "widths"
) -> tuple[Fraction, list[int]]:
    """The factor a up to which cost(floor(a * base)) <= limit, and the widest rounding that fits there.

    Widths are rounded down, at least 1; then, in order of the largest fraction lost, single channels are
    given back as long as the budget holds. Every width ends within one channel of a * base.

    Args:
        base: the widths that are scaled, each at least 1.
        cost: the resource used by given widths; must not fall when a width grows.
        limit: the budget in the resource's units.
        what: names the widths in an error.

    Raises:
        InputError: where even widths of 1 exceed the limit.

    Example:
        >>> fit_scale([10, 20], sum, 16)
        (Fraction(3, 5), [5, 11])
    """
    smallest = cost([1] * len(base))
    if smallest > limit:
        raise InputError(
            f"the budget of {limit:,} is below the smallest network with these {what}, {smallest:,} "
            f"(every one 1): ask for at least {smallest}"
        )
    widths = _largest_floors(base, cost, limit)
    bound = _next_breakpoint(base, widths)  # here the next channel would come, and it is one too many
    for index in sorted(range(len(base)), key=lambda i: (widths[i] - bound * base[i], i)):
        wider = [*widths[:index], widths[index] + 1, *widths[index + 1 :]]
        if widths[index] <= bound * base[index] and cost(wider) <= limit:
            widths = wider
    return bound, widths


def _largest_floors(base: Sequence[int], cost: Callable[[list[int]], int], limit: int) -> list[int]:
    """The widths just before the factor at which the limit would be passed: bisection, then exact steps."""
    low, high = Fraction(0), Fraction(1)
    while cost(_floors(base, high)) <= limit:
        low, high = high, high * 2
    while high - low > Fraction(1, max(base)):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(_floors(base, middle)) <= limit else (low, middle)
    widths = _floors(base, low)
    while cost(wider := _floors(base, _next_breakpoint(base, widths))) <= limit:
        widths = wider
    return widths


def _next_breakpoint(base: Sequence[int], widths: Sequence[int]) -> Fraction:
    """The smallest factor at which one of the rounded widths grows."""
    return min(Fraction(width + 1, of) for width, of in zip(widths, base, strict=True))


def _floors(base: Sequence[int], factor: Fraction) -> list[int]:
    return [max(1, width * factor.numerator // factor.denominator) for width in base]
