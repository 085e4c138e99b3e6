"""Lists of whole numbers as short texts: "0 64x1 3x64, 7" instead of hundreds of numbers.

    text     pieces with ", " between, one after the other
    piece    START, then COUNTxSTEP for each loop, the outermost first: "0 2x10 3x1" is 0 1 2 10 11 12

Sites of channel groups are nearly always one piece. What a text comes to is known before any of it is made.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

_PIECE = r"\d{1,9}(?: \d{1,9}x-?\d{1,9}){0,6}"
_TEXT = re.compile(rf"{_PIECE}(?:, {_PIECE})*")
_SHORTEST_RUN = 3  # of which a piece is shorter than its numbers

Loops = list[tuple[int, int]]
"""(count, step) of each loop, the outermost first."""


def is_pattern(text: object) -> bool:
    """Whether it is a text of this kind; how many numbers it comes to is another question."""
    return isinstance(text, str) and _TEXT.fullmatch(text) is not None


def as_pattern(numbers: Sequence[int]) -> str:
    """Write numbers, at least one, each at least 0, in their order.

    Example:
        >>> as_pattern([0, 64, 128, 1, 65, 129]), as_pattern([0, 1, 2, 3, 7, 5])
        ('0 2x1 3x64', '0 4x1, 7, 5')
    """
    numbers = list(numbers)
    whole = _loops(numbers)
    if whole is not None:
        return _piece(numbers[0], whole)
    pieces, at = [], 0
    while at < len(numbers):
        length = _run(numbers, at)
        length = length if length >= _SHORTEST_RUN else 1
        pieces.append(_piece(numbers[at], _loops(numbers[at : at + length]) or []))
        at += length
    return ", ".join(pieces)


def _piece(start: int, loops: Loops) -> str:
    return " ".join([str(start), *(f"{count}x{step}" for count, step in loops)])


def _run(numbers: Sequence[int], at: int) -> int:
    """Count the numbers from one on that are equally far from each other."""
    if at + 1 >= len(numbers):
        return len(numbers) - at
    step, end = numbers[at + 1] - numbers[at], at + 2
    while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
        end += 1
    return end - at


def _loops(numbers: Sequence[int]) -> Loops | None:
    """Find the loops that give the numbers; None where there are none, or too many."""
    if len(numbers) == 1:
        return []
    length = _run(numbers, 0)
    if len(numbers) % length:
        return None
    starts, step = numbers[::length], numbers[1] - numbers[0]
    inner = [i * step for i in range(length)]
    for row, start in enumerate(starts):
        if [number - start for number in numbers[row * length : (row + 1) * length]] != inner:
            return None
    outer = _loops(starts)
    return None if outer is None or len(outer) > 5 else [*outer, (length, step)]


def _parsed(text: str) -> list[tuple[int, Loops]]:
    found = []
    for piece in text.split(", "):
        start, *loops = piece.split(" ")
        split = [loop.split("x") for loop in loops]
        found.append((int(start), [(int(count), int(step)) for count, step in split]))
    return found


def count_of(text: str) -> int:
    """Count the numbers that a text comes to, none of which is made."""
    return sum(math.prod(count for count, _ in loops) for _, loops in _parsed(text))


def bounds_of(text: str) -> tuple[int, int]:
    """Find the smallest and the largest number that a text comes to, none of which is made."""
    ends = []
    for start, loops in _parsed(text):
        reach = [(count - 1) * step for count, step in loops if count]
        ends += [start + sum(min(0, each) for each in reach), start + sum(max(0, each) for each in reach)]
    return min(ends), max(ends)


def numbers_of(text: str) -> Tensor:
    """Make the numbers of a text (int64); ask `count_of` first whether there are too many.

    Example:
        >>> numbers_of("0 2x1 3x64, 7").tolist()
        [0, 64, 128, 1, 65, 129, 7]
    """
    pieces = []
    for start, loops in _parsed(text):
        made = torch.tensor([start])
        for count, step in loops:
            made = (made[:, None] + torch.arange(count) * step).flatten()
        pieces.append(made)
    return torch.cat(pieces)
