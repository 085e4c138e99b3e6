"""MACs of everything that a network multiplies, before and after any cuts: `torch.utils.flop_counter` is the oracle.

It counts two FLOPs for each multiply-accumulate. It does not know what a backend fuses (attention on the CPU,
recurrent layers), so it counts under the plain kernels.
"""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import secateur as sc
from secateur.network.inputs import call, map_inputs
from secateur.surgery.costs import Costs
from secateur.surgery.graph import ChannelGraph, ChannelGroup, Site
from secateur.surgery.soft_cost import SoftCost

TOKENS, WIDTH, HEADS, EACH = 12, 24, 4, 8


def group(name, width, *sites):
    """A group of `width` channels: (module, axis, entries of it by channel or their number for each)."""
    made = []
    for module, kind, entries in sites:
        if isinstance(entries, int):
            entries = torch.arange(width * entries).view(width, entries)
        made.append(Site((module, kind), entries))
    return ChannelGroup(name, tuple(made), width)


def heads(parts=3, count=HEADS, each=EACH):
    """(count, parts * each): the entries of each head in `parts` stacked projections."""
    return torch.arange(parts * count * each).view(parts, count, each).transpose(0, 1).reshape(count, -1)


def within(parts=3, count=HEADS, each=EACH):
    """(each, parts * count): the same for each channel within the heads."""
    return torch.arange(parts * count * each).view(parts, count, each).permute(2, 0, 1).reshape(each, -1)


class Attention(nn.Module):
    """Tokens through one attention and an MLP; `how` multiplies queries, keys and values."""

    def __init__(self, how, count=HEADS, of_keys=HEADS):
        super().__init__()
        self.how, self.each = how, EACH
        self.embed = nn.Conv2d(3, WIDTH, 2, 2)
        self.q = nn.Linear(WIDTH, count * EACH)
        self.kv = nn.Linear(WIDTH, 2 * of_keys * EACH)
        self.o = nn.Linear(count * EACH, WIDTH)
        self.f1, self.f2, self.fc = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        h = self.embed(x).flatten(2).transpose(1, 2)
        b, n, _ = h.shape
        each = self.o.in_features // self.count(h)
        q = self.q(h).view(b, n, -1, each).transpose(1, 2)
        k, v = self.kv(h).view(b, n, 2, -1, each).permute(2, 0, 3, 1, 4)
        h = h + self.o(self.how(q, k, v).transpose(1, 2).reshape(b, n, -1))
        return self.fc((h + self.f2(F.gelu(self.f1(h)))).mean(1))

    def count(self, _):
        return HEADS if self.each is None else self.o.in_features // self.each


def sdpa(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def grouped(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def matmul(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def einsum(q, k, v):
    return torch.einsum("bhqk,bhkd->bhqd", torch.einsum("bhqd,bhkd->bhqk", q, k).softmax(-1), v)


def linear_attention(q, k, v):
    """Keys by values first: their channels come twice."""
    return q.softmax(-1) @ (k.softmax(-2).transpose(-2, -1) @ v)


def added(q, k, v):
    flat = [t.flatten(0, 1) for t in (q, k, v)]
    scores = torch.baddbmm(torch.zeros(1), flat[0], flat[1].transpose(1, 2))
    return torch.bmm(scores, flat[2]).unflatten(0, q.shape[:2])


def attention(how, cut="heads", of_keys=HEADS):
    """The network, with its stream, its hidden layer, and heads or channels within them to be cut."""

    def build():
        model = Attention(how, of_keys=of_keys)
        model.each = EACH if cut == "heads" else None
        return model

    if cut == "heads":
        groups = [group("heads", of_keys, ("q", "out", HEADS // of_keys * EACH), ("kv", "out", heads(2, of_keys)),
                        ("o", "in", HEADS // of_keys * EACH))]
    else:
        groups = [group("each", EACH, ("q", "out", within(1)), ("kv", "out", within(2)), ("o", "in", within(1)))]
    stream = [("embed", "out", 1), ("q", "in", 1), ("kv", "in", 1), ("o", "out", 1), ("f1", "in", 1),
              ("f2", "out", 1), ("fc", "in", 1)]
    groups += [group("stream", WIDTH, *stream), group("hidden", 40, ("f1", "out", 1), ("f2", "in", 1))]
    return build, torch.randn(3, 3, 6, 8), groups
