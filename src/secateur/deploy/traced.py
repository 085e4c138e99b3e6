"""Networks for other runtimes, each proved to compute what torch computes before its file is left in place.

ONNX for onnxruntime and OpenVINO's own files (.xml with a .bin beside it). Both start at one program of
`torch.export`, traced from a copy on the CPU, so that the model itself is never touched. The proof: seeded
inputs through torch and through the runtime that reads the very bytes of the file, at other batch sizes than
the traced one where the batch size is free. The network keeps its precision: nothing is rounded to float16.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.deploy.given import Given, Inputs, randomised, said_in_one_line
from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.network.finite import check_finite
from secateur.network.inputs import call
from secateur.network.modes import in_evaluation
from secateur.network.plain import bare
from secateur.records.out import check_writable, expanded

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-6}
"""Largest difference from torch that an export may have, in units of the output's largest magnitude."""


_TRACED, _CHECKED = 2, (1, 3)  # batch sizes: torch.export makes a constant of 1, so it is traced at 2


@dataclass(frozen=True)
class Export:
    """A file that was written, and what its proof found.

    Attributes:
        path: the `.onnx`, or the `.xml` whose `.bin` lies beside it.
        format: "onnx", "openvino" or "c".
        size: bytes on disk, of both files where there are two.
        inputs, outputs: their names in the file, in order.
        dynamic_batch: whether any batch size may be fed.
        opset: of ONNX; None for OpenVINO.
        dtype: of the network, "float32" for example.
        checked: the batch sizes that were compared with torch.
        difference: the largest difference found, in units of the output's largest magnitude.
        tolerance: the difference that would have been too large.
        versions: of torch and of the runtime that was compared with it.
        widths: what became of channel widths that the runtime does not like (`deploy.widths`), in words.
    """

    path: Path
    format: str
    size: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic_batch: bool
    opset: int | None
    dtype: str
    checked: tuple[int, ...]
    difference: float
    tolerance: float
    versions: dict[str, str]
    widths: str = field(default="", kw_only=True)


class _Plain(nn.Module):
    """Takes tensors by position and gives a tuple of tensors, whatever the network's own way is."""

    def __init__(self, model: nn.Module, given: Given):
        super().__init__()
        self.model, self.given = model, given

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(named_outputs(self.call(*inputs)).values())

    def call(self, *inputs: Tensor) -> Any:
        """Call the network and give what it itself returns."""
        return call(self.model, self.given.wrapped(inputs))


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Name the tensors that a network returns; InputError where it returns none."""
    if isinstance(result, Tensor):
        return {"output": result}
    if isinstance(getattr(result, "logits", None), Tensor):
        return {"logits": result.logits}
    if isinstance(result, Mapping):
        found = {str(key): value for key, value in result.items() if isinstance(value, Tensor)}
    elif isinstance(result, Sequence) and all(isinstance(value, Tensor) for value in result):
        found = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        found = {}
    if not found:
        raise InputError(
            "a network to be exported returns a tensor, a sequence or a mapping of tensors, or an object "
            f"with logits; got {type(result).__name__}: wrap it in a module that does"
        )
    return found


@dataclass(frozen=True)
class Traced:
    """A network on its way into a file.

    Attributes:
        plain: a copy of it on the CPU, in evaluation mode, what an export is compared with.
        program: of `torch.export`.
        given: the user's inputs, on the CPU.
        outputs: the names of what it returns.
    """

    plain: nn.Module
    program: torch.export.ExportedProgram
    given: Given
    outputs: tuple[str, ...]
    dynamic_batch: bool
    dtype: str

    @classmethod
    def of(cls, model: nn.Module, example_inputs: Inputs, dynamic_batch: bool = True) -> Traced:
        """Trace a copy of the model; InputError in one line where that is not possible."""
        check_finite(model, "the network")
        given = Given.of(example_inputs).on_cpu()
        plain = in_evaluation(_Plain(copy_of(model).cpu(), given))
        dtype = _dtype_of(plain, given.tensors)
        shapes = {"inputs": given.free_dimensions()} if dynamic_batch else None
        traced = given.with_batch(_TRACED) if dynamic_batch else given
        inputs = tuple(traced.tensors.values())
        with given.blamed(), torch.no_grad():
            outputs = tuple(named_outputs(plain.call(*inputs)))
        fix = ": export it with dynamic_batch=False" if dynamic_batch else ""
        with said_in_one_line("be traced by torch.export", fix), quietly():
            program = torch.export.export(plain, inputs, dynamic_shapes=shapes, strict=False)
        return cls(plain, program, given, outputs, dynamic_batch, dtype)

    @property
    def examples(self) -> dict[str, Tensor]:
        """The user's inputs by name, on the CPU."""
        return self.given.tensors

    @property
    def batches(self) -> tuple[dict[str, Tensor], ...]:
        """The inputs of the proof: of other sizes than the traced one, where the size is free."""
        if not self.dynamic_batch:
            return (randomised(self.examples, seed=0),)
        return tuple(randomised(self.given.with_batch(size).tensors, seed=size) for size in _CHECKED)

    @property
    def free(self) -> tuple[dict[int, Any] | None, ...]:
        """Of every input the dimension that may be of any size."""
        return self.given.free_dimensions() if self.dynamic_batch else (None,) * len(self.examples)

    @property
    def checked(self) -> tuple[int, ...]:
        """How many examples each batch of the proof has."""
        return _CHECKED if self.dynamic_batch else (self.given.count,)

    def record(
        self,
        kind: str,
        path: Path,
        size: int,
        opset: int | None,
        difference: float,
        tolerance: float | None,
        runtime: str,
    ) -> Export:
        """Say what is known of a file that was written."""
        return Export(
            path,
            kind,
            size,
            tuple(self.examples),
            self.outputs,
            self.dynamic_batch,
            opset,
            self.dtype,
            self.checked,
            difference,
            tolerance or TOLERANCE[self.dtype],
            {package: version(package) for package in ("torch", runtime)},
        )


def copy_of(model: nn.Module) -> nn.Module:
    """Make a deep copy in evaluation mode, so that no buffer, mode or device of the model itself changes."""
    return in_evaluation(copied(bare(model)))


def check(run: Run, traced: Traced, tolerance: float | None = None) -> float:
    """Find the largest difference between a runtime and torch; InputError where it is above the tolerance.

    Args:
        tolerance: in units of the output's largest magnitude, as is the result; None: that of the dtype.
    """
    allowed = TOLERANCE[traced.dtype] if tolerance is None else tolerance
    if not 0 < allowed < float("inf"):
        raise InputError(
            f"the tolerance of an export must be above 0, got {tolerance}: leave it out for 1e-4"
        )
    batches = zip(traced.checked, traced.batches, strict=True)
    worst = max(_difference(run, traced, batch, size) for size, batch in batches)
    if not worst <= allowed:
        raise InputError(
            f"the exported network must agree with torch within {allowed:g} of its largest output, got a "
            f"difference of {worst:.2g}: no file is left; export it in float32, or allow more with tolerance="
        )
    return worst


def _difference(run: Run, traced: Traced, batch: Mapping[str, Tensor], size: int) -> float:
    with torch.inference_mode():
        expected = traced.plain(*batch.values())
    with said_in_one_line(f"be run at a batch of {size}"):
        found = run([value.numpy() for value in batch.values()])
    return max(relative(got, wanted) for got, wanted in zip(found, expected, strict=True))


def relative(found: np.ndarray, expected: Tensor) -> float:
    """max |found - expected| / max |expected|; infinite where the shapes differ or a number is none."""
    wanted = expected.double().numpy()
    if not np.isfinite(wanted).all():
        raise InputError(
            "the network's own outputs must be finite for a comparison, got inf or NaN on standard normal "
            "inputs: look for weights that are not finite"
        )
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    scale = np.abs(wanted).max(initial=0.0) or 1.0
    return float(np.abs(found.astype(np.float64) - wanted).max(initial=0.0) / scale)


def target_path(path: str | Path, suffix: str) -> Path:
    """Read the path of a file to write; InputError unless it ends in `suffix` and can be written."""
    path = expanded(path, "the file to export to")
    if path.suffix != suffix or path.is_dir():
        raise InputError(f"the file to export to must end in {suffix}, got '{path}': write model{suffix}")
    check_writable(path.parent)
    return path


def _dtype_of(model: nn.Module, examples: Mapping[str, Tensor]) -> str:
    """Name the network's precision; InputError where no runtime's arrays have it."""
    tensors = (*model.parameters(), *model.buffers(), *examples.values())
    found = {str(value.dtype).removeprefix("torch.") for value in tensors if value.is_floating_point()}
    if not found <= TOLERANCE.keys():
        raise InputError(
            f"a network to be exported is in {', '.join(TOLERANCE)}, got {', '.join(sorted(found))}: "
            "convert it with model.float()"
        )
    return next((dtype for dtype in TOLERANCE if dtype in found), "float32")  # the coarsest


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the exporters' chatter while this holds: deprecations inside them, logs nobody asked for."""
    level, root = logging.root.manager.disable, logging.getLogger()
    handlers = root.handlers[:]
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        root.handlers[:] = handlers  # a first logging.warning() adds one
