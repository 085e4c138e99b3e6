"""SNIP: connection sensitivity against masks that are really multiplied; what scoring leaves untouched."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import secateur as sc
from secateur.data import epoch_batches
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import SNIP, Method
from secateur.methods.snip import connection_sensitivity, loss_gradients, saliency
from secateur.network.masks import count_nonzeros, prunable_weights
from secateur.progress import Reporter
from secateur.training.loop import Training
from secateur.training.recipe import Recipe


def network(dtype=torch.float32):
    torch.manual_seed(3)
    return sc.models.wide_resnet(depth=10, width=0.25, in_channels=1, image_size=8).to(dtype)


def some_batches(digits, size=32, dtype=torch.float32):
    order = torch.Generator().manual_seed(5)
    batches = epoch_batches(digits.train, digits, batch_size=size, device="cpu", generator=order)
    return [(x.to(dtype), y) for x, y in batches]


def sensitivities(model, batches):
    gradients = loss_gradients(model, batches)
    return {
        name: connection_sensitivity(w.detach(), gradients[name])
        for name, w in prunable_weights(model).items()
    }


def masked_loss(model, c, x, y):
    """L(c * w): the masks are multiplied into the weights; batch normalisation by the batch."""
    model = copy.deepcopy(model).train()
    weights = {f"{name}.weight": c[name] * w.detach() for name, w in prunable_weights(model).items()}
    return F.cross_entropy(functional_call(model, weights, (x,)), y)


def ones_like_weights(model):
    return {name: torch.ones_like(w) for name, w in prunable_weights(model).items()}


def test_sensitivity_is_the_derivative_with_respect_to_a_multiplied_mask(digits):
    model = network(torch.float64)
    ((x, y), *_) = some_batches(digits, dtype=torch.float64)
    c = {name: mask.requires_grad_() for name, mask in ones_like_weights(model).items()}
    expected = torch.autograd.grad(masked_loss(model, c, x, y), list(c.values()))
    for name, one in zip(c, expected, strict=True):
        torch.testing.assert_close(sensitivities(model, [(x, y)])[name], one, rtol=1e-9, atol=1e-14)


def test_sensitivity_agrees_with_finite_differences_of_the_mask(digits):
    """Central differences of L in c_j, at the most and the least sensitive connection of every layer."""
    model, h = network(torch.float64), 1e-5
    ((x, y), *_) = some_batches(digits, dtype=torch.float64)
    found = sensitivities(model, [(x, y)])
    scale = max(float(g.abs().max()) for g in found.values())
    for name, g in found.items():
        for j in (int(g.abs().argmax()), int(g.abs().argmin())):
            losses = []
            for step in (h, -h):
                c = ones_like_weights(model)
                c[name].view(-1)[j] += step
                losses.append(float(masked_loss(model, c, x, y).detach()))
            difference = (losses[0] - losses[1]) / (2 * h)
            assert float(g.flatten()[j]) == pytest.approx(difference, rel=1e-4, abs=1e-6 * scale)


def test_by_hand():
    """softmax([0, 0]) = [1/2, 1/2], so dL/dz = [-1/2, 1/2] for label 0, and dL/dw = dL/dz x^T."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0], [1.0, -0.5]]))  # times [1, 2] is [0, 0]
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([0])
    g = sensitivities(layer, [(x, y)])
    assert g[""].tolist() == [[-1.0, 1.0], [0.5, -0.5]]
    s = saliency(g)[""]
    torch.testing.assert_close(s, torch.tensor([[2.0, 2.0], [1.0, 1.0]]) / 6)
    assert SNIP("nonzeros=2").prepare(layer, [(x, y)]).weight.tolist() == [[2.0, -1.0], [0.0, 0.0]]


def test_exactly_the_most_salient_of_the_whole_network_stay(digits):
    model, batches = network(), some_batches(digits)
    before = {name: w.detach().clone() for name, w in prunable_weights(model).items()}
    scores = saliency(sensitivities(model, batches[:1]))
    flat = np.concatenate([s.numpy().ravel() for s in scores.values()])
    assert flat.sum() == pytest.approx(1, abs=1e-5)
    keep = round(0.05 * len(flat))
    threshold = np.sort(flat)[-keep]
    SNIP("nonzeros=5%").prepare(model, batches)
    assert count_nonzeros(model) == keep
    for name, w in prunable_weights(model).items():
        assert torch.equal(w, torch.where(scores[name] >= float(threshold), before[name], 0.0))


def test_several_batches_are_one_mean_before_the_absolute_value(digits):
    """Conv4 has no batch normalisation, so 300 images in batches of 64 (the last of 14) are one batch."""
    torch.manual_seed(0)
    model = sc.models.conv4(width=0.25, in_channels=1, image_size=8).double()
    batches = some_batches(digits, 64, torch.float64)
    assert len({len(y) for _, y in batches}) == 2
    whole = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    for part, one in zip(
        loss_gradients(model, batches).values(), loss_gradients(model, whole).values(), strict=True
    ):
        torch.testing.assert_close(part, one, rtol=1e-10, atol=1e-16)
    chosen = [
        SNIP("nonzeros=1%", batches=n).choose(model, 300, given)
        for n, given in ((5, batches), (1, whole), (1, batches))
    ]
    assert all(torch.equal(mask, chosen[1][name]) for name, mask in chosen[0].items())
    assert any(not torch.equal(mask, chosen[2][name]) for name, mask in chosen[0].items())


class Dropping(nn.Module):
    """Batch normalisation, dropout, a frozen layer and one that is never used."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 12).requires_grad_(False)
        self.norm = nn.BatchNorm1d(12)
        self.last = nn.Linear(12, 10)
        self.idle = nn.Linear(3, 3)

    def forward(self, x):
        return self.last(F.dropout(F.relu(self.norm(self.first(x.flatten(1)))), 0.5, self.training))


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_everything_as_it_was(digits, training):
    model = Dropping().train(training)
    model.norm.eval()
    model.last.weight.grad = torch.ones_like(model.last.weight)
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    masks = SNIP("nonzeros=20%").choose(model, 100, some_batches(digits))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert (model.training, model.norm.training, model.last.training) == (training, False, training)
    assert torch.equal(model.last.weight.grad, torch.ones_like(model.last.weight))
    assert model.first.weight.grad is None
    assert not model.first.weight.requires_grad
    assert masks["first"].any()
    assert not masks["idle"].any()
    again = SNIP("nonzeros=20%").choose(model, 100, some_batches(digits))
    assert all(torch.equal(mask, again[name]) for name, mask in masks.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision(digits, dtype):
    """Scores are those of the same values in float32 or better: gradients of 1e-7 are not rounded to 0."""
    model = network(dtype)
    wide = network(dtype).to(torch.promote_types(dtype, torch.float32))
    batches = some_batches(digits)
    keep = round(0.05 * sum(w.numel() for w in prunable_weights(model).values()))
    method = SNIP("nonzeros=5%")
    with torch.autocast("cpu", torch.bfloat16):
        model = method.prepare(model, batches)
    assert count_nonzeros(model) == keep
    assert {p.dtype for p in model.parameters()} == {dtype}
    expected = SNIP("nonzeros=5%").choose(wide, keep, batches)
    assert all(torch.equal(mask, expected[name]) for name, mask in method.tensors().items())


class Recorded(Method):
    """Keeps what it is handed, and looks at it when asked."""

    def prepare(self, model, batches=None):
        self.batches = batches
        return model


def training(digits, method, seed=0):
    recipe = Recipe(epochs=1, batch_size=64, lr=0.05)
    return Training(
        network(), digits, recipe, seed=seed, runtime=Runtime("cpu"), reporter=Reporter(), method=method
    )


def test_training_hands_over_plain_batches_of_its_split_by_the_seed(digits, monkeypatch):
    taken = []

    def counted(*args, **kwargs):
        taken.append(kwargs)
        return epoch_batches(*args, **kwargs)

    monkeypatch.setattr("secateur.training.batches.epoch_batches", counted)
    first, again, other = Recorded(), Recorded(), Recorded()
    for method, seed in ((first, 0), (again, 0), (other, 1)):
        training(digits, method, seed)
    assert not taken  # nothing is drawn for a method that does not look
    (x, y), (x2, y2), (x3, _) = (next(iter(method.batches)) for method in (first, again, other))
    assert torch.equal(x, x2)
    assert torch.equal(y, y2)
    assert not torch.equal(x, x3)
    assert x.shape == (64, 1, 8, 8)
    assert all(kwargs.get("augmentation") is None for kwargs in taken)
    plain = next(epoch_batches(digits.train, digits, batch_size=len(digits.train), device="cpu"))[0]
    assert all((image == plain).all(dim=(1, 2, 3)).any() for image in x)


def test_the_same_seed_cuts_the_same_connections(digits):
    masks = [training(digits, SNIP("nonzeros=5%"), seed).method.tensors() for seed in (0, 0, 1)]
    assert all(torch.equal(mask, masks[1][name]) for name, mask in masks[0].items())
    assert any(not torch.equal(mask, masks[2][name]) for name, mask in masks[0].items())


def test_a_resumed_run_has_the_checkpoints_mask(digits):
    """Also where scoring anew would have chosen otherwise."""
    first, second = SNIP("nonzeros=5%"), SNIP("nonzeros=5%")
    first.prepare(network(), some_batches(digits))
    second.prepare(network(), some_batches(digits)[1:])
    assert any(not torch.equal(mask, second.tensors()[name]) for name, mask in first.tensors().items())
    second.restore(first.state(), first.tensors())
    assert all(torch.equal(mask, second.tensors()[name]) for name, mask in first.tensors().items())


def test_identity():
    assert SNIP("nonzeros=5%", batches=2).identity() == {"method": "snip", "scope": "global", "batches": 2}


def dead():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(model[1].weight)
    return model


@pytest.mark.parametrize(
    ("attempt", "part"),
    [
        (lambda given: SNIP("nonzeros=5%").prepare(network()), "got 0: call prepare(model, batches)"),
        (lambda given: SNIP("nonzeros=5%", batches=9).prepare(network(), given[:2]), "on 9 of the batches"),
        (lambda given: SNIP("nonzeros=5%", batches=0), "at least 1 batch is needed"),
        (lambda given: SNIP("params=5%"), "must be in nonzeros or bytes, got 'params=5%'"),
        (lambda given: SNIP("nonzeros=5%").prepare(dead(), given), "a finite number above 0, got 0"),
        (
            lambda given: SNIP("nonzeros=5%").prepare(network(), [(given[0][0] * torch.nan, given[0][1])]),
            "a finite number above 0, got nan",
        ),
    ],
)
def test_bad_input_is_one_line(digits, attempt, part):
    with pytest.raises(InputError) as caught:
        attempt(some_batches(digits))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
