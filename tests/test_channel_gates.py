"""Gates on channels of other people's networks: what is closed is gone, what is folded computes the same."""

from __future__ import annotations

import copy
from functools import cache, partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import foreign
import secateur as sc
from secateur import models
from secateur.errors import InputError
from secateur.methods import ChannelReparametrization
from secateur.methods.gates.channel_cost import choose_channels
from secateur.methods.gates.channels import ChannelGates
from secateur.methods.gates.gate import gate
from secateur.methods.gates.weighted_norm import weighted_norm
from secateur.network.inputs import call, map_inputs, output_tensors
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.costs import COUNTED
from secateur.surgery.lively import randomized
from secateur.surgery.soft_cost import SoftCost

F64 = torch.float64


def factory_and_inputs(name):
    if name in CLOSED:
        build, inputs = CLOSED[name]
        return build, inputs()
    pytest.importorskip("transformers", reason="the networks of Hugging Face need transformers")
    return partial(foreign.huggingface, name), foreign.images(32)


def outputs(model, inputs):
    with torch.no_grad():
        return output_tensors(call(model, inputs))


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def gated(model, inputs, budget="params=50%", t=1.3, n=16, **settings):
    """The method in the middle of its schedule, with every gate in [0, 1] as its weights have it."""
    sc.inspect(model, inputs)
    method = ChannelReparametrization(budget, steps=10, cut_at=1.0, n_final=n, **settings)
    method.prepare(model)
    method._step, method._t, method._n, method._open = 10, t, n, False
    return method


class Chain(nn.Module):
    """A plain chain with a flatten; nothing is normalised."""

    def __init__(self, channels=8, num_classes=10, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.hidden, self.fc = nn.Linear(2 * channels * 16, 24), nn.Linear(24, num_classes)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        return self.fc(F.relu(self.hidden(x.flatten(1))))


class Separable(nn.Module):
    """Depthwise, then pointwise, twice, with a residual (Howard et al. 2017; Sandler et al. 2018)."""

    def __init__(self, channels=12, num_classes=10, in_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(4))
        self.depth = nn.ModuleList(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels) for _ in range(2))
        self.point = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.relu(self.norms[0](self.stem(x)))
        x = F.relu(self.norms[1](self.point[0](F.relu(self.depth[0](x)))))
        x = x + self.norms[3](self.point[1](F.relu(self.norms[2](self.depth[1](x)))))
        return self.fc(x.mean((2, 3)))


class ResidualConcat(nn.Module):
    """A residual stream, concatenated to what a branch writes: one layer reads both."""

    def __init__(self, channels=8, num_classes=10, in_channels=3):
        super().__init__()
        self.stem, self.bn = nn.Conv2d(in_channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.conv1, self.bn1 = nn.Conv2d(channels, 2 * channels, 3, 1, 1), nn.BatchNorm2d(2 * channels)
        self.conv2, self.bn2 = nn.Conv2d(2 * channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.branch, self.both = nn.Conv2d(channels, 6, 1), nn.Conv2d(channels + 6, 12, 3, 2, 1)
        self.fc = nn.Linear(12, num_classes)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)))
        x = F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))
        both = torch.cat([x, F.relu(self.branch(x))], 1)
        return self.fc(F.relu(self.both(both)).mean((2, 3)))


class Siamese(nn.Module):
    """Two layers of one weight read the same stream."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 12, 3, 1, 1)
        self.one, self.other = nn.Conv2d(12, 9, 3, 1, 1), nn.Conv2d(12, 9, 3, 1, 1)
        self.other.weight = self.one.weight
        self.back, self.fc = nn.Conv2d(9, 12, 1), nn.Linear(12, num_classes)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = x + self.back(F.relu(self.one(x)) + torch.sigmoid(self.other(x.flip(3))))
        return self.fc(F.relu(x).mean((2, 3)))


class Decoder(nn.Module):
    """Transposed convolutions that write and read."""

    def __init__(self, num_classes=10, in_channels=3):
        super().__init__()
        self.down, self.up = nn.Conv2d(in_channels, 10, 3, 2, 1), nn.ConvTranspose2d(10, 14, 2, 2)
        self.again, self.conv = nn.ConvTranspose2d(14, 9, 3, 1, 1), nn.Conv2d(9, 6, 1)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x):
        x = F.gelu(self.again(F.relu(self.up(F.relu(self.down(x))))))
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


OWN = {"chain": Chain, "separable": Separable, "residual and concat": ResidualConcat}
CLOSED = foreign.NETWORKS | {
    build.__name__: (build, partial(foreign.images, 16)) for build in (*OWN.values(), Siamese, Decoder)
}


@pytest.mark.parametrize("name", [*CLOSED, "convnext", "regnet"])
def test_cutting_keeps_the_function_where_what_goes_is_closed(name, monkeypatch):
    """h is 0 for what goes; what stays has an h below 1, another in every group, in what reads it."""
    build, inputs = factory_and_inputs(name)
    model = randomized(build(), torch.Generator().manual_seed(0)).double().eval()
    inputs = map_inputs(inputs, lambda x: x.double())
    method = gated(model, inputs)
    anatomy, names = method._anatomy, method._gates.names
    assert names == tuple(anatomy.graph.groups)
    assert not method.left_out
    gone = choose_channels([s.detach() for s in method._gates.magnitudes(model)], method._cost, method.limit)
    assert sum(map(len, gone)) > 0
    fixed = {}
    for i, (group, out) in enumerate(zip(names, gone, strict=True)):
        kept = 1.0 + 0.4 * i / len(names)
        width = anatomy.graph.width(group)
        fixed[group] = torch.tensor([1e-6 if k in out else kept for k in range(width)], dtype=F64) / method._t
    monkeypatch.setattr(ChannelGates, "magnitude", lambda _self, _model, group: fixed[group])
    monkeypatch.setattr(method, "_solve", lambda _model: None)
    before = outputs(model, inputs)
    assert all(0.3 < float(h.max()) < 1 for h in method.gates(model).values())
    model = method.finalize(model)  # proves the cut besides
    assert hooks(model) == 0
    assert anatomy.costs.now["params"] == sum(p.numel() for p in model.parameters()) <= method.limit
    for one, other in zip(outputs(model, inputs), before, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("norm", "shape", "dim"),
    [
        (nn.LayerNorm(12), (5, 7, 12), -1),
        (nn.LayerNorm(12, elementwise_affine=False), (5, 12), -1),
        (nn.RMSNorm(12), (5, 7, 12), -1),
        (nn.GroupNorm(1, 12), (5, 12, 3, 4), 1),
        (nn.GroupNorm(3, 12), (5, 12, 3, 4), 1),
        (nn.GroupNorm(3, 12, affine=False), (5, 12), 1),
    ],
    ids=str,
)
def test_statistics_weighed_by_1_and_0_are_those_of_the_channels_kept(norm, shape, dim):
    generator = torch.Generator().manual_seed(0)
    norm = norm.double()
    for parameter in norm.parameters():
        parameter.data = torch.randn(12, generator=generator, dtype=F64)
    x = torch.randn(shape, generator=generator, dtype=F64) + 2
    every = torch.ones(12, dtype=F64)
    torch.testing.assert_close(weighted_norm(norm, x, every, dim), norm(x))
    torch.testing.assert_close(weighted_norm(norm, x, every * 0.3, dim), norm(x))  # weights are relative
    kept = torch.tensor([0, 2, 3, 4, 6, 7, 9, 10, 11])  # three of each group of four
    weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
    weight, bias = (None if value is None else value[kept] for value in (weight, bias))
    part = x.index_select(dim, kept)
    if isinstance(norm, nn.GroupNorm):
        expected = F.group_norm(part, norm.num_groups, weight, bias, norm.eps)
    elif isinstance(norm, nn.LayerNorm):
        expected = F.layer_norm(part, (9,), weight, bias, norm.eps)
    else:
        expected = F.rms_norm(part, (9,), weight, norm.eps)
    found = weighted_norm(norm, x, torch.zeros(12, dtype=F64).index_fill(0, kept, 1), dim)
    torch.testing.assert_close(found.index_select(dim, kept), expected)


def test_a_weighted_variance_by_hand():
    """x = 0, 4 with weights 3, 1: the mean is 1, the variance (3 * 1 + 1 * 9) / 4 = 3."""
    norm, x, h = nn.LayerNorm(2, eps=0.0).double(), torch.tensor([[0.0, 4.0]], dtype=F64), [0.75, 0.25]
    found = weighted_norm(norm, x, torch.tensor(h, dtype=F64), -1)
    torch.testing.assert_close(found, torch.tensor([[-1.0, 3.0]], dtype=F64) / 3**0.5)


def foreign_anatomy(name):
    build, inputs = factory_and_inputs(name)
    return sc.inspect(build(), inputs)


FAMILIES = {
    "wide_resnet": lambda: models.wide_resnet(depth=10, stages=[8, 10, 12], in_channels=1, image_size=8),
    "resnet18": lambda: models.resnet18(width=0.0625, in_channels=1, image_size=8),
    "conv4": lambda: models.conv4(width=0.0625, in_channels=1, image_size=8),
}


@cache
def opened(name):
    """The anatomy of a network of ours, or of others'."""
    return anatomy_of(FAMILIES[name](), streams=True) if name in FAMILIES else foreign_anatomy(name)


networks = st.sampled_from([*FAMILIES, *foreign.NETWORKS])


@settings(max_examples=80, deadline=None)
@given(networks, st.sampled_from(COUNTED), st.data())
def test_the_soft_cost_is_the_cost_at_whole_widths(name, resource, data):
    """Also with some groups left out, which then stay as they are."""
    anatomy = opened(name)
    groups = list(anatomy.graph.groups)
    names = data.draw(st.lists(st.sampled_from(groups), min_size=1, unique=True))
    widths = {group: data.draw(st.integers(1, anatomy.graph.width(group))) for group in names}
    cost = SoftCost.of(anatomy.costs, resource, names)
    exact = anatomy.costs.at(widths)[resource]
    whole = torch.tensor([widths[group] for group in names], dtype=F64)
    assert float(cost(whole)) == exact
    assert cost.count([widths[group] for group in names]) == exact


@settings(max_examples=40, deadline=None)
@given(networks, st.sampled_from(COUNTED), st.integers(0, 2**31))
def test_the_slope_of_the_soft_cost_is_its_gradient(name, resource, seed):
    anatomy = opened(name)
    cost = SoftCost.of(anatomy.costs, resource, list(anatomy.graph.groups))
    generator = torch.Generator().manual_seed(seed)
    sums = (torch.rand(len(cost.linear), generator=generator, dtype=F64) * 9).requires_grad_()
    (expected,) = torch.autograd.grad(cost(sums), sums)
    torch.testing.assert_close(cost.slope(sums.detach()), expected)


own = pytest.mark.parametrize("build", OWN.values(), ids=OWN)
STEPS = 24


class Loop:
    """A user's own loop over random images."""

    def __init__(self, method, model):
        self.method, self.model = method, method.prepare(model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.02, momentum=0.9)
        self.step = 0

    def run(self, until=STEPS):
        while self.step < until:
            generator = torch.Generator().manual_seed(self.step)
            x = torch.randn(8, 3, 16, 16, generator=generator)
            y = torch.randint(0, 10, (8,), generator=generator)
            self.model.train()
            (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
        return self


def network(build):
    torch.manual_seed(4)
    model = build()
    sc.inspect(model, foreign.images(16), factory=build)
    return model


def method_for(budget="params=60%", **settings):
    return ChannelReparametrization(budget, steps=STEPS, **settings)


@own
@pytest.mark.parametrize("budget", ["params=60%", "macs=45%", "nonzeros=60%"])
def test_a_foreign_network_ends_within_its_budget_plain_and_saved(build, budget, tmp_path, monkeypatch):
    loop = Loop(method_for(budget), network(build)).run()
    x = foreign.images(16)
    before = outputs(loop.model.eval(), x)[0]
    proofs = []
    prove = type(loop.method._anatomy).prove
    monkeypatch.setattr(
        type(loop.method._anatomy), "prove", lambda self, model: proofs.append(prove(self, model))
    )
    model = loop.method.finalize(loop.model)
    assert proofs == [None]  # it was made, and passed
    assert torch.equal(outputs(model, x)[0], before)
    assert hooks(model) == 0
    counted = anatomy_of(model).costs.now[budget.split("=")[0]]
    assert counted == sc.Architecture.of(model).cost(budget.split("=")[0])
    limit = int(budget.split("=")[1][:-1]) / 100 * loop.method.initial
    assert 0.85 * limit < counted <= limit
    assert anatomy_of(model).costs.now["params"] == sum(p.numel() for p in model.parameters())
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, factory=build)
    assert type(loaded) is build
    assert torch.equal(outputs(loaded, x)[0], before)


@own
@pytest.mark.parametrize("half", [8, 18])
def test_a_foreign_network_resumed_before_or_behind_the_cut_ends_the_same(build, half):
    whole = Loop(method_for(), network(build)).run()
    first = Loop(method_for(), network(build)).run(until=half)
    small = sc.Architecture.of(first.model)
    assert (half == 18) == (small != sc.Architecture.of(network(build)))
    method = method_for()
    resumed = Loop(method, small.build(seed=9))
    resumed.model.load_state_dict(first.model.state_dict())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    method.restore(first.method.state(), first.method.tensors())
    resumed.step = half
    resumed.run()
    one, two = (loop.method.finalize(loop.model).state_dict() for loop in (whole, resumed))
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_without_streams_only_the_channels_inside_the_blocks_go():
    loop = Loop(method_for(streams=False), network(ResidualConcat)).run()
    model = loop.method.finalize(loop.model)
    assert loop.method._gates.names == ("conv1", "branch", "both")
    assert (model.stem.out_channels, model.conv2.out_channels) == (8, 8)
    assert model.conv1.out_channels < 16


class TiedToAnEmbedding(nn.Module):
    """Words are embedded by the weights that also score them."""

    def __init__(self):
        super().__init__()
        self.embed, self.hidden = nn.Embedding(20, 12), nn.Linear(12, 16)
        self.back, self.score = nn.Linear(16, 12), nn.Linear(12, 20, bias=False)
        self.score.weight = self.embed.weight

    def forward(self, words):
        x = self.embed(words).mean(1)
        return self.score(x + self.back(F.relu(self.hidden(x))))


def test_a_weight_that_is_shared_with_what_does_not_read_is_left_alone_and_said():
    model = TiedToAnEmbedding()
    sc.inspect(model, torch.arange(12).view(4, 3))
    method = method_for("params=90%")
    with pytest.warns(
        UserWarning, match=r"leaves channels alone: embed: the weight of score is shared with embed"
    ):
        method.prepare(model)
    assert list(method.left_out) == ["embed"]
    assert method._gates.names == ("hidden",)
    with (
        pytest.warns(UserWarning, match="embed"),
        pytest.raises(InputError, match="below what is left when every group"),
    ):
        method_for("params=20%").prepare(copy.deepcopy(model))


def test_where_nothing_can_have_a_gate_it_is_an_error():
    class Alone(TiedToAnEmbedding):
        def forward(self, words):
            x = self.embed(words).mean(1)
            return self.score(self.back(x.detach()[:, :1].expand(-1, 16)) + x)

    model = Alone()
    sc.inspect(model, torch.arange(12).view(4, 3))
    with pytest.raises(InputError, match=r"no channel of the network can have a gate .*shared with embed"):
        method_for("params=90%").prepare(model)


def test_the_gate_multiplies_what_is_read_by_a_layer_of_two_groups():
    """One layer reads a stream of 8 channels and a branch of 6: every entry has its own channel's gate."""
    model = network(ResidualConcat)
    method = method_for()
    method.prepare(model)
    method._step, method._t, method._n, method._open = STEPS, 1.1, 8, False
    h = method.gates(model)
    assert torch.equal(method._gates.read(model, "conv1"), h["stem"])
    both = method._gates.read(model, "both")
    torch.testing.assert_close(both[:8], h["stem"])
    branch = h["branch"]  # it is written without a normalisation behind
    torch.testing.assert_close(both[8:], branch / branch.square().mean().sqrt())
    weight = model.conv1.weight.detach()
    s = weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(h["conv1"], gate(s / s.square().mean().sqrt(), 1.1, 8))
