"""Sizes that modules hold as Python numbers, and what follows them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.surgery import mending, proof
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Site
from secateur.surgery.held_numbers import Number
from secateur.surgery.proof import trace_and_prove
from secateur.surgery.trial import Trial


class Reshaping(nn.Module):
    """Two layers of which what the first writes is reshaped by numbers that the module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 8), nn.Linear(8, 2)
        self.width, self.sizes = 8, (4, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.two(self.one(x).view(-1, self.width))
        return y


def reshaping_graph(model: nn.Module) -> ChannelGraph:
    entries = torch.arange(8)[:, None]
    group = ChannelGroup(
        "one", (Site(("one", "out"), entries, write=True), Site(("two", "in"), entries, read=True)), 8
    )
    numbers = (Number("", "width", None, (("one", 1),), 0), Number("", "sizes", 1, (("one", 1),), 0))
    return ChannelGraph.of(model, [group], numbers=numbers)


def test_numbers_follow_cuts() -> None:
    model = Reshaping()
    graph = reshaping_graph(model)
    graph.remove(model, "one", [0, 5, 7])
    assert (model.width, model.sizes) == (5, (4, 5))
    assert model(torch.zeros(2, 3)).shape == (2, 2)
    copied = copy.deepcopy(graph)
    copied.remove(model, "one", [0])
    assert model.width == 4
    assert graph.width("one") == 5
    fresh = Reshaping()
    copied.set_numbers(fresh)
    assert (fresh.width, fresh.sizes) == (4, (4, 4))


def test_numbers_of_sets_and_of_frozen_groups() -> None:
    """By hand: a channel of 2 parts is two of the eight; frozen, all eight are the rest."""
    graph = reshaping_graph(Reshaping())
    tied = graph.with_group(graph.groups["one"].tied("2 parts"))
    assert [number.each for number in tied.numbers] == [(("one", 2),)] * 2
    assert tied.numbers[0].value({"one": 3}) == 6
    two = graph.with_group(ChannelGroup("other", (), 5)).with_numbers(
        [Number("", "width", None, (("one", 1), ("other", 3)), 2)]
    )
    assert [n.value({"one": 8, "other": 5}) for n in two.numbers] == [25, 8]
    (left,) = two.without({"one": "no"}).numbers
    assert (left.each, left.rest, left.attribute) == ((("other", 3),), 10, "width")


class Heads(nn.Module):
    """Attention as timm writes it: heads, their channels and the product of both are numbers.

    Four heads of four channels, so that values do not tell which number is which.
    """

    def __init__(self, width: int = 12, heads: int = 4, each: int = 4) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = heads, each, heads * each
        self.scale = each**-0.5
        self.qkv, self.proj = nn.Linear(width, 3 * self.attn_dim), nn.Linear(self.attn_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        y: Tensor = self.proj(x.transpose(1, 2).reshape(n, tokens, self.attn_dim))
        return y


class Biased(nn.Module):
    """Attention with a bias for each head and distance, looked up in a table."""

    def __init__(self, width: int = 12, heads: int = 4, each: int = 4, tokens: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * heads * each), nn.Linear(heads * each, width)
        self.table = nn.Parameter(torch.randn(2 * tokens - 1, heads))
        at = torch.arange(tokens)
        self.register_buffer("index", (at[:, None] - at[None] + tokens - 1).flatten())

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index].view(tokens, tokens, -1).permute(2, 0, 1)
        x = (q @ k.transpose(-2, -1) + bias[None]).softmax(-1) @ v
        y: Tensor = self.proj(x.transpose(1, 2).reshape(n, tokens, -1))
        return y


class Encoded(nn.Module):
    """Torch's own encoder, batch first or time first."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 4, 10, dropout=0, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.into, self.out, self.dim = nn.Linear(5, 12), nn.Linear(12, 3), int(batch_first)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.encoder(self.into(x)).mean(self.dim))
        return y


class Divided(nn.Module):
    """Attention that divides the width of the stream by its heads: both can only be cut together."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, c = x.shape
        q, k, v = (
            self.qkv(x).reshape(n, tokens, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        x = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        y: Tensor = self.proj(x.transpose(1, 2).reshape(n, tokens, c))
        return y


class Stream(nn.Sequential):
    """Blocks that add to what they read."""

    def forward(self, x: Tensor) -> Tensor:
        for block in self:
            x = x + block(x)
        return x


class Halves(nn.Module):
    """A cross-stage partial block: what one layer writes is halved, by position or by numbers."""

    def __init__(self, numbers: bool) -> None:
        super().__init__()
        self.c, self.numbers = 6, numbers
        self.one, self.two, self.out = nn.Conv2d(3, 12, 1), nn.Conv2d(6, 6, 1), nn.Conv2d(18, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x).relu()
        left, right = x.split((self.c, self.c), 1) if self.numbers else x.chunk(2, 1)
        y: Tensor = self.out(torch.cat([left, right, right + self.two(right)], 1).relu())
        return y


class Parted(nn.Module):
    """What one layer writes is split by a tuple of sizes; one part is reshaped by a product with a number."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.width = (4, 6), 6
        self.one, self.two, self.three = nn.Linear(3, 10), nn.Linear(4, 5), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.one(x).split(self.sizes, -1)
        y: Tensor = self.two(left).mean(1) + self.three(right.reshape(len(x), self.width * 2))
        return y


class Unit(nn.Module):
    """ShuffleNetV2's: half of the channels pass, half go through a branch, then both are interleaved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Conv2d(width // 2, width // 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.branch(right).relu()], 1)
        return x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


def tokens(*layers: nn.Module, width: int = 12) -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, width), *layers, nn.Linear(width, 3))


ENCODED = {
    "into": (12, ""),
    **{
        f"encoder.layers.{i}.{name}": (width, "")
        for i in (0, 1)
        for name, width in (("self_attn", 4), ("linear1", 10))
    },
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, tuple[int, str]]]] = {
    "heads": (
        lambda: tokens(Heads(), Heads()),
        (4, 3, 5),
        {"0": (12, ""), "1.qkv": (4, ""), "1.proj": (12, ""), "2.qkv": (4, ""), "2.proj": (12, "")},
    ),
    "a stream divided by heads": (
        lambda: tokens(Stream(Divided(12, 3), Divided(12, 3))),
        (4, 3, 5),
        {"0": (3, "3 groups of 4 parts")},
    ),
    "a table of biases": (
        lambda: tokens(Biased()),
        (4, 3, 5),
        {"0": (12, ""), "1.qkv": (4, ""), "1.proj": (12, "")},
    ),
    "torch's encoder": (lambda: Encoded(True), (4, 3, 5), ENCODED),
    "torch's encoder, time first": (lambda: Encoded(False), (6, 4, 5), ENCODED),
    "halves by numbers": (
        lambda: nn.Sequential(Halves(True), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        (4, 3, 4, 4),
        {"0.one": (6, "2 groups"), "0.out": (8, "")},
    ),
    "halves of a chunk": (
        lambda: nn.Sequential(Halves(False), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        (4, 3, 4, 4),
        {"0.one": (6, "2 groups"), "0.out": (8, "")},
    ),
    "a split, and a product": (Parted, (4, 2, 3), {"one": (6, ""), "one#2": (4, "")}),
    "unflattened": (
        lambda: nn.Sequential(
            nn.Linear(3, 8), nn.Unflatten(1, (8, 1)), nn.Flatten(), nn.ReLU(), nn.Linear(8, 2)
        ),
        (4, 3),
        {"0": (8, "")},
    ),
    "shuffled units": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 1), Unit(16), Unit(16), nn.Conv2d(16, 3, 1)),
        (4, 3, 2, 2),
        {"0": (4, "6 groups of 2 runs, 2 runs")},
    ),
}
"""Name -> (network, shape of its inputs, group -> (width, sets)), the widths by hand."""


@functools.cache
def opened(name: str) -> tuple[nn.Module, Tensor, ChannelGraph]:
    torch.manual_seed(0)
    build, shape, _ = NETWORKS[name]
    model = build().double().eval()
    x = torch.randn(shape, dtype=torch.float64)
    return model, x, trace_and_prove(model, x)


def blind(model: nn.Module, graph: ChannelGraph, gone: dict[str, list[int]]) -> nn.Module:
    """Zero the weights that read what is gone; a layer norm's channels are weighed out of its statistics."""
    masked = copy.deepcopy(model)
    for name, channels in gone.items():
        for site in graph.groups[name].sites:
            layer, entries = masked.get_submodule(site.axis[0]), site.entries[channels].flatten()
            own, _, dim = site.axis[1].partition("@")
            if site.read:
                weight = getattr(layer, own) if dim else layer.weight
                with torch.no_grad():
                    weight.index_fill_(int(dim or 1), entries, 0)  # type: ignore[operator]
            elif isinstance(layer, nn.LayerNorm):
                kept = torch.ones(layer.normalized_shape, dtype=torch.float64)
                kept[entries] = 0
                layer.forward = functools.partial(_over, kept, layer)  # type: ignore[method-assign]
    return masked


def _over(kept: Tensor, layer: nn.LayerNorm, x: Tensor) -> Tensor:
    x = x * kept
    mean = x.sum(-1, keepdim=True) / kept.sum()
    variance = (((x - mean) * kept) ** 2).sum(-1, keepdim=True) / kept.sum()
    return ((x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias) * kept


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_number_or_a_position_held_back_is_cut(name: str) -> None:
    """Every group, and each by itself, at halves: as the network whose readers see zeros."""
    model, x, graph = opened(name)
    assert {g.name: (g.width, g.sets) for g in graph} == NETWORKS[name][2]
    generator = torch.Generator().manual_seed(1)
    for names in ([*graph.groups], *([each] for each in graph.groups)):
        gone = {
            each: torch.randperm(w, generator=generator)[: max(1, w // 2)].tolist()
            for each, w in ((n, graph.groups[n].width) for n in names)
        }
        cut, left = copy.deepcopy(model), graph.uncut()
        for each, channels in gone.items():
            left.remove(cut, each, channels)
        found, expected = cut(x), blind(model, graph, gone)(x)  # gradients keep torch off its fast path
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_which_numbers_follow() -> None:
    """By hand. Four heads of four: `num_heads` follows, `head_dim`, of the same value, does not."""
    follow = {
        name: {(n.module, n.attribute, n.index, n.each, n.rest) for n in opened(name)[2].numbers}
        for name in ("heads", "a stream divided by heads", "halves by numbers", "a split, and a product")
    }
    assert follow["heads"] == {
        *((f"{i}", "num_heads", None, ((f"{i}.qkv", 1),), 0) for i in (1, 2)),
        *((f"{i}", "attn_dim", None, ((f"{i}.qkv", 4),), 0) for i in (1, 2)),
    }
    assert follow["a stream divided by heads"] == {
        (i, "num_heads", None, (("0", 1),), 0) for i in ("1.0", "1.1")
    }
    assert follow["halves by numbers"] == {("0", "c", None, (("0.one", 1),), 0)}
    assert follow["a split, and a product"] == {
        ("", "sizes", 0, (("one#2", 1),), 0),
        ("", "sizes", 1, (("one", 1),), 0),
        ("", "width", None, (("one", 1),), 0),
    }


def test_a_table_of_biases_follows_the_heads() -> None:
    _, _, graph = opened("a table of biases")
    assert ("1", "table@1") in {site.axis for site in graph.groups["1.qkv"].sites}


def test_a_float_made_of_a_size_stays() -> None:
    model, _, graph = opened("heads")
    cut = copy.deepcopy(model)
    graph.uncut().narrow(cut, {"1.qkv": 1})
    heads = cut.get_submodule("1")
    assert (heads.num_heads, heads.head_dim, heads.attn_dim, heads.scale) == (1, 4, 4, 0.5)


WRONG = [
    Number("1", "num_heads", None, (("1.qkv", 1),), 0),  # the product does not follow
    Number("1", "attn_dim", None, (("1.qkv", 4),), 0),  # the heads do not
    Number("1", "head_dim", None, (("1.qkv", 1),), 0),  # as large as the heads, but it is not they
    Number("1", "num_heads", None, (("2.qkv", 1),), 0),  # those of another block
]


@pytest.mark.parametrize("number", WRONG, ids=str)
def test_a_planted_number_fails_the_proof(number: Number) -> None:
    model, x, graph = opened("heads")
    trial = Trial(model, x)
    assert trial.failure(graph, ["1.qkv"]) is None
    others = [n for n in graph.numbers if n.module != "1"]
    assert trial.failure(replace(graph.uncut(), numbers=(*others, number)), ["1.qkv"]) is not None


def test_numbers_of_many_blocks_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What mended one block is given to the others: none of them is looked at again."""
    asked: list[str] = []
    original = mending.mended

    def counted(trial: Trial, graph: ChannelGraph, name: str, *rest: Any) -> ChannelGraph | None:
        asked.append(name)
        return original(trial, graph, name, *rest)

    monkeypatch.setattr(proof, "mended", counted)
    graph = trace_and_prove(tokens(*(Heads() for _ in range(5))), torch.randn(4, 3, 5))
    assert asked == ["1.qkv"]
    assert len(graph.numbers) == 10
