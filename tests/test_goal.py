"""Budgets of every kind: met within one channel (one granule), never exceeded, refused where out of reach."""

from __future__ import annotations

import copy
import random

import pytest
import torch

import foreign
import secateur as sc
from secateur.budget import COUNTERS
from secateur.deploy.latency import Latency
from secateur.errors import InputError
from secateur.methods import RandomChannels, goal
from secateur.methods.granularity import granule, smallest_widths
from secateur.network.counting import count_macs, layer_positions
from secateur.network.weights import count_params
from secateur.surgery.anatomy import anatomy_of, open_model, remember

ZOO = {
    "wrn": lambda: sc.models.wide_resnet(depth=10, width=0.5, image_size=8, in_channels=1),
    "resnet18": lambda: sc.models.resnet18(width=0.0625, image_size=8, in_channels=1),
    "vgg19": lambda: sc.models.vgg19(width=0.0625, image_size=32),
    "conv4": lambda: sc.models.conv4(width=0.125, image_size=8, in_channels=1),
}
BUDGETS = {"params": 200, "macs": 100, "bytes": 50}  # a header is written out for every look at the bytes
LATENCY_BUDGETS = 100


def pruned(model, budget, **settings):
    """Cut at random until the budget is met, at once; the method and the network."""
    method = RandomChannels(budget, every=1, at_once=0, **settings)
    model = method.prepare(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # the second step finds the budget met
        model = method.after_step(model, optimizer)
    assert method.finished
    return method, method.finalize(model)


@pytest.fixture(scope="module")
def skeletons():
    """Shapes without numbers: budgets are arithmetic. The anatomies are found once, and copied."""
    found = {name: sc.Architecture.of(build()).skeleton() for name, build in ZOO.items()}
    for model in found.values():
        remember(model, anatomy_of(model))
    return found


def recounted(kind, model):
    """The count of a resource from the network itself, whatever its books say."""
    if kind == "macs":
        return count_macs(model, layer_positions(model, model.input_shape))
    return COUNTERS[kind](model)


@pytest.mark.parametrize("kind", ["params", "macs", "bytes"])
def test_random_budgets_are_met_within_one_channel(kind, skeletons):
    draw = random.Random(kind)
    for number in range(BUDGETS[kind]):
        name = draw.choice(sorted(ZOO))
        model = copy.deepcopy(skeletons[name])
        granularity = draw.choice([1, 1, 2, 4])
        anatomy = anatomy_of(model)
        least = goal.cost_at(anatomy, kind, smallest_widths(anatomy.graph, granularity))
        limit = draw.randint(least, COUNTERS[kind](model) - 1)
        method, small = pruned(model, f"{kind}={limit}", granularity=granularity, seed=number)
        assert recounted(kind, small) <= limit, (name, limit)
        assert method.removed[-1][kind] > limit, (name, limit)  # one granule more would have been too much
        graph = method.anatomy.graph
        for group, width in graph.widths.items():
            step = granule(graph, group, granularity)
            assert width % step == 0 or graph.groups[group].width == width, (name, group, width)


def test_several_budgets_hold_at_once(skeletons):
    draw = random.Random(1)
    for number in range(40):
        model = copy.deepcopy(skeletons[draw.choice(sorted(ZOO))])
        limits = {
            kind: int(COUNTERS[kind](model) * draw.uniform(0.5, 0.95)) for kind in ("params", "macs", "bytes")
        }
        text = ",".join(f"{kind}={limit}" for kind, limit in limits.items())
        method, small = pruned(model, text, seed=number)
        assert all(recounted(kind, small) <= limit for kind, limit in limits.items())
        last = method.removed[-1]
        assert any(last[kind] > limit for kind, limit in limits.items())


def test_latency_budgets_are_met_by_what_is_measured(monkeypatch):
    """With a stand-in for the clock that grows with the MACs: many budgets, and few looks at it for each.

    Two for the refusals, two to believe what is met (asked twice), two for each that is too slow.
    """
    calls = []

    def measure(model, _inputs, where):
        calls.append(1)
        macs = anatomy_of(model).costs.now["macs"]
        seconds = 1e-6 + macs * 1e-9
        return Latency(seconds, (seconds, seconds), 30, where.runtime, "0", 1, 1, "clock", "float32")

    monkeypatch.setattr(goal, "measure", measure)
    draw = random.Random(2)
    tiny = sc.Architecture.of(
        sc.models.wide_resnet(depth=10, stages=[4, 8, 8], image_size=8, in_channels=1)
    ).skeleton()
    remember(tiny, anatomy_of(tiny))
    whole = 1000 + anatomy_of(tiny).costs.now["macs"]
    least = 1000 + goal.cost_at(anatomy_of(tiny), "macs", dict.fromkeys(anatomy_of(tiny).graph.groups, 1))
    for number in range(LATENCY_BUDGETS):
        model = copy.deepcopy(tiny)
        limit = draw.randint(least + (whole - least) // 10, whole - 1)
        _, small = pruned(model, f"latency={limit / 1000:.3f}us@torch", seed=number)
        assert 1000 + anatomy_of(small).costs.now["macs"] <= limit
    assert len(calls) < 16 * LATENCY_BUDGETS


def test_a_real_latency_is_measured_and_recorded():
    """A limit that every machine keeps, beside one that binds."""
    torch.manual_seed(0)
    model = sc.models.wide_resnet(depth=10, width=0.5, image_size=16)
    method, small = pruned(model, "latency=100s@torch,params=60%")
    assert count_params(small) <= method.goal.limits["params"]
    assert method.goal.describe()["latency_ns"] == method.goal.latency.nanoseconds > 0
    assert method.goal.describe()["limits"]["latency"] == 100 * 10**9
    assert "torch" in method.goal.describe()["latency"]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            "params=100",
            r"below what is left when every group is down to one channel, [\d,]+: ask for at least",
        ),
        ("macs=1,params=99%", r"the budget of 1 macs is below what is left"),
        ("params=50%,macs=10", r"the budget of 10 macs"),
        ("bytes=100", r"the budget of 100 bytes"),
        ("params=1G", "must not exceed the network's own size"),
        ("params=1G,macs=900G", "every one of 'params=1G, macs=900G' does"),
        ("latency=1us@torch", r"ns of latency is below what is left"),
    ],
)
def test_what_cannot_be_reached_is_refused_before_training(budget, message):
    model = ZOO["wrn"]()
    before = count_params(model)
    with pytest.raises(InputError, match=message):
        RandomChannels(budget).prepare(model)
    assert count_params(model) == before
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_is_frozen_is_named_where_it_binds():
    torch.manual_seed(0)
    model, x = foreign.GroupNormNet(), foreign.images(16)
    open_model(model, x)
    with pytest.raises(InputError, match=r"\(frozen: query; `secateur inspect` says why\)"):
        RandomChannels("params=5%").prepare(model)
