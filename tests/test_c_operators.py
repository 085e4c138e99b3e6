"""Operators in C against torch, one by one; they are outputs of one network, which is built once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.deploy.c import compile as compiled
from secateur.deploy.c.compiling import has_compiler

needs_compiler = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler")

torch.manual_seed(0)
WEIGHT = {
    "conv": torch.randn(6, 4, 3, 3),
    "grouped": torch.randn(6, 2, 3, 3),
    "depthwise": torch.randn(4, 1, 3, 3),
    "line": torch.randn(5, 4, 3),
    "transposed": torch.randn(4, 3, 3, 3),
    "row": torch.randn(7),
    "channel": torch.randn(4),
    "table": torch.randn(11, 3),
    "square": torch.randn(7, 7),
}
W = WEIGHT

# x: (N, 4, 6, 7), normal; p: its absolute values plus 0.5; k: (N, 3), whole numbers below 11.
REAL: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": lambda x: F.relu6(x * 5),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "hardswish": lambda x: F.hardswish(x * 3),
    "hardsigmoid": lambda x: F.hardsigmoid(x * 3),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "elu": F.elu,
    "elu_alpha": lambda x: F.elu(x, 0.3),
    "celu": lambda x: F.celu(x, 0.5),
    "selu": F.selu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "prelu": lambda x: F.prelu(x, W["channel"].abs()),
    "softplus": lambda x: F.softplus(x * 9),
    "softplus_beta": lambda x: F.softplus(x, 2.0, 1.0),
    "mish": F.mish,
    "softsign": F.softsign,
    "hardshrink": lambda x: F.hardshrink(x, 0.4),
    "softshrink": lambda x: F.softshrink(x, 0.4),
    "threshold": lambda x: F.threshold(x, 0.1, -2.0),
    "logsigmoid": F.logsigmoid,
    "exp": torch.exp,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "abs": torch.abs,
    "neg": torch.neg,
    "floor": lambda x: torch.floor(x * 3),
    "ceil": lambda x: torch.ceil(x * 3),
    "round": lambda x: torch.round(x * 2),
    "sign": torch.sign,
    "square": lambda x: x**2,
    "cube": lambda x: x**3,
    "add_scaled": lambda x: torch.add(x, x.flip(3), alpha=0.3),
    "rsub": lambda x: 2.0 - x,
    "add_channel": lambda x: x + W["channel"].view(1, 4, 1, 1),
    "mul_row": lambda x: x * W["row"],
    "outer_sum": lambda x: x.mean(3, keepdim=True) + x.mean(2, keepdim=True),
    "minimum": lambda x: torch.minimum(x, x.flip(2)),
    "maximum": lambda x: torch.maximum(x, W["row"]),
    "clamp": lambda x: x.clamp(-0.3, 0.9),
    "clamp_min": lambda x: x.clamp_min(0.25),
    "clamp_tensor": lambda x: torch.clamp(x, max=W["row"]),
    "where": lambda x: torch.where(x > 0.2, x, x * -2),
    "where_constant": lambda x: torch.where(x < W["row"], x, 1.5),
    "masked_fill": lambda x: x.masked_fill(x.abs() < 0.4, -1.0),
    "logical": lambda x: ((x > 0) & (x < 1) | (x < -1.5)).float(),
    "compare": lambda x: (x >= x.flip(3)).float() + (x != 0).float() * 2 + (x <= -0.1).float() * 4,
    "remainder": lambda x: torch.remainder(x * 5, 3.0),
    "fmod": lambda x: torch.fmod(x * 5, 3.0),
    "div_floor": lambda x: torch.div(x * 5, 2.0, rounding_mode="floor"),
    "div_trunc": lambda x: torch.div(x * 5, 2.0, rounding_mode="trunc"),
    "atan2": lambda x: torch.atan2(x, x.flip(3) + 3),
    "sum": lambda x: x.sum((1, 3)),
    "mean": lambda x: x.mean((2, 3)),
    "mean_channels": lambda x: x.mean(1),
    "mean_long": lambda x: x.flatten(1).mean(1),
    "amax": lambda x: x.amax((1, 2)),
    "amin": lambda x: x.amin(3, keepdim=True),
    "max_dim": lambda x: x.max(2).values + x.max(2).indices,
    "argmax": lambda x: x.argmax(1).float(),
    "var": lambda x: x.var((2, 3)),
    "std": lambda x: x.std(1, unbiased=False),
    "var_mean": lambda x: torch.var_mean(x, 3)[0] + torch.var_mean(x, 3)[1],
    "prod": lambda x: x.prod(3),
    "any": lambda x: (x > 1).any(3).float(),
    "all": lambda x: (x > -1).all(3).float(),
    "norm": lambda x: F.normalize(x, dim=1),
    "logsumexp": lambda x: x.logsumexp(3),
    "cumsum": lambda x: x.cumsum(2),
    "softmax": lambda x: F.softmax(x, 3),
    "softmax_channels": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 2),
    "layer_norm": lambda x: F.layer_norm(x, (7,), W["row"], W["row"] * 2, 1e-3),
    "layer_norm_plain": lambda x: F.layer_norm(x, (6, 7)),
    "group_norm": lambda x: F.group_norm(x, 2, W["channel"], W["channel"] + 1),
    "instance_norm": lambda x: F.instance_norm(x, weight=W["channel"], bias=W["channel"] * 2),
    "local_response": lambda x: F.local_response_norm(x, 3),
    "rms_norm": lambda x: F.rms_norm(x, (7,), W["row"]),
    "batch_norm": lambda x: F.batch_norm(
        x, W["channel"], W["channel"].abs() + 0.1, W["channel"], W["channel"]
    ),
    "conv": lambda x: F.conv2d(x, W["conv"], padding=1),
    "conv_bias_stride": lambda x: F.conv2d(x, W["conv"], W["row"][:6], stride=2, padding=(2, 1)),
    "conv_uneven": lambda x: F.conv2d(x, W["conv"], stride=(1, 3)),
    "conv_dilated": lambda x: F.conv2d(x, W["conv"], padding=2, dilation=2),
    "conv_grouped": lambda x: F.conv2d(x, W["grouped"], padding=1, groups=2),
    "conv_depthwise": lambda x: F.conv2d(x, W["depthwise"], padding=1, stride=2, groups=4),
    "conv_same": lambda x: F.conv2d(x, W["conv"][:, :, :, :1], padding="same"),
    "conv_padded_unevenly": lambda x: F.conv2d(F.pad(x, (0, 1, 1, 0)), W["conv"][:, :, :2, :2]),
    "conv_pointwise": lambda x: F.conv2d(x, W["conv"][:, :, :1, :1]),
    "conv_of_slices": lambda x: F.conv2d(x[:, :, ::2, ::3], W["conv"][:, :, :1, :1], stride=(1, 2)),
    "conv_relu": lambda x: F.relu(F.conv2d(x, W["conv"], padding=1)),
    "conv_residual_relu6": lambda x: F.relu6(x + F.conv2d(x, W["conv"][:4], padding=1)),
    "conv_column": lambda x: F.conv2d(x, W["conv"][:, :, :, :1]),
    "conv_line": lambda x: F.conv1d(x.flatten(2), W["line"], padding=1, stride=2),
    "conv_line_relu": lambda x: F.relu(F.conv1d(x.flatten(2), W["line"], padding=2, dilation=2)),
    "conv_transposed": lambda x: F.conv_transpose2d(
        x, W["transposed"], stride=2, padding=1, output_padding=1
    ),
    "conv_transposed_bn": lambda x: F.batch_norm(
        F.conv_transpose2d(x, W["transposed"], W["row"][:3], stride=2),
        W["row"][:3],
        W["row"][1:4].abs() + 0.2,
    ),
    "conv_transposed_grouped": lambda x: F.conv_transpose2d(x, W["transposed"], groups=2, dilation=2),
    "conv_transposed_line": lambda x: F.conv_transpose1d(x.flatten(2), W["transposed"][:, :, 0], stride=3),
    "conv_bn_relu": lambda x: F.relu(
        F.batch_norm(
            F.conv2d(x, W["conv"]), W["row"][:6], W["row"][1:].abs() + 0.3, W["row"][1:], W["row"][:6]
        )
    ),
    "linear": lambda x: F.linear(x, W["square"], W["row"]),
    "linear_plain": lambda x: F.linear(x, W["square"][:3]),
    "linear_residual": lambda x: F.relu(F.linear(x, W["square"], W["row"]) + x),
    "matmul": lambda x: x @ x.transpose(2, 3),
    "matmul_wide": lambda x: x.permute(0, 2, 1, 3) @ x.permute(0, 2, 3, 1) @ x.permute(0, 2, 1, 3),
    "einsum": lambda x: torch.einsum("nchw,nchv->nwv", x, x),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.flip(2), x * 2),
    "attention_causal": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "max_pool": lambda x: F.max_pool2d(x, 2),
    "max_pool_padded": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "max_pool_dilated": lambda x: F.max_pool2d(x, 2, 1, dilation=2),
    "max_pool_line": lambda x: F.max_pool1d(x.flatten(2), 3, 2),
    "avg_pool": lambda x: F.avg_pool2d(x, 2),
    "avg_pool_padded": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool_inside": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "avg_pool_divisor": lambda x: F.avg_pool2d(x, (2, 3), divisor_override=5),
    "avg_pool_line": lambda x: F.avg_pool1d(x.flatten(2), 4, 3, 1),
    "adaptive_avg": lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive_avg_one": lambda x: F.adaptive_avg_pool2d(x, 1),
    "adaptive_avg_line": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 5),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, (4, 5)),
    "cat": lambda x: torch.cat([x, x * 2, x.flip(1)], 1),
    "cat_rows": lambda x: torch.cat([x[:, :, 1:3], x], 2),
    "stack": lambda x: torch.stack([x, -x], 2),
    "split": lambda x: torch.cat([part * n for n, part in enumerate(x.split(3, 3))], 3),
    "chunk_shuffle": lambda x: x.view(x.shape[0], 2, 2, 6, 7).transpose(1, 2).flatten(1, 2),
    "slice_step": lambda x: x[:, 1::2, :, 1:6:2] * 1,
    "select": lambda x: x[:, 2, :, -1] + x.select(1, 0)[:, :, 0],
    "index_constant": lambda x: x[:, [2, 0, 2]] + x[:, :3][:, :, torch.tensor([5, 4, 3, 2, 1, 0])],
    "index_pairs": lambda x: x[:, torch.tensor([0, 1, 3]), torch.tensor([5, 0, 2])],
    "index_select": lambda x: x.index_select(3, torch.tensor([0, 6, 3])),
    "permute": lambda x: x.permute(0, 3, 1, 2) + 0,
    "reshape_copy": lambda x: x.transpose(1, 3).reshape(x.shape[0], 12, 14),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1) * 1,
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "roll": lambda x: x.roll((1, -2), (2, 3)),
    "flip": lambda x: x.flip(1, 3),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :, :6], 2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 2),
    "unfold": lambda x: F.unfold(x, 3, padding=1, stride=2),
    "tril": lambda x: x.tril(1),
    "triu": lambda x: x.triu(),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pad_negative": lambda x: F.pad(x, (-1, 2, 0, -2)),
    "pad_reflect": lambda x: F.pad(x, (2, 1, 1, 3), mode="reflect"),
    "pad_replicate": lambda x: F.pad(x, (2, 1, 1, 3), mode="replicate"),
    "pad_circular": lambda x: F.pad(x, (2, 1, 1, 0), mode="circular"),
    "upsample_nearest": lambda x: F.interpolate(x, scale_factor=2),
    "upsample_odd": lambda x: F.interpolate(x, size=(9, 5)),
    "upsample_bilinear": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "upsample_corners": lambda x: F.interpolate(x, size=(11, 3), mode="bilinear", align_corners=True),
    "upsample_line": lambda x: F.interpolate(x.flatten(2), size=30, mode="linear"),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "unused": lambda x: (x * 2, x + 1)[1],
    "chain": lambda x: (x * 2 + 1).sigmoid() * x.tanh() - (x - 0.5).relu(),
    "reshaped_chain": lambda x: ((x * 2).flatten(1) + 1).view(x.shape) * x,
}
POSITIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "reciprocal": torch.reciprocal,
    "pow": lambda p: p**1.7,
    "pow_tensor": lambda p: p ** p.flip(3),
    "pow_of_two": lambda p: 2.0**p,
    "div": lambda p: 3 / p,
    "expm1": torch.expm1,
}
WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "embedding": lambda k, x: F.embedding(k, W["table"]),
    "embedding_2": lambda k, x: F.embedding(k * 2, W["square"].repeat(4, 1)),
    "gather": lambda k, x: x[:, 0, :3].gather(2, (k % 7).view(-1, 3, 1).expand(-1, 3, 7)),
    "one_hot": lambda k, x: (k.unsqueeze(2) == torch.arange(11)).float(),
    "arithmetic": lambda k, x: ((k * 3 - 1) // 2 % 4).float() + (k / 2),
    "compare_whole": lambda k, x: (k > 4).float() + (k == 3).float(),
    "sum_whole": lambda k, x: k.sum(1).float(),
    "cumsum_whole": lambda k, x: k.cumsum(1).float(),
    "mixed": lambda k, x: x[:, 0, :3, :3] * k.unsqueeze(2) + k.clamp(2, 6).unsqueeze(2),
    "where_whole": lambda k, x: torch.where(k > 5, k, k * 0 - 1).float(),
}


class Everything(nn.Module):
    """Every operator, as an output of its own."""

    def forward(self, x: Tensor, k: Tensor) -> dict[str, Tensor]:
        found = {name: function(x) for name, function in REAL.items()}
        found |= {name: function(x.abs() + 0.5) for name, function in POSITIVE.items()}
        return found | {name: function(k, x) for name, function in WHOLE.items()}


def inputs(count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, 4, 6, 7, generator=generator)
    return {"x": x, "k": torch.randint(0, 11, (count, 3), generator=generator)}


@pytest.fixture(scope="module")
def both():
    """What C gives for a batch of two, and what torch gives for each of them alone."""
    everything = Everything()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secateur.deploy.c.compiling.FLAGS", ("-std=c11", "-O0"))
        built = compiled(everything, inputs(1))
    batch = inputs(2)
    found = built(**{name: value.numpy() for name, value in batch.items()})
    each = [everything(**{name: value[n : n + 1] for name, value in batch.items()}) for n in range(2)]
    return found, {name: torch.cat([one[name] for one in each]) for name in each[0]}


@needs_compiler
@pytest.mark.parametrize("name", [*REAL, *POSITIVE, *WHOLE])
def test_operator(both, name):
    found, expected = both[0][name], both[1][name]
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
