"""Steps that move numbers to other places: by tables that are known now, or by computed whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from secateur.deploy.c.arrays import array
from secateur.deploy.c.half import HALF
from secateur.deploy.c.loops import function, sum_of
from secateur.deploy.c.program import C_TYPES, Buffer, Code, OfOne, Step, Values, View


@dataclass(frozen=True, eq=False)
class Gather(OfOne):
    """output[i, j, ...] = input[places[i, j, ...]], of which the places are known.

    Attributes:
        input: contiguous.
        output: of the shape of `places`.
        places: int64, indices into the flat input.
    """

    places: np.ndarray

    @property
    def title(self) -> str:
        return f"{' x '.join(map(str, self.output.shape))} numbers moved"

    def code(self, values: Values) -> Code:
        """Loops with a table for each dimension where one is enough, else with one table of all places."""
        shape = self.places.shape
        tables = separated(self.places)
        loops = [
            f"for (size_t i{n} = 0; i{n} < {length}; i{n}++)" for n, length in enumerate(shape) if length > 1
        ]
        start = int(self.places.flat[0])
        terms, parameters, arguments, constants = [], [], [], ""
        if tables is None:
            shape, tables = (self.places.size,), [self.places.reshape(-1) - start]
            loops = [f"for (size_t i0 = 0; i0 < {self.places.size}; i0++)"]
        for n, table in enumerate(tables):
            step = _even(table)
            if step is not None and step >= 0:
                terms += [sum_of([(f"i{n}", step)])] if step else []
                continue
            low = int(table.min())
            start += low
            constants += array(f"{self.name}_{n}", _small(table - low))
            parameters.append(f"const {_kind(table - low)} *restrict t{n}")
            arguments.append(f"{self.name}_{n}")
            terms.append(f"t{n}[i{n}]")
        kind, source = C_TYPES[self.output.dtype], C_TYPES[self.input.dtype]
        there = [(f"i{n}", prod(shape[n + 1 :])) for n, length in enumerate(shape) if length > 1]
        load = f"x[{' + '.join([*terms, str(start)] if start or not terms else terms)}]"
        load = f"half({load})" if self.input.dtype == "float16" else load
        body = "\n".join("    " * (n + 1) + head for n, head in enumerate(loops))
        body += "\n" + "    " * (len(loops) + 1) + f"y[{sum_of(there)}] = {load};"
        declared = ", ".join([f"const {source} *restrict x", *parameters, f"{kind} *restrict y"])
        name, text = function("moved", declared, body)
        call = f"{name}({', '.join([self.input.pointer, *arguments, self.output.name])});"
        return Code(constants, call, 0, (*([HALF] if self.input.dtype == "float16" else []), text))


def separated(places: np.ndarray) -> list[np.ndarray] | None:
    """Write places[i, j, ...] as places[0, 0, ...] + a[i] + b[j] + ...; None where that is not possible."""
    start, rest, tables = places.flat[0], np.full_like(places, places.flat[0]), []
    for axis in range(places.ndim):
        line = places[tuple(slice(None) if n == axis else 0 for n in range(places.ndim))] - start
        tables.append(line)
        rest = rest + line.reshape([-1 if n == axis else 1 for n in range(places.ndim)])
    return tables if np.array_equal(rest, places) else None


def strides_of(places: np.ndarray) -> tuple[int, ...] | None:
    """The strides by which the places are a view, from the first; None where they are none."""
    tables = separated(places)
    if tables is None:
        return None
    steps = [step for table in tables if (step := _even(table)) is not None and step >= 0]
    return tuple(steps) if len(steps) == len(tables) else None


def _even(table: np.ndarray) -> int | None:
    """The distance from each number to the next, where it is the same; the first is 0."""
    if table.size == 1:
        return 0
    apart = np.diff(table)
    return int(apart[0]) if (apart == apart[0]).all() else None


def _small(table: np.ndarray) -> np.ndarray:
    """Numbers from 0 in the smallest type that has them."""
    return table.astype(np.min_scalar_type(max(256, int(table.max(initial=0)))).name)


def _kind(table: np.ndarray) -> str:
    return {"uint16": "uint16_t", "uint32": "uint32_t"}[_small(table).dtype.name]


_ROWS = """\
/* Rows of n numbers, by their numbers; those below 0 count from the end. */
static void {name}(size_t count, size_t rows, size_t n, const int64_t *restrict which,
    const {type} *restrict table, {out} *restrict y)
{{
    for (size_t i = 0; i < count; i++, y += n) {{
        const int64_t row = which[i] < 0 ? which[i] + (int64_t)rows : which[i];
        for (size_t j = 0; j < n; j++)
            y[j] = row < 0 || (size_t)row >= rows ? 0 : {load}; /* of a row that there is not: 0 */
    }}
}}
"""


@dataclass(frozen=True, eq=False)
class Rows(Step):
    """output[i] = table[which[i]]: an embedding.

    Attributes:
        which: contiguous int64.
        table: contiguous (rows, n...).
    """

    which: View
    table: View
    output: Buffer

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.which, self.table)

    @property
    def writes(self) -> Buffer:
        return self.output

    @property
    def title(self) -> str:
        return f"{self.which.size} of {self.table.shape[0]} rows of {prod(self.table.shape[1:])}"

    def code(self, values: Values) -> Code:
        source, out = C_TYPES[self.table.dtype], C_TYPES[self.output.dtype]
        half = self.table.dtype == "float16"
        load = "table[(size_t)row * n + j]"
        name = f"rows_{self.table.dtype}"
        text = _ROWS.format(name=name, type=source, out=out, load=f"half({load})" if half else load)
        n = prod(self.table.shape[1:])
        call = (
            f"{name}({self.which.size}, {self.table.shape[0]}, {n}, {self.which.pointer}, "
            f"{self.table.pointer}, {self.output.name});"
        )
        return Code("", call, 0, (*([HALF] if half else []), text))


_ALONG = """\
/* y[i, j, k] = x[i, index[i, j, k], k]. */
static void {name}(size_t outer, size_t n, size_t inner, size_t m, size_t wide, size_t stride,
    const {type} *restrict x, const int64_t *restrict index, {type} *restrict y)
{{
    for (size_t i = 0; i < outer; i++)
        for (size_t j = 0; j < m; j++)
            for (size_t k = 0; k < wide; k++) {{
                const int64_t at = *index++;
                *y++ = at < 0 || (size_t)at >= n ? 0 : x[i * stride + (size_t)at * inner + k];
            }}
}}
"""


@dataclass(frozen=True, eq=False)
class Along(Step):
    """output = torch.gather(input, dim, index): all contiguous, of equal lengths but along `dim`."""

    input: View
    index: View
    output: Buffer
    dim: int

    @property
    def reads(self) -> tuple[View, ...]:
        return (self.input, self.index)

    @property
    def writes(self) -> Buffer:
        return self.output

    @property
    def title(self) -> str:
        return f"{self.index.size} numbers chosen along dimension {self.dim}"

    def code(self, values: Values) -> Code:
        shape, wanted = self.input.shape, self.index.shape
        outer, inner = prod(shape[: self.dim]), prod(shape[self.dim + 1 :])
        n, m = shape[self.dim], wanted[self.dim]
        name = f"along_{self.output.dtype}"
        sizes = (outer, n, inner, m, inner, n * inner)
        given = (*sizes, self.input.pointer, self.index.pointer, self.output.name)
        call = f"{name}({', '.join(map(str, given))});"
        return Code("", call, 0, (_ALONG.format(name=name, type=C_TYPES[self.output.dtype]),))


_RESAMPLED = """\
/* Every number of y is a mean of two numbers of x along each of the dimensions, by tables of places and
   weights. */
static void resampled(size_t c, size_t h, size_t w, size_t oh, size_t ow,
                      const uint32_t *restrict rows, const float *restrict down,
                      const uint32_t *restrict columns, const float *restrict right,
                      const float *restrict x, float *restrict y)
{
    for (size_t p = 0; p < c; p++, x += h * w)
        for (size_t i = 0; i < oh; i++) {
            const float *restrict upper = x + rows[2 * i] * w, *restrict lower = x + rows[2 * i + 1] * w;
            for (size_t j = 0; j < ow; j++) {
                const size_t a = columns[2 * j], b = columns[2 * j + 1];
                const float above = upper[a] + right[j] * (upper[b] - upper[a]);
                const float below = lower[a] + right[j] * (lower[b] - lower[a]);
                *y++ = above + down[i] * (below - above);
            }
        }
}
"""


@dataclass(frozen=True, eq=False)
class Resampled(OfOne):
    """output = bilinear interpolation of contiguous (1, c, h, w).

    Attributes:
        rows, columns: (n, 2), between which numbers each row and column of the output lies.
        down, right: (n,), how far from the first to the second, from 0 to 1.
    """

    rows: np.ndarray
    down: np.ndarray
    columns: np.ndarray
    right: np.ndarray

    @property
    def title(self) -> str:
        (h, w), (oh, ow) = self.input.shape[2:], self.output.shape[2:]
        return f"bilinear, {h} x {w} to {oh} x {ow}"

    def code(self, values: Values) -> Code:
        names = ("rows", "down", "columns", "right")
        tables = (
            *(self.rows.astype(np.uint32), self.down.astype(np.float32)),
            *(self.columns.astype(np.uint32), self.right.astype(np.float32)),
        )
        constants = "".join(array(f"{self.name}_{n}", table) for n, table in zip(names, tables, strict=True))
        sizes = ", ".join(map(str, (*self.input.shape[1:], *self.output.shape[2:])))
        given = ", ".join(f"{self.name}_{n}" for n in names)
        call = f"resampled({sizes}, {given}, {self.input.pointer}, {self.output.name});"
        return Code(constants, call, 0, (_RESAMPLED,))
