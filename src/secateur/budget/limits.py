"""What budgets come to for one network: units, which a method is held to and a run is known by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import nn

from secateur.budget.budget import Budget, Budgets
from secateur.budget.resources import (
    COUNTERS,
    MEASURED,
    Counted,
    beyond,
    check_trainable,
    check_weights,
    count,
)
from secateur.errors import InputError


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
                raise InputError(beyond(resource, original, f"{resource}={limit}", limit))
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
