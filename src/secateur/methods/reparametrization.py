"""Weight reparametrization: Dupont et al. 2021, as written (`mode="faithful"`) and with an exact budget.

    w_hat   = w * h_t(w)                                    eq. (3)   `apparent_weight`
    h_t(x)  = exp(-1 / (tx)**n)                             eq. (4)   `unstable_gate`, for Fig. 2 only
    h_t(x)  = C1 * (exp(-1 / ((tx)**n + 1)) - C2)           eq. (5)   `gate`
    L_b     = ((C - C_target) / C_initial)**2               eq. (7)   `budget_loss`
    L       = L_task + lambda * L_b                         eq. (8)   `Reparametrization.penalty`
    C       = sum of h_t over all weights                   eq. (9)   `cost`

Faithful: t is learned, one for each layer, and L_b is all that draws C to its target. Where it fails to (the
paper's Table 2), the cut at the end takes weights that were in use, and accuracy is gone (Table 1).

Exact: what the penalty stands for is the problem

    minimise L_task(w * h_t(w))  over w and t,  subject to  C(w, t) = C(step).

Its Lagrangian is L_task + mu (C - C(step)). The paper's penalty puts 2 lambda (C - C_target) / C_initial**2
in mu's place: a spring, which comes to rest where its pull equals that of the task, short of the target
whenever the task resists. But C rises strictly with t, so the constraint has exactly one solution t(w) for
all layers together, and it is solved for instead (`solve_temperature`): the budget holds at every step,
whatever the task pulls. Between two solutions t is a constant, and the weights follow the task alone.

C(step) falls from all weights to the target on a cubic schedule (`kept_share`; Zhu & Gupta 2017), and n rises
afterwards (`crispness`), until h is all but 0 or 1 and the cut at the end takes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from secateur.budget import Budget, count_weights, prunable_weights, weight_layers
from secateur.errors import InputError, require, unknown
from secateur.masks import apply_masks, keep_largest
from secateur.methods.base import Method
from secateur.methods.magnitude import magnitudes

E_MINUS_1 = math.e - 1
_LARGEST_U = 1e30
"""u is cut off here: h is 1 to the last bit long before, and u**2 would overflow float32."""


def unstable_gate(x: Tensor, t: float, n: int = 4) -> Tensor:
    """Eq. (4): exp(-1/(tx)**n), for the picture only; at x = 0 it is 0 * inf in most of its derivatives.

    Reference: Dupont et al. 2021, eq. (4) and Fig. 2.
    """
    return torch.exp(-1 / (t * x) ** n)


def _share(x: Tensor, t: Tensor | float, n: int) -> Tensor:
    """r = u/(u+1) with u = (tx)**n: in [0, 1], and without inf/inf where u would overflow."""
    square = (x * t).square_().clamp_(max=_LARGEST_U ** (2 / n))
    u = _power(square, n // 2)
    return u.div_(u + 1)


def _of_share(r: Tensor) -> Tensor:
    """h as a function of r = u/(u+1): the one place where eq. (5) is computed."""
    return torch.expm1(r).div_(E_MINUS_1)


def _power(x: Tensor, exponent: int) -> Tensor:
    """x**exponent by repeated squaring: torch.pow takes several times as long for all but 2 and 3."""
    result: Tensor | None = None
    while True:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        x = x * x


def gate(x: Tensor, t: Tensor | float, n: int = 4) -> Tensor:
    """h_t(x) of eq. (5), written expm1(u/(u+1)) / (e-1) with u = (tx)**n: the same without cancellation.

    As printed, in float32, it is 49% wrong at |tx| = 0.02 and exactly 0 below about 0.015. Half precision is
    computed in float32.

    Args:
        x: any shape.
        t: temperature, above 0; the half point is |tx| = 1.13.
        n: crispness, even, at least 2.

    Returns:
        Values in [0, 1], of x's shape.

    Example:
        >>> gate(torch.tensor([0.0, 1.0, 2.0]), t=1.0)
        tensor([0.0000, 0.3775, 0.9103])

    Reference: Dupont et al. 2021, eq. (5).
    """
    return _of_share(_share(_full(x), t, n))


def gate_slope(x: Tensor, t: Tensor | float, n: int = 4) -> Tensor:
    """x * dh/dx = t * dh/dt, in closed form: n * (h + 1/(e-1)) * r * (1-r), r = u/(u+1).

    It holds both derivatives of eq. (5): dh/dx = slope/x and dh/dt = slope/t.
    """
    r = _share(_full(x), t, n)
    return _slope(_of_share(r), r, n)


def _slope(h: Tensor, r: Tensor, n: int) -> Tensor:
    return (h + 1 / E_MINUS_1).mul_(r).mul_(1 - r).mul_(n)


def _full(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _Apparent(torch.autograd.Function):
    """(w, t) -> (w_hat, sum of h): one pass, h computed once; the backward pass keeps only w and t."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, t: Tensor, n: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight, t)
        ctx.set_materialize_grads(False)
        ctx.n = n
        h = gate(weight, t, n)
        total = h.sum(dtype=torch.float64)
        return h.mul_(weight).to(weight.dtype), total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, *grads: Any) -> tuple[Tensor | None, ...]:
        weight, t = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_weight, needs_t, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
        return (*_gradients(weight, t, ctx.n, grads, needs_weight, needs_t), None)  # type: ignore[attr-defined]


def _gradients(
    weight: Tensor, t: Tensor, n: int, grads: tuple[Tensor | None, ...], needs_weight: bool, needs_t: bool
) -> tuple[Tensor | None, Tensor | None]:
    """dw = g_w_hat * (h + slope) + g_C * slope/w  and  dt = sum((g_w_hat * w + g_C) * slope) / t."""
    of_apparent, of_total = grads
    w = _full(weight)
    r = _share(w, t, n)
    h = _of_share(r)
    slope = _slope(h, r, n)
    grad_t = torch.zeros_like(t) if needs_t else None
    grad_weight = torch.zeros_like(w) if needs_weight else None
    if of_total is not None:
        of_total = of_total.to(w.dtype)
        if grad_t is not None:
            grad_t += of_total * slope.sum() / t
        if grad_weight is not None:  # slope/w is 0 at w = 0, where it is 0/0 as written
            grad_weight += of_total * slope / torch.where(w == 0, torch.ones_like(w), w)
    if of_apparent is not None:
        of_apparent = _full(of_apparent)
        if grad_t is not None:
            grad_t += (of_apparent * w * slope).sum() / t
        if grad_weight is not None:
            grad_weight += h.add_(slope).mul_(of_apparent)
    return None if grad_weight is None else grad_weight.to(weight.dtype), grad_t


def apparent_weight(weight: Tensor, t: Tensor, n: int = 4) -> Tensor:
    """w_hat = w * h_t(w), differentiable in both. Reference: Dupont et al. 2021, eq. (3)."""
    return _Apparent.apply(weight, t, n)[0]


def cost(weights: list[Tensor], temperatures: list[Tensor], n: int = 4) -> Tensor:
    """C = sum over layers and weights of h_t(w), a float64 scalar. Reference: Dupont et al. 2021, eq. (9)."""
    parts = [_Apparent.apply(w, t, n)[1] for w, t in zip(weights, temperatures, strict=True)]
    return torch.stack(parts).sum()


def budget_loss(c: Tensor, target: float, initial: float) -> Tensor:
    """((C - C_target) / C_initial)**2. Reference: Dupont et al. 2021, eq. (7)."""
    return ((c - target) / initial) ** 2


def solve_temperature(magnitudes: Tensor, target: float, n: int, guess: float = 100.0) -> float:
    """The t at which the sum of h_t over `magnitudes` is `target`.

    Newton's steps in log t, kept in a bracket. The sum rises strictly with t, from 0 to the number of nonzero
    magnitudes, so there is one solution.

    Args:
        magnitudes: |w|, any shape, at least 0.
        target: above 0 and below the number of nonzero magnitudes; beyond that, an upper end is returned at
            which h is 1 for all that are not zero.
        n: crispness.
        guess: where to begin, above 0; the last solution makes it 2 to 4 steps.

    Example:
        >>> round(solve_temperature(torch.tensor([1.0]), 0.3775406, n=4), 4)  # h_1(1), see `gate`
        1.0
    """
    logs = magnitudes.log()
    low, high, at = -math.inf, math.inf, math.log(guess)
    for _ in range(100):
        r = torch.sigmoid((logs + at).mul_(n))  # u/(u+1), as log u = n * (log t + log |x|)
        h = _of_share(r)
        excess = float(h.sum(dtype=torch.float64)) - target
        low, high = (low, at) if excess > 0 else (at, high)
        if abs(excess) <= 1e-6 * target or high - low < 1e-9 or at > 60:
            break
        slope = float(_slope(h, r, n).sum(dtype=torch.float64))
        at = _inside(at - excess / slope if slope else math.nan, at, low, high)
    return math.exp(at)


def solve_with_floors(
    magnitudes: Sequence[Tensor], target: float, floors: Sequence[float], n: int, guess: float = 100.0
) -> list[float]:
    """As `solve_temperature` over layers: one t for all, but a larger one where a layer would be emptied.

    Args:
        magnitudes: |w| of each layer.
        target: of the sum over all layers, at least the sum of `floors`.
        floors: below which the sum over a layer must not fall; 0 for none.

    Returns:
        t of each layer.
    """
    fixed: dict[int, float] = {}
    while True:
        free = [index for index in range(len(magnitudes)) if index not in fixed]
        left = target - sum(floors[index] for index in fixed)
        t = (
            solve_temperature(torch.cat([magnitudes[index] for index in free]), left, n, guess)
            if free
            else guess
        )
        empty = [i for i in free if floors[i] > 0 and _sum_of(magnitudes[i], t, n) < floors[i]]
        if not empty:
            return [fixed.get(index, t) for index in range(len(magnitudes))]
        fixed |= {index: solve_temperature(magnitudes[index], floors[index], n, t) for index in empty}


def _sum_of(magnitudes: Tensor, t: float, n: int) -> float:
    return float(gate(magnitudes, t, n).sum(dtype=torch.float64))


def _inside(wanted: float, at: float, low: float, high: float) -> float:
    """Newton's step where it stays in the bracket and is not wild, else the middle, or one e-fold on."""
    if low < wanted < high and abs(wanted - at) < 2:
        return wanted
    if math.isinf(low) or math.isinf(high):
        return at + 1 if math.isinf(high) else at - 1
    return (low + high) / 2


def kept_share(progress: float, target: float, start: float, end: float) -> float:
    """C(step)/N: 1 until `start`, then target + (1 - target) * (1 - s)**3 with s from 0 to 1 at `end`.

    Args:
        progress: share of the training that is done, at least 0.
        target: share of the weights that are to be left, in [0, 1].

    Reference: the cubic schedule of Zhu & Gupta 2017 (arXiv:1710.01878), eq. (1).
    """
    s = min(1.0, max(0.0, (progress - start) / (end - start)))
    return target + (1 - target) * (1 - s) ** 3


def crispness(progress: float, first: int, last: int, start: float, end: float) -> int:
    """n: `first` until `start`, then up to `last` at `end` through the even numbers, geometrically."""
    s = min(1.0, max(0.0, (progress - start) / (end - start)))
    return 2 * round(first / 2 * (last / first) ** s)


@dataclass(frozen=True)
class Schedule:
    """How gates close over a training: first C falls, then h sharpens. The gates on channels share it.

    Attributes:
        n: crispness of h at first, even, at least 2 (the paper: 4).
        start, end: the shares of training between which C falls to its target.
        n_final: the crispness reached at `sharpen_until`, even, at least n.
        sharpen_until: a share of training, above `end`.
        solve_every: steps from one solution for t to the next, at least 1.
    """

    n: int = 4
    start: float = 0.1
    end: float = 0.7
    n_final: int = 64
    sharpen_until: float = 0.9
    solve_every: int = 4

    def checks(self) -> dict[str, bool]:
        """What must hold, for `require`."""
        return {
            "n must be even and at least 2": self.n >= 2 and self.n % 2 == 0,
            "n_final must be even and at least n": self.n_final >= self.n and self.n_final % 2 == 0,
            "start must lie in [0, end)": 0 <= self.start < self.end,
            "end must lie below sharpen_until": self.end < self.sharpen_until,
            "sharpen_until must be at most 1": self.sharpen_until <= 1,
            "solve_every must be at least 1": self.solve_every >= 1,
        }

    def share_at(self, progress: float, target: float) -> float:
        """C / C_initial: `kept_share`."""
        return kept_share(progress, target, self.start, self.end)

    def n_at(self, progress: float) -> int:
        """n: `crispness`."""
        return crispness(progress, self.n, self.n_final, self.end, self.sharpen_until)


@dataclass(frozen=True)
class Config(Schedule):
    """Settings of the reparametrization; of its `Schedule`, faithful mode has n alone.

    Attributes:
        mode: "exact" or "faithful".
        t_init: faithful: where every layer's t begins (the paper: 100).
        penalty_weight: faithful: lambda of eq. (8), at least 0 (the paper: 5).
        floor: exact: no layer is left with less than this part of what an even share of C would leave in
            it, in [0, 1): a global ranking can empty a layer, and then the network is dead.
        sample: exact: how many weights that solution looks at; evaluation and the cut look at all.
    """

    mode: str = "exact"
    t_init: float = 100.0
    penalty_weight: float = 5.0
    floor: float = 0.0
    sample: int = 200_000

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("mode of the reparametrization", self.mode, MODES)
        checks = {
            **self.checks(),
            "t_init must be above 0": 0 < self.t_init < math.inf,
            "penalty_weight must be at least 0": 0 <= self.penalty_weight < math.inf,
            "floor must lie in [0, 1)": 0 <= self.floor < 1,
            "sample must be at least 1": self.sample >= 1,
        }
        require(self, checks, "reparametrization: ")


MODES = ("exact", "faithful")


class Gate(nn.Module):
    """The parametrization w -> w * h_t(w) of one layer; `open` it is the identity."""

    def __init__(self, t: Tensor, n: int, is_open: bool):
        super().__init__()
        self.t = t  # a Parameter is registered and learned; a plain tensor is solved for
        self.n = n
        self.open = is_open
        self._total: tuple[Tensor, int] | None = None

    def forward(self, weight: Tensor) -> Tensor:
        if self.open:
            return weight
        apparent, total = _Apparent.apply(weight, self.t, self.n)
        if torch.is_grad_enabled() and self.t.requires_grad:
            self._total = (total, weight._version)
        return apparent

    def __getstate__(self) -> dict[str, Any]:
        """Without the graph of the last forward pass, which a copy of the network cannot take along."""
        return {**self.__dict__, "_total": None}

    def take_total(self, weight: Tensor) -> Tensor:
        """sum of h_t(w), of the last forward pass if that was with these very weights, else computed now."""
        last, self._total = self._total, None
        if last is not None and last[1] == weight._version:
            return last[0]
        return _Apparent.apply(weight, self.t, self.n)[1]


class Reparametrization(Method):
    """Weight pruning during training, down to exactly `budget`, with no fine-tuning.

    In exact mode one t for all layers is solved so that C is the schedule's at every `solve_every`-th step,
    at every evaluation and at the cut. In faithful mode each layer learns its own.

    Args:
        budget: e.g. "nonzeros=5%": exactly so many weights of convolutions and linear layers are left.
        steps: optimizer steps of the whole training, for the schedule; faithful mode needs none.
        mode: "exact" or "faithful".
        settings: the other fields of `Config`.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network.

    Example:
        >>> method = Reparametrization("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Dupont et al. 2021; this module's docstring for the exact mode.
    """

    name = "reparametrization"

    def __init__(
        self, budget: Budget | str, *, steps: int | None = None, mode: str = "exact", **settings: Any
    ):
        self.budget = Budget.parse(budget).of_nonzeros(self.name)
        self.config = Config(mode=mode, **settings)
        if self.exact and (steps is None or steps < 1):
            raise InputError(
                f"reparametrization: exact mode needs the number of optimizer steps for its schedule, got "
                f"{steps}: pass steps=epochs * batches per epoch, or mode='faithful'"
            )
        self.steps = steps
        self.target = 0  # weights that are left
        self.initial = 0  # C_initial: weights covered
        self._step = 0
        self._gates: dict[str, Gate] = {}
        self._sizes: dict[str, int] = {}
        self._c: Tensor | None = None  # faithful: C at the last step

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {"method": self.name, **asdict(self.config)}

    @property
    def exact(self) -> bool:
        """Whether the budget is met by solving for t."""
        return self.config.mode == "exact"

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize the weight of every convolution and linear layer."""
        self.target, self.initial = self.budget.limit_for(model), count_weights(model)
        device = next(model.parameters()).device
        for name, layer in _distinct_layers(model).items():
            t = torch.tensor(self.config.t_init, device=device)
            t = t if self.exact else nn.Parameter(t)
            self._gates[name] = Gate(t, self.config.n, is_open=self.exact)
            self._sizes[name] = cast(Any, layer).weight.numel()
            parametrize.register_parametrization(layer, "weight", self._gates[name])
        return model

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """For the optimizer: weight decay on everything but t (Dupont et al. 2021, section 3.1)."""
        temperatures = {id(gate.t) for gate in self._gates.values()}
        rest = [p for p in model.parameters() if id(p) not in temperatures]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": weight_decay}]
        if not self.exact:
            groups.append({"params": [gate.t for gate in self._gates.values()], "weight_decay": 0.0})
        return groups

    def penalty(self, model: nn.Module) -> Tensor:
        """lambda * L_budget (eqs. 7 and 8); zero in exact mode, which has nothing left to penalise."""
        if self.exact:
            return super().penalty(model)
        totals = [gate.take_total(weight) for gate, weight in self._gated(model)]
        c = torch.stack(totals).sum()
        self._c = c.detach()
        loss = budget_loss(c, self.target, self.initial)
        return self.config.penalty_weight * loss.float()

    def after_step(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
        """Count the step; in exact mode follow the schedule."""
        self._step += 1
        if self.exact and self._step % self.config.solve_every == 0:
            self._solve(model, self.config.sample)
        return model

    def before_evaluation(self, model: nn.Module) -> None:
        """Exact mode: meet the schedule's C over all weights, not only over the sample."""
        if self.exact:
            self._solve(model, self.initial)

    def remaining(self, model: nn.Module) -> float:
        """C / C_initial as it is now: what Table 2 of the paper shows."""
        with torch.no_grad():
            totals = [
                weight.numel() if gate.open else float(_Apparent.apply(weight, gate.t, gate.n)[1])
                for gate, weight in self._gated(model)
            ]
        return math.fsum(totals) / self.initial

    def finalize(self, model: nn.Module) -> nn.Module:
        """Effective pruning: the `target` largest apparent weights stay, all others become zero."""
        if not self._gates:
            return model
        self.before_evaluation(model)
        for name in self._gates:
            _make_plain(model.get_submodule(name))
        apply_masks(model, keep_largest(magnitudes(model), self.target, self._floors()))
        self._gates.clear()
        return model

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps) if self.steps else 0.0

    def progress(self) -> dict[str, float]:
        if self.exact:
            return {"remaining": self._share()}
        return {} if self._c is None else {"remaining": float(self._c) / self.initial}

    def state(self) -> dict[str, Any]:
        if not self.exact or not self._gates:
            return {"step": self._step}
        first = next(iter(self._gates.values()))
        return {"step": self._step, "n": first.n, "open": first.open}

    def tensors(self) -> dict[str, Tensor]:
        return {f"t.{name}": gate.t for name, gate in self._gates.items()} if self.exact else {}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._step = state["step"]
        if "n" in state:
            ts = [float(tensors[f"t.{name}"]) for name in self._gates]
            self._set(ts, state["n"], state["open"])

    def _share(self) -> float:
        """C(step) / C_initial by the schedule."""
        return self.config.share_at(self.completion, self.target / self.initial)

    def _solve(self, model: nn.Module, sample: int) -> None:
        """Set t and n as the schedule has them now, on about `sample` weights."""
        if not self._gates:  # finalized
            return
        share = self._share()
        if share >= 1:
            self._set([self.config.t_init] * len(self._gates), self.config.n, True)
            return
        config, n = self.config, self.config.n_at(self.completion)
        magnitudes = _sample([weight for _, weight in self._gated(model)], self.initial, sample)
        target = share * sum(len(part) for part in magnitudes)
        floors = [config.floor * share * len(part) for part in magnitudes]
        guess = min(float(gate.t) for gate in self._gates.values())
        self._set(solve_with_floors(magnitudes, target, floors, n, guess), n, False)

    def _floors(self) -> dict[str, int]:
        """Weights that each layer keeps at the cut at least."""
        share = self.config.floor * self.target / self.initial if self.exact else 0.0
        return {name: int(share * size) for name, size in self._sizes.items()}

    def _set(self, temperatures: Sequence[float], n: int, is_open: bool) -> None:
        for gate, t in zip(self._gates.values(), temperatures, strict=True):
            gate.t.fill_(t)
            gate.n, gate.open = n, is_open

    def _gated(self, model: nn.Module) -> list[tuple[Gate, Tensor]]:
        """Every gate with the weight it is given."""
        return [
            (gate, cast(Any, model.get_submodule(name)).parametrizations.weight.original)
            for name, gate in self._gates.items()
        ]


def _make_plain(layer: nn.Module) -> None:
    """Leave the apparent weight as an ordinary parameter, first in order as in every such layer: optimizer
    states are matched by order."""
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    rest = {name: value for name, value in layer._parameters.items() if name != "weight"}
    weight = layer._parameters["weight"]
    layer._parameters.clear()
    layer._parameters.update({"weight": weight, **rest})


def _sample(weights: list[Tensor], total: int, size: int) -> list[Tensor]:
    """|w| of about `size` weights, of every layer its share; with 2 and 3 not dividing the stride, so that it
    does not pick the same position of every 3x3 kernel."""
    stride = max(1, total // size)
    while stride > 1 and (stride % 2 == 0 or stride % 3 == 0):
        stride += 1
    return [weight.detach().flatten()[::stride].abs().float() for weight in weights]


def _distinct_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers with a weight to prune; InputError where one is parametrized already or shared."""
    layers = dict(weight_layers(model))
    for name, layer in layers.items():
        if parametrize.is_parametrized(layer, "weight"):
            raise InputError(
                f"reparametrization: '{name}.weight' is parametrized already: take that off first "
                "(torch.nn.utils.parametrize.remove_parametrizations)"
            )
    if len(prunable_weights(model)) < len(layers):
        raise InputError("reparametrization: layers that share one weight cannot be reparametrized yet")
    return dict(layers)
