"""What criteria have in common that are made of gradients: g_nk, what a loss feels of a channel.

    g_nk = - sum_ij a_nkij * dL_n / da_nkij             `channel_gradients`

a is what the readers of a channel read, L_n the loss of example n (Theis et al. 2018, eq. (10)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.utils.hooks import RemovableHandle

from secateur.errors import InputError
from secateur.methods.channels import ChannelPruning
from secateur.methods.readers import Pass, Readers, examples_in, label
from secateur.surgery.optimizer_state import Optimizers, loss_scale, steps_of


@dataclass
class _Folded:
    """What one pass adds to the sums: group -> (K,)."""

    examples: int
    found: dict[str, Tensor]

    def finite(self) -> bool:
        """Whether its gradients were numbers."""
        return all(bool(value.isfinite().all()) for value in self.found.values())


class GradientCriterion(ChannelPruning):
    """A criterion made of g_nk, what the loss of example n would feel of channel k at all that read it.

        g_nk = - sum over consumers and positions of a * dL_n / da

    `fold` says what becomes of the g of a batch; the sums over a window are shared between processes.
    """

    takes_padding = True
    in_evaluation = False
    """Whether passes in evaluation mode count as well: where nothing is trained."""

    def fold(self, g_NK: Tensor) -> Tensor:
        """What a batch adds to the sums: (N, K) -> (K,)."""
        raise NotImplementedError

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self._sums: dict[str, Tensor] = {}
        self._open: Pass | None = None
        self._pending: list[Pass] = []
        self._fresh: list[_Folded] = []  # since the last step
        self._scaled_by: Optimizers = None
        self._unseen: set[str] = set()
        self._index: dict[str, list[tuple[str, Tensor | None]]] = {}
        self._hooks: list[RemovableHandle] = []

    def watch(self, model: nn.Module) -> None:
        """Have every consumer report what it reads, and the gradient of that, while training."""
        self._hooks.append(model.register_forward_pre_hook(self._begin_pass, with_kwargs=True))
        axes = dict.fromkeys(site.axis for group in self.anatomy.graph for site in group.reads)
        readers = Readers(model, [*axes], lambda: self._open, self._accumulate, self._accumulate_sum)
        self._hooks += readers.attach(weights=self.anatomy.whole is not None)

    def unwatch(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def begin_window(self, model: nn.Module) -> None:
        graph, parameter = self.anatomy.graph, next(model.parameters())
        kind = torch.promote_types(parameter.dtype, torch.float32)
        self._open, self._pending, self._fresh = None, [], []
        self._unseen = set(graph.groups)
        self._sums = {
            name: torch.zeros(graph.width(name), dtype=kind, device=parameter.device) for name in graph.groups
        }
        self._index = {
            group.name: [
                (label(site.axis), graph.picked(site, group.name, parameter.device)) for site in group.reads
            ]
            for group in graph
        }

    def state(self) -> dict[str, Any]:
        self._take_in()
        return super().state()

    def tensors(self) -> dict[str, Tensor]:
        """Every process is given an equal share of the sums, so that adding them up again is right."""
        sums, _ = self._gathered()
        return {name: value / _world() for name, value in sums.items()}

    def restore(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super().restore(state, tensors)
        if self._resumed is not None:  # until prepare
            return
        self._unseen.clear()  # a window of zeros may be what was seen
        self._sums = {name: tensors[name].to(old.device) for name, old in self._sums.items()}

    @property
    def examples(self) -> int:
        return self._gathered()[1]

    def after_step(self, model: nn.Module, optimizer: Optimizers = None) -> nn.Module:
        self._scaled_by = optimizer
        if self._stepped == 0 and steps_of(optimizer) and loss_scale(optimizer) is not None:
            self._fresh, self._steps = [], self._steps - self._unsure  # all before its first was skipped
            self._unsure = 0
        self._settle(loss_scale(optimizer))
        if steps_of(optimizer) > self._stepped:
            self._take_in()
        return super().after_step(model, optimizer)

    def _skipped(self, model: nn.Module, optimizer: Optimizers) -> bool:
        """As of every method, or where gradients are no numbers; what was seen is then forgotten."""
        if super()._skipped(model, optimizer) or not all(each.finite() for each in self._fresh):
            self._fresh = []
            return True
        return False

    def _begin_pass(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pass begins: what came back of earlier ones is complete. Only training counts.

        Before the first step nobody knows whether losses are scaled.
        """
        if self._scaled_by is not None or self.in_evaluation:
            self._settle()
        counts = model.training or self.in_evaluation
        self._open = Pass(*examples_in(self.anatomy, args, kwargs)) if counts else None

    def _accumulate(self, seen: Pass, name: str, act: Tensor, grad: Tensor, size: int) -> None:
        """Of one reader what it read, and the gradient of that, of each of its `size` entries."""
        if len(act) % seen.examples:
            raise InputError(
                f"{self.name} needs examples along the first dimension of what every layer reads: "
                f"{name} reads {len(act)} rows of a batch of {seen.examples}"
            )
        self.note_read(seen, name, act, grad, size)
        self._came_back(seen)

    def _accumulate_sum(self, seen: Pass, name: str, felt: Tensor) -> None:
        """Of a reader whose inputs nobody sees: each example is taken to feel the mean."""
        g = felt.expand(seen.examples, -1)
        seen.gradients[name] = seen.gradients[name] + g if name in seen.gradients else g
        self._came_back(seen)

    def _came_back(self, seen: Pass) -> None:
        if not any(seen is other for other in self._pending):
            self._pending.append(seen)

    def note_read(self, seen: Pass, name: str, act: Tensor, grad: Tensor, size: int) -> None:
        """Keep what a criterion needs of what a layer read, (rows, entries, ...); of two calls, the sum of g.

        Args:
            size: entries of the layer: what lies beyond is padding.
        """
        g = channel_gradients(act, grad)[:, :size]
        if len(g) != seen.examples:  # windows of an image, or positions: they belong to one example
            g = g.view(seen.examples, -1, g.shape[1]).sum(1) * (seen.examples / len(g))
        seen.gradients[name] = seen.gradients[name] + g if name in seen.gradients else g

    def fold_pass(self, seen: Pass, reads: Sequence[tuple[str, Tensor | None]]) -> Tensor | None:
        """What one batch adds to the sums of a group, (K,): its g added up over the readers, then folded.

        Args:
            reads: each layer that reads the group, and which of its entries; None: all, in order.
        """
        picked = [
            seen.gradients[layer] if index is None else seen.gradients[layer][:, index].sum(2)
            for layer, index in reads
            if layer in seen.gradients
        ]
        if not picked:
            return None
        return self.fold(picked[0] if len(picked) == 1 else torch.stack(picked).sum(0))

    def _settle(self, scale: float | None = None) -> None:
        """Add up over the consumers, then fold the batches.

        Args:
            scale: by which their losses were multiplied; None: by what is known of it now.
        """
        done, self._pending = self._pending, []
        if done and scale is None:
            scale = loss_scale(self._scaled_by, now=True)
        for seen in (each.unscaled(scale or 1.0) for each in done):
            found = {name: self.fold_pass(seen, reads) for name, reads in self._index.items()}
            known = {name: value for name, value in found.items() if value is not None}
            self._fresh.append(_Folded(seen.examples, known))

    def _take_in(self) -> None:
        """Add what was folded to the sums."""
        self._settle()
        done, self._fresh = self._fresh, []
        for folded in done:
            self._examples += folded.examples
            for name, value in folded.found.items():
                self._unseen.discard(name)
                self._sums[name] += value.to(self._sums[name].dtype)

    def _complete(self) -> tuple[dict[str, Tensor], int]:
        """Sums and example count of a window; InputError where there is nothing to tell channels apart by."""
        sums, examples = self._gathered()
        open_to_cuts = set(self.can_go())
        unseen = [name for name in sums if name in self._unseen & open_to_cuts and not sums[name].any()]
        if examples == 0 or unseen:
            where = "" if examples == 0 else f" at what reads the channels of {unseen[0]}"
            also = "" if examples == 0 else f"; or leave alone what is not in the loss, keep={unseen[:8]}"
            raise InputError(
                f"{self.name} saw no gradient{where} in this window: call the model that prepare returned, "
                f"in training mode, and loss.backward() before after_step{also}"
            )
        return sums, examples

    def unfelt(self) -> tuple[list[str], list[str]]:
        """Of the groups that may lose channels, those that got no gradient yet, and those that got zeros."""
        sums, _ = self._gathered()
        groups = self.can_go()
        unseen = [name for name in groups if name in self._unseen and not sums[name].any()]
        return unseen, [name for name in groups if name not in unseen and not sums[name].any()]

    def _gathered(self) -> tuple[dict[str, Tensor], int]:
        """Sums and example count over all processes."""
        self._take_in()
        if _world() == 1:
            return self._sums, self._examples
        sums = {name: value.clone() for name, value in self._sums.items()}
        examples = torch.tensor([self._examples], device=next(iter(sums.values())).device)
        for value in (*sums.values(), examples):
            dist.all_reduce(value)
        return sums, int(examples)


def channel_gradients(act: Tensor, grad: Tensor, features: int = 1) -> Tensor:
    """g_nk of a mean-reduced loss: (N, K, ...) activations and their gradients -> (N, K).

    The mean over N examples leaves 1/N in every gradient; multiplying it out makes g independent of the
    batch size. Half precision is summed in float32.

    Args:
        act: a, (N, K, ...), or (N, K * features) where a linear layer reads a flattened map.
        grad: the gradient of the batch's mean loss with respect to `act`.
        features: input features per channel, for the flattened case.

    Reference: Theis et al. 2018, eq. (10); Crowley et al. 2018, section 3.
    """
    product = act.float() * grad if act.dtype in (torch.float16, torch.bfloat16) else act * grad
    per_channel = product.reshape(len(act), -1, features) if act.dim() == 2 else product.flatten(2)
    return -len(act) * per_channel.sum(2)


def _world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
