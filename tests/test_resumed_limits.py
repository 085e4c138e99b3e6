"""A state goes through JSON into a fresh method and a fresh network, cut alike, and on to the same end."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError
from secateur.methods import CHANNEL_METHODS, ChannelReparametrization


def build():
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(24, 3),
    )  # fmt: skip


X = torch.zeros(2, 1, 6, 6)
SETTINGS = {
    "shares": {"budget": "params=50%"},
    "several": {"budget": "params=60%,macs=700"},
    "below what is left": {"budget": "params=430"},
    "a ratio": {"ratio": {"0": 0.5}},
    "a floor": {"budget": "params=50%", "at_least": {"0": 6}},
}


def method_of(name, wanted):
    from secateur.surgery.constraints import Constraints

    constraints = Constraints.parse((), wanted.get("at_least", ()), wanted.get("ratio", ()))
    return CHANNEL_METHODS[name](wanted.get("budget"), every=2, constraints=constraints)


class Loop:
    def __init__(self, model, method):
        self.model, self.method = model, method
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    def step(self, number):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(4, 1, 6, 6, generator=generator)
        y = torch.randint(0, 3, (4,), generator=generator)
        self.model.train()
        (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.method.after_step(self.model, self.optimizer)


def opened():
    model = build()
    sc.inspect(model, X, factory=build)
    return model


@pytest.mark.parametrize(
    ("name", "wanted", "before_prepare"),
    [
        *[("fisher", wanted, True) for wanted in SETTINGS],
        ("fisher", "shares", False),
        ("filter-norm", "a ratio", False),
        ("random-channels", "several", True),
        ("batch-norm-scale", "shares", True),
    ],
)
def test_it_goes_on_to_the_same_end(name, wanted, before_prepare, tmp_path):
    method = method_of(name, SETTINGS[wanted])
    undisturbed = Loop(method.prepare(opened()), method)
    numbers = 0
    while not method.finished:
        if numbers == 5:  # in the middle of a window, two removals behind it
            saved = json.loads(json.dumps(method.state()))
            tensors = {key: value.clone() for key, value in method.tensors().items()}
            weights = {key: value.clone() for key, value in undisturbed.model.state_dict().items()}
            momentum = copy.deepcopy(undisturbed.optimizer.state_dict())
            sc.save(undisturbed.model, tmp_path / "left")
        undisturbed.step(numbers)
        numbers += 1
    assert numbers > 5

    model = sc.load(tmp_path / "left", factory=build)
    model.load_state_dict(weights)
    fresh = method_of(name, SETTINGS[wanted])
    if before_prepare:
        fresh.restore(saved, tensors)
        fresh.prepare(model)
    else:
        fresh.prepare(model)
        fresh.restore(saved, tensors)
    assert dict(fresh.goal.limits) == dict(method.goal.limits)
    again = Loop(model, fresh)
    again.optimizer.load_state_dict(momentum)
    for number in range(5, numbers):
        assert not fresh.finished
        again.step(number)
    assert fresh.finished
    assert fresh.removed == method.removed
    for one, other in zip(model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_state_of_another_network_is_refused():
    method = method_of("filter-norm", SETTINGS["shares"])
    model = method.prepare(opened())
    state = method.state()
    method.anatomy.remove(model, "0", [1])
    with pytest.raises(InputError, match="the state is of a network whose groups are as wide as"):
        method.restore(state, {})


def test_gates_that_were_cut_go_on_with_the_limits_of_the_original():
    method = ChannelReparametrization("params=50%", steps=10, cut_at=0.5, sharpen_until=0.5)
    run = Loop(method.prepare(opened()), method)
    for number in range(7):
        run.step(number)
    state = json.loads(json.dumps(method.state()))
    assert state["cut"]
    fresh = ChannelReparametrization("params=50%", steps=10, cut_at=0.5, sharpen_until=0.5)
    fresh.restore(state, {})
    fresh.prepare(run.model)
    assert (
        dict(fresh.limits)
        == dict(method.limits)
        == {"params": sum(p.numel() for p in build().parameters()) // 2}
    )
    assert fresh.state() == method.state()
