"""Where pruning stops: within every limit, of whatever is counted or measured."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import distributed as dist
from torch import nn

from secateur.budget import MEASURED, Budgets, Deployment, Limits
from secateur.deploy.latency import Latency, measure
from secateur.deploy.predicted import Predicted, in_words, predicted
from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.network.inputs import Inputs
from secateur.surgery.anatomy import Anatomy, anatomy_of, cost_at

_NEXT_LOOK = 0.7  # of the way to a latency, in logarithms: so much smaller before it is measured again


@dataclass
class Goal:
    """Says whether a network is within all of its limits, and how far there.

    Attributes:
        wanted: budgets as the user wrote them, or limits; None: no limits at all.
        limits: what `wanted` comes to; `fix` finds it, of budgets.
        latency: the last measurement, where there is a limit on it; or what a table foretold.
    """

    wanted: Budgets | Limits | None
    limits: Limits = field(default_factory=Limits)
    latency: Latency | Predicted | None = None
    _measure_below: float = float("inf")  # MACs; a network hardly smaller than one too slow is too slow
    _fast_at: int | None = None  # MACs of the network that was fast enough: its weights do not matter

    def fix(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Find the limits, with `model` as the original of budgets; measure a latency that is not known yet.

        Raises:
            InputError: where budgets are beyond the network, so that they would not bind.
        """
        if self.wanted is None:
            return
        self.limits = Limits.of(self.wanted, model)
        latency = self.limits.latency
        if latency is None or latency.deployment is None or not self.limits.open:
            return
        self.latency = agreed_latency(model, anatomy.inputs, latency.deployment)
        original = self.latency.nanoseconds
        self.limits = self.limits.fixed(original)
        if self.limits[MEASURED] > original and not self.limits.counted:
            raise InputError(
                f"a budget must not exceed the network's own latency, {self.latency}; got "
                f"'{latency.text}': ask for less"
            )

    def resumed(self, units: Mapping[str, int]) -> Goal:
        """The goal of a run that is continued: its limits in units, whatever the network is now."""
        if self.wanted is None:
            return self
        budgets = [] if isinstance(self.wanted, Limits) else [each for each in self.wanted if each.measured]
        before = self.wanted if isinstance(self.wanted, Limits) else Limits(latency=next(iter(budgets), None))
        return Goal(before.resumed(units))

    def met(self, model: nn.Module, anatomy: Anatomy) -> bool:
        """Whether the network is within every limit as it is now; latency is measured when all else holds."""
        if not self._counted_met(anatomy):
            return False
        limit = self.limits.get(MEASURED)
        return limit is None or self._fast_enough(model, anatomy, limit)

    def completion(self, first: Mapping[str, int], anatomy: Anatomy) -> float:
        """How far of the way from `first` to the counted limits is gone, in [0, 1]; of several, the least."""
        shares = [
            (first[resource] - cost_at(anatomy, resource)) / max(1, first[resource] - limit)
            for resource, limit in self.limits.items()
            if resource in first
        ]
        return min(1.0, max(0.0, min(shares, default=0.0)))

    def check_reachable(
        self, model: nn.Module, anatomy: Anatomy, smallest: Mapping[str, int], who: str, constraints: str = ""
    ) -> None:
        """InputError unless the network with groups down to `smallest` is within every limit: what binds.

        Args:
            constraints: what must stay, in words.
        """
        for resource, limit in self.limits.items():
            least = self._least(resource, model, anatomy, smallest)
            if least > limit:
                to = "one channel" if set(smallest.values()) <= {1} else "its smallest width"
                to = f"what must stay of it ({constraints})" if constraints else to
                unit = " ns of latency" if resource == MEASURED else f" {resource}"
                ask = f"{resource}={least}" if resource != MEASURED else f"more than {least / 1e6:.3g} ms"
                raise InputError(
                    f"{who}: the budget of {limit:,}{unit} is below what is left when every group is "
                    f"down to {to}, {least:,}: ask for at least {ask}{_frozen_words(anatomy)}"
                )

    def describe(self) -> dict[str, Any]:
        """The limits, and the latency where it was measured, for a record."""
        found: dict[str, Any] = {"limits": dict(self.limits)}
        if self.latency is not None:
            found["latency"] = str(self.latency)
            found["latency_ns"] = self.latency.nanoseconds
        return found

    @property
    def words(self) -> list[str]:
        """What a user should know of the limits: how far a table is off by which a latency is foretold."""
        return words_of(self.wanted)

    def _counted_met(self, anatomy: Anatomy) -> bool:
        counted = self.limits.without_latency()
        return counted.met({resource: cost_at(anatomy, resource) for resource in counted})

    def _fast_enough(self, model: nn.Module, anatomy: Anatomy, limit: int) -> bool:
        """Whether two of at most three measurements are within the limit; none where hopelessly above."""
        macs = cost_at(anatomy, "macs")
        if macs == self._fast_at:
            return True
        if macs > self._measure_below:
            return False
        slow: list[int] = []
        fast = 0
        while fast < (1 if self._foretold else 2):
            self.latency = self._measured(model, anatomy)
            if self.latency.nanoseconds <= limit:
                fast += 1
                continue
            slow.append(self.latency.nanoseconds)
            if (
                len(slow) == 2 or self._foretold
            ):  # the better of the two, as what disturbs a clock makes it slower
                # With overheads, latency falls no faster than MACs do: this far it is too slow for sure.
                self._measure_below = min(macs - 1, macs * (limit / min(slow)) ** _NEXT_LOOK)
                return False
        self._fast_at = macs
        return True

    @property
    def _foretold(self) -> bool:
        """Whether the latency is looked up in a table, which says the same every time."""
        latency = self.limits.latency
        return latency is not None and latency.deployment is not None and latency.deployment.table is not None

    def _measured(self, model: nn.Module, anatomy: Anatomy) -> Latency | Predicted:
        assert self.limits.latency is not None
        assert self.limits.latency.deployment is not None
        return agreed_latency(plain_copy(model), anatomy.inputs, self.limits.latency.deployment)

    def _least(self, resource: str, model: nn.Module, anatomy: Anatomy, smallest: Mapping[str, int]) -> int:
        if resource != MEASURED:
            return cost_at(anatomy, resource, smallest)
        small = copied(model)
        inner = anatomy_of(small)
        inner.narrow(small, dict(smallest))
        return self._measured(small, inner).nanoseconds


def words_of(wanted: Budgets | Limits | None) -> list[str]:
    """How far a table is off by which a latency among the budgets is foretold: a line, or none."""
    if isinstance(wanted, Limits):
        latency = wanted.latency
    else:
        latency = next((budget for budget in wanted or () if budget.measured), None)
    where = latency.deployment if latency else None
    if where is None or where.table is None:
        return []
    return [in_words(where.table, f"the table '{where.path}'")]


def agreed_latency(model: nn.Module, inputs: Inputs, deployment: Deployment) -> Latency | Predicted:
    """The latency; of several processes that of the first, as all of them have to cut alike."""
    if deployment.table is not None:
        return predicted(model, inputs, deployment.table, f"the table '{deployment.path}'")
    found = measure(model, inputs, deployment)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        median = torch.tensor([found.median_s], dtype=torch.float64, device=next(model.parameters()).device)
        dist.broadcast(median, 0)
        return replace(found, median_s=float(median))
    return found


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy without the hooks of whoever is at work on the model, and without copying whoever that is."""
    modules = list(model.modules())
    hooks = [(module._forward_hooks, module._forward_pre_hooks) for module in modules]
    try:
        for module in modules:
            module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
        return copied(model)
    finally:
        for module, (after, before) in zip(modules, hooks, strict=True):
            module._forward_hooks, module._forward_pre_hooks = after, before


def _frozen_words(anatomy: Anatomy) -> str:
    """What could not be cut, where that is more than the output layer."""
    named = [each.name for each in anatomy.graph.frozen if "output" not in each.reason]
    return f" (frozen: {', '.join(named[:4])}; `secateur inspect` says why)" if named else ""
