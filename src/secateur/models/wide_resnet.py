"""Wide residual networks, Zagoruyko & Komodakis 2016 (arXiv:1605.07146): WRN-d-k, pre-activation.

Crowley et al. 2018 prune the activations between the two convolutions of each block, so the width of every
block's middle layer is an argument: block j is B(N_i, N_m, N_o) with N_m = `widths[j]`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from secateur.models.base import (
    Declared,
    Family,
    Projection,
    as_size,
    check_common,
    check_widths,
    global_average,
    init_kaiming_fan_out,
    stage_widths,
)

STEM = 16  # channels of the first convolution; k does not widen it
STAGES = (16, 32, 64)


class Block(nn.Module):
    """B(N_i, N_m, N_o): BN-ReLU-conv3x3(stride) -> N_m -> BN-ReLU-conv3x3 -> N_o, plus the shortcut."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, middle, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1, bias=False)
        projects = inputs != outputs or stride != 1
        self.shortcut = Projection(inputs, outputs, stride) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        pre = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(pre))))
        # A projecting shortcut reads the activated input, the identity the raw one (as in the authors' code).
        return out + (x if self.shortcut is None else self.shortcut(pre))


class WideResNet(Family):
    """WRN-`depth`-`width`; see `wide_resnet`."""

    def __init__(
        self,
        depth: int,
        width: float = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        stages: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
    ):
        super().__init__()
        check_common("wide_resnet", width=width, num_classes=num_classes, in_channels=in_channels)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"wide_resnet: depth must be 6n + 4 (10, 16, 22, 28, 40, ...), got {depth}")
        size = as_size("wide_resnet", image_size, minimum=4)
        per_stage = (depth - 4) // 6
        channels_of = stage_widths("wide_resnet", STAGES, width, stages)
        outputs = [channels for channels in channels_of for _ in range(per_stage)]
        middles = check_widths("wide_resnet", widths, outputs)

        self.factory = "wide_resnet"
        self.arguments = {
            "depth": depth,
            "stages": list(channels_of),
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": list(size),
        }
        self.groups = tuple(
            Declared(f"blocks.{j}", (f"blocks.{j}.conv1",), (f"blocks.{j}.bn2",), (f"blocks.{j}.conv2",))
            for j in range(len(middles))
        )
        # The first stage's stream is left alone: it may be the stem's 16 channels, which are no argument.
        self.streams = tuple(_stream(stage, per_stage) for stage in range(1, len(STAGES)))
        self.stem = nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False)
        strides = [2 if j and j % per_stage == 0 else 1 for j in range(len(middles))]
        inputs = [STEM, *outputs[:-1]]
        self.blocks = nn.ModuleList(map(Block, inputs, middles, outputs, strides))
        self.bn = nn.BatchNorm2d(outputs[-1])
        self.classifier = nn.Linear(outputs[-1], num_classes)
        init_kaiming_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(global_average(F.relu(self.bn(x))))


def _stream(stage: int, per_stage: int) -> Declared:
    """What the blocks of a stage that begins with a projection write and read."""
    first, after = stage * per_stage, (stage + 1) * per_stage
    last = stage == len(STAGES) - 1
    inner = [f"blocks.{j}" for j in range(first + 1, after)]
    writers = [f"blocks.{first}.shortcut", *(f"blocks.{j}.conv2" for j in range(first, after))]
    norms = [*(f"{block}.bn1" for block in inner), "bn" if last else f"blocks.{after}.bn1"]
    following = ["classifier"] if last else [f"blocks.{after}.conv1", f"blocks.{after}.shortcut"]
    readers = [*(f"{block}.conv1" for block in inner), *following]
    return Declared(f"stages.{stage}", tuple(writers), tuple(norms), tuple(readers), stage)


def wide_resnet(
    depth: int,
    width: float = 1,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | Sequence[int] = 32,
    stages: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
) -> WideResNet:
    """A wide residual network for (N, in_channels, H, W) images; logits are (N, num_classes).

    Args:
        depth: 6n + 4, with 3n blocks of two convolutions.
        width: k, a multiplier of the stage widths 16, 32, 64 (rounded down); fractions are welcome.
        num_classes: at least 1; one score is for a regression.
        in_channels: at least 1.
        image_size: a side or (height, width), at least 4; used for counting MACs, not fixed in the weights.
        stages: the output channels of the three stages, in place of 16k, 32k, 64k.
        widths: the middle width N_m of each of the 3n blocks; by default N_m = N_o, as in the paper.

    Returns:
        The network, its weights drawn at random.

    Raises:
        ValueError: where an argument makes no sense; the message names it.

    Reference: Zagoruyko & Komodakis 2016, Table 1; Crowley et al. 2018, section 3.1, Fig. 2.
    """
    return WideResNet(depth, width, num_classes, in_channels, image_size, stages, widths)


__all__ = ["WideResNet", "wide_resnet"]
