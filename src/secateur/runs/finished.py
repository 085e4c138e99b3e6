"""What a finished network's folder says of it, read and checked: what a model card is written from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from secateur.architecture.artefact import Artefact, read_artefact
from secateur.architecture.file import (
    ARCHITECTURE_FILE,
    TRANSFORMERS_FILE,
    WEIGHTS_FILE,
    problem_with,
    read_architecture,
)
from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.errors import InputError
from secateur.models import FACTORIES
from secateur.network.finite import check_finite_file
from secateur.network.masks import count_nonzeros
from secateur.records.manifest import check_whole
from secateur.records.measured import MEASURED_FILE, Measured, hash_of
from secateur.records.out import expanded
from secateur.records.point import Point
from secateur.records.quantized import Quantized, quantized_in
from secateur.records.record import Record
from secateur.records.results import Results
from secateur.runs.made import RECORD_FILE, Made, counts_of
from secateur.runs.store import RunStore


@dataclass(frozen=True)
class Control:
    """What a network was cut from: the uncut one, trained with the same data and seed, or what was given.

    Attributes:
        accuracy: on the test split.
        counts: "params", "macs", "weights", "nonzeros", "bytes", what is known.
    """

    run_id: str
    accuracy: float
    counts: Mapping[str, int]
    epochs: int | None

    @property
    def given(self) -> bool:
        """Whether it came trained, from wherever."""
        return self.run_id.startswith("given-")

    @classmethod
    def of(cls, found: Point | Record) -> Control:
        """Of a run's record or its point."""
        return cls(found.run_id, found.accuracy, counts_of(found), found.epochs)


@dataclass(frozen=True)
class Finished:
    """A finished network's folder.

    Attributes:
        architecture: the content of `architecture.json`, whose form was checked.
        model: the network; None where only its author's factory could build it, and none was given.
        counts: of the network as it lies there: "params", "macs"; "nonzeros" where it could be loaded;
            "bytes", of its file.
        made: how; None where no run of ours made it.
        control: what it was cut from, where a record of that lies beside it.
        measured: sizes and times, where `secateur measure` left them of these very weights.
        quantized: the files in int8 that lie beside it.
        command: that made it, where it is known.
        compared: whether it is the `best/` of a comparison.
    """

    directory: Path
    architecture: Mapping[str, Any]
    model: nn.Module | None
    counts: Mapping[str, int]
    artefact: Artefact | None
    made: Made | None
    control: Control | None
    measured: Measured | None
    quantized: tuple[Quantized, ...]
    command: str | None
    compared: bool

    @property
    def factory(self) -> str:
        """The name of what builds the network."""
        return str(self.architecture["factory"])

    @property
    def needs_factory(self) -> bool:
        """Whether whoever loads it must have its author's code."""
        return self.factory not in FACTORIES and not (self.directory / TRANSFORMERS_FILE).is_file()

    @property
    def budget(self) -> str | None:
        """As the user wrote it; None where none was given, or nobody knows."""
        made = self.made.budget if self.made else None
        return made or (self.artefact.budget if self.artefact else None)

    @property
    def test_size(self) -> int | None:
        """Examples of the test split."""
        return self.artefact.data.test if self.artefact and self.artefact.data else None

    @property
    def val_size(self) -> int | None:
        """Examples of the validation split."""
        return self.artefact.data.val if self.artefact and self.artefact.data else None

    @property
    def is_classifier(self) -> bool:
        """Whether it says one class of each image."""
        return self.artefact is not None and self.artefact.task == "classification"

    @property
    def selected_on_test(self) -> bool:
        """Whether a recipe that took part chose its epoch by the test split."""
        return self.made is not None and _says(self.made.identity, "select_on", "test")

    @property
    def base_model(self) -> str | None:
        """The model of the Hub whose weights it began as; None where it began anew, or elsewhere."""
        name = self.factory.removeprefix("hf:")
        return name if self.factory.startswith("hf:") and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None

    @property
    def is_sparse(self) -> bool:
        """Whether weights were set to zero: fewer than nine in ten are left."""
        weights = self.made.counts.get("weights", 0) if self.made else 0
        return self.counts.get("nonzeros", weights) < 0.9 * weights

    @classmethod
    def of(cls, directory: str | Path, factory: Factory | None = None) -> Finished:
        """Read a folder that `train`, `prune`, `compare` (its `best/`) or `sc.save` left.

        Raises:
            InputError: where there is no network, a file is damaged, or one is of another network.
        """
        folder = network_folder(expanded(directory, "the folder of a network"))
        content, path = read_architecture(folder)
        if problem := problem_with(content):
            raise InputError(f"{path}: {problem}")
        model = _loaded(folder, content, factory)
        artefact = read_artefact(folder, content.get("classes"))
        made = Made.read(folder / RECORD_FILE)
        counts = {"params": content["params"], "macs": content["macs"]}
        if model is not None:
            counts["nonzeros"] = count_nonzeros(model)
        if made is not None:
            _check_same(counts, made, folder)
            _check_weights(made, folder)
        counts["bytes"] = (folder / WEIGHTS_FILE).stat().st_size
        results = _results_beside(folder, made)
        control = None if made is None else _control(folder, made, results)
        command = results.command if results else None
        measured, quantized = _measured(folder), tuple(quantized_in(folder))
        return cls(
            folder,
            content,
            model,
            counts,
            artefact,
            made,
            control,
            measured,
            quantized,
            command,
            results is not None,
        )


def network_folder(path: Path) -> Path:
    """The folder of a network that a path means; InputError where it means none, or several."""
    if path.name in (ARCHITECTURE_FILE, WEIGHTS_FILE):
        path = path.parent
    if (path / "best" / ARCHITECTURE_FILE).is_file() and not (path / ARCHITECTURE_FILE).is_file():
        raise InputError(
            f"'{path}' holds a comparison, not one network: name '{path / 'best'}', or one of its runs"
        )
    if not path.is_dir() or not (path / ARCHITECTURE_FILE).is_file():
        raise InputError(
            f"no network at '{path}': name a folder that train, prune, compare (its best/) or sc.save left"
        )
    return path


def _loaded(folder: Path, content: Mapping[str, Any], factory: Factory | None) -> nn.Module | None:
    """The network; of one that cannot be built here, that its file is whole."""
    known = content["factory"] in FACTORIES or (folder / TRANSFORMERS_FILE).is_file()
    if known or factory is not None:
        model: nn.Module = load_model(folder, factory)
        return model
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(f"no weights at '{path}': name a folder with {ARCHITECTURE_FILE} and {WEIGHTS_FILE}")
    check_finite_file(path)
    check_whole(folder)
    return None


def _check_same(counts: Mapping[str, int], made: Made, folder: Path) -> None:
    """Raise InputError where the record counts another network than lies beside it."""
    for name, count in counts.items():
        said = made.counts.get(name, count)
        if said != count:
            raise InputError(
                f"{folder / RECORD_FILE} must be of the network beside it, but says {said:,} {name} where it "
                f"has {count:,}: it was saved over; push a folder that sc.save left, without the record"
            )


def _check_weights(made: Made, folder: Path) -> None:
    """Raise InputError where the record is of other weights than lie beside it."""
    if made.weights_sha256 not in (None, hash_of(folder / WEIGHTS_FILE)):
        raise InputError(
            f"{folder / RECORD_FILE} must be of the weights beside it, and is of others, which were saved "
            "over: "
            "its accuracies are not theirs; save them in another folder, sc.save(model, folder, data=data)"
        )


def _results_beside(folder: Path, made: Made | None) -> Results | None:
    """The comparison whose `best/` this is."""
    path = folder.parent / "results.json"
    if folder.name != "best" or made is None or not path.is_file():
        return None
    results = Results.load(path)
    return results if any(point.run_id == made.run_id for point in results.points) else None


def _control(folder: Path, made: Made, results: Results | None) -> Control | None:
    """The unpruned network of the same seed; None where nothing says what it came to."""
    if results is not None:
        for point in results.dense:
            if point.seed == made.seed:
                return Control.of(point)
    stores = (RunStore(folder), RunStore(folder.parent), RunStore(folder.parent.parent))
    for store in stores:
        if store.finished(made.run_id):
            return next(_dense_before(store, made.run_id), None)
    return None


def _dense_before(store: RunStore, run_id: str) -> Iterator[Control]:
    """What runs before a run trained without cutting anything."""
    seen = {run_id}
    record = store.record(run_id)
    while record is not None and record.trained and record.trained not in seen:
        seen.add(record.trained)
        record = store.record(record.trained)
        if record is not None and record.run_id.startswith(("train-", "given-")):
            yield Control.of(record)


def _measured(folder: Path) -> Measured | None:
    """What was measured of the weights that lie there; InputError where it was of others, or is damaged."""
    path = folder / MEASURED_FILE
    if not path.is_file():
        return None
    found = Measured.load(path)
    if found.weights_sha256 != hash_of(folder / WEIGHTS_FILE):
        raise InputError(
            f"{path} must be of the weights beside it, and is of others, which were saved over: measure "
            "again, "
            f"secateur measure {folder}"
        )
    return found


def _says(content: Any, key: str, value: Any) -> bool:
    """Whether JSON has a key of this value anywhere."""
    if isinstance(content, Mapping):
        return content.get(key) == value or any(_says(each, key, value) for each in content.values())
    return isinstance(content, list) and any(_says(each, key, value) for each in content)
