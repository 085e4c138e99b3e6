"""Masks over the weights of convolutions and linear layers: which are covered, which are kept, how many.

Only these weights are ever masked or counted as nonzeros; biases and normalisation stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from secateur.network.weights import prunable_weights

Masks = dict[str, Tensor]


def count_nonzeros(model: nn.Module) -> int:
    """Count the weights that can be masked and are not exactly zero."""
    return sum(int(weight.detach().count_nonzero()) for weight in prunable_weights(model).values())


def magnitudes(model: nn.Module) -> dict[str, Tensor]:
    """|w| of every weight that can be masked, by layer."""
    return {name: weight.detach().abs() for name, weight in prunable_weights(model).items()}


def keep_largest(scores: Mapping[str, Tensor], keep: int, floors: Mapping[str, int] | None = None) -> Masks:
    """Make boolean masks that keep exactly `keep` entries of the largest score over all layers together.

    Ties go to the entry that comes first, so the result is the same everywhere.

    Args:
        scores: layer name -> finite scores of any shape.
        keep: 0 to the number of entries.
        floors: how many entries a layer keeps at least, whatever their score; together at most `keep`.

    Example:
        >>> keep_largest({"a": torch.tensor([3.0, 1.0]), "b": torch.tensor([2.0])}, 2)
        {'a': tensor([ True, False]), 'b': tensor([True])}
    """
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    assert 0 <= keep <= len(flat), (keep, len(flat))
    sizes = [score.numel() for score in scores.values()]
    if floors:
        assert sum(floors.values()) <= keep, (floors, keep)
        sure = keep_counts(scores, {name: floors.get(name, 0) for name in scores})
        flat = flat.masked_fill(torch.cat([mask.flatten() for mask in sure.values()]), torch.inf)
    kept = _largest(flat, keep)
    parts = zip(scores.items(), kept.split(sizes), strict=True)
    return {name: part.view(score.shape) for (name, score), part in parts}


def keep_counts(scores: Mapping[str, Tensor], counts: Mapping[str, int]) -> Masks:
    """Make masks that keep the `counts[name]` largest entries of every layer."""
    return {
        name: _largest(score.detach().flatten(), counts[name]).view(score.shape)
        for name, score in scores.items()
    }


def shares(sizes: list[int], total: int) -> list[int]:
    """`total` divided in proportion to `sizes`; what rounding down leaves goes to the largest remainders.

    Example:
        >>> shares([10, 10, 30], 6)
        [1, 1, 4]
    """
    whole = sum(sizes)
    counts = [size * total // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(sizes[i] * total % whole), i))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the weights outside the masks to zero, in place."""
    weights = prunable_weights(model)
    with torch.no_grad():
        for name, mask in masks.items():
            weights[name].mul_(mask.to(weights[name].device))


def _largest(flat: Tensor, keep: int) -> Tensor:
    if keep == 0:
        return torch.zeros_like(flat, dtype=torch.bool)
    threshold = flat.topk(keep, sorted=False).values.min()
    kept = flat > threshold
    ties = (flat == threshold).nonzero().flatten()
    kept[ties[: keep - int(kept.sum())]] = True
    return kept
