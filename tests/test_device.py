"""Where and how a network computes: the layout that does not crash."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from secateur import models
from secateur.device import Runtime
from secateur.surgery.anatomy import anatomy_of


@pytest.mark.parametrize(
    ("model", "layout"),
    [
        (models.wide_resnet(depth=10), torch.channels_last),
        (models.resnet18(width=0.125), torch.channels_last),
        (models.vgg19(width=0.125), torch.channels_last),
        (models.conv4(width=0.125), torch.channels_last),
    ],
    ids=lambda value: getattr(value, "factory", ""),
)
def test_our_networks_are_kept_in_channels_last(model, layout):
    runtime = Runtime("cpu")
    assert runtime.layout(model) == layout
    weight = runtime.place(model).get_submodule(model.groups[0].readers[0]).weight
    assert weight.is_contiguous(memory_format=layout)
    anatomy_of(model).remove(model, model.groups[0].name, [0])
    weight = model.get_submodule(model.groups[0].readers[0]).weight
    assert weight.is_contiguous(memory_format=layout)


def test_strided_projections_of_others_stay_out_of_channels_last_on_a_cpu():
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1, stride=2))
    assert Runtime("cpu").layout(theirs) == torch.contiguous_format


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_in_the_plain_layout_has_plain_strides(channels):
    """One channel is channels last and plain at once; torch goes by the strides."""
    x = torch.randn(2, channels, 8, 8).contiguous(memory_format=torch.channels_last)
    arranged = Runtime("cpu").arrange(x, torch.contiguous_format)
    assert torch.equal(arranged, x)
    assert arranged.stride() == (channels * 64, 64, 8, 1)
    assert (
        Runtime("cpu").arrange(arranged, torch.channels_last).is_contiguous(memory_format=torch.channels_last)
    )


CRASHED = """
import torch
from torch.nn import functional as F
from secateur.device import Runtime
from secateur.models import wide_resnet

runtime = Runtime("cpu")
model = runtime.place(wide_resnet(depth=10, stages=[12, 25, 49]))
assert runtime.layout(model) == torch.channels_last
for _ in range(3):
    x = runtime.arrange(torch.randn(47, 3, 32, 32), runtime.layout(model))
    F.cross_entropy(model(x), torch.zeros(47, dtype=torch.long)).backward()
"""


def test_the_step_that_crashed_in_channels_last_does_not():
    done = subprocess.run([sys.executable, "-c", CRASHED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-500:]}"
