"""Numbers as initialisers in C, to the bit.

Small arrays are numbers, which any compiler on any machine reads. Compilers need about 300 bytes of memory
and 2.5 microseconds for each of them, so that ResNet18's 11 million weights would take gcc half a minute and
3
GB: large arrays are written as rows of characters, a tenth of that, for machines that store the lowest byte
first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from secateur.deploy.c.program import C_TYPES

PACKED_FROM = 2**16
"""Bytes from which an array is written as characters."""

_WIDTH, _ROW = 110, 2048
_TYPES = C_TYPES | {"int8": "int8_t", "uint16": "uint16_t", "uint32": "uint32_t"}

LITTLE_ENDIAN = """\
#if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "the large arrays of this file are for machines that store the lowest byte first"
#endif
#endif
/* The rows of characters below fill their arrays, without a character 0 at the end, as C allows. */
#if defined(__clang__)
#if defined(__has_warning)
#if __has_warning("-Wunterminated-string-initialization")
#pragma clang diagnostic ignored "-Wunterminated-string-initialization"
#endif
#endif
#elif defined(__GNUC__)
#if __GNUC__ >= 15
#pragma GCC diagnostic ignored "-Wunterminated-string-initialization"
#endif
#endif
"""
"""What the file says once before its first packed array."""


Declares = Callable[[str, int], str | None]
"""(name, how many floats) -> what is written in place of the numbers; None: the numbers."""

_DECLARES: ContextVar[Declares | None] = ContextVar("_DECLARES", default=None)


@contextmanager
def declared_by(declares: Declares) -> Iterator[None]:
    """Leave out the numbers of float arrays while this holds, as where only times matter."""
    token = _DECLARES.set(declares)
    try:
        yield
    finally:
        _DECLARES.reset(token)


def array(name: str, values: np.ndarray) -> str:
    """Declare a constant that is used as `name[i]`; float16 is uint16_t, by its bits.

    Args:
        values: of any shape, flattened, the last dimension fastest; at least one number, as C has no empty
            arrays.
    """
    declares = _DECLARES.get()
    if declares and values.dtype == np.float32 and (said := declares(name, values.size)) is not None:
        return said
    flat = np.ascontiguousarray(values).reshape(-1)
    kind = _TYPES[flat.dtype.name]
    if flat.nbytes >= PACKED_FROM and flat.dtype != np.bool_:
        return _packed(name, kind, flat)
    return f"static const {kind} {name}[{flat.size}] = {{\n{_lines(_texts(flat))}}};\n"


_BYTES = {
    **{"float": 4, "unsigned char": 1},
    **{f"{sign}int{bits}_t": bits // 8 for bits in (8, 16, 32, 64) for sign in ("", "u")},
}
_DECLARED = re.compile(r"\b(" + "|".join(_BYTES) + r") \w+\[(\d+)\](?: = \{$|; \})", re.MULTILINE)


def bytes_declared(text: str) -> int:
    """How many bytes the arrays take that `array` declared in a text."""
    return sum(_BYTES[kind] * int(count) for kind, count in _DECLARED.findall(text))


def _packed(name: str, kind: str, flat: np.ndarray) -> str:
    """The bytes as rows of characters, in a union with what they mean."""
    content = flat.astype(flat.dtype.newbyteorder("<"), copy=False).tobytes().decode("latin-1")
    rows = [content[start : start + _ROW] for start in range(0, len(content), _ROW)]
    texts = ",\n".join(f'"{row.translate(_ESCAPES)}"' for row in rows)
    return (
        f"static const union {{ char rows[{len(rows)}][{_ROW}]; {kind} values[{flat.size}]; }} "
        f"{name}_ = {{{{\n"
        f"{texts}}}}};\n#define {name} {name}_.values\n"
    )


_PLAIN = {chr(code) for code in range(32, 127)} - set('"\\?')  # ? begins trigraphs
_ESCAPES = {code: f"\\{code:03o}" for code in range(256) if chr(code) not in _PLAIN}


def quoted(text: str) -> str:
    """A text as a string in C, in UTF-8, whatever is in it."""
    return '"' + text.encode("utf-8", "replace").decode("latin-1").translate(_ESCAPES) + '"'


def _texts(flat: np.ndarray) -> Iterable[str]:
    if flat.dtype == np.float32:
        return map(literal, flat.tolist())
    if flat.dtype == np.float16:
        flat = flat.view(np.uint16)
    return map(whole, flat.astype(np.int64).tolist())


def literal(value: float) -> str:
    """A float32 in C: the shortest decimal that is read back as the same number."""
    if value != value:
        return "NAN"
    if value in (float("inf"), float("-inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def whole(value: int) -> str:
    """A whole number in C; the smallest of 64 bits has no literal of its own."""
    if value == -(2**63):
        return "(-9223372036854775807 - 1)"
    return str(value)


def _lines(texts: Iterable[str]) -> str:
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > _WIDTH:
            lines.append(line + "\n")
            line = ""
        line += text + ","
    return "".join((*lines, line, "\n"))
