"""Weight reparametrization: Dupont et al. 2021, as written (`mode="faithful"`) and with an exact budget.

    w_hat   = w * h_t(w)                                    eq. (3)   `apparent.apparent_weight`
    h_t(x)  = exp(-1 / (tx)**n)                             eq. (4)   `gate.unstable_gate`, for Fig. 2 only
    h_t(x)  = C1 * (exp(-1 / ((tx)**n + 1)) - C2)           eq. (5)   `gate.gate`
    L_b     = ((C - C_target) / C_initial)**2               eq. (7)   `gate.budget_loss`
    L       = L_task + lambda * L_b                         eq. (8)   `Reparametrization.penalty`
    C       = sum of h_t over all weights                   eq. (9)   `apparent.cost`

Faithful: t is learned, one for each layer, and L_b is all that draws C to its target. Where it fails to (the
paper's Table 2), the cut at the end takes weights that were in use, and accuracy is gone (Table 1).

Exact: what the penalty stands for is the problem

    minimise L_task(w * h_t(w))  over w and t,  subject to  C(w, t) = C(step).

Its Lagrangian is L_task + mu (C - C(step)). The paper's penalty puts 2 lambda (C - C_target) /
C_initial**2 in mu's place: a spring, which comes to rest where its pull equals that of the task, short of
the target whenever the task resists. But C rises strictly with t, so the constraint has exactly one
solution t(w) for all layers together, and it is solved for instead (`temperature.solve_temperature`): the
budget holds at every step, whatever the task pulls. Between two solutions t is a constant, and the
weights follow the task alone.

C(step) falls from all weights to the target on a cubic schedule (`schedule.kept_share`; Zhu & Gupta
2017). Then n rises (`schedule.crispness`): as it does, h tends to 1 above |w| = 1/t and to 0 below, so that
the problem above tends to

    minimise L_task(w)  over w,  subject to  at most C_target entries of w are not zero.

At no n does it get there. dw_hat/dw = h + w dh/dw is about n/4 where a gate is half open: the higher n, the
wilder these weights move, and some gates are half open always. So the weights outside the budget go at
`cut_at`, while there is training left. What is left of h is multiplied into those that stay, which changes
nothing of what they compute; their momentum is carried over, that of the others is zero; and h is 1 or 0
from then on, so that the rest of training solves the problem on the support that was found. For that the
learning rate goes over its schedule anew (`restart`): what is left of it by then is little. What the cut took
is measured right before and right after it (`training.cost`).

Closest to it: Continuous Sparsification (Savarese et al. 2020, arXiv:1912.04427), whose masks are sigmoids
that sharpen while training goes on, of parameters of their own under a penalty, with no budget that holds;
and Spartan (Tai et al. 2022, arXiv:2205.14107), whose soft top-k masks of |w| hold a budget at every step and
sharpen too, solved for as a regularised transport problem, with dense updates behind a hard mask. Ours has
the paper's gate, a budget that one number t holds, and a cut long before the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.budget import Limits, Wanted
from secateur.errors import InputError
from secateur.methods.base import Method
from secateur.methods.gates.apparent import total
from secateur.methods.gates.gate import budget_loss
from secateur.methods.gates.gate import gate as gate_of
from secateur.methods.gates.kernels import Compiled
from secateur.methods.gates.parametrization import (
    AllAtOnce,
    Gate,
    distinct_layers,
    make_plain,
    original_weight,
)
from secateur.methods.gates.settings import Config
from secateur.methods.gates.temperature import solve_with_floors
from secateur.methods.sparing import Sparing
from secateur.methods.weight_goal import WeightGoal, largest_of
from secateur.network.masks import Masks, apply_masks, keep_largest, magnitudes
from secateur.network.weights import count_weights
from secateur.surgery.constraints import Patterns
from secateur.surgery.cutting import scale
from secateur.surgery.optimizer_state import RATE_SCALE, Optimizers, follow_mask, listed


class Reparametrization(Method):
    """Weight pruning during training, down to exactly `budget`, with no fine-tuning.

    In exact mode one t for all layers is solved so that C is the schedule's at every `solve_every`-th step,
    at every evaluation and at the cut. In faithful mode each layer learns its own.

    Args:
        budget: e.g. "nonzeros=5%": exactly so many weights of convolutions and linear layers are left.
        steps: optimizer steps of the whole training, for the schedule; faithful mode needs none.
        mode: "exact" or "faithful".
        compiled: have `torch.compile` fuse the gates (float32; needs a C++ compiler, on a GPU Triton): some
            seconds at the beginning, then less time a step. Another rounding, the same mathematics.
        keep: patterns of layers whose weights all stay: they have no gates.
        settings: the other fields of `Config`.

    Raises:
        InputError: where an argument makes no sense; in `prepare`, where the budget is beyond the network,
            or compiling fails.

    Example:
        >>> method = Reparametrization("nonzeros=5%", steps=1000)  # doctest: +SKIP

    Reference: Dupont et al. 2021; this module's docstring for the exact mode.
    """

    name = "reparametrization"
    takes_steps = True

    def __init__(
        self,
        budget: Wanted,
        *,
        steps: int | None = None,
        mode: str = "exact",
        compiled: bool = False,
        keep: Patterns = (),
        **settings: Any,
    ):
        self.goal = WeightGoal(budget, self.name)
        self.config = Config.of(mode=mode, **settings)
        if self.exact and (steps is None or steps < 1):
            raise InputError(
                f"reparametrization: exact mode needs the number of optimizer steps for its schedule, got "
                f"{steps}: pass steps=epochs * batches per epoch, or mode='faithful'"
            )
        self.steps = steps
        self.kernel = Compiled(self.config.n) if compiled else None
        self.limits = Limits()  # how many weights are left
        self.sparing = Sparing(keep)
        self.initial = 0  # C_initial: weights with a gate
        self._step = 0
        self._cut = False
        self._gates: dict[str, Gate] = {}
        self._at_once: AllAtOnce | None = None
        self._sizes: dict[str, int] = {}
        self._rate_checked = False
        self._c: Tensor | None = None  # faithful: C at the last step

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget and the number of steps."""
        return {"method": self.name, **self.config.identity(), **self.sparing.identity()}

    @property
    def target(self) -> int:
        """Weights that are left."""
        return self.limits.units

    @property
    def gated_target(self) -> int:
        """Those of them that have a gate."""
        return self.target - self.sparing.total

    @property
    def exact(self) -> bool:
        """Whether the budget is met by solving for t."""
        return self.config.mode == "exact"

    def prepare(self, model: nn.Module, batches: Any = None) -> nn.Module:
        """Parametrize the weight of every convolution and linear layer."""
        self.limits = self.goal.fix(model, self.sparing, largest_of(model, self.sparing))
        self.initial = count_weights(model) - self.sparing.total
        device = next(model.parameters()).device
        layers = distinct_layers(model, self.name)
        layers = {name: layer for name, layer in layers.items() if name not in self.sparing.sizes}
        if self.kernel is not None:
            self.kernel.check(next(model.parameters()), torch.tensor(self.config.t_init, device=device))
        for name, layer in layers.items():
            t = torch.tensor(self.config.t_init, device=device)
            t = t if self.exact else nn.Parameter(t)
            self._gates[name] = Gate(t, self.config.n, self.exact, self.kernel)
            self._sizes[name] = cast(Any, layer).weight.numel()
            parametrize.register_parametrization(layer, "weight", self._gates[name])
        self._at_once = AllAtOnce([(gate, layers[name]) for name, gate in self._gates.items()])
        self._at_once.attach(model)
        return model

    def parameter_groups(self, model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """For the optimizer: weight decay on everything but t (Dupont et al. 2021, section 3.1).

        Where t has a rate of its own, its group says so: `lr_scale`, by which the rate is to be multiplied.
        """
        temperatures = {id(gate.t) for gate in self._gates.values()}
        rest = [p for p in model.parameters() if id(p) not in temperatures]
        groups: list[dict[str, Any]] = [{"params": rest, "weight_decay": weight_decay}]
        if not self.exact:
            own = {} if self.config.t_rate == 1 else {RATE_SCALE: self.config.t_rate}
            groups.append({"params": [gate.t for gate in self._gates.values()], "weight_decay": 0.0, **own})
        return groups

    def penalty(self, model: nn.Module) -> Tensor:
        """lambda * L_budget (eqs. 7 and 8); zero in exact mode, which has nothing left to penalise."""
        if self.exact:
            return super().penalty(model)
        totals = [gate.take_total(weight) for gate, weight in self._gated(model)]
        c = torch.stack(totals).sum()
        self._c = c.detach()
        loss = budget_loss(c, self.gated_target, self.initial)
        return self.config.penalty_weight * loss.float()

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        """Count the step; in exact mode follow the schedule, and at `cut_at` cut.

        Args:
            optimizer: what it keeps of weights that go is set to zero, of the others it stays.

        Raises:
            InputError: where the loop does not give t the rate that it was to have.
        """
        cutting = self.about_to_zero
        if self.config.t_rate != 1 and not self.exact and not self._rate_checked:
            self._rate_checked = True
            self._check_rate(optimizer)
        self._step += 1
        if self._at_once is not None:
            self._at_once.release()
        if cutting:
            self._cut_early(model, optimizer)
        elif self.exact and self._step % self.config.solve_every == 0:
            self._solve(model, self.config.sample)
        return model

    @property
    def about_to_zero(self) -> bool:
        """Whether the next `after_step` cuts."""
        if self._cut or not self._gates or self.steps is None or self.config.cut_at == 1:
            return False
        return self._step + 1 >= self.config.cut_at * self.steps

    @property
    def schedule_place(self) -> float | None:
        """After an early cut: how far in a schedule that began there."""
        if not (self._cut and self.config.restart and self.steps):
            return None
        done = min(self._step, self.steps - 1) / self.steps
        return max(0.0, (done - self.config.cut_at) / (1 - self.config.cut_at))

    def before_evaluation(self, model: nn.Module) -> None:
        """Exact mode: meet the schedule's C over all weights, not only over the sample."""
        if self.exact:
            self._solve(model, self.initial)

    def remaining(self, model: nn.Module) -> float:
        """C / C_initial as it is now: what Table 2 of the paper shows."""
        with torch.no_grad():
            return math.fsum(_open(gate, weight) for gate, weight in self._gated(model)) / self.initial

    def finalize(self, model: nn.Module) -> nn.Module:
        """Effective pruning: the `target` largest apparent weights stay, all others become zero."""
        if not self._gates:
            return model
        self.before_evaluation(model)
        assert self._at_once is not None
        self._at_once.detach(model)
        masks = {} if self._cut else self._choose(model)
        for name in self._gates:
            make_plain(model.get_submodule(name))
        apply_masks(model, masks)
        self.goal.settle(model, self.sparing, largest_of(model, self.sparing))
        self._gates.clear()
        self._at_once = None
        return model

    @property
    def completion(self) -> float:
        return min(1.0, self._step / self.steps) if self.steps else 0.0

    def progress(self) -> dict[str, float]:
        if self.exact:
            return {"remaining": self._share()}
        return {} if self._c is None else {"remaining": float(self._c) / self.initial}

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = {"step": self._step, "limits": dict(self.limits)}
        if not self.exact or not self._gates:
            return found
        first = next(iter(self._gates.values()))
        return {**found, "n": first.n, "open": first.open, "cut": self._cut}

    def tensors(self) -> dict[str, Tensor]:
        if not self.exact:
            return {}
        found = {f"t.{name}": gate.t for name, gate in self._gates.items()}
        masks = {f"mask.{name}": gate.mask for name, gate in self._gates.items() if gate.mask is not None}
        return found | masks

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._step = state["step"]
        self.limits = self.limits.resumed(state.get("limits", self.limits))
        if "n" in state:
            ts = [float(tensors[f"t.{name}"]) for name in self._gates]
            self._set(ts, state["n"], state["open"])
        self._cut = state.get("cut", False)
        if self._cut and self._at_once is not None:
            for name, (gate, layer) in zip(self._gates, self._at_once.gated, strict=True):
                gate.close(original_weight(layer), tensors[f"mask.{name}"])

    def _check_rate(self, optimizers: Optimizers) -> None:
        """A loop of the user's own may not know of `lr_scale`; then t would learn as slowly as ever."""
        ts = {id(gate.t) for gate in self._gates.values()}
        rates: dict[bool, set[float]] = {True: set(), False: set()}
        for group in (group for each in listed(optimizers) for group in each.param_groups):
            rates[any(id(p) in ts for p in group["params"])].add(float(group["lr"]))
        if rates[True] & rates[False] - {0.0}:
            raise InputError(
                f"reparametrization: t_rate {self.config.t_rate:g} asks for a rate of t's own, got the "
                f"weights' ({max(rates[True]):g}): set group['lr'] = rate * group.get('{RATE_SCALE}', 1) "
                "for every group of the optimizer"
            )

    def _share(self) -> float:
        """C(step) / C_initial by the schedule."""
        return self.config.share_at(self.completion, self.gated_target / self.initial)

    def _solve(self, model: nn.Module, sample: int) -> None:
        """Set t and n as the schedule has them now, on about `sample` weights."""
        if self._cut or not self._gates:  # finalized
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

    def _choose(self, model: nn.Module) -> Masks:
        """What stays: the `target` largest apparent weights, and of every layer what it keeps at least."""
        return keep_largest(magnitudes(model), self.target, {**self._floors(), **self.sparing.sizes})

    @torch.no_grad()
    def _cut_early(self, model: nn.Module, optimizer: Optimizers) -> None:
        """Multiply h into the weights, those outside the budget by zero; from now on masks are the gates."""
        self._solve(model, self.initial)
        masks = self._choose(model)
        factors = []
        for name, gate in self._gates.items():
            weight = original_weight(model.get_submodule(name))
            h = torch.ones_like(weight) if gate.open else gate_of(weight, float(gate.t), gate.n)
            factors.append((weight, h * masks[name]))
        scale(model, factors)
        for name, gate in self._gates.items():
            weight = original_weight(model.get_submodule(name))
            gate.close(weight, masks[name])
            follow_mask(optimizer, weight, masks[name])
        self._cut = True

    def _floors(self) -> dict[str, int]:
        """Weights that each layer keeps at the cut at least."""
        share = self.config.floor * self.gated_target / self.initial if self.exact else 0.0
        return {name: int(share * size) for name, size in self._sizes.items()}

    def _set(self, temperatures: Sequence[float], n: int, is_open: bool) -> None:
        for gate, t in zip(self._gates.values(), temperatures, strict=True):
            gate.t.fill_(t)
            gate.n, gate.open = n, is_open

    def _gated(self, model: nn.Module) -> list[tuple[Gate, Tensor]]:
        """Every gate with the weight it is given."""
        return [(gate, original_weight(model.get_submodule(name))) for name, gate in self._gates.items()]


def _open(gate: Gate, weight: Tensor) -> float:
    """What a layer adds to C."""
    if gate.mask is not None:
        return float(gate.mask.sum())
    return weight.numel() if gate.open else float(total(weight, gate.t, gate.n))


def _sample(weights: list[Tensor], total: int, size: int) -> list[Tensor]:
    """|w| of about `size` weights, of every layer its share; with 2 and 3 not dividing the stride, so that it
    does not pick the same position of every 3x3 kernel."""
    stride = max(1, total // size)
    while stride > 1 and (stride % 2 == 0 or stride % 3 == 0):
        stride += 1
    return [weight.detach().flatten()[::stride].abs().float() for weight in weights]
