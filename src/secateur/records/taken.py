"""What lies in `best/` of a comparison, and how it is used: the report's card "Take it"."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.records.point import Point


@dataclass(frozen=True)
class Line:
    """Something to paste: what it does, and the text itself."""

    what: str
    code: str


@dataclass(frozen=True)
class Taken:
    """A network to take.

    Attributes:
        point: of the network.
        bytes: of its weights on disk.
        lines: that load, use and export it, as they are pasted where the comparison's command ran.
        notes: what should be known of these lines.
    """

    point: Point
    bytes: int
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NothingToTake:
    """Why there is no network to take, in a sentence."""

    why: str
