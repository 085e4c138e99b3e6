"""How a model runs in one mode: which layers it calls, what they give, and where examples lie in that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from secateur.network.examples import Examples
from secateur.network.inputs import Inputs, call, output_tensors, tile


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        shape: of what it gave for 2 examples (of all at once, where they cannot be told apart).
        along: the dimension that grew with a third example; None where the layer works on what they share.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    along: int | None = None

    def shape_for(self, examples: int) -> list[int]:
        """The shape for another number of examples."""
        shape = list(self.shape)
        if self.along is not None:
            shape[self.along] = shape[self.along] // 2 * examples
        return shape


@dataclass
class Recorded:
    """A mode, and how the model runs in it.

    Attributes:
        training: whether it is the quiet training mode (`secateur.surgery.quiet`).
        flags: every module's own flag.
        calls: of every layer that mixes, in the order of first calls.
        at_once: whether marks of many examples in one batch can be told from each other at every layer:
            examples lie along the first dimension of what all of them give, and do not mix.
        outputs_apart: whether that holds for all outputs, too.
    """

    training: bool
    flags: list[tuple[nn.Module, bool]]
    calls: dict[str, list[Call]] = field(default_factory=dict)
    at_once: bool = True
    outputs_apart: bool = True

    def set(self) -> None:
        """Put the model into this mode."""
        for module, flag in self.flags:
            module.training = flag

    def record(
        self,
        model: nn.Module,
        inputs: Inputs,
        mixers: Mapping[str, nn.Module],
        before: Callable[[], Any],
    ) -> None:
        """Run plainly with 2 and with 3 examples, and note the shapes.

        Args:
            before: a context in which the first of both is run.
        """
        self.set()
        runs: list[dict[str, list[Call]]] = []
        outputs: list[list[Tensor]] = []
        for examples in (2, 3):
            found: dict[str, list[Call]] = {}
            with _noted(mixers, found), before():
                outputs.append(output_tensors(call(model, tile(inputs, examples))))
            runs.append(found)
        self.calls = runs[0]
        for name, calls in self.calls.items():
            for made, other in zip(calls, runs[1].get(name, []), strict=False):
                made.along = _grown(made.shape, other.shape)
        every = [made.along for calls in self.calls.values() for made in calls]
        self.at_once = Examples.by_shape(inputs).first_everywhere and all(along == 0 for along in every)
        shapes = zip(*([tuple(tensor.shape) for tensor in each] for each in outputs), strict=False)
        self.outputs_apart = all(_grown(one, other) == 0 for one, other in shapes)


def _grown(two: tuple[int, ...], three: tuple[int, ...]) -> int | None:
    """Find the dimension that is half as long again."""
    if len(two) != len(three):
        return None
    return next(
        (dim for dim, (a, b) in enumerate(zip(two, three, strict=True)) if a * 3 == b * 2 and a), None
    )


@contextmanager
def _noted(mixers: Mapping[str, nn.Module], found: dict[str, list[Call]]) -> Iterator[None]:
    def note(name: str) -> Callable[..., None]:
        def noted(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found.setdefault(name, []).append(Call(tuple(output.shape), output.dtype))

        return noted

    hooks = [module.register_forward_hook(note(name)) for name, module in mixers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
