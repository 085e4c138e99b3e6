"""Convolutions and linear layers in the fewest lines of C, whatever their stride, dilation and groups."""

from __future__ import annotations

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.half import HALF
from secateur.deploy.c.program import Code, Convolution, Linear, Values

_ACTIVATIONS = {"none": "s", "relu": "s < 0.0f ? 0.0f : s", "relu6": "s < 0.0f ? 0.0f : s > 6.0f ? 6.0f : s"}

_CONVOLUTION = """\
static void {name}(size_t cin, size_t h, size_t w, size_t cout, size_t oh, size_t ow, size_t kh, size_t kw,
    size_t sh, size_t sw, size_t ph, size_t pw, size_t dh, size_t dw, size_t groups,
    const float *restrict x, const {type} *restrict weight, const float *restrict bias, const float *restrict residual,
    float *restrict y)
{{
    const size_t ins = cin / groups, outs = cout / groups;
    for (size_t o = 0; o < cout; o++) {{
        float *restrict plane = y + o * oh * ow;
        for (size_t i = 0; i < oh * ow; i++)
            plane[i] = bias[o] + (residual ? residual[o * oh * ow + i] : 0.0f);
        for (size_t c = 0; c < ins; c++)
            for (size_t u = 0; u < kh; u++)
                for (size_t v = 0; v < kw; v++) {{
                    const size_t entry = ((o * ins + c) * kh + u) * kw + v;
                    const float factor = {load};
                    const float *restrict source = x + (o / outs * ins + c) * h * w;
                    for (size_t i = 0; i < oh; i++) {{
                        const size_t row = i * sh + u * dh;
                        if (row < ph || row - ph >= h)
                            continue;
                        for (size_t j = 0; j < ow; j++) {{
                            const size_t column = j * sw + v * dw;
                            if (column >= pw && column - pw < w)
                                plane[i * ow + j] += factor * source[(row - ph) * w + column - pw];
                        }}
                    }}
                }}
        for (size_t i = 0; i < oh * ow; i++) {{
            const float s = plane[i];
            plane[i] = {activation};
        }}
    }}
}}
"""

_LINEAR = """\
static void {name}(size_t rows, size_t inputs, size_t outputs, const float *restrict x,
    const {type} *restrict weight, const float *restrict bias, const float *restrict residual, float *restrict y)
{{
    for (size_t i = 0; i < rows; i++)
        for (size_t o = 0; o < outputs; o++) {{
            float s = bias[o] + (residual ? residual[i * outputs + o] : 0.0f);
            for (size_t k = 0; k < inputs; k++) {{
                const size_t entry = o * inputs + k;
                s += {load} * x[i * inputs + k];
            }}
            y[i * outputs + o] = {activation};
        }}
}}
"""


def code(step: Convolution | Linear, values: Values) -> Code:
    """Make the C of a layer."""
    half = values == "float16"
    kind = "convolution" if isinstance(step, Convolution) else "linear"
    name = f"{kind}_{step.activation}{'_half' if half else ''}"
    text = (_CONVOLUTION if kind == "convolution" else _LINEAR).format(
        name=name,
        type="uint16_t" if half else "float",
        load="half(weight[entry])" if half else "weight[entry]",
        activation=_ACTIVATIONS[step.activation],
    )
    weight = step.weight.astype(np.float16) if half else step.weight
    outputs = step.weight.shape[0]
    bias = np.zeros(outputs, np.float32) if step.bias is None else step.bias
    sizes: tuple[int, ...]
    if isinstance(step, Convolution):
        sizes = (*step.input.shape[1:], *step.output.shape[1:], *step.weight.shape[2:])
        sizes += (*step.stride, *step.padding, *step.dilation, step.groups)
    else:
        sizes = (step.rows, step.weight.shape[1], outputs)
    residual = "NULL" if step.residual is None else step.residual.pointer
    given = (step.input.pointer, f"{step.name}_weight", f"{step.name}_bias", residual, step.output.name)
    call = f"{name}({', '.join(map(str, (*sizes, *given)))});"
    constants = array(f"{step.name}_weight", weight) + array(f"{step.name}_bias", bias)
    return Code(constants, call, 0, (*([HALF] if half else []), text))
