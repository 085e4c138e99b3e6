"""Torch's multi-head attention with any number of heads, whatever the width of the stream that it reads.

`nn.MultiheadAttention` divides the width of its input by its number of heads. So it can lose neither heads
alone nor channels of the stream alone. A module that was cut is given the class `HeadedAttention`, which
holds both numbers by themselves, and computes the same where nothing is cut.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class HeadedAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` of `num_heads` heads of `head_dim` channels, at any width of what it reads.

    Made of one that was cut (`with_own_heads`), never built; takes and gives what that one does. Torch's
    fused kernels for inference, which divide the width too, pass it by.
    """

    @property
    def _qkv_same_embed_dim(self) -> bool:
        """What torch asks before it takes its fast path; never."""
        return False

    @_qkv_same_embed_dim.setter
    def _qkv_same_embed_dim(self, value: bool) -> None:
        self.__dict__["_qkv_same_embed_dim"] = value

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as `nn.MultiheadAttention.forward` says.

        Raises:
            RuntimeError: for `is_causal` without a mask, as torch does; for a mask of one map for each head
                that has other heads than are left.
        """
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint at what attn_mask is: give attn_mask too")
        batched = query.dim() == 3
        query, key, value = (self._batch_first(x) for x in (query, key, value))
        if key_padding_mask is not None and not batched:
            key_padding_mask = key_padding_mask[None]
        q, k, v = self._projected(query, key, value)
        if self.bias_k is not None and self.bias_v is not None:
            k, v = (
                torch.cat([x, b.expand(len(x), 1, -1)], 1) for x, b in ((k, self.bias_k), (v, self.bias_v))
            )
        q, k, v = (x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for x in (q, k, v))
        if self.add_zero_attn:
            k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
        bias = self._bias(q, k, attn_mask, key_padding_mask)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q * math.sqrt(1.0 / self.head_dim)) @ k.transpose(-2, -1)
            weights = (scores if bias is None else scores + bias).softmax(-1)
            weights = F.dropout(weights, dropout) if dropout else weights
            attended = weights @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, bias, dropout)
        output = F.linear(attended.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _batch_first(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x[None]
        return x if self.batch_first else x.transpose(0, 1)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project to queries, keys and values: (examples, positions, heads * head_dim) each."""
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        else:
            weights = list(self.in_proj_weight.chunk(3))
        biases = [None] * 3 if self.in_proj_bias is None else list(self.in_proj_bias.chunk(3))
        q, k, v = (F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        return q, k, v

    def _bias(self, q: Tensor, k: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
        """Add both masks up to what the scores, (examples, heads, positions, keys), are increased by."""
        examples, heads = q.shape[:2]
        bias = None
        if mask is not None:
            bias = _added(mask, q.dtype)
            if bias.dim() == 3 and len(bias) not in (1, examples * heads):
                raise RuntimeError(
                    f"attn_mask holds {len(bias)} maps for {examples} examples and the {heads} heads that "
                    f"are left, where it should be {examples * heads}: make one map for all heads, (L, S), "
                    "or make them for the module's num_heads"
                )
            if bias.dim() == 3 and len(bias) > 1:
                bias = bias.unflatten(0, (examples, heads))
        if padding is not None:
            hidden = _added(padding, q.dtype)[:, None, None]
            bias = hidden if bias is None else bias + hidden
        if bias is not None and (more := k.shape[2] - bias.shape[-1]) > 0:
            bias = F.pad(bias, (0, more))  # what is attended to beside the keys is never masked
        return bias


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Make what is added to scores of a mask: -inf where a boolean one is true."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, -math.inf)
    return mask.to(dtype)


def with_own_heads(model: nn.Module, names: set[str]) -> None:
    """Have stock attention modules that were cut hold their own numbers, in place.

    Args:
        names: of modules whose parameters were cut; those that are no attention are left as they are, and
            those of somebody's own subclass, whose code may do anything.
    """
    found = set[nn.Module]()
    for name in sorted(names):
        for holder in (name, name.rpartition(".")[0]):  # torch's own linear layer in it is `out_proj`
            module = model.get_submodule(holder)
            if type(module) in (nn.MultiheadAttention, HeadedAttention):
                module.__class__ = HeadedAttention
                _follow(module)
                found.add(module)
    for encoder in model.modules() if found else ():
        if isinstance(encoder, nn.TransformerEncoder) and found & set(encoder.modules()):
            encoder.use_nested_tensor = False


def _follow(module: nn.Module) -> None:
    """Read the numbers off the shapes; `head_dim` stays."""
    assert isinstance(module, HeadedAttention)
    packed = module.in_proj_weight
    rows = len(packed) // 3 if packed is not None else len(module.q_proj_weight)
    module.num_heads = rows // module.head_dim
    module.embed_dim = module.out_proj.out_features = len(module.out_proj.weight)
    module.out_proj.in_features = rows
    module.kdim, module.vdim = (
        (packed.shape[1],) * 2
        if packed is not None
        else (module.k_proj_weight.shape[1], module.v_proj_weight.shape[1])
    )
