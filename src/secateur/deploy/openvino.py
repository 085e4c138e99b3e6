"""Networks for OpenVINO, proved to compute what torch computes before the files are left in place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from secateur.atomic import make_folder, scratch, write_all
from secateur.deploy.described import metadata_of
from secateur.deploy.traced import (
    Export,
    Inputs,
    Run,
    Traced,
    check,
    quietly,
    said_in_one_line,
    target_path,
)
from secateur.errors import InputError, require_extra
from secateur.process import silent
from secateur.records.ours import MARK
from secateur.records.out import check_ours


def to_openvino(
    model: nn.Module,
    example_inputs: Inputs,
    path: str | Path,
    *,
    dynamic_batch: bool = True,
    tolerance: float | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Export:
    """Write the network for OpenVINO, an `.xml` and a `.bin` beside it, once OpenVINO has agreed with torch.

    Nothing is sent anywhere: `openvino.convert_model`, which reports its use to Intel, is not called.

    Args and Raises: as of `to_onnx`, but that `path` ends in `.xml`; the metadata lie in `rt_info`, below
    "secateur".
    """
    path = target_path(path, ".xml")
    check_ours([path, path.with_suffix(".bin")])
    require_extra("openvino")
    traced = Traced.of(model, example_inputs, dynamic_batch)
    xml, weights = openvino_bytes(traced, metadata or metadata_of({}))
    difference = check(openvino_run(xml, weights, traced.dtype), traced, tolerance)
    make_folder(path.parent)
    write_all({path.with_suffix(".bin"): weights, path: xml})  # the latter makes the pair a model
    size = len(xml) + len(weights)
    return traced.record("openvino", path, size, None, difference, tolerance, "openvino")


def openvino_bytes(traced: Traced, metadata: Mapping[str, str] | None = None) -> tuple[bytes, bytes]:
    """Make the contents of the .xml and of the .bin."""
    with said_in_one_line("be converted by OpenVINO"), quietly():
        return openvino_files(_openvino_model(traced), metadata or {})


def openvino_files(model: Any, metadata: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Make the contents of the .xml and of the .bin, of one of OpenVINO's own models."""
    openvino = silent("openvino")
    for key, value in metadata.items():
        model.set_rt_info(value, [MARK, key])
    with scratch() as folder:
        path = folder / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _openvino_model(traced: Traced) -> Any:
    """Convert by the front end itself: `openvino.convert_model` would report to Intel that it was called."""
    openvino = silent("openvino")
    decoders = silent("openvino.frontend.pytorch.fx_decoder")
    front_end = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = decoders.TorchFXPythonDecoder.from_exported_program(traced.program)
    model = front_end.convert(front_end.load(decoder))
    for names, ports in ((traced.examples, model.inputs), (traced.outputs, model.outputs)):
        for name, port in zip(names, ports, strict=True):
            port.get_tensor().set_names({name})
    shapes = {
        port: openvino.PartialShape([-1 if dim in (free or ()) else n for dim, n in enumerate(value.shape)])
        for port, value, free in zip(model.inputs, traced.examples.values(), traced.free, strict=True)
    }
    model.reshape(shapes)  # it leaves more dimensions open than the batch
    model.validate_nodes_and_infer_types()
    return model


def openvino_run(xml: bytes, weights: bytes, dtype: str, threads: int = 1) -> Run:
    """Make OpenVINO run the two files on the CPU, in the network's own precision: arrays in, arrays out."""
    openvino = silent("openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f16" if dtype == "float16" else "f32",  # else bfloat16 on some CPUs
    }
    with said_in_one_line("be loaded by OpenVINO"):
        core = openvino.Core()
        model = core.read_model(xml, openvino.Tensor(np.frombuffer(weights, np.uint8)))
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda arrays: list(request.infer(list(arrays), share_inputs=True).to_tuple())


def read_openvino(path: Path) -> tuple[Run, dict[str, str], int | None]:
    """Read an .xml with its .bin: what runs it with all threads, our metadata, its batch size if fixed."""
    require_extra("openvino")
    openvino = silent("openvino")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"'{path}' is read with the weights beside it, got no '{weights}': copy both files")
    with said_in_one_line(f"be read from '{path}'"):
        model = openvino.Core().read_model(path)
        found = model.get_rt_info([MARK]).astype(dict) if model.has_rt_info([MARK]) else {}
        texts = {str(key): str(getattr(value, "value", value)) for key, value in found.items()}
        dtype = model.inputs[0].get_element_type().to_string()
        batch = model.inputs[0].get_partial_shape()[0]
    run = openvino_run(path.read_bytes(), weights.read_bytes(), dtype, threads=0)
    return run, texts, batch.get_length() if batch.is_static else None
