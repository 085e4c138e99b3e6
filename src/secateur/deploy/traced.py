"""Networks for other runtimes, each proved to compute what torch computes before its file is left in place.

ONNX for onnxruntime and OpenVINO's own files (.xml with a .bin beside it). Both start at one program of
`torch.export`, traced from a copy on the CPU, so that the model itself is never touched. The proof: seeded
inputs through torch and through the runtime that reads the very bytes of the file, at other batch sizes than
the traced one where the batch size is free. The network keeps its precision: nothing is rounded to float16.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import InputError
from secateur.network.copies import copied
from secateur.records.out import check_writable, expanded

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-6}
"""Largest difference from torch that an export may have, in units of the output's largest magnitude."""


EXTRAS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


_TRACED, _CHECKED = 2, (1, 3)  # batch sizes: torch.export makes a constant of 1, so it is traced at 2


@dataclass(frozen=True)
class Export:
    """A file that was written, and what its proof found.

    Attributes:
        path: the `.onnx`, or the `.xml` whose `.bin` lies beside it.
        size: bytes on disk, of both files where there are two.
        inputs, outputs: their names in the file, in order.
        dynamic_batch: whether any batch size may be fed.
        opset: of ONNX; None for OpenVINO.
        dtype: of the network, "float32" for example.
        checked: the batch sizes that were compared with torch.
        difference: the largest difference found, in units of the output's largest magnitude.
        tolerance: the difference that would have been too large.
        versions: of torch and of the runtime that was compared with it.
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


class _Plain(nn.Module):
    """Takes tensors by position and gives a tuple of tensors, whatever the network's own way is."""

    def __init__(self, model: nn.Module, keywords: tuple[str, ...] | None):
        super().__init__()
        self.model, self.keywords = model, keywords

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(named_outputs(self.call(*inputs)).values())

    def call(self, *inputs: Tensor) -> Any:
        """Call the network and give what it itself returns."""
        if self.keywords is None:
            return self.model(*inputs)
        return self.model(**dict(zip(self.keywords, inputs, strict=True)))


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


def named_inputs(inputs: Inputs) -> dict[str, Tensor]:
    """Name the example inputs as they are named in a file; InputError where they are not tensors."""
    if isinstance(inputs, Tensor):
        return {"input": inputs}
    if isinstance(inputs, Mapping):
        found = {str(key): value for key, value in inputs.items()}
    else:
        found = {f"input_{index}": value for index, value in enumerate(inputs)}
    wrong = [
        f"{name}: {type(value).__name__}" for name, value in found.items() if not isinstance(value, Tensor)
    ]
    if wrong or not found:
        raise InputError(
            "example inputs are a tensor, a sequence of tensors or tensors by keyword, got "
            f"{', '.join(wrong) or 'none'}: leave out what is not a tensor"
        )
    return found


def with_batch(inputs: Mapping[str, Tensor], batch_size: int) -> dict[str, Tensor]:
    """Give the inputs another number of examples along dimension 0, by repeating theirs.

    Raises:
        InputError: where they do not share dimension 0.
    """
    lengths = {len(value) if value.dim() else 0 for value in inputs.values()}
    if len(lengths) > 1 or 0 in lengths:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
        raise InputError(
            f"a batch lies along dimension 0 of every input, at least 1 long, got {shapes}: give every input "
            "that dimension (an export can do without: dynamic_batch=False)"
        )
    rows = torch.arange(batch_size) % lengths.pop()
    return {name: value[rows.to(value.device)] for name, value in inputs.items()}


def randomised(inputs: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Draw standard normal numbers for every input of real numbers; whole numbers keep their meaning."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in inputs.items()
    }


@dataclass(frozen=True)
class Traced:
    """A network on its way into a file.

    Attributes:
        plain: a copy of it on the CPU, in evaluation mode, what an export is compared with.
        program: of `torch.export`.
        examples: the user's inputs by name, on the CPU.
        outputs: the names of what it returns.
    """

    plain: _Plain
    program: torch.export.ExportedProgram
    examples: dict[str, Tensor]
    outputs: tuple[str, ...]
    dynamic_batch: bool
    dtype: str

    @classmethod
    def of(cls, model: nn.Module, example_inputs: Inputs, dynamic_batch: bool = True) -> Traced:
        """Trace a copy of the model; InputError in one line where that is not possible."""
        keywords = tuple(example_inputs) if isinstance(example_inputs, Mapping) else None
        examples = {name: value.detach().cpu() for name, value in named_inputs(example_inputs).items()}
        plain = _Plain(copy_of(model).cpu(), keywords).eval()
        dtype = _dtype_of(plain, examples)
        inputs = tuple(with_batch(examples, _TRACED).values()) if dynamic_batch else tuple(examples.values())
        with said_in_one_line("run on the example inputs"), torch.no_grad():
            outputs = tuple(named_outputs(plain.call(*inputs)))
        free = {0: torch.export.Dim("batch")} if dynamic_batch else None
        fix = ": export it with dynamic_batch=False" if dynamic_batch else ""
        with said_in_one_line("be traced by torch.export", fix), quietly():
            program = torch.export.export(
                plain, inputs, dynamic_shapes={"inputs": tuple(free for _ in inputs)}, strict=False
            )
        return cls(plain, program, examples, outputs, dynamic_batch, dtype)

    @property
    def batches(self) -> tuple[dict[str, Tensor], ...]:
        """The inputs of the proof: of other sizes than the traced one, where the size is free."""
        if not self.dynamic_batch:
            return (randomised(self.examples, seed=0),)
        return tuple(randomised(with_batch(self.examples, size), seed=size) for size in _CHECKED)

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
            tuple(_length(batch) for batch in self.batches),
            difference,
            tolerance or TOLERANCE[self.dtype],
            {package: version(package) for package in ("torch", runtime)},
        )


def copy_of(model: nn.Module) -> nn.Module:
    """Make a deep copy in evaluation mode, so that no buffer, mode or device of the model itself changes."""
    with said_in_one_line("be copied (it holds tensors that torch computed, not parameters)"):
        return copied(model).eval()


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
    worst = max(_difference(run, traced, batch) for batch in traced.batches)
    if not worst <= allowed:
        raise InputError(
            f"the exported network must agree with torch within {allowed:g} of its largest output, got a "
            f"difference of {worst:.2g}: no file is left; export it in float32, or allow more with tolerance="
        )
    return worst


def _difference(run: Run, traced: Traced, batch: Mapping[str, Tensor]) -> float:
    with torch.inference_mode():
        expected = traced.plain(*batch.values())
    with said_in_one_line(f"be run at a batch of {_length(batch)}"):
        found = run([value.numpy() for value in batch.values()])
    return max(_relative(got, wanted) for got, wanted in zip(found, expected, strict=True))


def _relative(found: np.ndarray, expected: Tensor) -> float:
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


def require_packages(extra: str) -> None:
    """Raise InputError unless the packages of an optional extra can be imported."""
    for package in EXTRAS[extra]:
        try:
            importlib.import_module(package)
        except ImportError:
            raise InputError(
                f"this needs the package {package}, which is not installed: pip install 'secateur[{extra}]'"
            ) from None


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


def _length(batch: Mapping[str, Tensor]) -> int:
    first = next(iter(batch.values()))
    return len(first) if first.dim() else 1


@contextmanager
def said_in_one_line(what: str, fix: str = "") -> Iterator[None]:
    """Turn any error into an InputError of one line: exporters fail in many ways, over many lines."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        said = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
        raise InputError(f"the network cannot {what}: {type(cause).__name__}: {said[:300]}{fix}") from error


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
