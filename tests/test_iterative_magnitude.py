"""Iterative magnitude pruning with rewinding: rounds, shares, what is rewound; against a loop of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from secateur.budget import Budget
from secateur.compare.arms import ARMS
from secateur.compare.settings import Settings
from secateur.errors import InputError
from secateur.methods import IterativeMagnitude
from secateur.methods.iterative_magnitude import (
    Config,
    kept_after,
    place_in_round,
    rewinding_step,
    round_ends,
)
from secateur.network.masks import count_nonzeros, keep_largest
from secateur.training.recipe import Recipe
from secateur.training.state import Progress


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 4))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=order), torch.randint(4, (16,), generator=order)


def step_of(model, optimizer, step, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate
    x, y = batch(step)
    F.cross_entropy(model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()


def fresh(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def test_rounds_by_hand():
    """40 steps, two rounds, k = 4: T + 2 (T - 4) = 40, T = 16. Prunes at 16 and 28, each from 4 on again."""
    config = Config(rounds=2, rewind=0.25)
    assert rewinding_step(40, config) == 4
    assert round_ends(40, config) == [16, 28]
    places = [place_in_round(step, 40, config) * 16 for step in (0, 15, 16, 27, 28, 39)]
    assert places == pytest.approx([0, 15, 4, 15, 4, 15])
    assert [kept_after(done, config, 4, 100) for done in (0, 1, 2)] == [100, 20, 4]


@given(st.integers(1, 500), st.integers(1, 6), st.floats(0, 0.9))
def test_all_rounds_but_for_rounding_have_as_many_steps(steps, rounds, rewind):
    config = Config(rounds=rounds, rewind=rewind)
    k, ends = rewinding_step(steps, config), round_ends(steps, config)
    assert len(ends) == rounds
    assert 0 <= k <= ends[0]
    lengths = [end - begin for begin, end in zip([k, *ends], [*ends, steps], strict=True)]
    assert max(lengths) - min(lengths) <= 1
    assert all(0 <= place_in_round(step, steps, config) <= 1 for step in range(steps + 1))


@given(st.integers(1, 8), st.integers(1, 10**6), st.floats(0, 1))
def test_every_round_takes_the_same_share(rounds, covered, share):
    config, target = Config(rounds=rounds), round(share * covered)
    kept = [kept_after(done, config, target, covered) for done in range(rounds + 1)]
    assert kept[0] == covered
    assert kept[-1] == target
    assert kept == sorted(kept, reverse=True)
    for done in range(rounds + 1):
        assert kept[done] == pytest.approx(covered * (target / covered) ** (done / rounds), abs=1)


def test_it_is_the_reference():
    """Against rounds of a loop of its own, with a fresh optimizer and the schedule from k on in each."""
    steps, config = 40, Config(rounds=2, rewind=0.25)

    def rate(place: float) -> float:
        return 0.1 * (1 - place)

    method = IterativeMagnitude("nonzeros=20", steps=steps, rounds=2, rewind=0.25)
    model = method.prepare(network())
    optimizer = fresh(model)
    for step in range(steps):
        step_of(model, optimizer, step, rate(method.schedule_place))
        model = method.after_step(model, optimizer)
    trained = method.finalize(model)

    model, seen = network(), 0
    masks = {name: torch.ones_like(model.get_submodule(name).weight, dtype=torch.bool) for name in ("0", "3")}
    early = None
    for length, keep in ((16, 45), (12, 20), (12, None)):
        optimizer = fresh(model)
        first = 16 - length
        for position in range(first, 16):
            step_of(model, optimizer, seen, rate(position / 16))
            seen += 1
            with torch.no_grad():
                for name, mask in masks.items():
                    model.get_submodule(name).weight.mul_(mask)
            if seen == 4:
                early = {name: value.clone() for name, value in model.state_dict().items()}
        if keep is not None:
            assert keep == kept_after({45: 1, 20: 2}[keep], config, 20, 100)
            scores = {
                name: model.get_submodule(name).weight.detach().abs().masked_fill(~mask, -1)
                for name, mask in masks.items()
            }
            masks = keep_largest(scores, keep, dict.fromkeys(masks, 1))
            model.load_state_dict(early)
            with torch.no_grad():
                for name, mask in masks.items():
                    model.get_submodule(name).weight.mul_(mask)
    assert seen == steps
    for (name, one), two in zip(model.state_dict().items(), trained.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6, msg=name)
    assert count_nonzeros(trained) == 20


def test_no_layer_is_emptied():
    """By size alone the first layer had nothing left."""
    model = network()
    with torch.no_grad():
        model[0].weight.mul_(1e-3)
    method = IterativeMagnitude("nonzeros=5", steps=3, rounds=1, rewind=0.0)
    model = method.finalize(method.prepare(model))
    assert [int(model[i].weight.count_nonzero()) for i in (0, 3)] == [1, 4]


def test_a_rate_has_its_place_in_the_schedule():
    recipe = Recipe(epochs=12, lr=0.1, schedule="cosine", warmup=1)
    progress = Progress(epoch=6)
    assert progress.lr(recipe, 0.5) == pytest.approx(0.05)
    assert progress.lr(recipe, 0.5, place=0.0) == pytest.approx(0.1)
    assert progress.lr(recipe, 0.5, place=1.0) == pytest.approx(0.0)
    assert Progress().lr(recipe, 0.5, place=0.0) == pytest.approx(0.05)  # warming up


def test_a_round_without_a_step_is_refused_before_training():
    with pytest.raises(
        InputError, match=r"makes 4 trainings of all steps, each of at least 1, got steps=3: "
    ):
        IterativeMagnitude("nonzeros=5", steps=3).prepare(network())
    IterativeMagnitude("nonzeros=5", steps=4).prepare(network())


def test_an_average_of_weights_is_refused():
    settings = Settings((Budget.parse("nonzeros=5%"),), recipe=Recipe(ema=0.99))
    with pytest.raises(InputError, match=r"goes back to early weights, .* got --ema 0\.99: leave it out"):
        ARMS["iterative-magnitude"].check_settings(settings)


@pytest.mark.parametrize(("rounds", "rewind"), [(0, 0.1), (1, 1.0), (1, -0.1)])
def test_settings_that_make_no_sense_are_refused(rounds, rewind):
    with pytest.raises(InputError, match=r"iterative magnitude pruning: r.* must"):
        IterativeMagnitude("nonzeros=5", steps=9, rounds=rounds, rewind=rewind)
