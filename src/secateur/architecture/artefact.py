"""What a saved network needs to be used: `artefact.json`, beside its architecture and its weights.

    {"schema": 1, "format": "secateur-artefact",
     "classes": ["beach", "city", "forest"],
     "preprocessing": {"channels": 3, "height": 64, "width": 64, "fit": "crop", ..., "mean": [...], ...},
     "task": "classification", "metric": "accuracy",
     "data": {"name": "photos", ..., "train": 108, "val": 12, "test": 30, ...},
     "label": "fisher params=25% seed 0", "run_id": "prune-2bc92b92550b-s0", "budget": "params=25%"}

A folder without it is of an earlier version, or of a network whose data nobody told: it loads as before.
docs/artefact.md describes every key.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn

from secateur.architecture.file import ARTEFACT_FILE
from secateur.data.preprocessing import Preprocessing
from secateur.errors import InputError
from secateur.network.task import CLASSIFICATION, Task
from secateur.records.results import DataSummary
from secateur.records.stored import Stored, Wrong, optional

FORMAT = "secateur-artefact"
CARRIED = {"classes": "the class names", "preprocess": "what makes an input of an image"}
"""The attributes that a loaded network gets, where it has none of these names itself."""

_ATTRIBUTE = "_secateur_artefact"
_MOST_CLASSES, _MOST_NAME = 1_000_000, 1000


class TrainedOn(Protocol):
    """What is asked of data: `secateur.data.Data` has it, and what a user's loaders are taken as."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def train(self) -> Sized: ...
    @property
    def val(self) -> Sized: ...
    @property
    def test(self) -> Sized: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact(Stored):
    """What a network tells apart, what it takes, and how it came about.

    Attributes:
        format: what the file says that it is.
        classes: their names, in the order of its scores; none where it gives numbers.
        preprocessing: `data.preprocessing.Preprocessing`, as JSON; None where nobody knows it.
        task, metric: what it was trained for, and judged by, by name.
        data: what it was trained on.
        label, run_id, budget: how it was made, where a run of ours made it.
    """

    SCHEMA: ClassVar[int | None] = 1
    SEALED: ClassVar[bool] = True

    format: str = FORMAT
    classes: tuple[str, ...] = ()
    preprocessing: Mapping[str, Any] | None = None
    task: str = "classification"
    metric: str = "accuracy"
    data: DataSummary | None = optional()  # noqa: RUF009  # a field
    label: str | None = optional()
    run_id: str | None = optional()
    budget: str | None = optional()

    @classmethod
    def of(
        cls,
        data: TrainedOn,
        task: Task = CLASSIFICATION,
        *,
        label: str | None = None,
        run_id: str | None = None,
        budget: str | None = None,
    ) -> Artefact:
        """Say what a network of this data takes and gives, and which run made it."""
        preprocessing: Preprocessing | None = getattr(data, "preprocessing", None)  # only images have one
        return cls(
            classes=tuple(data.classes),
            preprocessing=preprocessing.to_json() if preprocessing else None,
            task=task.name,
            metric=task.metric.name,
            data=replace(describe_data(data), found=None),  # the record has it
            label=label,
            run_id=run_id,
            budget=budget,
        )

    def check(self) -> None:
        """What types do not say."""
        if self.format != FORMAT:
            raise Wrong(f"'{FORMAT}'", self.format).inside("format")
        if len(self.classes) > _MOST_CLASSES or any(len(name) > _MOST_NAME for name in self.classes):
            raise Wrong("names of classes", f"{len(self.classes)} of them").inside("classes")
        if len(set(self.classes)) < len(self.classes):
            raise Wrong("names that differ", list(self.classes[:4])).inside("classes")
        if self.preprocessing is not None:
            try:
                Preprocessing.from_json(self.preprocessing)
            except InputError:
                raise Wrong("sizes, mean and std", dict(self.preprocessing)).inside("preprocessing") from None

    @property
    def preprocess(self) -> Preprocessing | None:
        """What makes an input of an image; None where nobody knows it."""
        return None if self.preprocessing is None else Preprocessing.from_json(self.preprocessing)

    def of_classes(self, count: int | None) -> bool:
        """Whether it can be of a network with so many scores; of one without scores nothing can be told."""
        return not self.classes or count is None or len(self.classes) == count


def describe_data(data: TrainedOn) -> DataSummary:
    """What pages and artefacts say of data."""
    return DataSummary(
        name=data.name,
        label=data.label,
        train=len(data.train),
        val=len(data.val),
        test=len(data.test),
        classes=data.num_classes,
        shape=tuple(data.shape),
        fingerprint=data.fingerprint,
        found=getattr(data, "found", None),  # a user's own loaders were not looked at
    )


def read_artefact(directory: Path, count: int | None = None) -> Artefact | None:
    """Read a folder's `artefact.json`; None where there is none.

    Args:
        count: of the network's scores, which the classes must fit.

    Raises:
        InputError: where it is damaged, or of another network.
    """
    path = directory / ARTEFACT_FILE
    if not path.is_file():
        return None
    found = Artefact.load(path)
    if not found.of_classes(count):
        raise InputError(
            f"{path}: the network has {count} classes, but the file names {len(found.classes)}: it was "
            "edited, or is of another network"
        )
    return found


def artefact_of(model: nn.Module) -> Artefact | None:
    """Look up what is known of a network that was loaded, or that one is a copy of.

    Args:
        model: what `sc.load` gave, or a copy of it.

    Returns:
        Its classes, what it takes and how it came about; None where nothing is known.

    Raises:
        InputError: for what is no network.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"a model is a torch.nn.Module, got {type(model).__name__}: load a folder with sc.load first"
        )
    found = model.__dict__.get(_ATTRIBUTE)
    return found if isinstance(found, Artefact) else None


def carry_artefact(model: nn.Module, artefact: Artefact) -> None:
    """Have a network know its classes and what it takes: `model.classes`, `model.preprocess(image)`.

    They are plain attributes, no part of its state; those that it has itself stay, with a warning.
    """
    model.__dict__[_ATTRIBUTE] = artefact
    for name, what in CARRIED.items():
        value = getattr(artefact, name)
        if name not in model.__dict__ and hasattr(model, name):
            warnings.warn(
                f"the network has an attribute '{name}' of its own, which stays: {what} of the artefact are "
                f"secateur.artefact(model).{name}",
                stacklevel=3,
            )
        elif value is not None:
            model.__dict__[name] = value


def told(
    model: nn.Module,
    count: int | None,
    data: TrainedOn | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Artefact | None:
    """What is to be written beside a network: what the user tells, else what it carries; None: nothing.

    Args:
        count: of its scores.

    Raises:
        InputError: where the user names another number of classes.
    """
    carried = artefact_of(model)
    if data is None and classes is None and preprocessing is None:
        return carried if carried is not None and carried.of_classes(count) else None
    found = Artefact.of(data) if data is not None else carried or Artefact()
    if classes is not None:
        found = replace(found, classes=tuple(map(str, classes)))
    if preprocessing is not None:
        found = replace(found, preprocessing=preprocessing.to_json())
    if not found.of_classes(count):
        raise InputError(
            f"the network has {count} classes, got {len(found.classes)} names: pass one for each score"
        )
    return found
