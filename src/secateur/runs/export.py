"""A saved network, exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from secateur.architecture.opening import Factory
from secateur.deploy.c import to_c
from secateur.deploy.described import metadata_of
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from secateur.deploy.traced import Export
from secateur.deploy.widths import pad_for, read_padding
from secateur.errors import unknown
from secateur.names import AUTO
from secateur.records.out import check_not_read, expanded
from secateur.runs.exported import Source, file_in
from secateur.surgery.anatomy import anatomy_of

FORMATS: dict[str, tuple[Callable[..., Export], str]] = {
    "onnx": (to_onnx, "model.onnx"),
    "openvino": (to_openvino, "model.xml"),
    "c": (to_c, "model.c"),
}
"""Format -> how it is written, and the name of its file in a network's folder."""

RUNTIMES = {"onnx": "onnxruntime", "openvino": "openvino", "c": "c"}
"""Format -> what runs it."""


def export_directory(
    directory: str | Path,
    to: str = "onnx",
    out: str | Path | None = None,
    *,
    factory: Factory | None = None,
    with_preprocessing: bool = False,
    pad_widths: str | int = AUTO,
    **options: Any,
) -> Export:
    """Export the network that `secateur.save` left in a folder.

    Args:
        to: a key of `FORMATS`.
        out: the file to write, or a folder for it; None: `model.onnx`, `model.xml` or `model.c`
            in the folder itself.
        factory: builds the network, where it is not of a built-in family.
        with_preprocessing: take images as they are, uint8 (N, H, W, C) at the network's size, and give
            probabilities (`deploy.described.Preprocessed`); else the input is normalised outside.
        pad_widths: "auto" (channels of zero are added where the runtime is measured to be faster with them),
            "off", or the multiple that widths are padded to (`deploy.widths`).
        options: of `to_onnx`, `to_openvino` or `to_c`.
    """
    pad_widths = read_padding(pad_widths)
    if to not in FORMATS:
        raise unknown("export format", to, FORMATS)
    write, name = FORMATS[to]
    directory = expanded(directory, "the folder to export")
    path = file_in(out, directory, name)
    check_not_read([path, path.with_suffix(".bin"), path.with_suffix(".h")], directory)
    source = Source.of(directory, factory, with_preprocessing)
    network, padding = pad_for(source.model, anatomy_of(source.model).inputs, RUNTIMES[to], pad_widths)
    source = source.computing_with(network)
    metadata = metadata_of(source.artefact.to_json() if source.artefact else {}, source.where)
    written = write(source.network, source.inputs, path, metadata=metadata, **options)
    return written if padding is None else replace(written, widths=padding.said)
