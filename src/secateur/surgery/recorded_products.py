"""Products of two activations, attention among them, as a recorded run meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from secateur.surgery.actions import Action, Attended, Contracted, attention_of
from secateur.surgery.layout import Layout, gathered
from secateur.surgery.matrix_products import Product
from secateur.surgery.weight_axes import WeightAxes


class RecordedProducts(WeightAxes):
    """Notes what products of activations sum over, and which heads they have.

    Attributes:
        contractions: the products, as they come.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.contractions: list[Contracted] = []

    def _contracted(self, index: int, product: Product) -> tuple[Action, int | None]:
        as_views = (
            (_in_three, _in_three) if product.sides[1].dim() > 1 else (_in_three, lambda x: x[None, :, None])
        )
        return self._contraction(index, product.views, product.sides, as_views)

    def _contraction(
        self,
        index: int,
        views: tuple[Tensor, Tensor],
        given: tuple[Tensor, Tensor],
        flat: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    ) -> tuple[Contracted, int]:
        """A product of activations; `flat` makes the operands' masks three-dimensional, as `views` are."""
        left, right = views
        name = f"{self.prefix}{index}"
        layout = self._layout(left) or self._layout(right)
        if layout is not None and layout.dim:
            layout = None
        heads = len(left) if layout is None else layout.outer * layout.inner
        action = Contracted((name, "left"), (name, "right"), (name, "heads"), layout)
        self.made |= dict.fromkeys(action.axes, self.where)
        bits = self.source(action.heads, heads)
        for axis, tensor, keep, as_view in (
            (action.left, given[0], (0, 2), flat[0]),
            (action.right, given[1], (0, 1), flat[1]),
        ):
            self.reader(axis, heads * left.shape[2], tensor)
            if self.dynamic(tensor):
                bits |= self.bits(tensor)
            elif self.tape.bits(tensor):
                self.tape.watch(tensor, axis, self._heads(as_view, layout, keep))
        self.contractions.append(action)
        return action, bits

    def _heads(
        self, as_view: Callable[[Tensor], Tensor], layout: Layout | None, keep: tuple[int, ...]
    ) -> Callable[[Tensor], Tensor]:
        examples = self.state.examples
        return lambda mask: gathered(as_view(mask), layout, keep, examples).any(0)

    def _attended(self, index: int, args: Any, kwargs: Any) -> tuple[Action, int]:
        query, key, value, mask = attention_of(args, kwargs)
        flat = [x.reshape(-1, *x.shape[-2:]) for x in (query, key, value)]
        batch = query.shape[:-2]

        def as_query(x: Tensor) -> Tensor:
            return x.expand(*batch, *x.shape[-2:]).reshape(-1, *x.shape[-2:])

        def as_key(x: Tensor) -> Tensor:
            times = batch[-1] // x.shape[-3] if x.shape[-3] > 1 else 1
            return as_query(x.repeat_interleave(times, -3)).mT

        action, bits = self._contraction(index, (flat[0], flat[1].mT), (args[0], args[1]), (as_query, as_key))
        for tensor in (args[2], *([mask] if mask is not None else [])):
            bits |= self.bits(tensor) if self.dynamic(tensor) else 0
        if mask is not None and not self.dynamic(mask) and self.tape.bits(mask) and mask.dim() > 2:
            layout, rows = action.layout, query.shape[-2]

            def see(x: Tensor) -> Tensor:
                marked = x.any(-1, keepdim=True)
                every = as_query(marked.expand(*marked.shape[:-2], rows, 1))
                return gathered(every, layout, (0,), self.state.examples).any(0)

            self.tape.watch(mask, action.heads, see)
        return Attended(action), bits


def _in_three(mask: Tensor) -> Tensor:
    return mask if mask.dim() == 3 else mask[None]
