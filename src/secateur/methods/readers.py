"""What reads channels, watched: what it read in a forward pass, and the gradient of that.

A layer shows in its input what it reads. So does any other module that reads channels by a parameter of
its own (an attention, a `Conv1D` of transformers): in each input that has a dimension of as many entries.
Where no input shows it (an attention uses the weight of a layer that it does not call, a recurrent layer
reads what it wrote itself) the gradient of the weight is known, and with it the sum over the batch:

    sum_n g_nk = - N * sum_o w_ok * dL/dw_ok
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from secateur.errors import InputError
from secateur.network.examples import Examples
from secateur.network.inputs import input_tensors
from secateur.surgery.along import along, parameter_along
from secateur.surgery.anatomy import Anatomy
from secateur.surgery.cutting import Axis, axis_size


@dataclass
class Pass:
    """One forward pass in training, and what came back of it.

    Attributes:
        examples: N.
        along: the dimension of the inputs along which they lie.
        gradients: g, reader -> (N, entries).
        reads: reader -> what it read and the gradient of that, (rows, entries, ...), once for every call;
            only for criteria that want them so.
        called: the readers whose inputs were seen.
    """

    examples: int
    along: int = 0
    gradients: dict[str, Tensor] = field(default_factory=dict)
    reads: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)

    def unscaled(self, scale: float) -> Pass:
        """The same where the loss was not multiplied by `scale`."""
        if scale == 1:
            return self
        gradients = {name: g / scale for name, g in self.gradients.items()}
        reads = {
            name: [(act, grad.to(torch.promote_types(grad.dtype, torch.float32)) / scale) for act, grad in of]
            for name, of in self.reads.items()
        }
        return Pass(self.examples, self.along, gradients, reads, self.called)


def label(axis: Axis) -> str:
    """Name what reads: the layer, or a module and which of its parameters."""
    return axis[0] if axis[1] == "in" else f"{axis[0]}.{axis[1]}"


@dataclass
class Readers:
    """Watches what reads the channels of a network.

    Attributes:
        model: the network.
        axes: along which channels are read.
        current: gives the pass that is under way; None: nobody is interested.
        note: is given the pass, the reader, what it read, the gradient of that, and how many entries it has:
            channels lie along dimension 1 of both tensors.
        note_sum: is given the pass, the reader, and -sum_o w_ok * dL/dw_ok, (entries,).
    """

    model: nn.Module
    axes: list[Axis]
    current: Callable[[], Pass | None]
    note: Callable[[Pass, str, Tensor, Tensor, int], None]
    note_sum: Callable[[Pass, str, Tensor], None]

    def attach(self, *, weights: bool) -> list[RemovableHandle]:
        """Put the hooks on.

        Args:
            weights: of weights too, which networks need whose layers are not all called.
        """
        hooks = []
        for axis in self.axes:
            layer = self.model.get_submodule(axis[0])
            if axis[1] == "in":
                hooks.append(layer.register_forward_pre_hook(self._of_layer(axis)))
            else:
                hooks.append(layer.register_forward_pre_hook(self._of_module(axis), with_kwargs=True))
            parameter = parameter_along(self.model, axis) if weights else None
            if parameter is not None and parameter.requires_grad:
                hooks.append(parameter.register_hook(self._of_weight(axis)))
        return hooks

    def _wanted(self) -> Pass | None:
        return self.current() if torch.is_grad_enabled() else None

    def _of_layer(self, axis: Axis) -> Any:
        def read(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...] | None:
            seen = self._wanted()
            if seen is None:
                return None
            _check_batched(layer, axis, inputs[0])
            dim = -1 if isinstance(layer, nn.Linear) else 1
            return (self._seen(seen, axis, inputs[0], dim), *inputs[1:])

        return read

    def _of_module(self, axis: Axis) -> Any:
        def read(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            seen = self._wanted()
            if seen is None:
                return None
            size, own = axis_size(self.model, axis), dict[int, Tensor]()

            def viewed(value: Any) -> Any:  # of one that is given twice (queries and keys), one view
                dim = _dim_of(value, size)
                if dim is None:
                    return value
                if id(value) not in own:
                    own[id(value)] = self._seen(seen, axis, value, dim)
                return own[id(value)]

            return tuple(map(viewed, args)), {name: viewed(value) for name, value in kwargs.items()}

        return read

    def _seen(self, seen: Pass, axis: Axis, act: Tensor, dim: int) -> Tensor:
        """What is read, as a view of its own: the gradient of `act` is what all feel that read it."""
        own = act.view_as(act)
        if not own.requires_grad:  # the layers before it are frozen
            own.requires_grad_()
        values = act.detach()  # without its graph, or the hook would keep itself alive
        name, size = label(axis), axis_size(self.model, axis)
        seen.called.add(name)

        def felt(grad: Tensor) -> None:
            read, came = values, grad
            if seen.along and dim == -1:
                read, came = (by_example(each, seen.examples, seen.along) for each in (read, came))
            self.note(seen, name, read.movedim(dim, 1), came.movedim(dim, 1), size)

        own.register_hook(felt)
        return own

    def _of_weight(self, axis: Axis) -> Any:
        def felt(grad: Tensor) -> None:
            seen, name = self.current(), label(axis)
            if seen is None or name in seen.called or grad.is_sparse:
                return
            values, grads = along(self.model, axis).detach(), along(self.model, axis, grad)
            kind = torch.promote_types(values.dtype, torch.float32)
            self.note_sum(seen, name, -(values.to(kind) * grads.to(kind)).flatten(1).sum(1))

        return felt


def _check_batched(layer: nn.Module, axis: Axis, act: Tensor) -> None:
    """InputError where a layer is called with one example by itself."""
    least = 2 if isinstance(layer, nn.Linear) else len(getattr(layer, "kernel_size", ())) + 2
    if act.dim() < least:
        raise InputError(
            f"gradients are looked at example by example, in batches, and {axis[0]} is called with one "
            f"example alone, {tuple(act.shape)}: choose method='filter-norm', or have it run on batches"
        )


def _dim_of(value: Any, size: int) -> int | None:
    """Along which dimension of an input channels lie: the last, or else the second; None: there are none."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() < 2:
        return None
    return next((dim for dim in (-1, 1) if value.shape[dim] == size), None)


def examples_in(anatomy: Anatomy, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int]:
    """Count the examples that a network is called with, and find along which dimension they lie there."""
    known = anatomy.inputs
    if not isinstance(known, Examples) or known.first_everywhere:
        return len(input_tensors((*args, dict(kwargs)))[0]), 0
    found = anatomy.examples_called(args, kwargs)
    return found.count, next(iter(found.dims.values()), 0)


def by_example(x: Tensor, examples: int, along: int) -> Tensor:
    """Bring the examples of what a linear layer reads to the first dimension, from that of the inputs.

    Example:
        >>> by_example(torch.zeros(7, 4, 6), 4, along=1).shape  # (time, batch, features)
        torch.Size([4, 7, 6])
    """
    if x.dim() > along + 1 and x.shape[along] == examples:
        return x.movedim(along, 0)
    if len(x) % examples or len(x) == examples:
        return x
    return x.unflatten(0, (-1, examples)).transpose(0, 1).flatten(0, 1)  # positions of all examples in turn
