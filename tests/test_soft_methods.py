"""AC/DC, STR, Powerpropagation, Spartan and L0 regularisation: their equations, and what they come to."""

from __future__ import annotations

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from secateur.compare.arms import ARMS
from secateur.errors import InputError
from secateur.methods import METHODS, ac_dc, l0, powerpropagation, shifting, spartan
from secateur.methods import str as soft_thresholds
from secateur.methods.gates.threshold import soft_mask, solve_threshold
from secateur.network.masks import count_nonzeros, prunable_weights
from secateur.training.average import Average
from small_network import batch, network

NAMES = ("ac-dc", "str", "powerpropagation", "spartan", "l0")
NUMBERS = st.lists(st.floats(0, 4, width=32), min_size=3, max_size=40)


class Loop:
    """A user's own loop with momentum and decay."""

    def __init__(self, method, model=None):
        self.method = method
        self.model = method.prepare(network() if model is None else model)
        groups = method.parameter_groups(self.model, 0.01)
        self.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
        self.step = 0

    def run(self, until: int, watch=lambda loop: None) -> Loop:
        while self.step < until:
            x, y = batch(self.step)
            x = x.to(next(self.model.parameters()).dtype)
            (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
            watch(self)
        return self


def make(name, budget="nonzeros=10%", steps=40, **settings):
    return METHODS[name](budget, steps=steps, **settings)


# AC/DC


def test_the_phases_are_the_authors():
    """CIFAR: 10 of 200 epochs dense, then 20 and 20 in turns, dense from 150, compressed from 170.

    ImageNet: 10 of 100 dense, then 5 and 5 in turns, dense from 75, compressed from 85.
    """

    def runs(steps, config):
        phases = [ac_dc.compressed(step, steps, config) for step in range(steps)]
        return [("DC"[key], len(list(group))) for key, group in itertools.groupby(phases)]

    assert runs(200, ac_dc.Config()) == [
        *(("D", 10), ("C", 20), ("D", 20), ("C", 20), ("D", 20), ("C", 20), ("D", 20), ("C", 20)),
        *(("D", 20), ("C", 30)),
    ]
    imagenet = ac_dc.Config(warmup=0.1, phase=0.05)
    assert runs(100, imagenet) == [("D", 10), *[("C", 5), ("D", 5)] * 6, ("C", 5), ("D", 10), ("C", 15)]
    assert ac_dc.compressed(3, 3, ac_dc.Config())


def test_ac_dc_is_the_reference():
    """Against a loop of its own: numpy sorts, steps are undone by hand, momentum is thrown away."""
    steps, target = 40, 12
    found: list[tuple[int, ...]] = []
    loop = Loop(make("ac-dc", f"nonzeros={target}", steps))
    loop.run(
        steps, lambda loop: found.append(tuple(int(mask.sum()) for mask in loop.method.tensors().values()))
    )
    model = network()
    weights = [model[0].weight, model[2].weight]
    masks = [torch.ones_like(weight, dtype=torch.bool) for weight in weights]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    sparse = False
    for step in range(1, steps + 1):
        x, y = batch(step - 1)
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for weight, mask in zip(weights, masks, strict=True):
                weight[~mask] = 0
        now = step >= 34 or (2 <= step < 30 and (step - 2) // 4 % 2 == 0)
        if now and not sparse:
            sizes = np.concatenate([weight.detach().abs().numpy().ravel() for weight in weights])
            least = float(np.sort(sizes)[-target])
            masks = [weight.detach().abs() >= least for weight in weights]
            with torch.no_grad():
                for weight, mask in zip(weights, masks, strict=True):
                    weight[~mask] = 0
        elif sparse and not now:
            masks = [torch.ones_like(mask) for mask in masks]
            for state in optimizer.state.values():
                state["momentum_buffer"] = torch.zeros_like(state["momentum_buffer"])
        sparse = now
        assert found[step - 1] == tuple(int(mask.sum()) for mask in masks)
    finished = loop.method.finalize(loop.model)
    for one, two in zip(finished.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert count_nonzeros(finished) == target


def test_momentum_begins_anew_and_the_second_moments_go_on():
    model = nn.Linear(2, 2)
    optimizers = [torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters(), 0.1, 0.9)]
    model(torch.ones(1, 2)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    ac_dc.forget_momentum(optimizers)
    ac_dc.forget_momentum(None)
    adam, sgd = (optimizer.state[model.weight] for optimizer in optimizers)
    assert not adam["exp_avg"].any()
    assert not sgd["momentum_buffer"].any()
    assert adam["exp_avg_sq"].all()
    assert adam["step"] == 1


# Spartan


@given(NUMBERS, st.floats(0.02, 0.98), st.floats(0.1, 200))
def test_the_soft_mask_sums_to_k_and_keeps_the_order(values, share, beta):
    values = torch.tensor(values, dtype=torch.float64)
    k = share * len(values)
    mask = soft_mask(values, solve_threshold(values, k, beta), beta)
    assert float(mask.sum()) == pytest.approx(k, rel=2e-4)
    order = values.argsort()
    assert bool((mask[order].diff() >= -1e-12).all())  # rounding of a vectorised sigmoid


@given(st.permutations(range(20)), st.integers(1, 19))
def test_the_sharper_the_nearer_to_the_hard_top_k(values, k):
    values = torch.tensor(values, dtype=torch.float64)
    hard = (values >= values.sort(descending=True).values[k - 1]).double()
    gaps = [
        float((soft_mask(values, solve_threshold(values, k, beta), beta) - hard).abs().sum())
        for beta in (0.1, 1.0, 10.0, 100.0)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


def test_the_soft_mask_is_the_entropic_transport_plan():
    """Sinkhorn's iterations by hand: n items of mass 1 into bins of k and n - k, cost -|w| of the first."""
    values, k, beta = torch.tensor([0.1, 0.9, 0.4, 0.5, 0.2], dtype=torch.float64), 2.0, 3.0
    plan = torch.stack([torch.exp(beta * values), torch.ones(5, dtype=torch.float64)], dim=1)
    for _ in range(500):
        plan = plan / plan.sum(dim=1, keepdim=True)
        plan = plan * torch.tensor([k, 5 - k]) / plan.sum(dim=0)
    mask = soft_mask(values, solve_threshold(values, k, beta), beta)
    torch.testing.assert_close(plan[:, 0], mask, rtol=1e-3, atol=0)


@pytest.mark.parametrize("layer_shares", [None, "uniform"])
def test_the_gradient_is_that_of_soft_weights_whose_masks_sum_to_k(layer_shares):
    """Against differences in float64, with tau solved anew for every one; and of the hard network's loss."""
    method = make("spartan", "nonzeros=40%", 20, layer_shares=layer_shares, beta=4.0)
    loop = Loop(method, network().double()).run(8)
    generator = torch.Generator().manual_seed(0)
    layers = {name: loop.model.get_submodule(name) for name in ("0", "2")}
    slopes = {
        name: torch.randn(layer.weight.shape, generator=generator).double() for name, layer in layers.items()
    }
    dense = {name: layer.parametrizations.weight.original for name, layer in layers.items()}
    pools = method._pools
    assert len(pools) == (1 if layer_shares is None else 2)
    sum((layers[name].weight * slopes[name]).sum() for name in layers).backward()
    beta = pools[0].beta
    kept = {name: int(method.tensors()[name].sum()) for name in layers}

    def soft():
        total = 0.0
        for names in [["0", "2"]] if layer_shares is None else [["0"], ["2"]]:
            flat = torch.cat([dense[name].detach().abs().flatten() for name in names])
            tau = exact_threshold(flat, sum(kept[name] for name in names), beta)
            for name in names:
                w = dense[name].detach()
                total += float((w * torch.sigmoid(beta * (w.abs() - tau)) * slopes[name]).sum())
        return total

    for name, index in [("0", (3, 2)), ("0", (9, 5)), ("2", (1, 7))]:
        with torch.no_grad():
            dense[name][index] += 1e-5
            up = soft()
            dense[name][index] -= 2e-5
            down = soft()
            dense[name][index] += 1e-5
        assert float(dense[name].grad[index]) == pytest.approx((up - down) / 2e-5, rel=2e-3, abs=1e-5)


def exact_threshold(values, k, beta):
    low, high = -100.0, 100.0
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if float(torch.sigmoid(beta * (values - tau)).sum()) > k else (low, tau)
    return tau


def test_forward_has_k_weights_and_the_gradient_of_several_passes_adds_up():
    loop = Loop(make("spartan", steps=40)).run(10)
    assert count_nonzeros(loop.model) == 10
    assert count_nonzeros(copy.deepcopy(loop.model)) == 10
    weight = loop.model[0].parametrizations.weight.original
    x, _ = batch(0)
    one, two = loop.model(x[:8]).sum(), loop.model(x[8:]).sum()
    one.backward()
    first = weight.grad.clone()
    two.backward()
    weight.grad, whole = None, weight.grad.clone()
    loop.model(x).sum().backward()
    torch.testing.assert_close(weight.grad, whole)
    assert not torch.equal(first, whole)
    outside = ~loop.method.tensors()["0"]
    assert bool(whole[outside].any())  # what is outside the mask learns, too


def test_spartans_schedule_and_its_frozen_mask():
    """Of 100 weights 10 stay: k falls along a line over 8 of 40 steps, the mask is fixed at step 32."""
    counts, masks = [], []

    def watch(loop):
        counts.append(int(sum(mask.sum() for mask in list(loop.method.tensors().values())[:2])))
        masks.append(loop.model[0].weight.detach() / loop.model[0].parametrizations.weight.original.detach())

    Loop(make("spartan")).run(40, watch)
    assert counts[:9] == [89, 78, 66, 55, 44, 32, 21, 10, 10]
    assert counts[8:] == [10] * 32
    torch.testing.assert_close(masks[31], masks[39])
    assert not torch.allclose(masks[30], masks[31], atol=1e-6)
    assert spartan.sharpness(16, 40, spartan.Config()) == 5.5


# STR


def test_the_soft_threshold_and_its_gradients_by_hand():
    """g(0) = 1/2, g'(0) = 1/4: of 2, -1 and 0.25 the last is gone, and each of the others pulls at s."""
    weight = torch.tensor([2.0, -1.0, 0.25], requires_grad=True)
    s = torch.tensor(0.0, requires_grad=True)
    found = soft_thresholds.soft_threshold(weight, s)
    assert found.tolist() == [1.5, -0.5, 0.0]
    (found * torch.tensor([3.0, 5.0, 7.0])).sum().backward()
    assert weight.grad.tolist() == [3.0, 5.0, 0.0]
    assert float(s.grad) == -0.25 * (3.0 - 5.0)


@given(st.floats(-1.5, 1.5, width=32), st.floats(-12, 6, width=32), st.floats(-3, 3, width=32))
def test_the_margin_is_how_far_s_can_rise(weight, s, other):
    weight, s = torch.tensor(weight).double(), torch.tensor(s).double()
    margin = float(soft_thresholds.margins(weight, s))
    for d in (margin - 1e-3, margin + 1e-3):
        alive = float(soft_thresholds.soft_threshold(weight, s + d)) != 0
        assert alive == (d < margin) or abs(float(weight)) >= 1 or weight == 0 or abs(margin) > 30


def test_strs_thresholds_follow_the_schedule_and_differ_by_what_they_learn():
    seen = []

    def watch(loop):
        if loop.step % 4 == 0:
            seen.append((count_nonzeros(loop.model), loop.method.progress()["remaining"]))

    loop = Loop(make("str")).run(40, watch)
    assert [count for count, _ in seen] == [round(100 * share) for _, share in seen]
    assert seen[0][0] == 100
    assert seen[-1] == (10, 0.1)
    first, second = (layer.parametrizations.weight[0].s.item() for layer in (loop.model[0], loop.model[2]))
    assert 0 < abs(first - second) < 5


def test_faithful_str_is_driven_by_decay_alone_and_cut():
    """No gradient where nothing is computed: s <- s (1 - 0.1 * 0.5), 20 times."""
    method = make("str", steps=20, mode="faithful", decay=0.5, s_init=-6.0)
    model = method.prepare(network())
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.01), lr=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.5]
    for gate in (model[0], model[2]):
        gate.parametrizations.weight[0].s.grad = torch.zeros(())
    for _ in range(20):
        optimizer.step()
        model = method.after_step(model, optimizer)
    s = model[0].parametrizations.weight[0].s
    assert s.item() == pytest.approx(-6 * 0.95**20)
    assert method.progress() == {}
    assert method.remaining(model) > 0.5
    assert count_nonzeros(method.finalize(model)) == 10


# Powerpropagation


@given(st.floats(1, 5), st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=9))
def test_power_slope_and_root_are_the_closed_forms(alpha, thetas):
    theta = torch.tensor(thetas, dtype=torch.float64)
    wanted = [math.copysign(abs(t) ** alpha, t) for t in thetas]
    torch.testing.assert_close(powerpropagation.power(theta, alpha), torch.tensor(wanted).double())
    back = powerpropagation.root(powerpropagation.power(theta, alpha), alpha)
    large = theta.abs() > 1e-3
    torch.testing.assert_close(back[large], theta[large], rtol=1e-9, atol=0)
    theta.requires_grad_(True)
    (theta.sign() * theta.abs() ** alpha).sum().backward()
    by_autograd, theta.grad = theta.grad, None
    powerpropagation.Powered.apply(theta, alpha).sum().backward()
    nonzero = theta != 0
    torch.testing.assert_close(theta.grad[nonzero], by_autograd[nonzero], rtol=1e-9, atol=1e-12)
    assert bool(theta.grad.isfinite().all())


def test_powerpropagation_begins_with_the_same_network_and_moves_weights_by_their_size():
    """alpha = 2: a step of theta by -eta g 2 |theta| moves w by -4 |w| eta g, nearly; a weight of 0 stays."""
    model = nn.Sequential(nn.Linear(3, 1, bias=False))
    before = torch.tensor([[0.04, -0.25, 0.0]])
    with torch.no_grad():
        model[0].weight.copy_(before)
    method = make("powerpropagation", "nonzeros=3", 10)
    model = method.prepare(model)
    torch.testing.assert_close(model[0].weight.detach(), before)
    model(torch.ones(1, 3)).sum().backward()
    torch.optim.SGD(method.parameter_groups(model, 0.0), lr=1e-4).step()
    moved = model[0].weight.detach() - before
    torch.testing.assert_close(moved, -4e-4 * before.abs(), rtol=2e-3, atol=1e-9)


def test_powerpropagation_at_alpha_1_is_gradual_magnitude():
    ours = Loop(make("powerpropagation", alpha=1.0)).run(40)
    plain = Loop(make("gradual-magnitude")).run(40)
    networks = [loop.method.finalize(loop.model) for loop in (ours, plain)]
    for one, two in zip(*(each.parameters() for each in networks), strict=True):
        assert torch.equal(one, two)


# L0


def test_the_expected_l0_is_the_share_of_gates_that_are_not_zero():
    """Against a million draws, for gates nearly shut, in between and nearly open."""
    draws = torch.rand(250_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = torch.logit(draws)
    for log_alpha in (-4.0, -1.0, 0.0, 2.5):
        z = l0.hard_concrete(torch.tensor(log_alpha), noise)
        share = float((z != 0).double().mean())
        assert share == pytest.approx(float(l0.open_probability(torch.tensor(log_alpha))), abs=4e-3)
        assert 0 <= float(z.min()) <= float(z.max()) <= 1


def test_the_hard_concrete_gate_by_hand():
    """log alpha 0 and u = 3/4: s = 1 / (1 + 3**-1.5) = 0.8386, stretched 1.2 s - 0.1 = 0.9063."""
    z = l0.hard_concrete(torch.tensor(0.0), torch.tensor(math.log(3)))
    assert float(z) == pytest.approx(1.2 / (1 + 3**-1.5) - 0.1)
    assert float(l0.open_probability(torch.tensor(0.0))) == pytest.approx(1 / (1 + 11 ** (-2 / 3)))
    assert float(l0.gate_at_test(torch.tensor(math.log(1 / 11)))) == pytest.approx(0, abs=1e-7)
    assert float(l0.gate_at_test(torch.tensor(math.log(1 / 3)))) == pytest.approx(0.2)


def test_the_penalty_is_lambda_times_the_expected_l0():
    method = make("l0", mode="faithful", strength=0.5, drop=0.3)
    model = method.prepare(network())
    penalty = method.penalty(model)
    assert penalty.item() == pytest.approx(0.5 * 100 * method.remaining(model), rel=1e-6)
    penalty.backward()
    assert float(model[0].parametrizations.weight[0].stored.grad.min()) > 0
    assert float(make("l0").penalty(network())) == 0


def test_noise_is_of_the_seed_and_the_step_and_evaluation_has_none():
    loops = [Loop(make("l0", seed=seed)).run(5) for seed in (0, 0, 1)]
    gates = [loop.model[0].parametrizations.weight[0] for loop in loops]
    assert torch.equal(gates[0].noise, gates[1].noise)
    assert not torch.equal(gates[0].noise, gates[2].noise)
    before = gates[0].noise.clone()
    loops[0].run(6)
    assert not torch.equal(gates[0].noise, before)
    gate = loops[0].model.eval()[0].parametrizations.weight
    expected = gate.original * l0.gate_at_test(gate[0].log_alpha)
    assert torch.equal(loops[0].model[0].weight, expected)


def test_the_expected_l0_is_the_schedules():
    seen = []

    def watch(loop):
        if loop.step % 4 == 0 and loop.step > 4:
            seen.append((loop.method.remaining(loop.model), loop.method.progress()["remaining"]))

    Loop(make("l0")).run(40, watch)
    for found, wanted in seen:
        assert found == pytest.approx(wanted, rel=1e-3)
    assert seen[-1][1] == 0.1


@pytest.mark.parametrize("log_alpha", [-3.0, 3.0])
def test_gates_that_are_too_few_are_opened_and_too_many_are_cut(log_alpha):
    """All shut, and all open: in both cases the budget's weights are left, chosen by gate and weight."""
    method = make("l0", "nonzeros=20", mode="faithful")
    model = method.prepare(network())
    with torch.no_grad():
        for layer in (model[0], model[2]):
            gate = layer.parametrizations.weight[0]
            gate.stored.fill_(log_alpha / gate.scale)
            gate.stored.flatten()[::7] += 0.5 / gate.scale
    before = [layer.parametrizations.weight.original.detach().clone() for layer in (model[0], model[2])]
    model = method.finalize(model)
    assert count_nonzeros(model) == 20
    kept = torch.cat([layer.weight.flatten() for layer in (model[0], model[2])]) != 0
    sizes = torch.cat([weight.abs().flatten() for weight in before])
    if log_alpha > 0:  # gates of 1: the largest weights
        assert set(sizes.topk(20).indices.tolist()) == set(kept.nonzero().flatten().tolist())
    else:  # first those whose gate is more open
        favoured = torch.cat([torch.arange(weight.numel()) % 7 == 0 for weight in before])
        assert bool(kept[favoured].all())


# All of them


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stopped", [0, 1, 17, 36])
def test_stopped_early_it_is_cut_to_the_budget(name, stopped):
    loop = Loop(make(name, "nonzeros=7%")).run(stopped)
    assert count_nonzeros(loop.method.finalize(loop.model)) == 7


@pytest.mark.parametrize("name", [*NAMES, "spartan-shared"])
@pytest.mark.parametrize("at", [3, 19, 35])
def test_state_and_tensors_are_all_that_a_run_needs_to_go_on(name, at):
    name, shared = name.removesuffix("-shared"), name.endswith("-shared")
    settings = {"layer_shares": "erk"} if shared else {}
    whole = Loop(make(name, **settings)).run(40)
    half = Loop(make(name, **settings)).run(at)
    resumed = Loop(make(name, **settings))
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.optimizer.load_state_dict(half.optimizer.state_dict())
    state = json.loads(json.dumps(half.method.state()))
    resumed.method.restore(state, {key: value.clone() for key, value in half.method.tensors().items()})
    assert resumed.method.progress() == half.method.progress()
    resumed.step = at
    resumed.run(40)
    finals = [loop.method.finalize(loop.model).state_dict() for loop in (whole, resumed)]
    assert list(finals[0]) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    for key, value in finals[0].items():
        assert torch.equal(value, finals[1][key]), key


@pytest.mark.parametrize("name", NAMES)
def test_gates_are_computed_in_float32_under_bfloat16(name):
    loop = Loop(make(name))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loop.run(20)
        weights = list(prunable_weights(loop.model).values())
    assert {weight.dtype for weight in weights} == {torch.float32}
    again = list(prunable_weights(loop.model).values())
    assert all(torch.equal(one, two) for one, two in zip(weights, again, strict=True))
    assert all(bool(weight.isfinite().all()) for weight in weights)


@pytest.mark.parametrize("name", ["ac-dc", "powerpropagation", "spartan"])
def test_layers_have_the_shares_that_are_asked_for(name):
    """Of 60 and 40 weights: a fifth of each; of the whole 20."""
    loop = Loop(make(name, "nonzeros=20", layer_shares="uniform")).run(40)
    model = loop.method.finalize(loop.model)
    assert [int(weight.count_nonzero()) for weight in prunable_weights(model).values()] == [12, 8]


@pytest.mark.parametrize("name", NAMES)
def test_identities_are_json_and_name_what_changes_the_result(name):
    identity = make(name).identity()
    assert json.loads(json.dumps(identity)) == identity
    assert identity["method"] == name
    assert "layer_shares" not in identity


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        *((name, {"steps": 0}, "at least 1 optimizer step is needed") for name in NAMES),
        *((name, {"budget": "macs=5%"}, "must be in nonzeros or bytes, got 'macs=5%'") for name in NAMES),
        ("ac-dc", {"warmup": 1.0}, r"warmup must lie in \[0, 1\), got"),
        ("ac-dc", {"phase": 0.0}, r"phase must lie in \(0, 1\], got"),
        ("ac-dc", {"last_compressed": 0.9}, "must leave room for warmup and last_dense"),
        ("ac-dc", {"last_dense": -0.1}, "last_dense must lie in"),
        ("spartan", {"beta": 0.0}, "beta must be above 0"),
        ("spartan", {"warmup": 0.9}, r"warmup must lie in \[0, 1 - finetune\]"),
        ("spartan", {"finetune": 1.5}, "finetune must lie in"),
        ("spartan", {"layer_shares": "even"}, "layer shares of spartan"),
        ("powerpropagation", {"alpha": 0.5}, "alpha must be at least 1, got"),
        ("powerpropagation", {"every": 0}, "every must be at least 1 step"),
        ("str", {"mode": "soft"}, "mode"),
        ("str", {"decay": 0.1}, "decay must be left out in exact mode"),
        ("str", {"s_init": math.inf}, "s_init must be finite"),
        ("str", {"layer_shares": "erk"}, "find out how many weights they keep, got layer_shares 'erk'"),
        ("l0", {"layer_shares": "erk"}, "find out how many weights they keep"),
        ("l0", {"strength": 0.1}, "strength must be left out in exact mode"),
        ("l0", {"drop": 1.0}, "drop must lie in"),
        ("l0", {"rate": 0.0}, "rate must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(name, settings, message):
    given = {"budget": "nonzeros=5%", "steps": 9, **settings}
    with pytest.raises(InputError, match=message) as caught:
        METHODS[name](**given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["str", "powerpropagation", "spartan", "l0"])
def test_layers_that_share_a_weight_are_refused_before_anything_is_attached(name):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    with pytest.raises(InputError, match=f"{name}: layers that share one weight"):
        make(name, "nonzeros=5").prepare(model)
    assert not any(torch.nn.utils.parametrize.is_parametrized(layer) for layer in model)


@pytest.mark.parametrize("name", NAMES)
def test_averages_of_weights_are_measured_under_the_masks(name):
    loop = Loop(make(name))
    average = Average(loop.model, 0.9)
    loop.run(36, lambda loop: average.update())
    with average.swapped():
        loop.method.before_evaluation(loop.model)
        loop.model.eval()
        found = count_nonzeros(loop.model)
    assert found <= 10
    assert found == 10 or name == "l0"  # whose gates are open by chance


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize(
    "name",
    ["spartan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("str", "powerpropagation", "l0"))],
)
def test_a_compiled_network_learns_the_same(name):
    """Traced by torch's compiler, without what generates code: 12 steps, to the bit."""
    finals = []
    for traced in (False, True):
        torch._dynamo.reset()
        method = make(name, steps=12)
        model = method.prepare(network())
        call = torch.compile(model, backend="eager") if traced else model
        optimizer = torch.optim.SGD(method.parameter_groups(model, 0.01), lr=0.1, momentum=0.9)
        for step in range(12):
            x, y = batch(step)
            F.cross_entropy(call(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
            model = method.after_step(model, optimizer)
        finals.append(method.finalize(model).state_dict())
    for key, value in finals[0].items():
        assert torch.equal(value, finals[1][key]), key


def test_arms_name_their_methods():
    for name in NAMES:
        choice = ARMS[name].method(None, 3)
        assert choice.name == name
        assert choice.settings == ({"seed": 3} if name == "l0" else {})
        assert ARMS[name].scheduled


def test_what_shifts_has_two_modes():
    assert shifting.MODES == ("exact", "faithful")
    assert {make(name).config.mode for name in ("str", "l0")} == {"exact"}
