"""The inputs of an export: tensors by name, in their order, and what else the network is called with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.errors import InputError
from secateur.network.examples import Examples
from secateur.network.wrapped import Path, changed, leaves

Inputs = Examples | Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """Example inputs on their way into a file: its inputs are the tensors, all else is part of the program.

    Attributes:
        examples: the inputs, with where their examples lie.
        found: whether that was found by running the network; else they lie along the first dimension of all.
    """

    examples: Examples
    found: bool = False

    @classmethod
    def of(cls, inputs: Inputs) -> Given:
        """Take inputs as a network takes them; InputError where there is no tensor among them."""
        if isinstance(inputs, Examples):
            return cls(inputs, True)
        given = cls(Examples.by_shape(inputs))
        if not given.tensors:
            raise InputError(
                "example inputs are a tensor, a sequence of tensors or tensors by keyword, got none: pass "
                "what the network is called with"
            )
        return given

    @property
    def paths(self) -> dict[str, Path]:
        """Name in the file -> where the tensor is; in order."""
        found = [path for path, leaf in leaves(self.examples.inputs) if isinstance(leaf, Tensor)]
        named = isinstance(self.examples.inputs, Mapping)
        return {
            ("" if named else "input_" if path else "input") + "_".join(map(str, path)): path
            for path in found
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, in order."""
        found = [leaf for _, leaf in leaves(self.examples.inputs) if isinstance(leaf, Tensor)]
        return dict(zip(self.paths, found, strict=True))

    @property
    def count(self) -> int:
        """How many examples there are."""
        return self.examples.count

    def on_cpu(self) -> Given:
        """Move the tensors to the CPU, without their past."""
        return Given(self.examples.map(lambda tensor: tensor.detach().cpu()), self.found)

    def wrapped(self, tensors: Sequence[Tensor]) -> Any:
        """Put tensors, in order, to their places in what the network is called with."""
        left = iter(tensors)
        return changed(self.examples.inputs, lambda _, leaf: next(left) if isinstance(leaf, Tensor) else leaf)

    def with_batch(self, batch_size: int) -> Given:
        """Give the inputs another number of examples, by repeating theirs.

        Raises:
            InputError: where nobody found out where they lie, and they do not share dimension 0.
        """
        if not self.found and not self.examples.lists:
            self._check_first()
        rows = [row % self.count for row in range(batch_size)]
        return Given(self.examples.take(rows), self.found)

    def _check_first(self) -> None:
        """Raise InputError unless all inputs have as many examples along dimension 0."""
        tensors = self.tensors
        lengths = {len(value) if value.dim() else 0 for value in tensors.values()}
        if len(lengths) > 1 or 0 in lengths:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())
            raise InputError(
                f"a batch lies along dimension 0 of every input, at least 1 long, got {shapes}: give every "
                "input that dimension (an export can do without: dynamic_batch=False)"
            )

    def free_dimensions(self) -> tuple[dict[int, Any] | None, ...]:
        """Say for every tensor, as `torch.export` takes it, which dimension is the batch.

        Raises:
            InputError: where examples lie along no dimension, but in a list.
        """
        if self.examples.lists or not self.examples.apart:
            raise InputError(
                "the examples of these inputs lie along no dimension of a tensor, so the batch cannot be of "
                "any size: export with dynamic_batch=False"
            )
        batch = torch.export.Dim("batch")
        found: list[dict[int, Any] | None] = []
        for path, tensor in zip(self.paths.values(), self.tensors.values(), strict=True):
            dim = self.examples.dims.get(path)
            each = 1 if dim is None else tensor.shape[dim] // self.count
            found.append(None if dim is None else {dim: batch if each == 1 else each * batch})
        return tuple(found)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Say in one line that the network does not run on the inputs, and what among them is no tensor."""
        start = "" if isinstance(self.examples.inputs, Mapping) else "input_"
        others = [
            f"{start}{'_'.join(map(str, path))}: {type(leaf).__name__}"
            for path, leaf in leaves(self.examples.inputs)
            if not isinstance(leaf, Tensor)
        ]
        fix = f": example inputs are tensors, in a sequence or tensors by keyword, got {', '.join(others)}"
        with said_in_one_line("run on the example inputs", fix if others else ""):
            yield


def randomised(inputs: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Draw standard normal numbers for every input of real numbers; whole numbers keep their meaning."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in inputs.items()
    }


@contextmanager
def said_in_one_line(what: str, fix: str = "") -> Iterator[None]:
    """Turn any error into an InputError of one line: exporters fail in many ways, over many lines."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        said = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
        raise InputError(f"the network cannot {what}: {type(cause).__name__}: {said[:300]}{fix}") from error
