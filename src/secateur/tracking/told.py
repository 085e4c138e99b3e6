"""What services are told of a run: its settings, its epochs, what it came to; flat numbers and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.records.ours import VERSION
from secateur.records.record import Record

Value = bool | int | float | str
MOST_CHARACTERS = 500
"""Of one setting; the rest of a long one (a network's layers, say) is in the run's record."""


@dataclass(frozen=True)
class Told:
    """One run, as trackers know it.

    Attributes:
        run_id: of the store, which is the tracker's too.
        label: for people.
        seed: the replicate.
        identity: all that can change a number, as JSON.
        about: what it is in the command's question: arm, budget.
    """

    run_id: str
    label: str
    seed: int
    identity: Mapping[str, Any]
    about: Mapping[str, str]

    @classmethod
    def of_record(cls, record: Record, about: Mapping[str, str]) -> Told:
        """A run that is finished."""
        return cls(record.run_id, record.label, record.seed, record.identity, about)

    @property
    def kind(self) -> str:
        """What its id begins with: "train", "prune"."""
        return self.run_id.partition("-")[0]

    def tags(self) -> list[str]:
        """A few words to find it by."""
        return [word[:60] for word in dict.fromkeys(("secateur", self.kind, *self.about.values()))]

    def settings(self, commit: str | None) -> dict[str, Value]:
        """Everything that it was made with, each setting under a dotted name."""
        known = {
            "run_id": self.run_id,
            "label": self.label,
            "kind": self.kind,
            "seed": self.seed,
            "secateur": VERSION,
            "commit": commit,
            **self.about,
        }
        return flat({**self.identity, **known})


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        found: under `final/`: on the test split, in size, and what it cost.
        epochs: behind so many.
        settings: of which settings, `Told.settings`.
    """

    found: Mapping[str, float]
    epochs: int
    settings: Mapping[str, Value]

    @classmethod
    def of_record(cls, record: Record, settings: Mapping[str, Value]) -> Outcome:
        """Of a run that is finished."""
        metric = record.measure.name.replace(" ", "_")
        found = {
            f"test_{metric}": record.accuracy,
            f"val_{metric}": record.val_accuracy,
            **{f"test_{name.replace(' ', '_')}": value for name, value in (record.also or {}).items()},
            **{name: getattr(record, name) for name in ("params", "macs", "weights", "nonzeros", "bytes")},
            "train_compute": record.train_compute,
            "wall_s": record.wall_s,
            "epochs": record.epochs,
        }
        final = {f"final/{name}": value for name, value in found.items() if _is_number(value)}
        return cls(final, record.epochs, settings)


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, Value]:
    """Nested settings as one level; rows of them with commas, and nothing for what is None.

    Example:
        >>> flat({"recipe": {"lr": 0.1, "milestones": [0.5, 0.75], "ema": None}, "flip": True})
        {'recipe.lr': 0.1, 'recipe.milestones': '0.5, 0.75', 'flip': True}
    """
    found: dict[str, Value] = {}
    for key, value in content.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found.update(flat(value, f"{name}."))
        elif isinstance(value, bool | int | float):
            found[name] = value
        elif isinstance(value, list | tuple):
            found[name] = ", ".join(map(str, value))[:MOST_CHARACTERS]
        elif value is not None:
            found[name] = str(value)[:MOST_CHARACTERS]
    return found


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What a line of a history measured, by its keys there.

    Example:
        >>> numbers({"epoch": 3, "loss": 0.5, "val_accuracy": None, "lr": 0.1})
        {'loss': 0.5, 'lr': 0.1}
    """
    return {key: value for key, value in row.items() if key != "epoch" and _is_number(value)}


def rows_of(record: Record) -> Sequence[Mapping[str, Any]]:
    """The epochs of a finished run, as its history has them."""
    return [row.to_json() for row in record.history]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
