"""Gates computed all at once, against each layer computing its own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from secateur.methods import Reparametrization
from secateur.methods.gates import parametrization as weight_gates
from secateur.methods.gates.parametrization import AllAtOnce, original_weight

MODES = ("exact", "faithful")


class Net(nn.Module):
    """Two layers, the second called twice; part of it may be checkpointed, or fail."""

    def __init__(self, checkpointed=False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 5)
        self.checkpointed, self.fails = checkpointed, False

    def forward(self, x):
        x = self.first(x).relu()
        if self.fails:
            raise RuntimeError("midway")
        both = lambda x: self.second(self.second(x).relu())  # noqa: E731
        return checkpoint(both, x, use_reentrant=False) if self.checkpointed else both(x)


def gated(mode, **options):
    """A network under gates that are half closed, and its method."""
    torch.manual_seed(0)
    model = Net(**options)
    method = Reparametrization("nonzeros=50%", mode=mode, steps=100_000, start=0.0, end=1e-5)
    method.prepare(model)
    for _ in range(4):
        method.after_step(model)
    return model, method


def loss_of(model, method):
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    return F.cross_entropy(model(x), torch.arange(8) % 5) + method.penalty(model)


def gradients(model, method):
    model.zero_grad()
    loss_of(model, method).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def calls(monkeypatch):
    """Counts what is computed: a list of how many layers each call was for."""
    seen = []
    real = weight_gates.apparents_and_totals

    def at_once(weights, *rest, **more):
        seen.append(len(weights))
        return real(weights, *rest, **more)

    def alone(weight, t, *rest, **more):
        seen.append(1)
        return real([weight], [t], *rest, **more)[0]

    monkeypatch.setattr(weight_gates, "apparents_and_totals", at_once)
    monkeypatch.setattr(weight_gates, "apparent_and_total", alone)
    return seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("checkpointed", [False, True])
def test_all_at_once_is_what_each_layer_would_compute(mode, checkpointed, monkeypatch):
    model, method = gated(mode, checkpointed=checkpointed)
    seen = calls(monkeypatch)
    at_once = gradients(model, method)
    assert seen == [2]
    method._at_once.detach(model)
    alone = gradients(model, method)
    assert len(seen) > 3, "each layer whenever it is called"
    assert at_once.keys() == alone.keys()
    for name, grad in at_once.items():
        torch.testing.assert_close(grad, alone[name], msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_ready_serves_only_its_own_forward_pass(mode):
    model, method = gated(mode)
    gradients(model, method)
    (model.first.weight**2).sum().backward()  # with a graph of its own: the other one is gone
    before = model.first.weight.detach().clone()
    with torch.no_grad():
        original_weight(model.first).mul_(2)
    assert not torch.equal(model.first.weight, before)


def test_weights_that_change_within_the_forward_pass_are_seen():
    model, method = gated("exact")
    inside = []

    def change(layer, _inputs):
        with torch.no_grad():
            original_weight(layer).mul_(2)
        inside.append(layer.weight.detach().clone())

    model.second.register_forward_pre_hook(change)
    loss_of(model, method)
    with torch.no_grad():
        t = method._gates["second"].t
        torch.testing.assert_close(
            inside[-1], weight_gates.apparent_and_total(original_weight(model.second), t, 4)[0]
        )


def test_a_failed_forward_pass_leaves_nothing_behind():
    model, method = gated("faithful")
    model.fails = True
    with pytest.raises(RuntimeError, match="midway"):
        loss_of(model, method)
    ready = model.second.parametrizations.weight[0].ready
    assert ready is not None
    assert not ready.call.under_way
    assert model.second.weight is not ready.apparent


def test_a_frozen_layer_stays_without_a_gradient():
    model, method = gated("exact")
    original_weight(model.second).requires_grad_(False)
    assert not model.second.weight.requires_grad
    seen = []
    model.second.register_forward_hook(lambda layer, *_: seen.append(layer.weight.requires_grad))
    loss_of(model, method).backward()
    assert seen == [False, False]
    assert original_weight(model.second).grad is None
    assert original_weight(model.first).grad is not None


def test_without_gradients_layers_compute_their_own_once_for_many_batches(monkeypatch):
    model, _ = gated("exact")
    seen = calls(monkeypatch)
    with torch.no_grad(), parametrize.cached():
        for _ in range(3):
            model(torch.ones(2, 6))
    assert seen == [1, 1]


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_has_gates_of_its_own(mode):
    model, method = gated(mode)
    loss_of(model, method)
    other = copy.deepcopy(model)
    with torch.no_grad():
        original_weight(other.first).zero_()
    expected = loss_of(model, method)
    loss_of(other, method)
    torch.testing.assert_close(loss_of(model, method), expected)
    hook = next(iter(other._forward_pre_hooks.values())).__self__
    assert isinstance(hook, AllAtOnce)
    assert hook.gated[0][1] is other.first
    assert torch.equal(other.first.weight, torch.zeros(5, 6))


@pytest.mark.parametrize("mode", MODES)
def test_finishing_a_copy_leaves_the_original_as_it_is(mode):
    """As who looks at what the cut would cost, in the middle of training."""
    model, method = gated(mode)
    expected = loss_of(model, method)
    cut, copied = copy.deepcopy((method, model))
    cut.finalize(copied)
    assert type(copied.first) is nn.Linear
    torch.testing.assert_close(loss_of(model, method), expected)
    loss_of(model, method).backward()
    assert type(method.finalize(model).first) is nn.Linear
    assert torch.equal(model.first.weight, copied.first.weight)


def test_nothing_is_left_in_a_finished_network():
    model, method = gated("exact")
    loss_of(model, method).backward()
    method.finalize(model)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    assert not model._forward_hooks_always_called


def test_memory_is_given_back_after_the_step():
    model, method = gated("faithful")
    loss_of(model, method).backward()
    assert model.first.parametrizations.weight[0].ready is not None
    method.after_step(model)
    assert model.first.parametrizations.weight[0].ready is None
