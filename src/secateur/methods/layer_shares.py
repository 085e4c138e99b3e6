"""How many weights each layer keeps of a network that keeps so many: global, uniform or Erdős–Rényi-kernel.

    global     no share of its own: the best scores of the whole network stay               `keep_largest`
    uniform    k_l / N_l the same for every layer                                           `parts`
    erk        k_l / N_l proportional to (n_in + n_out + kh + kw) / (n_in n_out kh kw)      `parts`

N_l are the weights of layer l, n_in n_out kh kw for a convolution, n_in n_out for a linear layer, where
(n_in + n_out) / (n_in n_out) holds. Whatever the share, the counts add up to the total exactly (largest
remainders), no layer keeps more than it has (what is too much for one is shared out anew among the others),
and each keeps at least one weight where there is one for each: a layer without any is the end of a network.

Reference: Evci et al. 2020, *Rigging the lottery* (arXiv:1911.11134), section 3, "Sparsity distribution";
the formula for convolutions is theirs, that for linear layers is of Mocanu et al. 2018, eq. (3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from torch import Tensor

from secateur.errors import unknown
from secateur.names import LayerShares
from secateur.network.masks import Masks, keep_counts, keep_largest, shares

LAYER_SHARES: tuple[LayerShares, ...] = get_args(LayerShares)
"""The ways to share weights out over layers, by name."""


def parts(shape: Sequence[int], share: LayerShares) -> int:
    """What the number of weights that a layer keeps is proportional to, as long as it has so many.

    Args:
        shape: of its weight, (n_out, n_in, kernel...) or, where it is transposed, (n_in, n_out, kernel...).
            Of a grouped convolution n_in is that of a group, as its weight has it.
        share: "uniform" or "erk". N_l times the share is n_in n_out kh kw, or n_in + n_out + kh + kw.

    Example:
        >>> parts((64, 16, 3, 3), "uniform"), parts((64, 16, 3, 3), "erk")
        (9216, 86)
    """
    if share == "erk":
        return sum(shape)
    size = 1
    for side in shape:
        size *= side
    return size


def shared_out(weights: Sequence[int], most: Sequence[int], total: int, least: int = 1) -> list[int]:
    """`total` divided in proportion to `weights`, no part above its `most`, none below `least` if possible.

    Args:
        weights: at least 0.
        most: at least 0, together at least `total`.
        least: 0 or 1.

    Example:
        >>> shared_out([1, 1, 2], [2, 100, 100], 20)
        [2, 6, 12]
    """
    assert 0 <= total <= sum(most), (total, most)
    counts = list(most)
    free, left = list(range(len(most))), total
    while free:
        whole = sum(weights[i] for i in free)
        full = [i for i in free if weights[i] * left >= most[i] * whole]
        if not full or whole == 0:
            break
        left -= sum(most[i] for i in full)
        free = [i for i in free if i not in full]
    for index, count in zip(free, _divided([weights[i] for i in free], left), strict=True):
        counts[index] = count
    return _raised(counts, most, least)


def _divided(weights: list[int], total: int) -> list[int]:
    return shares(weights, total) if sum(weights) else [0] * len(weights)


def _raised(counts: list[int], most: Sequence[int], least: int) -> list[int]:
    """Give parts that have nothing one of the largest part's, as long as that has more than one."""
    for index, bound in enumerate(most):
        richest = max(range(len(counts)), key=lambda i: counts[i])
        if counts[index] < min(least, bound) and counts[richest] > 1:
            counts[index] += 1
            counts[richest] -= 1
    return counts


def layer_counts(
    shapes: Mapping[str, Sequence[int]],
    keep: int,
    share: LayerShares,
    most: Mapping[str, int] | None = None,
    least: int = 1,
) -> dict[str, int]:
    """How many weights each layer keeps, `keep` in all.

    Args:
        shapes: layer -> the shape of its weight.
        share: "uniform" or "erk"; "global" has no counts.
        most: how many a layer can keep; None: all that it has.
        least: of every layer, 0 or 1, as far as `keep` goes.

    Example:
        >>> layer_counts({"a": (8, 3, 3, 3), "b": (10, 32)}, 53, "erk")
        {'a': 15, 'b': 38}
    """
    bounds = most or {name: parts(shape, "uniform") for name, shape in shapes.items()}
    weights = [parts(shape, share) for shape in shapes.values()]
    counts = shared_out(weights, [bounds[name] for name in shapes], keep, least)
    return dict(zip(shapes, counts, strict=True))


class Sharing:
    """Chooses masks within the layer shares of a method: those asked for, else its own.

    Args:
        asked: as the user wrote it; None: the default.
        default: of the method.
        who: the method, for errors.
        least: weights that every layer keeps at least, 0 or 1; None: none where the best of the whole network
            stay, else 1.

    Raises:
        InputError: where nothing is called so.

    Example:
        >>> Sharing("erk", "global", "gradual-magnitude").identity()
        {'layer_shares': 'erk'}
    """

    def __init__(self, asked: str | None, default: LayerShares, who: str, least: int | None = None):
        if asked is not None and asked not in LAYER_SHARES:
            raise unknown(f"layer shares of {who}", str(asked), LAYER_SHARES)
        self.share: LayerShares = asked if asked is not None else default  # type: ignore[assignment]
        self.default = default
        self.least = int(self.share != "global") if least is None else least

    def identity(self) -> dict[str, Any]:
        """What goes into a run's hash: nothing where the method's own hold."""
        return {} if self.share == self.default else {"layer_shares": self.share}

    def choose(self, scores: Mapping[str, Tensor], keep: int, most: Mapping[str, int] | None = None) -> Masks:
        """Masks that keep exactly `keep` entries, the largest scores of every layer within its share.

        Args:
            most: entries that a layer can keep, where its score says of the others that they are gone; it is
                not looked at where the best of the whole network stay.
        """
        if self.share != "global":
            shapes = {name: score.shape for name, score in scores.items()}
            return keep_counts(scores, layer_counts(shapes, keep, self.share, most, self.least))
        floors = {name: min(self.least, score.numel()) for name, score in scores.items()}
        return keep_largest(scores, keep, floors if 0 < sum(floors.values()) <= keep else None)
