"""RigL, SET and GraNet: what goes and what comes, by hand and against loops of their own."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from secateur.budget import Limits
from secateur.errors import InputError
from secateur.methods import SET, GraNet, RigL
from secateur.methods.dense_gradients import DenseGradients
from secateur.methods.layer_shares import layer_counts
from secateur.methods.regrowth import drop_share, dropped, exchanged, grown
from secateur.methods.sparse_evolutionary import nearest_zero
from secateur.network.masks import count_nonzeros
from small_network import batch, network

EXCHANGING = [RigL, SET]
ALL = [*EXCHANGING, GraNet]


def sgd(parameters) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def train(method, steps, model=None, watch=lambda model, optimizer: None, make=sgd, to_none=True, parts=1):
    """A user's own loop; `watch` sees the network after every step."""
    model = method.prepare(network() if model is None else model)
    optimizer = make(model.parameters())
    for step in range(steps):
        x, y = batch(step)
        for part in range(parts):
            (F.cross_entropy(model(x[part::parts]), y[part::parts]) / parts).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=to_none)
        model = method.after_step(model, optimizer)
        watch(model, optimizer)
    return model


def weights(model) -> dict[str, torch.Tensor]:
    return {name: model.get_submodule(name).weight.detach() for name in ("0", "2")}


def test_the_drop_share_by_hand():
    """alpha/2 (1 + cos(pi/3)) = 0.15 * 1.5 at a third of the way."""
    found = [drop_share(step, 90, 0.3) for step in (0, 30, 45, 90, 91)]
    assert found == pytest.approx([0.3, 0.225, 0.15, 0.0, 0.0])


def test_the_smallest_go_and_those_of_largest_gradient_come():
    weight = torch.tensor([3.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    mask = torch.tensor([True, True, True, False, False, False])
    gone = dropped(weight, mask, 2)
    assert gone.tolist() == [False, True, True, False, False, False]
    score = torch.tensor([9.0, 0.2, 0.3, 0.1, 0.4, 0.0])  # 9 is of one that is there
    assert grown(score, mask, gone, 2).tolist() == [False, False, True, False, True, False]
    assert exchanged(weight, mask, score, 0.67).tolist() == [True, False, True, False, True, False]


def test_what_has_no_gradient_is_not_grown():
    mask = torch.tensor([True, True, False, False])
    gone = torch.tensor([True, True, False, False])
    assert grown(torch.tensor([0.0, 0.0, 0.0, 5.0]), mask, gone, 2).tolist() == [True, False, False, True]


@given(st.integers(1, 30), st.integers(0, 30), st.floats(0, 0.99), st.integers(0, 9))
def test_a_layer_keeps_its_number_whatever_is_exchanged(size, kept, share, seed):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randperm(size, generator=generator) < kept
    weight = torch.randn(size, generator=generator) * mask
    score = torch.randn(size, generator=generator).relu()
    after = exchanged(weight, mask, score, share)
    assert int(after.sum()) == int(mask.sum())
    assert int((mask & ~after).sum()) <= int(share * int(mask.sum()))
    assert not bool((after & ~mask & (score == 0)).any())


def test_of_set_each_sign_loses_its_share():
    weight = torch.tensor([4.0, 1.0, 2.0, 3.0, -0.1, -5.0, 0.0])
    mask = torch.tensor([True] * 6 + [False])
    assert nearest_zero(weight, mask, 0.5).tolist() == [False, True, True, False, True, False, False]


def test_rigl_is_the_reference():
    """Against a loop of its own: autograd of the dense network, numpy's sort, updates undone by hand."""
    steps, every, alpha = 40, 5, 0.5
    method = RigL("nonzeros=30", steps=steps, every=every, drop=alpha, end=0.75, seed=5)
    begin = method.prepare(network())
    masks = {name: mask.clone() for name, mask in method.tensors().items()}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"0": 16, "2": 14}  # 16 to 14
    model = network()
    optimizer = sgd(model.parameters())
    layers = {name: model.get_submodule(name) for name in masks}
    with torch.no_grad():
        for name, layer in layers.items():
            layer.weight.mul_(masks[name])
    changed = 0
    for step in range(1, steps + 1):
        x, y = batch(step - 1)
        F.cross_entropy(model(x), y).backward()
        dense = {name: layer.weight.grad.abs().numpy().ravel().copy() for name, layer in layers.items()}
        for name, layer in layers.items():
            layer.weight.grad.mul_(masks[name])
        optimizer.step()
        optimizer.zero_grad()
        if step % every == 0 and step < 30:
            share = alpha / 2 * (1 + np.cos(step * np.pi / 30))
            for name, layer in layers.items():
                old = masks[name].numpy().ravel()
                size = np.where(old, layer.weight.detach().abs().numpy().ravel(), np.inf)
                count = int(share * old.sum())
                kept = old.copy()
                kept[np.argsort(size, kind="stable")[:count]] = False
                score = np.where(kept, -1.0, dense[name])
                new = kept.copy()
                new[np.argsort(-score, kind="stable")[:count]] = True
                changed += int((new & ~old).sum())
                masks[name] = torch.from_numpy(new).view_as(masks[name])
                with torch.no_grad():
                    layer.weight.mul_(masks[name])
                    buffer = optimizer.state[layer.weight]["momentum_buffer"]
                    buffer.mul_(masks[name] & torch.from_numpy(old).view_as(masks[name]))
    trained = train(RigL("nonzeros=30", steps=steps, every=every, drop=alpha, end=0.75, seed=5), steps)
    assert changed > 10
    assert count_nonzeros(begin) == 30
    for one, two in zip(model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", EXCHANGING)
@pytest.mark.parametrize("make", [sgd, lambda parameters: torch.optim.AdamW(parameters, lr=0.02)])
def test_never_more_than_the_budget_and_others_stay_zero(kind, make):
    method = kind("nonzeros=30", steps=60, every=4)
    there, counts = [], []

    def watch(model, optimizer):
        masks = method.tensors()
        there.append(torch.cat([mask.flatten() for mask in masks.values()]))
        counts.append([int(mask.sum()) for mask in masks.values()])
        for name, weight in weights(model).items():
            assert not bool(weight[~masks[name]].any())
            for value in optimizer.state[model.get_submodule(name).weight].values():
                if value.shape == weight.shape:
                    assert not bool(value[~masks[name]].any())

    model = train(method, 60, watch=watch, make=make)
    shares = layer_counts({"0": (10, 6), "2": (4, 10)}, 30, "erk")
    assert counts == [list(shares.values())] * 60
    moved = [not torch.equal(one, two) for one, two in pairwise(there)]
    assert sum(moved) >= 5
    assert not any(moved[44:])  # from 0.75 * 60 on
    assert count_nonzeros(method.finalize(model)) == 30


@pytest.mark.parametrize("kind", ALL)
def test_what_is_new_has_no_momentum(kind):
    method = kind("nonzeros=30", steps=60, every=5)
    before, seen = {}, []

    def watch(model, optimizer):
        for name, mask in method.tensors().items():
            new = mask & ~before.get(name, mask)
            buffer = optimizer.state[model.get_submodule(name).weight]["momentum_buffer"]
            assert not bool(buffer[new].any())
            seen.append(int(new.sum()))
            if bool(new.any()):
                value = weights(model)[name][new]
                assert bool(value.any()) == (kind is SET)  # by lot; the others begin at 0
        before.update({name: mask.clone() for name, mask in method.tensors().items()})

    train(method, 60, watch=watch)
    assert sum(seen) > 5


@pytest.mark.parametrize("parts", [1, 2])
def test_the_gradient_is_the_dense_ones_and_outlives_zero_grad(parts):
    model, masks = network(), {}
    asked = [True]
    gradients = DenseGradients(lambda: masks, lambda: asked[0], "a method")
    masks.update({name: torch.rand(w.shape) < 0.3 for name, w in weights(model).items()})
    with torch.no_grad():
        for name, weight in weights(model).items():
            weight.mul_(masks[name])
    gradients.attach(model)
    x, y = batch(0)
    layers = [model[0].weight, model[2].weight]
    expected = torch.autograd.grad(F.cross_entropy(model(x), y), layers)
    for part in range(parts):
        (F.cross_entropy(model(x[part::parts]), y[part::parts]) / parts).backward()
    for layer, mask, whole in zip(layers, masks.values(), expected, strict=True):
        torch.testing.assert_close(layer.grad, whole * mask)
    torch.optim.SGD(model.parameters()).zero_grad(set_to_none=False)
    for found, whole in zip(gradients.of_step(model).values(), expected, strict=True):
        torch.testing.assert_close(found, whole.abs())
    with pytest.raises(InputError, match="a method grows weights by their gradient, and the last step had"):
        gradients.of_step(model)
    F.cross_entropy(model(x) * torch.inf, y).backward()
    assert gradients.of_step(model) is None
    asked[0] = False
    F.cross_entropy(model(x), y).backward()
    assert not gradients._found
    gradients.release()
    assert not any(layer._post_accumulate_grad_hooks for layer in layers)


@pytest.mark.parametrize("kind", [RigL, GraNet])
def test_no_hook_is_left(kind):
    method = kind("nonzeros=30", steps=20, every=3)
    model = method.finalize(train(method, 20))
    assert not any(layer.weight._post_accumulate_grad_hooks for layer in (model[0], model[2]))


def test_of_several_backward_passes_and_of_one_the_same_masks_come():
    found = []
    for parts, to_none in ((1, True), (1, False), (2, True)):
        method = RigL("nonzeros=30", steps=12, every=3)
        train(method, 12, parts=parts, to_none=to_none)
        found.append(torch.cat([mask.flatten() for mask in method.tensors().values()]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_set_draws_anew_with_another_seed():
    def drawn(seed):
        method = SET("nonzeros=30", steps=20, every=3, seed=seed)
        train(method, 20)
        return torch.cat([mask.flatten() for mask in method.tensors().values()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_granet_follows_the_schedule_and_lets_weights_come_back():
    method = GraNet("nonzeros=30", steps=60, every=3)
    there, counts = [], []

    def watch(model, optimizer):
        there.append(torch.cat([mask.flatten() for mask in method.tensors().values()]))
        counts.append(int(there[-1].sum()))
        masks = method.tensors()
        assert all(not bool(weight[~masks[name]].any()) for name, weight in weights(model).items())

    model = train(method, 60, watch=watch)
    assert counts == sorted(counts, reverse=True)
    assert counts[:6] == [100] * 6
    assert counts[41:] == [30] * 19  # from 0.7 * 60 on
    back = [bool((two & ~one).any()) for one, two in pairwise(there)]
    assert any(back[:41])
    assert any(back[42:])
    assert not any(back[57:])  # what would come now could not be trained any more
    assert count_nonzeros(method.finalize(model)) == 30


@pytest.mark.parametrize("kind", ALL)
def test_state_comes_back_as_json(kind):
    method = kind("nonzeros=30", steps=40, every=4)
    train(method, 20)
    other = kind("nonzeros=50%", steps=40, every=4)
    other.prepare(network())
    other.restore(json.loads(json.dumps(method.state())), method.tensors())
    assert other.limits == method.limits == Limits.at({"nonzeros": 30})
    assert other.progress() == method.progress()
    assert other.state() == method.state()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RigL("nonzeros=5%", steps=0), "rigl: at least 1 optimizer step is needed"),
        (lambda: RigL("nonzeros=5%", steps=9, drop=1.0), r"drop must lie in \(0, 1\), got 1.0"),
        (lambda: SET("nonzeros=5%", steps=9, every=0), "every must be at least 1 step, got 0"),
        (lambda: SET("nonzeros=5%", steps=9, end=0.0), r"end must lie in \(0, 1\], got 0"),
        (lambda: GraNet("nonzeros=5%", steps=9, regenerate=1.0), r"granet: regenerate must lie in \(0, 1\)"),
        (lambda: RigL("macs=5%", steps=9), "its budget must be in nonzeros or bytes, got 'macs=5%'"),
        (lambda: RigL("nonzeros=101", steps=9), "must not exceed the network's own size"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make().prepare(network())


def test_a_weight_that_is_computed_is_refused():
    model = network()
    nn.utils.parametrizations.weight_norm(model[0])
    with pytest.raises(InputError, match=r"rigl: '0.weight' is parametrized already"):
        RigL("nonzeros=5", steps=9).prepare(model)


def test_defaults_are_the_papers_but_for_the_cadence():
    assert RigL("nonzeros=5%", steps=9).identity() == {
        **{"method": "rigl", "drop": 0.3, "every": 20, "end": 0.75, "seed": 0},
    }
