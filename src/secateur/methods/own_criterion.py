"""A criterion of the user's own: a function of what is read of a group's channels, and of its gradient.

    s_k = mean over the window's examples of  sum over the readers of  score(a, dL/da)_k

The function is called once for every layer that reads the group, in every batch:

    def score(activations, gradients):              # (N, C, ...) each; ... is what positions there are
        return (activations * gradients).flatten(2).sum(2).abs().mean(0)        # (C,): the lowest go

`gradients` are those of each example's own loss, dL_n / da, so that they do not depend on the batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secateur.errors import InputError, kind_and_line
from secateur.methods.gradients import GradientCriterion
from secateur.methods.readers import Pass

Score = Callable[[Tensor, Tensor], Tensor]
"""(activations (N, C, ...), gradients (N, C, ...)) -> what each of the C channels is worth, (C,)."""


class OwnCriterion(GradientCriterion):
    """Removes the channels of lowest score, by a function of the user's (see `ChannelPruning`).

    Args:
        score: as above. It is called under `no_grad`, in float32 or better.
        args, settings: of `ChannelPruning`.

    Raises:
        InputError: in training, where the function fails or gives other than one finite number a channel.

    Example:
        >>> method = OwnCriterion(lambda act, grad: act.abs().flatten(2).mean((0, 2)), "macs=50%")
    """

    def __init__(self, score: Score, *args: Any, **settings: Any):
        self.score = score
        self.name = _name_of(score)  # type: ignore[misc]  # a class attribute of methods that have one name
        super().__init__(*args, **settings)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "method": "own", "score": self.name}

    def fold_pass(self, seen: Pass, reads: Sequence[tuple[str, Tensor | None]]) -> Tensor | None:
        """The scores of a group in one batch, times its examples: the sum over all calls of what reads it."""
        found = [
            self._scored(layer, *_channels(act, grad, index, seen.examples))
            for layer, index in reads
            for act, grad in seen.reads.get(layer, ())
        ]
        return torch.stack(found).sum(0) * seen.examples if found else None

    def note_read(self, seen: Pass, name: str, act: Tensor, grad: Tensor, size: int) -> None:
        seen.reads.setdefault(name, []).append((act[:, :size], grad[:, :size]))

    def _scored(self, layer: str, act: Tensor, grad: Tensor) -> Tensor:
        """What the function says, checked: one finite number for each channel."""
        try:
            with torch.no_grad():
                value = self.score(act, grad)
        except Exception as error:  # the user's code
            raise InputError(
                f"{self.name} failed on activations of {list(act.shape)} that {layer} reads: "
                f"{kind_and_line(error)}"
            ) from None
        if not isinstance(value, Tensor) or value.shape != act.shape[1:2]:
            got = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(
                f"{self.name} must give one score for each of {act.shape[1]} channels that {layer} reads, "
                f"a tensor of [{act.shape[1]}], got {got}: reduce over the examples and the positions"
            )
        return value.detach().to(act.dtype)

    def raw_scores(self, model: nn.Module) -> dict[str, Tensor]:
        sums, examples = self._complete()
        return {name: value / examples for name, value in sums.items()}


def _channels(act: Tensor, grad: Tensor, index: Tensor | None, examples: int) -> tuple[Tensor, Tensor]:
    """A group's part of what a layer reads: (rows, entries, ...) -> (N, C, ...), float32 or better.

    The gradients are multiplied by N, which the mean over the batch divided them by.
    """

    def picked(value: Tensor) -> Tensor:
        value = value if index is None else value[:, index].flatten(2)  # several entries are positions
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        if len(value) != examples:  # windows of an image: they belong to one example
            value = value.reshape(examples, -1, *value.shape[1:]).transpose(1, 2)
        return value if value.dim() > 2 else value[..., None]

    return picked(act), picked(grad) * examples


def _name_of(score: Any) -> str:
    name = getattr(score, "__name__", type(score).__name__)
    return "the criterion" if name == "<lambda>" else name
