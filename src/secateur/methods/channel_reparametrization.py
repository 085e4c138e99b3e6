"""Channel reparametrization: Dupont et al. 2021's gates on Crowley et al. 2018's channels.

    s_k     = |gamma_k| |W_k| / r                                     `magnitude`
    h_k     = h_t(s_k), eq. (5) of Dupont et al.                      `channel_gate`
    a_k    <- h_k * a_k, for all that read channel k                  `ChannelReparametrization._reader`
    C(h)    = c + sum_i l_i S_i + sum_ij p_ij S_i S_j, S_i = sum_k h_k of group i        `Cost`

One t for the whole network is solved for, so that C is the schedule's share of the original cost at every
`solve_every`-th step; h falls to all but 0 and 1 as n rises; then the channels outside the budget go,
physically, and what is left of training tunes a dense, smaller network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.budget import COUNTERS, Budget, layer_positions, weight_layers
from secateur.errors import InputError
from secateur.methods.base import Method
from secateur.methods.reparametrization import _inside, crispness, gate, gate_slope, kept_share
from secateur.surgery import Coupling, couplings, remove_coupled, spread_of

F64 = torch.float64
KIND = "filter"
RELATIVE = "init"


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
    """h_k = h_t(s_k), differentiable in s. (K,) -> (K,).

    Reference: Dupont et al. 2021, eq. (5).
    """
    h: Tensor = _ChannelGate.apply(s_K, t, n)
    return h


def filter_norms(weight: Tensor) -> Tensor:
    """|W_k| of every output channel, as the root of its weights' mean square. (K, ...) -> (K,)."""
    flat = weight.flatten(1)
    return torch.linalg.vector_norm(flat.float(), dim=1) / math.sqrt(flat.shape[1])

def reader_norms(weight: Tensor, spread: int) -> Tensor:
    w = weight.float().transpose(0, 1).flatten(1)
    w = w.reshape(w.shape[0] // spread, -1)
    return torch.linalg.vector_norm(w, dim=1) / math.sqrt(w.shape[1])


def magnitude(model: nn.Module, group: Coupling) -> Tensor:
    def rms(parts): 
        return parts[0] if len(parts) == 1 else torch.linalg.vector_norm(torch.stack(parts), dim=0) / math.sqrt(len(parts))
    width = group.width(model)
    out = []
    if "filter" in KIND:
        out.append(rms([filter_norms(model.get_submodule(p).weight) for p in group.producers]))
    if "gamma" in KIND and group.norms:
        out.append(rms([model.get_submodule(p).weight.abs() for p in group.norms]))
    if "reader" in KIND:
        out.append(rms([reader_norms(model.get_submodule(p).weight, spread_of(model, group, p)) for p in group.consumers]))
    return math.prod(out) if len(out) > 1 else out[0]


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
        linear, pairs = torch.zeros(len(groups), dtype=F64), torch.zeros(len(groups), len(groups), dtype=F64)
        writes = {name: i for i, group in enumerate(groups) for name in group.producers}
        reads = {name: i for i, group in enumerate(groups) for name in group.consumers}
        uses = layer_positions(model, model.input_shape) if resource == "macs" else {}  # type: ignore[arg-type]
        for name, layer in weight_layers(model).items():
            ends = [index[name] for index in (reads, writes) if name in index]
            amount = layer.weight.numel() * uses.get(name, 1)
            if len(ends) == 2:
                pairs[ends[0], ends[1]] += amount / (widths[ends[0]] * widths[ends[1]])
            elif ends:
                linear[ends[0]] += amount / widths[ends[0]]
            if resource == "params" and name in writes and layer.bias is not None:
                linear[writes[name]] += 1
        if resource == "params":
            for i, group in enumerate(groups):
                linear[i] += sum(p.numel() for norm in group.norms for p in model.get_submodule(norm).parameters()) / widths[i]
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


def solve_cost(
    magnitudes: Sequence[Tensor], cost: Cost, target: float, n: int, guess: float = 1.0
) -> float:
    """The t at which C is `target`: Newton's steps in log t, kept in a bracket, as `solve_temperature` does.

    C rises strictly with t, because every S_i does and no coefficient is negative.
    """
    low, high, at = -math.inf, math.inf, math.log(guess)
    every = torch.cat(list(magnitudes)).to(F64)
    sizes = [len(part) for part in magnitudes]

    def sums(values: Tensor) -> Tensor:
        return torch.stack([part.sum() for part in values.split(sizes)])

    for _ in range(100):
        t = math.exp(at)
        totals = sums(gate(every, t, n))
        excess = float(cost(totals)) - target
        low, high = (low, at) if excess > 0 else (at, high)
        if abs(excess) <= 1e-9 * target or high - low < 1e-12 or at > 60:
            break
        slope = float(cost.slope(totals) @ sums(gate_slope(every, t, n)))
        at = _inside(at - excess / slope if slope else math.nan, at, low, high)
    return math.exp(at)


def choose_channels(magnitudes: Sequence[Tensor], cost: Cost, limit: int) -> list[list[int]]:
    """The channels to remove from each group so that the recounted cost is at most `limit`.

    The smallest magnitudes go first, over all groups, never a group's last; then the largest of those that
    went come back where they still fit.
    """
    order = sorted((float(s), i, k) for i, part in enumerate(magnitudes) for k, s in enumerate(part))
    widths = [len(part) for part in magnitudes]
    gone = []
    for _, i, k in order:
        if cost.count(widths) <= limit:
            break
        if widths[i] > 1:
            widths[i] -= 1
            gone.append((i, k))
    for i, k in reversed(gone.copy()):
        widths[i] += 1
        if cost.count(widths) <= limit:
            gone.remove((i, k))
        else:
            widths[i] -= 1
    return [sorted(k for i, k in gone if i == index) for index in range(len(widths))]


@dataclass(frozen=True)
class Config:
    """Settings of the channel reparametrization.

    Attributes:
        n: crispness of h at first, even, at least 2.
        start, end: the shares of training between which C falls to its target.
        n_final: the crispness reached at `sharpen_until`, even, at least n.
        sharpen_until: a share of training, from `end` on.
        solve_every: steps from one solution for t to the next, at least 1.
        cut_at: the share of training after which the channels go physically; 1: only in `finalize`.
    """

    n: int = 4
    start: float = 0.1
    end: float = 0.6
    n_final: int = 16
    sharpen_until: float = 0.9
    solve_every: int = 4
    cut_at: float = 0.9

    def __post_init__(self) -> None:
        checks = {
            "n must be even and at least 2": self.n >= 2 and self.n % 2 == 0,
            "n_final must be even and at least n": self.n_final >= self.n and self.n_final % 2 == 0,
            "start must lie in [0, end)": 0 <= self.start < self.end,
            "end must lie below sharpen_until": self.end < self.sharpen_until,
            "sharpen_until must be at most 1": self.sharpen_until <= 1,
            "solve_every must be at least 1": self.solve_every >= 1,
            "cut_at must lie in [sharpen_until, 1]": self.sharpen_until <= self.cut_at <= 1,
        }
        for invariant, holds in checks.items():
            if not holds:
                value = getattr(self, invariant.split()[0])
                raise InputError(f"channel-reparametrization: {invariant}, got {value}")


class ChannelReparametrization(Method):
    """Channel pruning during training, down to `budget`, in one run; what is left is dense and smaller.

    Args:
        budget: e.g. "macs=25%", of the network handed to `prepare`.
        steps: optimizer steps of the whole training, for the schedule.
        settings: the fields of `Config`.

    Attributes:
        limit: the budget in units of its resource; set it beforehand where the original is another network.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.
    """

    name = "channel-reparametrization"

    def __init__(self, budget: Budget | str, *, steps: int, **settings: Any):
        self.budget = Budget.parse(budget)
        self.config = Config(**settings)
        if steps < 1:
            raise InputError(
                f"channel-reparametrization: at least 1 optimizer step is needed for the schedule, got "
                f"{steps}: pass steps=epochs * batches per epoch"
            )
        self.steps = steps
        self.limit = 0
        self.initial = 0
        self._step = 0
        self._t, self._n, self._open, self._cut = 1.0, self.config.n, True, False
        self._groups: tuple[Coupling, ...] = ()
        self._norms: list[float] = []
        self._hooks: list[RemovableHandle] = []

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {"method": self.name, **asdict(self.config)}

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Attach the gates; InputError where not even one channel per group would meet the budget."""
        resource = self.budget.resource
        self._groups = couplings(model)
        self._cost = Cost.of(model, self._groups, resource)
        self.initial = COUNTERS[resource](model)
        self.limit = self.limit or self.budget.limit_for(model)
        smallest = self._cost.count([1] * len(self._groups))
        if smallest > self.limit:
            raise InputError(
                f"channel-reparametrization: the budget of {self.limit:,} {resource} is below what is left "
                f"when every group is down to one channel, {smallest:,}: ask for at least "
                f"{resource}={smallest}"
            )
        with torch.no_grad():
            self._norms = [float(magnitude(model, group).square().mean().sqrt()) for group in self._groups]
        for index, group in enumerate(self._groups):
            for name in group.consumers:
                reader = model.get_submodule(name)
                self._hooks.append(reader.register_forward_pre_hook(self._reader(model, index, name)))
        return model

    def magnitudes(self, model: nn.Module) -> list[Tensor]:
        """s of every group, each (K,)."""
        return [self._magnitude(model, i) for i in range(len(self._groups))]

    def _magnitude(self, model: nn.Module, index: int) -> Tensor:
        m = magnitude(model, self._groups[index])
        if RELATIVE == "now":
            return m / m.detach().square().mean().sqrt()
        return m / self._norms[index]

    def _reader(self, model: nn.Module, index: int, name: str) -> Any:
        def read(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if self._open:
                return None
            act, *rest = inputs
            h_K = channel_gate(self._magnitude(model, index), self._t, self._n).to(act.dtype)
            spread = spread_of(model, self._groups[index], name)
            h_K = h_K.repeat_interleave(spread) if spread > 1 else h_K
            return (act * h_K.view(1, -1, *[1] * (act.dim() - 2)), *rest)

        return read

    def after_step(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
        self._step += 1
        if self._cut:
            return model
        if self._step >= self.config.cut_at * self.steps and self.config.cut_at < 1:
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
        if not self._cut:
            self._solve(model)

    def finalize(self, model: nn.Module) -> nn.Module:
        if not self._cut and self._groups:
            self._remove(model, None)
        return model

    @torch.no_grad()
    def _remove(self, model: nn.Module, optimizer: Optimizer | None) -> None:
        self._solve(model)
        magnitudes = self.magnitudes(model)
        gone = choose_channels(magnitudes, self._cost, self.limit)
        for group, s_K, channels in zip(self._groups, magnitudes, gone, strict=True):
            if not self._open:
                for name in group.consumers:
                    weight = model.get_submodule(name).weight
                    h = gate(s_K, self._t, self._n).to(weight.dtype).repeat_interleave(spread_of(model, group, name))
                    weight.mul_(h.view(1, -1, *[1] * (weight.dim() - 2)))
        for group, channels in zip(self._groups, gone, strict=True):
            if channels:
                remove_coupled(model, group, channels, optimizer)
        self._close()

    def _close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._open, self._cut = True, True

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps)

    def progress(self) -> dict[str, float]:
        return {"remaining": self._share()}

    def state(self) -> dict[str, Any]:
        return {
            "step": self._step, "t": self._t, "n": self._n, "open": self._open, "cut": self._cut,
            "norms": self._norms, "initial": self.initial, "limit": self.limit,
        }

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._step, self._t, self._n, self._open = state["step"], state["t"], state["n"], state["open"]
        self._norms, self.initial, self.limit = list(state["norms"]), state["initial"], state["limit"]
        if state["cut"]:
            self._close()

    def _share(self) -> float:
        config = self.config
        return kept_share(self.completion, self.limit / self.initial, config.start, config.end)

    def _solve(self, model: nn.Module) -> None:
        share, config = self._share(), self.config
        self._open = share >= 1
        if self._open:
            return
        self._n = crispness(self.completion, config.n, config.n_final, config.end, config.sharpen_until)
        with torch.no_grad():
            magnitudes = [s.cpu() for s in self.magnitudes(model)]
        self._t = solve_cost(magnitudes, self._cost, share * self.initial, self._n, self._t)
