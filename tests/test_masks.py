"""Masks against numpy's sort, with literal values for ties and shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from secateur.methods.magnitude import Magnitude
from secateur.network.masks import (
    apply_masks,
    count_nonzeros,
    keep_largest,
    prunable_weights,
    shares,
)
from secateur.network.weights import count_weights


def keep_largest_per_layer(scores, keep):
    return Magnitude("nonzeros=1%", scope="layer").sharing.choose(scores, keep)


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def test_convolutions_and_linear_layers_are_covered_and_nothing_else():
    model = network()
    assert {name: tuple(w.shape) for name, w in prunable_weights(model).items()} == {
        "0": (4, 1, 3, 3),
        "4": (3, 16),
    }
    assert count_weights(model) == 36 + 48


def test_a_shared_weight_is_covered_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert list(prunable_weights(model)) == ["0"]
    assert count_weights(model) == 9


def test_the_largest_of_all_layers_stay():
    scores = {"a": torch.tensor([[5.0, 1.0], [0.5, 2.0]]), "b": torch.tensor([3.0, 0.1])}
    masks = keep_largest(scores, 3)
    assert masks["a"].tolist() == [[True, False], [False, True]]
    assert masks["b"].tolist() == [True, False]


def test_ties_go_to_the_entry_that_comes_first():
    masks = keep_largest({"a": torch.ones(3), "b": torch.tensor([1.0, 2.0])}, 3)
    assert masks["a"].tolist() == [True, True, False]
    assert masks["b"].tolist() == [False, True]


def test_every_layer_keeps_its_share():
    scores = {"a": torch.arange(10.0), "b": torch.arange(100.0, 130.0)}
    masks = keep_largest_per_layer(scores, 4)
    assert masks["a"].nonzero().flatten().tolist() == [9]
    assert masks["b"].nonzero().flatten().tolist() == [27, 28, 29]


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [([10, 10, 30], 6, [1, 1, 4]), ([3, 3, 3], 2, [1, 1, 0]), ([7], 0, [0]), ([2, 5], 7, [2, 5])],
)
def test_shares(sizes, total, expected):
    assert shares(sizes, total) == expected


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(0, 1), st.integers(0, 5))
def test_exactly_so_many_are_kept_and_none_is_smaller_than_one_that_goes(sizes, share, levels):
    generator = torch.Generator().manual_seed(sum(sizes))
    scores = {
        str(i): torch.randint(0, levels + 1, (size,), generator=generator).float()
        for i, size in enumerate(sizes)
    }
    keep = round(share * sum(sizes))
    masks = keep_largest(scores, keep)
    flat = np.concatenate([score.numpy() for score in scores.values()])
    kept = np.concatenate([mask.numpy() for mask in masks.values()])
    assert kept.sum() == keep
    assert sorted(flat[kept]) == sorted(flat)[len(flat) - keep :]
    layered = keep_largest_per_layer(scores, keep)
    assert sum(int(mask.sum()) for mask in layered.values()) == keep


def test_masked_weights_are_zero_and_the_others_untouched():
    model = network()
    before = {name: weight.detach().clone() for name, weight in prunable_weights(model).items()}
    masks = keep_largest({name: weight.abs() for name, weight in before.items()}, 21)
    apply_masks(model, masks)
    for name, weight in prunable_weights(model).items():
        assert torch.equal(weight[masks[name]], before[name][masks[name]])
        assert not weight[~masks[name]].any()
    assert count_nonzeros(model) == 21


def test_a_floor_keeps_a_layer_alive():
    scores = {"a": torch.tensor([0.1, 0.3, 0.2]), "b": torch.tensor([9.0, 8.0, 7.0, 6.0])}
    assert not keep_largest(scores, 3)["a"].any()
    masks = keep_largest(scores, 3, {"a": 1})
    assert masks["a"].tolist() == [False, True, False]
    assert masks["b"].tolist() == [True, True, False, False]


@given(st.integers(0, 12), st.integers(0, 4), st.integers(0, 3))
def test_floors_are_kept_and_the_sum_is_exact(more, low, other):
    generator = torch.Generator().manual_seed(more)
    scores = {"a": torch.rand(9, generator=generator), "b": torch.rand(7, generator=generator) + 1}
    keep = min(16, low + other + more)
    masks = keep_largest(scores, keep, {"a": low, "b": other})
    assert sum(int(mask.sum()) for mask in masks.values()) == keep
    assert int(masks["a"].sum()) >= low
    for name, mask in masks.items():  # within a layer it is always the largest
        assert not mask.any() or scores[name][mask].min() >= max(scores[name][~mask].tolist(), default=0)
