"""Numbers as initialisers in C, to the bit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_WIDTH = 110

_TYPES = {
    "float32": "float",
    "float16": "uint16_t",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "bool": "unsigned char",
}


def array(name: str, values: np.ndarray) -> str:
    """Declare a constant: `static const float name[4] = {...};` (float16 as uint16_t, by its bits).

    Args:
        values: of any shape, flattened, the last dimension fastest; at least one number (C has no empty arrays).
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    kind = _TYPES[flat.dtype.name]
    return f"static const {kind} {name}[{flat.size}] = {{\n{_lines(_texts(flat))}}};\n"


def _texts(flat: np.ndarray) -> Iterable[str]:
    if flat.dtype == np.float32:
        return map(_float, flat.tolist())
    if flat.dtype == np.float16:
        flat = flat.view(np.uint16)
    return map(str, flat.astype(np.int64).tolist())


def _float(value: float) -> str:
    """The shortest decimal that is read back as the same float32, with its f."""
    if value == 0:  # a minus would be kept by no one
        return "0"
    return f"{value:.9g}" + ("f" if "." in f"{value:.9g}" or "e" in f"{value:.9g}" else ".f")


def _lines(texts: Iterable[str]) -> str:
    lines, line = [], ""
    for text in texts:
        if len(line) + len(text) > _WIDTH:
            lines.append(line + "\n")
            line = ""
        line += text + ","
    return "".join((*lines, line, "\n"))
