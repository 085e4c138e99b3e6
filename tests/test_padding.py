"""Padded channels compute the same network: forward, backward, running statistics, Fisher's sums."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from secateur import models
from secateur.device import Runtime
from secateur.methods import ChannelReparametrization, Fisher, Method, Reparametrization, Taylor
from secateur.models.padding import LANES, Padding, is_uneven
from secateur.progress import Reporter
from secateur.training.loop import Training
from secateur.training.recipe import Recipe

UNEVEN = {
    "wrn": lambda: models.wide_resnet(16, 1, image_size=8, widths=[3, 16, 9, 31, 40, 63]),
    "wrn with narrow streams": lambda: models.wide_resnet(10, 1, image_size=8, stages=[16, 21, 37]),
    "resnet18": lambda: models.resnet18(
        image_size=8, stages=[9, 10, 12, 17], widths=[1, 2, 3, 5, 8, 9, 20, 7]
    ),
    "vgg19": lambda: models.vgg19(0.05),
    "conv4": lambda: models.conv4(image_size=8, widths=[5, 9, 8, 3, 11, 6]),
}


def steps(model, padding, count=3):
    """Losses, and the model after so many steps in float64."""
    torch.manual_seed(0)
    model = model.double().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    side, losses = model.arguments["image_size"][0], []
    for _ in range(count):
        x = torch.randn(6, 3, side, side, dtype=torch.float64).to(memory_format=torch.channels_last)
        with Padding(model) if padding else torch.enable_grad():
            logits = model(x)
        loss = F.cross_entropy(logits, torch.arange(6))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, model


@pytest.mark.parametrize("name", UNEVEN)
def test_training_is_the_same(name):
    model = UNEVEN[name]()
    assert is_uneven(model)
    losses, plain = steps(copy.deepcopy(model), False)
    again, padded = steps(model, True)
    assert again == pytest.approx(losses, rel=1e-10)
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(padded.state_dict()[key], value, rtol=1e-8, atol=1e-10, msg=key)


@pytest.mark.parametrize("name", UNEVEN)
def test_evaluation_is_the_same_too(name):
    _, model = steps(UNEVEN[name](), False)
    side = model.arguments["image_size"][0]
    x = torch.randn(4, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected = model.eval()(x)
        with Padding(model):
            torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)


def test_every_channel_is_in_lanes_within_and_as_it_was_without():
    model = UNEVEN["wrn"]().to(memory_format=torch.channels_last)
    seen = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.shape[1]))
    x = torch.randn(2, 3, 8, 8)
    with Padding(model):
        model(x)
    assert seen
    assert all(width % LANES == 0 for width in seen)
    assert not any("forward" in layer.__dict__ for layer in model.modules())
    seen.clear()
    with pytest.raises(RuntimeError), Padding(model):
        model(torch.randn(2, 4, 8, 8))
    seen.clear()
    model(x)
    assert seen == [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]


def test_even_and_foreign_networks_are_left_alone():
    assert not is_uneven(models.wide_resnet(10, 1, image_size=8))
    foreign = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten())
    assert not is_uneven(foreign)
    with Padding(foreign):
        assert "forward" not in foreign[0].__dict__


@pytest.mark.parametrize("criterion", [Fisher, Taylor])
@pytest.mark.parametrize("name", ["wrn", "conv4"])
def test_what_criteria_sum_up_is_the_same(criterion, name):
    sums = []
    for padding in (False, True):
        torch.manual_seed(1)
        model = UNEVEN[name]().double().to(memory_format=torch.channels_last)
        method = criterion(removals=1, every=10)
        model = method.prepare(model).train()
        x = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        with Padding(model) if padding else torch.enable_grad():
            logits = model(x)
        F.cross_entropy(logits, torch.arange(6)).backward()
        sums.append(method.raw_scores(model))
    for group, scores in sums[0].items():
        assert len(scores) == dict(zip((g.name for g in model.groups), model.widths, strict=True))[group]
        torch.testing.assert_close(sums[1][group], scores, rtol=1e-9, atol=1e-15)


def training(data, method):
    return Training(
        models.wide_resnet(16, 1, in_channels=1, image_size=8, widths=[3, 16, 9, 31, 40, 63]),
        data,
        Recipe(epochs=1, batch_size=50, lr=0.01),
        seed=0,
        runtime=Runtime("cpu"),
        reporter=Reporter(),
        method=method,
        epochs=1,
    )


@pytest.fixture(scope="module")
def digits():
    from secateur.data import load_data

    return load_data("digits", limit_train=100)


def test_the_loop_pads_and_follows_every_cut(monkeypatch, digits):
    run = training(digits, Fisher(removals=3, every=1))
    seen = []
    real = Training.step

    def step(self, *batch):
        real(self, *batch)
        layers = {id(layer) for layer in self.model.modules()}
        assert isinstance(self.network.padding, Padding)
        assert {id(layer) for layer, _ in self.network.padding._layers} <= layers
        seen.append(sum(self.model.widths))

    monkeypatch.setattr(Training, "step", step)
    run.fit()
    whole = sum(UNEVEN["wrn"]().widths)
    assert seen[0] == whole - 1


def test_methods_that_look_at_activations_are_asked():
    assert Method().takes_padding
    assert Fisher(removals=1).takes_padding
    assert not ChannelReparametrization("macs=50%", steps=10).takes_padding
    assert not Reparametrization("nonzeros=50%", steps=10).takes_padding

    class Unknown(Method):
        pass

    assert not Unknown().takes_padding
