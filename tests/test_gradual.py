"""Gradual magnitude pruning and dynamic pruning with feedback: schedules, masks, what comes back."""

from __future__ import annotations

import copy
import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.budget import Limits
from secateur.compare.arms import ARMS
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Settings
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import DynamicFeedback, GradualMagnitude, reparametrization
from secateur.methods.dynamic_feedback import feedback
from secateur.methods.gradual_magnitude import Config, kept_weights
from secateur.network.masks import count_nonzeros
from secateur.progress import Reporter
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe
from small_network import batch, network

METHODS = [GradualMagnitude, DynamicFeedback]
SHARES = st.tuples(st.integers(0, 9), st.integers(1, 10)).map(sorted).filter(lambda pair: pair[0] < pair[1])


def train(method, steps: int, model=None, watch=lambda model: None) -> nn.Module:
    """A user's own loop with momentum and decay; `watch` sees the network after every step."""
    model = method.prepare(network() if model is None else model)
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.01), lr=0.1, momentum=0.9)
    for step in range(steps):
        x, y = batch(step)
        (F.cross_entropy(model(x), y) + method.penalty(model)).backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
        watch(model)
    return model


# The schedule


def test_the_schedule_by_hand():
    """Of 1000 weights 100 stay. Half way from step 10 to step 70 an eighth of the other 900 is left."""
    config = Config()
    assert [kept_weights(step, 100, 100, 1000, config) for step in (0, 10, 40, 70, 71, 100)] == [
        *(1000, 1000, 212, 100, 100, 100)  # 100 + 900 / 8 = 212.5, to the even
    ]
    assert Config(start=0, end=1).last_step(7) == 7
    assert Config().last_step(10) == 7  # not 8, for all that 0.7 is in binary
    assert Config(end=0.2).last_step(1) == 1


@given(st.integers(1, 400), st.integers(1, 10**6), st.floats(0, 1), SHARES)
def test_the_schedule_is_zhu_and_guptas(steps, weights, share, shares):
    """Their eq. (1) in exact arithmetic: s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, s_i = 0."""
    start, end = (Fraction(tenths, 10) for tenths in shares)
    target = round(share * weights)
    config = Config(start=float(start), end=float(end))
    found = [kept_weights(step, steps, target, weights, config) for step in range(steps + 1)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == target
    assert found[0] == weights
    final = 1 - Fraction(target, weights)
    for step in range(1, steps):
        s = min(Fraction(1), max(Fraction(0), (step - start * steps) / ((end - start) * steps)))
        kept = weights * (1 - (final + (0 - final) * (1 - s) ** 3))
        assert abs(found[step] - kept) <= Fraction(1, 2) + Fraction(1, 10**6)


def test_it_is_a_fair_control_of_exact_mode():
    exact = reparametrization.Config.of(cut_at=1.0)
    assert Config() == Config(start=exact.start, end=exact.end, every=exact.solve_every)
    assert (Config().start, Config().end, Config().every) == (0.1, 0.7, 4)


# Gradual magnitude pruning


def test_gradual_magnitude_is_the_reference():
    """Against a loop of its own, in which numpy sorts and every step is undone by hand."""
    steps, every, target = 30, 3, 20
    trained = train(GradualMagnitude(f"nonzeros={target}", steps=steps, every=every), steps)
    model = network()
    weights = [model[0].weight, model[2].weight]
    masks = [np.ones(tuple(weight.shape), dtype=bool) for weight in weights]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(1, steps + 1):
        x, y = batch(step - 1)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight[torch.from_numpy(~mask)] = 0
        if (step % every == 0 and step < 21) or step == 21:  # 0.7 * 30
            s = min(1.0, max(0.0, (step / steps - 0.1) / 0.6))
            keep = target if step == 21 else round(target + (100 - target) * (1 - s) ** 3)
            sizes = np.concatenate([weight.detach().abs().numpy().ravel() for weight in weights])
            threshold = np.sort(sizes)[len(sizes) - keep]
            masks = [
                mask & (w.detach().abs().numpy() >= threshold) for mask, w in zip(masks, weights, strict=True)
            ]
            with torch.no_grad():
                for weight, mask in zip(weights, masks, strict=True):
                    weight[torch.from_numpy(~mask)] = 0
    assert sum(mask.sum() for mask in masks) == target
    for one, two in zip(model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, two)


def test_what_is_gone_stays_gone_through_momentum_and_decay():
    zeros, counts = [], []

    def watch(model):
        zeros.append([layer.weight == 0 for layer in (model[0], model[2])])
        counts.append(count_nonzeros(model))

    train(GradualMagnitude("nonzeros=10%", steps=40), 40, watch=watch)
    for before, after in pairwise(zeros):
        assert all(bool((two | ~one).all()) for one, two in zip(before, after, strict=True))
    assert counts[:3] == [100, 100, 100]
    assert len({*counts}) > 4
    assert counts[27:] == [10] * 13  # from 0.7 * 40 on, with the same zeros
    assert all(torch.equal(one, two) for one, two in zip(zeros[27], zeros[-1], strict=True))


def test_a_weight_that_is_zero_by_chance_does_not_bring_back_another():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    method = GradualMagnitude("nonzeros=1", steps=10, start=0.0, end=1.0)
    method.prepare(model)
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    method.choose(model, 2)
    assert model[0].weight.tolist() == [[0.0, 0.0, 3.0, 4.0]]
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[5.0, 6.0, 0.0, 0.0]]))  # of the step, and of chance
    method._step = 9
    model = method.after_step(model)
    assert method.tensors()["0"].tolist() == [[False, False, True, False]]
    assert not model[0].weight.any()


# Dynamic pruning with feedback


def test_feedback_by_hand():
    w = torch.tensor([3.0, -1.0, 2.0], requires_grad=True)
    pruned = feedback(w, torch.tensor([False, True, False]))
    assert pruned.tolist() == [3.0, 0.0, 2.0]
    (pruned * torch.tensor([10.0, 20.0, 30.0])).sum().backward()
    assert w.grad.tolist() == [10.0, 20.0, 30.0]


def test_the_gradient_is_that_of_the_pruned_network_for_all_weights():
    method = DynamicFeedback("nonzeros=30%", steps=10)
    model, plain = method.prepare(network()), network()
    method.choose(model, 30)
    with torch.no_grad():
        for name, mask in method.tensors().items():
            plain.get_submodule(name).weight.mul_(mask)
    x, y = batch(0)
    losses = [F.cross_entropy(net(x), y) for net in (model, plain)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for name in ("0", "2"):
        dense = model.get_submodule(name).parametrizations.weight.original
        assert torch.equal(dense.grad, plain.get_submodule(name).weight.grad)
        outside = ~method.tensors()[name]
        assert bool(dense.grad[outside].any())
        assert bool(dense[outside].any())


def test_a_weight_outside_the_mask_learns_and_comes_back():
    """y = w . x with x = 1: the step takes the rate off both weights, 0.5 at a time."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.5, -1.0]]))
    method = DynamicFeedback("nonzeros=1", steps=4, start=0.0, end=0.1, every=1)
    model = method.prepare(model)
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.0), lr=0.5)
    seen = []
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
        dense = model[0].parametrizations.weight.original
        seen.append((dense.tolist()[0], model[0].weight.tolist()[0]))
    assert seen == [
        ([1.0, -1.5], [0.0, -1.5]),
        ([0.5, -2.0], [0.0, -2.0]),
        ([0.0, -2.5], [0.0, -2.5]),
    ]
    with torch.no_grad():
        model[0].parametrizations.weight.original[0, 0] = 4.0
    model = method.finalize(method.after_step(model, optimizer))
    assert model[0].weight.tolist() == [[4.0, 0.0]]


def test_masks_change_after_the_end_of_the_schedule_too():
    masks, counts = [], []
    method = DynamicFeedback("nonzeros=10%", steps=40)

    def watch(model):
        masks.append(torch.cat([mask.flatten() for mask in method.tensors().values()]))
        counts.append(count_nonzeros(model))

    model = train(method, 40, watch=watch)
    assert counts[27:] == [10] * 13
    assert not torch.equal(masks[27], masks[-1])
    back = [bool((later & ~earlier).any()) for earlier, later in pairwise(masks)]
    assert any(back)
    used = [layer.weight.clone() for layer in (model[0], model[2])]
    plain = method.finalize(model)
    assert [type(parameter) for parameter in plain.parameters()] == [nn.Parameter] * 4
    assert [list(plain.state_dict())] == [["0.weight", "0.bias", "2.weight", "2.bias"]]
    assert all(
        torch.equal(layer.weight, weight) for layer, weight in zip((plain[0], plain[2]), used, strict=True)
    )


def test_the_masks_follow_a_copy_of_the_network_but_not_into_its_state():
    method = DynamicFeedback("nonzeros=10%", steps=40)
    model = train(method, 40)
    assert not any("gone" in name for name in model.state_dict())
    assert count_nonzeros(copy.deepcopy(model)) == 10


# Both


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize("stopped", [0, 1, 5, 20])
def test_stopped_early_it_is_cut_to_the_budget(make, stopped):
    method = make("nonzeros=7%", steps=40)
    assert count_nonzeros(method.finalize(train(method, stopped))) == 7
    assert method.remaining(network()) == 0.07


@pytest.mark.parametrize("make", METHODS)
def test_state_and_limits_come_back(make):
    """Also those of another budget: the state's hold."""
    method = make("nonzeros=7%", steps=40)
    train(method, 20)
    other = make("nonzeros=50%", steps=40)
    other.prepare(network())
    other.restore(json.loads(json.dumps(method.state())), method.tensors())
    assert other.limits == method.limits == Limits.at({"nonzeros": 7})
    assert other.progress() == method.progress()
    assert 0.07 < other.progress()["remaining"] < 1
    assert other.state() == method.state() == {"step": 20, "limits": {"nonzeros": 7}}


@pytest.mark.parametrize("make", METHODS)
def test_the_identity_is_json(make):
    identity = make("nonzeros=5%", steps=10, every=7).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity == {"method": make.name, "start": 0.1, "end": 0.7, "every": 7}


@pytest.mark.parametrize("make", METHODS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least 1 optimizer step is needed for the schedule, got 0"),
        ({"steps": 9, "start": 0.7}, r"start must lie in \[0, end\)"),
        ({"steps": 9, "end": 1.1}, "end must be at most 1"),
        ({"steps": 9, "every": 0}, "every must be at least 1 step"),
        ({"steps": 9, "budget": "params=5%"}, "its budget must be in nonzeros or bytes, got 'params=5%'"),
        (
            {"steps": 9, "budget": Limits.at({"macs": 5})},
            "must be in nonzeros or bytes, got 'macs=5'",
        ),
        ({"steps": 9, "budget": "nonzeros=101"}, "must not exceed the network's own size, 100 nonzeros"),
        (
            {"steps": 9, "budget": Limits.at({"nonzeros": 101})},
            r"got 'nonzeros=101' \(101\): ask for at most",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, settings, message):
    with pytest.raises(InputError, match=message):
        make(**{"budget": "nonzeros=5%", **settings}).prepare(network())


def test_layers_that_share_a_weight_are_refused_before_anything_is_attached():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(InputError, match="dynamic-feedback: layers that share one weight"):
        DynamicFeedback("nonzeros=5", steps=9).prepare(model)
    assert not any(torch.nn.utils.parametrize.is_parametrized(layer) for layer in model)


class Breaks(Reporter):
    """Ctrl-C after the second epoch."""

    def epoch(self, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("make", METHODS)
def test_as_an_arm_it_trains_from_initialisation_in_one_run_that_resumes(make, digits, tmp_path):
    architecture = resolve_model("wrn-10-1", digits)
    limits = Limits.of("nonzeros=5%", architecture)

    def run(folder, reporter):
        settings = Settings((sc.Budget.parse("nonzeros=5%"),), recipe=Recipe(epochs=4, batch_size=64))
        question = Comparison(architecture, digits, settings, prunes=False)
        (budget,) = question.budgets
        session = Session(RunStore(tmp_path / folder), Runtime("cpu"), reporter)
        return session.make(ARMS[make.name].run(question, budget, 0, "x"))

    with pytest.raises(KeyboardInterrupt):
        run("broken", Breaks())
    resumed, whole = run("broken", Reporter()), run("whole", Reporter())
    assert resumed.history == whole.history
    assert whole.nonzeros == limits["nonzeros"] == round(0.05 * whole.weights)
    assert whole.accuracy == whole.accuracy_before == resumed.accuracy
    assert whole.remaining == whole.history[-1].more["remaining"] == limits["nonzeros"] / whole.weights
    assert whole.trained is None
    networks = [sc.load(tmp_path / folder / "runs" / whole.run_id) for folder in ("broken", "whole")]
    for name, value in networks[0].state_dict().items():
        assert torch.equal(value, networks[1].state_dict()[name]), name
