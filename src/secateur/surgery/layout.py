"""Where the examples of a batch lie in a tensor, whatever a network has made of its dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Examples along one dimension: its entries are (outer, example, inner), the last running fastest.

    Images that were flattened to rows have `inner` rows an example; sequences that have time first are
    (time, example) and have `outer` of them.
    """

    dim: int
    outer: int
    inner: int

    def sized(self, shape: Sequence[int], examples: int) -> bool:
        """Whether a tensor of this shape can hold so many examples."""
        return len(shape) > self.dim and shape[self.dim] == self.outer * examples * self.inner


def layout_of(spoilt: Tensor, likely: int = 0) -> Layout | None:
    """Find where two examples lie in a tensor, the second of which is spoilt.

    Args:
        spoilt: boolean, where the second example shows; all False where that was lost on the way.
        likely: the dimension taken then, if its size is even.

    Returns:
        None where the examples are not apart along any dimension.
    """
    for dim in range(spoilt.dim()):
        along = spoilt.movedim(dim, 0).flatten(1).any(1)
        if along.any() and not along.all() and (inner := _inner_of(along.cpu())):
            return Layout(dim, len(along) // (2 * inner), inner)
    if spoilt.any() or spoilt.dim() <= likely or spoilt.shape[likely] % 2:
        return None
    return Layout(likely, 1, spoilt.shape[likely] // 2)


def _inner_of(along: Tensor) -> int:
    """Find how many entries an example has in a run, of two that alternate; 0 if they do not.

    Not all of the second one's need be spoilt: a class token that is the same for all is not.
    """
    size, best, share = len(along), 0, 0.0
    at = along.nonzero().flatten()
    for inner in range(1, size // 2 + 1):
        if size % (2 * inner) == 0 and bool((at // inner % 2 == 1).all()):
            covered = 2 * len(at) / size
            if covered >= share:
                best, share = inner, covered
    return best


def gathered(mask: Tensor, layout: Layout | None, keep: Sequence[int], examples: int) -> Tensor:
    """Find which entries along some dimensions are set anywhere, in each example: (examples, entries).

    Args:
        keep: dimensions, ascending; of the one with the examples, what is in it beside them counts.
        layout: None where all examples share the tensor.
    """
    if layout is None:
        found = _any_but(mask, keep).reshape(1, -1)
        return found.expand(examples, -1).cpu()
    d = layout.dim
    split = mask.unflatten(d, (layout.outer, examples, layout.inner)).movedim(d + 1, 0)
    kept = [0]
    for dim in keep:  # behind the examples: what was before d is one further, then outer, inner, the rest
        kept += [dim + 1] if dim < d else [d + 1, d + 2] if dim == d else [dim + 2]
    return _any_but(split, kept).reshape(examples, -1).cpu()


def _any_but(mask: Tensor, keep: Sequence[int]) -> Tensor:
    over = [dim for dim in range(mask.dim()) if dim not in keep]
    return mask.any(over) if over else mask


def spread(mark: Tensor, layout: Layout | None, keep: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Make a mask for a tensor of this shape (sizes of 1 where it is the same), the inverse of `gathered`.

    Args:
        mark: (examples, entries).
    """
    examples = len(mark)
    if layout is None:
        sizes = [size if dim in keep else 1 for dim, size in enumerate(shape)]
        return mark[0].reshape(sizes) if examples == 1 else mark.any().expand(sizes)
    d = layout.dim
    sizes = [shape[dim] if dim in keep else 1 for dim in range(len(shape))]
    own = [layout.outer, layout.inner] if d in keep else [1, 1]
    split = mark.reshape(examples, *sizes[:d], *own, *sizes[d + 1 :]).movedim(0, d + 1)
    full = split.expand(*sizes[:d], layout.outer, examples, layout.inner, *sizes[d + 1 :])
    return full.reshape(*sizes[:d], math.prod((layout.outer, examples, layout.inner)), *sizes[d + 1 :])
