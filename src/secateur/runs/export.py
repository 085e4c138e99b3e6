"""A saved network, exported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from secateur.deploy.traced import Export
from secateur.errors import unknown
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
    **options: Any,
) -> Export:
    """Export the network that `secateur.save` left in a folder.

    Args:
        to: a key of `FORMATS`.
        out: the file to write; None: `model.onnx` or `model.xml` in the folder itself.
        factory: builds the network, where it is not of a built-in family.
        options: of `to_onnx` or `to_openvino`.
    """
    if to not in FORMATS:
        raise unknown("export format", to, FORMATS)
    write, name = FORMATS[to]
    model = load_model(directory, factory)
    return write(model, anatomy_of(model).inputs, out or Path(directory) / name, **options)
