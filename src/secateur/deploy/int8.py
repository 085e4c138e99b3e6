"""Networks in int8, calibrated on examples: ONNX and OpenVINO files, each compared with the network in float.

No file in int8 can agree with torch to rounding. What is compared instead, on examples that nothing was
fitted to: the classes, and how far the outputs differ. What agrees no better than by chance is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from secateur.atomic import make_folder, write_all
from secateur.deploy.agreeing import GOOD, agreement_of, outputs_of, refuse_if_broken
from secateur.deploy.c.compiling import find_compiler
from secateur.deploy.calibrating import MOST, length, read_batches
from secateur.deploy.described import metadata_of
from secateur.deploy.given import Given, Inputs
from secateur.deploy.int8_files import FILES, PACKAGES, RUNS, without_notes
from secateur.deploy.onnx import onnx_bytes, onnxruntime_run
from secateur.deploy.quantizing import RECIPES, Arrays, Recipe, folded, macs_of, quantize
from secateur.deploy.taking_turns import side_by_side
from secateur.deploy.traced import Run, Traced, check, target_path
from secateur.device import describe_device
from secateur.errors import InputError, require_extra
from secateur.records.out import check_ours
from secateur.records.quantized import Agreement, SideBySide


@dataclass(frozen=True)
class Int8Export:
    """A file in int8 that was written, and what is known of it.

    Attributes:
        path: the `.onnx`, or the `.xml` whose `.bin` lies beside it.
        format: "onnx" or "openvino".
        size: bytes on disk, of both files where there are two.
        inputs, outputs: their names in the file, in order.
        dynamic_batch: whether any batch size may be fed.
        recipe: how it was quantised.
        calibrated_on: so many examples.
        agreement: with the network in float, on the examples held out.
        macs, int8_macs: multiply-accumulates of one example, and those of them in int8.
        versions: of torch and of the runtime.
    """

    path: Path
    format: str
    size: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic_batch: bool
    recipe: Recipe
    calibrated_on: int
    agreement: Agreement
    macs: int
    int8_macs: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Int8:
    """A network in int8 before it is written.

    Attributes:
        kind: "onnx" or "openvino".
        traced: the network in float, as torch runs it; plain: as an ONNX file, proved to agree with it.
        content: the ONNX file in int8.
    """

    kind: str
    traced: Traced
    plain: bytes
    content: bytes
    recipe: Recipe
    calibrated_on: int
    agreement: Agreement
    macs: int
    int8_macs: int

    def run(self, threads: int = 1) -> Run:
        """Make the runtime run it."""
        return RUNS[self.kind](self.content, threads)

    def files(self, metadata: Mapping[str, str]) -> dict[str, bytes]:
        """The content of what is written, by suffix."""
        return FILES[self.kind](self.content, metadata)

    @property
    def how(self) -> str:
        """What is in int8 and how."""
        return self.recipe.in_words

    @property
    def weight_bits(self) -> int:
        """Of the weights."""
        return self.recipe.bits

    @property
    def method(self) -> str | None:
        """How the ranges of activations were found."""
        return self.recipe.method

    activations = "uint8"

    def bytes(self, metadata: Mapping[str, str]) -> int:
        """Of the files."""
        return sum(map(len, self.files(metadata).values()))

    def plain_bytes(self) -> int:
        """Bytes of the same files in float."""
        return sum(map(len, FILES[self.kind](self.plain, {}).values()))

    def latency(self, *, threads: int = 1, repeats: int = 50, limit_s: float = 2.0) -> SideBySide:
        """Run one example in float and in int8, in turns, on the runtime."""
        arrays = [value.numpy() for value in self.traced.given.with_batch(1).tensors.values()]
        runs = [partial(RUNS[self.kind](content, threads), arrays) for content in (self.plain, self.content)]
        runtime = {"onnx": "onnxruntime"}.get(self.kind, self.kind)
        return side_by_side(
            runs,
            runtime=runtime,
            version=version(runtime),
            threads=threads,
            device=describe_device(torch.device("cpu")),
            repeats=repeats,
            limit_s=limit_s,
        )

    @property
    def versions(self) -> dict[str, str]:
        """Of torch, and of the packages that quantised and run it."""
        return {package: version(package) for package in ("torch", *PACKAGES[self.kind])}

    def write(self, path: Path, metadata: Mapping[str, str]) -> Int8Export:
        """Leave the file, whole or not at all."""
        files = self.files(metadata)
        make_folder(path.parent)
        # The .bin first: the .xml is what is looked for.
        write_all({path.with_suffix(suffix): content for suffix, content in reversed(files.items())})
        return Int8Export(
            path,
            self.kind,
            sum(map(len, files.values())),
            tuple(self.traced.examples),
            self.traced.outputs,
            self.traced.dynamic_batch,
            self.recipe,
            self.calibrated_on,
            self.agreement,
            self.macs,
            self.int8_macs,
            self.versions,
        )


def to_int8_onnx(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    calibration: Iterable[Any],
    held_out: Iterable[Any] | None = None,
    most: int = MOST,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> Int8Export:
    """Write the network in int8 as ONNX, by ONNX Runtime's static quantiser.

    Args:
        model, example_inputs, dynamic_batch, metadata: as of `to_onnx`; in float32.
        path: ends in `.onnx`.
        calibration: batches of real inputs, of the training split: each wrapped as `example_inputs` are, or a
            pair (inputs, targets) of which the targets are left out. Taken until there are `most` examples.
        held_out: batches that the result is compared with float on; None: the last batch of `calibration`,
            which is then not calibrated on, unless it is the only one.
        most: examples that are calibrated on at most.

    Returns:
        What was written, and how far it agrees with the network in float.

    Raises:
        InputError: where a package is missing, the network cannot be exported or quantised, or agrees with
            float hardly better than by chance; no file is left, and one that was there stays as it was.

    Example:
        >>> found = to_int8_onnx(model, batch, "small.onnx", calibration=loader)  # doctest: +SKIP
        >>> found.agreement.in_words()  # doctest: +SKIP
        'the same class for 128 of 128; outputs differ by 2.1% (root mean square)'
    """
    return _write(
        "onnx", ".onnx", model, example_inputs, path, calibration, held_out, most, dynamic_batch, metadata
    )


def to_int8_openvino(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    calibration: Iterable[Any],
    held_out: Iterable[Any] | None = None,
    most: int = MOST,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> Int8Export:
    """Write the network in int8 for OpenVINO: what ONNX Runtime's quantiser made, as OpenVINO reads it.

    Args:
        model, example_inputs, calibration, held_out, most, dynamic_batch, metadata: as of `to_int8_onnx`.
        path: ends in `.xml`; the weights lie in the `.bin` beside it.

    Returns:
        What was written, and how far it agrees with the network in float.

    Raises:
        InputError: as of `to_int8_onnx`; both packages are needed.
    """
    return _write(
        "openvino", ".xml", model, example_inputs, path, calibration, held_out, most, dynamic_batch, metadata
    )


def _write(
    kind: str,
    suffix: str,
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    calibration: Iterable[Any],
    held_out: Iterable[Any] | None,
    most: int,
    dynamic_batch: bool,
    metadata: Mapping[str, str] | None,
) -> Int8Export:
    path = int8_target(path, suffix)
    if most < 1:
        raise InputError(f"at least 1 example is calibrated on, got {most}: 256 are enough for most networks")
    check_packages(kind)
    given = Given.of(example_inputs)
    fitted = read_batches(calibration, given, most, "calibration")
    if held_out is None:
        judged = fitted[-1:]
        fitted = fitted[:-1] or fitted
    else:
        judged = read_batches(held_out, given, None, "held_out")
    found = quantized(kind, Traced.of(model, example_inputs, dynamic_batch), fitted, judged)
    return found.write(path, metadata or metadata_of({}))


def int8_target(path: str | Path, suffix: str) -> Path:
    """Read the path of a file to write; InputError where it may not be written."""
    path = target_path(path, suffix)
    beside = {".xml": [path.with_suffix(".bin")], ".c": [path.with_suffix(".h")]}
    check_ours([path, *beside.get(suffix, [])])
    return path


def check_packages(kind: str) -> None:
    """Raise InputError unless what quantises and what runs the result are here."""
    if kind == "c":
        find_compiler()
        return
    require_extra("onnx")
    if kind == "openvino":
        require_extra("openvino")


def quantized(
    kind: str,
    traced: Traced,
    calibration: Sequence[Sequence[np.ndarray]],
    held_out: Sequence[Sequence[np.ndarray]],
    recipes: Sequence[Recipe] = RECIPES,
) -> Int8:
    """Quantise a network by the first recipe that is good enough, else by the best.

    Args:
        kind: "onnx" or "openvino", which runs it.
        calibration, held_out: batches of inputs by position; the recipe is chosen on the latter.
        recipes: in the order in which they are tried.

    Raises:
        InputError: where it cannot be done, nothing is in int8, or what comes out is another network.
    """
    if traced.dtype != "float32":
        raise InputError(
            f"a network that goes into int8 is in float32, got {traced.dtype}: convert it with model.float()"
        )
    plain, _ = onnx_bytes(traced)
    check(onnxruntime_run(plain), traced)
    prepared, names = folded(plain), list(traced.examples)
    one = traced.given.with_batch(1) if traced.dynamic_batch else traced.given
    shapes = [tuple(value.shape) for value in one.tensors.values()]
    batches: list[Arrays] = [dict(zip(names, batch, strict=True)) for batch in calibration]
    expected = outputs_of(onnxruntime_run(plain), held_out)
    best: Int8 | None = None
    for recipe in recipes:
        content = without_notes(quantize(prepared, batches, recipe))
        macs, int8_macs = macs_of(content, shapes)
        agreement = agreement_of(expected, outputs_of(RUNS[kind](content, 1), held_out))
        examples = sum(length(batch) for batch in calibration)
        found = Int8(kind, traced, plain, content, recipe, examples, agreement, macs, int8_macs)
        if best is None or agreement.error < best.agreement.error:
            best = found
        if agreement.error <= GOOD:
            break
    assert best is not None
    if not best.int8_macs:
        raise InputError(
            "a network in int8 has layers with constant weights (convolutions, linear layers) that ONNX "
            "Runtime's quantiser takes, got none: export it without int8"
        )
    refuse_if_broken(best.agreement)
    return best
