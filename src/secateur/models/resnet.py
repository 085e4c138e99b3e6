"""ResNet18, He et al. 2016 (arXiv:1512.03385), with the CIFAR stem: 3x3, stride 1, no max-pooling.

Prunable: the layer between the two convolutions of each of the eight blocks.
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

STAGES = (64, 128, 256, 512)
BLOCKS_PER_STAGE = 2


class BasicBlock(nn.Module):
    """conv-BN-ReLU-conv-BN, plus the shortcut, then ReLU."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            projection = Projection(inputs, outputs, stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet18(Family):
    """See `resnet18`."""

    def __init__(
        self,
        width: float = 1,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        stages: Sequence[int] | None = None,
        widths: Sequence[int] | None = None,
    ):
        super().__init__()
        check_common("resnet18", width=width, num_classes=num_classes, in_channels=in_channels)
        size = as_size("resnet18", image_size, minimum=8)
        channels_of = stage_widths("resnet18", STAGES, width, stages)
        outputs = [channels for channels in channels_of for _ in range(BLOCKS_PER_STAGE)]
        middles = check_widths("resnet18", widths, outputs)

        self.factory = "resnet18"
        self.arguments = {
            "stages": list(channels_of),
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": list(size),
        }
        self.groups = tuple(
            Declared(f"blocks.{j}", (f"blocks.{j}.conv1",), (f"blocks.{j}.bn1",), (f"blocks.{j}.conv2",))
            for j in range(len(middles))
        )
        self.streams = tuple(_stream(stage) for stage in range(len(STAGES)))
        self.stem = nn.Conv2d(in_channels, channels_of[0], 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels_of[0])
        strides = [2 if j and j % BLOCKS_PER_STAGE == 0 else 1 for j in range(len(middles))]
        self.blocks = nn.ModuleList(
            map(BasicBlock, [channels_of[0], *outputs[:-1]], middles, outputs, strides)
        )
        self.classifier = nn.Linear(outputs[-1], num_classes)
        init_kaiming_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(global_average(x))


def _stream(stage: int) -> Declared:
    """What the two blocks of a stage write and read; the first stage's stream begins with the stem."""
    first = stage * BLOCKS_PER_STAGE
    blocks = [f"blocks.{j}" for j in range(first, first + BLOCKS_PER_STAGE)]
    opening = f"blocks.{first}.shortcut"
    conv, norm = (f"{opening}.0", f"{opening}.1") if stage else ("stem", "bn")
    readers = [f"{block}.conv1" for block in (blocks[1:] if stage else blocks)]
    after = f"blocks.{first + BLOCKS_PER_STAGE}"
    last = stage == len(STAGES) - 1
    following = ["classifier"] if last else [f"{after}.conv1", f"{after}.shortcut.0"]
    return Declared(
        f"stages.{stage}",
        (conv, *(f"{block}.conv2" for block in blocks)),
        (norm, *(f"{block}.bn2" for block in blocks)),
        (*readers, *following),
        stage,
    )


def resnet18(
    width: float = 1,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | Sequence[int] = 32,
    stages: Sequence[int] | None = None,
    widths: Sequence[int] | None = None,
) -> ResNet18:
    """ResNet18 with the CIFAR stem, for (N, in_channels, H, W) images of at least 8x8.

    Args:
        width: a multiplier of the stage widths 64, 128, 256, 512 (rounded down), above 0.
        num_classes, in_channels: at least 1.
        image_size: a side or (height, width), at least 8; used for counting MACs, not fixed in the weights.
        stages: the output channels of the four stages, in place of these.
        widths: the middle width of each of the eight blocks.

    Returns:
        The network, its weights drawn at random; logits are (N, num_classes).

    Raises:
        ValueError: where an argument makes no sense; the message names it.

    Reference: He et al. 2016, sections 3.3, 4.2.
    """
    return ResNet18(width, num_classes, in_channels, image_size, stages, widths)
