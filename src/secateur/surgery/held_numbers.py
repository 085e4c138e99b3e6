"""Sizes that modules hold as Python numbers, and what they are once channels are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn


@dataclass(frozen=True)
class Number:
    """A size that a module holds as a Python number, and what it is at any widths of the groups.

    Attributes:
        module: dotted name.
        attribute: of the module: an integer, or a tuple or list of them.
        index: of the item, where the attribute is a tuple or list; None where it is the integer itself.
        each: (group, what one of its channels adds), once for each group that has a share.
        rest: what no group adds.
    """

    module: str
    attribute: str
    index: int | None
    each: tuple[tuple[str, int], ...]
    rest: int = 0

    def value(self, widths: Mapping[str, int]) -> int:
        """Add up the number at these widths of the groups: `rest + sum(each * width)`."""
        return self.rest + sum(adds * widths[name] for name, adds in self.each)

    def set(self, model: nn.Module, widths: Mapping[str, int]) -> None:
        """Write the number into the module; a list or tuple is replaced, as others may hold the same one."""
        module, value = model.get_submodule(self.module), self.value(widths)
        if self.index is not None:
            held = getattr(module, self.attribute)
            items = [*held[: self.index], value, *held[self.index + 1 :]]
            setattr(module, self.attribute, type(held)(items))
        else:
            setattr(module, self.attribute, value)

    def without(self, frozen: Mapping[str, int]) -> Number:
        """Make the number of a graph in which some groups (name -> width) stay as they are."""
        rest = self.rest + sum(adds * frozen[name] for name, adds in self.each if name in frozen)
        return replace(self, each=tuple(pair for pair in self.each if pair[0] not in frozen), rest=rest)

    def united(self, first: str, others: Sequence[str]) -> Number:
        """Make the number of a graph in which groups are merged into the first of them."""
        merged: dict[str, int] = {}
        for name, adds in self.each:
            name = first if name in others else name
            merged[name] = merged.get(name, 0) + adds
        return replace(self, each=tuple(merged.items()))

    def in_sets(self, name: str, size: int) -> Number:
        """Make the number of a graph in which each channel of a group is `size` of the present ones."""
        return replace(self, each=tuple((n, adds * size if n == name else adds) for n, adds in self.each))
