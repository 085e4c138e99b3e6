"""Networks in int8, calibrated on examples: ONNX and OpenVINO files, each compared with the network in float.

No file in int8 can agree with torch to rounding. What is compared instead, on examples that nothing was
fitted to: the classes, and how far the outputs differ. What agrees no better than by chance is refused.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.atomic import write_bytes
from secateur.deploy.c.compiling import find_compiler
from secateur.deploy.described import key_in_onnx, metadata_of
from secateur.deploy.given import Given, Inputs, said_in_one_line
from secateur.deploy.onnx import onnx_bytes, onnxruntime_run, strip
from secateur.deploy.openvino import openvino_files, openvino_run
from secateur.deploy.quantizing import RECIPES, Arrays, Recipe, folded, macs_of, quantize
from secateur.deploy.traced import Run, Traced, check, quietly, target_path
from secateur.device import describe_device
from secateur.errors import InputError, require_extra
from secateur.network.inputs import map_inputs, pair_of
from secateur.network.wrapped import leaves
from secateur.process import silent
from secateur.records.out import check_ours
from secateur.records.quantized import Agreement, Pace, SideBySide

MOST = 256
"""Examples that are calibrated on, unless another number is asked for."""

GOOD = 0.05
"""Error up to which no other recipe is tried: about where 8 bits lie, and less noisy than counted classes."""

_BROKEN_KAPPA, _BROKEN_ERROR = 0.5, 0.3


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
        return _RUNS[self.kind](self.content, threads)

    def files(self, metadata: Mapping[str, str]) -> dict[str, bytes]:
        """The content of what is written, by suffix."""
        return _FILES[self.kind](self.content, metadata)

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
        return sum(map(len, _FILES[self.kind](self.plain, {}).values()))

    def latency(self, *, threads: int = 1, repeats: int = 50, limit_s: float = 2.0) -> SideBySide:
        """Run one example in float and in int8, in turns, on the runtime."""
        arrays = [value.numpy() for value in self.traced.given.with_batch(1).tensors.values()]
        runs = [partial(_RUNS[self.kind](content, threads), arrays) for content in (self.plain, self.content)]
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
        return {package: version(package) for package in ("torch", *_PACKAGES[self.kind])}

    def write(self, path: Path, metadata: Mapping[str, str]) -> Int8Export:
        """Leave the file, whole or not at all."""
        files = self.files(metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, content in reversed(files.items()):  # the .bin first: the .xml is what is looked for
            write_bytes(path.with_suffix(suffix), content)
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
    fitted = _taken(calibration, given, most, "calibration")
    if held_out is None:
        judged = fitted[-1:]
        fitted = fitted[:-1] or fitted
    else:
        judged = _taken(held_out, given, None, "held_out")
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
        content = _without_notes(quantize(prepared, batches, recipe))
        macs, int8_macs = macs_of(content, shapes)
        agreement = agreement_of(expected, outputs_of(_RUNS[kind](content, 1), held_out))
        examples = sum(_length(batch) for batch in calibration)
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


def refuse_if_broken(agreement: Agreement) -> None:
    """Raise InputError for another network than the one in float."""
    kappa = agreement.beyond_chance
    if agreement.error > _BROKEN_ERROR and (kappa is None or kappa < _BROKEN_KAPPA):
        raise InputError(
            f"in int8 the network must say what it says in float, got {agreement.in_words()}: no file is "
            "left; calibrate on more examples, of the kind that it will see, or export it without int8"
        )


def agreement_of(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> Agreement:
    """Compare the outputs of two networks on the same examples."""
    wanted, got = (
        [np.nan_to_num(np.asarray(each, np.float64)) for each in outputs] for outputs in (expected, found)
    )
    error = max(_relative_rms(one, other) for one, other in zip(wanted, got, strict=True))
    first, second = wanted[0], got[0]
    if first.ndim != 2 or first.shape[1] < 2:
        return Agreement(n=len(first) if first.ndim else 1, same=None, chance=None, error=error)
    said, again = first.argmax(1), second.argmax(1)
    shares = [np.bincount(each, minlength=first.shape[1]) / len(first) for each in (said, again)]
    return Agreement(
        n=len(first), same=int((said == again).sum()), chance=float(shares[0] @ shares[1]), error=error
    )


def _relative_rms(expected: np.ndarray, found: np.ndarray) -> float:
    """The root mean square of the difference over that of what is expected, at most 1e9."""
    size = float(np.sqrt(np.square(expected).mean())) if expected.size else 0.0
    difference = float(np.sqrt(np.square(expected - found).mean())) if expected.size else 0.0
    return min(difference / size, 1e9) if size else min(difference, 1e9)


def outputs_of(run: Run, batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """What a network gives on all batches, joined; batch by batch where an output has no examples."""
    with said_in_one_line("be run on the batches given"):
        found = [run(batch) for batch in batches]
    return [_joined([each[index] for each in found]) for index in range(len(found[0]))]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts[0].ndim else np.stack(parts)


def _length(batch: Sequence[np.ndarray]) -> int:
    return max((len(array) for array in batch if array.ndim), default=1)


def _taken(batches: Iterable[Any], given: Given, most: int | None, what: str) -> list[list[np.ndarray]]:
    """Read batches as arrays by position, up to `most` examples; InputError for what is wrapped otherwise."""
    found: list[list[np.ndarray]] = []
    count = 0
    for batch in batches:
        one = _as_given(batch, given, what)
        left = one.count if most is None else min(one.count, most - count)
        if left <= 0:
            break
        if left < one.count:
            one = replace(one, examples=one.examples.first(left))
        count += left
        arrays = [value.numpy() for value in one.on_cpu().tensors.values()]
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputError(f"the inputs in {what} must be finite, got inf or NaN: mend the data")
        found.append(arrays)
    if not found:
        raise InputError(f"{what} holds no batch: pass a DataLoader or a list of inputs")
    return found


def _as_given(batch: Any, given: Given, what: str) -> Given:
    """A batch, wrapped as the example inputs; of a pair (inputs, targets) the inputs."""
    wanted = [path for path, leaf in leaves(given.examples.inputs) if isinstance(leaf, Tensor)]

    def paths(inputs: Any) -> list[Any]:
        return [path for path, leaf in leaves(inputs) if isinstance(leaf, Tensor)]

    plain = map_inputs(batch, lambda tensor: tensor)
    inputs = plain if paths(plain) == wanted else pair_of(plain, what)[0]
    if paths(inputs) != wanted:
        raise InputError(
            f"a batch of {what} is wrapped as the example inputs, which have {len(wanted)} tensors, got "
            f"{len(paths(inputs))}: yield them, or pairs (inputs, targets)"
        )
    return Given(given.examples.like(inputs), given.found)


def _without_notes(content: bytes) -> bytes:
    import onnx

    proto = onnx.load_from_string(content)
    strip(proto)
    return bytes(proto.SerializeToString())


def _onnx_file(content: bytes, metadata: Mapping[str, str]) -> dict[str, bytes]:
    import onnx

    proto = onnx.load_from_string(content)
    del proto.metadata_props[:]
    for key, value in metadata.items():
        proto.metadata_props.add(key=key_in_onnx(key), value=value)
    return {".onnx": bytes(proto.SerializeToString())}


def _read_by_openvino(content: bytes) -> Any:
    """The ONNX file as OpenVINO reads it, names and free dimensions with it."""
    openvino = silent("openvino")
    with said_in_one_line("be read by OpenVINO"), quietly():
        return openvino.Core().read_model(content)


def _openvino_files(content: bytes, metadata: Mapping[str, str]) -> dict[str, bytes]:
    xml, weights = openvino_files(_read_by_openvino(content), metadata)
    return {".xml": xml, ".bin": weights}


def _run_by_openvino(content: bytes, threads: int) -> Run:
    xml, weights = openvino_files(_read_by_openvino(content), {})
    return openvino_run(xml, weights, "float32", threads)


_RUNS: dict[str, Callable[[bytes, int], Run]] = {"onnx": onnxruntime_run, "openvino": _run_by_openvino}
_FILES: dict[str, Callable[[bytes, Mapping[str, str]], dict[str, bytes]]] = {
    "onnx": _onnx_file,
    "openvino": _openvino_files,
}
_PACKAGES = {"onnx": ("onnxruntime",), "openvino": ("onnxruntime", "openvino")}


def side_by_side(
    runs: Sequence[Callable[[], object]], *, repeats: int, limit_s: float, **where: Any
) -> SideBySide:
    """Time the network in float and the one in int8 on one example, in turns; `where` they run is told."""
    before, after = _in_turns(runs, repeats, limit_s)
    return SideBySide(
        batch=1,
        before=_pace(before),
        after=_pace(after),
        speedup=statistics.median(one / other for one, other in zip(before, after, strict=True)),
        **where,
    )


def _in_turns(
    runs: Sequence[Callable[[], object]], repeats: int, limit_s: float
) -> tuple[list[int], list[int]]:
    """Time two calls in turns, in nanoseconds, at least 5 times each."""
    for run in (*runs, *runs, *runs):
        run()
    found: tuple[list[int], list[int]] = ([], [])
    end = time.perf_counter() + limit_s
    while len(found[0]) < 5 or (len(found[0]) < repeats and time.perf_counter() < end):
        for times, run in zip(found, runs, strict=True):
            started = time.perf_counter_ns()
            run()
            times.append(max(1, time.perf_counter_ns() - started))
    return found


def _pace(times: Sequence[int]) -> Pace:
    return Pace(
        median_ns=round(statistics.median(times)),
        p95_ns=round(statistics.quantiles(times, n=20)[-1]),
        n=len(times),
    )
