"""Every registered method, through the same assertions. A method that is missing from CASES fails."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import secateur as sc
from secateur.budget import count_params
from secateur.data import epoch_batches
from secateur.methods import METHODS, Method

CASES = {
    "fisher": lambda: METHODS["fisher"]("params=60%", every=2),
}


def test_every_method_is_in_the_contract():
    assert set(CASES) == set(METHODS)


def network():
    torch.manual_seed(4)
    return sc.models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8)


class Loop:
    """A user's own loop, as the README shows it."""

    def __init__(self, data, method: Method):
        self.data, self.method = data, method
        self.model = method.prepare(network())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.02, momentum=0.9)
        self.step = 0

    def run(self, until: int = 10_000) -> Loop:
        while self.step < until and not self.method.finished:
            order = torch.Generator().manual_seed(self.step)
            batches = epoch_batches(self.data.train, self.data, batch_size=64, device="cpu", generator=order)
            x, y = next(batches)
            loss = F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
        return self


@pytest.fixture(params=sorted(METHODS))
def make(request):
    return CASES[request.param]


@pytest.fixture
def finished(make, digits):
    return Loop(digits, make()).run()


def test_the_budget_is_met_and_never_exceeded(finished):
    limit = int(0.6 * count_params(network()))
    assert finished.method.finished
    assert count_params(finished.method.finalize(finished.model)) <= limit


def test_finalize_keeps_the_logits_and_leaves_nothing_behind(finished, digits):
    x, _ = next(epoch_batches(digits.test, digits, batch_size=50, device="cpu"))
    before = finished.model.eval()(x)
    model = finished.method.finalize(finished.model)
    assert torch.equal(model.eval()(x), before)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not torch.nn.utils.parametrize.is_parametrized(module)


def test_what_was_pruned_is_gone(finished):
    model = finished.method.finalize(finished.model)
    fresh = sc.Architecture.of(model).build(seed=0)
    shapes = [(name, value.shape) for name, value in model.state_dict().items()]
    assert shapes == [(name, value.shape) for name, value in fresh.state_dict().items()]
    assert sum(model.widths) < sum(network().widths)


def test_save_and_load_round_trip(finished, digits, tmp_path):
    model = finished.method.finalize(finished.model).eval()
    sc.save(model, tmp_path)
    x, _ = next(epoch_batches(digits.test, digits, batch_size=50, device="cpu"))
    assert torch.equal(sc.load(tmp_path)(x), model(x))


def test_the_same_seed_gives_the_same_weights(make, finished, digits):
    again = Loop(digits, make()).run()
    for one, two in zip(finished.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_interrupted_and_resumed_it_ends_the_same(make, finished, digits):
    half = Loop(digits, make()).run(until=finished.step // 2)
    resumed = Loop(digits, make())
    widths = sc.Architecture.of(half.model)
    resumed.model = widths.build(seed=0)
    resumed.method = make()
    resumed.method.limit = half.method.limit
    resumed.model = resumed.method.prepare(resumed.model)
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.optimizer = torch.optim.SGD(resumed.model.parameters(), lr=0.02, momentum=0.9)
    resumed.optimizer.load_state_dict(half.optimizer.state_dict())
    resumed.method.restore(half.method.state(), half.method.tensors())
    resumed.step = half.step
    resumed.run()
    assert resumed.step == finished.step
    for one, two in zip(finished.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_penalty_is_a_scalar(finished):
    assert finished.method.penalty(finished.model).shape == ()
