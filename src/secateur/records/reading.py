"""JSON from anywhere, read one way: of bounded size and depth, plain values alone, or a line saying why not.

Whatever a file of ours holds may come from somebody else. What is read here is what `atomic.write_json` can
have written: UTF-8 without a mark, no NaN, no key twice, no number that no float holds, no half of a letter.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from secateur.errors import InputError, UnreadableError

MOST_BYTES = 2**26
"""Of a file of ours; the largest, a comparison of 10,000 networks, has 20 MB."""
MOST_DEPTH = 64
"""Lists and objects within each other."""
MOST_VALUES = 4_000_000
"""Values and keys: each takes up to 100 bytes of memory."""
MOST_DIGITS = 310
"""In a row: the largest float has 309."""

_TEXT = re.compile(rb'"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)', re.DOTALL)
"""A text; one without an end goes to the file's, so that no byte is looked at twice."""
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LARGE = re.compile(rb"[eE]\+?0{3}")
"""An exponent of three digits or more, whatever they are, when they are all written as zeros."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=%,+@:-]{0,199}")
_CUT = "it was cut off, edited, or is another kind of file"


def is_file_name(text: str) -> bool:
    """Whether a text from a file may be the name of a file or folder: one part of a path, and no more.

    Example:
        >>> is_file_name("train-2bc9-s0"), is_file_name("../x"), is_file_name(".."), is_file_name("a/b")
        (True, False, False, False)
    """
    return _NAME.fullmatch(text) is not None


def read_json(path: Path, again: str = _CUT, most: int = MOST_BYTES) -> Any:
    """Read a file.

    Args:
        again: how a user gets one that can be read.
        most: bytes that it may have.

    Raises:
        InputError: there is none, it is no regular file, too large, or not what `parse_json` takes.
    """
    return parse_json(read_file(path, again, most), str(path), again, most)


def read_file(path: Path, again: str = _CUT, most: int = MOST_BYTES) -> bytes:
    """Read what a file holds; InputError where there is none, it is no regular file, or too large."""
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{path}: must be a file, and is none: {again}")
        if state.st_size > most:
            raise InputError(f"{path}: must have at most {most:,} bytes, got {state.st_size:,}: {again}")
        with open(path, "rb") as file:  # it may grow meanwhile
            content = file.read(state.st_size + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise unreadable(path, error, again) from None
    return content


_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def unreadable(path: Path, error: Exception, again: str) -> InputError:
    """Make the error for a file that cannot be read; one that is absent is no `UnreadableError`."""
    why = getattr(error, "strerror", None) or str(error)
    absent = not isinstance(error, OSError) or isinstance(error, _ABSENT)
    return (InputError if absent else UnreadableError)(f"{path}: cannot be read ({why}): {again}")


def parse_json(
    content: bytes | str, source: str, again: str = _CUT, most: int = MOST_BYTES, *, finite: bool = True
) -> Any:
    """Read JSON that a file holds, whole or in its header.

    Args:
        source: the file, for messages.
        finite: whether NaN and infinities are refused; a training that is under way may hold some.

    Raises:
        InputError: it is too large, nested too deep, or no JSON that we could have written.
    """
    try:
        return _parsed(content.encode() if isinstance(content, str) else content, most, finite)
    except (ValueError, RecursionError) as error:
        why = str(error).split(": line")[0] if isinstance(error, ValueError) else "nested too deep"
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else why
        why = "half a letter" if isinstance(error, UnicodeEncodeError) else why
        raise InputError(f"{source}: not valid JSON ({why}): {again}") from None


def _parsed(content: bytes, most: int, finite: bool) -> Any:
    """Raise ValueError for all that `parse_json` refuses."""
    if len(content) > most:
        raise ValueError(f"more than {most:,} bytes")
    if content.startswith(b"\xef\xbb\xbf"):
        raise ValueError("it begins with a byte order mark")
    bare = _TEXT.sub(b"", content) if b"\\" in content else b"".join(content.split(b'"')[::2])
    if sum(map(bare.count, (b",", b":", b"[", b"{"))) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values")
    brackets = bare.translate(None, _NOT_BRACKETS)
    if max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > MOST_DEPTH:
        raise ValueError(f"nested more than {MOST_DEPTH} deep")
    digits = bare.translate(_AS_ZEROS)
    if b"0" * (MOST_DIGITS + 1) in digits:
        raise ValueError(f"a number of more than {MOST_DIGITS} digits")
    exponents = b"e" in digits or b"E" in digits
    may_be_large = b"0" * 200 in digits or (exponents and _LARGE.search(digits))  # else below 1e200 * 1e99
    found = json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_without_repeats,
        parse_constant=_refuse if finite else float,
        parse_float=_finite if finite and may_be_large else None,
    )
    if b"\\u" in content and _HALF.search(content):
        json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate can be written nowhere
    return found


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    found = float(text)
    if not math.isfinite(found):
        raise ValueError("a number that is too large")
    return found
