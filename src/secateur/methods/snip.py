"""SNIP, single-shot pruning at initialisation: Lee, Ajanthan & Torr 2018 (arXiv:1810.02340).

    g_j = dL(c * w; D_b) / dc_j, at c = 1 = w_j * dL/dw_j    `connection_sensitivity`   section 4.1
    s_j = |g_j| / sum_k |g_k|                                `saliency`                 section 4.1
    c_j = 1 for the kappa largest s_j, else 0                `SNIP.choose`              section 4.2

c multiplies the weights w, and L is the mean cross-entropy over one mini-batch D_b. Nothing is trained before
the cut; what is left is then trained as any network is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.budget import Wanted
from secateur.errors import InputError
from secateur.methods.masked import MaskedMethod
from secateur.network.inputs import Inputs, batch_of, logits_of, map_inputs, on_device
from secateur.network.masks import Masks
from secateur.network.modes import modes_kept
from secateur.network.task import Loss
from secateur.network.weights import prunable_weights
from secateur.surgery.constraints import Patterns

Batches = Iterable[tuple[Inputs, Any]]


@dataclass(frozen=True)
class Config:
    """Settings of SNIP.

    Attributes:
        batches: how many batches are scored together, at least 1 (Lee et al.: 1, of 128 images of CIFAR-10).
    """

    batches: int = 1

    def __post_init__(self) -> None:
        if self.batches < 1:
            raise InputError(f"snip: at least 1 batch is needed to score the connections, got {self.batches}")


def connection_sensitivity(weight: Tensor, gradient: Tensor) -> Tensor:
    """g_j = w_j * dL/dw_j, which is dL/dc_j at c = 1, by the chain rule. Any shape, the same for all three.

    Reference: Lee et al. 2018, section 4.1.
    """
    return weight * gradient


def saliency(sensitivities: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """s_j = |g_j| / sum_k |g_k|, the sum over all layers: what is comparable across batches and losses.

    Raises:
        InputError: where no connection changes the loss, or the loss is not finite.

    Reference: Lee et al. 2018, section 4.1.
    """
    total = torch.stack([g.abs().sum() for g in sensitivities.values()]).sum()
    if not 0 < float(total) < torch.inf:
        raise InputError(
            f"snip: the sensitivities must add up to a finite number above 0, got {float(total):g}: score a "
            "network whose weights are initialised, on batches that it can tell apart"
        )
    return {name: g.abs() / total for name, g in sensitivities.items()}


def loss_gradients(model: nn.Module, batches: Batches, loss: Loss | None = None) -> dict[str, Tensor]:
    """dL/dw of every weight that can be masked, by layer, of the mean loss over all examples.

    Computed on copies of the parameters and buffers, in float32 or better and without autocast: half
    precision would round the small gradients to zero, and the model's own statistics, gradients and frozen
    parameters stay as they are. Where there are several processes, the mean is over the examples of all.

    Args:
        loss: of (output, targets), the mean over the batch; None: cross-entropy.
    """
    weights = prunable_weights(model)
    state = _copies(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    used = [state[names[id(weight)]].requires_grad_() for weight in weights.values()]
    sums = [torch.zeros_like(weight, memory_format=torch.contiguous_format) for weight in used]
    examples = torch.zeros((), dtype=torch.int64, device=used[0].device)
    with _scoring(model), torch.autocast(used[0].device.type, enabled=False), torch.enable_grad():
        for inputs, targets in batches:
            x, y = _beside(inputs, used[0]), on_device(targets, model)
            output = _called(model, state, x)
            found = torch.autograd.grad(
                _summed(output, y, batch_of(x), loss), used, allow_unused=True, materialize_grads=True
            )
            for total, gradient in zip(sums, found, strict=True):
                total += gradient
            examples += batch_of(x)
    if dist.is_available() and dist.is_initialized():
        for value in (*sums, examples):  # the same for all afterwards, so that all choose alike
            dist.all_reduce(value)
    return {name: total / examples for name, total in zip(weights, sums, strict=True)}


def _beside(inputs: Inputs, weight: Tensor) -> Inputs:
    """Inputs where the weight is, fractions in its type."""

    def move(x: Tensor) -> Tensor:
        return x.to(weight.device, weight.dtype if x.is_floating_point() else x.dtype)

    return map_inputs(inputs, move)


def _called(model: nn.Module, state: dict[str, Tensor], inputs: Inputs) -> Any:
    """Call the model with other parameters and buffers."""
    if isinstance(inputs, Mapping):
        return functional_call(model, state, (), dict(inputs))
    return functional_call(model, state, inputs if isinstance(inputs, tuple) else (inputs,))


def _summed(output: Any, targets: Any, examples: int, loss: Loss | None) -> Tensor:
    """The loss, summed over the examples."""
    if loss is None:
        return F.cross_entropy(logits_of(output), targets, reduction="sum")
    return loss(output, targets) * examples


def _copies(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers to compute with, in float32 where they are in less."""
    return {
        name: value.detach().to(
            torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype,
            copy=True,
        )
        for name, value in (*model.named_parameters(), *model.named_buffers())
    }


@contextmanager
def _scoring(model: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch, all else as in evaluation: no dropout, so nothing is left to chance.

    The running statistics of an untrained network say nothing; with them its activations are not normalised.
    """
    with modes_kept(model):
        for module in model.modules():
            module.training = isinstance(module, _BatchNorm)
        yield


class SNIP(MaskedMethod):
    """Keeps the connections that the loss is most sensitive to, before anything is trained.

    Args:
        budget: e.g. "nonzeros=5%".
        batches: how many of the batches handed to `prepare` are scored.
        loss: of (output, targets), the mean over the batch; by default cross-entropy.

    Example:
        >>> model = SNIP("nonzeros=5%").prepare(model, loader)  # doctest: +SKIP

    Reference: Lee et al. 2018, algorithm 1.
    """

    name = "snip"
    takes_loss = True

    def __init__(self, budget: Wanted, *, batches: int = 1, loss: Loss | None = None, keep: Patterns = ()):
        super().__init__(budget, keep=keep)
        self.config, self.loss = Config(batches), loss

    @classmethod
    def scopes(cls) -> tuple[str, ...]:
        return ("global",)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), **asdict(self.config)}

    def choose(self, model: nn.Module, keep: int, batches: Batches | None = None) -> Masks:
        """The `keep` most salient of all layers together, by the first of `batches` (inputs, labels)."""
        weights = {name: weight.detach() for name, weight in prunable_weights(model).items()}
        gradients = loss_gradients(model, self._first(batches), self.loss)
        found = saliency({name: connection_sensitivity(w, gradients[name]) for name, w in weights.items()})
        return self.sparing.choose(found, keep)

    def _first(self, batches: Batches | None) -> list[tuple[Inputs, Any]]:
        """As many batches as are scored; InputError where there are fewer."""
        found = list(islice(batches or (), self.config.batches))
        if len(found) < self.config.batches:
            raise InputError(
                f"snip scores connections by the loss on {self.config.batches} of the batches given to "
                f"prepare, got {len(found)}: call prepare(model, batches), an iterable of (inputs, labels)"
            )
        return found
