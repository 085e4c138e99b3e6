"""Every registered method, through the same assertions. A method that is missing from CASES fails."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import secateur as sc
from secateur.data import epoch_batches
from secateur.methods import METHODS, ChannelPruning, Method
from secateur.network.masks import count_nonzeros, prunable_weights
from secateur.network.weights import count_params

STEPS = 24


@dataclass(frozen=True)
class Case:
    """A method as it is tested.

    Attributes:
        zeroes: weights are set to zero, exactly round(share * N) stay; else channels go.
        cuts_at_the_end: `finalize` sets weights to zero that were in use, if only a little.
        opens_at_the_end: `finalize` has gates open where the method left fewer open than the budget's.
    """

    make: Callable[[], Method]
    share: float
    zeroes: bool = True
    cuts_at_the_end: bool = False
    opens_at_the_end: bool = False


CASES = {
    "ac-dc": Case(lambda: METHODS["ac-dc"]("nonzeros=10%", steps=STEPS), 0.1),
    "batch-norm-scale": Case(
        lambda: METHODS["batch-norm-scale"]("params=60%", every=1, strength=1e-3), 0.6, zeroes=False
    ),
    "channel-reparametrization": Case(
        lambda: METHODS["channel-reparametrization"]("params=60%", steps=STEPS), 0.6, zeroes=False
    ),
    "channel-reparametrization, cut at the end": Case(
        lambda: METHODS["channel-reparametrization"]("params=60%", steps=STEPS, cut_at=1.0),
        0.6,
        zeroes=False,
        cuts_at_the_end=True,
    ),
    "dynamic-feedback": Case(lambda: METHODS["dynamic-feedback"]("nonzeros=10%", steps=STEPS, every=3), 0.1),
    "filter-norm": Case(lambda: METHODS["filter-norm"]("params=60%", every=1), 0.6, zeroes=False),
    "fisher": Case(lambda: METHODS["fisher"]("params=60%", every=2), 0.6, zeroes=False),
    "fisher, three at once": Case(
        lambda: METHODS["fisher"]("params=60%", every=2, at_once=3, granularity=2), 0.6, zeroes=False
    ),
    "gradual-magnitude": Case(
        lambda: METHODS["gradual-magnitude"]("nonzeros=10%", steps=STEPS, every=3), 0.1
    ),
    "granet": Case(lambda: METHODS["granet"]("nonzeros=10%", steps=STEPS, every=3), 0.1),
    "iterative-magnitude": Case(
        lambda: METHODS["iterative-magnitude"]("nonzeros=10%", steps=STEPS, rounds=2, rewind=0.2), 0.1
    ),
    "l1": Case(lambda: METHODS["l1"]("nonzeros=10%"), 0.1, cuts_at_the_end=True),
    "l0": Case(lambda: METHODS["l0"]("nonzeros=10%", steps=STEPS), 0.1, opens_at_the_end=True),
    "magnitude": Case(lambda: METHODS["magnitude"]("nonzeros=10%"), 0.1),
    "magnitude, layer": Case(lambda: METHODS["magnitude"]("nonzeros=10%", scope="layer"), 0.1),
    "powerpropagation": Case(lambda: METHODS["powerpropagation"]("nonzeros=10%", steps=STEPS, every=3), 0.1),
    "random": Case(lambda: METHODS["random"]("nonzeros=10%"), 0.1),
    "random, magnitude": Case(lambda: METHODS["random"]("nonzeros=10%", scope="magnitude"), 0.1),
    "random-channels": Case(lambda: METHODS["random-channels"]("params=60%", every=1), 0.6, zeroes=False),
    "reparametrization": Case(
        lambda: METHODS["reparametrization"]("nonzeros=10%", steps=STEPS, solve_every=3), 0.1
    ),
    "reparametrization, cut at the end": Case(
        lambda: METHODS["reparametrization"]("nonzeros=10%", steps=STEPS, solve_every=3, cut_at=1.0),
        0.1,
        cuts_at_the_end=True,
    ),
    "reparametrization, faithful": Case(
        lambda: METHODS["reparametrization"]("nonzeros=10%", mode="faithful"), 0.1, cuts_at_the_end=True
    ),
    "rigl": Case(lambda: METHODS["rigl"]("nonzeros=10%", steps=STEPS, every=3), 0.1),
    "set": Case(lambda: METHODS["set"]("nonzeros=10%", steps=STEPS, every=3), 0.1),
    "snip": Case(lambda: METHODS["snip"]("nonzeros=10%"), 0.1),
    "snip-channels": Case(lambda: METHODS["snip-channels"]("params=60%", every=1), 0.6, zeroes=False),
    "snip-channels, single shot": Case(
        lambda: METHODS["snip-channels"]("params=60%", every=2, at_once=0), 0.6, zeroes=False
    ),
    "spartan": Case(lambda: METHODS["spartan"]("nonzeros=10%", steps=STEPS), 0.1),
    "str": Case(lambda: METHODS["str"]("nonzeros=10%", steps=STEPS), 0.1, cuts_at_the_end=True),
    "taylor": Case(lambda: METHODS["taylor"]("params=60%", every=2), 0.6, zeroes=False),
}


def test_every_method_is_in_the_contract():
    assert {name.split(",")[0] for name in CASES} == set(METHODS)


def step_by_step(method: Method) -> bool:
    """Whether it removes channels until it is `finished`, however many steps that takes."""
    return isinstance(method, ChannelPruning)


def network():
    torch.manual_seed(4)
    return sc.models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8)


class Loop:
    """A user's own loop, as the README shows it."""

    def __init__(self, data, method: Method, model=None):
        self.data, self.method = data, method
        self.model = method.prepare(network() if model is None else model, self.batches(step=0))
        self.optimizer = torch.optim.SGD(
            method.parameter_groups(self.model, weight_decay=5e-5), lr=0.02, momentum=0.9
        )
        self.step = 0

    def done(self) -> bool:
        return self.method.finished if step_by_step(self.method) else self.step >= STEPS

    def batches(self, step: int):
        order = torch.Generator().manual_seed(step)
        return epoch_batches(self.data.train, self.data, batch_size=64, device="cpu", generator=order)

    def run(self, until: int = 10_000) -> Loop:
        while self.step < until and not self.done():
            x, y = next(self.batches(self.step))
            loss = F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
        return self


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
    return CASES[request.param]


@dataclass(frozen=True)
class Ended:
    """A run that was evaluated and finalised, with what it was before.

    Attributes:
        trained: its parameters before the evaluation.
        used: the values that it was evaluated with, the weights by `prunable_weights`.
        logits: what it computed with them.
        model: what `finalize` made of it.
    """

    loop: Loop
    trained: list[torch.Tensor]
    used: dict[str, torch.Tensor]
    logits: torch.Tensor
    model: torch.nn.Module


@pytest.fixture(scope="module")
def finished(case, digits):
    """A run whose training is over; tests leave it as it is."""
    return Loop(digits, case.make()).run()


@pytest.fixture(scope="module")
def ended(case, digits):
    """A second run with the same seed; what tests ask of its model holds for it in evaluation."""
    loop = Loop(digits, case.make()).run()
    trained = [parameter.detach().clone() for parameter in loop.model.parameters()]
    loop.method.before_evaluation(loop.model)
    logits = loop.model.eval()(some_images(digits)).detach()
    plain = {k: v for k, v in loop.model.state_dict().items() if "parametrizations" not in k}
    weights = {f"{name}.weight": weight for name, weight in prunable_weights(loop.model).items()}
    used = {name: value.detach().clone() for name, value in (plain | weights).items()}
    return Ended(loop, trained, used, logits, loop.method.finalize(loop.model).eval())


def some_images(digits):
    return next(epoch_batches(digits.test, digits, batch_size=50, device="cpu"))[0]


def test_the_budget_is_met_and_never_exceeded(case, ended):
    if case.zeroes:
        weights = sum(weight.numel() for weight in prunable_weights(network()).values())
        assert count_nonzeros(ended.model) == round(case.share * weights)
    else:
        assert ended.loop.method.finished == step_by_step(ended.loop.method)
        assert count_params(ended.model) <= int(case.share * count_params(network()))


def test_finalize_leaves_nothing_behind(ended):
    for module in ended.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not torch.nn.utils.parametrize.is_parametrized(module)


def test_finalize_keeps_the_logits_but_for_the_cut(case, ended, digits):
    """What is computed with after is what was before, its largest entries kept by numpy's sort."""
    if case.opens_at_the_end:
        pytest.skip("test_soft_methods.py::test_gates_that_are_too_few_are_opened_and_too_many_are_cut")
    x = some_images(digits)
    if not case.cuts_at_the_end:
        assert torch.equal(ended.model(x), ended.logits)
        return
    if not case.zeroes:
        pytest.skip(
            "of channels: test_channel_reparametrization.py::test_a_gate_of_zero_is_a_removed_channel"
        )
    reference = network()
    reference.load_state_dict(ended.used)
    with torch.no_grad():
        weights = prunable_weights(reference)
        sizes = np.sort(np.concatenate([weight.abs().numpy().ravel() for weight in weights.values()]))
        threshold = sizes[-round(case.share * len(sizes))]
        for weight in weights.values():
            weight.copy_(torch.where(weight.abs() >= threshold, weight, 0.0))
    torch.testing.assert_close(reference.eval()(x), ended.model(x), rtol=0, atol=1e-6)


def test_what_was_pruned_is_gone(case, ended):
    fresh = sc.Architecture.of(ended.model).build(seed=0)
    shapes = [(name, value.shape) for name, value in ended.model.state_dict().items()]
    assert shapes == [(name, value.shape) for name, value in fresh.state_dict().items()]
    if not case.zeroes:
        assert sum(ended.model.widths) < sum(network().widths)


def test_save_and_load_round_trip(ended, digits, tmp_path):
    sc.save(ended.model, tmp_path)
    x = some_images(digits)
    assert torch.equal(sc.load(tmp_path)(x), ended.model(x))


def test_the_same_seed_gives_the_same_weights(finished, ended):
    for one, two in zip(finished.model.parameters(), ended.trained, strict=True):
        assert torch.equal(one, two)


def test_interrupted_and_resumed_it_ends_the_same(case, ended, digits):
    """Nor does it matter that the other was evaluated before its end, and this was not."""
    half = Loop(digits, case.make()).run(until=ended.loop.step // 2)
    resumed = Loop(digits, case.make(), sc.Architecture.of(half.model).build(seed=0))
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.optimizer.load_state_dict(half.optimizer.state_dict())
    resumed.method.restore(half.method.state(), half.method.tensors())
    resumed.step = half.step
    resumed.run()
    assert resumed.step == ended.loop.step
    final = resumed.method.finalize(resumed.model).state_dict()
    assert final.keys() == ended.model.state_dict().keys()
    for name, one in ended.model.state_dict().items():
        assert torch.equal(one, final[name]), name


def test_the_penalty_is_a_scalar(finished):
    assert finished.method.penalty(finished.model).shape == ()


def test_the_optimizer_is_given_every_parameter_once(finished):
    groups = finished.method.parameter_groups(finished.model, weight_decay=0.1)
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(given) == sorted(id(parameter) for parameter in finished.model.parameters())
    assert {group["weight_decay"] for group in groups} <= {0.0, 0.1}


def test_the_hooks_are_at_rest_after_finalize(ended):
    """Other people's loops validate, save and count steps on when the training is over."""
    loop, model = ended.loop, ended.model
    before = copy.deepcopy(model.state_dict())
    for _ in range(3):
        loop.method.before_evaluation(model)
        loop.method.state()
        loop.method.tensors()
        if not step_by_step(loop.method):  # which would go on with its next window
            model = loop.method.after_step(model, loop.optimizer)
        model = loop.method.finalize(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
