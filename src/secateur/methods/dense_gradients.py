"""The gradient of weights that are zero: what the loss would feel of them if they were there.

A network with zeros in its weights has a gradient for all of them. Loops of other people have set it to zero
by the time that `after_step` is called, so it is taken where it arises: behind the backward pass, and only
for steps that ask for it. What the optimizer is left is the gradient of the weights that are there, so that
the length of a gradient (`clip_norm`) is theirs alone and no momentum gathers for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.utils.hooks import RemovableHandle

from secateur.errors import InputError
from secateur.network.weights import prunable_weights


class DenseGradients:
    """Hooks of a network's weights, from `attach` to `release`.

    Args:
        masks: gives the mask of every layer, as it is now.
        wanted: says whether the gradient of the present step is asked for.
        who: the method, for errors.
    """

    def __init__(self, masks: Callable[[], Mapping[str, Tensor]], wanted: Callable[[], bool], who: str):
        self.masks, self.wanted, self.who = masks, wanted, who
        self._found: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []

    def attach(self, model: nn.Module) -> None:
        """Begin to watch; InputError where a weight is computed from others: its gradient is not its own."""
        weights = prunable_weights(model)
        for name, weight in weights.items():
            if not weight.is_leaf:
                raise InputError(
                    f"{self.who}: '{name}.weight' is parametrized already: take that off first "
                    "(torch.nn.utils.parametrize.remove_parametrizations)"
                )
        for name, weight in weights.items():
            if weight.requires_grad:
                hook = partial(self._take, name)
                self._handles.append(weight.register_post_accumulate_grad_hook(hook))

    @torch.no_grad()
    def _take(self, name: str, weight: Tensor) -> None:
        """Keep what has come of the step so far, over several backward passes too; mask what is left."""
        if weight.grad is None or weight.grad.is_sparse:
            return
        mask = self.masks()[name].to(weight.device)
        if self.wanted():
            before, now = self._found.get(name), weight.grad
            self._found[name] = now.clone() if before is None else torch.where(mask, now, now + before)
        weight.grad.mul_(mask)

    def of_step(self, model: nn.Module) -> dict[str, Tensor] | None:
        """|dL/dw| of every weight, which is then forgotten; None: not finite (a step that AMP skips).

        Of several processes it is that of all their examples, so that all choose alike. Where the optimizer
        has had several backward passes, it is their sum.

        Raises:
            InputError: where no weight had any.
        """
        found, self._found = self._found, {}
        if not found:
            raise InputError(
                f"{self.who} grows weights by their gradient, and the last step had none: call the model "
                "that prepare returned, and loss.backward() before after_step"
            )
        weights = prunable_weights(model)
        gradients = {
            name: found[name] if name in found else torch.zeros_like(weight)
            for name, weight in weights.items()
        }
        if dist.is_available() and dist.is_initialized():
            for value in gradients.values():
                dist.all_reduce(value)
        if not all(bool(value.isfinite().all()) for value in gradients.values()):
            return None
        return {name: value.abs() for name, value in gradients.items()}

    def forget(self) -> None:
        """Drop what came of a step that nobody asked about."""
        self._found = {}

    def release(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._found = {}
