"""Networks as ONNX, proved to compute what torch computes before the file is left in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.atomic import make_folder, write_bytes
from secateur.deploy.described import key_in_onnx, metadata_of
from secateur.deploy.given import Inputs, said_in_one_line
from secateur.deploy.traced import (
    Export,
    Run,
    Traced,
    check,
    quietly,
    target_path,
)
from secateur.errors import InputError, require_extra
from secateur.process import silent
from secateur.records.out import check_ours

_MAX_ONNX_BYTES = 2**31 - 1  # of one protobuf message


def to_onnx(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    opset: int | None = None,
    dynamic_batch: bool = True,
    tolerance: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Export:
    """Write the network as ONNX, once onnxruntime has agreed with torch.

    Args:
        model: any module, in any mode, on any device; exported in evaluation mode and left as it was. It
            returns a tensor ("output"), a sequence of tensors ("output_0", ...), a mapping of tensors (its
            keys), or an object with `logits` ("logits").
        example_inputs: a tensor ("input"), a sequence of tensors ("input_0", ...) or tensors by keyword.
            Inputs of real numbers are replaced by standard normal ones of the same shape, as many examples
            as are needed; of whole numbers and truth values the examples themselves are repeated. None,
            truth values, numbers and texts among them become part of the program.
        path: ends in `.onnx`; missing folders are made.
        opset: of ONNX, refused where torch does not write the network in it; None: what torch finds best.
        dynamic_batch: whether a batch may be of any size: dimension 0 of every input and output, or what an
            inspection found (`Examples`).
        tolerance: largest difference allowed, in units of the output's largest magnitude, above 0; None:
            `TOLERANCE` of the network's dtype.
        metadata: written into the file under "secateur.KEY" (`described.metadata_of`).

    Raises:
        InputError: where a package is missing, the network cannot be exported, or the two disagree; no file
            is left, and one that was there stays as it was.

    Example:
        >>> to_onnx(model, torch.zeros(1, 3, 32, 32), "model.onnx").difference < 1e-4  # doctest: +SKIP
        True
    """
    path = target_path(path, ".onnx")
    check_ours([path])
    require_extra("onnx")
    traced = Traced.of(model, example_inputs, dynamic_batch)
    content, found = onnx_bytes(traced, opset, metadata or metadata_of({}))
    difference = check(onnxruntime_run(content), traced, tolerance)
    make_folder(path.parent)
    write_bytes(path, content)
    return traced.record("onnx", path, len(content), found, difference, tolerance, "onnxruntime")


def onnx_bytes(
    traced: Traced, opset: int | None = None, metadata: Mapping[str, str] | None = None
) -> tuple[bytes, int]:
    """Make the content of the ONNX file, and name its opset."""
    with said_in_one_line("be written as ONNX"), quietly():
        exported = torch.onnx.export(
            traced.program,
            dynamo=True,
            verbose=False,
            opset_version=opset,
            input_names=list(traced.examples),
            output_names=list(traced.outputs),
            dynamic_shapes={"inputs": traced.given.free_dimensions()} if traced.dynamic_batch else None,
        )
    assert exported is not None
    proto = exported.model_proto
    strip(proto)
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key_in_onnx(key), value=value)
    if proto.ByteSize() > _MAX_ONNX_BYTES:
        raise InputError(
            f"an ONNX file holds less than 2 GiB, got {proto.ByteSize():,} bytes: convert to float16 first"
        )
    found = next(entry.version for entry in proto.opset_import if not entry.domain)
    if opset not in (None, found):  # torch itself falls back without a word
        raise InputError(
            f"torch writes this network in ONNX opset {found}, not {opset}: ask for that, or none"
        )
    return proto.SerializeToString(), found


def strip(proto: Any) -> None:
    """Remove the exporter's notes: they hold the source's paths on this machine, line by line."""
    graph = proto.graph
    for holder in (
        proto,
        graph,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
        *graph.node,
    ):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for function in proto.functions:
        for holder in (function, *function.node, *function.value_info):
            del holder.metadata_props[:]
            holder.doc_string = ""


def onnxruntime_run(content: bytes, threads: int = 1) -> Run:
    """Make onnxruntime run an ONNX file on the CPU: arrays in by position, arrays out."""
    onnxruntime = silent("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    with said_in_one_line("be loaded by onnxruntime"):
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))


def read_onnx(path: Path) -> tuple[Run, dict[str, str], int | None]:
    """Read a file: what runs it with all threads, the metadata that we wrote, its batch size if fixed."""
    require_extra("onnx")
    import onnx

    content = path.read_bytes()
    with said_in_one_line(f"be read from '{path}'"):
        proto = onnx.load_from_string(content)
        batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    found = {entry.key: entry.value for entry in proto.metadata_props}
    start = key_in_onnx("")
    ours = {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}
    return onnxruntime_run(content, threads=0), ours, batch or None
