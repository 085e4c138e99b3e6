"""MACs of all that a network multiplies, before and after any cuts, against `torch.utils.flop_counter`.

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
from secateur.network.weights import count_weights
from secateur.surgery.anatomy import anatomy_of, open_with_graph
from secateur.surgery.costs import Costs
from secateur.surgery.graph import ChannelGraph
from secateur.surgery.group import ChannelGroup, Site
from secateur.surgery.held_numbers import Number
from secateur.surgery.multiplying import ProductWatch
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
        shared = HEADS // of_keys * EACH
        sites = [("q", "out", shared), ("kv", "out", heads(2, of_keys)), ("o", "in", shared)]
        groups = [group("heads", of_keys, *sites)]
    else:
        sites = [("q", "out", within(1)), ("kv", "out", within(2)), ("o", "in", within(1))]
        groups = [group("each", EACH, *sites)]
    stream = [("embed", "out", 1), ("q", "in", 1), ("kv", "in", 1), ("o", "out", 1)]
    stream += [("f1", "in", 1), ("f2", "out", 1), ("fc", "in", 1)]
    groups += [group("stream", WIDTH, *stream), group("hidden", 40, ("f1", "out", 1), ("f2", "in", 1))]
    return build, torch.randn(3, 3, 6, 8), groups


class Conv1D(nn.Module):
    """As transformers has it: the weight lies the other way round."""

    def __init__(self, out, read):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(read, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x):
        return torch.addmm(self.bias, x.flatten(0, -2), self.weight).view(*x.shape[:-1], -1)


class Conv1Ds(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = Conv1D(20, 8), Conv1D(16, 20), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(F.gelu(self.b(F.gelu(self.a(x)))))


def conv1ds():
    one = group("one", 20, ("a", "weight@1", 1), ("a", "bias@0", 1), ("b", "weight@0", 1))
    two = group("two", 16, ("b", "weight@1", 1), ("b", "bias@0", 1), ("fc", "in", 1))
    return Conv1Ds, torch.randn(3, 7, 8), [one, two]


class Functional(nn.Module):
    """Weights that no layer holds, one of them computed; positions that are channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.w, self.scale = nn.Parameter(torch.randn(16, 12, 3, 3)), nn.Parameter(torch.ones(16, 1, 1, 1))
        self.mix, self.fc = nn.Linear(30, 30), nn.Linear(16, 5)

    def forward(self, x):
        h = F.conv2d(F.relu(self.conv(x)), self.w * self.scale, padding=1)
        h = self.mix(h.flatten(2)).relu()  # every channel is a row
        return F.linear(h.mean(2), self.fc.weight) + F.linear(h.amax(2), self.fc.weight, self.fc.bias)


def functional():
    one = group("one", 12, ("conv", "out", 1), ("", "w@1", 1))
    two = group("two", 16, ("", "w@0", 1), ("", "scale@0", 1), ("fc", "in", 1))
    return Functional, torch.randn(3, 3, 5, 6), [one, two]


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.fc = nn.Linear(6, 14), nn.Linear(10, 5)
        self.rnn = kind(14, 10, batch_first=True)

    def forward(self, x):
        return self.fc(self.rnn(self.a(x))[0])


def recurrent(kind):
    """What it reads and its units, each with a row for every gate; its sizes are numbers that follow."""
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[kind]
    rows = torch.arange(gates * 10).view(gates, 10).T
    units = [("rnn", f"{name}_l0@0", rows) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    units += [("rnn", "weight_hh_l0@1", 1), ("fc", "in", 1)]
    read = group("a", 14, ("a", "out", 1), ("rnn", "weight_ih_l0@1", 1))
    numbers = (
        Number("rnn", "input_size", None, (("a", 1),), 0),
        Number("rnn", "hidden_size", None, (("units", 1),), 0),
    )
    return lambda: Recurrent(kind), torch.randn(3, 9, 6), [read, group("units", 10, *units)], numbers


class Bilinear(nn.Module):
    """Three groups meet in one product: two of channels that are positions, one that is summed over."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 7, 1)
        self.u, self.v = nn.Linear(12, 9), nn.Linear(12, 9)

    def forward(self, x):
        a, b = self.a(x).flatten(2), self.b(x).flatten(2)
        return (self.u(a) @ self.v(b).transpose(1, 2)).softmax(-1).mean((1, 2))


def bilinear():
    groups = [group("a", 6, ("a", "out", 1)), group("b", 7, ("b", "out", 1))]
    return Bilinear, torch.randn(3, 3, 3, 4), [*groups, group("k", 9, ("u", "out", 1), ("v", "out", 1))]


NETWORKS = {
    **{
        f"{how.__name__}, heads": lambda how=how: attention(how)
        for how in (sdpa, causal, matmul, einsum, added)
    },
    "grouped queries": lambda: attention(grouped, of_keys=2),
    "sdpa, channels of heads": lambda: attention(sdpa, "channels"),
    "einsum, channels of heads": lambda: attention(einsum, "channels"),
    "linear attention, channels of heads": lambda: attention(linear_attention, "channels"),
    "Conv1D": conv1ds,
    "functional": functional,
    **{kind.__name__: lambda kind=kind: recurrent(kind) for kind in (nn.RNN, nn.GRU, nn.LSTM)},
    "bilinear": bilinear,
}


@cache
def network(name):
    torch.manual_seed(0)
    build, x, groups, *numbers = NETWORKS[name]()
    model = build().eval()
    graph = ChannelGraph.of(model, groups)
    graph.numbers = numbers[0] if numbers else ()
    return model, graph, x, Costs(model, graph, x)


def counted(model, inputs):
    """By torch's counter, for one example, where nothing is fused."""
    if any(
        isinstance(module, nn.LSTM) for module in model.modules()
    ):  # one operator on the CPU, many elsewhere
        model, inputs = copy.deepcopy(model).to("meta"), map_inputs(inputs, lambda x: x.to("meta"))
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call(model, map_inputs(inputs, lambda x: x[:1]))
    return counter.get_total_flops() // 2


def cut(model, graph, widths):
    small, left = copy.deepcopy(model), copy.deepcopy(graph)
    left.narrow(small, widths)
    return small


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(NETWORKS)), st.data())
def test_macs_are_those_of_torchs_counter_at_any_widths(name, data):
    model, graph, x, costs = network(name)
    widths = {each.name: data.draw(st.integers(1, each.width), each.name) for each in graph}
    assert costs.at(widths)["macs"] == counted(cut(model, graph, widths), x)
    assert costs.unfollowed == ""
    assert costs.uncounted == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_torchs_counter_as_it_is_and_at_one_channel(name):
    model, graph, x, costs = network(name)
    assert costs.now["macs"] == counted(model, x)
    least = dict.fromkeys(graph.groups, 1)
    assert costs.at(least)["macs"] == counted(cut(model, graph, least), x)
    assert costs.now["params"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_one_channel_less_costs_is_what_is_counted_without_it(name):
    _, graph, _, costs = network(name)
    for each in graph:
        expected = costs.at({each.name: each.width - 1})
        assert costs.without(each.name) == expected
        follow = costs.copy(graph.uncut())
        follow.remove(each.name)
        assert follow.now == expected


def test_attention_by_hand():
    """12 tokens, 4 heads of 8: queries by keys and scores by values, 12 * 12 * 8 each a head, and layers."""
    _, _, _, costs = network("sdpa, heads")
    layers = {"q": 24 * 32, "kv": 24 * 64, "o": 32 * 24, "f1": 24 * 40, "f2": 40 * 24}
    tokens = 12 * (sum(layers.values()) + 3 * 24 * 2 * 2)
    assert costs.now["macs"] == tokens + 24 * 10 + 2 * 4 * 12 * 12 * 8
    assert costs.now["macs"] - costs.without("heads")["macs"] == 12 * (24 * 8 * 3 + 8 * 24) + 2 * 12 * 12 * 8


BACKENDS = [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]


@pytest.mark.parametrize("backend", BACKENDS, ids=str)
def test_it_does_not_matter_which_backend_computes_attention(backend):
    model, graph, x, expected = network("sdpa, heads")
    with sdpa_kernel(backend):
        costs = Costs(model, graph.uncut(), x)
    assert costs.now == expected.now
    assert costs.at({"heads": 2}) == expected.at({"heads": 2})


@pytest.mark.parametrize("name", ["grouped queries", "einsum, channels of heads", "LSTM", "bilinear"])
def test_without_numbers_the_same_is_found(name, monkeypatch):
    """As of large networks, on the meta device."""
    model, graph, x, expected = network(name)
    monkeypatch.setattr("secateur.surgery.cut_runs.LARGE", 0)
    costs = Costs(model, graph.uncut(), x)
    least = dict.fromkeys(graph.groups, 1)
    assert costs.now == expected.now
    assert costs.at(least) == expected.at(least)
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["bilinear", "linear attention, channels of heads", "sdpa, heads", "functional"]),
    st.data(),
)
def test_the_soft_cost_and_its_slope_follow_products(name, data):
    _, graph, _, costs = network(name)
    names = data.draw(st.lists(st.sampled_from(list(graph.groups)), min_size=1, unique=True))
    soft = SoftCost.of(costs, "macs", names)
    widths = {each: data.draw(st.integers(1, graph.width(each)), each) for each in names}
    assert soft.count(list(widths.values())) == costs.at(widths)["macs"]
    between = torch.tensor(
        [width - 0.375 for width in widths.values()], dtype=torch.float64, requires_grad=True
    )
    (expected,) = torch.autograd.grad(soft(between), between)
    torch.testing.assert_close(soft.slope(between.detach()), expected)


def test_three_sizes_that_change_stay_one_product():
    """a @ b over k: 6 * 9 * 7, with the layers 3 * 6 * 12, 3 * 7 * 12, 6 * 12 * 9 and 7 * 12 * 9."""
    _, _, _, costs = network("bilinear")
    assert costs.now["macs"] == 6 * 9 * 7 + 3 * 6 * 12 + 3 * 7 * 12 + 6 * 12 * 9 + 7 * 12 * 9
    soft = SoftCost.of(costs, "macs", ["a", "b", "k"])
    assert len(soft.higher) == 1
    assert float(soft(torch.tensor([2.5, 1, 4], dtype=torch.float64))) == pytest.approx(
        2.5 * 4 * 1 + 36 * 2.5 + 36 * 1 + 12 * 4 * 2.5 + 12 * 4 * 1
    )


class Loop(nn.Module):
    """A product for each pair of channels, in a loop: no formula of ours."""

    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 8, 1), nn.Linear(20, 5)

    def forward(self, x):
        h = self.a(x)
        found = [h[:, i] @ h[:, j].transpose(1, 2) for i in range(h.shape[1]) for j in range(i)]
        return self.fc((sum(found, torch.zeros(1, 4, 4))).flatten(1).mean(1, keepdim=True).expand(-1, 20))


def test_what_is_no_product_of_widths_is_measured():
    torch.manual_seed(0)
    model, x = Loop(), torch.randn(2, 3, 4, 5)
    graph = ChannelGraph.of(model, [group("a", 8, ("a", "out", 1))])
    costs = Costs(model, graph, x)
    assert "measured" in costs.unfollowed
    for width in (8, 7, 3, 1):
        assert costs.at({"a": width})["macs"] == counted(cut(model, graph, {"a": width}), x)
    assert costs.now["macs"] - costs.without("a")["macs"] == 3 * 20 + 7 * 4 * 4 * 5
    with pytest.raises(sc.InputError, match="are no formula of its widths"):
        SoftCost.of(costs, "macs", ["a"])
    assert SoftCost.of(costs, "params", ["a"]).count([3]) == costs.at({"a": 3})["params"]


def test_a_network_that_is_measured_can_be_copied_and_cut():
    """It carries its anatomy, which knows costs, which run copies of it."""
    torch.manual_seed(0)
    model, x = Loop(), torch.randn(2, 3, 4, 5)
    open_with_graph(model, ChannelGraph.of(model, [group("a", 8, ("a", "out", 1))]), x)
    small = copy.deepcopy(model)
    anatomy_of(small).narrow(small, {"a": 3})
    assert anatomy_of(small).costs.now["macs"] == counted(small, x) < counted(model, x)
    assert anatomy_of(model).at_inputs(model, x[:1]).costs.at({"a": 3}) == anatomy_of(small).costs.now


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_weights_of_one_norm_are_weights():
    torch.manual_seed(0)
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 8, 3))
    model = nn.Sequential(conv, nn.ReLU(), nn.utils.weight_norm(nn.Conv1d(8, 10, 3)))
    x = torch.randn(2, 6, 16)
    graph = ChannelGraph.of(model, [group("0", 8, ("0", "out", 1), ("2", "in", 1))])
    costs = Costs(model, graph, x)
    assert costs.now == {"params": 160 + 260, "macs": 14 * 144 + 12 * 240, "nonzeros": 144 + 240}
    small = cut(model, graph, {"0": 5})
    expected = {"params": sum(p.numel() for p in small.parameters()), "macs": counted(small, x)}
    assert costs.at({"0": 5}) == {**expected, "nonzeros": count_weights(small)}


def recorded_as_it_comes(run):
    """Operators and MACs of what runs, by whatever kernels there are."""
    recorder = ProductWatch({})
    with torch.no_grad(), recorder:
        run()
    assert recorder.unknown == {}
    return {each.operator for each in recorder.products}, sum(each.macs for each in recorder.products)


def test_what_a_backend_fuses_counts_as_what_it_is_made_of():
    q, k = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8)
    v = torch.randn(2, 2, 7, 4)
    names, macs = recorded_as_it_comes(lambda: F.scaled_dot_product_attention(q, k, v, enable_gqa=True))
    assert macs == 2 * 6 * 5 * 7 * (8 + 4)
    same = torch.randn(1, 4, 16, 8)
    names, macs = recorded_as_it_comes(lambda: F.scaled_dot_product_attention(same, same, same))
    assert names == {"_scaled_dot_product_flash_attention_for_cpu"}
    assert macs == 2 * 4 * 16 * 16 * 8
    model, x = nn.LSTM(6, 10, num_layers=2, bidirectional=True), torch.randn(9, 1, 6)
    names, macs = recorded_as_it_comes(lambda: model(x))
    assert names == {"mkldnn_rnn_layer"}
    assert macs == 9 * 2 * (40 * 6 + 40 * 10 + 40 * 20 + 40 * 10) == counted(Only(model), x.transpose(0, 1))
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 6)
    assert recorded_as_it_comes(lambda: torch.addbmm(torch.ones(4, 6), a, b))[1] == 3 * 4 * 5 * 6
    flat = recorded_as_it_comes(lambda: torch._addmm_activation(torch.ones(6), a[0], b[0]))
    assert flat == ({"_addmm_activation"}, 4 * 5 * 6)


class Only(nn.Module):
    """A recurrent network, examples first."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x.transpose(0, 1))[0]


class Odd(nn.Module):
    """Operators that cost nothing though few know them, and one whose cost nobody knows."""

    def __init__(self, unknown):
        super().__init__()
        self.a, self.fc, self.unknown = nn.Conv2d(3, 8, 1), nn.Linear(8, 5), unknown

    def forward(self, x):
        h = F.hardswish(self.a(x), inplace=True)
        h = h.as_strided_(h.shape, h.stride()).transpose_(2, 3)
        h = F.glu(torch.cat([h, h.cumsum(1)], 1), 1).roll(1, 1)
        return self.fc(self.unknown(h).mean((2, 3)))


def unknowns(unknown):
    model, x = Odd(unknown), torch.randn(2, 3, 4, 4)
    return Costs(
        model, ChannelGraph.of(model, [group("a", 8, ("a", "out", 1), ("fc", "in", 1))]), x
    ).uncounted


def test_operators_are_told_by_their_exact_names():
    """hardswish_, as_strided_, transpose_ cost nothing; a matrix by a vector is in no counter."""
    assert unknowns(nn.Identity()) == {}
    assert unknowns(lambda h: h * (h @ torch.ones(4)).unsqueeze(-1)) == {"mv": 1}
    assert unknowns(lambda h: h + torch.fft.fft2(torch.fft.fft2(h)).real) == {"_fft_c2c": 2}


def test_a_graph_that_nobody_proved_is_counted_as_if_its_products_stayed():
    class Fixed(Attention):
        def count(self, _):
            return HEADS

    torch.manual_seed(0)
    model, x = Fixed(sdpa).eval(), torch.randn(1, 3, 6, 8)
    wrong = group("wrong", 32, ("q", "out", 1), ("o", "in", 1))
    costs = Costs(model, ChannelGraph.of(model, [wrong]), x)
    assert "fails where it is cut" in costs.unfollowed
    assert costs.now["macs"] == counted(model, x)
    assert costs.other_macs == 2 * 4 * 12 * 12 * 8
