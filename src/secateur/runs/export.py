"""A saved network, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur.architecture.artefact import Artefact, artefact_of
from secateur.architecture.file import ARTEFACT_FILE
from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.deploy.described import INSIDE, OUTSIDE, Preprocessed, example_images, metadata_of
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from secateur.deploy.traced import Export
from secateur.errors import InputError, unknown
from secateur.network.task import Task
from secateur.records.out import check_not_read, expanded
from secateur.surgery.anatomy import anatomy_of

FORMATS: dict[str, tuple[Callable[..., Export], str]] = {
    "onnx": (to_onnx, "model.onnx"),
    "openvino": (to_openvino, "model.xml"),
}
"""Format -> how it is written, and the name of its file in a network's folder."""


def export_directory(
    directory: str | Path,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    factory: Factory | None = None,
    with_preprocessing: bool = False,
    **options: Any,
) -> Export:
    """Export the network that `secateur.save` left in a folder.

    Args:
        to: a key of `FORMATS`.
        out: the file to write; None: `model.onnx` or `model.xml` in the folder itself.
        factory: builds the network, where it is not of a built-in family.
        with_preprocessing: take images as they are, uint8 (N, H, W, C) at the network's size, and give
            probabilities (`deploy.described.Preprocessed`); else the input is normalised outside.
        options: of `to_onnx` or `to_openvino`.
    """
    if to not in FORMATS:
        raise unknown("export format", to, FORMATS)
    write, name = FORMATS[to]
    directory = expanded(directory, "the folder to export")
    path = expanded(out, "--out") if out is not None else directory / name
    check_not_read([path, path.with_suffix(".bin")], directory)
    model = load_model(directory, factory)
    network, inputs, where = model, anatomy_of(model).inputs, OUTSIDE
    artefact = artefact_of(model)
    if with_preprocessing:
        network, inputs = _preprocessed(model, artefact, directory)
        where = INSIDE
    metadata = metadata_of(artefact.to_json() if artefact else {}, where)
    return write(network, inputs, path, metadata=metadata, **options)


def _preprocessed(model: Any, artefact: Artefact | None, directory: Path) -> tuple[Preprocessed, Any]:
    """The network that takes images, and images; InputError where nobody knows how they are normalised."""
    if artefact is None or artefact.preprocess is None:
        raise InputError(
            f"--with-preprocessing needs an {ARTEFACT_FILE} that says how images are normalised, got none in "
            f"'{directory}': save the network with sc.save(model, directory, data=data)"
        )
    task = Task.named(artefact.task)
    return Preprocessed(model, artefact.preprocess, task).eval(), example_images(artefact.preprocess)
