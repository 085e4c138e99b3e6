"""Budgets: parsing, rounding, counting, solving."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from secateur import models
from secateur.architecture.architecture import Architecture
from secateur.architecture.fitting import fit_scale
from secateur.budget import COUNTERS, TRAINABLE, Budget, Budgets, Deployment
from secateur.compare.one_network import Subject, arm_alone, check_budgets
from secateur.compare.settings import Settings, Sparsity
from secateur.errors import InputError
from secateur.methods import ChannelReparametrization
from secateur.network.counting import count_macs, layer_positions, uses_of_weights
from secateur.network.weights import count_params
from secateur.training.recipe import Recipe


@pytest.mark.parametrize(
    ("text", "original", "limit"),
    [
        ("params=500k", 10**7, 500_000),
        ("params=1.5M", 10**7, 1_500_000),
        ("params = 1234", 10**7, 1234),
        ("params=25%", 1003, 250),
        ("params=33.3%", 1000, 333),
        ("params=100%", 1003, 1003),
        ("params=0.1%", 1999, 1),
    ],
)
def test_limits(text, original, limit):
    assert Budget.parse(text).limit(original) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params=0", "above zero, got 'params=0': write"),
        ("params=0%", "above zero"),
        ("params=200%", "at most 100%, got 'params=200%'"),
        ("parms=5k", "unknown budget resource 'parms': did you mean 'params'"),
        ("params", "RESOURCE=AMOUNT, got 'params'"),
        ("params=", "a number with k, M, G or %"),
        ("params=-5", "a number with k, M, G or %, got '-5'"),
        ("params=nan", "got 'nan'"),
        ("params=1e6", "got '1e6'"),
        ("params=" + "9" * 5000, "a number with k, M, G or %"),
        ("params=5kB", "a number with k, M, G or %, got '5kB' in 'params=5kB'"),
        ("params=5ms", "a number with k, M, G or %, got '5ms'"),
        ("params=5k@torch", "got '5k@torch'"),
        ("byte=5k", "unknown budget resource 'byte': did you mean 'bytes'"),
        ("bytes=1.5MiBs", "got '1.5MiBs'"),
        (
            "bytes=5Ki",
            "a number with kB, MB, GB, KiB, MiB, GiB or %, got '5Ki' in .* write for example bytes=1.5MB",
        ),
        ("bytes=5TB", "a number with kB, MB, GB"),
        ("bytes=0MB", "above zero, got 'bytes=0MB'"),
        ("bytes=101%", "at most 100%, got 'bytes=101%': write for example bytes=50%"),
        ("latency=2ms", "names the runtime .* got 'latency=2ms': write .* torch, onnxruntime, openvino"),
        ("latency=2ms@", "names the runtime it is measured with"),
        ("latency=@torch", "a number with s, ms, us or %, got '' in 'latency=@torch'"),
        ("latency=2@torch", "a number with s, ms, us or %, got '2' in"),
        ("latency=2min@torch", "got '2min' in .* write for example latency=2ms@onnxruntime"),
        ("latency=0ms@torch", "above zero"),
        ("latency=150%@torch", "at most 100%.* write for example latency=50%@onnxruntime"),
        ("latency=2ms@tensorrt", "unknown runtime 'tensorrt': .*torch, onnxruntime, openvino.* in 'latency="),
        ("latency=2ms@torch:batches=8", "unknown option of a runtime 'batches': did you mean 'batch'"),
        (
            "latency=2ms@torch:batch",
            "batch must be a whole number from 1 to 999999, got 'batch': write batch=1",
        ),
        ("latency=2ms@torch:batch=0", "got 'batch=0'"),
        ("latency=2ms@torch:threads=1.5", "threads must be a whole number .* got 'threads=1.5'"),
        ("latency=2ms@torch:batch=1:batch=2", "is given once, got .* keep one batch"),
    ],
)
def test_a_wrong_budget_is_one_clear_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        Budget.parse(text)
    assert "\n" not in str(error.value)


def test_a_budget_above_the_network_is_refused():
    with pytest.raises(InputError, match="must not exceed the network's own size, 906"):
        Budget.parse("params=1k").limit_for(torch.nn.Linear(905, 1))


@given(st.integers(1, 10**12), st.integers(1, 10_000))
def test_a_share_is_never_rounded_up(original, hundredths):
    share = Budget.parse(f"params={hundredths / 100:.2f}%")
    limit = share.limit(original)
    assert limit * 10_000 <= hundredths * original < (limit + 1) * 10_000


@pytest.mark.parametrize(
    "model",
    [
        models.wide_resnet(depth=16, width=1),
        models.resnet18(width=0.25),
        models.vgg19(width=0.125),
        models.conv4(image_size=8, in_channels=1),
    ],
    ids=lambda model: model.factory,
)
def test_macs_are_half_of_torchs_flops(model):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(torch.zeros(1, *model.input_shape))
    assert 2 * count_macs(model, layer_positions(model, model.input_shape)) == counter.get_total_flops()


def test_counting_leaves_the_model_as_it_was():
    model = models.wide_resnet(depth=10).train()
    model.blocks[0].bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_positions(model, model.input_shape)
    assert model.training
    assert not model.blocks[0].bn1.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_shared_parameter_counts_once():
    layer = torch.nn.Linear(3, 3)
    assert count_params(torch.nn.Sequential(layer, layer)) == 12


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.lists(st.integers(1, 9), min_size=8, max_size=8),
    st.integers(0, 4000),
)
def test_fit_scale_meets_the_limit_with_the_widest_that_fits(base, prices, slack):
    def cost(widths):
        return sum(p * w for p, w in zip(prices, widths, strict=False)) + sum(
            a * b for a, b in pairwise(widths)
        )

    limit = cost([1] * len(base)) + slack
    factor, widths = fit_scale(base, cost, limit)
    assert cost(widths) <= limit
    # Within one channel of the scaled widths, and at `factor` itself plain rounding down no longer fits.
    assert all(width == 1 or abs(width - factor * of) <= 1 for width, of in zip(widths, base, strict=True))
    assert cost([max(1, int(factor * of)) for of in base]) > limit


def test_fit_scale_refuses_what_nothing_meets():
    with pytest.raises(InputError, match=r"below the smallest network with these widths, 3 .*at least 3"):
        fit_scale([4, 4, 4], sum, 2)


def test_nonzeros_are_the_weights_of_convolutions_and_linear_layers():
    """Conv4, 32x32x3: 2,425,024 weights (Frankle & Carbin 2019, Fig. 2), whatever its biases."""
    model = models.conv4()
    assert COUNTERS["nonzeros"](model) == 2_425_024
    batch_normed = models.resnet18()
    assert COUNTERS["nonzeros"](batch_normed) < count_params(batch_normed)


@pytest.mark.parametrize(
    ("text", "original", "limit"),
    [
        ("nonzeros=5%", 2_425_024, 121_251),  # 121,251.2
        ("nonzeros=3%", 2_425_024, 72_751),  # 72,750.72, rounded to the nearest
        ("nonzeros=50%", 5, 2),  # a half goes to the even
        ("nonzeros=50%", 7, 4),
        ("params=3%", 2_425_024, 72_750),  # every other resource is rounded down
        ("macs=50%", 7, 3),
    ],
)
def test_nonzeros_are_rounded_to_the_nearest_and_all_else_down(text, original, limit):
    assert Budget.parse(text).limit(original) == limit


def test_macs_are_the_models_own():
    model = models.conv4(width=0.25, in_channels=1, image_size=8)
    assert COUNTERS["macs"](model) == count_macs(model, layer_positions(model, (1, 8, 8)))


def test_what_sets_weights_to_zero_needs_a_budget_in_nonzeros():
    assert Budget.parse("nonzeros=5%").of_weights("x").text == "nonzeros=5%"
    with pytest.raises(InputError, match="must be in nonzeros or bytes, got 'macs=5%'"):
        Budget.parse("macs=5%").of_weights("magnitude pruning")


def test_weights_computed_by_a_parametrization_are_counted_each():
    """Computed weights live for a moment only: the next one may take the place in memory of the last."""

    class Doubled(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(6)))
    for layer in model:
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())
    assert COUNTERS["nonzeros"](model) == 6 * 64


@pytest.mark.parametrize(
    ("amount", "limit"),
    [
        ("1500", 1500),
        ("1500B", 1500),
        ("1.5k", 1500),
        ("1.5kB", 1500),
        ("1.5MB", 1_500_000),
        ("2 gb", 2 * 10**9),
        ("1.5KiB", 1536),
        ("1MiB", 2**20),
        ("1GiB", 2**30),
        ("0.0009kB", 0),
        ("33%", 33),
    ],
)
def test_bytes_are_in_powers_of_1000_or_of_1024(amount, limit):
    assert Budget.parse(f"bytes={amount}").limit(100) == limit


@pytest.mark.parametrize(
    ("amount", "nanoseconds"),
    [("2ms", 2_000_000), ("1.5us", 1500), ("0.1 s", 10**8), ("0.0019us", 1), ("33.3%", 333)],
)
def test_latency_is_in_nanoseconds_rounded_down(amount, nanoseconds):
    assert Budget.parse(f"latency={amount}@torch").limit(1001) == nanoseconds


def test_a_latency_says_where_it_is_measured():
    budget = Budget.parse(" latency = 2ms @ onnxruntime:batch=8:threads=2 ")
    assert budget.measured
    assert budget.deployment == Deployment("onnxruntime", batch_size=8, threads=2)
    assert (budget.runtime, budget.batch_size, budget.threads) == ("onnxruntime", 8, 2)
    assert budget.amount * 1000 == 2
    assert str(budget) == "latency=2ms @ onnxruntime:batch=8:threads=2"
    alone = Budget.parse("latency=50%@torch")
    assert (alone.relative, alone.batch_size, alone.threads) == (True, 1, 1)
    counted = Budget.parse("params=5k")
    assert not counted.measured
    assert counted.runtime is counted.batch_size is counted.threads is None


def test_latency_is_not_counted():
    assert "latency" not in COUNTERS
    for ask in (
        lambda: COUNTERS["latency"],
        lambda: Budget.parse("latency=2ms@torch").limit_for(torch.nn.Linear(2, 2)),
        lambda: Architecture.of(models.wide_resnet(depth=10)).scaled_to("latency=2ms@torch"),
    ):
        with pytest.raises(InputError, match="latency is measured on a machine, not counted"):
            ask()


def test_bytes_are_counted_and_bind():
    layer = torch.nn.Linear(3, 2)
    assert COUNTERS["bytes"](layer) == 160
    assert Budget.parse("bytes=50%").limit_for(layer) == 80
    with pytest.raises(InputError, match="must not exceed the network's own size, 160 bytes"):
        Budget.parse("bytes=1kB").limit_for(layer)


@pytest.mark.parametrize("text", ["bytes=50%", "latency=50%@torch"])
def test_what_cannot_be_trained_down_to_is_refused_before_training(text):
    budget, budgets, gated = Budget.parse(text), Budgets.parse(text), ChannelReparametrization.name
    for ask in (
        *([lambda: Settings((budget,))] if budget.measured else []),
        lambda: ChannelReparametrization(budget, steps=1),
        lambda: check_budgets(gated, budgets),
        lambda: arm_alone(None, Subject(None, None, Recipe()), gated, budgets, Sparsity()),
    ):
        with pytest.raises(
            InputError, match=f"a budget in params, nonzeros, macs, got '{text}': ask for"
        ) as error:
            ask()
        assert "\n" not in str(error.value)
    assert all(Budget.parse(f"{resource}=5%").of_trainable("x") for resource in TRAINABLE)


def test_several_budgets_at_once():
    budgets = Budgets.parse("params=500k, latency=2ms@onnxruntime:batch=8:threads=1 ,bytes=1.5MB")
    assert [budget.resource for budget in budgets] == ["params", "latency", "bytes"]
    assert str(budgets) == "params=500k,latency=2ms@onnxruntime:batch=8:threads=1,bytes=1.5MB"
    assert Budgets.parse(str(budgets)) == budgets == Budgets.parse(budgets)
    assert Budgets.parse(["params=5k", Budget.parse("macs=5%")]) == Budgets.parse("params=5k,macs=5%")
    assert Budgets.parse(Budget.parse("macs=5%")) == Budgets.parse("macs=5%")
    assert Budgets.parse("nonzeros=5%")[0].resource == "nonzeros"
    assert hash(budgets)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params=5k,params=25%", "one budget, got 'params=5k,params=25%': keep one for params"),
        ("latency=2ms@torch,latency=3ms@openvino", "keep one for latency"),
        (
            "nonzeros=5%,params=5k",
            "makes no layer smaller, so it cannot hold together .* got 'nonzeros=5%,params",
        ),
        ("macs=5%,nonzeros=5%", "ask for nonzeros alone"),
        ("params=5k,", "RESOURCE=AMOUNT, got ''"),
        ("", "RESOURCE=AMOUNT, got ''"),
        ("params=5k;macs=5k", "got '5k;macs=5k'"),
        ([], "at least one budget is needed, got none"),
    ],
)
def test_budgets_that_do_not_hold_together_are_one_clear_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        Budgets.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "model",
    [
        models.wide_resnet(depth=10, widths=[3, 9, 30]),
        models.resnet18(width=0.125, image_size=[32, 48]),
        models.vgg19(width=0.125),
        models.conv4(width=0.25, in_channels=1, image_size=8),
    ],
    ids=lambda model: model.factory,
)
def test_a_familys_narrowest_network_uses_its_weights_as_often(model):
    """`layer_positions` runs that one in its place; here the network itself is run."""
    example = torch.zeros(1, *model.input_shape)
    state = torch.random.get_rng_state()
    assert layer_positions(model, model.input_shape) == uses_of_weights(model, example)
    assert torch.equal(torch.random.get_rng_state(), state)
