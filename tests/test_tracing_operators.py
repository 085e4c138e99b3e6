"""What mixes channels is found by the operators that run, whatever module holds the weight, or computes it."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from secateur.surgery.arrivals import ALL, NONE, Arrival, Arrivals
from secateur.surgery.layout import Layout, gathered, layout_of, spread
from secateur.surgery.links import Links
from secateur.surgery.proof import trace_and_prove
from secateur.surgery.statics import entries_of_view
from secateur.surgery.tracing import trace
from test_tracing_more import Net, conv, images, net, opened, pool


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_examples_are_found_along_any_dimension(outer, inner, dim):
    """Of (outer, 2, inner) flattened; two sequences of `outer` steps that have time first, say."""
    shape = [3, 3, 3]
    shape[dim] = outer * 2 * inner
    spoilt = torch.zeros(shape, dtype=torch.bool)
    second = torch.zeros(outer, 2, inner, dtype=torch.bool)
    second[:, 1] = True
    spoilt.movedim(dim, 0)[second.flatten()] = True
    assert layout_of(spoilt) == Layout(dim, outer, inner)


@given(st.data())
def test_what_is_spread_is_gathered_again(data):
    """For any number of examples, and along the very dimension on which they lie."""
    dim, keep = data.draw(st.integers(0, 2)), data.draw(st.sampled_from([(0,), (1,), (2,), (0, 2), (1, 2)]))
    outer, inner, examples = (data.draw(st.integers(1, 3)) for _ in range(3))
    shape = [2, 3, 4]
    shape[dim] = outer * examples * inner
    entries = 1
    for each in keep:
        entries *= outer * inner if each == dim else shape[each]
    mark = torch.tensor(
        data.draw(st.lists(st.booleans(), min_size=examples * entries, max_size=examples * entries))
    )
    mark, layout = mark.view(examples, entries), Layout(dim, outer, inner)
    mask = spread(mark, layout, keep, shape).expand(shape)
    assert torch.equal(gathered(mask, layout, keep, examples), mark)


def test_a_class_token_that_is_not_spoilt_hides_no_layout():
    """Rows of two sequences of 5, of which the first of each is the same whatever is put in."""
    spoilt = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1]).bool()[:, None].expand(10, 3)
    assert layout_of(spoilt) == Layout(0, 1, 5)


@given(st.data())
def test_a_view_shows_the_entries_that_its_values_come_from(data):
    """The oracle: the parameter's values are its own flat positions."""
    rows, columns = data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6))
    own = torch.arange(rows * columns).float().view(rows, columns)
    first, step = data.draw(st.integers(0, rows - 2)), data.draw(st.integers(1, 2))
    view = own[first::step, data.draw(st.integers(0, columns - 2)) :]
    view = view.T if data.draw(st.booleans()) else view
    shown = entries_of_view(view, own)
    assert shown is not None
    for dim, (of_own, entries) in shown.items():
        found = view.movedim(dim, 0).flatten(1)[:, 0].long()
        assert (found // columns if of_own == 0 else found % columns).tolist() == entries.tolist()


def test_a_broadcast_ties_nothing():
    """Channel 0 of a gate covers both entries at which `stream` tells its channels apart; alone it ties them."""
    stream, gate, reader = ("stream", "out"), ("gate", "out"), ("reader", "in")
    apart = Arrival(stream, reader, torch.tensor([0, 1, NONE]))
    over = Arrival(gate, reader, torch.tensor([0, 0, 0]))
    for found, together in (([apart, over], False), ([over], True)):
        links, arrivals = Links({stream: 2, gate: 1, reader: 3}), Arrivals()
        for each in found:
            arrivals.add(each)
        arrivals.tie(links)
        root = links.roots()[links.start[reader] :]
        assert bool(root[0] == root[1]) == together


def test_all_channels_that_meet_in_an_entry_hang_together():
    links, arrivals = Links({("a", "out"): 3, ("b", "in"): 2}), Arrivals()
    arrivals.add(Arrival(("a", "out"), ("b", "in"), torch.tensor([ALL, NONE])))
    arrivals.tie(links)
    assert links.roots().tolist() == [0, 0, 0, 0, 4]


class Conv1D(nn.Module):
    """As GPT-2 has it: the weight is (in, out)."""

    def __init__(self, reads, writes):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(reads, writes)), nn.Parameter(torch.zeros(writes))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], flat.shape[1])


class LowRank(nn.Linear):
    def __init__(self, reads, writes):
        super().__init__(reads, writes)
        self.down, self.up = nn.Parameter(torch.randn(2, reads)), nn.Parameter(torch.randn(writes, 2))

    def forward(self, x):
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


class Centred(nn.Linear):
    """Every row of the weight without its mean, with a gain of its own."""

    def __init__(self, reads, writes):
        super().__init__(reads, writes)
        self.gain = nn.Parameter(torch.ones(writes, 1))

    def forward(self, x):
        return F.linear(x, self.gain * (self.weight - self.weight.mean(1, keepdim=True)), self.bias)


class RMS(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.scale * x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()


def chain(middle, width=8):
    """Two linear layers with something between, over 12 features."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), middle, nn.ReLU(), nn.Linear(8, 5))


def halves(m, x):
    one, other = m.up(pool(x)).chunk(2, -1)
    return m.fc(one * other.sigmoid())


OPERATORS = {
    "addmm": (chain(Conv1D(8, 8)), {"1": 8, "3": 8}),
    "low rank": (chain(LowRank(8, 8)), {"1": 8, "3": 8}),
    "einsum": (
        net(lambda m, x: torch.einsum("nchw,cd->ndhw", x, m.w), w=nn.Parameter(torch.randn(8, 8))),
        {"a": 8, "w": 8, "b": 6},
    ),
    "part of a weight": (
        Net(
            lambda m, x: m.fc(F.relu(F.linear(m.a(pool(x)), m.w[4:]))),
            a=nn.Linear(3, 6),
            w=nn.Parameter(torch.randn(12, 6)),
            fc=nn.Linear(8, 5),
        ),
        {"a": 6, "w": 8},
    ),
    "gated halves of one layer": (
        Net(halves, up=nn.Linear(3, 12), fc=nn.Linear(6, 5)),
        {"up": 6},
    ),
    "a layer on constants": (
        net(
            lambda m, x: x + m.second(F.relu(m.first(m.table))).mean(0)[:, None, None],
            first=nn.Linear(2, 6),
            second=nn.Linear(6, 8),
            table=torch.rand(5, 2),
        ),
        {"a": 8, "first": 6, "b": 6},
    ),
    "a class token": (
        Net(
            lambda m, x: m.fc(
                (torch.cat([m.token.expand(len(x), -1, -1), m.a(x).flatten(2).mT], 1) + m.places)[:, 0]
            ),
            a=conv(3, 8),
            token=nn.Parameter(torch.randn(1, 1, 8)),
            places=nn.Parameter(torch.randn(1, 65, 8)),
            fc=nn.Linear(8, 5),
        ),
        {},
    ),
    "time first": (
        Net(
            lambda m, x: m.fc(F.relu(m.b(F.relu(m.a(x.flatten(2).permute(2, 0, 1))))).mean(0)),
            a=nn.Linear(3, 8),
            b=nn.Linear(8, 6),
            fc=nn.Linear(6, 5),
        ),
        {"a": 8, "b": 6},
    ),
    "another way for many examples": (
        net(lambda m, x: x * 2 if len(x) > 4 else torch.relu(x) + 1),
        {"a": 8, "b": 6},
    ),
    "a state that another layer makes": (
        Net(
            lambda m, x: m.fc(m.rnn(x.flatten(2).mT, m.first(pool(x))[None])[1][0]),
            first=nn.Linear(3, 6),
            rnn=nn.GRU(3, 6, batch_first=True),
            fc=nn.Linear(6, 5),
        ),
        {"first": 6},
    ),
}
"""Name -> (model, the width of every group)."""


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_a_weight_are_cut_as_they_are_masked(name):
    model, widths = OPERATORS[name]
    if not widths:
        widths = {"a": 8}
        model.fc = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5))
        widths["fc.0"] = 6
    graph = opened(model, images())
    assert not isinstance(graph, str), graph
    assert {group.name: group.width for group in graph} == widths


@torch.no_grad()
def test_a_normalisation_by_hand_goes_over_the_channels_kept():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), RMS(8), nn.Linear(8, 5)).double(), torch.randn(4, 3).double()
    graph = trace_and_prove(model, x)
    assert dict(graph.over_kept) == {"1": 1}
    assert {site.axis for site in graph.groups["0"].sites} == {("0", "out"), ("1", "scale@0"), ("2", "in")}
    kept = [0, 2, 3, 5, 6, 7]
    hidden = model[0](x)[:, kept]
    hidden = model[1].scale[kept] * hidden * (hidden.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    expected = F.linear(hidden, model[2].weight[:, kept], model[2].bias)
    compact = copy.deepcopy(model)
    graph.remove(compact, "0", [1, 4])
    torch.testing.assert_close(compact(x), expected)


@torch.no_grad()
def test_a_weight_computed_over_its_inputs_is_computed_over_those_kept():
    torch.manual_seed(0)
    model, x = chain(Centred(8, 8)).double(), images().double()
    graph = trace_and_prove(model, x)
    assert dict(graph.over_kept) == {"3": -1}
    assert {site.axis for site in graph.groups["3"].sites} == {("3", "out"), ("3", "gain@0"), ("5", "in")}
    kept = [0, 1, 3, 4, 6, 7]
    layer, hidden = model[3], F.relu(model[1](x.flatten(1)))[:, kept]
    weight = layer.weight[:, kept]
    weight = layer.gain * (weight - weight.mean(1, keepdim=True))
    expected = model[5](F.relu(F.linear(hidden, weight, layer.bias)))
    compact = copy.deepcopy(model)
    graph.remove(compact, "1", [2, 5])
    torch.testing.assert_close(compact(x), expected)


class Attention(nn.Module):
    """Grouped queries: 4 heads of 3 channels, keys and values of 2; a bias for each head by a table."""

    def __init__(self, fused):
        super().__init__()
        self.fused, self.stem = fused, nn.Linear(3, 8)
        self.q, self.k, self.v = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6)
        self.out, self.fc = nn.Linear(12, 8), nn.Linear(8, 5)
        self.table = nn.Parameter(torch.randn(7, 4))

    def forward(self, x):
        x = self.stem(x.flatten(2)[:, :, :6].mT)
        q, k, v = (each(x).unflatten(2, (-1, 3)).transpose(1, 2) for each in (self.q, self.k, self.v))
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
        number = torch.arange(6)
        bias = self.table[(number[:, None] - number).abs()].permute(2, 0, 1)[None]
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            y = ((q @ k.mT) * 3**-0.5 + bias).softmax(-1) @ v
        return self.fc((x + self.out(y.transpose(1, 2).flatten(2))).mean(1))


@pytest.mark.parametrize("fused", [False, True])
def test_whole_heads_are_channels_with_whatever_belongs_to_them(fused):
    graph = trace(Attention(fused), images())
    sites = {site.axis: site.entries.tolist() for site in graph.groups["q"].sites}
    assert graph.groups["q"].width == 2
    assert sites["q", "out"][0] == [0, 1, 2, 3, 4, 5]
    assert sites["k", "out"] == sites["v", "out"] == [[0, 1, 2], [3, 4, 5]]
    assert sites["out", "in"][1] == [6, 7, 8, 9, 10, 11]
    assert sites["", "table@1"] == [[0, 1], [2, 3]]
    opened(Attention(fused), images())


def test_two_towers_that_meet_in_a_product_keep_their_inner_channels():
    """Texts by images: examples of one meet all of the other, and what is multiplied hangs together."""
    towers = {name: nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 4)) for name in ("one", "other")}
    graph = opened(Net(lambda m, x: m.one(pool(x)) @ m.other(pool(x) * 2).T, **towers), images())
    assert {group.name: group.width for group in graph} == {"one.0": 6, "other.0": 6}


def test_tables_that_a_run_keeps_are_made_anew_in_the_next():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.fc, self.held = nn.Linear(3, 6), nn.Linear(6, 5), {}
            self.scale = nn.Parameter(torch.rand(6))

        def forward(self, x):
            if "table" not in self.held:
                self.held["table"] = self.scale * 2
            return self.fc(self.a(pool(x)) * self.held["table"])

    model = Kept()
    graph = trace(model, images())
    assert ("", "scale@0") in {site.axis for site in graph.groups["a"].sites}
    assert model.held == {}
