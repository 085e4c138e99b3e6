"""Steps that make one number of many: sums, means, extremes; softmax and normalisation over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from secateur.deploy.c.arrays import literal
from secateur.deploy.c.loops import Nest, function, merged
from secateur.deploy.c.program import C_TYPES, Code, OfOne, Values, View, contiguous_strides

KINDS = {
    "sum": ("0", "s += {x};", "s"),
    "mean": ("0.0f", "s += {x};", "s / {n}.0f"),
    "prod": ("1", "s *= {x};", "s"),
    "amax": ("{first}", "if ({x} > s || {x} != {x}) s = {x};", "s"),
    "amin": ("{first}", "if ({x} < s || {x} != {x}) s = {x};", "s"),
    "any": ("0", "s |= {x} != 0;", "s"),
    "all": ("1", "s &= {x} != 0;", "s"),
}
"""Kind -> where the result begins, what every number does to it, and what is made of it at the end."""

_LANES = 8


@dataclass(frozen=True, eq=False)
class Reduction(OfOne):
    """output = the sum (or another of `KINDS`) of input over some dimensions.

    Attributes:
        output: of the kept dimensions, in order (those reduced may be there with length 1).
        dims: those reduced, from 0.
    """

    dims: tuple[int, ...]
    kind: str

    @property
    def title(self) -> str:
        return f"{self.kind} over {prod(self.input.shape[dim] for dim in self.dims)} numbers"

    def code(self, values: Values) -> Code:
        kept, gone = split_axes(self.input, self.dims)
        inner = _inner(self.input, gone)
        outer = Nest.over(kept, 2)
        begin, each, end = KINDS[self.kind]
        n = prod(length for length, _ in inner)
        kind = C_TYPES[self.output.dtype]
        at = f"a + {outer.indices[1]}"
        if self.kind in ("sum", "mean") and kind == "float" and inner and inner[-1][1][0] == 1:
            summed = _in_lanes(inner)
        else:
            nest = Nest.over(inner, 1, "k")
            x = f"x[{nest.indices[0]}]"
            loops = nest.around(each.format(x=x), depth=0)
            summed = f"{kind} s = {begin.format(first='x[0]')};\n{loops}"
        source = C_TYPES[self.input.dtype]
        result = f"y[{outer.indices[0]}] = {end.format(n=n)};"
        body = f"{{\nconst {source} *restrict x = {at};\n{summed}\n{result}\n}}"
        name, text = function(
            self.kind, f"const {source} *restrict a, {kind} *restrict y", outer.around(body)
        )
        return Code("", f"{name}({self.input.pointer}, {self.output.name});", 0, (text,))


def split_axes(view: View, dims: Sequence[int]) -> tuple[list, list[int]]:
    """Take apart what is kept (merged, with strides of the output and of the view), and the dims that go."""
    left = [axis for axis in range(len(view.shape)) if axis not in dims]
    shape = [view.shape[axis] for axis in left]
    return merged(shape, [contiguous_strides(shape), [view.strides[axis] for axis in left]]), sorted(dims)


def _inner(view: View, dims: Sequence[int]) -> list:
    return merged([view.shape[dim] for dim in dims], [[view.strides[dim] for dim in dims]])


def _in_lanes(inner: list) -> str:
    """A sum as partial sums, one a lane of a vector: C keeps the order of additions, so one would wait."""
    length = inner[-1][0]
    even = length - length % _LANES
    nest = Nest.over(inner[:-1], 1, "k")
    body = (
        f"{{\nconst float *restrict row = x + {nest.indices[0]};\n"
        f"for (size_t k = 0; k < {even}; k += {_LANES})\n"
        f"    for (size_t l = 0; l < {_LANES}; l++)\n"
        "        lanes[l] += row[k + l];\n"
        if even
        else f"{{\nconst float *restrict row = x + {nest.indices[0]};\n"
    )
    body += f"for (size_t k = {even}; k < {length}; k++)\n    s += row[k];\n}}" if even < length else "}"
    loops = nest.around(body, depth=0)
    if not even:
        return f"float s = 0.0f;\n{loops}"
    adding = f"for (size_t l = 0; l < {_LANES}; l++)\n    s += lanes[l];"
    return f"float s = 0.0f, lanes[{_LANES}] = {{0}};\n{loops}\n{adding}"


_NORMALISED = """\
/* Every row of x with mean 0 and variance 1. */
static void normalised(size_t rows, size_t n, float eps, const float *restrict x, float *restrict y)
{
    for (size_t i = 0; i < rows; i++, x += n, y += n) {
        float sums[8] = {0}, squares[8] = {0}, mean = 0.0f, variance = 0.0f;
        for (size_t j = 0; j < n; j++)
            sums[j % 8] += x[j];
        for (size_t l = 0; l < 8; l++)
            mean += sums[l];
        mean /= (float)n;
        for (size_t j = 0; j < n; j++)
            squares[j % 8] += (x[j] - mean) * (x[j] - mean);
        for (size_t l = 0; l < 8; l++)
            variance += squares[l];
        const float scale = 1.0f / sqrtf(variance / (float)n + eps);
        for (size_t j = 0; j < n; j++)
            y[j] = (x[j] - mean) * scale;
    }
}
"""


@dataclass(frozen=True, eq=False)
class Normalised(OfOne):
    """output = (input - mean) / sqrt(variance + eps), row by row; input is contiguous, rows of n numbers."""

    n: int
    eps: float

    @property
    def title(self) -> str:
        return f"normalisation of {self.input.size // self.n} rows of {self.n}"

    def code(self, values: Values) -> Code:
        rows = self.input.size // self.n
        call = f"normalised({rows}, {self.n}, {literal(self.eps)}, {self.input.pointer}, {self.output.name});"
        return Code("", call, 0, (_NORMALISED,))


_SOFTMAX = """\
/* {title} over n numbers, which lie `inner` apart. */
static void {name}(size_t outer, size_t n, size_t inner, const float *restrict x, float *restrict y)
{{
    for (size_t i = 0; i < outer; i++, x += n * inner, y += n * inner)
        for (size_t j = 0; j < inner; j++) {{
            float most = x[j], sum = 0.0f;
            for (size_t k = 1; k < n; k++)
                if (x[k * inner + j] > most)
                    most = x[k * inner + j];
            for (size_t k = 0; k < n; k++) {{
                y[k * inner + j] = expf(x[k * inner + j] - most);
                sum += y[k * inner + j];
            }}
{last}
        }}
}}
"""
_LAST = {
    "softmax": "            for (size_t k = 0; k < n; k++)\n                y[k * inner + j] /= sum;",
    "log_softmax": "            const float less = most + logf(sum);\n"
    "            for (size_t k = 0; k < n; k++)\n"
    "                y[k * inner + j] = x[k * inner + j] - less;",
}


@dataclass(frozen=True, eq=False)
class Softmax(OfOne):
    """output = softmax (or log_softmax) of contiguous input along a dimension."""

    dim: int
    kind: str

    @property
    def title(self) -> str:
        return f"{self.kind} over {self.input.shape[self.dim]} numbers"

    def code(self, values: Values) -> Code:
        title = self.kind.replace("_", " ").capitalize()
        return self._calling(self.kind, _SOFTMAX.format(title=title, name=self.kind, last=_LAST[self.kind]))

    def _calling(self, name: str, function: str) -> Code:
        """Call a function of how often, over how many and how far apart, of which this is the text."""
        shape = self.input.shape
        outer, inner = prod(shape[: self.dim]), prod(shape[self.dim + 1 :])
        call = f"{name}({outer}, {shape[self.dim]}, {inner}, {self.input.pointer}, {self.output.name});"
        return Code("", call, 0, (function,))


_INDEX_OF = """\
/* Where along n numbers, which lie `inner` apart, the {what} is. */
static void {name}(size_t outer, size_t n, size_t inner, const float *restrict x, int64_t *restrict y)
{{
    for (size_t i = 0; i < outer; i++, x += n * inner)
        for (size_t j = 0; j < inner; j++) {{
            size_t best = 0;
            for (size_t k = 1; k < n; k++)
                if (x[k * inner + j] {sign} x[best * inner + j])
                    best = k;
            *y++ = (int64_t)best;
        }}
}}
"""


@dataclass(frozen=True, eq=False)
class IndexOf(Softmax):
    """output (int64) = where along a dimension the largest ("argmax") or smallest ("argmin") is."""

    def code(self, values: Values) -> Code:
        what, sign = {"argmax": ("largest", ">"), "argmin": ("smallest", "<")}[self.kind]
        return self._calling(self.kind, _INDEX_OF.format(what=what, name=self.kind, sign=sign))


_CUMULATIVE = """\
static void {name}(size_t outer, size_t n, size_t inner, const {type} *restrict x, {type} *restrict y)
{{
    for (size_t i = 0; i < outer; i++, x += n * inner, y += n * inner)
        for (size_t j = 0; j < inner; j++) {{
            {type} s = 0;
            for (size_t k = 0; k < n; k++)
                y[k * inner + j] = s += x[k * inner + j];
        }}
}}
"""


@dataclass(frozen=True, eq=False)
class Cumulative(Softmax):
    """output = the sums so far along a dimension."""

    def code(self, values: Values) -> Code:
        kind = self.output.dtype
        name = f"sums_so_far_{kind}"
        return self._calling(name, _CUMULATIVE.format(name=name, type=C_TYPES[kind]))
