"""Budgets: parsing, rounding, counting, solving."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from secateur import models
from secateur.budget import COUNTERS, Budget, count_macs, count_params, fit_scale, layer_positions
from secateur.errors import InputError


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
    assert Budget.parse("nonzeros=5%").of_nonzeros("x").text == "nonzeros=5%"
    with pytest.raises(InputError, match="must be in nonzeros, got 'macs=5%'"):
        Budget.parse("macs=5%").of_nonzeros("magnitude pruning")


def test_weights_computed_by_a_parametrization_are_counted_each():
    """Computed weights live for a moment only: the next one may take the place in memory of the last."""

    class Doubled(torch.nn.Module):
        def forward(self, weight):
            return 2 * weight

    model = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(6)))
    for layer in model:
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", Doubled())
    assert COUNTERS["nonzeros"](model) == 6 * 64
