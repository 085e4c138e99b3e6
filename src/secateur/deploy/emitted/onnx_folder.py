"""The folder for a machine with onnxruntime: small .onnx files, whose weights are drawn there.

Every file takes its weights from one `weights.bin`, which `measure.py` fills with random numbers at the
start: where a weight begins depends on nothing but how large its numbers should be, so that all share them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from secateur.deploy.emitted.plan import PLAN_FILE, Plan, kept_text
from secateur.deploy.emitted.reading import readme
from secateur.deploy.given import Given
from secateur.deploy.onnx import onnx_bytes
from secateur.deploy.traced import Traced
from secateur.errors import InputError, require_extra
from secateur.records.device_table import Channels, Shape
from secateur.surgery.anatomy import anatomy_of

MEASURE_FILE, _FOLDER = "measure.py", "onnx"
_OPSET, _IR = 17, 8
_SMALL = 64  # numbers of a weight that stays in its file
_FINEST = 12  # spreads from 1 down to 2**-12, by halves


class Weights:
    """Where the weights of all files lie in `weights.bin`: a section for every spread of numbers."""

    def __init__(self) -> None:
        self.sections: dict[int, int] = {}  # exponent -> numbers

    def section(self, fan_in: int, count: int) -> int:
        """Reserve numbers that keep what goes through a layer of so many inputs at its size."""
        exponent = min(_FINEST, max(0, round(math.log2(math.sqrt(fan_in / 2)))) if fan_in > 1 else 0)
        self.sections[exponent] = max(self.sections.get(exponent, 0), count)
        return exponent

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return 4 * sum(self.sections.values())

    def begin(self, exponent: int) -> int:
        """The byte at which a section begins, once all are reserved."""
        return 4 * sum(count for other, count in sorted(self.sections.items()) if other < exponent)

    def to_json(self) -> list[dict[str, Any]]:
        """What `measure.py` draws, in order."""
        return [{"spread": 2.0**-exponent, "count": n} for exponent, n in sorted(self.sections.items())]


def onnx_files(plan: Plan) -> dict[str, bytes]:
    """Every file of the folder, by name.

    Raises:
        InputError: where a package is missing, or a network cannot be written as ONNX.
    """
    require_extra("onnx")
    weights, protos = Weights(), dict[str, Any]()
    for index, (shape, channels) in enumerate(plan.points):
        protos[f"{_FOLDER}/layer_{index}.onnx"] = layer_proto(shape, channels, plan.batch)
    for index, (model, _) in enumerate(plan.networks):
        protos[f"{_FOLDER}/network_{index}.onnx"] = _network_proto(model, plan.batch)
    kept = {name: _large(proto, weights) for name, proto in protos.items()}
    for tensor, exponent in (each for large in kept.values() for each in large):
        _lay_out(tensor, weights.begin(exponent))
    content = {**plan.table("onnxruntime"), "weights": weights.to_json(), "files": list(protos)}
    return {
        MEASURE_FILE: kept_text("measure.py.txt").encode(),
        PLAN_FILE: json.dumps(content).encode(),
        "README.txt": readme("onnxruntime", plan, weights=f"{weights.size / 1e6:.1f}").encode(),
        **{name: proto.SerializeToString() for name, proto in protos.items()},
    }


def layer_proto(shape: Shape, channels: Channels, batch: int) -> Any:
    """A network of one layer, with a bias, as ONNX."""
    from onnx import TensorProto, helper

    groups, ins, outs = channels
    options: Mapping[str, Any]
    given: tuple[int, ...]
    weight: tuple[int, ...]
    if shape.kind == "linear":
        kind, given, weight = "Gemm", (*shape.size, ins), (outs, ins)
        options = {"transB": 1}
    else:
        transposed = shape.kind == "transposed"
        kind = "ConvTranspose" if transposed else "Conv"
        given = (batch, groups * ins, *shape.size)
        weight = (groups * (ins if transposed else outs), outs if transposed else ins, *shape.kernel)
        options = {
            "group": groups,
            "kernel_shape": shape.kernel,
            "strides": shape.stride,
            "pads": shape.padding * 2,
            "dilations": shape.dilation,
            **({"output_padding": shape.more} if transposed else {}),
        }
    values = [_zeros("weight", weight), _zeros("bias", (groups * outs,))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["input", "weight", "bias"], ["output"], **options)],
        "layer",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def _zeros(name: str, shape: tuple[int, ...]) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.zeros(shape, dtype=np.float32), name)


def _network_proto(model: nn.Module, batch: int) -> Any:
    """A whole network as ONNX, as `secateur export` writes it, for one batch size."""
    import onnx

    inputs = anatomy_of(model).inputs
    traced = Traced.of(model, Given.of(inputs).with_batch(batch).examples, dynamic_batch=False)
    if traced.dtype != "float32":
        raise InputError(
            f"a network that is measured elsewhere is in float32, got {traced.dtype}: convert it with "
            "model.float()"
        )
    return onnx.load_from_string(onnx_bytes(traced)[0])


def _large(proto: Any, weights: Weights) -> list[tuple[Any, int]]:
    """The weights of a network that are drawn on the device, each with its section; their numbers go."""
    from onnx import TensorProto

    found = []
    for tensor in proto.graph.initializer:
        count = math.prod(tensor.dims)
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1 and count >= _SMALL:
            found.append((tensor, weights.section(math.prod(tensor.dims[1:]), count)))
    return found


def _lay_out(tensor: Any, begin: int) -> None:
    """Have a tensor's numbers lie in `weights.bin` from a byte on."""
    from onnx import TensorProto

    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    length = 4 * math.prod(tensor.dims)
    for key, value in (("location", "weights.bin"), ("offset", begin), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
