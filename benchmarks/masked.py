"""Fisher pruning of a WRN as it was published, to measure against: masked, never compacted, contiguous.

Written after the description in Crowley et al. 2018 and the shape of the authors' code
(BayesWatch/pytorch-prunes): the activation between the two convolutions of a block is multiplied by a mask
of its channels, and when its gradient comes back, (act * grad) is summed over positions, squared, averaged
over the batch, halved, and added to a running sum. Plain eager PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secateur.models.wide_resnet import Block, WideResNet


class MaskedBlock(nn.Module):
    """A block of ours, its layers taken over, with a mask where channels would be removed."""

    mask: Tensor
    running: Tensor

    def __init__(self, block: Block):
        super().__init__()
        self.bn1, self.conv1, self.bn2, self.conv2 = block.bn1, block.conv1, block.bn2, block.conv2
        self.shortcut = None if block.shortcut is None else _plain(block.shortcut)
        width = block.conv1.weight.new_ones(block.conv1.out_channels).detach()
        self.register_buffer("mask", width)
        self.register_buffer("running", torch.zeros_like(width))

    def forward(self, x: Tensor) -> Tensor:
        pre = F.relu(self.bn1(x), inplace=True)
        act = F.relu(self.bn2(self.conv1(pre)), inplace=True) * self.mask[None, :, None, None]
        if act.requires_grad:
            act.register_hook(self._fisher(act.detach()))
        return (x if self.shortcut is None else self.shortcut(pre)) + self.conv2(act)

    def _fisher(self, act: Tensor) -> Callable[[Tensor], None]:
        def add(grad: Tensor) -> None:
            g_NK = (act * grad.detach()).sum(-1).sum(-1)
            self.running += g_NK.pow(2).mean(0).mul(0.5)

        return add


def _plain(ours: nn.Conv2d) -> nn.Conv2d:
    """An ordinary strided convolution with the same weights, without what ours does about its stride."""
    plain = nn.Conv2d(ours.in_channels, ours.out_channels, 1, stride=ours.stride, bias=False)  # type: ignore[arg-type]
    plain.weight = ours.weight
    return plain


class Masked(nn.Module):
    """The whole network; it takes over the layers of `model`."""

    def __init__(self, model: WideResNet):
        super().__init__()
        self.stem, self.bn, self.classifier = model.stem, model.bn, model.classifier
        self.blocks = nn.ModuleList(MaskedBlock(block) for block in model.blocks)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(F.relu(self.bn(x), inplace=True).mean((2, 3)))

    def remove(self, block: int, channel: int) -> None:
        """Zero it for good."""
        self.blocks[block].mask[channel] = 0  # type: ignore[operator,union-attr]


def ours_per_theirs(examples: int, steps: int) -> float:
    """The factor from the running sums of so many steps to our Delta_k.

    They leave the 1/N of the batch's mean loss in every gradient, and add up where we average: per batch of N
    theirs is sum_n (g_nk / N)**2 / (2N), ours over S batches sum_n g_nk**2 / (2NS).
    """
    return examples**2 / steps
