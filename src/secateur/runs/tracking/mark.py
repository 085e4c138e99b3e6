"""`tracked.json` of a run: how much of it each service was told, so that nothing is told twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from secateur.atomic import make_folder, write_json
from secateur.errors import InputError
from secateur.records.stored import Stored

TRACKED_FILE = "tracked.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark(Stored):
    """How far one service is.

    Attributes:
        place: where it was told, as a hash.
        epoch: the last that it was told; 0: none.
        finished: it knows what the run came to.
    """

    place: str
    epoch: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks(Stored):
    """How far the services are, by name."""

    SCHEMA: ClassVar[int | None] = 1
    AGAIN: ClassVar[str] = "delete the file, and the run is told again"

    services: Mapping[str, Mark] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, folder: Path) -> Marks:
        """What was written down; nothing where that cannot be read."""
        path = folder / TRACKED_FILE
        try:
            return cls.load(path) if path.is_file() else cls()
        except InputError:
            return cls()

    def with_mark(self, name: str, mark: Mark) -> Marks:
        """The same with another mark of a service."""
        return replace(self, services={**self.services, name: mark})

    def write(self, folder: Path) -> None:
        """Write it down."""
        make_folder(folder)
        write_json(folder / TRACKED_FILE, self.to_json())
