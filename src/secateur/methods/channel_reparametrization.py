"""Channel reparametrization: Dupont et al. 2021's gates on Crowley et al. 2018's channels.

    s_k     = |W_k| / rms over the group of |W|                       `relative_norms`
    h_k     = h_t(s_k)                          eq. (5) of Dupont     `channel_gate`
    a_k    <- h_k * a_k, wherever channel k is read                   `ChannelReparametrization.prepare`
              times 1 / rms(h) in networks without normalisation      `gain`
    C(S)    = c + sum_i l_i S_i + sum_ij p_ij S_i S_j                 `Cost`
    S_i     = sum of h_k over group i           eq. (9) of Dupont, for one group

W_k are the weights that write channel k. C in MACs is sum_l k^2 * HW * S_in * S_out over the layers l, in
params it has biases and normalisation besides; with gates of 0 and 1 it is the count of the cut network.
Gating what is *read* makes h = 0 and a removed channel the same, which gating what is written would not:
normalisation turns a channel of zeros into one of betas.

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

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.budget import COUNTERS, Limits, Wanted, layer_positions, one_budget, weight_layers
from secateur.errors import InputError, require
from secateur.methods.base import Method
from secateur.methods.gate import full, gate, gate_slope
from secateur.methods.schedule import Schedule
from secateur.methods.temperature import inside
from secateur.models import Coupling
from secateur.models.base import weight_layer
from secateur.surgery import couplings, features_of, remove_channels

F64 = torch.float64


class _ChannelGate(torch.autograd.Function):
    """h_t(s) with the closed form of dh/ds; t is a constant of the solution, not learned."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, t: float, n: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.t, ctx.n = t, n
        return gate(s, t, n)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (s,) = ctx.saved_tensors
        slope = torch.where(s > 0, gate_slope(s, ctx.t, ctx.n) / s, 0.0)  # dh/ds is 0 at s = 0, as n >= 2
        return grad * slope, None, None


def channel_gate(s_K: Tensor, t: float, n: int) -> Tensor:
    """h_k = h_t(s_k), differentiable in s; t is a solution, not a parameter. (K,) -> (K,).

    Reference: Dupont et al. 2021, eq. (5).
    """
    h: Tensor = _ChannelGate.apply(s_K, t, n)
    return h


def relative_norms(weights: Sequence[Tensor]) -> Tensor:
    """s_k: the norm of all that writes channel k, in units of its root mean square over the group.

    The unit is a constant to the gradient.

    Args:
        weights: of the layers that write the group, each (K, ...). Each counts by its mean square, so that
            a 1x1 projection has the same say as a 3x3 convolution.

    Returns:
        (K,), in float32 at least, at least 0; all 0 where all weights are.
    """
    norms = [torch.linalg.vector_norm(full(w).flatten(1), dim=1) / math.sqrt(w[0].numel()) for w in weights]
    norm_K = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    unit = norm_K.detach().square().mean().sqrt()
    return norm_K / unit.clamp_min(torch.finfo(unit.dtype).tiny)


def gain(h_K: Tensor) -> Tensor:
    """1 / rms of the gates of a group, a constant to the gradient: for groups without normalisation.

    There half-closed gates would multiply down the chain until no signal is left (Conv4's six groups). It is
    at most 1000.
    """
    return 1 / h_K.detach().square().mean().sqrt().clamp_min(1e-3)


@dataclass(frozen=True)
class Cost:
    """C(S) = constant + linear . S + S . pairs . S over the groups' sums of gates S_i, in float64.

    With every gate 0 or 1 it is the exact count of the network with those channels removed.

    Attributes:
        constant: what no prunable channel is part of.
        linear: (G,) per channel: biases, normalisation, layers with one prunable end.
        pairs: (G, G) per pair of channels: layers that read one group and write another.
    """

    constant: float
    linear: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, model: nn.Module, groups: Sequence[Coupling], resource: str) -> Cost:
        """The cost of a network in `resource`, a key of `secateur.budget.COUNTERS`."""
        widths = torch.tensor([group.width(model) for group in groups], dtype=F64)
        linear, pairs = widths.new_zeros(len(groups)), widths.new_zeros(len(groups), len(groups))
        writes = {name: i for i, group in enumerate(groups) for name in group.producers}
        reads = {name: i for i, group in enumerate(groups) for name in group.consumers}
        for name, amount in _amounts(model, resource).items():
            ends = [index[name] for index in (reads, writes) if name in index]
            if len(ends) == 2:
                pairs[ends[0], ends[1]] += amount / (widths[ends[0]] * widths[ends[1]])
            elif ends:
                linear[ends[0]] += amount / widths[ends[0]]
        if resource == "params":
            linear += torch.tensor([_params_per_channel(model, group) for group in groups], dtype=F64)
        partial = cls(0.0, linear, pairs)
        return cls(float(COUNTERS[resource](model) - partial(widths)), linear, pairs)

    def __call__(self, sums: Tensor) -> Tensor:
        """C at (G,) sums of gates; a float64 scalar, differentiable."""
        return self.constant + sums @ self.linear + sums @ self.pairs @ sums

    def count(self, widths: Sequence[int]) -> int:
        """C at whole numbers of channels."""
        return round(float(self(torch.tensor(widths, dtype=F64))))

    def slope(self, sums: Tensor) -> Tensor:
        """dC/dS, (G,)."""
        return self.linear + (self.pairs + self.pairs.T) @ sums


def _amounts(model: nn.Module, resource: str) -> dict[str, int]:
    """What the weights of every convolution and linear layer take of the resource."""
    macs = resource == "macs"
    uses = layer_positions(model, model.input_shape) if macs else {}  # type: ignore[arg-type]
    return {name: layer.weight.numel() * uses.get(name, 1) for name, layer in weight_layers(model).items()}


def _params_per_channel(model: nn.Module, group: Coupling) -> int:
    """Biases of what writes a channel, scales and shifts of what normalises it."""
    biases = [model.get_submodule(name).bias for name in group.producers]
    norms = [p for name in group.norms for p in model.get_submodule(name).parameters()]
    whole = [p.numel() for p in (*biases, *norms) if isinstance(p, Tensor)]
    return sum(whole) // group.width(model)


def solve_cost(magnitudes: Sequence[Tensor], cost: Cost, target: float, n: int, guess: float = 1.0) -> float:
    """The t at which C is `target`: Newton's steps in log t, kept in a bracket, as `solve_temperature` does.

    C rises strictly with t, as every S_i does and no coefficient is negative, so there is one solution.

    Args:
        magnitudes: s of every group, each (K,).
        target: above the cost of no channels and below that of all; beyond, an end of the bracket.
        n: crispness.
        guess: where to begin, above 0.
    """
    low, high, at = -math.inf, math.inf, math.log(guess)
    s, sizes = torch.cat(list(magnitudes)).cpu().to(F64), [len(s_K) for s_K in magnitudes]
    for _ in range(100):
        t = math.exp(at)
        sums = _sums(gate(s, t, n), sizes)
        excess = float(cost(sums)) - target
        low, high = (low, at) if excess > 0 else (at, high)
        if abs(excess) <= 1e-9 * target or high - low < 1e-12 or abs(at) > 60:
            break
        slope = float(cost.slope(sums) @ _sums(gate_slope(s, t, n), sizes))
        at = inside(at - excess / slope if slope else math.nan, at, low, high)
    return math.exp(at)


def _sums(values: Tensor, sizes: list[int]) -> Tensor:
    return torch.stack([part.sum() for part in values.split(sizes)])


def choose_channels(magnitudes: Sequence[Tensor], cost: Cost, limit: int) -> list[list[int]]:
    """The channels to remove from each group, so that the recounted cost is at most `limit`.

    The smallest magnitudes go first, over all groups, never a group's last; then, the largest first, those
    come back that still fit. h rises with s, so this is the order of the gates, without their ties at 1.
    """
    order = sorted((s, i, k) for i, s_K in enumerate(magnitudes) for k, s in enumerate(s_K.tolist()))
    widths = [len(s_K) for s_K in magnitudes]
    gone: list[tuple[int, int]] = []
    for _, i, k in order:
        if cost.count(widths) <= limit:
            break
        if widths[i] > 1:
            widths[i] -= 1
            gone.append((i, k))
    for i, k in reversed(gone[:]):
        wider = [width + (j == i) for j, width in enumerate(widths)]
        if cost.count(wider) <= limit:
            widths = wider
            gone.remove((i, k))
    return [sorted(k for i, k in gone if i == j) for j in range(len(widths))]


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
        settings: the fields of `Config`.

    Attributes:
        limits: the budget in units of its resource, from `prepare` on.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.

    Example:
        >>> method = ChannelReparametrization("macs=25%", steps=1000)  # doctest: +SKIP

    Reference: Dupont et al. 2021, eqs. (3)-(9); Crowley et al. 2018, section 3, for what a channel is.
    """

    name = "channel-reparametrization"

    def __init__(self, budget: Wanted, *, steps: int, **settings: Any):
        self.budget = one_budget(budget).of_trainable(self.name)
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
        self._groups: tuple[Coupling, ...] = ()
        self._cost: Cost | None = None
        self._hooks: list[RemovableHandle] = []

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {"method": self.name, **asdict(self.config)}

    @property
    def limit(self) -> int:
        """The budget in units, from `prepare` on."""
        return self.limits.units

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Attach the gates; InputError where not even one channel per group would meet the budget."""
        self._groups = couplings(model, self.config.streams)
        self.initial = COUNTERS[self.budget.resource](model)
        self.limits = Limits.of(self.budget, model)
        self._cost = Cost.of(model, self._groups, self.budget.resource)
        self._check_reachable(self._cost)
        for group in self._groups:
            for name in group.consumers:
                hook = self._reader(model, group, name)
                self._hooks.append(model.get_submodule(name).register_forward_pre_hook(hook))
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
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
            self._remove(model, optimizer)
        elif self._step % self.config.solve_every == 0:
            self._solve(model)
        return model

    def before_evaluation(self, model: nn.Module) -> None:
        """Meet the schedule's cost with the weights as they are now."""
        if not self._cut:
            self._solve(model)

    def finalize(self, model: nn.Module) -> nn.Module:
        """Remove the channels, unless that was done at `cut_at`: a plain network of its family."""
        if self._hooks:
            self._remove(model, None)
        return model

    def gates(self, model: nn.Module) -> dict[str, Tensor]:
        """h of every group as it is now, by name, each (K,)."""
        with torch.no_grad():
            return {group.name: self._gate(model, group) for group in self._groups}

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
        self._step, self._t, self._n, self._open = (state[key] for key in ("step", "t", "n", "open"))
        self.initial = state["initial"]
        before = state.get("limits") or {self.budget.resource: state["limit"]}  # as it was written once
        self.limits = self.limits.resumed(before)
        if state["cut"]:
            self._detach()

    def _check_reachable(self, cost: Cost) -> None:
        smallest, resource = cost.count([1] * len(self._groups)), self.budget.resource
        if smallest > self.limit:
            raise InputError(
                f"channel-reparametrization: the budget of {self.limit:,} {resource} is below what is left "
                f"when every group is down to one channel, {smallest:,}: ask for at least "
                f"{resource}={smallest}"
            )

    def _reader(self, model: nn.Module, group: Coupling, consumer: str) -> Any:
        """The hook that multiplies what `consumer` reads by the group's gates."""

        def read(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._open:
                return None
            act, *rest = inputs
            return (act * self._per_input(model, group, consumer, act), *rest)

        return read

    def _gate(self, model: nn.Module, group: Coupling) -> Tensor:
        return channel_gate(_magnitudes_of(model, group), self._t, self._n)

    def _per_input(self, model: nn.Module, group: Coupling, consumer: str, like: Tensor) -> Tensor:
        """The gates, repeated for every input feature of `consumer`, along dimension 1 of `like`."""
        h_K = self._gate(model, group)
        if not group.norms:
            h_K = h_K * gain(h_K)
        h = h_K.repeat_interleave(features_of(model, group, consumer))
        return h.to(like.dtype).view(1, -1, *[1] * (like.dim() - 2))

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
            found = [_magnitudes_of(model, group) for group in self._groups]
            self._t = solve_cost(found, self._cost, share * self.initial, self._n, self._t)

    @torch.no_grad()
    def _remove(self, model: nn.Module, optimizer: Optimizer | None) -> None:
        """Fold the gates into the weights that read, and remove the channels outside the budget."""
        assert self._cost is not None
        self._solve(model)
        gone = choose_channels([_magnitudes_of(model, g) for g in self._groups], self._cost, self.limit)
        if not self._open:
            self._fold(model)
        for group, channels in zip(self._groups, gone, strict=True):
            if channels:
                remove_channels(model, group, channels, optimizer)
        self._detach()

    def _fold(self, model: nn.Module) -> None:
        """h into the weights that read: all factors first, as what reads one group may write another."""
        weights = {
            name: (weight_layer(model, name).weight, group)
            for group in self._groups
            for name in group.consumers
        }
        factors = {name: self._per_input(model, group, name, w) for name, (w, group) in weights.items()}
        for name, (weight, _) in weights.items():
            weight.mul_(factors[name])

    def _detach(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._open, self._cut = True, True


def _magnitudes_of(model: nn.Module, group: Coupling) -> Tensor:
    return relative_norms([weight_layer(model, name).weight for name in group.producers])
