"""Fisher pruning of channels: Theis et al. 2018 (arXiv:1801.05787), as Crowley et al. 2018 use it.

    g_nk     = - sum_ij a_nkij * dL_n / da_nkij             `channel_gradients`
    Delta_k  = 1 / (2N) * sum_n g_nk ** 2                   `saliency`
    remove     argmin_k  Delta_k - beta * MACs_k            `removal_score`

a is what the consumer of a channel group reads (between the two convolutions of a residual block), L_n the
loss of example n, N the examples of a window of `every` fine-tuning steps. One channel goes per window, and
it goes physically: model and optimizer shrink.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from secateur.architecture import Architecture
from secateur.budget import COUNTERS, Budget, count_macs, count_params, count_weights, layer_positions
from secateur.errors import InputError
from secateur.methods.base import Method
from secateur.models import Group
from secateur.surgery import (
    channel_groups,
    features_per_channel,
    macs_per_channel,
    remove_channels,
    width_of,
)


@dataclass(frozen=True)
class Config:
    """Settings of Fisher pruning.

    Attributes:
        every: fine-tuning steps per removed channel, at least 1 (Crowley et al.: 100).
        beta: the FLOP penalty per MAC, at least 0 (Crowley et al.: 0).
    """

    every: int = 100
    beta: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"fisher: at least 1 step per removed channel is needed, got {self.every}")
        if not 0 <= self.beta < float("inf"):
            raise InputError(f"fisher: the FLOP penalty beta must be at least 0, got {self.beta}")


def channel_gradients(act: Tensor, grad: Tensor, features: int = 1) -> Tensor:
    """g_nk of a mean-reduced loss: (N, K, ...) activations and their gradients -> (N, K).

    The mean over N examples leaves 1/N in every gradient; multiplying it out makes g independent of the
    batch size. Half precision is summed in float32.

    Args:
        act: a, (N, K, H, W), or (N, K * features) where a linear layer reads a flattened map.
        grad: the gradient of the batch's mean loss with respect to `act`.
        features: input features per channel, for the flattened case.

    Reference: Theis et al. 2018, eq. (10); Crowley et al. 2018, section 3.
    """
    product = act.float() * grad if act.dtype in (torch.float16, torch.bfloat16) else act * grad
    per_channel = product.reshape(len(act), -1, features) if act.dim() == 2 else product.flatten(2)
    return -len(act) * per_channel.sum(2)


def saliency(squares_K: Tensor, examples: int) -> Tensor:
    """Delta_k = sum_n g_nk**2 / (2N): the estimated rise of the loss if channel k went. (K,) -> (K,)."""
    return squares_K / (2 * examples)


def removal_score(saliency_K: Tensor, macs: int, beta: float) -> Tensor:
    """Delta_k - beta * MACs_k; the channel with the lowest score goes. (K,) -> (K,)."""
    return saliency_K - beta * macs


def check_reachable(architecture: Architecture, resource: str, limit: int) -> None:
    """InputError unless the architecture with one channel in every group is within `limit`."""
    smallest = architecture.with_widths([1] * len(architecture.widths)).cost(resource)
    if smallest > limit:
        raise InputError(
            f"fisher: the budget of {limit:,} {resource} is below what is left when every group is down to "
            f"one channel, {smallest:,}: ask for at least {resource}={smallest}"
        )


def check_removals(architecture: Architecture, removals: int) -> None:
    """InputError unless so many channels can go with one left in every group."""
    most = sum(architecture.widths) - len(architecture.widths)
    if not 0 < removals <= most:
        raise InputError(
            f"fisher: of {sum(architecture.widths)} channels in {len(architecture.widths)} groups, 1 to "
            f"{most} can be removed, got {removals}"
        )


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class Fisher(Method):
    """Removes the channel of lowest score every `every` steps until the budget is met; then `finished`.

    A network within the budget is tuned for one more window before the method is finished, as in the paper,
    which records a network just before its next removal. Continuing with a smaller budget then gives the
    same trajectory as having asked for it at once.

    Args:
        budget: e.g. "params=25%", of the network handed to `prepare`.
        every: fine-tuning steps per removed channel.
        beta: FLOP penalty per MAC.
        removals: stop after so many removals, in place of a budget.

    Attributes:
        removed: one entry per removal: group, channel (its index in the network handed to `prepare`), and
            of the network before the removal its params, its macs and the examples it was tuned on.

    Example:
        >>> method = Fisher("params=25%", every=100)  # doctest: +SKIP

    Reference: Crowley et al. 2018, section 3, "Implementation Details".
    """

    name = "fisher"

    def __init__(
        self,
        budget: Budget | str | None = None,
        *,
        every: int = 100,
        beta: float = 0.0,
        removals: int | None = None,
    ):
        if (budget is None) == (removals is None):
            raise InputError("fisher: give either a budget or a number of removals")
        self.budget = None if budget is None else Budget.parse(budget)
        self.removals = removals
        self.config = Config(every, beta)
        self.limit = 0  # in units of the resource; set it beforehand where the original is another network
        self.removed: list[dict[str, Any]] = []
        self._steps = 0
        self._examples = 0
        self._squares: dict[str, Tensor] = {}
        self._alive: dict[str, list[int]] = {}  # present index -> index in the original network
        self._positions: dict[str, int] = {}
        self._hooks: list[RemovableHandle] = []
        self._groups: tuple[Group, ...] = ()
        self._met = False

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, but for the budget."""
        return {"method": self.name, **asdict(self.config)}

    def prepare(self, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]] | None = None) -> nn.Module:
        """Attach the hooks; InputError where not even one channel per group would meet the budget."""
        self._groups = channel_groups(model)
        self._check_feasible(model)
        self._positions = layer_positions(model, model.input_shape)  # type: ignore[arg-type]
        self._alive = {group.name: list(range(width_of(model, group))) for group in self._groups}
        self._reset(model)
        self._watch(model)
        return model

    def after_step(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
        """Count the step; at the end of a window remove one channel, or be finished."""
        self._steps += 1
        return self.advance(model, optimizer)

    def advance(self, model: nn.Module, optimizer: Optimizer | None = None) -> nn.Module:
        """Remove the channel that is due, if one is, as at the start of a run continued with less budget."""
        if self._steps < self.config.every:
            return model
        self._met = self._is_met(model)
        if not self._met:
            if optimizer is None:
                raise InputError(
                    "fisher removes channels, so the optimizer must shrink along: "
                    "call method.after_step(model, optimizer)"
                )
            self._remove_one(model, optimizer)
            self._reset(model)
        return model

    def finalize(self, model: nn.Module) -> nn.Module:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        return model

    @property
    def finished(self) -> bool:
        return self._met

    @property
    def completion(self) -> float:
        if self.budget is None:
            return min(1.0, len(self.removed) / (self.removals or 1))
        costs = [entry[self.budget.resource] for entry in self.removed]
        return min(1.0, (costs[0] - costs[-1]) / max(1, costs[0] - self.limit)) if costs else 0.0

    def progress(self) -> dict[str, float]:
        return {"removed": len(self.removed)}

    def tensors(self) -> dict[str, Tensor]:
        """Every process is given an equal share of the sums, so that adding them up again is right."""
        squares, _ = self._gathered()
        return {name: value / _world() for name, value in squares.items()}

    def state(self) -> dict[str, Any]:
        return {
            "steps": self._steps,
            "examples": self._examples,
            "removed": list(self.removed),
            "alive": self._alive,
        }

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._steps, self._examples = state["steps"], state["examples"]
        self.removed = list(state["removed"])
        self._alive = {name: list(indices) for name, indices in state["alive"].items()}
        self._squares = {name: tensors[name].to(old.device) for name, old in self._squares.items()}

    @property
    def examples(self) -> int:
        """Examples seen in the present window, over all processes."""
        return self._gathered()[1]

    def scores(self, model: nn.Module) -> dict[str, Tensor]:
        """The removal score of every channel over the window so far: group name -> (K,)."""
        squares, examples = self._gathered()
        return {
            group.name: removal_score(
                saliency(squares[group.name], examples),
                macs_per_channel(model, group, self._positions),
                self.config.beta,
            )
            for group in self._groups
        }

    def _is_met(self, model: nn.Module) -> bool:
        if self.budget is None:
            return len(self.removed) >= (self.removals or 0)
        return COUNTERS[self.budget.resource](model) <= self.limit

    def _check_feasible(self, model: nn.Module) -> None:
        """Refuse a budget that the last candidate's removal would still miss, before anything is trained."""
        if self.budget is not None:
            self.limit = self.limit or self.budget.limit_for(model)
            check_reachable(Architecture.of(model), self.budget.resource, self.limit)

    def _watch(self, model: nn.Module) -> None:
        """Have every consumer report what it reads, and the gradient of that, while training."""
        for group in self._groups:
            features = features_per_channel(model, group)
            consumer = model.get_submodule(group.consumer)
            self._hooks.append(consumer.register_forward_pre_hook(self._reader(group.name, features)))

    def _reader(self, name: str, features: int) -> Any:
        def read(consumer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            act = inputs[0]
            if consumer.training and act.requires_grad:
                values = act.detach()  # without its graph, or the hook would keep itself alive
                act.register_hook(lambda grad: self._accumulate(name, values, grad, features))

        return read

    def _accumulate(self, name: str, act: Tensor, grad: Tensor, features: int) -> None:
        g_NK = channel_gradients(act, grad, features)
        self._squares[name] += g_NK.square().sum(0).to(self._squares[name].dtype)
        if name == self._groups[0].name:
            self._examples += len(act)

    def _gathered(self) -> tuple[dict[str, Tensor], int]:
        """Sums and example count over all processes."""
        if _world() == 1:
            return self._squares, self._examples
        squares = {name: value.clone() for name, value in self._squares.items()}
        examples = torch.tensor([self._examples], device=next(iter(squares.values())).device)
        for value in (*squares.values(), examples):
            dist.all_reduce(value)
        return squares, int(examples)

    def _remove_one(self, model: nn.Module, optimizer: Optimizer) -> None:
        group, channel = self._lowest(model)
        self.removed.append(
            {
                "group": group.name,
                "channel": self._alive[group.name].pop(channel),
                "params": count_params(model),
                "macs": count_macs(model, self._positions),
                "nonzeros": count_weights(model),
                "examples": self.examples,
            }
        )
        remove_channels(model, group, [channel], optimizer)

    def _lowest(self, model: nn.Module) -> tuple[Group, int]:
        """The channel to remove; a group's last channel is never a candidate."""
        scores = self.scores(model)
        open_groups = [group for group in self._groups if width_of(model, group) > 1]
        if not open_groups:
            raise InputError(
                f"fisher: every group is down to one channel at {count_params(model):,} parameters, "
                f"short of the goal: ask for a larger budget"
            )
        lowest = min(open_groups, key=lambda group: float(scores[group.name].min()))
        return lowest, int(scores[lowest.name].argmin())

    def _reset(self, model: nn.Module) -> None:
        """Begin a window."""
        self._steps = self._examples = 0
        self._met = False
        parameter = next(model.parameters())
        kind = torch.promote_types(parameter.dtype, torch.float32)
        self._squares = {
            group.name: torch.zeros(width_of(model, group), dtype=kind, device=parameter.device)
            for group in self._groups
        }
