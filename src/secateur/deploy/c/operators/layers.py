"""Layers with weights: convolutions, linear layers, products of matrices, and norms that came after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.deploy.c.density import executed_sparse
from secateur.deploy.c.elementwise import Elementwise
from secateur.deploy.c.lowering import Build, Value, lowers
from secateur.deploy.c.operators.pointwise import add, mul
from secateur.deploy.c.products import Matmul, TransposedConvolution
from secateur.deploy.c.program import Buffer, Code, Convolution, Linear, OfOne, Values, View
from secateur.errors import InputError


@dataclass(frozen=True, eq=False)
class ChannelScale(OfOne):
    """output = input * scale + shift for every channel: a batch norm, until it is part of a layer.

    Attributes:
        input: (1, channels, ...).
        scale, shift: float64 (channels,).
    """

    scale: np.ndarray
    shift: np.ndarray

    def code(self, values: Values) -> Code:
        raise AssertionError("fusing leaves none")

    def spelled_out(self, build: Build) -> Elementwise:
        """Make the multiplication and the addition of it."""
        shape = (1, self.scale.size, *[1] * (len(self.output.shape) - 2))
        scale, shift = (
            build.view(torch.from_numpy(each.astype(np.float32))).shaped(*shape).broadcast(self.output.shape)
            for each in (self.scale, self.shift)
        )
        operands = (self.input, scale, shift)
        return Elementwise(self.name, self.layer, self.output.view, operands, "{0} * {1} + {2}", "batch_norm")


def numbers(value: Tensor | None) -> np.ndarray | None:
    """The numbers of a constant, as float32."""
    return None if value is None else np.ascontiguousarray(value.detach().float().numpy())


def constant(build: Build, value: Value, what: str) -> Tensor:
    """Take a constant; InputError where it is computed from the inputs."""
    if not isinstance(value, Tensor):
        raise InputError(
            f"the C export needs {what} that do not depend on the input, got computed ones {build.said}: "
            "export it to onnx"
        )
    return value


@lowers("aten.convolution.default")
def convolution(
    build: Build,
    value: Value,
    weight: Value,
    bias: Value,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> View:
    weight = constant(build, weight, "weights of convolutions")
    bias = None if bias is None else constant(build, bias, "biases of convolutions")
    if weight.dim() not in (3, 4):
        raise InputError(
            f"the C export knows convolutions in 1 and 2 dimensions, got {weight.dim() - 2} {build.said}: "
            "export it to onnx"
        )
    if weight.dim() == 3:
        weight = weight.unsqueeze(2)
        stride, padding, dilation = (
            [first, *rest] for first, rest in ((1, stride), (0, padding), (1, dilation))
        )
    pair = lambda given: (int(given[0]), int(given[-1]))  # noqa: E731
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    view, output = build.view(value), build.made()
    source, stride = _unstrided(view, weight, stride, padding)
    source = build.contiguous(source)
    if len(source.shape) == 3:
        source = source.shaped(*source.shape[:2], 1, source.shape[2])
    out_shape = output.shape if len(output.shape) == 4 else (*output.shape[:2], 1, output.shape[2])
    target = Buffer(output.name, out_shape)
    kernel, offset = numbers(weight), numbers(bias)
    assert kernel is not None
    if source.shape[0] != 1:
        raise InputError(
            f"the C export takes convolutions of one image, got {source.shape[0]} {build.said}: "
            "export it to onnx"
        )
    name, layer = build.name("s"), build.layer
    made = (name, layer, source, target, kernel, offset, stride, padding, dilation, groups)
    if transposed:
        build.add(TransposedConvolution(*made))
    else:
        build.add(Convolution(*made, sparse=executed_sparse(kernel, prod(out_shape[2:]))))
    return target.view.shaped(*output.shape)


def _unstrided(
    view: View, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[View, tuple[int, int]]:
    """Read every second pixel by the stride of a 1x1 convolution, rather than copy them."""
    whole = view.buffer.shape
    if tuple(weight.shape[2:]) != (1, 1) or padding != (0, 0) or view.contiguous or len(whole) != 4:
        return view, stride
    if len(view.shape) != 4 or view.offset or whole[:2] != view.shape[:2]:
        return view, stride
    (h, w), (rows, columns) = whole[2:], view.strides[2:]
    if (view.shape[1] > 1 and view.strides[1] != h * w) or columns < 1 or rows < w or rows % w:
        return view, stride
    steps = (rows // w, columns)
    if view.shape[2:] != (-(-h // steps[0]), -(-w // steps[1])):
        return view, stride
    return view.buffer.view, (stride[0] * steps[0], stride[1] * steps[1])


@lowers("aten._native_batch_norm_legit_no_training.default", "aten.native_batch_norm.default")
def batch_norm(
    build: Build,
    value: Value,
    weight: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    *rest: Any,
) -> tuple[Value, ...]:
    """Training, momentum, eps; or without the first."""
    eps = rest[-1]
    if len(rest) == 3 and rest[0]:
        raise InputError(
            f"the C export computes a batch norm in evaluation mode only, got training {build.said}"
        )
    mean, variance = (constant(build, each, "means and variances").double() for each in (mean, variance))
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * constant(build, weight, "scales").double()
    shift = -mean * scale
    if bias is not None:
        shift = shift + constant(build, bias, "shifts").double()
    step = ChannelScale(
        build.name("s"), build.layer, build.view(value), build.made(0), scale.numpy(), shift.numpy()
    )
    return build.add(step), None, None


@lowers("aten.addmm.default")
def addmm(build: Build, bias: Value, left: Value, right: Value, beta: float = 1, alpha: float = 1) -> View:
    if isinstance(right, Tensor) and isinstance(bias, Tensor) and bias.dim() == 1 and beta == alpha == 1:
        return linear(build, left, right.T, bias)
    product = mm(build, left, right)
    if alpha != 1:
        product = mul(build, product, alpha)
    return add(build, product, bias if beta == 1 else mul(build, build.view(bias), beta))


@lowers("aten.linear.default")
def linear(build: Build, value: Value, weight: Value, bias: Value = None) -> View:
    kernel, offset = numbers(constant(build, weight, "weights")), numbers(bias)
    assert kernel is not None
    output = build.made()
    if offset is not None and offset.size == 1 != kernel.shape[0]:
        offset = np.repeat(offset, kernel.shape[0])
    return build.add(
        Linear(
            *(build.name("s"), build.layer, build.contiguous(value), output, kernel, offset),
            sparse=executed_sparse(kernel, prod(output.shape[:-1])),
        )
    )


@lowers("aten.mm.default")
def mm(build: Build, left: Value, right: Value) -> View:
    if isinstance(right, Tensor):
        return linear(build, left, right.T)
    return _matmul(build, left, right)


@lowers("aten.bmm.default", "aten.matmul.default")
def bmm(build: Build, left: Value, right: Value) -> View:
    return _matmul(build, left, right)


@lowers("aten.baddbmm.default")
def baddbmm(build: Build, bias: Value, left: Value, right: Value, beta: float = 1, alpha: float = 1) -> View:
    product = _matmul(build, left, right)
    if alpha != 1:
        product = mul(build, product, alpha)
    return add(build, product, bias if beta == 1 else mul(build, build.view(bias), beta))


@lowers("aten.mv.default")
def mv(build: Build, left: Value, right: Value) -> View:
    one, other = build.view(left), build.contiguous(right)
    output = build.made()
    return _multiplied(build, one, other.shaped(other.size, 1), output).shaped(*output.shape)


@lowers("aten.dot.default")
def dot(build: Build, left: Value, right: Value) -> View:
    one, other = build.contiguous(left), build.contiguous(right)
    return _multiplied(build, one.shaped(1, one.size), other.shaped(other.size, 1), build.made()).shaped()


def _matmul(build: Build, left: Value, right: Value) -> View:
    return _multiplied(build, build.view(left), build.view(right), build.made())


def _multiplied(build: Build, left: View, right: View, output: Buffer) -> View:
    """One product of matrices for every entry of the dimensions before the last two."""
    if right.strides[-1] != 1 and right.shape[-1] > 1:
        right = build.elementwise([right], "{0}", "copy", build.buffer(right.shape))
    return build.add(Matmul(build.name("s"), build.layer, left, right, output))
