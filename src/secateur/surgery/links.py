"""Which entries of which axes hang together, and the ties that follow from the kinds of layers alone."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.cutting import (
    CHANNELWISE,
    Axis,
    in_size,
    is_transposed,
    out_size,
    passes_on,
    whole_groups,
)
from secateur.surgery.probe import OUTPUT, Probe


class Links:
    """Holds which entries of which axes hang together: a union-find over all of them.

    Attributes:
        start: axis -> the number of its first entry among those of all axes.
        sizes: axis -> how many entries it has.
        parent: entry -> one that it hangs together with, itself where it is the root.
    """

    def __init__(self, probe: Probe):
        self.start: dict[Axis, int] = {}
        self.sizes: dict[Axis, int] = {}
        self.parent: list[int] = []
        self._add(OUTPUT, 1)
        for name in probe.order:
            self._add((name, "out"), out_size(probe.mixers[name]))
            self._add((name, "in"), in_size(probe.mixers[name]))
        for name, module in probe.channelwise.items():
            self._add((name, "out"), out_size(module))
        for axis, value in probe.parameters().items():
            self._add(axis, value.shape[int(axis[1].partition("@")[2])])

    def _add(self, axis: Axis, size: int) -> None:
        self.start[axis], self.sizes[axis] = len(self.parent), size
        self.parent.extend(range(len(self.parent), len(self.parent) + size))

    def find(self, node: int) -> int:
        """Find the root of what hangs together with an entry."""
        while self.parent[node] != node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def tie(self, one: Axis, i: int, other: Axis, j: int) -> None:
        """Tie entry `i` of one axis to entry `j` of another."""
        a, b = self.find(self.start[one] + i), self.find(self.start[other] + j)
        self.parent[max(a, b)] = min(a, b)

    def tie_all(self, one: Axis, other: Axis, j: int) -> None:
        """Tie every entry of one axis to entry `j` of another."""
        for i in range(self.sizes[one]):
            self.tie(one, i, other, j)

    def components(self) -> dict[int, dict[Axis, list[int]]]:
        """Map each root to the entries of every axis that hang together."""
        found: dict[int, dict[Axis, list[int]]] = {}
        for axis, start in self.start.items():
            for entry in range(self.sizes[axis]):
                found.setdefault(self.find(start + entry), {}).setdefault(axis, []).append(entry)
        return found


def tie_grouped(probe: Probe, links: Links) -> None:
    """Tie what a grouped layer can only lose at once: the same offset of every group, or whole groups."""
    for name in probe.order:
        layer = probe.mixers[name]
        if isinstance(layer, _ConvNd) and layer.groups > 1:
            if passes_on(layer):
                _tie_rows(links, (name, "in"), layer.groups)
                _tie_rows(links, (name, "out"), layer.groups)
                each_in, each_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
                for group in range(layer.groups):
                    links.tie((name, "in"), group * each_in, (name, "out"), group * each_out)
            else:
                _tie_offsets(links, (name, "in"), layer.groups)
                _tie_offsets(links, (name, "out"), layer.groups)
    for name, module in probe.channelwise.items():
        if isinstance(module, nn.GroupNorm) and module.num_groups > 1:
            tie = _tie_rows if whole_groups(module) else _tie_offsets
            tie(links, (name, "out"), module.num_groups)
    for name in probe.computed:
        kinds = [kind for kind in ("in", "out") if (name, kind) in links.start]
        for kind in kinds:
            links.tie_all((name, kind), (name, kinds[0]), 0)
    _tie_shared(probe, links)


def _tie_rows(links: Links, axis: Axis, groups: int) -> None:
    each = links.sizes[axis] // groups
    for entry in range(links.sizes[axis]):
        links.tie(axis, entry, axis, entry // each * each)


def _tie_offsets(links: Links, axis: Axis, groups: int) -> None:
    each = links.sizes[axis] // groups
    for entry in range(links.sizes[axis]):
        links.tie(axis, entry, axis, entry % each)


def _tie_shared(probe: Probe, links: Links) -> None:
    """Tie the axes of modules that share a parameter or a buffer: they lose the same of its entries."""
    first: dict[tuple[int, int], Axis] = {}
    for name, module in probe.model.named_modules(remove_duplicate=False):
        for own, value in (*module._parameters.items(), *module._buffers.items()):
            for dim in range(value.dim() if value is not None else 0):
                axis = _axis_along(name, module, own, dim)
                if axis not in links.start or links.sizes[axis] != value.shape[dim]:
                    continue
                owner = first.setdefault((id(value), dim), axis)
                for entry in range(links.sizes[axis] if owner != axis else 0):
                    links.tie(axis, entry, owner, entry)


def _axis_along(name: str, module: nn.Module, own: str, dim: int) -> Axis:
    """Find the axis that a dimension of a module's parameter or buffer follows."""
    if isinstance(module, (_ConvNd, nn.Linear)):
        writes = dim == 0 if own == "bias" or not is_transposed(module) else dim == 1
        return (name, "out" if writes else "in")
    return (name, "out" if isinstance(module, CHANNELWISE) else f"{own}@{dim}")
