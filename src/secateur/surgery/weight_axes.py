"""Whose weight an operator uses: which parameter, through which views of it, and along which of its axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from secateur.surgery.actions import Action
from secateur.surgery.cutting import Axis
from secateur.surgery.dependence import Dependence
from secateur.surgery.statics import Tape, entries_of_view


class WeightAxes(Dependence):
    """Ties what operators read and write along to the axes of the parameters that they use.

    An axis of an operator is `("#7", "in")`, by its number; where a layer's own weight is used as it is, the
    operator is known by the layer's axes, `("conv1", "in")`.

    Attributes:
        actions: number of an operator, in the order of the run -> what later runs do there.
        ties: axes of parameters and entries of them, that lie at entries of other axes.
        roles: axes of parameters that are read or written at as layers are.
        watched_roles: the same of axes that are followed by replays.
        made: axes that are no module's -> the module whose operator it is of.
        order: modules with a weight, as they come.
    """

    def __init__(
        self,
        model: nn.Module,
        tape: Tape,
        examples: int,
        prefix: str,
        owners: dict[int, list[tuple[str, nn.Module, str]]],
        axis_of: Callable[[str, nn.Module, str, int], Axis | None],
        computed: list[str],
    ):
        super().__init__(model, examples)
        self.computed = set(computed)
        self.tape, self.prefix, self.owners, self.axis_of = tape, prefix, owners, axis_of
        self.actions: dict[int, tuple[str, Action]] = {}
        self.ties: list[tuple[Axis, Tensor, Axis, Tensor]] = []
        self.roles: dict[Axis, set[str]] = {}
        self.watched_roles: dict[Axis, str] = {}
        self.made: dict[Axis, str] = {}
        self.order: dict[str, None] = {}

    def written_by(self, own: Axis) -> list[Axis]:
        """The axes on which a parameter's axis writes: itself, or those of operators."""
        return [own, *(other for axis, _, other, _ in self.ties if axis == own)]

    @property
    def within(self) -> str:
        """The innermost module at present, by its dotted name."""
        return self._inside[-1] if self._inside else ""

    def _axes(self, index: int) -> tuple[Axis, Axis]:
        name = f"{self.prefix}{index}"
        self.made[name, "in"] = self.made[name, "out"] = self.where
        return (name, "in"), (name, "out")

    def _direct(self, weight: Tensor) -> tuple[str | None, dict[int, tuple[Axis, Tensor]]] | None:
        """What a view of a parameter shows of it, by dimension; the layer's name where it is torch's."""
        own = self.tape.own(weight)
        shown = None if own is None else entries_of_view(weight, own)
        if own is None or shown is None:
            return None
        name, module, attribute = self._owner(own)
        found = {}
        for dim, (at, entries) in shown.items():
            axis = self.axis_of(name, module, attribute, at)
            if axis is not None:
                found[dim] = (axis, entries)
        stock = isinstance(module, (_ConvNd, nn.Linear)) and attribute == "weight"
        return (name if stock else None), found

    def _owner(self, own: Tensor) -> tuple[str, nn.Module, str]:
        """The module that holds a parameter: the one that runs, or else the first that was registered."""
        owners = self.owners[id(own)]
        return next((each for each in owners if each[0] == self.within), owners[0])

    def _weight(
        self, weight: Tensor, places: dict[int, tuple[Axis, int]], action: Any, mixes: bool = True
    ) -> bool:
        """Tie a weight's dimensions to the axes read and written; give the action a stock layer's own axes.

        Args:
            places: dimension of the weight -> (axis, how many times it lies behind itself along that).

        Returns:
            Whether the axes are a layer's.
        """
        direct, parameter = self._direct(weight), self.tape.own(weight)
        if direct is None and self._same_sizes(weight):
            self._as_layer(self.within, action)
            for dim, (axis, times) in places.items() if self.tape.bits(weight) else ():
                role = "write" if axis[1] == "out" else "read"
                self._look(weight, dim, (self.within, axis[1]), times, role if mixes else "")
            return True
        name, shown = direct if direct is not None else (None, {})
        if name is not None and parameter is not None:
            same = all(
                dim in shown and shown[dim][0] == (name, axis[1])
                for dim, (axis, _) in places.items()
                if weight.shape[dim] > 1
            )
            if same and parameter.numel() == weight.numel():
                self._as_layer(name, action)
                return True
        self.order.setdefault(self.within if parameter is None else self._owner(parameter)[0])
        for dim, (axis, times) in places.items():
            role = "write" if axis[1] == "out" else "read"
            self._look(weight, dim, axis, times, role if mixes else "")
        return False

    def _as_layer(self, name: str, action: Any) -> None:
        self.order.setdefault(name)
        action.writes = (name, "out")
        if hasattr(action, "reads"):
            action.reads = (name, "in")

    def _same_sizes(self, weight: Tensor) -> bool:
        """Whether a computed weight is of the shape of the one that the layer at work has."""
        layer = self.model.get_submodule(self.within)
        if not isinstance(layer, (_ConvNd, nn.Linear)):
            return False
        with self.apart():
            return self.within in self.computed or sorted(layer.weight.shape) == sorted(weight.shape)

    def _added(self, bias: Tensor | None, writes: Axis, size: int) -> None:
        if bias is not None and not self.dynamic(bias) and bias.dim() and bias.shape[-1] == size:
            self._look(bias, bias.dim() - 1, writes)

    def _look(self, tensor: Tensor, dim: int, axis: Axis, times: int = 1, role: str = "") -> bool:
        """Tie one dimension of what is made of parameters to an axis; by what it shows, or by replays."""
        size = tensor.shape[dim]
        self.sizes.setdefault(axis, size * times)
        direct = self._direct(tensor)
        if direct is not None and dim in direct[1]:
            own, entries = direct[1][dim]
            if own != axis:
                self.ties.append((own, entries.repeat(times), axis, torch.arange(size * times)))
                if role:
                    self.roles.setdefault(own, set()).add(role)
            return True
        if direct is None and self.tape.bits(tensor):
            see = along(dim)
            self.tape.watch(tensor, axis, lambda mask: see(mask).repeat(times), dim)
            if role:
                self.watched_roles[axis] = role
            return True
        return False


def along(dim: int) -> Callable[[Tensor], Tensor]:
    """Look at a mask along one of its dimensions."""
    return lambda mask: mask.movedim(dim, 0).flatten(1).any(1) if mask.dim() > 1 else mask
