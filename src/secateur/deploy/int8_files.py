"""A network in int8 as a file, and run from it: ONNX, and OpenVINO, which reads the ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from secateur.deploy.described import key_in_onnx
from secateur.deploy.given import said_in_one_line
from secateur.deploy.onnx import onnxruntime_run, strip
from secateur.deploy.openvino import openvino_files, openvino_run
from secateur.deploy.traced import Run, quietly
from secateur.process import silent


def without_notes(content: bytes) -> bytes:
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


RUNS: dict[str, Callable[[bytes, int], Run]] = {"onnx": onnxruntime_run, "openvino": _run_by_openvino}


FILES: dict[str, Callable[[bytes, Mapping[str, str]], dict[str, bytes]]] = {
    "onnx": _onnx_file,
    "openvino": _openvino_files,
}


PACKAGES = {"onnx": ("onnxruntime",), "openvino": ("onnxruntime", "openvino")}
