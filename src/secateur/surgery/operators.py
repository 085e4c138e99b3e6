"""Which operators multiply matrices, and by which sizes; which cost nothing; and which nobody knows.

Operators are told by their exact names and by torch's own tags, never by a part of a name. What multiplies is
what `torch.utils.flop_counter` counts, as two FLOPs for each multiply-accumulate; operators that it does not
know because a backend fuses several into one count as those that they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

Dims = tuple[int, ...]
"""Sizes whose product is a number of multiply-accumulates; the last but one is what is summed over."""


def _matmul(a: Tensor, b: Tensor, *_: Any, **__: Any) -> list[Dims]:
    """(..., m, k) times (..., k, n)."""
    return [(*a.shape, b.shape[-1])]


def _added(_sum: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> list[Dims]:
    return _matmul(a, b)


def _grouped(a: Tensor, b: Tensor, *_: Any, **__: Any) -> list[Dims]:
    """Each row by the matrix of its group (mixtures of experts), or each group's rows by its columns."""
    return _matmul(a[0], b) if a.dim() == 3 and b.dim() == 2 else _matmul(a, b)


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> list[Dims]:
    """Queries by keys, then what comes of it by values; a mask saves nothing, as in torch's counter.

    Keys and values have fewer heads than queries where queries are grouped.
    """
    rows, keys = q.shape[:-1], k.shape[-2]
    return [(*rows, q.shape[-1], keys), (*rows, keys, v.shape[-1])]


def _convolution(
    x: Tensor,
    weight: Tensor,
    _bias: Any = None,
    _stride: Any = None,
    _padding: Any = None,
    _dilation: Any = None,
    transposed: bool = False,
    *_: Any,
    out: Tensor,
    **__: Any,
) -> list[Dims]:
    """At every output position, of a transposed one at every input position, the whole weight."""
    return [(len(x), *(x if transposed else out).shape[2:], *weight.shape)]


def _convolution_over_time(_x: Tensor, weight: Tensor, *_: Any, out: Tensor, **__: Any) -> list[Dims]:
    return [(*out.shape[:2], *weight.shape)]


def _recurrent(x: Tensor, *weights: Any, **_: Any) -> list[Dims]:
    """Every matrix among the weights, at every step of every example."""
    given = weights[0] if isinstance(weights[0], (list, tuple)) else weights[:2]
    steps = math.prod(x.shape[:-1])
    return [(steps, *weight.shape) for weight in given if weight.dim() == 2]


_SIZES: dict[str, Callable[..., list[Dims]]] = {
    **dict.fromkeys(("mm", "bmm", "_int_mm", "_scaled_mm"), _matmul),
    **dict.fromkeys(("addmm", "addmm_", "baddbmm", "baddbmm_", "addbmm", "addbmm_"), _added),
    "_addmm_activation": _added,
    "_grouped_mm": _grouped,
    **dict.fromkeys(
        (
            *("_scaled_dot_product_flash_attention", "_scaled_dot_product_flash_attention_for_cpu"),
            *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
            *("_scaled_dot_product_fused_attention_overrideable",),
            "_scaled_dot_product_attention_math_for_mps",
        ),
        _attention,
    ),
    **dict.fromkeys(
        (
            *("convolution", "_convolution", "cudnn_convolution", "convolution_overrideable"),
            "_slow_conv2d_forward",
        ),
        _convolution,
    ),
    "conv_tbc": _convolution_over_time,
    **dict.fromkeys(("mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn"), _recurrent),
}
"""Operator of `torch.ops.aten` -> the sizes that it multiplies by, out of its arguments."""

_OPERANDS = {_matmul: slice(2), _grouped: slice(2), _added: slice(1, 3), _convolution: slice(2)}
"""Which arguments are multiplied."""

_FREE_NAMES = """
_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d fractional_max_pool2d
fractional_max_pool3d max_pool2d_with_indices max_pool3d_with_indices max_unpool2d max_unpool3d
mkldnn_adaptive_avg_pool2d mkldnn_max_pool2d mkldnn_max_pool3d _batch_norm_no_update
_batch_norm_with_update _batch_norm_with_update_functional batch_norm_elemt batch_norm_stats
cudnn_batch_norm _native_batch_norm_legit _native_batch_norm_legit_functional
_native_batch_norm_legit_no_training native_batch_norm native_group_norm native_layer_norm native_norm
_fused_rms_norm _weight_norm_interface renorm _softmax softmax _safe_softmax _log_softmax log_softmax
_masked_softmax logcumsumexp _logcumsumexp log_sigmoid_forward hardswish glu _prelu_kernel
rrelu_with_noise rrelu_with_noise_functional _add_relu native_dropout _fused_dropout bernoulli normal
normal_functional uniform random exponential geometric cauchy log_normal poisson binomial multinomial rand
rand_like randint randint_like randn randn_like randperm upsample_bicubic2d upsample_bilinear2d
upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d
_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_lanczos2d_aa _upsample_nearest_exact1d
_upsample_nearest_exact2d _upsample_nearest_exact3d affine_grid_generator grid_sampler_2d grid_sampler_3d
cudnn_grid_sampler _grid_sampler_2d_cpu_fallback pixel_shuffle pixel_unshuffle channel_shuffle im2col
col2im constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
replication_pad2d replication_pad3d _pack_padded_sequence _pad_packed_sequence to_padded_tensor cat stack
_stack _chunk_cat block_diag copy clone _to_copy contiguous detach detach_copy lift lift_fresh
lift_fresh_copy alias_copy view_copy expand_copy permute_copy select_copy slice_copy split_copy
split_with_sizes_copy squeeze_copy unsqueeze_copy t_copy transpose_copy unbind_copy unfold_copy
diagonal_copy as_strided_copy _reshape_copy narrow_copy _lazy_clone as_strided as_strided_scatter
diagonal_scatter select_scatter slice_scatter diag_embed unsafe_split unsafe_split_with_sizes _unsafe_view
resize resize_as set repeat repeat_interleave roll rot90 flip arange linspace logspace range eye empty
empty_like empty_permuted empty_strided full full_like ones ones_like zeros zeros_like new_empty
new_empty_strided new_full new_ones new_zeros scalar_tensor zero fill _efficientzerotensor tril triu
tril_indices triu_indices bartlett_window blackman_window hamming_window hann_window kaiser_window complex
polar embedding embedding_renorm _embedding_bag _embedding_bag_forward_only index _unsafe_index
_unsafe_masked_index index_add index_copy index_fill index_put _index_put_impl _unsafe_index_put
_unsafe_masked_index_put_accumulate index_reduce index_select gather scatter scatter_add scatter_reduce
masked_scatter masked_select put take nonzero nonzero_static cummax cummin _cummax_helper _cummin_helper
cumprod cumsum trace histc histogram bincount bucketize searchsorted isin kthvalue median nanmedian mode
sort topk _unique _unique2 unique_consecutive unique_dim unique_dim_consecutive segment_reduce _aminmax
allclose dist floor_divide binary_cross_entropy binary_cross_entropy_with_logits huber_loss mse_loss
nll_loss_forward nll_loss2d_forward smooth_l1_loss soft_margin_loss multi_margin_loss
multilabel_margin_loss_forward _local_scalar_dense item _assert_async _functional_assert_async
_assert_scalar _functional_assert_scalar _assert_tensor_metadata _is_all_true _is_any_true
_has_same_storage_numel _pin_memory record_stream _fused_sdp_choice _cudnn_init_dropout_state
_cudnn_rnn_flatten_weight _thnn_fused_lstm_cell _thnn_fused_gru_cell dequantize device is_pinned equal
is_same_size sym_size sym_stride sym_numel sym_storage_offset is_contiguous size stride dim numel
"""

_FREE = frozenset(_FREE_NAMES.split())
"""Operators that cost nothing by our convention: they move, choose, pool, scale, normalise, make numbers."""

_FREE_ELSEWHERE = {"torchvision": frozenset({"nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"})}
_CHEAP_TAGS = {getattr(torch.Tag, name) for name in ("pointwise", "reduction") if hasattr(torch.Tag, name)}


@cache
def costs_nothing(operator: Any) -> bool:
    """Tell an operator that only moves, chooses, scales or averages: none of its work is counted."""
    space, _, name = operator._schema.name.partition("::")
    if space != "aten":
        return space in ("prim", "prims") or name in _FREE_ELSEWHERE.get(space, ())
    plain = name if not name.endswith("_") or name.startswith("__") else name[:-1]  # not in place
    if plain in _FREE:
        return True
    packet = getattr(torch.ops.aten, plain, operator.overloadpacket)
    overloads = [operator, *(getattr(packet, each) for each in packet.overloads())]
    return any(each.is_view or _CHEAP_TAGS.intersection(each.tags) for each in overloads)


def multiplied(operator: Any, args: Any, kwargs: dict[str, Any], result: Any) -> list[Dims] | None:
    """Find the sizes of each product that an operator has made of its arguments; None where it makes none."""
    space, _, name = operator._schema.name.partition("::")
    if space == "aten" and name in _SIZES:
        return _SIZES[name](*args, **{**kwargs, "out": result})
    formula = flop_registry.get(operator.overloadpacket)
    return None if formula is None else [(formula(*args, **kwargs, out_val=result) // 2,)]


def operands(operator: Any, args: Any) -> tuple[Tensor, ...]:
    """Which of the arguments are multiplied, where one of them may be a parameter."""
    space, _, name = operator._schema.name.partition("::")
    where = _OPERANDS.get(_SIZES[name]) if space == "aten" and name in _SIZES else None
    return () if where is None else tuple(arg for arg in args[where] if isinstance(arg, Tensor))
