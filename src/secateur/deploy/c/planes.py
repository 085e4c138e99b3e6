"""How the input of a convolution is laid out for the kernels: `kernels/planes.c`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd

import numpy as np

from secateur.deploy.c.kernel import WIDEST
from secateur.deploy.c.program import Convolution

_ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2}
_TILE = 8 * WIDEST  # outputs of a channel that the sparse kernel holds in registers
_SMALL = 16 * 1024  # floats of planes that nobody minds


def activation_number(name: str) -> int:
    """As the kernels know it."""
    return _ACTIVATIONS[name]


@dataclass(frozen=True)
class Planes:
    """The planes of one convolution.

    Attributes:
        step: of which.
    """

    step: Convolution

    @property
    def inputs(self) -> int:
        """Channels of a group."""
        return self.step.weight.shape[1]

    @property
    def outputs(self) -> int:
        """Channels of a group."""
        return self.step.weight.shape[0] // self.step.groups

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width."""
        return self.step.weight.shape[2], self.step.weight.shape[3]

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.step.input.shape[-2], self.step.input.shape[-1]

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        return self.step.output.shape[-2], self.step.output.shape[-1]

    @cached_property
    def phases(self) -> int:
        """Input rows modulo the stride on which rows of the kernel fall."""
        stride = self.step.stride[0]
        return min(self.kernel[0], stride // gcd(stride, self.step.dilation[0]))

    @property
    def _more(self) -> int:
        """Rows of a plane beyond those of the band."""
        return (self.kernel[0] - 1) * self.step.dilation[0] // self.step.stride[0]

    @property
    def _pointwise(self) -> bool:
        step = self.step
        return self.kernel == step.stride == (1, 1) and tuple(step.padding) == (0, 0)

    @cached_property
    def direct(self) -> bool:
        """Whether the input is read as it is: where runs of outputs end as vectors do, none reads beyond."""
        height, width = self.out
        return self._pointwise and height * width % WIDEST == 0

    @cached_property
    def band(self) -> int:
        """Output rows at a time: planes take no more room than the input, or little; a tile's at least."""
        height, width = self.out
        row = self.inputs * self.kernel[1] * self.phases * width
        room = max(_SMALL, self.inputs * self.image[0] * self.image[1])
        rows = max(room // row - self._more, ceil(_TILE / width), 1)
        unit = WIDEST // gcd(width, WIDEST) if self.direct else 1
        even = ceil(height / ceil(height / rows))
        return min(height, ceil(even / unit) * unit)

    @property
    def rows(self) -> int:
        """Of a plane."""
        return self.image[0] if self.direct else self.band + self._more

    @property
    def floats(self) -> int:
        """Room for the planes."""
        if self.direct:
            return 0
        return self.inputs * self.kernel[1] * self.phases * self.rows * self.out[1] + WIDEST

    def taps(self) -> np.ndarray:
        """Where each row of the kernel reads, in rows of a plane."""
        y = np.arange(self.kernel[0])
        return y % self.phases * self.rows + y * self.step.dilation[0] // self.step.stride[0]

    def places(self) -> np.ndarray:
        """Where each weight of an output channel reads, in rows: (inputs, kernel height, kernel width)."""
        planes = np.arange(self.inputs * self.kernel[1]).reshape(self.inputs, 1, self.kernel[1])
        return planes * self.phases * self.rows + self.taps()[None, :, None]

    @property
    def literal(self) -> str:
        """The shape, as the kernels want it: a constant of C's type `convolution`."""
        step = self.step
        fields: dict[str, tuple[int, ...]] = {
            "groups, inputs, outputs": (step.groups, self.inputs, self.outputs),
            "height, width, out_height, out_width": (*self.image, *self.out),
            "kernel_height, kernel_width": self.kernel,
            "stride_y, stride_x, padding_y, padding_x": (*step.stride, *step.padding),
            "dilation_y, dilation_x": step.dilation,
            "phases, rows, band": (self.phases, self.rows, self.band),
            "direct, activation": (int(self.direct), activation_number(step.activation)),
        }
        said = [
            f".{name} = {value}"
            for names, values in fields.items()
            for name, value in zip(names.split(", "), values, strict=True)
        ]
        return f"(const convolution){{{', '.join(said)}}}"
