"""ONNX Runtime's static quantiser, from bytes to bytes: what it is told, and how much of a network it took.

NNCF could do it too, but would be one dependency more, and OpenVINO reads what this one writes. Choices, each
measured on networks of the digits and of CIFAR-10 (docs/int8.md):

- weights: symmetric, a scale for each output channel. They use 7 of the 8 bits: x86 without VNNI adds two
  products of unsigned and signed bytes in 16 bits, into which 2 * 255 * 127 does not fit, 2 * 255 * 64 does;
- activations: uint8 with a zero point, which is 0 behind a ReLU, so that the ReLU itself vanishes;
- batch norms are folded into convolutions first;
- what lies before the first layer with weights and behind the last one stays in float32: the normalisation of
  images, and scores, which 8 bits would make ties of.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.atomic import scratch
from secateur.deploy.given import said_in_one_line
from secateur.deploy.traced import quietly
from secateur.process import silent

WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
"""Operators whose products are computed in int8, where one factor is constant."""

BETWEEN = (
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Pad", "Relu"),
    *("Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that hand on int8, where they stand between two of those."""

_RECURRENT = ("LSTM", "GRU", "RNN")
_COUNTED = ("ConvTranspose", *_RECURRENT)  # with weights, and left in float32
_WARNINGS, _ERRORS = 2, 3  # of ONNX Runtime's log; the first is its default, which nobody can ask for
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """One way to quantise.

    Attributes:
        method: how the range of an activation is found: "minmax", "percentile" (99.99% of the values are in
            it) or "entropy" (the least divergence from the distribution in float).
        between: whether `BETWEEN` hands on int8; else only the layers with weights compute in it.
        ends: whether the first and the last layer do.
        bits: of the weights, 7 or 8.
    """

    method: str
    between: bool = True
    ends: bool = True
    bits: int = 7

    @property
    def in_words(self) -> str:
        """What is in int8 and how."""
        kinds = "all layers" if self.between else "layers with weights alone"
        ends = "" if self.ends else ", the first and the last one left in float32"
        return (
            f"{kinds}{ends}: weights in int8 of {self.bits} bits, symmetric, a scale for each output "
            f"channel; activations in uint8, their ranges by {self.method}"
        )


RECIPES = (Recipe("minmax"), Recipe("percentile"), Recipe("minmax", between=False, ends=False))
"""Tried in this order, until one agrees well enough with float."""


def folded(content: bytes) -> bytes:
    """Fold batch norms into convolutions and constants into one another, and infer all shapes."""
    quant_pre_process = silent("onnxruntime.quantization.shape_inference").quant_pre_process
    with scratch() as folder, _silence("be prepared for int8"):
        before, after = folder / "float.onnx", folder / "folded.onnx"
        before.write_bytes(content)
        quant_pre_process(before, after, skip_symbolic_shape=True)
        return after.read_bytes()


def quantize(content: bytes, batches: Sequence[Arrays], recipe: Recipe) -> bytes:
    """Make the network compute in int8.

    Args:
        content: an ONNX file, as `folded` left it.
        batches: inputs by name, on which ranges are found; at least one.

    Returns:
        an ONNX file with pairs of QuantizeLinear and DequantizeLinear (QDQ), which ONNX Runtime and OpenVINO
        compute in integers. What no layer with weights reads stays in float32.
    """
    import onnx

    q = silent("onnxruntime.quantization")
    methods = {
        "minmax": q.CalibrationMethod.MinMax,
        "percentile": q.CalibrationMethod.Percentile,
        "entropy": q.CalibrationMethod.Entropy,
    }
    plain = onnx.load_from_string(content)
    with scratch() as folder, _silence("be quantised by ONNX Runtime"):
        before, after = folder / "folded.onnx", folder / "int8.onnx"
        before.write_bytes(content)
        q.quantize_static(
            before,
            after,
            _reader(batches),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=[*WITH_WEIGHTS, *(BETWEEN if recipe.between else ())],
            per_channel=True,
            reduce_range=recipe.bits == 7,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            nodes_to_exclude=_left_in_float(plain.graph, recipe.ends),
            calibrate_method=methods[recipe.method],
            extra_options={
                "MatMulConstBOnly": True,
                "CalibPercentile": 99.99,
                "CalibStridedMinMax": 1,  # of any method: one batch at a time, else all activations are kept
            },
        )
        made = onnx.load(after)
    _in_float_behind_the_last_layer(made.graph)
    return bytes(made.SerializeToString())


def _reader(batches: Sequence[Arrays]) -> Any:
    """The batches as the quantiser reads them."""

    class Reader(silent("onnxruntime.quantization").CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Arrays] = iter(batches)

        def __len__(self) -> int:
            return len(batches)

        def set_range(self, start_index: int, end_index: int) -> None:
            self.left = iter(batches[start_index:end_index])

        def get_next(self) -> Arrays | None:
            return next(self.left, None)

    return Reader()


@contextmanager
def _silence(what: str) -> Iterator[None]:
    """Say errors in one line, and nothing else: the quantiser prints, logs and warns."""
    onnxruntime = silent("onnxruntime")
    onnxruntime.set_default_logger_severity(_ERRORS)
    try:
        with said_in_one_line(what), quietly(), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(_WARNINGS)


def _left_in_float(graph: Any, ends: bool) -> list[str]:
    """Name the nodes before the first layer with weights, and products of what is computed, as of attention.

    Args:
        ends: else the first and the last layer with weights are named too.
    """
    layers = [node for node in graph.node if _is_layer(node, graph)]
    behind = _reached(graph.node, {name for node in layers for name in node.output})
    known = {id(node) for node in layers}
    kept = [
        node.name
        for node in graph.node
        if id(node) not in known and (id(node) not in behind or node.op_type in WITH_WEIGHTS)
    ]
    return kept if ends or len(layers) < 3 else [*kept, layers[0].name, layers[-1].name]


def _is_layer(node: Any, graph: Any) -> bool:
    """Whether a node multiplies with constant weights."""
    constant = {tensor.name for tensor in graph.initializer}
    return node.op_type in WITH_WEIGHTS and len(node.input) > 1 and node.input[1] in constant


def _reached(nodes: Sequence[Any], names: set[str]) -> set[int]:
    """The ids of all nodes, in their order, that tensors of these names lead to."""
    found, known = set(), set(names)
    for node in nodes:
        if known.intersection(node.input):
            found.add(id(node))
            known.update(node.output)
    return found


def _in_float_behind_the_last_layer(graph: Any) -> None:
    """Take away the pairs of QuantizeLinear and DequantizeLinear that lead to no layer with weights."""
    needed: set[str] = set()
    for node in reversed(graph.node):
        if node.op_type in (*WITH_WEIGHTS, *_COUNTED) or needed.intersection(node.output):
            needed.update(node.input)
    makers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        source = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if source is None or source.op_type != "QuantizeLinear" or node.output[0] in needed:
            continue
        _bypass(graph, node, source)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _bypass(graph: Any, dequantize: Any, quantize_node: Any) -> None:
    """Have who reads the pair's result read what the pair reads; a result of the network keeps its name."""
    result, value = dequantize.output[0], quantize_node.input[0]
    graph.node.remove(dequantize)
    if not any(quantize_node.output[0] in node.input for node in graph.node):
        graph.node.remove(quantize_node)
    is_output = result in {port.name for port in graph.output}
    old, new = (value, result) if is_output else (result, value)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def macs_of(content: bytes, shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Count the multiply-accumulates of one example, and those of them that are computed in int8.

    Of convolutions, linear layers, products of matrices and recurrent layers, as the runtimes run them: a
    product is in int8 where both factors are, and a convolution only where its result is too.

    Args:
        shapes: of the inputs, for one example, in order.
    """
    import onnx

    proto = onnx.load_from_string(content)
    for port, shape in zip(proto.graph.input, shapes, strict=True):
        for dim, length in zip(port.type.tensor_type.shape.dim, shape, strict=True):
            dim.dim_value = length
    del proto.graph.value_info[:]
    for port in proto.graph.output:
        port.type.tensor_type.ClearField("shape")
    with said_in_one_line("be counted"), quietly():
        graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    seen = _Graph(graph)
    counted = [(seen.macs(node), seen.is_int8(node)) for node in graph.node]
    return sum(macs for macs, _ in counted), sum(macs for macs, is_int8 in counted if is_int8)


class _Graph:
    """The shapes in a graph, and what is between its nodes.

    Attributes:
        shapes: name -> lengths; 1 where they are not known.
        makers: name -> the node that it comes from; readers: the kinds of those that it goes to.
    """

    def __init__(self, graph: Any):
        self.shapes: dict[str, tuple[int, ...]] = {
            port.name: tuple(dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim)
            for port in (*graph.value_info, *graph.input, *graph.output)
        }
        self.shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[str]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node.op_type)

    def macs(self, node: Any) -> int:
        """Multiply-accumulates of one example."""
        if node.op_type in ("Conv", "ConvTranspose"):
            spatial = self._shape(node.output[0] if node.op_type == "Conv" else node.input[0])[2:]
            return math.prod(spatial) * math.prod(self._shape(node.input[1]))
        if node.op_type == "Gemm":
            return (self._shape(node.output[0]) or (1,))[0] * math.prod(self._shape(node.input[1]))
        if node.op_type == "MatMul":
            return math.prod(self._shape(node.output[0])) * (self._shape(node.input[0]) or (1,))[-1]
        if node.op_type in _RECURRENT:
            steps = (self._shape(node.input[0]) or (1,))[0]
            return steps * sum(math.prod(self._shape(name)) for name in node.input[1:3])
        return 0

    def is_int8(self, node: Any) -> bool:
        """Whether the runtimes compute it in integers."""
        if node.op_type not in WITH_WEIGHTS:
            return False
        given = [self.makers.get(name) for name in node.input[:2]]
        whole = all(maker is not None and maker.op_type == "DequantizeLinear" for maker in given)
        if node.op_type != "Conv":
            return whole
        return whole and "QuantizeLinear" in self._readers_behind(node.output[0])

    def _readers_behind(self, name: str) -> list[str]:
        return self.readers.get(name, [])

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.shapes.get(name, ())
