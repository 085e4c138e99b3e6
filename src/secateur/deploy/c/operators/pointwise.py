"""Operators that compute every number from the numbers at its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secateur.deploy.c.arrays import literal, whole
from secateur.deploy.c.lowering import OPERATORS, Build, Value, lowers
from secateur.deploy.c.program import C_TYPES, View

UNARY = {
    "relu": "act_relu({0})",
    "relu6": "act_relu6({0})",
    "sigmoid": "act_sigmoid({0})",
    "silu": "act_silu({0})",
    "hardsigmoid": "act_hardsigmoid({0})",
    "hardswish": "act_hardswish({0})",
    "mish": "act_mish({0})",
    "selu": "act_selu({0})",
    "tanh": "tanhf({0})",
    "exp": "expf({0})",
    "exp2": "exp2f({0})",
    "expm1": "expm1f({0})",
    "log": "logf({0})",
    "log2": "log2f({0})",
    "log10": "log10f({0})",
    "log1p": "log1pf({0})",
    "sqrt": "sqrtf({0})",
    "rsqrt": "1.0f / sqrtf({0})",
    "reciprocal": "1.0f / {0}",
    "sin": "sinf({0})",
    "cos": "cosf({0})",
    "tan": "tanf({0})",
    "asin": "asinf({0})",
    "acos": "acosf({0})",
    "atan": "atanf({0})",
    "sinh": "sinhf({0})",
    "cosh": "coshf({0})",
    "erf": "erff({0})",
    "floor": "floorf({0})",
    "ceil": "ceilf({0})",
    "trunc": "truncf({0})",
    "round": "nearbyintf({0})",
    "sign": "act_sign({0})",
}
"""Operators of one tensor that give real numbers."""

KEEPING = {"relu", "floor", "ceil", "trunc", "round", "sign"}
"""Those among them that give whole numbers for whole numbers."""

COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
LOGICAL = {"and": "&", "or": "|", "xor": "^"}


def number(value: bool | float, dtype: str) -> str:
    """A Python number in C, as a number of a dtype."""
    return literal(float(value)) if dtype == "float32" else whole(int(value))


def common(*values: Value) -> str:
    """The dtype in which torch computes with these: float32, int64 or bool, by the C that it comes to."""
    found = torch.bool
    for value in values:
        example = (
            torch.empty((0,) * min(1, _dims(value)), dtype=getattr(torch, value.dtype))
            if isinstance(value, View)
            else value
        )
        found = torch.promote_types(found, torch.result_type(example, torch.empty(0, dtype=torch.bool)))
    if found.is_floating_point:
        return "float32"
    return "bool" if found == torch.bool else "int64"


def _dims(value: View) -> int:
    return len(value.shape)


def operands_of(build: Build, values: Sequence[Value], dtype: str) -> tuple[list[View], list[str]]:
    """Take values apart: the views among them, and for each value a text, {n} or a number, of one dtype."""
    views: list[View] = []
    texts = []
    for value in values:
        if isinstance(value, Tensor) and value.dim() == 0:
            value = value.item()
        if isinstance(value, (bool, int, float)):
            texts.append(number(value, dtype))
            continue
        view = build.view(value)
        text = f"{{{len(views)}}}"
        texts.append(text if view.dtype == dtype else f"({C_TYPES[dtype]}){text}")
        views.append(view)
    return views, texts


def pointwise(
    build: Build, values: Sequence[Value], expression: str, kind: str, dtype: str | None = None
) -> View:
    """Compute an expression of values, {0}, {1}, ..., each exactly once, in a dtype (by default torch's)."""
    dtype = dtype or common(*values)
    views, texts = operands_of(build, values, dtype)
    said = expression.format(*texts)
    output = build.made()
    if output.dtype not in (dtype, "float32", "int64") or output.dtype != dtype:
        said = f"({C_TYPES[output.dtype]})({said})"
    return build.elementwise(views, said, kind, output)


def _unary(expression: str, kind: str, build: Build, value: Value, **_: Any) -> View:
    if kind in KEEPING and isinstance(value, View) and value.dtype != "float32":
        if kind == "relu":
            return pointwise(build, [value, 0], "whole_larger({0}, {1})", "relu", "int64")
        if kind == "sign":
            return pointwise(build, [value], "act_sign({0})", "sign", "float32")
        return value
    return pointwise(build, [value], expression, kind, "float32")


for _name, _expression in UNARY.items():
    OPERATORS[f"aten.{_name}.default"] = partial(_unary, _expression, _name)


def _comparison(sign: str, kind: str, build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], f"{{0}} {sign} {{1}}", kind)


for _name, _sign in COMPARISONS.items():
    for _overload in ("Tensor", "Scalar"):
        OPERATORS[f"aten.{_name}.{_overload}"] = partial(_comparison, _sign, _name)


def _logical(sign: str, kind: str, build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], f"({{0}} != 0) {sign} ({{1}} != 0)", kind)


def _bits(sign: str, kind: str, build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], f"{{0}} {sign} {{1}}", kind, "int64")


for _name, _sign in LOGICAL.items():
    OPERATORS[f"aten.logical_{_name}.default"] = partial(_logical, _sign, f"logical_{_name}")
    for _overload in ("Tensor", "Scalar"):
        OPERATORS[f"aten.bitwise_{_name}.{_overload}"] = partial(_bits, _sign, f"bitwise_{_name}")


@lowers("aten.logical_not.default")
def logical_not(build: Build, value: Value) -> View:
    return pointwise(build, [value], "{0} == 0", "logical_not")


@lowers("aten.bitwise_not.default")
def bitwise_not(build: Build, value: Value) -> View:
    if common(value) == "bool":
        return pointwise(build, [value], "{0} == 0", "bitwise_not")
    return pointwise(build, [value], "~{0}", "bitwise_not")


@lowers("aten.isnan.default")
def isnan(build: Build, value: Value) -> View:
    return pointwise(build, [value], "isnan({0})", "isnan", "float32")


@lowers("aten.isinf.default")
def isinf(build: Build, value: Value) -> View:
    return pointwise(build, [value], "isinf({0})", "isinf", "float32")


@lowers("aten.add.Tensor", "aten.add.Scalar")
def add(build: Build, left: Value, right: Value, alpha: float = 1) -> View:
    return _scaled("+", "add", build, left, right, alpha)


@lowers("aten.sub.Tensor", "aten.sub.Scalar")
def sub(build: Build, left: Value, right: Value, alpha: float = 1) -> View:
    return _scaled("-", "sub", build, left, right, alpha)


@lowers("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(build: Build, left: Value, right: Value, alpha: float = 1) -> View:
    return _scaled("-", "sub", build, right, left, alpha)


def _scaled(sign: str, kind: str, build: Build, left: Value, right: Value, alpha: float) -> View:
    if alpha == 1:
        return pointwise(build, [left, right], f"{{0}} {sign} {{1}}", kind)
    dtype = common(left, right)
    times = number(alpha, dtype)
    return pointwise(build, [left, right], f"{{0}} {sign} {times} * {{1}}", f"{kind}_scaled", dtype)


@lowers("aten.mul.Tensor", "aten.mul.Scalar")
def mul(build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], "{0} * {1}", "mul")


@lowers("aten.div.Tensor", "aten.div.Scalar")
def div(build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], "{0} / {1}", "div", "float32")


@lowers("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(build: Build, left: Value, right: Value, rounding_mode: str | None = None) -> View:
    if rounding_mode is None:
        return div(build, left, right)
    if common(left, right) == "float32":
        rounding = "floorf" if rounding_mode == "floor" else "truncf"
        return pointwise(build, [left, right], f"{rounding}({{0}} / {{1}})", "div", "float32")
    expression = "whole_floor_div({0}, {1})" if rounding_mode == "floor" else "{0} / {1}"
    return pointwise(build, [left, right], expression, "div", "int64")


@lowers("aten.floor_divide.default", "aten.floor_divide.Scalar")
def floor_divide(build: Build, left: Value, right: Value) -> View:
    return div_mode(build, left, right, rounding_mode="floor")


@lowers("aten.remainder.Tensor", "aten.remainder.Scalar")
def remainder(build: Build, left: Value, right: Value) -> View:
    if common(left, right) == "float32":
        return pointwise(build, [left, right], "of_remainder({0}, {1})", "remainder")
    return pointwise(build, [left, right], "whole_modulo({0}, {1})", "remainder", "int64")


@lowers("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(build: Build, left: Value, right: Value) -> View:
    if common(left, right) == "float32":
        return pointwise(build, [left, right], "fmodf({0}, {1})", "fmod")
    return pointwise(build, [left, right], "{0} % {1}", "fmod", "int64")


@lowers("aten.pow.Tensor_Scalar", "aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def power(build: Build, base: Value, exponent: Value) -> View:
    special = {
        2: "act_square({0})",
        3: "act_cube({0})",
        0.5: "sqrtf({0})",
        -0.5: "1.0f / sqrtf({0})",
        1: "{0}",
    }
    if isinstance(exponent, (int, float)) and exponent in special and common(base, exponent) == "float32":
        return pointwise(build, [base], special[exponent], "pow", "float32")
    return pointwise(build, [base, exponent], "powf({0}, {1})", "pow", "float32")


@lowers("aten.atan2.default")
def atan2(build: Build, left: Value, right: Value) -> View:
    return pointwise(build, [left, right], "atan2f({0}, {1})", "atan2", "float32")


@lowers("aten.minimum.default")
def minimum(build: Build, left: Value, right: Value) -> View:
    return _extreme("least", "smaller", build, left, right)


@lowers("aten.maximum.default")
def maximum(build: Build, left: Value, right: Value) -> View:
    return _extreme("greatest", "larger", build, left, right)


def _extreme(of_reals: str, of_wholes: str, build: Build, left: Value, right: Value) -> View:
    real = common(left, right) == "float32"
    name = f"of_{of_reals}" if real else f"whole_{of_wholes}"
    return pointwise(build, [left, right], f"{name}({{0}}, {{1}})", of_wholes, "float32" if real else "int64")


@lowers("aten.clamp.default", "aten.clamp.Tensor", "aten.hardtanh.default")
def clamp(build: Build, value: Value, min: Value = None, max: Value = None) -> View:  # torch's names
    if str(build.node.target) == "aten.hardtanh.default":
        min, max = -1 if min is None else min, 1 if max is None else max
    real = common(value, *(each for each in (min, max) if each is not None)) == "float32"
    low, high = ("of_greatest", "of_least") if real else ("whole_larger", "whole_smaller")
    if (min, max) in ((0, 6), (0.0, 6.0)) and real and not isinstance(min, Tensor):
        return pointwise(build, [value], "act_relu6({0})", "relu6", "float32")
    if max is None and isinstance(min, (int, float)) and min == 0 and real:
        return pointwise(build, [value], "act_relu({0})", "relu", "float32")
    expression, values = "{0}", [value]
    for name, limit in ((low, min), (high, max)):
        if limit is not None:
            expression = f"{name}({expression}, {{{len(values)}}})"
            values.append(limit)
    return pointwise(build, values, expression, "clamp", "float32" if real else "int64")


@lowers("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(build: Build, value: Value, limit: Value) -> View:
    return clamp(build, value, limit, None)


@lowers("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(build: Build, value: Value, limit: Value) -> View:
    return clamp(build, value, None, limit)


@lowers("aten.neg.default")
def neg(build: Build, value: Value) -> View:
    return pointwise(build, [value], "-{0}", "neg")


@lowers("aten.abs.default")
def absolute(build: Build, value: Value) -> View:
    if common(value) == "float32":
        return pointwise(build, [value], "fabsf({0})", "abs")
    return pointwise(build, [value], "llabs({0})", "abs", "int64")


@lowers("aten.where.self", "aten.where.ScalarSelf", "aten.where.ScalarOther", "aten.where.Scalar")
def where(build: Build, condition: Value, yes: Value, no: Value) -> View:
    dtype = common(yes, no)
    views, texts = operands_of(build, [yes, no], dtype)
    picked = build.view(condition)
    said = f"{{{len(views)}}} ? {texts[0]} : {texts[1]}"
    output = build.made()
    return build.elementwise([*views, picked], said, "where", output)


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(build: Build, value: Value, mask: Value, filling: Value) -> View:
    return where(build, mask, filling, value)


@lowers("aten.gelu.default")
def gelu(build: Build, value: Value, approximate: str = "none") -> View:
    name = "gelu_tanh" if approximate == "tanh" else "gelu"
    return pointwise(build, [value], f"act_{name}({{0}})", name, "float32")


@lowers("aten.leaky_relu.default")
def leaky_relu(build: Build, value: Value, slope: float = 0.01) -> View:
    return pointwise(build, [value, slope], "of_leaky({0}, {1})", "leaky_relu", "float32")


@lowers("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(build: Build, value: Value, slope: Value) -> View:
    view = build.view(slope)
    if len(view.shape) == 1 and len(build.made().shape) > 1:
        view = view.shaped(view.size, *[1] * (len(build.made().shape) - 2))
    return build.elementwise([build.view(value), view], "of_leaky({0}, {1})", "prelu")


@lowers("aten.elu.default")
def elu(build: Build, value: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> View:
    if (alpha, scale, input_scale) == (1, 1, 1):
        return pointwise(build, [value], "act_elu({0})", "elu", "float32")
    if input_scale == 1 and scale != 1 and abs(scale - 1.0507009873554805) < 1e-6:
        return pointwise(build, [value], "act_selu({0})", "selu", "float32")
    view = build.view(value)
    below, times = literal(scale * alpha), literal(scale)
    inner = literal(input_scale)
    said = f"{{0}} > 0.0f ? {times} * {{1}} : {below} * expm1f({inner} * {{2}})"
    return build.elementwise([view, view, view], said, "elu")


@lowers("aten.softplus.default")
def softplus(build: Build, value: Value, beta: float = 1, threshold: float = 20) -> View:
    if (beta, threshold) == (1, 20):
        return pointwise(build, [value], "act_softplus({0})", "softplus", "float32")
    view, times, limit = build.view(value), literal(beta), literal(threshold)
    said = f"{{0}} * {times} > {limit} ? {{1}} : log1pf(expf({{2}} * {times})) / {times}"
    return build.elementwise([view, view, view], said, "softplus")


@lowers("aten._to_copy.default", "aten.to.dtype", "prims.convert_element_type.default")
def to_copy(build: Build, value: Value, dtype: torch.dtype | None = None, **_: Any) -> Value:
    output = build.made()
    if output.dtype == value.dtype:
        return value
    if output.dtype == "bool":
        return build.elementwise([value], "{0} != 0", "to_bool", output)
    return build.elementwise([value], f"({C_TYPES[output.dtype]}){{0}}", f"to_{output.dtype}", output)


@lowers(
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.native_dropout.default",
    "aten.dropout.default",
    "aten.lift_fresh_copy.default",
    "aten.alias_copy.default",
)
def same(build: Build, value: Value, *_: Any, **__: Any) -> Value:
    return (value, None) if str(build.node.target) == "aten.native_dropout.default" else value


@lowers(
    "aten.full_like.default",
    "aten.zeros_like.default",
    "aten.ones_like.default",
    "aten.new_zeros.default",
    "aten.new_ones.default",
    "aten.new_full.default",
)
def filled(build: Build, value: Value, *args: Any, **_: Any) -> Tensor:
    """Constant whatever the numbers are."""
    name, made = str(build.node.target), build.node.meta["val"]
    number_ = 0 if "zeros" in name else 1 if "ones" in name else args[-1]
    return torch.full(tuple(made.shape), number_, dtype=made.dtype)


@lowers("aten._assert_tensor_metadata.default", "aten._assert_scalar.default", "aten._assert_async.msg")
def nothing(build: Build, *_: Any, **__: Any) -> None:
    return None


@lowers("aten.fill.Scalar")
def fill(build: Build, value: Value, number_: float) -> Tensor:
    return filled(build, value, number_)


@lowers("aten.copy.default")
def copy(build: Build, _target: Value, source: Value, *__: Any) -> Value:
    made = build.node.meta["val"]
    view = build.view(source)
    return (
        view.broadcast(tuple(made.shape))
        if build.dtype_of(made.dtype) == view.dtype
        else to_copy(build, view)
    )
