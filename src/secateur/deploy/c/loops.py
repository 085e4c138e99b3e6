"""Loops in C over the numbers of views: as few as their strides allow, simple enough to vectorise."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

Axis = tuple[int, tuple[int, ...]]
"""A length, and the stride of every view along it."""


def merged(shape: Sequence[int], strides: Sequence[Sequence[int]]) -> list[Axis]:
    """Join neighbouring dimensions that all views walk through in one go; those of length 1 are left out.

    Example:
        >>> merged((2, 3, 4), [(12, 4, 1), (1, 0, 0)])
        [(2, (12, 1)), (12, (1, 0))]
    """
    axes: list[Axis] = []
    for axis, length in enumerate(shape):
        if length == 1:
            continue
        steps = tuple(each[axis] for each in strides)
        if axes and all(outer == step * length for outer, step in zip(axes[-1][1], steps, strict=True)):
            axes[-1] = (axes[-1][0] * length, steps)
        else:
            axes.append((length, steps))
    return axes


@dataclass(frozen=True)
class Nest:
    """Loops `for (i0 ...) for (i1 ...)` and where every view is in the innermost one.

    Attributes:
        heads: the lines that open the loops.
        indices: of every view, the expression of its current index.
    """

    heads: tuple[str, ...]
    indices: tuple[str, ...]

    @classmethod
    def over(cls, axes: Sequence[Axis], views: int, letter: str = "i") -> Nest:
        """Write loops over axes, whose counters are i0, i1, ..."""
        heads = tuple(
            f"for (size_t {letter}{n} = 0; {letter}{n} < {length}; {letter}{n}++)"
            for n, (length, _) in enumerate(axes)
        )
        indices = []
        for view in range(views):
            terms = [(f"{letter}{n}", steps[view]) for n, (_, steps) in enumerate(axes)]
            indices.append(sum_of(terms))
        return cls(heads, tuple(indices))

    def around(self, body: str, depth: int = 1) -> str:
        """Indent the loops, with a body of one statement or a block."""
        lines = ["    " * (depth + n) + head for n, head in enumerate(self.heads)]
        inner = "    " * (depth + len(self.heads))
        return "\n".join([*lines, *(inner + line for line in body.splitlines())])


def sum_of(terms: Sequence[tuple[str, int]]) -> str:
    """Write i0 * 12 + i1, leaving out what is 0."""
    said = [name if step == 1 else f"{name} * {step}" for name, step in terms if step]
    return " + ".join(said) or "0"


def function(kind: str, parameters: str, body: str) -> tuple[str, str]:
    """Write a static function of which equal ones are written once: (its name, its text)."""
    name = f"{kind}_{zlib.crc32((parameters + body).encode()):08x}"
    return name, f"static void {name}({parameters})\n{{\n{body}\n}}\n"
