"""Channel reparametrization: Dupont et al. 2021's gates on Crowley et al. 2018's channels.

    h_k     = h_t(s_k)                          eq. (5) of Dupont     `secateur.methods.gates.channels`
    C(S)    = c + sum_i l_i S_i + sum_ij p_ij S_i S_j                 `secateur.surgery.soft_cost`
    S_i     = sum of h_k over group i           eq. (9) of Dupont, for one group
    C(S(t)) = C(step)                           solved for t          `secateur.methods.gates.channel_cost`

C in MACs is sum_l k^2 * HW * S_in * S_out over the layers l, in params it has biases and normalisation
besides; with gates of 0 and 1 it is the count of the cut network.

As in `reparametrization`'s exact mode, one t for the whole network is solved for, so that C is what the
schedule has it be, and n rises to draw h towards 0 and 1. At `cut_at` the channels outside the budget go
physically, h is folded into the weights that read what stays, and the rest of training tunes the small
network, dense and cheaper. It has to: channels are few and their norms lie close together, so that some
gates are half open at any n, and a cut at the very end leaves the network broken. The rms is the group's own
at that step, so that the gates of every group compete among themselves too: in units of the first rms a whole
residual stream goes at once, all but its last channel.

A residual stream (all that the blocks of a stage add to and read from) is one group with one gate per
channel. Left alone is the first stage's stream of the wide residual networks: it may be the stem's, whose 16
channels are no argument of the family.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from secateur.budget import Limits, Wanted, one_budget
from secateur.errors import InputError, require
from secateur.methods.base import Method
from secateur.methods.channel_limits import bounds_of
from secateur.methods.gates.channel_cost import choose_channels, solve_cost
from secateur.methods.gates.channels import ChannelGates, channel_gate, unfoldable
from secateur.methods.gates.schedule import Schedule
from secateur.surgery.anatomy import Anatomy, anatomy_of
from secateur.surgery.constraints import NO_CONSTRAINTS, Bounds, Constraints
from secateur.surgery.optimizer_state import Optimizers, check_steps, watch_optimizers
from secateur.surgery.soft_cost import SoftCost


@dataclass(frozen=True)
class Config(Schedule):
    """Settings of the channel reparametrization, whose `Schedule` is over sooner than that of weights.

    Attributes:
        cut_at: the share of training after which the channels go physically, from `sharpen_until` on. 1: only
            in `finalize`, with nothing left to make up for the gates that were still between 0 and 1.
        streams: whether residual streams are pruned too, or only the channels inside the blocks.
    """

    end: float = 0.4
    sharpen_until: float = 0.5
    cut_at: float = 0.5
    streams: bool = True

    def __post_init__(self) -> None:
        checks = {
            **self.checks(),
            "cut_at must lie in [sharpen_until, 1]": self.sharpen_until <= self.cut_at <= 1,
        }
        require(self, checks, "channel-reparametrization: ")


class ChannelReparametrization(Method):
    """Channel pruning during training, down to `budget`, in one run; what is left is dense and smaller.

    Args:
        budget: e.g. "macs=25%", of the network handed to `prepare`; or `Limits`, where the original is
            another network, as where a run is resumed behind its cut.
        steps: optimizer steps of the whole training, for the schedule.
        constraints: what must stay; groups that keep all have no gates. No ratios: the gates of all groups
            compete for one budget.
        settings: the fields of `Config`.

    Attributes:
        limits: the budget in units of its resource, from `prepare` on.
        left_out: groups that can have no gates, and why.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.

    Example:
        >>> method = ChannelReparametrization("macs=25%", steps=1000)  # doctest: +SKIP

    Reference: Dupont et al. 2021, eqs. (3)-(9); Crowley et al. 2018, section 3, for what a channel is.
    """

    name = "channel-reparametrization"
    takes_steps = True

    def __init__(
        self, budget: Wanted, *, steps: int, constraints: Constraints = NO_CONSTRAINTS, **settings: Any
    ):
        self.budget = one_budget(budget).of_trainable(self.name)
        self.constraints = constraints.without_ratio(self.name)
        self.bounds = Bounds()
        self.config = Config(**settings)
        if steps < 1:
            raise InputError(
                f"channel-reparametrization: at least 1 optimizer step is needed for the schedule, got "
                f"{steps}: pass steps=epochs * batches per epoch"
            )
        self.steps = steps
        self.limits = Limits()
        self.initial = 0  # the cost of the network handed to `prepare`
        self._step = 0
        self._t, self._n, self._open, self._cut = 1.0, self.config.n, True, False
        self.left_out: dict[str, str] = {}
        self._resumed: dict[str, Any] | None = None
        self._anatomy: Anatomy | None = None
        self._gates: ChannelGates | None = None
        self._cost: SoftCost | None = None

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {"method": self.name, **asdict(self.config), **self.constraints.identity()}

    @property
    def limit(self) -> int:
        """The budget in units, from `prepare` on."""
        return self.limits.units

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Attach the gates; InputError where not even one channel per group would meet the budget."""
        watch_optimizers()
        self._anatomy = anatomy_of(model, streams=self.config.streams)
        costs, resource = self._anatomy.costs, self.budget.resource
        self.initial = costs.now[resource]
        resumed, self._resumed = self._resumed, None
        self.limits = Limits.of(self.budget, model) if resumed is None else Limits.at(_limits(self, resumed))
        self.bounds = bounds_of(self.constraints, model, streams=self.config.streams)
        names = self._gated(self._anatomy)
        self._cost = SoftCost.of(costs, resource, names)
        if resumed is None:
            self._check_reachable(self._cost, [self.bounds.least(name) for name in names])
        self._gates = ChannelGates(model, self._anatomy.graph, names, self._setting)
        self._gates.attach(model)
        if resumed is not None:
            self.restore(resumed, {})
        return model

    def _gated(self, anatomy: Anatomy) -> list[str]:
        """The groups that have gates; those that cannot are in `left_out`, and said."""
        wanted = [group for group in anatomy.graph if self.config.streams or group.inner]
        width = anatomy.graph.width
        wanted = [group for group in wanted if self.bounds.least(group.name) < max(2, width(group.name))]
        reasons = {group.name: unfoldable(anatomy.whole, group) for group in wanted if anatomy.whole}
        self.left_out = {name: reason for name, reason in reasons.items() if reason}
        names = [group.name for group in wanted if group.name not in self.left_out]
        said = "; ".join(f"{name}: {reason}" for name, reason in self.left_out.items())
        if not names:
            raise InputError(
                "channel-reparametrization: no channel of the network can have a gate "
                f"({said or self.bounds.text or 'every group is a residual stream, and streams=False'}): "
                "choose fisher or taylor"
            )
        if said:
            warnings.warn(f"channel-reparametrization leaves channels alone: {said}", stacklevel=3)
        return names

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Count the step and follow the schedule; at `cut_at` remove the channels."""
        self._step += 1
        if self._cut:
            return model
        if self.config.cut_at < 1 and self._step >= self.config.cut_at * self.steps:
            if optimizer is None:
                raise InputError(
                    "channel-reparametrization removes channels, so the optimizer must shrink along: "
                    "call method.after_step(model, optimizer), or set cut_at=1"
                )
            check_steps(self.name, model, optimizer)
            self._remove(model, optimizer)
        elif self._step % self.config.solve_every == 0:
            self._solve(model)
        return model

    def before_evaluation(self, model: nn.Module) -> None:
        """Meet the schedule's cost with the weights as they are now."""
        if not self._cut:
            self._solve(model)

    def finalize(self, model: nn.Module) -> nn.Module:
        """Remove the channels, unless that was done at `cut_at`: a plain network of its kind.

        Raises:
            TrainingError: where the network does not compute what the masked one does.
        """
        if self._gates is not None and self._gates.attached:
            self._remove(model, ())  # whoever steps it
        if self._cut and self._anatomy is not None:
            self._anatomy.prove(model)
        return model

    def gates(self, model: nn.Module) -> dict[str, Tensor]:
        """h of every group as it is now, by name, each (K,)."""
        gates = self._prepared
        with torch.no_grad():
            return {
                name: channel_gate(gates.magnitude(model, name), self._t, self._n) for name in gates.names
            }

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps)

    def progress(self) -> dict[str, float]:
        return {"remaining": self._share()}

    def state(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "t": self._t,
            "n": self._n,
            "open": self._open,
            "cut": self._cut,
            "initial": self.initial,
            "limits": dict(self.limits),
        }

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave; called before `prepare`, or behind it."""
        if self._anatomy is None:
            self._resumed = state
            return
        self._step, self._t, self._n, self._open = (state[key] for key in ("step", "t", "n", "open"))
        self.initial = state["initial"]
        self.limits = self.limits.resumed(_limits(self, state))
        if state["cut"]:
            self._detach()

    def _check_reachable(self, cost: SoftCost, floors: list[int]) -> None:
        smallest, resource = cost.count(floors), self.budget.resource
        to = f"what must stay of it ({self.bounds.text})" if self.bounds else "one channel"
        if smallest > self.limit:
            raise InputError(
                f"channel-reparametrization: the budget of {self.limit:,} {resource} is below what is left "
                f"when every group is down to {to}, {smallest:,}: ask for at least "
                f"{resource}={smallest}"
            )

    @property
    def _prepared(self) -> ChannelGates:
        assert self._gates is not None, "prepare comes first"
        return self._gates

    def _setting(self) -> tuple[float, int] | None:
        return None if self._open else (self._t, self._n)

    def _share(self) -> float:
        """C(step) / C_initial by the schedule."""
        return self.config.share_at(self.completion, self.limit / self.initial)

    @torch.no_grad()
    def _solve(self, model: nn.Module) -> None:
        """Set t and n as the schedule has them now."""
        assert self._cost is not None
        share = self._share()
        self._open = share >= 1
        if not self._open:
            self._n = self.config.n_at(self.completion)
            found = self._prepared.magnitudes(model)
            self._t = solve_cost(found, self._cost, share * self.initial, self._n, self._t)

    @torch.no_grad()
    def _remove(self, model: nn.Module, optimizer: Optimizers) -> None:
        """Fold the gates into the weights that read, and remove the channels outside the budget."""
        assert self._cost is not None
        assert self._anatomy is not None
        self._solve(model)
        gates = self._prepared
        floors = [self.bounds.least(name) for name in gates.names]
        gone = choose_channels(gates.magnitudes(model), self._cost, self.limit, floors)
        if not self._open:
            gates.fold(model)
        for name, channels in zip(gates.names, gone, strict=True):
            if channels:
                self._anatomy.remove(model, name, channels, optimizer)
        self._detach()

    def _detach(self) -> None:
        if self._gates is not None:
            self._gates.detach()
        self._open, self._cut = True, True


def _limits(method: ChannelReparametrization, state: Mapping[str, Any]) -> Mapping[str, int]:
    """The limits in a state, also as it was written once."""
    found: Mapping[str, int] = state.get("limits") or {method.budget.resource: state["limit"]}
    return found
