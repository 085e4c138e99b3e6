"""Networks as C files, proved to compute what torch computes before they are left in place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from secateur.architecture.artefact import artefact_of
from secateur.architecture.opening import Factory
from secateur.architecture.saved import load_model
from secateur.atomic import make_folder, write_text
from secateur.deploy.apart import Beside
from secateur.deploy.c.compiling import Compiled, Port, has_compiler
from secateur.deploy.c.eight import dequantized
from secateur.deploy.c.naming import identifier
from secateur.deploy.c.operators import lowered
from secateur.deploy.c.program import VALUES, Convolution, Linear, Program, Values
from secateur.deploy.c.writing import Written, written
from secateur.deploy.described import metadata_of
from secateur.deploy.given import Given, Inputs
from secateur.deploy.traced import TOLERANCE, Export, Traced, check, target_path
from secateur.errors import InputError, unknown
from secateur.records.ours import MARK
from secateur.records.out import check_ours, expanded
from secateur.surgery.anatomy import anatomy_of

_TOLERANCE = {**TOLERANCE, "int8": TOLERANCE["float32"]}  # of int8: of what its rounded weights compute
_MOST_HEAD = 2**24  # characters of comments at the head of a file


@dataclass(frozen=True)
class CExport(Export):
    """A network in C that was written.

    Attributes:
        header: the `.h` beside the `.c`.
        arena_bytes: the memory that a call needs.
        constant_bytes: weights and tables, as they lie in the program.
        values: what weights are stored as.
        sparse_layers, layers: how many layers with weights are stored and executed without their zeros, of
            how many.
        compared: whether it was built and compared with torch; not where there is no compiler.
    """

    header: Path
    arena_bytes: int
    constant_bytes: int
    values: str
    sparse_layers: int
    layers: int
    compared: bool


@dataclass(frozen=True)
class InC:
    """A network in C, not yet written.

    Attributes:
        values: what weights are stored as.
        inputs, outputs: what it takes and gives.
    """

    traced: Traced
    program: Program
    values: str
    text: Written
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(
        cls,
        traced: Traced,
        name: str,
        values: str = "float32",
        metadata: Mapping[str, str] | None = None,
        given: Given | None = None,
    ) -> InC:
        """Lower a network of any fixed batch, for one example.

        Args:
            given: the examples by which it is told whether they are independent; None: those of the trace.

        Raises:
            InputError: where the network does what the C export does not know, or mixes its examples.
        """
        if values not in VALUES:
            raise unknown("type of stored values", values, VALUES)
        one = of_one(traced)
        program = lowered(one)
        _check_independent(traced, given or traced.given)
        return cls.of_program(one, program, name, values, metadata)

    @classmethod
    def of_program(
        cls,
        traced: Traced,
        program: Program,
        name: str,
        values: str,
        metadata: Mapping[str, str] | None = None,
    ) -> InC:
        """Write what a network was lowered to."""
        stored: Values = next(each for each in VALUES if each == values)
        inputs, outputs = _ports(traced, program)
        ports = {"inputs": [asdict(port) for port in inputs], "outputs": [asdict(port) for port in outputs]}
        said = {**(metadata or metadata_of({})), "values": values, "ports": json.dumps(ports)}
        return cls(traced, program, values, written(program, name, stored, said), inputs, outputs)

    def compiled(self, compiler: str | None = None) -> Compiled:
        """Build it here."""
        text = self.text
        return Compiled(
            text.source, text.header, text.name, self.inputs, self.outputs, text.arena_bytes, compiler
        )


def difference_of(
    found: InC,
    built: Compiled,
    tolerance: float,
    compiler: str | None = None,
    in_float: Compiled | None = None,
) -> float:
    """Compare what was built with torch; weights in int8 with C in float32 that has those weights.

    Of int8 the same network in float32 is compared with torch first.

    Args:
        in_float: that one, where it is built already.

    Raises:
        InputError: where the difference is larger than allowed.
    """
    if found.values != "int8":
        return check(built.run, found.traced, tolerance)
    if in_float is None:
        in_float = InC.of_program(found.traced, found.program, "net", "float32").compiled(compiler)
    check(in_float.run, found.traced)
    rounded = InC.of_program(found.traced, dequantized(found.program), "net", "float32").compiled(compiler)
    return check(built.run, replace(found.traced, plain=_AsTorch(rounded)), tolerance)


class _AsTorch(nn.Module):
    """A network in C, called as torch calls one."""

    def __init__(self, compiled: Compiled):
        super().__init__()
        self.compiled = compiled

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, self.compiled.run([each.numpy() for each in inputs])))


def of_one(traced: Traced) -> Traced:
    """Trace a network again with one example, where it was with another number."""
    if traced.given.count == 1 and not traced.dynamic_batch:
        found = traced
    else:
        model = traced.plain.get_submodule("model")
        found = Traced.of(model, traced.given.with_batch(1).examples, dynamic_batch=False)
    if found.dtype != "float32":
        raise InputError(
            f"the C export takes networks in float32, got {found.dtype}: convert it with model.float() "
            "(--values float16 stores weights as float16)"
        )
    return found


def _check_independent(traced: Traced, given: Given) -> None:
    """Raise InputError where outputs depend on what else is in a batch: C takes one example at a time."""
    found = Beside.of(traced.plain, given.on_cpu())
    if found is None or found.difference <= TOLERANCE[traced.dtype]:
        return
    raise InputError(
        "the C export takes one example at a time, so each must come out alone as it does in a batch, got a "
        f"difference of {found.difference:.2g} of the largest output: the network mixes its examples in "
        "evaluation, as BatchNorm with track_running_stats=False does; train it with running statistics, or "
        "export it to onnx"
    )


def _ports(traced: Traced, program: Program) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Where examples lie in inputs and outputs, found by running the network on two."""
    beside = Beside.of(traced.plain, traced.given)
    dims: list[int | None] = beside.dims if beside else [None] * len(program.outputs)
    apart = None not in dims
    paths = traced.given.paths
    inputs = tuple(
        Port(
            name,
            buffer.dtype,
            tuple(buffer.shape),
            traced.given.examples.dims.get(paths[name]) if apart else None,
        )
        for name, buffer in program.inputs.items()
    )
    outputs = tuple(
        Port(name, view.dtype, tuple(view.shape), dim if apart else None)
        for (name, view), dim in zip(program.outputs.items(), dims, strict=True)
    )
    return inputs, outputs


def to_c(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    values: str = "float32",
    tolerance: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> CExport:
    """Write the network as one C11 file and a header beside it, once built it agrees with torch.

    Args:
        model, example_inputs: as `secateur.deploy.onnx.to_onnx` takes them; the C code takes one example.
        path: ends in `.c`; its stem is the name of the network in C. Missing folders are made.
        values: what weights are stored as, one of `program.VALUES`; all is computed in float32.
        tolerance: largest difference allowed, in units of the output's largest magnitude, above 0; None:
            1e-4, for float16 1e-2. Of int8 it is the difference from the same weights, rounded, in float32.
        metadata: written into the file (`described.metadata_of`); class names and preprocessing as constants
            too.

    Returns:
        What was written, and how far it is from torch.

    Raises:
        InputError: where the network has an operator that the C export does not know, cannot be traced, or
            the two disagree; no file is left, and one that was there stays as it was. Where no compiler is
            found the files are written and not compared, as the result says.

    Example:
        >>> to_c(model, torch.zeros(1, 3, 32, 32), "net.c").arena_bytes  # doctest: +SKIP
        131072
    """
    path = target_path(path, ".c")
    header = path.with_suffix(".h")
    check_ours([path, header])
    if values not in VALUES:
        raise unknown("type of stored values", values, VALUES)
    given = Given.of(example_inputs)
    traced = Traced.of(model, given.with_batch(1).examples, dynamic_batch=False)
    found = InC.of(traced, identifier(path.stem), values, metadata, given)
    allowed = _TOLERANCE[values] if tolerance is None else tolerance
    compared = has_compiler()
    built = found.compiled() if compared else None
    difference = difference_of(found, built, allowed) if built else float("nan")
    make_folder(path.parent)
    write_text(header, found.text.header)
    write_text(path, found.text.source)
    layers = [step for step in found.program.steps if isinstance(step, (Convolution, Linear))]
    record = found.traced.record(
        "c", path, len(found.text.source) + len(found.text.header), None, difference, allowed, "torch"
    )
    known = {field.name: getattr(record, field.name) for field in fields(Export)}
    if built:
        known["versions"] = record.versions | {"compiler": built.compiler.version}
    else:
        known["checked"] = ()
    return CExport(
        **known,
        header=header,
        arena_bytes=found.text.arena_bytes,
        constant_bytes=found.text.constant_bytes,
        values=values,
        sparse_layers=sum(step.sparse for step in layers),
        layers=len(layers),
        compared=compared,
    )


def compile(  # the name it is known by: sc.deploy.c.compile
    what: str | Path | nn.Module,
    example_inputs: Inputs | None = None,
    *,
    values: str = "float32",
    compiler: str | None = None,
    threads: int = 1,
    factory: Factory | None = None,
) -> Compiled:
    """Build a network with the system's C compiler: a callable on numpy arrays.

    Args:
        what: a folder that `secateur.save` left, a `.c` file that we wrote (it is built and run as it stands:
            whoever gives it to you runs code on your machine), or a model with example inputs.
        example_inputs: of a model, as `to_c` takes them.
        values: what weights are stored as; of a `.c` file, what it says itself.
        compiler: a command; None: $CC, else cc, gcc or clang.
        threads: 1, as the C code has no threads.
        factory: builds the network of a folder, where it is not of a built-in family.

    Returns:
        A callable on numpy arrays, by position or by name, of any batch size.

    Raises:
        InputError: where there is no compiler, or the network cannot be lowered or built, or disagrees with
            torch.

    Example:
        >>> logits = compile("small/")(images)  # doctest: +SKIP
    """
    if threads != 1:
        raise InputError(f"the C code runs on one thread, got threads={threads}: leave it out")
    if isinstance(what, (str, Path)):
        path = expanded(what, "the network to compile")
        if path.suffix == ".c":
            return _read(path, compiler)[0]
        if path.is_file():
            raise InputError(
                f"sc.deploy.c.compile takes a saved folder, a .c file or a model, got the file '{path}': "
                "name its folder"
            )
        model = load_model(path, factory)
    else:
        model = what
    if example_inputs is None:
        example_inputs = anatomy_of(model).inputs
    given = Given.of(example_inputs)
    traced = Traced.of(model, given.with_batch(1).examples, dynamic_batch=False)
    artefact = artefact_of(model)
    metadata = metadata_of(artefact.to_json() if artefact else {})
    found = InC.of(traced, "net", values, metadata, given)
    built = found.compiled(compiler)
    difference_of(found, built, _TOLERANCE[values], compiler)
    return built


@dataclass(frozen=True)
class CRun:
    """What runs a network in C on whole batches: arrays in by position, arrays out.

    Attributes:
        compiled: the network, of one example.
    """

    compiled: Compiled

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self.compiled.run(arrays)

    @property
    def arena_bytes(self) -> int:
        """The memory that a call needs."""
        return self.compiled.arena_bytes

    @property
    def compiler(self) -> str:
        """What built it: "gcc 12.2.0"."""
        return self.compiled.compiler.version


def c_run(traced: Traced, values: str = "float32", compiler: str | None = None) -> CRun:
    """Make C code run a traced network; a batch example by example.

    Args:
        traced: the network, as `secateur.deploy.traced.Traced.of` records it.
        values: what weights are stored as: "float32", "float16" or "int8".
        compiler: a command; None: $CC, else cc, gcc or clang.

    Returns:
        A callable: arrays in by position, arrays out.

    Raises:
        InputError: where the network does what the C export does not know, or there is no compiler.
    """
    return CRun(InC.of(traced, "net", values).compiled(compiler))


def read_c(path: Path) -> tuple[CRun, dict[str, str], int | None]:
    """Build a file that we wrote, and read what it says of itself.

    Args:
        path: the `.c`, with its `.h` beside it. It is a program: whoever gives it to you runs code here.

    Returns:
        What runs it; the metadata that we wrote; its batch size, None where any will do.

    Raises:
        InputError: where a file is missing or does not say what we write, or there is no compiler.
    """
    compiled, said = _read(path)
    fixed = any(port.dim is None for port in compiled.inputs)
    shape = compiled.inputs[0].shape
    return CRun(compiled), said, (shape[0] if shape else 1) if fixed else None


def _read(path: Path, compiler: str | None = None) -> tuple[Compiled, dict[str, str]]:
    """Build a `.c` file that we wrote, with the header beside it; and what it says of itself.

    Raises:
        InputError: where one of them is missing, or does not say what we write.
    """
    header = path.with_suffix(".h")
    for each in (path, header):
        if not each.is_file():
            raise InputError(f"a network in C is a .c file with its .h beside it, got no '{each}': copy both")
    source = path.read_text(encoding="ascii", errors="replace")
    text = header.read_text(encoding="ascii", errors="replace")
    said = metadata_in(source)
    try:
        ports = json.loads(said["ports"])
        inputs, outputs = (tuple(map(_port, ports[key])) for key in ("inputs", "outputs"))
        name = re.search(r'^#include "(\w+)\.h"$', source, re.MULTILINE)
        size = re.search(r"^#define \w+_ARENA_BYTES (\d+)$", text, re.MULTILINE)
        if not (name and size and inputs and outputs):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise InputError(
            f"'{path}' must be a C file that Secateur wrote, and is not: export the network again"
        ) from None
    return Compiled(source, text, name[1], inputs, outputs, int(size[1]), compiler), said


def _port(given: Mapping[str, object]) -> Port:
    port = Port(**given)  # type: ignore[arg-type]
    return Port(str(port.name), str(port.dtype), tuple(int(n) for n in port.shape), port.dim)


def metadata_in(source: str) -> dict[str, str]:
    """Read back what the head of a C file says of the network, not checked; empty where it is not ours."""
    for line in source[:_MOST_HEAD].splitlines()[:3]:
        if line.startswith(f" * {MARK}: "):
            try:
                found = json.loads(line.removeprefix(f" * {MARK}: "))
            except (ValueError, RecursionError):
                return {}
            return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
    return {}
