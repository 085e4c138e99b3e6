"""Steps that compute every number from the numbers at its place: one loop for a chain of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from secateur.deploy.c.half import HALF
from secateur.deploy.c.loops import Nest, function, merged
from secateur.deploy.c.program import C_TYPES, Buffer, Code, Step, Values, View

_LONGEST_KIND = 32

SCALARS = {
    "relu": "return x < 0.0f ? 0.0f : x;",
    "relu6": "return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x;",
    "sigmoid": "return 1.0f / (1.0f + expf(-x));",
    "silu": "return x / (1.0f + expf(-x));",
    "hardsigmoid": "return (x < -3.0f ? 0.0f : x > 3.0f ? 6.0f : x + 3.0f) / 6.0f;",
    "hardswish": "return x * (x < -3.0f ? 0.0f : x > 3.0f ? 6.0f : x + 3.0f) / 6.0f;",
    "gelu": "return 0.5f * x * (1.0f + erff(x * 0.707106781f));",
    "gelu_tanh": "return 0.5f * x * (1.0f + tanhf(0.797884561f * (x + 0.044715f * x * x * x)));",
    "softplus": "return x > 20.0f ? x : log1pf(expf(x));",
    "mish": "return x * tanhf(x > 20.0f ? x : log1pf(expf(x)));",
    "elu": "return x > 0.0f ? x : expm1f(x);",
    "selu": "return 1.05070099f * (x > 0.0f ? x : 1.67326324f * expm1f(x));",
    "square": "return x * x;",
    "cube": "return x * x * x;",
    "sign": "return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x;",
}
"""Functions of one float, by name; in the file they are called act_NAME."""

PAIRS = {
    "least": "return a < b || a != a ? a : b;",
    "greatest": "return a > b || a != a ? a : b;",
    "leaky": "return a > 0.0f ? a : a * b;",
    "remainder": "const float r = fmodf(a, b);\n"
    "    return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;",
}
"""Functions of two floats, by name; in the file they are called of_NAME."""

WHOLES = {
    "floor_div": "const int64_t q = a / b;\n    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;",
    "modulo": "const int64_t r = a % b;\n    return r != 0 && (r < 0) != (b < 0) ? r + b : r;",
    "smaller": "return a < b ? a : b;",
    "larger": "return a > b ? a : b;",
}
"""Functions of two whole numbers, by name; in the file they are called whole_NAME."""

FUNCTIONS = {
    **{
        f"act_{name}": f"static inline float act_{name}(float x)\n{{\n    {body}\n}}\n"
        for name, body in SCALARS.items()
    },
    **{
        f"of_{name}": f"static inline float of_{name}(float a, float b)\n{{\n    {body}\n}}\n"
        for name, body in PAIRS.items()
    },
    **{
        f"whole_{name}": f"static inline int64_t whole_{name}(int64_t a, int64_t b)\n{{\n    {body}\n}}\n"
        for name, body in WHOLES.items()
    },
}


@dataclass(frozen=True, eq=False)
class Elementwise(Step):
    """output[i] = expression of operand_0[i], operand_1[i], ...

    Attributes:
        output: the numbers that are written: all of a buffer, or a part (of a concatenation).
        operands: of the output's shape, with strides of 0 where they repeat.
        expression: in C, with {0}, {1}, ... for the operands, each exactly once.
        kind: a word for it, as a function's name begins.
    """

    output: View
    operands: tuple[View, ...]
    expression: str
    kind: str

    @property
    def reads(self) -> tuple[View, ...]:
        return self.operands

    @property
    def writes(self) -> Buffer:
        return self.output.buffer

    @property
    def title(self) -> str:
        return self.kind.replace("_", " ") + ", " + " x ".join(map(str, self.output.shape))

    def code(self, values: Values) -> Code:
        """One function with the loops."""
        views = (self.output, *self.operands)
        axes = merged(self.output.shape, [view.strides for view in views])
        nest = Nest.over(axes, len(views))
        letters = "abcdefghijklmnopqrstuvwxyz"
        named = [f"x{n}" for n in range(len(self.operands))] if len(self.operands) > 8 else letters
        sources = [
            _loaded(f"{named[n]}[{index}]", view)
            for n, (view, index) in enumerate(zip(self.operands, nest.indices[1:], strict=True))
        ]
        body = nest.around(f"y[{nest.indices[0]}] = {substituted(self.expression, sources)};")
        parameters = [
            *(f"const {C_TYPES[view.dtype]} *restrict {named[n]}" for n, view in enumerate(self.operands)),
            f"{C_TYPES[self.output.dtype]} *restrict y",
        ]
        name, text = function(self.kind, ", ".join(parameters), body)
        pointers = ", ".join([view.pointer for view in self.operands] + [self.output.pointer])
        return Code("", f"{name}({pointers});", 0, (*used(self.expression, self.operands), text))

    def after(self, place: int, inner: Elementwise) -> Elementwise:
        """Compute the operand at a place in the same loop: `inner` made it."""
        count = len(inner.operands)
        renumbered = [f"{{{place + n}}}" for n in range(count)]
        within = f"({substituted(inner.expression, renumbered)})"
        names = [
            within if n == place else f"{{{n if n < place else n + count - 1}}}"
            for n in range(len(self.operands))
        ]
        operands = (*self.operands[:place], *inner.operands, *self.operands[place + 1 :])
        kinds = [kind for kind in (inner.kind, self.kind) if kind != "copy"] or ["copy"]
        kind = "_".join(kinds) if len("_".join(kinds)) <= _LONGEST_KIND else "chain"
        return replace(self, operands=operands, expression=substituted(self.expression, names), kind=kind)


def substituted(expression: str, texts: Sequence[str]) -> str:
    """Put texts for {0}, {1}, ... in an expression."""
    return re.sub(r"\{(\d+)\}", lambda found: texts[int(found[1])], expression)


def _loaded(text: str, view: View) -> str:
    return f"half({text})" if view.dtype == "float16" else text


def used(expression: str, operands: Sequence[View] = ()) -> tuple[str, ...]:
    """The texts of the functions that an expression calls."""
    found = [FUNCTIONS[name] for name in FUNCTIONS if re.search(rf"\b{name}\(", expression)]
    if any(view.dtype == "float16" for view in operands):
        found.append(HALF)
    return tuple(found)
