"""Products of two computed matrices, and transposed convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.half import HALF
from secateur.deploy.c.program import Buffer, Code, OfOne, Step, Values, View

_MATMUL = """\
/* y (m x n) = a (m x k) b (k x n), of which the rows lie a1 and b1 apart and the numbers of a's rows a2. */
static void matmul(size_t m, size_t k, size_t n, const float *restrict a, size_t a1, size_t a2,
                   const float *restrict b, size_t b1, float *restrict y)
{
    for (size_t i = 0; i < m; i++) {
        float *restrict row = y + i * n;
        for (size_t j = 0; j < n; j++)
            row[j] = 0.0f;
        for (size_t l = 0; l < k; l++) {
            const float factor = a[i * a1 + l * a2];
            for (size_t j = 0; j < n; j++)
                row[j] += factor * b[l * b1 + j];
        }
    }
}
"""


@dataclass(frozen=True, eq=False)
class Matmul(Step):
    """output = left @ right, for every entry of the dimensions before the last two.

    Attributes:
        left: (batches..., m, k), of any strides.
        right: (batches..., k, n), of which the last dimension lies side by side.
    """

    left: View
    right: View
    output: Buffer

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.left, self.right)

    @property
    def writes(self) -> Buffer:
        return self.output

    @property
    def title(self) -> str:
        (m, k), n = self.left.shape[-2:], self.right.shape[-1]
        return f"matrix product, {m} x {k} and {k} x {n}, {prod(self.left.shape[:-2])} times"

    def code(self, values: Values) -> Code:
        (m, k), n = self.left.shape[-2:], self.right.shape[-1]
        batches = self.left.shape[:-2]
        places: list[str] = []
        for view in (self.left, self.right):
            terms = [f" + i{axis} * {stride}" for axis, stride in enumerate(view.strides[:-2]) if stride]
            places.append(view.pointer + "".join(terms))
        terms, size = [], m * n
        for axis, length in reversed(list(enumerate(batches))):
            terms.append(f" + i{axis} * {size}")
            size *= length
        heads = "".join(
            f"for (size_t i{axis} = 0; i{axis} < {n_}; i{axis}++)\n" for axis, n_ in enumerate(batches)
        )
        a1, a2 = self.left.strides[-2:]
        call = (
            f"matmul({m}, {k}, {n}, {places[0]}, {a1}, {a2}, {places[1]}, {self.right.strides[-2]}, "
            f"{self.output.name}{''.join(terms)});"
        )
        return Code("", heads + call, 0, (_MATMUL,))


_TRANSPOSED = """\
/* A transposed convolution: every pixel of x is spread over kh x kw pixels of y. */
static void {name}(size_t cin, size_t h, size_t w, size_t cout, size_t oh, size_t ow, size_t kh, size_t kw,
    size_t sh, size_t sw, size_t ph, size_t pw, size_t dh, size_t dw, size_t groups,
    const float *restrict x, const {type} *restrict weight, const float *restrict bias, float *restrict y)
{{
    const size_t ins = cin / groups, outs = cout / groups;
    for (size_t o = 0; o < cout; o++) {{
        const size_t group = o / outs;
        float *restrict plane = y + o * oh * ow;
        for (size_t i = 0; i < oh * ow; i++)
            plane[i] = bias[o];
        for (size_t c = 0; c < ins; c++)
            for (size_t u = 0; u < kh; u++)
                for (size_t v = 0; v < kw; v++) {{
                    const size_t entry = ((group * ins + c) * outs + o % outs) * kh * kw + u * kw + v;
                    const float factor = {load};
                    const float *restrict source = x + (group * ins + c) * h * w;
                    for (size_t i = 0; i < h; i++) {{
                        const size_t row = i * sh + u * dh;
                        if (row < ph || row - ph >= oh)
                            continue;
                        for (size_t j = 0; j < w; j++) {{
                            const size_t column = j * sw + v * dw;
                            if (column >= pw && column - pw < ow)
                                plane[(row - ph) * ow + column - pw] += factor * source[i * w + j];
                        }}
                    }}
                }}
    }}
}}
"""


@dataclass(frozen=True, eq=False)
class TransposedConvolution(OfOne):
    """output = transposed convolution of input.

    Attributes:
        input: contiguous (1, cin, h, w).
        output: (1, cout, h', w').
        weight: float32 (cin, cout / groups, kh, kw).
        bias: float32 (cout,).
    """

    weight: np.ndarray
    bias: np.ndarray | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def title(self) -> str:
        _, _, kh, kw = self.weight.shape
        cin, cout = self.input.shape[1], self.output.shape[1]
        return f"transposed convolution {kh}x{kw}, {cin} to {cout} channels"

    def code(self, values: Values) -> Code:
        cout = self.output.shape[1]
        bias = np.zeros(cout, np.float32) if self.bias is None else self.bias
        half = values == "float16"
        name = "transposed_convolution_half" if half else "transposed_convolution"
        load = "half(weight[entry])" if half else "weight[entry]"
        text = _TRANSPOSED.format(name=name, type="uint16_t" if half else "float", load=load)
        weight = self.weight.astype(np.float16) if half else self.weight
        constants = array(f"{self.name}_weight", weight) + array(f"{self.name}_bias", bias)
        sizes = (*self.input.shape[1:], *self.output.shape[1:], *self.weight.shape[2:])
        sizes += (*self.stride, *self.padding, *self.dilation, self.groups)
        call = (
            f"{name}({', '.join(map(str, sizes))}, {self.input.pointer}, {self.name}_weight, "
            f"{self.name}_bias, {self.output.name});"
        )
        return Code(constants, call, 0, (*([HALF] if half else []), text))
