"""Sizes derived by hand, shapes, refusals."""

from __future__ import annotations

import pytest
import torch

from secateur import models
from secateur.models.base import Projection
from secateur.network.weights import count_params


def test_wrn_40_2_size():
    # stem 3*16*9 = 432
    # stage 1, 32 wide: first block BN 32, conv 16*32*9 = 4,608, BN 64, conv 32*32*9 = 9,216,
    #   shortcut 16*32 = 512: 14,432; five more of BN 64, conv 9,216, BN 64, conv 9,216 = 18,560: 92,800
    # stage 2, 64 wide: 64 + 18,432 + 128 + 36,864 + 2,048 = 57,536; five of 73,984: 369,920
    # stage 3, 128 wide: 128 + 73,728 + 256 + 147,456 + 8,192 = 229,760; five of 295,424: 1,477,120
    # BN 256, linear 128*10 + 10 = 1,290
    assert count_params(models.wide_resnet(depth=40, width=2)) == 2_243_546


def test_wrn_40_2_has_18_blocks_and_1344_middle_channels():
    model = models.wide_resnet(depth=40, width=2)
    assert len(model.blocks) == len(model.groups) == 18
    assert model.widths == (32,) * 6 + (64,) * 6 + (128,) * 6
    assert sum(model.widths) == 1344


def test_conv4_size():
    # weights: 3*64*9 + 64*64*9 + 64*128*9 + 128*128*9 = 259,776; 8*8*128*256 = 2,097,152; 256*256 = 65,536;
    # 256*10 = 2,560: 2,425,024 in all; biases 64 + 64 + 128 + 128 + 256 + 256 + 10 = 906
    assert count_params(models.conv4()) == 2_425_024 + 906


def test_vgg19_size():
    # convolutions 9 * (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 3*256*256 + 256*512 + 7*512*512)
    #   = 20,018,880
    # BN 2 * (2*64 + 2*128 + 4*256 + 8*512) = 11,008; linear 512*10 + 10 = 5,130
    assert count_params(models.vgg19()) == 20_018_880 + 11_008 + 5_130


def test_resnet18_size():
    # stem 3*64*9 + BN 128 = 1,856
    # 64 wide: 2 * 2 * (64*64*9 + 128) = 147,968
    # each next stage, n wide: conv n/2*n*9, three of n*n*9, shortcut n/2*n, five BN of 2n:
    #   128: 525,568; 256: 2,099,712; 512: 8,393,728
    # linear 512*10 + 10 = 5,130
    assert count_params(models.resnet18()) == 1_856 + 147_968 + 525_568 + 2_099_712 + 8_393_728 + 5_130


@pytest.mark.parametrize(
    ("factory", "arguments"),
    [
        (models.wide_resnet, {"depth": 10, "in_channels": 1, "image_size": 8}),
        (models.wide_resnet, {"depth": 10, "image_size": 64, "num_classes": 200}),
        (models.resnet18, {"width": 0.125, "in_channels": 1, "image_size": 8}),
        (models.resnet18, {"width": 0.125, "image_size": (64, 48)}),
        (models.vgg19, {"width": 0.125, "image_size": 32}),
        (models.vgg19, {"width": 0.125, "image_size": 64, "num_classes": 200}),
        (models.conv4, {"width": 0.25, "in_channels": 1, "image_size": 8}),
        (models.conv4, {"width": 0.25, "image_size": (64, 48)}),
    ],
)
def test_any_sensible_input_gives_finite_logits(factory, arguments):
    model = factory(**arguments)
    logits = model(torch.randn(2, *model.input_shape))
    assert logits.shape == (2, arguments.get("num_classes", 10))
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.wide_resnet(depth=15), r"depth must be 6n \+ 4 .*, got 15"),
        (lambda: models.wide_resnet(depth=10, image_size=3), "at least 4x4 pixels.*got 3x3"),
        (lambda: models.wide_resnet(depth=10, widths=[1, 2]), "one width for each of 3 groups, got 2"),
        (lambda: models.wide_resnet(depth=10, widths=[1, 0, 2]), "whole number of at least 1"),
        (lambda: models.wide_resnet(depth=10, stages=[1, 2]), "one width for each of 3 stages, got 2"),
        (lambda: models.wide_resnet(depth=10, width=0), r"must lie in \(0, 1024\], got 0"),
        (lambda: models.vgg19(image_size=8), "at least 32x32 pixels.*got 8x8"),
        (lambda: models.resnet18(image_size=4), "at least 8x8"),
        (lambda: models.conv4(image_size=(32, 3)), "at least 4x4.*got 32x3"),
        (lambda: models.conv4(num_classes=0), "num_classes must be at least 1, got 0"),
        (lambda: models.conv4(in_channels=0), "in_channels must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_initialisation_is_that_of_the_papers():
    torch.manual_seed(0)
    wrn = models.wide_resnet(depth=10, width=4)
    conv = wrn.blocks[2].conv2.weight  # He: variance 2 / (9 * output channels)
    assert conv.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    frankle = models.conv4().fc1.weight  # Glorot: variance 2 / (inputs + outputs)
    assert frankle.std().item() == pytest.approx((2 / (8192 + 256)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["wrn-16-1", "wrn-40-2", "wrn-16-0.5", "resnet18", "vgg19", "conv4"])
def test_names_read_back(name):
    factory, arguments = models.parse_name(name)
    assert models.display_name(models.FACTORIES[factory](**arguments)) == name


@pytest.mark.parametrize("name", ["wrn-16", "wide_resnet", "resnet50", "", "wrn-16-1e3", "wrn-99999-1"])
def test_unknown_names_are_none(name):
    assert models.parse_name(name) is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [7, 8])
def test_a_projection_is_the_strided_convolution_in_value_and_gradient(side, layout):
    """Against torch's own in float64, in the plain layout, where oneDNN's fault is not met."""
    projection = Projection(5, 7, 2).double()
    plain = torch.nn.Conv2d(5, 7, 1, stride=2, bias=False).double()
    plain.load_state_dict(projection.state_dict())
    x = torch.randn(3, 5, side, side, dtype=torch.float64)
    found = []
    for layer, own in ((projection, x.to(memory_format=layout)), (plain, x.clone())):
        own.requires_grad_()
        out = layer(own)
        out.square().sum().backward()
        found.append((out, own.grad, layer.weight.grad))
    for ours, torchs in zip(*found, strict=True):
        torch.testing.assert_close(ours, torchs)
    with torch.no_grad():
        torch.testing.assert_close(projection(x), plain(x))
