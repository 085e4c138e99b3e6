"""What an exported network says of itself, and the network with its image's normalisation within.

The metadata of a file are texts under the same keys in ONNX (`metadata_props`) and OpenVINO (`rt_info`, below
"secateur"). docs/artefact.md names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from secateur.data.preprocessing import Preprocessing, scale_and_shift
from secateur.errors import InputError
from secateur.network.inputs import logits_of
from secateur.network.task import Task
from secateur.records.ours import MARK, VERSION
from secateur.records.reading import parse_json

OUTSIDE, INSIDE = "outside", "inside"
"""Whether images are normalised before the network is called, or by its own operators."""


def metadata_of(artefact: Mapping[str, Any], where: str = OUTSIDE) -> dict[str, str]:
    """Describe a network for its file.

    Args:
        artefact: the content of `artefact.json`; empty where nothing is known.
        where: images are normalised, `OUTSIDE` or `INSIDE`.

    Returns:
        "version" always; what is known of "classes", "input", "fit", "mean", "std", "task", and all of it as
        JSON under "artefact".
    """
    found: dict[str, Any] = {"version": VERSION}
    if not artefact:
        return found
    found |= {"classes": artefact["classes"], "task": artefact["task"], "artefact": artefact}
    if pixels := artefact.get("preprocessing"):
        found["input"] = _input_of(pixels, where)
        found |= {key: pixels[key] for key in ("fit", "background", "mean", "std")}
        found["normalisation"] = where
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found.items()}


def _input_of(pixels: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the file's input is, in words that a program can read."""
    size = {key: pixels[key] for key in ("height", "width", "channels")}
    if where == INSIDE:
        return {**size, "layout": "NHWC", "dtype": "uint8"}
    return {**size, "layout": "NCHW", "dtype": "float32"}


class Preprocessed(nn.Module):
    """Takes images as cameras give them: uint8 (N, H, W, C), at the network's size; gives probabilities.

    Resizing stays outside: no runtime's operators give Pillow's antialiased pixels to the bit.

    Attributes:
        model: takes what `preprocessing` makes.
        scale, shift: (x / 255 - mean) / std as one multiplication and one addition, as outside.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, task: Task):
        super().__init__()
        self.model, self.task = model, task
        scale, shift = scale_and_shift(preprocessing.mean, preprocessing.std)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        real = (value.dtype for value in model.parameters() if value.is_floating_point())
        self.dtype = next(real, torch.float32)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, H, W, C) uint8 -> (N, K), which is called "probabilities" (of regression: "output")."""
        normalised = images.permute(0, 3, 1, 2).float() * self.scale + self.shift
        scores = logits_of(self.model(normalised.to(self.dtype)))
        name = "probabilities" if self.task.name in ("classification", "multilabel") else "output"
        return {name: self.task.probabilities(scores)}


def example_images(preprocessing: Preprocessing) -> dict[str, Tensor]:
    """Images of noise, by the name of the input, on which an export is compared with torch."""
    wanted, generator = preprocessing.format, torch.Generator().manual_seed(0)
    shape = (8, wanted.height, wanted.width, wanted.channels)
    return {"images": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}


def of_file(metadata: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
    """Read back what `metadata_of` made, of untrusted texts: the artefact, not checked; where normalised."""
    try:
        artefact = parse_json(metadata.get("artefact", "null"), "artefact")
    except InputError:
        artefact = None
    return artefact if isinstance(artefact, dict) else None, metadata.get("normalisation", OUTSIDE)


def key_in_onnx(key: str) -> str:
    """The metadata key as ONNX has it, in one flat list."""
    return f"{MARK}.{key}"
