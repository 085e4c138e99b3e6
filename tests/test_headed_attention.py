"""Torch's attention with heads of its own: equal to torch's where nothing is cut, right where heads are."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import secateur as sc
from secateur.network.attention import HeadedAttention, with_own_heads

EXAMPLES, TARGETS, SOURCES, WIDTH, HEADS = 2, 3, 5, 12, 4


def attention(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, HEADS, **settings).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def headed(module: nn.MultiheadAttention) -> nn.MultiheadAttention:
    held = nn.ModuleList([copy.deepcopy(module)])
    with_own_heads(held, {"0"})
    (made,) = held
    assert isinstance(made, HeadedAttention)
    return made


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def given(module: nn.MultiheadAttention, *, batched: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    sizes = [(TARGETS, WIDTH), (SOURCES, module.kdim), (SOURCES, module.vdim)]
    if not batched:
        return tuple(drawn(*size) for size in sizes)  # type: ignore[return-value]
    order = (0, 1, 2) if module.batch_first else (1, 0, 2)
    return tuple(drawn(EXAMPLES, *size).permute(order) for size in sizes)  # type: ignore[return-value]


def assert_same(found: tuple[Tensor, Tensor | None], expected: tuple[Tensor, Tensor | None]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    assert (found[1] is None) == (expected[1] is None)
    if found[1] is not None and expected[1] is not None:
        torch.testing.assert_close(found[1], expected[1], rtol=1e-12, atol=1e-12)


PADDING = torch.tensor([[False, False, False, True, True], [False] * 5])
LATE = torch.ones(TARGETS, SOURCES).triu(1).bool()
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"key_padding_mask": PADDING},
    "boolean": {"attn_mask": LATE},
    "both": {"attn_mask": LATE, "key_padding_mask": PADDING},
    "float": {"attn_mask": drawn(TARGETS, SOURCES)},
    "one for each head": {"attn_mask": drawn(EXAMPLES * HEADS, TARGETS, SOURCES)},
    "causal": {"attn_mask": LATE, "is_causal": True},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "own widths": {"kdim": 6, "vdim": 7},
    "one more key": {"add_bias_kv": True},
    "zero attention": {"add_zero_attn": True, "batch_first": True},
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_uncut_it_is_torchs(settings: str, mask: str) -> None:
    module = attention(**SETTINGS[settings]).eval()
    inputs = given(module)
    for weights in ({"need_weights": False}, {}, {"average_attn_weights": False}):
        asked = {**MASKS[mask], **weights}
        if settings in ("one more key", "zero attention") and asked.pop("is_causal", False):
            continue  # torch's own forgets the mask of what it adds there
        assert_same(headed(module)(*inputs, **asked), module(*inputs, **asked))


def test_unbatched_and_with_dropout_in_training() -> None:
    module = attention(dropout=0.5)
    inputs = given(module, batched=False)
    assert_same(headed(module).eval()(*inputs), module.eval()(*inputs))
    asked = {"key_padding_mask": PADDING[0], "need_weights": False}
    assert_same(headed(module)(*inputs, **asked), module(*inputs, **asked))
    training = headed(module).train()
    assert not torch.equal(training(*inputs)[0], training(*inputs)[0])


def without_heads(module: nn.MultiheadAttention, kept: list[int]) -> nn.MultiheadAttention:
    """Cut heads by hand: rows of queries, keys and values, columns of the output."""
    cut = copy.deepcopy(module)
    each = WIDTH // HEADS
    entries = torch.cat([torch.arange(each) + head * each for head in kept])
    rows = torch.cat([entries + part * WIDTH for part in range(3)])
    assert module.in_proj_weight is not None
    cut.in_proj_weight = nn.Parameter(module.in_proj_weight[rows])
    cut.in_proj_bias = nn.Parameter(module.in_proj_bias[rows])
    cut.out_proj.weight = nn.Parameter(module.out_proj.weight[:, entries])
    return headed(cut)


@pytest.mark.parametrize("kept", [[0], [1, 3], [0, 1, 2]])
def test_fewer_heads_give_what_the_whole_does_when_nobody_reads_them(kept: list[int]) -> None:
    module = attention().eval()
    cut = without_heads(module, kept)
    inputs = tuple(drawn(SOURCES, EXAMPLES, WIDTH) for _ in range(3))
    masked = copy.deepcopy(module)
    with torch.no_grad():
        for head in set(range(HEADS)) - set(kept):
            masked.out_proj.weight[:, head * 3 : head * 3 + 3] = 0
    found, weights = cut(*inputs, average_attn_weights=False)
    expected, every = masked(*inputs, average_attn_weights=False)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (cut.num_heads, cut.head_dim, cut.embed_dim) == (len(kept), 3, WIDTH)
    assert weights is not None
    assert every is not None
    torch.testing.assert_close(weights, every[:, kept], rtol=1e-12, atol=1e-12)


def test_a_mask_for_heads_that_are_gone_is_refused_in_words() -> None:
    cut = without_heads(attention(), [0, 2])
    x = drawn(SOURCES, EXAMPLES, WIDTH)
    with pytest.raises(RuntimeError, match="holds 8 maps for 2 examples and the 2 heads that are left"):
        cut(x, x, x, attn_mask=torch.zeros(8, SOURCES, SOURCES))
    with pytest.raises(RuntimeError, match="give attn_mask too"):
        cut(x, x, x, is_causal=True)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # of the uncut one
@pytest.mark.parametrize("batch_first", [True, False])
def test_in_an_encoder_torchs_fast_paths_pass_it_by(batch_first: bool) -> None:
    """In evaluation without gradients torch's layer hands the weights to a kernel that divides the width."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=batch_first)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=batch_first).double().eval()
    cut = copy.deepcopy(encoder)
    with_own_heads(cut, {"layers.0.self_attn", "layers.1.self_attn.out_proj"})
    assert all(isinstance(cut.get_submodule(f"layers.{i}.self_attn"), HeadedAttention) for i in range(2))
    x = drawn(EXAMPLES, SOURCES, WIDTH) if batch_first else drawn(SOURCES, EXAMPLES, WIDTH)
    with torch.no_grad():
        found, expected = (m(x, src_key_padding_mask=PADDING) for m in (cut, encoder))
    there = ~PADDING if batch_first else ~PADDING.T  # where torch's fast path fills in zeros
    torch.testing.assert_close(found[there], expected[there], rtol=1e-12, atol=1e-12)


def test_saved_by_torch_and_copied() -> None:
    cut = without_heads(attention(), [1])
    file = io.BytesIO()
    torch.save(cut, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    x = drawn(SOURCES, EXAMPLES, WIDTH)
    for other in (again, copy.deepcopy(cut)):
        assert isinstance(other, HeadedAttention)
        assert torch.equal(other(x, x, x)[0], cut(x, x, x)[0])


def test_other_modules_and_subclasses_stay() -> None:
    class Own(nn.MultiheadAttention):
        pass

    model = nn.ModuleDict({"own": Own(4, 2), "linear": nn.Linear(2, 2), "stock": nn.MultiheadAttention(4, 2)})
    with_own_heads(model, {"own", "linear", "own.out_proj"})
    assert [type(m) for m in model.values()] == [Own, nn.Linear, nn.MultiheadAttention]


def test_costs_follow_heads_in_closed_form():
    """What is cut runs another class than what is whole: both multiply the same."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 24, batch_first=True), 1)
    anatomy = sc.inspect(nn.Sequential(nn.Linear(5, 16), encoder, nn.Linear(16, 3)), torch.randn(3, 7, 5))
    assert anatomy.costs.unfollowed == ""
    (heads,) = [name for name in anatomy.graph.groups if name.endswith("self_attn")]
    less = anatomy.costs.now["macs"] - anatomy.costs.without(heads)["macs"]
    assert (
        less == 7 * (3 * 16 * 4 + 4 * 16) + 2 * 7 * 7 * 4
    )  # projections of 4 channels in and out; scores, values
