"""A network as steps on buffers, between the program of `torch.export` and the text in C.

Everything is of one example: a batch is the caller's loop. All buffers are contiguous, the last dimension
fastest; what is a view for torch (a slice, a transpose, an expansion) is a `View` here too, and costs nothing
until somebody needs its numbers side by side. A buffer is whole before it is read, and is not written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

Activation = Literal["none", "relu", "relu6"]
Values = Literal["float32", "float16", "int8"]
VALUES: tuple[Values, ...] = ("float32", "float16", "int8")
"""What the numbers of a layer are stored as; everything is computed in float32."""

C_TYPES = {
    "float32": "float",
    "float16": "uint16_t",  # constants only, by their bits
    "int64": "int64_t",
    "int32": "int32_t",
    "int16": "int16_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "unsigned char",
}
"""dtype of a buffer -> its type in C."""

ALIGNMENT = 64
"""Bytes on which every buffer of the arena, and the scratch of every step, begins."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """Numbers side by side: of the arena, of the caller (inputs, outputs), or constant. Two are never equal.

    Attributes:
        name: a C identifier, unique in the program: the code of a step finds a pointer of this name to the
            first number (`const` unless the step writes it).
        shape: with the example's own dimension of 1 where torch has one.
        dtype: a key of `C_TYPES`.
        value: the numbers of a constant; None for all others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    value: np.ndarray | None = None

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return prod(self.shape)

    @property
    def view(self) -> View:
        """All of it."""
        return View(self, self.shape, contiguous_strides(self.shape))


@dataclass(frozen=True, eq=False)
class View:
    """Numbers of a buffer as torch sees them: number (i, j, ...) lies at offset + i * strides[0] + ..."""

    buffer: Buffer
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return prod(self.shape)

    @property
    def dtype(self) -> str:
        """Of the buffer."""
        return self.buffer.dtype

    @property
    def contiguous(self) -> bool:
        """Whether the numbers lie side by side, in order."""
        wanted = contiguous_strides(self.shape)
        sides = zip(self.shape, self.strides, wanted, strict=True)
        return all(have == want for length, have, want in sides if length > 1)

    @property
    def whole(self) -> bool:
        """Whether these are all numbers of the buffer, in order."""
        return self.contiguous and self.size == self.buffer.size

    @property
    def pointer(self) -> str:
        """The address of the first number, as an expression in C."""
        return f"({self.buffer.name} + {self.offset})" if self.offset else self.buffer.name

    def shaped(self, *shape: int) -> View:
        """See contiguous numbers in another shape."""
        assert self.contiguous
        assert prod(shape) == self.size
        return View(self.buffer, shape, contiguous_strides(shape), self.offset)

    def broadcast(self, shape: Sequence[int]) -> View:
        """Repeat numbers along dimensions of length 1, and along new ones at the front."""
        new = len(shape) - len(self.shape)
        strides = [
            stride if length == wanted else 0
            for length, stride, wanted in zip(self.shape, self.strides, shape[new:], strict=True)
        ]
        return View(self.buffer, tuple(shape), (*[0] * new, *strides), self.offset)


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of numbers that lie side by side, the last dimension fastest."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True, eq=False)
class Step:
    """Something that is computed.

    Attributes:
        name: a C identifier, unique in the program: names of the step's constants begin with it.
        layer: where it stands in the network ("blocks.0.conv1"), for a comment.
    """

    name: str
    layer: str

    @property
    def reads(self) -> tuple[View, ...]:
        """Everything that it reads, constants among them."""
        raise NotImplementedError

    @property
    def writes(self) -> Buffer:
        """The one buffer that it writes, or a part of it."""
        raise NotImplementedError

    def code(self, values: Values) -> Code:
        """What becomes of it in the file."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What it does, in a few words, for a comment."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class OfOne(Step):
    """A step that makes a buffer of one view; what else it may read, it says itself."""

    input: View
    output: Buffer

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.input,)

    @property
    def writes(self) -> Buffer:
        return self.output


@dataclass(frozen=True, eq=False)
class Convolution(OfOne):
    """output = activation(convolution(input, weight) + bias + residual); a line is an image (1, w).

    Attributes:
        input: contiguous (1, cin, h, w).
        output: (1, cout, h', w').
        weight: float32 (cout, cin / groups, kh, kw), with the batch norm that followed folded in.
        bias: float32 (cout,).
        stride, padding, dilation: along height and width; as many zeros are added at either end.
        residual: contiguous, of the output's shape; it is never the output's own memory.
        sparse: whether so many weights are zero that the step is stored, and executed, without them.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    residual: View | None = None
    activation: Activation = "none"
    sparse: bool = False

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.input,) if self.residual is None else (self.input, self.residual)

    @property
    def title(self) -> str:
        cout, _, kh, kw = self.weight.shape
        cin = self.input.shape[1]
        said = f"convolution {kh}x{kw}, {cin} to {cout} channels"
        said += f" in {self.groups} groups" if self.groups > 1 else ""
        return said + _also(self)


@dataclass(frozen=True, eq=False)
class Linear(OfOne):
    """output = activation(input @ weight.T + bias + residual).

    Attributes:
        input: contiguous (rows..., inputs).
        output: (rows..., outputs).
        weight: float32 (outputs, inputs).
        bias: float32 (outputs,).
        residual, activation, sparse: as of a `Convolution`.
    """

    weight: np.ndarray
    bias: np.ndarray | None
    residual: View | None = None
    activation: Activation = "none"
    sparse: bool = False

    @property
    def rows(self) -> int:
        """How many vectors go through the layer: 1 in a classifier, one a token in a transformer."""
        return prod(self.input.shape[:-1])

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.input,) if self.residual is None else (self.input, self.residual)

    @property
    def title(self) -> str:
        outputs, inputs = self.weight.shape
        return f"linear, {self.rows} x {inputs} to {outputs}{_also(self)}"


def _also(step: Convolution | Linear) -> str:
    """What else is computed with a layer's weights, for its title."""
    zeros = 100 * (1 - np.count_nonzero(step.weight) / max(1, step.weight.size))
    said = f", {zeros:.1f}% zeros" if step.sparse else ""
    said += ", plus a residual" if step.residual is not None else ""
    return said + (f", {step.activation}" if step.activation != "none" else "")


@dataclass(frozen=True)
class Code:
    """What becomes of a step in the file.

    Attributes:
        constants: declarations at file scope (`static const ...`), whose names begin with the step's name.
        call: statements in the body of the function that runs the network, usually one call. They may name
            the pointers of the step's buffers (`View.pointer`, `Buffer.name`), the constants, and `scratch`:
            `float *`, aligned to `ALIGNMENT` bytes, the step's own while it runs.
        scratch: how many floats `scratch` has; what is in them at the start is not known.
        functions: the C text of every `static` function (and macro, and typedef) that the call needs, each
            before those that use it. The same text in several steps is written once.
    """

    constants: str
    call: str
    scratch: int = 0
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Program:
    """A network: steps in the order in which they run.

    Attributes:
        inputs, outputs: the caller's buffers, by their names; an output is all of its buffer, in torch's
            shape.
    """

    steps: tuple[Step, ...]
    inputs: dict[str, Buffer]
    outputs: dict[str, View]

    @property
    def constants(self) -> list[Buffer]:
        """Constant buffers that are read, in order of first use."""
        found = (view.buffer for step in self.steps for view in step.reads)
        return list(dict.fromkeys(buffer for buffer in found if buffer.value is not None))
