"""Dupont et al. 2021, equation by equation: literal values, closed forms, the paper's four properties."""

from __future__ import annotations

import copy
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError
from secateur.methods import Reparametrization
from secateur.methods.gates import kernels as gate_kernels
from secateur.methods.gates.apparent import apparent_and_total, apparent_weight, cost
from secateur.methods.gates.gate import budget_loss, gate, gate_slope, unstable_gate
from secateur.methods.gates.kernels import Blocked, ClosedForm, Compiled, plain_kernel
from secateur.methods.gates.schedule import crispness, kept_share
from secateur.methods.gates.temperature import solve_temperature, solve_with_floors
from secateur.network.masks import count_nonzeros, prunable_weights
from secateur.training.optimizers import build, set_rate
from secateur.training.recipe import Recipe

EVEN = st.integers(1, 16).map(lambda half: 2 * half)
TEMPERATURES = st.floats(1e-3, 1e6)
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def as_printed(x: float, t: float, n: int) -> float:
    """Eq. (5) as it stands in the paper, in float64 by numpy."""
    c1, c2 = 1 / (1 - math.exp(-1)), math.exp(-1)
    return c1 * (np.exp(-1 / ((t * x) ** n + 1)) - c2)


# Eq. (5): values, properties, numerics


@pytest.mark.parametrize(
    ("x", "t", "n", "expected"),
    [  # computed with decimal to 40 digits from eq. (5) as printed
        (0.0, 100.0, 4, 0.0),
        (1.0, 1.0, 4, 0.37754066879814544),
        (2.0, 1.0, 4, 0.90962664424173729),
        (-0.5, 1.0, 4, 0.03526084058053823),
        (0.0113, 100.0, 4, 0.49970337916052058),
        (1.0, 1.0, 16, 0.37754066879814544),
    ],
)
def test_values_of_the_gate(x, t, n, expected):
    assert as_printed(x, t, n) == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert float(gate(torch.tensor(x, dtype=torch.float64), t, n)) == pytest.approx(expected, rel=1e-12)


def test_the_half_point():
    """Where a weight is halved: |tx| = 1.13 (shared/design.md)."""
    assert float(gate(torch.tensor(1.13), 1.0)) == pytest.approx(0.5, abs=2e-3)


@given(NUMBERS, TEMPERATURES, EVEN)
def test_property_1_between_0_and_1(x, t, n):
    assert 0 <= float(gate(torch.tensor(x), t, n)) <= 1


@given(NUMBERS, TEMPERATURES, EVEN)
def test_property_2_the_derivative_is_finite_and_continuous_at_0(x, t, n):
    w = torch.tensor([x, 0.0], requires_grad=True)
    gradient = torch.autograd.grad(apparent_weight(w, torch.tensor(t), n).sum(), w)[0]
    assert torch.isfinite(gradient).all()
    assert float(gradient[1]) == 0


@given(NUMBERS, TEMPERATURES, EVEN)
def test_property_3_only_magnitudes_matter(x, t, n):
    assert float(gate(torch.tensor(x), t, n)) == float(gate(torch.tensor(-x), t, n))


@given(st.floats(1e-3, 1e3), st.floats(1e-6, 0.99))
def test_property_4_some_t_holds_any_interval_below_any_epsilon(a, epsilon):
    """With u = log(1 + eps * (e-1)) / (1 - that) halved, h_t(a) < eps; h rises with |x|, so on all of it."""
    r = math.log1p(epsilon * (math.e - 1))
    t = (0.5 * r / (1 - r)) ** 0.25 / a
    x = torch.linspace(-a, a, 101, dtype=torch.float64)
    assert float(gate(x, t).max()) < epsilon


@given(st.floats(1e-3, 10), st.floats(1e-3, 10))
def test_it_rises_with_the_magnitude(x, more):
    low, high = gate(torch.tensor([x, x + more], dtype=torch.float64), 1.0)
    assert low <= high


def test_float32_has_no_cancellation_where_the_printed_form_has():
    x = torch.logspace(-3, 2, 200)
    exact = gate(x.double(), 1.0)
    assert torch.allclose(gate(x, 1.0).double(), exact, rtol=1e-5, atol=0)
    printed = (1 / (1 - math.exp(-1))) * (torch.exp(-1 / (torch.tensor(0.02) ** 4 + 1)) - math.exp(-1))
    assert abs(float(printed) / as_printed(0.02, 1.0, 4) - 1) > 0.2  # or this test has lost its reason


@pytest.mark.parametrize("t", [1.0, 1e4, 1e12, 1e30])
@pytest.mark.parametrize("n", [2, 4, 16, 64])
def test_nothing_overflows(t, n):
    w = torch.tensor([0.0, 1e-30, 1e-3, 1.0, 1e8], requires_grad=True)
    temperature = torch.tensor(t, requires_grad=True)
    total = apparent_weight(w, temperature, n).sum() + cost([w], [temperature], n)
    gradients = torch.autograd.grad(total, [w, temperature])
    assert torch.isfinite(total)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    w = torch.tensor([0.005, 0.02, 0.5], dtype=dtype)
    found = apparent_weight(w, torch.tensor(100.0))
    assert found.dtype == dtype
    exact = w.double() * gate(w.double(), 100.0)
    assert torch.allclose(found.double(), exact, rtol=2 * torch.finfo(dtype).eps)


# Eqs. (3), (7), (9) and the derivatives


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0.1, 10), EVEN)
@settings(max_examples=50, deadline=None)
def test_the_gradients_are_those_of_float64_autograd(values, t, n):
    """autograd through eq. (5) as printed, away from 0 where its own chain rule divides by nothing."""
    w = torch.tensor([v if abs(v) > 1e-2 else 0.5 for v in values], dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(t, dtype=torch.float64, requires_grad=True)
    c1, c2 = 1 / (1 - math.exp(-1)), math.exp(-1)
    h = c1 * (torch.exp(-1 / ((temperature * w) ** n + 1)) - c2)
    factors = torch.arange(1.0, len(values) + 1, dtype=torch.float64)
    reference = torch.autograd.grad((factors * w * h).sum() + 0.7 * h.sum(), [w, temperature])
    ours = (factors * apparent_weight(w, temperature, n)).sum() + 0.7 * cost([w], [temperature], n)
    for one, two in zip(torch.autograd.grad(ours, [w, temperature]), reference, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)


def test_the_slope_is_the_closed_form_of_the_design():
    """dh/dx = C1 * E * n * t * (t*x)**(n-1) / (u+1)**2."""
    x, t, n = torch.linspace(0.1, 3, 30, dtype=torch.float64), 1.3, 4
    u = (t * x) ** n
    closed = 1 / (1 - math.exp(-1)) * torch.exp(-1 / (u + 1)) * n * t * (t * x) ** (n - 1) / (u + 1) ** 2
    torch.testing.assert_close(gate_slope(x, t, n) / x, closed, rtol=1e-12, atol=0)


def test_apparent_weight_and_cost_and_budget_loss():
    w = torch.tensor([1.0, -2.0], dtype=torch.float64)
    t = torch.tensor(1.0, dtype=torch.float64)
    assert apparent_weight(w, t).tolist() == pytest.approx([0.3775406688, -1.8192532885], rel=1e-6)
    assert float(cost([w, w], [t, t])) == pytest.approx(2 * (0.3775406688 + 0.9096266442), rel=1e-6)
    assert float(budget_loss(torch.tensor(30.0), 10, 100)) == pytest.approx(0.04)


def test_the_unstable_form_is_near_the_stable_one_and_has_no_derivative_at_0():
    x = torch.tensor([3.0, 0.0], requires_grad=True)
    h = unstable_gate(x, 1.0)
    assert h.tolist() == pytest.approx([math.exp(-1 / 81), 0])
    assert torch.isnan(torch.autograd.grad(h.sum(), x)[0][1])


# The solution for t, and the schedules


@given(st.integers(2, 400), st.floats(0.002, 0.98), EVEN, st.floats(1e-2, 1e4))
@settings(deadline=None)
def test_the_temperature_meets_the_target(size, share, n, guess):
    magnitudes = torch.randn(size, generator=torch.Generator().manual_seed(size)).abs() + 1e-4
    t = solve_temperature(magnitudes, share * size, n, guess)
    found = float(gate(magnitudes.double(), t, n).sum())
    assert found == pytest.approx(share * size, rel=1e-4)


def test_a_target_that_cannot_be_reached_opens_every_gate():
    magnitudes = torch.tensor([0.0, 1e-3, 1.0])
    t = solve_temperature(magnitudes, 3.0, 4)
    assert gate(magnitudes, t).tolist() == [0, 1, 1]


def test_without_floors_every_layer_has_the_one_temperature():
    layers = [torch.rand(50, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(3)]
    ts = solve_with_floors(layers, 30.0, [0.0] * 3, 4)
    assert len(set(ts)) == 1
    assert ts[0] == pytest.approx(solve_temperature(torch.cat(layers), 30.0, 4))


def test_a_floor_opens_the_gates_of_a_layer_that_would_be_emptied():
    generator = torch.Generator().manual_seed(0)
    small, large = torch.rand(100, generator=generator) * 1e-3, torch.rand(100, generator=generator) + 1
    free = solve_with_floors([small, large], 50.0, [0.0, 0.0], 8)
    assert float(gate(small, free[0], 8).sum()) < 1e-3
    ts = solve_with_floors([small, large], 50.0, [5.0, 5.0], 8)
    sums = [float(gate(w, t, 8).sum()) for w, t in zip((small, large), ts, strict=True)]
    assert sums == pytest.approx([5.0, 45.0], rel=1e-4)


def test_floors_hold_at_the_cut():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    method = Reparametrization("nonzeros=10%", steps=4, floor=0.5)
    model = method.prepare(model)
    for _ in range(4):
        model = method.after_step(model)
    model = method.finalize(model)
    kept = [int(layer.weight.count_nonzero()) for layer in model]
    assert kept == [20, 60]  # half of an even share of 40, and the rest of 80


def test_schedules():
    shares = [kept_share(p, 0.05, 0.1, 0.6) for p in (0, 0.1, 0.35, 0.6, 1)]
    assert shares == pytest.approx([1, 1, 0.05 + 0.95 / 8, 0.05, 0.05])
    assert [crispness(p, 4, 16, 0.6, 0.9) for p in (0, 0.6, 0.75, 0.9, 1)] == [4, 4, 8, 16, 16]


# The method


def digits_net():
    torch.manual_seed(1)
    return sc.models.conv4(width=0.125, in_channels=1, image_size=8)


def steps_of(method, model, count, lr=0.1):
    optimizer = torch.optim.SGD(method.parameter_groups(model, weight_decay=5e-5), lr=lr)
    noise = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.randn(16, 1, 8, 8, generator=noise)
        loss = F.cross_entropy(model(x), torch.arange(16) % 10) + method.penalty(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
    return model


def test_exact_mode_follows_the_schedule_at_every_evaluation():
    method = Reparametrization("nonzeros=5%", steps=100)
    model = method.prepare(digits_net())
    for step in range(100):
        model = steps_of(method, model, 1)
        method.before_evaluation(model)
        wanted = kept_share((step + 1) / 100, method.target / method.initial, 0.1, 0.5)
        assert method.remaining(model) == pytest.approx(wanted, rel=1e-4), step


def test_faithful_mode_begins_as_the_paper_says():
    method = Reparametrization("nonzeros=5%", mode="faithful")
    model = method.prepare(digits_net())
    temperatures = [p.detach() for name, p in model.named_parameters() if name.endswith("weight.0.t")]
    assert [float(t) for t in temperatures] == [100.0] * 7  # one a layer
    weights = {name: w.detach() for name, w in prunable_weights(digits_net()).items()}
    c = sum(as_printed(w.double().numpy(), 100.0, 4).sum() for w in weights.values())
    n = sum(w.numel() for w in weights.values())
    assert method.remaining(model) == pytest.approx(c / n, rel=1e-5)
    expected = 5 * ((c - round(0.05 * n)) / n) ** 2
    assert float(method.penalty(model).detach()) == pytest.approx(expected, rel=1e-5)


def test_the_penalty_is_the_same_from_the_last_forward_pass_and_afresh():
    method = Reparametrization("nonzeros=5%", mode="faithful")
    model = method.prepare(digits_net())
    fresh = method.penalty(model)
    model(torch.zeros(2, 1, 8, 8))
    assert torch.equal(method.penalty(model), fresh)
    model(torch.zeros(2, 1, 8, 8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    changed = method.penalty(model)
    assert changed.requires_grad
    assert not torch.equal(changed, fresh)


def test_temperatures_have_no_weight_decay():
    method = Reparametrization("nonzeros=5%", mode="faithful")
    model = method.prepare(digits_net())
    decayed, free = method.parameter_groups(model, weight_decay=0.5)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0.0)
    assert all(p.shape == () for p in free["params"])
    assert len(free["params"]) == 7


def test_t_has_a_rate_of_its_own():
    """One step of SGD from the same start: t goes so many times as far, and the weights as ever."""
    moved, weights = [], []
    for factor in (1, 50):
        method = Reparametrization("nonzeros=5%", mode="faithful", t_rate=factor, penalty_weight=5e3)
        model = method.prepare(digits_net())
        optimizer = build(Recipe(lr=0.1, momentum=0.9), method.parameter_groups(model, 0.0))
        set_rate(optimizer, 0.05)
        model(torch.ones(2, 1, 8, 8))
        method.penalty(model).backward()
        optimizer.step()
        method.after_step(model, optimizer)
        moved.append([100 - float(gate.t.detach()) for gate in method._gates.values()])
        weights.append([p.detach().clone() for p in model.parameters() if p.dim()])
    assert moved[1] == pytest.approx([50 * each for each in moved[0]], rel=0.01, abs=1e-3)
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


def test_a_loop_that_knows_nothing_of_that_rate_is_told():
    method = Reparametrization("nonzeros=5%", mode="faithful", t_rate=10)
    with pytest.raises(InputError, match=r"t_rate 10 asks for a rate of t's own, got the weights' \(0.1\)"):
        steps_of(method, method.prepare(digits_net()), 1)


def test_an_own_optimizer_keeps_its_rates_and_that_of_t():
    method = Reparametrization("nonzeros=5%", mode="faithful", t_rate=10)
    groups = method.parameter_groups(method.prepare(digits_net()), 0.0)
    recipe = Recipe().with_own_optimizer()
    optimizer = build(recipe, groups, lambda given: torch.optim.RAdam(given, lr=0.002))
    set_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001, 0.01])


def test_the_rate_of_t_is_in_the_identity_only_where_there_is_one():
    """Runs that were made before are found again."""
    as_written = Reparametrization("nonzeros=5%", mode="faithful").identity()
    assert "t_rate" not in as_written
    changed = Reparametrization("nonzeros=5%", mode="faithful", t_rate=30.0).identity()
    assert changed == {**as_written, "t_rate": 30.0}


def test_near_0_the_kernel_without_a_compiler_is_right_to_1_and_not_to_itself():
    """docs/deviations.md: e is 2**r - 1 there, which rounds where expm1 does not."""
    x = torch.tensor([0.01, 0.02, 0.05, 0.1, 0.3, 1.0])
    exact = gate(x.double(), 1.0, 4)
    one = torch.tensor(1.0)
    blocked = Blocked.forward(x, one, 4, wants_total=False, wants_grad=False).apparent / x
    closed = ClosedForm.forward(x, one, 4, wants_total=False, wants_grad=False).apparent / x
    assert (blocked - exact).abs().max() < 3e-7
    assert ((closed - exact) / exact).abs().max() < 1e-6
    wrong = ((blocked - exact) / exact).abs()
    assert wrong[0] == 1  # h is 5.8e-9, and 0 here
    assert wrong[1] > 0.1
    assert wrong[4:].max() < 1e-4


def test_faithful_mode_learns_its_temperatures_and_draws_the_cost_down():
    method = Reparametrization("nonzeros=5%", mode="faithful", penalty_weight=50.0)
    model = method.prepare(digits_net())
    before = method.remaining(model)
    assert method.progress() == {}
    model = steps_of(method, model, 1, lr=0.05)
    assert method.progress()["remaining"] == pytest.approx(before)  # of the weights that the step began with
    model = steps_of(method, model, 29, lr=0.05)
    temperatures = {float(gate.t.detach()) for gate in method._gates.values()}
    assert len(temperatures) == 7
    assert method.remaining(model) < before


def test_the_cut_keeps_the_largest_apparent_weights_of_the_whole_network():
    method = Reparametrization("nonzeros=7%", mode="faithful")
    model = method.prepare(digits_net())
    with torch.no_grad():
        for factor, gate_ in enumerate(method._gates.values(), start=1):
            gate_.t.mul_(factor)
    used = torch.cat([w.detach().flatten().abs() for w in prunable_weights(model).values()])
    model = method.finalize(model)
    kept = torch.cat([w.detach().flatten() for w in prunable_weights(model).values()])
    assert count_nonzeros(model) == round(0.07 * len(used))
    assert kept[kept != 0].abs().min() >= used[kept == 0].max()


def test_a_network_in_training_can_be_copied():
    method = Reparametrization("nonzeros=5%", mode="faithful")
    model = method.prepare(digits_net())
    model(torch.zeros(2, 1, 8, 8))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(torch.ones(1, 1, 8, 8)), model(torch.ones(1, 1, 8, 8)))


def test_inside_autocast_the_gate_is_float32():
    method = Reparametrization("nonzeros=5%", steps=10)
    model = method.prepare(nn.Sequential(nn.Linear(64, 64)))
    model = steps_like_half_way(method, model)
    with torch.autocast("cpu", torch.bfloat16):
        inside = model[0].weight
    assert inside.dtype == torch.float32
    assert torch.equal(inside, model[0].weight)


def steps_like_half_way(method, model):
    for _ in range(6):
        model = method.after_step(model)
    method.before_evaluation(model)
    return model


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"budget": "params=5%", "steps": 10}, "must be in nonzeros or bytes, got 'params=5%'"),
        ({"budget": "nonzeros=5%"}, "needs the number of optimizer steps for its schedule, got None"),
        ({"budget": "nonzeros=5%", "steps": 0}, "got 0"),
        ({"budget": "nonzeros=5%", "mode": "fast"}, "fast"),
        ({"budget": "nonzeros=5%", "steps": 9, "n": 3}, "n must be even and at least 2, got 3"),
        ({"budget": "nonzeros=5%", "steps": 9, "n_final": 2}, "n_final must be even and at least n, got 2"),
        ({"budget": "nonzeros=5%", "steps": 9, "floor": 1}, "floor must lie in [0, 1), got 1"),
        ({"budget": "nonzeros=5%", "steps": 9, "start": 0.7}, "start must lie in [0, end), got 0.7"),
    ],
)
def test_bad_arguments_are_named(arguments, part):
    with pytest.raises(InputError) as caught:
        Reparametrization(**arguments)
    assert part in str(caught.value)


def test_a_budget_beyond_the_network_is_refused():
    with pytest.raises(InputError, match="at most nonzeros=9"):
        Reparametrization("nonzeros=1k", mode="faithful").prepare(nn.Sequential(nn.Linear(3, 3)))


def test_a_parametrized_layer_is_refused_before_anything_is_attached():
    model = nn.Sequential(nn.Linear(3, 3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(InputError, match=r"'1\.weight' is parametrized already"):
        Reparametrization("nonzeros=50%", mode="faithful").prepare(model)
    assert not nn.utils.parametrize.is_parametrized(model[0])


# One mathematics, several kernels


def both_directions(kernel, weight, t, n, of_total, layout=torch.contiguous_format):
    """w_hat, the sum of h, dw and dt, for a gradient of w_hat that is random, and one of the sum."""
    w = weight.detach().to(memory_format=layout).requires_grad_()
    temperature = torch.tensor(t, dtype=weight.dtype, requires_grad=True)
    apparent, total = apparent_and_total(w, temperature, n, kernel)
    g = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).to(weight.dtype)
    ((apparent * g).sum() + (of_total * total).to(weight.dtype)).backward()
    return apparent.detach(), total.detach(), w.grad, temperature.grad


def some_weights(*shape):
    """Half-open, open and closed gates, a zero, and what is lost when squared."""
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
    w.view(-1)[:5] = torch.tensor([0.0, 1e-30, -1e-10, -1.0, 1e-3])
    return w


@pytest.mark.parametrize("n", [2, 4, 64])
def test_the_blocked_kernel_has_no_number_that_is_none(n):
    weight = torch.tensor([0.0, 1e-38, -1e-20, 1e10, -1e20, 1e38])
    apparent, total, grad, grad_t = both_directions(Blocked(), weight, 1e6, n, 0.0)
    assert all(bool(x.isfinite().all()) for x in (apparent, total, grad, grad_t))
    torch.testing.assert_close(apparent, torch.tensor([0.0, 0.0, 0.0, 1e10, -1e20, 1e38]))
    assert float(total) == pytest.approx(3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [2, 4, 6, 10, 64])
@pytest.mark.parametrize("t", [1e-3, 100.0, 1e4])
def test_the_blocked_kernel_agrees_with_the_closed_form_in_float64(t, n, layout, monkeypatch):
    monkeypatch.setattr(gate_kernels, "BLOCK", 1000)  # several blocks, the last a short one
    weight = some_weights(24, 7, 3, 5)
    found = both_directions(Blocked(), weight, t, n, 0.3, layout)
    expected = both_directions(ClosedForm(), weight.double(), t, n, 0.3)
    # h to 3e-7 of 1: of the largest weight, of every weight, of the largest gradient; t's has no h in it
    allowed = [3e-7 * scale for scale in (float(weight.abs().max()), weight.numel(), 5.0, 0.0)]
    for ours, exact, from_h in zip(found, expected, allowed, strict=True):
        atol = from_h + float(2e-6 * exact.abs().max()) + 1e-30
        torch.testing.assert_close(ours.double(), exact, rtol=2e-5, atol=atol)
    assert found[2].stride() == weight.to(memory_format=layout).stride()


@pytest.mark.parametrize("kernel", [ClosedForm(), Blocked()])
def test_without_the_sum_t_is_a_constant_and_the_weights_feel_the_task_alone(kernel):
    weight, t = some_weights(40, 30), torch.tensor(100.0)
    w = weight.clone().requires_grad_()
    apparent, total = apparent_and_total(w, t, 4, kernel, wants_total=False)
    apparent.square().sum().backward()
    assert total is None
    h, slope = gate(weight.double(), 100.0), gate_slope(weight.double(), 100.0)
    torch.testing.assert_close(w.grad.double(), 2 * weight * h * (h + slope), rtol=1e-4, atol=1e-9)


def test_only_the_sum_may_have_a_gradient():
    weight = some_weights(50, 3)
    expected = both_of_the_sum(ClosedForm(), weight.double())
    for ours, exact in zip(both_of_the_sum(Blocked(), weight), expected, strict=True):
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))


def both_of_the_sum(kernel, weight):
    w, t = weight.clone().requires_grad_(), torch.tensor(100.0, dtype=weight.dtype, requires_grad=True)
    apparent_and_total(w, t, 4, kernel)[1].backward()
    return w.grad, t.grad


def test_a_gradient_in_another_layout_is_taken_for_what_it_is():
    weight = some_weights(6, 5, 3, 3)
    g = torch.randn(6, 5, 3, 3).to(memory_format=torch.channels_last)
    found = []
    for kernel in (Blocked(), ClosedForm()):
        w = weight.clone().requires_grad_()
        apparent, _ = apparent_and_total(w, torch.tensor(50.0), 4, kernel, wants_total=False)
        apparent.backward(g)
        found.append(w.grad)
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)


def test_half_and_double_precision_take_the_closed_form():
    assert isinstance(plain_kernel(torch.ones(3)), Blocked)
    for kind in (torch.float64, torch.bfloat16):
        assert isinstance(plain_kernel(torch.ones(3, dtype=kind)), ClosedForm)


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiled gates need a C++ compiler")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_compiled_kernel_agrees_and_is_compiled_once_for_all_layers(layout):
    compiled = Compiled(4)
    compiled.check(torch.ones(3), torch.tensor(1.0))
    torch._dynamo.utils.counters.clear()
    for shape in ((24, 7, 3, 5), (11, 13, 1, 1), (5, 4, 3, 3)):
        weight = some_weights(*shape)
        found = both_directions(compiled, weight, 100.0, 4, 0.3, layout)
        expected = both_directions(ClosedForm(), weight.double(), 100.0, 4, 0.3)
        for ours, exact in zip(found, expected, strict=True):
            scale = exact.abs().max()
            torch.testing.assert_close(ours.double(), exact, rtol=2e-5, atol=float(2e-6 * scale) + 1e-30)
    assert sum(torch._dynamo.utils.counters["frames"].values()) == 0
    other = both_directions(compiled, weight, 100.0, 8, 0.3)  # another n: not compiled, and right
    torch.testing.assert_close(other, both_directions(Blocked(), weight, 100.0, 8, 0.3))


def test_a_machine_that_cannot_compile_is_told_so_before_training(monkeypatch):
    def fail(*_):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(gate_kernels, "_compiled", fail)
    model = sc.models.conv4(width=0.1)
    with pytest.raises(InputError, match=r"failed here \(no compiler\): leave compiled out"):
        Reparametrization("nonzeros=5%", steps=10, compiled=True).prepare(model)
    assert not any("parametrizations" in name for name, _ in model.named_parameters())
