"""What "small" means: budgets, how they are written, and the counts that they limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, Self, get_args

from torch import nn

from secateur.budget import tables
from secateur.budget.hints import own_value, refusal, split
from secateur.errors import InputError, unknown
from secateur.names import RuntimeName
from secateur.network.counting import count_model_macs
from secateur.network.tensor_files import artefact_bytes
from secateur.network.weights import count_params, count_weights
from secateur.records.device_table import DeviceTable

_AMOUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]{0,3}|%)", re.IGNORECASE)


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


def _beyond(resource: str, original: int, text: str, limit: int) -> str:
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


RUNTIMES = get_args(RuntimeName)


_OPTIONS = {"batch": "batch_size", "threads": "threads"}


_WHOLE = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Deployment:
    """Where and how a network is to run.

    Attributes:
        runtime: one of `RUNTIMES`.
        batch_size: examples at a time, at least 1.
        threads: CPU threads of the runtime, at least 1.
        table: costs on another device, by which a latency is foretold; None: it is measured here.
        path: the table's file, as it was named.

    Example:
        >>> str(Deployment.parse("onnxruntime:batch=8"))
        'onnxruntime:batch=8:threads=1'
    """

    runtime: str
    batch_size: int = 1
    threads: int = 1
    table: DeviceTable | None = field(default=None, repr=False)
    path: str = ""

    def __post_init__(self) -> None:
        if self.table is None and self.runtime not in RUNTIMES:
            raise unknown("runtime", self.runtime, RUNTIMES)
        for name, attribute in _OPTIONS.items():
            value = getattr(self, attribute)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {value}: write {name}=1")

    @classmethod
    def parse(cls, text: str) -> Deployment:
        """Read 'torch', 'onnxruntime:batch=8', 'openvino:batch=8:threads=2', 'file:device.json'.

        Raises:
            InputError: naming what is wrong, and the runtimes or options that exist; of a file, that there is
                none, or that it is no table.
        """
        if tables.is_file(text):
            return cls.foretold(*tables.read(text))
        runtime, *options = (part.strip() for part in text.split(":"))
        if runtime not in RUNTIMES:
            raise unknown("runtime", runtime, RUNTIMES)
        found: dict[str, int] = {}
        for option in options:
            name, _, value = (part.strip() for part in option.partition("="))
            if name not in _OPTIONS:
                raise unknown("option of a runtime", name, _OPTIONS)
            if _OPTIONS[name] in found:
                raise InputError(f"every option of a runtime is given once, got '{text}': keep one {name}")
            if not _WHOLE.fullmatch(value):
                raise InputError(
                    f"{name} must be a whole number from 1 to 999999, got '{option}': write {name}=1"
                )
            found[_OPTIONS[name]] = int(value)
        return cls(runtime, found.get("batch_size", 1), found.get("threads", 1))

    @classmethod
    def foretold(cls, path: str, table: DeviceTable) -> Deployment:
        """The device that a table is of."""
        return cls(table.runtime, table.batch, table.threads, table, path)

    def __str__(self) -> str:
        if self.table is not None:
            return f"{tables.FILE}:{self.path}"
        return f"{self.runtime}:batch={self.batch_size}:threads={self.threads}"


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
    def parse(cls, text: str | Budget, table: DeviceTable | None = None) -> Budget:
        """Read 'params=500k', 'params=25%', 'bytes=1.5MB', 'latency=2ms@onnxruntime:batch=8:threads=2'.

        k, M and G are powers of 1000, with or without the B of bytes; KiB, MiB and GiB are powers of 1024.
        Latency is in s, ms or us, at a runtime, of a batch of 1 on 1 thread unless said; or foretold for
        another device, 'latency=2ms@file:device.json' (docs/device.md).

        Args:
            table: what was read from that file elsewhere; None: it is read.

        Raises:
            InputError: naming what is wrong and a budget that would be right.
        """
        if isinstance(text, Budget):
            return text
        resource, equals, amount = (part.strip() for part in text.partition("="))
        if not equals or resource not in _UNITS:
            raise refusal(text, _UNITS)
        if resource != MEASURED:
            return cls(resource, *_amount(resource, amount, text), f"{resource}={amount}")
        number, _, where = (part.strip() for part in amount.partition("@"))
        if table is not None:
            deployment = Deployment.foretold(where.partition(":")[2], table)
        else:
            deployment = _deployment(where, number, text)
        return cls(resource, *_amount(resource, number, text), f"{resource}={amount}", deployment)

    @property
    def identity(self) -> str:
        """The text that goes into a run's hash: of a table its content, wherever its file lies."""
        table = self.deployment.table if self.deployment else None
        return (
            self.text
            if table is None
            else f"{self.text.partition('@')[0]}@{tables.FILE}:{table.content_hash}"
        )

    @property
    def measured(self) -> bool:
        """Whether the resource is measured where the network runs, rather than counted."""
        return self.deployment is not None

    @property
    def runtime(self) -> str | None:
        """One of `secateur.budget.RUNTIMES` for a latency, else None."""
        return self.deployment.runtime if self.deployment else None

    @property
    def batch_size(self) -> int | None:
        """Examples at a time for a latency, else None."""
        return self.deployment.batch_size if self.deployment else None

    @property
    def threads(self) -> int | None:
        """CPU threads for a latency, else None."""
        return self.deployment.threads if self.deployment else None

    def of_weights(self, who: str) -> Budget:
        """The budget itself; InputError unless it limits what zeros make less: nonzeros, bytes."""
        check_weights(self.resource, self.text, who)
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

        A latency has to be measured: `limit` with the nanoseconds of `secateur.deploy.latency.measure`.
        """
        original = count(self.resource, network)
        limit = self.limit(original)
        if limit > original:
            raise InputError(_beyond(self.resource, original, self.text, limit))
        return limit

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Budget({self.text!r})"


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
        parts = split(text) if isinstance(text, str) else text
        return cls(map(Budget.parse, parts))

    def __str__(self) -> str:
        return ",".join(budget.text for budget in self)

    def __repr__(self) -> str:
        return f"Budgets({str(self)!r})"


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
            Limits(params=4,000, macs=1,000,000)
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
        return {**dict(self.counted), **({MEASURED: self.latency.identity} if self.latency else {})}

    def of_weights(self, who: str) -> Limits:
        """The limits themselves; InputError unless they are one, on what zeros make less: nonzeros, bytes."""
        check_weights(self.resource, str(self), who)
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

    def __repr__(self) -> str:
        told = [f"{resource}={units:,}" for resource, units in self.counted]
        if self.latency:
            known = "" if self.nanoseconds is None else f" ({self.nanoseconds / 1e6:.3g} ms)"
            told.append(f"{self.latency.text}{known}")
        return f"Limits({', '.join(told)})"


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
    meant = own_value(resource, text.partition("=")[2].strip())
    example = f"write {meant or f'for example {resource}={unit.example}{at} or {resource}=25%{at}'}"
    found = _AMOUNT.fullmatch(amount)
    suffix = found[2].lower() if found else ""
    relative = suffix == "%"
    if not found or not (relative or suffix in unit.factors):
        raise InputError(
            f"a budget's amount is a number with {unit.words}, got '{amount}' in '{text}': {example}"
        )
    if not suffix and "." in amount:  # a share, most likely, of which nothing would be left
        raise InputError(
            f"a budget is a whole number of {resource}, or a share in percent, got '{text}': {example}"
        )
    value = Fraction(found[1]) * (Fraction(1, 100) if relative else unit.factors[suffix])
    if value <= 0:
        raise InputError(f"a budget must be above zero, got '{text}': {example}")
    if relative and value > 1:
        raise InputError(
            "a budget in percent is a share of the original network, at most 100%, got "
            f"'{text}': write for example {resource}=50%{at}"
        )
    return value, relative


def _deployment(where: str, number: str, text: str) -> Deployment:
    """Where a latency is measured; InputError where that is not said."""
    if not where:
        raise InputError(
            f"a latency budget names the runtime it is measured with, got '{text}': write for example "
            f"{own_value(MEASURED, number) or f'{MEASURED}=2ms@torch'} (one of: {', '.join(RUNTIMES)}, or "
            "file:device.json of another device)"
        )
    try:
        return Deployment.parse(where)
    except InputError as error:
        raise InputError(f"{error}, in '{text}'") from None
