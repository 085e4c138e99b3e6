"""What runs only in training is found, cut with the rest and proved; chance makes no proof random."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError
from secateur.surgery.quiet import how_it_trains, quiet_training, without_chance
from secateur.surgery.tracing import trace

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.Conv2d(8, 8, 1),
        )
        self.fc = nn.Linear(8, 3)

    def head(self, h):
        return self.fc(F.relu(self.c(h)).mean((2, 3)))

    def trunk(self, x):
        return F.relu(self.b(F.relu(self.a(x))))


class Auxiliary(Trunk):
    """GoogLeNet's: a second head, with a layer of its own, while training."""

    def __init__(self):
        super().__init__()
        self.aux, self.out = nn.Conv2d(8, 7, 1), nn.Linear(7, 3)

    def forward(self, x):
        h = self.trunk(x)
        if self.training:
            return self.head(h), self.out(F.relu(self.aux(h)).mean((2, 3)))
        return self.head(h)


class Skipped(Trunk):
    """A block that evaluation leaves out, in the middle of the trunk."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        h = self.trunk(x)
        return self.head(h + self.noise(h) if self.training else h)


class Flipped(Trunk):
    """In training the channels come in another order: no cut of them is right in both modes."""

    def forward(self, x):
        h = self.trunk(x)
        return self.head(h.flip(1) if self.training else h)


class Dropped(Trunk):
    """Dropout and drop path as functions, a skipped block, and chance of Python's own."""

    def forward(self, x):
        h = F.dropout(self.trunk(x), 0.5, self.training)
        if self.training:
            h = h * h.new_empty(len(h), 1, 1, 1).bernoulli_(0.8).div_(0.8)
        if self.training and random.random() < 0.5:
            h = h * (0.5 + torch.rand(()).floor())
        return self.head(h)


def both_modes(model):
    return [output for mode in (False, True) for output in [model.train(mode)(IMAGES)]]


def shapes(output):
    return [tuple(each.shape) for each in (output if isinstance(output, tuple) else (output,))]


def test_a_head_that_runs_in_training_alone_is_cut_with_the_trunk():
    graph = sc.inspect(Auxiliary(), IMAGES).graph
    assert {name: group.width for name, group in graph.groups.items()} == {"a": 6, "b": 8, "c": 8, "aux": 7}
    assert graph.groups["b"].modules == ("b", "c", "aux")
    assert graph.groups["aux"].modules == ("aux", "out")


@pytest.mark.parametrize("kind", [Auxiliary, Skipped, Flipped, Dropped])
@pytest.mark.parametrize("method", ["fisher", "filter-norm"])
def test_it_trains_on_after_every_cut(kind, method):
    def loss(output, targets):
        parts = output if isinstance(output, tuple) else (output,)
        return sum(F.cross_entropy(part, targets) for part in parts)

    model = kind()
    before = [shapes(output) for output in both_modes(model)]
    sc.prune(
        model, method=method, budget="params=60%", data=[(IMAGES, LABELS)], every=1, at_once=0, loss=loss
    )
    assert [shapes(output) for output in both_modes(model)] == before


def test_a_block_that_evaluation_skips_ties_what_it_adds():
    graph = sc.inspect(Skipped(), IMAGES).graph
    assert set(graph.groups["b"].modules) == {"b", "c", "noise"}


def test_channels_that_training_moves_are_frozen_or_tied():
    """Channel i is channel 7 - i in training: cut alone, the network would compute something else there."""
    graph = sc.inspect(Flipped(), IMAGES).graph
    group = graph.groups.get("b")
    assert group is None or all(
        set(entries) == {7 - entry for entry in entries}
        for entries in next(site for site in group.sites if site.axis == ("b", "out")).entries.tolist()
    )


def test_only_what_differs_is_run_twice():
    assert not how_it_trains(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)), IMAGES
    ).differs
    assert not how_it_trains(Trunk_(), IMAGES).differs
    assert how_it_trains(Auxiliary(), IMAGES).differs
    found = how_it_trains(WantsTargets(), IMAGES)
    assert found.failure == "ValueError: targets should not be none when in training mode"


class Trunk_(Trunk):
    def forward(self, x):
        return self.head(F.dropout2d(self.trunk(x), 0.3, self.training))


class WantsTargets(Trunk):
    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("targets should not be none when in training mode")
        return self.head(self.trunk(x))


def test_a_network_that_does_not_run_in_training_on_these_inputs_is_cut_by_evaluation():
    assert list(sc.inspect(WantsTargets(), IMAGES).graph.groups) == ["a", "b", "c"]


def test_draws_are_their_means_and_leave_no_trace():
    model = quiet_training(Dropped())
    state = torch.get_rng_state(), random.getstate()
    with without_chance():
        one, other = model(IMAGES), model(IMAGES)
        assert torch.equal(torch.bernoulli(torch.full((3,), 0.25)), torch.full((3,), 0.25))
        assert torch.randperm(4).tolist() == [0, 1, 2, 3]
        assert torch.equal(torch.randn(5), torch.randn(5))
        assert torch.allclose(F.dropout(torch.ones(5), 0.3), torch.ones(5))
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]


def test_statistics_of_the_batch_written_by_hand_do_not_tie_channels():
    """They mix examples in training, so examples are marked one at a time there."""

    class ByHand(nn.Module):
        def forward(self, x):
            return x - x.mean((0, 2, 3), keepdim=True) if self.training else x

    class Network(Trunk):
        def __init__(self):
            super().__init__()
            self.norm = ByHand()

        def forward(self, x):
            return self.head(self.norm(self.trunk(x)))

    assert {name: group.width for name, group in trace(Network(), IMAGES).groups.items()} == {
        "a": 6,
        "b": 8,
        "c": 8,
    }


class Hidden(Auxiliary):
    """A head in training, where targets are wanted, too: nobody can run it on images alone."""

    def forward(self, x, targets=None):
        if self.training and targets is None:
            raise ValueError("targets should not be none when in training mode")
        return super().forward(x)


def test_what_a_layer_that_cannot_be_run_may_read_is_left():
    graph = sc.inspect(Hidden(), IMAGES).graph
    assert list(graph.groups) == ["a"]
    assert "aux may read it in training" in next(each.reason for each in graph.frozen if each.name == "b")
    both = sc.inspect(Hidden(), (IMAGES, LABELS)).graph
    assert list(both.groups) == ["a", "b", "c", "aux"]


def test_inputs_that_do_not_suit_training_are_refused_before_it():
    with pytest.raises(InputError, match="not in training: ValueError: targets should not be none"):
        sc.prune(WantsTargets(), budget="params=60%", data=[(IMAGES, LABELS)])
