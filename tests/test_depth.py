"""Residual blocks that go as a whole: which are found, that cuts stay right, and that all of it is saved."""

import copy
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import secateur as sc
from secateur.deploy.onnx import to_onnx
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.depth import Skip, blocks_of

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 3])


class Basic(nn.Module):
    """A ResNet's block; narrower than its surroundings, so that its last channels go soon."""

    def __init__(self, read, write, inner=4):
        super().__init__()
        self.a, self.n = nn.Conv2d(read, inner, 3, padding=1), nn.BatchNorm2d(inner)
        self.b = nn.Conv2d(inner, write, 3, padding=1)
        self.short = nn.Identity() if read == write else nn.Conv2d(read, write, 1)

    def forward(self, x):
        return F.relu(self.short(x) + self.b(F.relu(self.n(self.a(x)))))


class Plain(nn.Module):
    """Keeps the shape, and hands nothing on."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return F.relu(self.a(x))


class Tokens(nn.Module):
    """A pre-norm layer that gives a tuple, as layers of `transformers` did."""

    def __init__(self):
        super().__init__()
        self.n, self.f1, self.f2 = nn.LayerNorm(12), nn.Linear(12, 6), nn.Linear(6, 12)

    def forward(self, hidden, mask=None):
        return hidden + self.f2(F.gelu(self.f1(self.n(hidden)))), None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stage = nn.Sequential(Basic(8, 8), Basic(8, 8), Basic(8, 12))
        self.plain, self.t1, self.t2 = Plain(), Tokens(), Tokens()
        self.twice = Basic(12, 12)
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        h = self.stage(self.plain(F.relu(self.stem(x))))
        h = self.twice(self.twice(h)).flatten(2).transpose(1, 2)
        h, _ = self.t1(h)
        h, _ = self.t2(hidden=h)
        return self.fc(h.mean(1))


@cache
def whole():
    torch.manual_seed(0)
    model = Net()
    return model, sc.inspect(model, X, factory=Net)


def opened():
    return copy.deepcopy(whole()[0])


def counted(model):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(X[:1])
    return counter.get_total_flops() // 2


def test_blocks_that_hand_on_what_they_take_are_found():
    """Not the one that changes the width, the one without a shortcut, or the one that is called twice."""
    model, anatomy = whole()
    found = {block.name: (block.length, block.groups) for block in blocks_of(model, anatomy.graph, X)}
    assert found == {
        "stage.0": (0, ("stage.0.a",)),
        "stage.1": (0, ("stage.1.a",)),
        "t1": (2, ("t1.f1",)),
        "t2": (2, ("t2.f1",)),
    }


def test_what_is_left_computes_what_the_network_does_whose_block_hands_on_its_input():
    model, _ = whole()
    small = opened()
    anatomy = anatomy_of(small)
    blocks = [b for b in blocks_of(model, anatomy.graph, X) if b.name in ("stage.1", "t2")]
    anatomy.skip(small, blocks)
    expected = copy.deepcopy(model).eval()
    expected.stage[1].forward = lambda x: x
    expected.t2.forward = lambda hidden: (hidden, None)
    with torch.no_grad():
        torch.testing.assert_close(small.eval()(X), expected(X), rtol=0, atol=0)
        assert not torch.allclose(expected(X), model.eval()(X), atol=1e-3)


def test_costs_and_cuts_of_what_is_left_are_exact():
    model, _ = whole()
    small = opened()
    anatomy = anatomy_of(small)
    anatomy.skip(small, [b for b in blocks_of(model, anatomy.graph, X) if b.name in ("stage.0", "t1")])
    assert "stage.0.a" not in anatomy.graph.groups
    assert anatomy.costs.now["params"] == sum(p.numel() for p in small.parameters())
    anatomy.narrow(small, {name: max(1, anatomy.graph.width(name) // 2) for name in anatomy.graph.groups})
    assert anatomy.costs.now["params"] == sum(p.numel() for p in small.parameters())
    assert anatomy.costs.now["macs"] == counted(small)
    anatomy.prove(small)


@pytest.fixture(scope="module")
def pruned():
    """Down to less than one channel in every group would leave."""
    torch.manual_seed(1)
    model = opened()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    least = anatomy_of(model).costs.at(dict.fromkeys(anatomy_of(model).graph.groups, 1))["params"]
    budget = f"params={least - 8}"
    with pytest.raises(sc.InputError, match="below what is left when every group is down to one channel"):
        sc.prune(opened(), budget=budget, data=[(X, Y)], every=1, at_once=4)
    model = sc.prune(model, budget=budget, data=[(X, Y)], every=1, at_once=4, depth=True, optimizer=optimizer)
    return model, optimizer, least - 8


def test_a_budget_below_one_channel_each_is_met_without_blocks(pruned):
    model, _, limit = pruned
    anatomy = anatomy_of(model)
    assert len(anatomy.skipped) > 0
    assert all(isinstance(model.get_submodule(name), Skip) for name in anatomy.skipped)
    assert sum(p.numel() for p in model.parameters()) == anatomy.costs.now["params"] <= limit
    assert anatomy.costs.now["macs"] == counted(model)


def test_parameters_of_blocks_that_went_leave_the_optimizer(pruned):
    model, optimizer, _ = pruned
    held = [parameter for param_group in optimizer.param_groups for parameter in param_group["params"]]
    assert {id(parameter) for parameter in held} == {id(parameter) for parameter in model.parameters()}
    assert {id(parameter) for parameter in optimizer.state} <= {id(parameter) for parameter in held}
    F.cross_entropy(model(X), Y).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_it_is_saved_loaded_to_the_bit_and_exported(pruned, tmp_path):
    model, _, _ = pruned
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, factory=Net)
    assert type(loaded) is Net
    assert anatomy_of(loaded).skipped == anatomy_of(model).skipped
    assert anatomy_of(loaded).costs.now == anatomy_of(model).costs.now
    with torch.no_grad():
        assert torch.equal(loaded(X), model.eval()(X))
    sc.save(loaded, tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(sc.load(tmp_path / "again", factory=Net)(X), model(X))
    exported = to_onnx(loaded, X, tmp_path / "model.onnx")
    assert exported.difference < 1e-5


def test_a_file_that_skips_what_is_not_there_is_refused(pruned, tmp_path):
    sc.save(pruned[0], tmp_path)
    path = tmp_path / "architecture.json"
    text = path.read_text(encoding="utf-8")
    gone = next(iter(anatomy_of(pruned[0]).skipped))
    path.write_text(text.replace(f'"{gone}": ', '"nowhere": '), encoding="utf-8")
    with pytest.raises(sc.InputError, match="no block 'nowhere'"):
        sc.load(tmp_path, factory=Net)
    path.write_text(text.replace(f'"{gone}": ', f'"{gone}": 1e9, "x": '), encoding="utf-8")
    with pytest.raises(sc.InputError, match='"skipped" gives a whole number'):
        sc.load(tmp_path, factory=Net)


def test_without_blocks_depth_is_refused_before_training():
    chain = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.Flatten(), nn.Linear(96, 4))
    with pytest.raises(sc.InputError, match="has none: leave depth out"):
        sc.prune(chain, budget="params=50%", data=[(X, Y)], every=1, depth=True)
    family = sc.models.wide_resnet(depth=10, width=1, image_size=8)
    with pytest.raises(sc.InputError, match="build it with fewer blocks"):
        sc.prune(family, budget="params=50%", data=[(X, Y)], every=1, depth=True)
