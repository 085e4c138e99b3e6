"""Targets that are no classes: numbers, and several labels for an image, from the columns of a table.

regression     columns of numbers                                        (N,) or (N, K)
multilabel     columns of 0 and 1, or one column of lists of labels      (N, K), 0 or 1
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secateur.data.memory import check_memory
from secateur.errors import InputError, unknown
from secateur.records.found import listed, plain

REGRESSION, MULTILABEL = "regression", "multilabel"
TASKS = ("classification", MULTILABEL, REGRESSION)

_USUAL = ("target", "targets", "label", "labels", "value", "score", "y")
_YES_OR_NO = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}
_BETWEEN = re.compile(r"[|;,\s]+")


@dataclass(frozen=True)
class Targets:
    """What the columns of a table say.

    Args:
        names: of the labels, or of the numbers.
        values: split -> float32 (N,) of one number, else (N, K).
    """

    names: tuple[str, ...]
    values: Mapping[str, Tensor]


def check_task(task: str) -> None:
    """Raise InputError where there is no such task."""
    if task not in TASKS:
        raise unknown("task", task, TASKS)


def targets_of(
    columns: Mapping[str, Mapping[str, Sequence[Any]]], task: str, asked: str | None, where: str
) -> Targets:
    """Read the targets.

    Args:
        columns: name -> split -> values, as many for every column: all that could be meant.
        asked: names with commas between them; None: what the columns leave no doubt about.
        where: the table, for messages.

    Raises:
        InputError: none or several could be meant, values are missing, or are none of the task's.
    """
    chosen = _asked(columns, asked, where) if asked is not None else _found(columns, task, where)
    for name in chosen:
        _check_there(columns[name], name, where)
    if task == REGRESSION:
        read = {name: _each(columns[name], _number, f"numbers, but {name} of {where}") for name in chosen}
        return _stacked(read, alone=len(chosen) == 1)
    if len(chosen) == 1 and not _is_yes_or_no(columns[chosen[0]]):
        return _from_lists(columns[chosen[0]], chosen[0], where)
    return _stacked(
        {
            name: _each(columns[name], _bit, f"0 or 1 for every label, but {name} of {where}")
            for name in chosen
        }
    )


def _asked(columns: Mapping[str, Any], asked: str, where: str) -> list[str]:
    names = [name.strip() for name in asked.split(",") if name.strip()]
    missing = [name for name in names if name not in columns]
    if missing or not names:
        raise InputError(
            f"--label-column names columns of {where}, but '{plain(', '.join(missing))}' is none: it has "
            f"{listed([*columns])}"
        )
    return names


def _found(columns: Mapping[str, Mapping[str, Sequence[Any]]], task: str, where: str) -> list[str]:
    """The columns that are meant where nobody says which."""
    if task == REGRESSION:
        possible = [name for name, values in columns.items() if _all(values, _number)]
        return _only(possible, columns, "a column of numbers", where)
    bits = [name for name, values in columns.items() if _is_yes_or_no(values)]
    if len(bits) > 1:
        return bits
    lists = [name for name, values in columns.items() if not _all(values, _number)]
    return _only(bits or lists, columns, "columns of 0 and 1, or one of lists of labels", where)


def _only(possible: Sequence[str], columns: Mapping[str, Any], what: str, where: str) -> list[str]:
    usual = [name for name in possible if name.lower() in _USUAL]
    chosen = usual if len(usual) == 1 else list(possible)
    if len(chosen) != 1:
        could = f"{listed(chosen)} could each be it" if chosen else "none is there"
        raise InputError(
            f"{where} must have {what}, but {could}: it has {listed([*columns]) or 'no other'}; choose "
            "with --label-column NAME, or NAME,NAME"
        )
    return chosen


def _check_there(values: Mapping[str, Sequence[Any]], name: str, where: str) -> None:
    for split, each in values.items():
        if missing := sum(value is None or value == "" for value in each):
            raise InputError(
                f"every image needs a target, but {missing} of {len(each)} in split '{split}' of {where} "
                f"have no {plain(name)}: fill them in, or remove the rows"
            )


def _number(value: Any) -> float | None:
    """A finite number, also where it is written as text; None for anything else."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _bit(value: Any) -> float | None:
    return _YES_OR_NO.get(str(value).strip().lower())


def _all(values: Mapping[str, Sequence[Any]], read: Any) -> bool:
    return all(
        read(value) is not None for each in values.values() for value in each if value not in (None, "")
    )


def _is_yes_or_no(values: Mapping[str, Sequence[Any]]) -> bool:
    return _all(values, _bit)


def _each(values: Mapping[str, Sequence[Any]], read: Any, wanted: str) -> dict[str, Tensor]:
    """Every split's values, float32 (N,)."""
    found = {}
    for split, each in values.items():
        numbers = [read(value) for value in each]
        if None in numbers:
            raise InputError(
                f"targets must be {wanted} has '{plain(str(each[numbers.index(None)]))[:40]}': correct it, "
                "or choose other columns with --label-column"
            )
        found[split] = torch.tensor(numbers, dtype=torch.float32)
    return found


def _stacked(read: Mapping[str, Mapping[str, Tensor]], alone: bool = False) -> Targets:
    splits = [*next(iter(read.values()))]
    whole = {split: torch.stack([column[split] for column in read.values()], 1) for split in splits}
    return Targets(tuple(map(plain, read)), {s: v[:, 0] if alone else v for s, v in whole.items()})


def _from_lists(values: Mapping[str, Sequence[Any]], name: str, where: str) -> Targets:
    """One column that lists every image's labels: a list, JSON of one, or words with | ; , or spaces."""
    read = {split: [_labels(value) for value in each] for split, each in values.items()}
    names = sorted({label for each in read.values() for labels in each for label in labels})
    if not names:
        raise InputError(f"{plain(name)} of {where} must list labels, but lists none: choose another column")
    place = {label: index for index, label in enumerate(names)}
    images = sum(map(len, read.values()))
    said = f"{where}: {len(names):,} labels for each of {images:,} images"
    check_memory(4 * len(names) * images, said, "leave out what few images have")
    found = {}
    for split, each in read.items():
        found[split] = torch.zeros(len(each), len(names))
        for row, labels in enumerate(each):
            found[split][row, [place[label] for label in labels]] = 1
    return Targets(tuple(map(plain, names)), found)


def _labels(value: Any) -> list[str]:
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = value.strip(" []")
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return [word for word in _BETWEEN.split(str(value)) if word]
