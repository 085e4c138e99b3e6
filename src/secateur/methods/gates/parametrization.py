"""Gates in a network: each a parametrization of its layer's weight, all computed at once where possible.

A layer asks for its apparent weight when it is called. `AllAtOnce` has them ready by then: when the network
is called, it computes those of all layers in one go (`apparent.apparents_and_totals` says why). A gate that
finds nothing ready computes its own, so that every other way to a weight is right as well: a layer called by
itself, `layer.weight` between two steps, an evaluation under `parametrize.cached()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from secateur.errors import InputError
from secateur.methods.gates.apparent import apparent_and_total, apparents_and_totals, total
from secateur.methods.gates.kernels import Kernel
from secateur.network.weights import prunable_weights, weight_layers


@dataclass
class Call:
    """One forward pass of the whole network: whether it is still under way."""

    under_way: bool = True


@dataclass(frozen=True)
class Ready:
    """An apparent weight computed beforehand, and what it was computed from."""

    apparent: Tensor
    weight: Tensor
    versions: tuple[int, int]
    call: Call

    def serves(self, weight: Tensor, t: Tensor) -> bool:
        """Within its forward pass, and where a backward pass repeats a part of it (checkpointing)."""
        usable = self.call.under_way or torch._C._current_graph_task_id() != -1
        same = weight is self.weight and (weight._version, t._version) == self.versions
        return usable and same and torch.is_grad_enabled()


class Gate(nn.Module):
    """The parametrization w -> w * h_t(w) of a layer; `open` the identity, after an early cut w -> w * mask.

    Attributes:
        mask: of the weights that stay, from the cut on: h is 0 or 1 for good, and what is gone has no
            gradient. It is no part of the network's state: the method's has it.
    """

    mask: Tensor | None

    def __init__(self, t: Tensor, n: int, is_open: bool, kernel: Kernel | None = None):
        super().__init__()
        self.t = t  # a Parameter is registered and learned; a plain tensor is solved for
        self.kernel = kernel
        self.n = n
        self.open = is_open
        self.register_buffer("mask", None, persistent=False)
        self.ready: Ready | None = None
        self._total: tuple[Tensor, int] | None = None

    def forward(self, weight: Tensor) -> Tensor:
        if self.mask is not None:
            return weight * self.mask
        if self.open:
            return weight
        if self.ready is not None and self.ready.serves(weight, self.t):
            return self.ready.apparent
        learns = torch.is_grad_enabled() and self.t.requires_grad
        apparent, sum_of_h = apparent_and_total(weight, self.t, self.n, self.kernel, wants_total=learns)
        self._note(sum_of_h, weight)
        return apparent

    @property
    def soft(self) -> bool:
        """Whether h is computed at all: gates that are open, or that were cut, need no t."""
        return not self.open and self.mask is None

    def close(self, weight: Tensor, mask: Tensor) -> None:
        """Have h be 1 within the mask and 0 outside, from now on; it is laid out as the weight is."""
        self.mask = torch.empty_like(weight, dtype=torch.bool, requires_grad=False).copy_(mask)
        self.ready = self._total = None

    def prepare(self, weight: Tensor, apparent: Tensor, sum_of_h: Tensor | None, call: Call) -> None:
        """Have an apparent weight ready for `call`."""
        self.ready = Ready(apparent, weight, (weight._version, self.t._version), call)
        self._note(sum_of_h, weight)

    def take_total(self, weight: Tensor) -> Tensor:
        """sum of h_t(w), of the last forward pass if that was with these very weights, else computed now."""
        last, self._total = self._total, None
        if last is not None and last[1] == weight._version:
            return last[0]
        return total(weight, self.t, self.n)

    def __getstate__(self) -> dict[str, Any]:
        """Without the graph of the last forward pass, which a copy of the network cannot take along."""
        return {**self.__dict__, "ready": None, "_total": None}

    def _note(self, sum_of_h: Tensor | None, weight: Tensor) -> None:
        if sum_of_h is not None:
            self._total = (sum_of_h, weight._version)


class AllAtOnce:
    """Two hooks of a network: before its forward pass the apparent weights of all layers, afterwards no more.

    Not under `no_grad`, where `parametrize.cached()` has them once for many batches; and not for a layer that
    is frozen, whose weight would seem to need a gradient.

    Args:
        gated: every gate with the layer whose weight it is given.
    """

    def __init__(self, gated: Sequence[tuple[Gate, nn.Module]]):
        self.gated = list(gated)
        self._call = Call()

    def attach(self, model: nn.Module) -> None:
        """To the network that will be called."""
        model.register_forward_pre_hook(self.before)
        model.register_forward_hook(self.after, always_call=True)

    def detach(self, model: nn.Module) -> None:
        """From it, or from a copy of it."""
        self.release()
        for hooks in (model._forward_pre_hooks, model._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(_owner(hook), AllAtOnce)]:
                del hooks[key]
                model._forward_hooks_always_called.pop(key, None)

    def before(self, _model: nn.Module, _inputs: Any) -> None:
        """The hook before the forward pass."""
        self.release()
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return
        chosen = [
            (gate, weight)
            for gate, weight in ((gate, original_weight(layer)) for gate, layer in self.gated)
            if gate.soft and (weight.requires_grad or gate.t.requires_grad)
        ]
        if not chosen:
            return
        self._call, first = Call(), chosen[0][0]
        found = apparents_and_totals(
            [weight for _, weight in chosen],
            [gate.t for gate, _ in chosen],
            first.n,
            first.kernel,
            wants_total=any(gate.t.requires_grad for gate, _ in chosen),
        )
        for (gate, weight), (apparent, sum_of_h) in zip(chosen, found, strict=True):
            gate.prepare(weight, apparent, sum_of_h, self._call)

    def after(self, _model: nn.Module, _inputs: Any, _output: Any) -> None:
        """The hook behind it, also where it failed."""
        self._call.under_way = False

    def release(self) -> None:
        """Give the memory back."""
        for gate, _ in self.gated:
            gate.ready = None


def original_weight(layer: nn.Module) -> Tensor:
    """What the gate of this layer is given."""
    weight: Tensor = cast(Any, layer).parametrizations.weight.original
    return weight


def distinct_layers(model: nn.Module, who: str) -> dict[str, nn.Module]:
    """The layers with a weight to prune; InputError where one is parametrized already or shared."""
    layers = weight_layers(model)
    for name, layer in layers.items():
        if parametrize.is_parametrized(layer, "weight"):
            raise InputError(
                f"{who}: '{name}.weight' is parametrized already: take that off first "
                "(torch.nn.utils.parametrize.remove_parametrizations)"
            )
    if len(prunable_weights(model)) < len(layers):
        raise InputError(f"{who}: layers that share one weight cannot be reparametrized yet")
    return dict(layers)


def make_plain(layer: nn.Module) -> None:
    """Leave the weight that a layer computes with as an ordinary parameter, first in order as in every such
    layer: optimizer states are matched by order. A copy of the network keeps its parametrizations."""
    made = type(
        layer
    )  # copies share the class that torch made for the layer, and its property is deleted there
    layer.__class__ = type(made.__name__, made.__bases__, dict(made.__dict__))
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    rest = {name: value for name, value in layer._parameters.items() if name != "weight"}
    weight = layer._parameters["weight"]
    layer._parameters.clear()
    layer._parameters.update({"weight": weight, **rest})


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", None)
