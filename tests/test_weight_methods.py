"""Magnitude, random and L1 pruning: which weights stay, by literal values and independent oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.errors import InputError
from secateur.methods import L1, Magnitude, Random
from secateur.methods.l1 import l1_norm
from secateur.network.masks import count_nonzeros, prunable_weights


def two_layers():
    """Weights 1..6 with mixed signs in one layer, ten times smaller in the other."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0, 3.0], [-4.0, 5.0, -6.0]]))
        model[1].weight.copy_(torch.tensor([[0.1, -0.2], [0.3, -0.4], [0.5, -0.6]]))
    return model


def test_magnitude_keeps_the_largest_of_the_whole_network():
    model = Magnitude("nonzeros=4").prepare(two_layers())
    assert model[0].weight.tolist() == [[0.0, 0.0, 3.0], [-4.0, 5.0, -6.0]]
    assert not model[1].weight.any()


def test_magnitude_by_layer_keeps_the_largest_of_each():
    model = Magnitude("nonzeros=4", scope="layer").prepare(two_layers())
    assert model[0].weight.tolist() == [[0.0, 0.0, 0.0], [0.0, 5.0, -6.0]]
    torch.testing.assert_close(model[1].weight, torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.5, -0.6]]))


def test_biases_are_left_alone():
    model = two_layers()
    biases = [layer.bias.clone() for layer in model]
    Magnitude("nonzeros=1").prepare(model)
    assert all(torch.equal(layer.bias, bias) for layer, bias in zip(model, biases, strict=True))


def test_zeros_are_held_through_steps_with_momentum_and_decay():
    model = two_layers()
    method = Magnitude("nonzeros=50%")
    model = method.prepare(model)
    gone = model[0].weight == 0
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.1), lr=0.1, momentum=0.9)
    for _ in range(3):
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()
        model = method.after_step(model, optimizer)
    assert not model[0].weight[gone].any()
    assert count_nonzeros(model) == 6


def test_random_is_uniform_over_the_network_and_repeatable():
    torch.manual_seed(0)
    big = nn.Sequential(nn.Linear(200, 100), nn.Linear(100, 50))
    masks = Random("nonzeros=20%", seed=3).choose(big, 5000)
    again = Random("nonzeros=20%", seed=3).choose(big, 5000)
    other = Random("nonzeros=20%", seed=4).choose(big, 5000)
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    assert not torch.equal(masks["0"], other["0"])
    # 20% of each layer: a hypergeometric count, within 6 standard deviations
    assert abs(int(masks["0"].sum()) - 4000) < 6 * (25000 * 0.2 * 0.8) ** 0.5


def test_random_with_magnitudes_proportions_keeps_as_many_of_every_layer_but_others():
    model = sc.models.conv4(width=0.25, in_channels=1, image_size=8)
    keep = 2000
    chosen = Random("nonzeros=2k", scope="magnitude").choose(model, keep)
    flat = np.sort(
        np.concatenate([w.detach().abs().numpy().ravel() for w in prunable_weights(model).values()])
    )
    threshold = flat[-keep]
    for name, weight in prunable_weights(model).items():
        largest = weight.detach().abs() >= float(threshold)
        assert int(chosen[name].sum()) == int(largest.sum())
    assert not torch.equal(chosen["fc1"], prunable_weights(model)["fc1"].detach().abs() >= float(threshold))


def test_l1_adds_the_sum_of_absolute_weights():
    model = two_layers()
    assert float(l1_norm(model).detach()) == pytest.approx(21 + 2.1)
    penalty = L1("nonzeros=50%", strength=0.01).penalty(model)
    assert float(penalty.detach()) == pytest.approx(0.231)
    penalty.backward()
    assert torch.equal(model[0].weight.grad, 0.01 * model[0].weight.detach().sign())
    assert model[0].bias.grad is None


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Magnitude("params=5%"), "magnitude sets weights to zero"),
        (lambda: Magnitude("nonzeros=5%", scope="block"), "block"),
        (lambda: Random("nonzeros=5%", scope="layer"), "layer"),
        (lambda: Random("macs=5%"), "must be in nonzeros or bytes, got 'macs=5%'"),
        (lambda: L1("nonzeros=5%", strength=-1), "at least 0, got -1"),
    ],
)
def test_bad_arguments_are_named(make, part):
    with pytest.raises(InputError) as caught:
        make()
    assert part in str(caught.value)
