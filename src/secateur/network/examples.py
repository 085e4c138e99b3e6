"""Where the examples lie in a model's inputs: along which dimension of which tensor, or in which list.

Most models take them along the first dimension of every tensor. A recurrent network or `nn.Transformer` takes
them along the second by default, a detector takes a list of images, and masks, timesteps, flags and tables of
positions belong to all examples alike. `secateur.network.example_axes` finds it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.errors import InputError
from secateur.network.wrapped import Path, changed, leaves


@dataclass(frozen=True, eq=False)
class Examples:
    """A model's inputs that know where their examples lie. It is passed around as the inputs themselves are.

    Attributes:
        inputs: as the model takes them.
        dims: where a tensor with examples is -> the dimension along which they lie. Its length is `count`, or
            a multiple of it: attention masks have an entry for every head of an example.
        lists: where lists are that hold an item for every example.
        count: how many examples there are; 1 where none can be told from another, which then go together.
    """

    inputs: Any
    dims: Mapping[Path, int]
    lists: frozenset[Path] = frozenset()
    count: int = 1

    @classmethod
    def by_shape(cls, inputs: Any, batch_dim: int = 0) -> Examples:
        """Take what most models mean, by the shapes alone.

        Lists inside the inputs hold an example an item where the items are images (3 dimensions) or
        dictionaries. Else examples lie along dimension `batch_dim` of the first tensor that has it, and along
        the same dimension, or the first, of all others that are as long there.
        """
        if isinstance(inputs, Examples):
            return inputs
        lists = example_lists(inputs)
        if lists and all(_at(inputs, path) for path in lists):
            count = len(_at(inputs, min(lists, key=len)))
            lists = frozenset(path for path in lists if len(_at(inputs, path)) == count)
        else:
            lists, count = frozenset(), 0
        tensors = [
            (path, leaf) for path, leaf in leaves(inputs) if isinstance(leaf, Tensor) and not _in(path, lists)
        ]
        count = count or next((t.shape[batch_dim] for _, t in tensors if t.dim() > batch_dim), 0)
        dims = {}
        for path, tensor in tensors:
            fits = [dim for dim in (batch_dim, 0) if tensor.dim() > dim and tensor.shape[dim] == count]
            if fits and count:
                dims[path] = fits[0]
        return cls(inputs, dims, lists, count or 1)

    def like(self, inputs: Any) -> Examples:
        """Take the examples of another batch to lie at the same places.

        Raises:
            InputError: where it is wrapped otherwise.
        """
        if isinstance(inputs, Examples):
            return inputs
        try:
            if self.lists:
                count = len(_at(inputs, next(iter(self.lists))))
            elif self.dims:
                path, dim = next(iter(self.dims.items()))
                each = _at(self.inputs, path).shape[dim] // self.count
                count = _at(inputs, path).shape[dim] // each
            else:
                count = self.count
        except (LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"every batch is wrapped as the first one, {sorted_keys(self.inputs)}; got "
                f"{sorted_keys(inputs)} ({type(error).__name__})"
            ) from None
        return Examples(inputs, self.dims, self.lists, max(1, count))

    def __len__(self) -> int:
        return self.count

    @property
    def along(self) -> int:
        """The dimension along which examples lie in the first tensor that has them; 0 in lists."""
        return next(iter(self.dims.values()), 0)

    @property
    def apart(self) -> bool:
        """Whether there are examples that can be told from one another; else the batch is one example."""
        return bool(self.dims or self.lists)

    @property
    def first_everywhere(self) -> bool:
        """Whether examples lie along the first dimension of every tensor that has them, and in no list."""
        return bool(self.dims) and not self.lists and not any(self.dims.values())

    def map(self, change: Callable[[Tensor], Tensor]) -> Examples:
        """Change every tensor; where the examples lie stays."""
        inputs = changed(self.inputs, lambda _, leaf: change(leaf) if isinstance(leaf, Tensor) else leaf)
        return Examples(inputs, self.dims, self.lists, self.count)

    def take(self, chosen: Sequence[int]) -> Examples:
        """Take some examples, in this order; one may be taken several times.

        Example:
            >>> Examples.by_shape(torch.tensor([3, 4, 5])).take([2, 0, 0]).inputs
            tensor([5, 3, 3])
        """
        if not self.apart:
            return self
        rows = torch.tensor(list(chosen), dtype=torch.long)
        inputs = _lists_changed(self.inputs, self.lists, lambda _, items: [items[row] for row in chosen])

        def change(path: Path, leaf: Any) -> Any:
            if path not in self.dims:
                return leaf
            dim = self.dims[path]
            each = leaf.shape[dim] // self.count
            index = rows.to(leaf.device)
            if each > 1:
                index = (index[:, None] * each + torch.arange(each, device=leaf.device)).flatten()
            return leaf.index_select(dim, index)

        return Examples(changed(inputs, change), self.dims, self.lists, len(rows))

    def first(self, count: int) -> Examples:
        """Take the first examples, as many as there are of so many."""
        return self if count >= self.count else self.take(range(count))

    def tiled(self, count: int) -> Examples:
        """Repeat the first example so many times."""
        return self.take([0] * count)

    def beside(self, other: Examples) -> Examples:
        """Put the examples of another batch, wrapped alike, behind these."""

        def join(path: Path, leaf: Any) -> Any:
            return torch.cat([leaf, _at(other.inputs, path)], self.dims[path]) if path in self.dims else leaf

        mine = changed(self.inputs, join)
        inputs = _lists_changed(mine, self.lists, lambda path, items: [*items, *_at(other.inputs, path)])
        return Examples(inputs, self.dims, self.lists, self.count + other.count)


def example_lists(inputs: Any) -> frozenset[Path]:
    """Find the lists that look as if they held an example an item: of images, or of dictionaries."""
    found: set[Path] = set()

    def look(value: Any, path: Path) -> None:
        if path and isinstance(value, list) and value and all(map(_is_example, value)):
            found.add(path)
        elif isinstance(value, Mapping):
            for name, item in value.items():
                look(item, (*path, name))
        elif isinstance(value, (tuple, list)):
            for index, item in enumerate(value):
                look(item, (*path, index))

    look(inputs, ())
    return frozenset(found)


def _is_example(item: Any) -> bool:
    if isinstance(item, Tensor):
        return item.dim() == 3
    return isinstance(item, Mapping) and any(isinstance(value, Tensor) for value in item.values())


def _in(path: Path, lists: frozenset[Path]) -> bool:
    """Whether a value lies inside one of the lists."""
    return any(path[: len(each)] == each for each in lists)


def _at(inputs: Any, path: Path) -> Any:
    for key in path:
        inputs = inputs[key] if isinstance(inputs, (Mapping, tuple, list)) else getattr(inputs, key)
    return inputs


def _lists_changed(
    value: Any, lists: frozenset[Path], change: Callable[[Path, list[Any]], list[Any]], path: Path = ()
) -> Any:
    """Change the lists that hold examples, and nothing else."""
    if path in lists:
        return change(path, value)
    if not any(each[: len(path)] == path for each in lists):
        return value
    if isinstance(value, Mapping):
        return {name: _lists_changed(item, lists, change, (*path, name)) for name, item in value.items()}
    items = [_lists_changed(item, lists, change, (*path, index)) for index, item in enumerate(value)]
    return items if isinstance(value, list) else tuple(items)


def sorted_keys(inputs: Any) -> str:
    """How inputs are wrapped, in a few words."""
    if isinstance(inputs, Mapping):
        return f"a dictionary of {', '.join(map(str, inputs))}"
    if isinstance(inputs, (tuple, list)):
        return f"{len(inputs)} arguments"
    return type(inputs).__name__
