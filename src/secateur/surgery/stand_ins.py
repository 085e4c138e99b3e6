"""What stands in place of layers in a probe: observers where channels pass on, sources for recurrent ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.cutting import CHANNELWISE, out_size
from secateur.surgery.equivariance import may_normalise, normalised_dim
from secateur.surgery.marker import Marker
from secateur.surgery.recorder import Recorder

MADE_OVER = "#over"


class StandIns:
    """Layers of a model that are not run as they are while marks pass.

    Attributes:
        active: the run that goes on.
        channelwise: normalisations and the like, which pass channels on.
        recurrent: recurrent layers, which are sources of all their units.
        over_kept: module -> the dimension along which it normalises by hand.
    """

    active: Recorder | Marker

    def __init__(self, model: nn.Module):
        self.model = model
        self.channelwise = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(module, CHANNELWISE) and out_size(module)
        }
        self.recurrent = {
            name: module for name, module in self.model.named_modules() if isinstance(module, nn.RNNBase)
        }
        self.dims: dict[str, int] = {}  # the channel dimension of what a channelwise layer is given
        self.over_kept: dict[str, int] = {}

    @contextmanager
    def stubs(self) -> Iterator[None]:
        """Put observers in place of layers that pass channels on, and sources in place of recurrent ones."""
        stubs: dict[nn.Module, Callable[..., Any]] = {}
        for name, module in self.channelwise.items():
            stubs[module] = self._observer(name, module)
        for name, module in self.recurrent.items():
            stubs[module] = self._recurrent(name, module)
        recording = isinstance(self.active, Recorder)
        if recording:
            self.over_kept = {}
        for name, module in self.model.named_modules():
            if name and name in self.over_kept:
                stubs[module] = self._normaliser(name)
            elif name and recording and may_normalise(module):
                stubs[module] = self._tried(name, module, module.__dict__.get("forward", module.forward))
        for module, stub in stubs.items():
            module.forward = stub  # type: ignore[method-assign]
        try:
            yield
        finally:
            for module in stubs:
                module.__dict__.pop("forward", None)

    def _observer(self, name: str, module: nn.Module) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            if name not in self.dims:
                with self.active.apart():
                    self.dims[name] = channel_dim(module, torch.randn(x.shape).to(x))
            dim = self.dims[name]
            if x.shape[dim] == out_size(module):  # without weights it takes other widths too
                self.active.observe((name, "out"), x, dim)
            return x.clone()

        return forward

    def _normaliser(self, name: str) -> Callable[..., Tensor]:
        def forward(x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
            self.active.observe((name, MADE_OVER), x, self.over_kept[name])
            return x.clone()

        return forward

    def _tried(self, name: str, module: nn.Module, plain: Callable[..., Any]) -> Callable[..., Any]:
        """A module that may turn out to be a normalisation when it is called first."""
        tried: list[int | None] = []

        def forward(*args: Any, **kwargs: Any) -> Any:
            x = args[0] if args and isinstance(args[0], Tensor) and args[0].is_floating_point() else None
            if not tried:
                with self.active.apart():
                    try:
                        dim = normalised_dim(module, x) if x is not None else None
                    except RUN_ERRORS:
                        dim = None
                tried.append(dim)
                if dim is not None:
                    self.over_kept[name] = dim
            if tried[0] is None or x is None:
                return plain(*args, **kwargs)
            return self._normaliser(name)(x)

        return forward

    def _recurrent(self, name: str, module: nn.RNNBase) -> Callable[..., Any]:
        """A recurrent layer as one source: its units, of all layers and directions."""
        layers, ways = module.num_layers, 2 if module.bidirectional else 1
        units = module.proj_size or module.hidden_size

        def forward(x: Any, state: Any = None) -> Any:
            data = x.data if isinstance(x, PackedSequence) else x
            self.active.observe((name, "#in"), data, -1)
            for given in state if isinstance(state, tuple) else [state]:
                if given is not None and given.shape[-1] == module.hidden_size:
                    self.active.observe((name, "#state"), given, -1)
            shape: tuple[int, ...] = (*data.shape[:-1], ways * units)
            hidden: tuple[int, ...] = (layers * ways, units)
            at = -1
            if isinstance(x, PackedSequence):
                hidden, at = (layers * ways, int(x.batch_sizes[0]), units), 1
            elif data.dim() == 3:
                hidden, at = (layers * ways, data.shape[0 if module.batch_first else 1], units), 1
            cell = (*hidden[:-1], module.hidden_size)
            shapes, places = [shape, hidden], [(-1, ways), (at, 1)]
            if isinstance(module, nn.LSTM) and not module.proj_size:
                shapes, places = [*shapes, cell], [*places, (at, 1)]
            made = self.active.emit((name, "#units"), units, data, shapes, places)
            y: Any = made[0]
            if isinstance(x, PackedSequence):
                y = PackedSequence(y, x.batch_sizes, x.sorted_indices, x.unsorted_indices)
            if isinstance(module, nn.LSTM):
                return y, (made[1], made[-1] if not module.proj_size else made[1].new_zeros(cell))
            return y, made[1]

        return forward


def channel_dim(module: nn.Module, x: Tensor) -> int:
    """Find along which dimension of `x` a channelwise layer's channels lie.

    A layer norm may permute in its own forward (ConvNeXt's): there it is where a changed weight shows.
    """
    if not isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return 1
    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward) or module.weight is None:
        return -1
    probe = copy.deepcopy(module)
    probe.__dict__.pop("forward", None)
    with torch.no_grad():
        before = probe.forward(x)  # past the hooks, which the copy has too
        probe.weight[0] += 1
        changed = probe.forward(x) != before
    for dim in range(1, x.dim()):
        where = changed.movedim(dim, 0).flatten(1).any(1)
        if len(where) == len(module.weight) and where[0] and not where[1:].any():
            return dim
    return -1
