"""What a comparison leaves to be taken: the network in `best/`, and the lines that use it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from secateur.architecture.artefact import Artefact, read_artefact
from secateur.architecture.file import (
    ARCHITECTURE_FILE,
    TRANSFORMERS_FILE,
    WEIGHTS_FILE,
    problem_with,
    read_architecture,
)
from secateur.errors import InputError
from secateur.models import FACTORIES
from secateur.network.task import TASKS
from secateur.records.point import Point
from secateur.records.reading import read_json
from secateur.records.results import Results
from secateur.records.taken import Line, NothingToTake, Taken

YOURS = "yours:build"
"""Stands for the user's own function where only that can build the network."""


def taken(directory: Path, results: Results) -> Taken | NothingToTake:
    """Look at `best/` beside a report.

    Args:
        directory: of the report, as the user named it: the lines to paste have it so.
    """
    folder = directory / "best"
    if not all((folder / name).is_file() for name in (ARCHITECTURE_FILE, WEIGHTS_FILE)):
        return NothingToTake("best/ does not lie beside this page; the command below makes it again.")
    point = _point(folder, results)
    if point is None:
        return NothingToTake("best/ holds a network of other results than these.")
    try:
        content, path = read_architecture(folder)
        if problem := problem_with(content):
            raise InputError(f"{path}: {problem}")
        artefact = read_artefact(folder, content.get("classes"))
    except InputError as error:
        return NothingToTake(f"best/ cannot be read: {error}.")
    foreign = content["factory"] not in FACTORIES and not (folder / TRANSFORMERS_FILE).is_file()
    return Taken(
        point=point,
        bytes=(folder / WEIGHTS_FILE).stat().st_size,
        lines=tuple(_lines(folder, artefact, foreign)),
        notes=tuple(_notes(artefact, str(content["factory"]) if foreign else "")),
    )


def _point(folder: Path, results: Results) -> Point | None:
    """The point whose network lies there, by what its record says; None where it is none of these."""
    try:
        said = read_json(folder / "record.json")
        key = (said["run_id"], said["arm"], said["budget"], said["seed"])
    except (InputError, KeyError, TypeError):
        return None
    return next((each for each in results.points if _key(each) == key), None)


def _key(point: Point) -> tuple[str, str, str | None, int]:
    return point.run_id, point.arm, point.budget, point.seed


def _lines(folder: Path, artefact: Artefact | None, foreign: bool) -> Iterator[Line]:
    """What works for this network when it is pasted, with the path as the user wrote it."""
    plain = str(folder) if not str(folder).startswith("-") else f"./{folder}"
    path, given = shlex.quote(plain), f" --factory {YOURS}" if foreign else ""
    load = f"import secateur as sc; model = sc.load({str(folder)!r}{', factory=build' if foreign else ''})"
    yield Line("load", f"from yours import build; {load}" if foreign else load)
    if _is_used_with_images(artefact):
        yield Line("predict", f"secateur predict {path} photo.jpg{given}")
    yield Line("export", f"secateur export {path} --to onnx{given}")
    yield Line("measure", f"secateur measure {path}{given}")


def _is_used_with_images(artefact: Artefact | None) -> bool:
    return artefact is not None and artefact.preprocessing is not None and artefact.task in TASKS


def _notes(artefact: Artefact | None, factory: str) -> Iterator[str]:
    if _is_used_with_images(artefact):
        yield "photo.jpg stands for an image of yours, or a folder of them."
    else:
        yield "It takes what it was trained on: tensors made as yours were."
    if factory:
        yield f"{YOURS} stands for the module and function of yours that build the uncut network, {factory}."
