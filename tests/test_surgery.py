"""Removing channels is masking them, physically: same logits, and the optimizer follows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from secateur import models
from secateur.architecture.architecture import Architecture
from secateur.errors import InputError
from secateur.network.counting import count_macs, layer_positions
from secateur.network.weights import count_params
from secateur.surgery import (
    channel_group,
    family_graph,
)
from secateur.surgery.anatomy import anatomy_of

BUILD = {
    "wide_resnet": lambda: models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8),
    "resnet18": lambda: models.resnet18(width=0.0625, in_channels=1, image_size=8),
    "vgg19": lambda: models.vgg19(width=0.03125, in_channels=1, image_size=32),
    "conv4": lambda: models.conv4(width=0.0625, in_channels=1, image_size=8),
}


def lively(name: str) -> torch.nn.Module:
    """A network in float64 whose normalisation statistics are random, so that no cut goes unnoticed."""
    torch.manual_seed(1)
    model = BUILD[name]().double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(value)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def remove(model, declared, channels, optimizer=None):
    """Remove present channels of a group that the family declares, a residual stream among them."""
    family_graph(model, streams=True).remove(model, declared.name, list(channels), optimizer)


def width_of(model, declared):
    return model.get_submodule(declared.writers[0]).weight.shape[0]


def masked_logits(model, group, drop, x):
    """The full network with what the reader reads of the dropped channels set to zero."""
    reader = model.get_submodule(group.readers[0])
    features = reader.weight.shape[1] // width_of(model, group)
    gone = [k * features + j for k in drop for j in range(features)]

    def mask(_module, inputs):
        act = inputs[0].clone()
        act[:, gone] = 0
        return (act,)

    hook = reader.register_forward_pre_hook(mask)
    logits = model(x)
    hook.remove()
    return logits


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(BUILD)), st.data())
def test_removing_equals_masking(name, data):
    model = lively(name)
    group = data.draw(st.sampled_from(model.groups))
    width = width_of(model, group)
    drop = data.draw(st.sets(st.integers(0, width - 1), max_size=width - 1))
    x = torch.randn(2, *model.input_shape, dtype=torch.float64)
    expected = masked_logits(model, group, sorted(drop), x)
    remove(model, group, sorted(drop))
    assert width_of(model, group) == width - len(drop)
    torch.testing.assert_close(model(x), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(BUILD))
def test_cost_of_a_channel_is_the_recounted_difference(name):
    model = lively(name)
    positions = layer_positions(model, model.input_shape)
    for group in model.groups:
        costs = anatomy_of(model).costs
        before, price = count_macs(model, positions), costs.now["macs"] - costs.without(group.name)["macs"]
        remove(model, group, [0])
        assert before - count_macs(model, positions) == price
    assert positions == layer_positions(model, model.input_shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
        lambda params: torch.optim.AdamW(params, lr=0.01),
    ],
    ids=["sgd", "adamw"],
)
def test_the_optimizer_goes_on_as_if_the_channels_had_never_been_there(make):
    """Cut, then step: the survivors move as they do in the full network where the cut ones read zero."""
    full, compact = lively("wide_resnet"), lively("wide_resnet")
    x, y = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    optimizers = make(full.parameters()), make(compact.parameters())
    for model, optimizer in zip((full, compact), optimizers, strict=True):
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    group, keep = full.groups[1], [0, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    remove(compact, compact.groups[1], [1, 4, 15], optimizers[1])
    F.cross_entropy(masked_logits(full, group, [1, 4, 15], x), y).backward()
    F.cross_entropy(compact(x), y).backward()
    for optimizer in optimizers:
        optimizer.step()
    conv1 = full.blocks[1].conv1.weight[keep], compact.blocks[1].conv1.weight
    conv2 = full.blocks[1].conv2.weight[:, keep], compact.blocks[1].conv2.weight
    for expected, found in (conv1, conv2, (full.stem.weight, compact.stem.weight)):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert len(optimizers[1].state) == len(list(compact.parameters()))


def test_channels_last_stays_channels_last():
    model = BUILD["wide_resnet"]().to(memory_format=torch.channels_last)
    remove(model, model.groups[0], [1])
    assert model.blocks[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


def test_layers_report_their_new_sizes():
    model = BUILD["conv4"]()
    remove(model, model.groups[3], [0, 1])
    assert model.conv4.out_channels == 6
    assert model.fc1.in_features == 6 * 4
    assert count_params(model) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([16], r"channels lie in 0\.\.15, got \[16\]"),
        ([-1], r"lie in 0\.\.15"),
        (range(16), "one channel must be left"),
    ],
)
def test_impossible_removals_change_nothing(channels, message):
    model = BUILD["wide_resnet"]()
    before = count_params(model)
    with pytest.raises(InputError, match=message):
        remove(model, model.groups[1], list(channels))
    assert count_params(model) == before


STREAMED = [
    (name, stage) for name, stages in (("wide_resnet", 2), ("resnet18", 4)) for stage in range(stages)
]


@pytest.mark.parametrize(("name", "index"), STREAMED)
def test_removing_from_a_stream_equals_masking_all_that_read_it(name, index):
    model, full = lively(name), lively(name)
    stream, x = model.streams[index], torch.randn(2, *model.input_shape, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def mask(_module, inputs):
        return (inputs[0].index_fill(1, torch.tensor([0, 2]), 0),)

    for reader in stream.readers:
        full.get_submodule(reader).register_forward_pre_hook(mask)
    width = width_of(model, stream)
    remove(model, stream, [0, 2], optimizer)
    torch.testing.assert_close(model(x), full(x), rtol=1e-9, atol=1e-9)
    assert width_of(model, stream) == model.arguments["stages"][stream.stage] == width - 2
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", ["wide_resnet", "resnet18"])
def test_a_network_with_narrower_streams_is_rebuilt_from_its_architecture(name):
    model = lively(name)
    for stream in model.streams:
        remove(model, stream, range(width_of(model, stream) - 1))
    remove(model, model.groups[-1], [0])
    found = Architecture.from_dict(Architecture.of(model).to_dict())
    again = found.build(seed=0).double().eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, *model.input_shape, dtype=torch.float64)
    assert torch.equal(again(x), model(x))
    assert found.params == count_params(model)


@pytest.mark.parametrize("name", sorted(BUILD))
def test_what_a_family_declares_is_inside_a_block_or_a_stream(name):
    model = BUILD[name]()
    assert all(channel_group(model, group).inner for group in model.groups)
    assert not any(channel_group(model, stream).inner for stream in model.streams)
    assert list(family_graph(model).groups) == [group.name for group in model.groups]  # what criteria rank
    assert list(family_graph(model, streams=True).groups) == [
        group.name for group in (*model.groups, *model.streams)
    ]


def test_narrowing_a_stream_is_told_to_the_family():
    model = BUILD["resnet18"]()
    family_graph(model, streams=True).narrow(model, {"stages.0": 2, "stages.3": 7, "blocks.0": 3})
    assert model.arguments["stages"] == [2, 8, 16, 7]
    assert model.widths[0] == 3
    assert model.eval()(torch.zeros(1, *model.input_shape)).shape == (1, 10)
