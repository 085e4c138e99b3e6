"""Sizes that modules hold as Python numbers, and what follows them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from secateur.surgery.graph import ChannelGraph, ChannelGroup, Number, Site


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
