"""Residual blocks that can go as a whole: found by shapes and by what they do without weights, and proved.

A block is a module that is called once, takes a tensor and gives one of the same shape, and, where all its
matrices are zero, hands on what it takes: x + f(x) with f = 0. In its place comes `Skip`, which always does.
Where blocks lie in each other (the attention half of a BERT layer), the outer one counts; of what only holds
several, they do.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.network.inputs import Inputs, call, on_device, take_first
from secateur.network.modes import in_evaluation
from secateur.network.run_errors import RUN_ERRORS
from secateur.surgery.agreement import agree
from secateur.surgery.bench import Bench
from secateur.surgery.cutting import CHANNELWISE
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.lively import randomized
from secateur.surgery.optimizer_state import Optimizers, listed

TENSOR = 0
"""In place of a length: a block gives a tensor, and no tuple."""


class Skip(nn.Module):
    """Hands on the first thing that it is given.

    Args:
        length: of the tuple that the block gave, of which all but the first item are None; `TENSOR`: none.
    """

    def __init__(self, length: int = TENSOR):
        super().__init__()
        self.length = length

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else next(iter(kwargs.values()))
        return x if self.length == TENSOR else (x, *[None] * (self.length - 1))

    def extra_repr(self) -> str:
        return "" if self.length == TENSOR else f"length={self.length}"


@dataclass(frozen=True)
class Block:
    """A block that can go.

    Attributes:
        name: of the module.
        length: of the tuple that it gives; `TENSOR`: it gives a tensor.
        groups: channel groups that lie in it altogether: they go with it.
    """

    name: str
    length: int
    groups: tuple[str, ...]


@dataclass
class _Seen:
    """How a module was called."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    length: int | None
    calls: int = 1

    @property
    def x(self) -> Any:
        return self.args[0] if self.args else next(iter(self.kwargs.values()), None)


@torch.no_grad()
def blocks_of(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> list[Block]:
    """Find the blocks of an uncut network that can go, each proved; in network order.

    The proof: a copy with random weights in which `Skip` is in the block's place gives what the whole copy
    gives in which the block's output is replaced by its input, and that is not what it gives with the block.
    """
    few = take_first(on_device(inputs, model), 2)
    lively = in_evaluation(randomized(model, torch.Generator().manual_seed(0)))
    bench = Bench.of(lively, torch.float64, [few])
    found = []
    for name, length in _residual(model, few).items():
        groups = tuple(
            group.name for group in graph if all(_inside(site.axis[0], name) for site in group.sites)
        )
        block = Block(name, length, groups)
        if groups and _proved(bench, block):
            found.append(block)
    return found


def _proved(bench: Bench, block: Block) -> bool:
    """Whether the network without the block is the one that hands on its input, and another than with it."""
    batch = bench.batches[0]
    short = copy.deepcopy(bench.model)
    skip(short, {block.name: block.length})
    handed = bench.model.get_submodule(block.name).register_forward_hook(_handing_on, with_kwargs=True)
    try:
        expected = bench.outputs(bench.model, batch)
    except RUN_ERRORS:
        return False
    finally:
        handed.remove()
    with_it = bench.outputs(bench.model, batch)
    try:
        return agree(bench.outputs(short, batch), expected, bench.tolerance) and not agree(
            expected, with_it, bench.tolerance
        )
    except RUN_ERRORS:
        return False


def _handing_on(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    x = args[0] if args else next(iter(kwargs.values()))
    return x if isinstance(output, Tensor) else (x, *output[1:])


@torch.no_grad()
def _residual(model: nn.Module, inputs: Inputs) -> dict[str, int]:
    """Find modules that hand on what they take where their matrices are zero: name -> length (`Skip`)."""
    plain = in_evaluation(copied(model))
    for module in plain.modules():
        if isinstance(module, CHANNELWISE):
            _reset(module)
    seen = _calls(plain, inputs)
    once = {name: call for name, call in seen.items() if call.calls == 1 and call.length is not None and name}
    found = [name for name, call in once.items() if _hands_on(plain.get_submodule(name), call)]
    return {name: length for name in _chosen(found) if (length := once[name].length) is not None}


def _reset(module: nn.Module) -> None:
    """Have a normalisation scale by 1 and shift by 0: then what is normalised already stays as it is."""
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        if isinstance(getattr(module, name, None), Tensor) and not isinstance(module, nn.PReLU):
            getattr(module, name).fill_(value)
    if isinstance(module, _NormBase):
        module.reset_running_stats()


def _calls(model: nn.Module, inputs: Inputs) -> dict[str, _Seen]:
    """Note how every module with layers in it is called, as the model runs."""
    seen: dict[str, _Seen] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if name in seen:
                seen[name].calls += 1
            else:
                seen[name] = _Seen(args, dict(kwargs), None)
                seen[name].length = _length(seen[name].x, output)

        return hook

    hooks = [
        module.register_forward_hook(note(name), with_kwargs=True)
        for name, module in model.named_modules()
        if any(parameter.dim() > 1 for parameter in module.parameters())
    ]
    try:
        call(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _length(x: Any, output: Any) -> int | None:
    """The length of what a module gives, if it is of the shape of what it takes; None: it is not."""
    length = TENSOR
    if isinstance(output, tuple) and output and all(item is None for item in output[1:]):
        output, length = output[0], len(output)
    if not isinstance(x, Tensor) or not isinstance(output, Tensor) or not x.is_floating_point():
        return None
    return length if x.shape == output.shape and x.dtype == output.dtype and x.dim() > 1 else None


def _hands_on(module: nn.Module, seen: _Seen) -> bool:
    """Whether a module gives what it takes where its matrices are zero. The module is changed."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for layer in module.modules():
        values = dict(layer.named_parameters(recurse=False))
        if any(value.dim() > 1 for value in values.values()) or isinstance(layer, nn.PReLU):
            for value in values.values():
                value.zero_()
    try:
        output = module(*seen.args, **seen.kwargs)
    except RUN_ERRORS:
        return False
    finally:
        module.load_state_dict(before)
    given = output if isinstance(output, Tensor) else output[0]
    largest = float(seen.x.abs().max())
    return largest > 0 and float((given - seen.x).abs().max()) <= 1e-3 * largest


def _chosen(names: Sequence[str]) -> Iterator[str]:
    """Of blocks that lie in each other, the outer ones; in place of one that holds several, these."""

    def parts(name: str) -> list[str]:
        inner = [other for other in names if other != name and _inside(other, name)]
        return [one for one in inner if not any(one != other and _inside(one, other) for other in inner)]

    def whole(name: str) -> Iterator[str]:
        inside = parts(name)
        if len(inside) < 2:
            yield name
        else:
            for one in inside:
                yield from whole(one)

    for name in names:
        if not any(other != name and _inside(name, other) for other in names):
            yield from whole(name)


def _inside(module: str, block: str) -> bool:
    return module == block or module.startswith(f"{block}.")


def skip(model: nn.Module, gone: Mapping[str, int], optimizers: Optimizers = None) -> None:
    """Put `Skip` in the place of blocks; their parameters leave the optimizers.

    Args:
        gone: block -> the length of what it gives. Those that are gone already are left alone.

    Raises:
        InputError: where there is no such module.
    """
    for name, length in gone.items():
        try:
            there = model.get_submodule(name)
        except AttributeError:
            raise InputError(f"{type(model).__name__} has no block '{name}' that could be gone") from None
        if not isinstance(there, Skip):
            model.set_submodule(name, Skip(length))
    left = {id(parameter) for parameter in model.parameters()}
    for optimizer in listed(optimizers):
        for param_group in optimizer.param_groups:
            param_group["params"] = [p for p in param_group["params"] if id(p) in left]
        for parameter in [p for p in optimizer.state if id(p) not in left]:
            del optimizer.state[parameter]


def without_blocks(graph: ChannelGraph, blocks: Sequence[Block]) -> ChannelGraph:
    """Make the graph of a network without some blocks, cut as far as it is."""
    gone = {name for block in blocks for name in block.groups}

    def stays(module: str) -> bool:
        return not any(_inside(module, block.name) for block in blocks)

    groups = {
        name: replace(group, sites=tuple(site for site in group.sites if stays(site.axis[0])))
        for name, group in graph.groups.items()
        if name not in gone
    }
    axes = {site.axis for group in groups.values() for site in group.sites}
    return replace(
        graph,
        groups=groups,
        kept={name: list(graph.kept[name]) for name in groups},
        _left={axis: left for axis, left in graph._left.items() if axis in axes},
        numbers=tuple(number for number in graph.numbers if stays(number.module)),
        over_kept={name: dim for name, dim in graph.over_kept.items() if stays(name)},
    )


def shortened(build: Callable[..., nn.Module], gone: Mapping[str, int]) -> Callable[..., nn.Module]:
    """Make a factory of the network without blocks; the same one where none is gone."""
    if not gone:
        return build

    def build_shorter(*args: Any, **kwargs: Any) -> nn.Module:
        model = build(*args, **kwargs)
        skip(model, gone)
        return model

    return build_shorter
