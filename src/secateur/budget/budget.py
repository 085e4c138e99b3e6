"""A budget as a user writes it, and several that hold together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from torch import nn

from secateur.budget import tables
from secateur.budget.amounts import UNITS, amount_of
from secateur.budget.deployment import Deployment, deployment_of
from secateur.budget.hints import refusal, split
from secateur.budget.resources import MEASURED, Counted, beyond, check_trainable, check_weights, count
from secateur.errors import InputError
from secateur.records.device_table import DeviceTable


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
        if not equals or resource not in UNITS:
            raise refusal(text, UNITS)
        if resource != MEASURED:
            return cls(resource, *amount_of(resource, amount, text), f"{resource}={amount}")
        number, _, where = (part.strip() for part in amount.partition("@"))
        if table is not None:
            deployment = Deployment.foretold(where.partition(":")[2], table)
        else:
            deployment = deployment_of(where, number, text)
        return cls(resource, *amount_of(resource, number, text), f"{resource}={amount}", deployment)

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
            raise InputError(beyond(self.resource, original, self.text, limit))
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
