"""How a number is written for people: the digits that say something, never `0.0008000000000000003`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from secateur.names import harmless

_NUMBER = re.compile(r"(?<![\w.])-?(\d+)\.(\d+)(?:e[+-]?\d+)?(?![\w.])")
_BEGINS_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"  # the last four: as wide as East Asian letters
_NUMERIC = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_MOST_DECIMALS, _MOST_DIGITS = 6, 11
"""Of a number that somebody wrote; what a computer prints of one that is not round has 15 to 17 digits."""


def written(value: float) -> str:
    """A number with at most six significant digits; whole ones exactly.

    Example:
        >>> written(0.0008000000000000003), written(512), written(1e-5), written(12345678)
        ('0.0008', '512', '1e-05', '12345678')
        >>> written(1 / 3), written(float("nan")), written(-0.0)
        ('0.333333', 'nan', '0')
    """
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return str(int(value))
    return f"{value:.6g}"


def rounded(value: Any, digits: int = 6) -> Any:
    """JSON whose numbers have so many significant digits; whole ones are exact.

    Example:
        >>> rounded({"lr": 0.0008000000000000003, "n": [1 / 3, 12345678, True, "a"]})
        {'lr': 0.0008, 'n': [0.333333, 12345678, True, 'a']}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) and value == int(value) else float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {key: rounded(each, digits) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each, digits) for each in value]
    return value


def exact(value: Any) -> Any:
    """The same for files that programs read: twelve digits, which tell all that was measured apart.

    Example:
        >>> exact(62.114999999999995), exact(7), exact(None), exact("a")
        (62.115, 7, None, 'a')
    """
    return rounded(value, 12)


def field(value: Any) -> Any:
    """A value as a field of a CSV: numbers to twelve digits, text on one line that commands nothing.

    What a spreadsheet would take for a formula has an apostrophe before it, but for a text that is a number.

    Example:
        >>> field("cat"), field("=1+1"), field("-5"), field("-5 C"), field("a\\x1b[2J\\nb"), field(1 / 3)
        ('cat', "'=1+1", '-5', "'-5 C", 'a?[2J?b', 0.333333333333)
    """
    if not isinstance(value, str):
        return exact(value)
    text = harmless(value).replace("\n", "?").replace("\t", "?")
    return f"'{text}" if value[:1] in _BEGINS_FORMULA and value and not _NUMERIC.fullmatch(text) else text


def tidied(text: str) -> str:
    """A text whose numbers have at most six significant digits, where they had more behind the point.

    Example:
        >>> tidied("lr 0.0008000000000000003, momentum 0.9"), tidied("0.1.00000000"), tidied("x1.00000000")
        ('lr 0.0008, momentum 0.9', '0.1.00000000', 'x1.00000000')
    """
    return _NUMBER.sub(_shortened, text)


def _shortened(found: re.Match[str]) -> str:
    whole, decimals = found.groups()
    if len(decimals) > _MOST_DECIMALS or len(whole) + len(decimals) > _MOST_DIGITS:
        return written(float(found[0]))
    return found[0]
