"""A U-Net that finds blobs, under a dice loss: which way to half of its computation is best?

Own network, own data, own loss, own metric. Run it with `python examples/unet_dice.py [FOLDER]`.
"""

import sys
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc


class UNet(nn.Module):
    """Two levels, with skip connections that are concatenated."""

    def __init__(self, width=8):
        super().__init__()
        self.first = block(1, width)
        self.second = block(width, 2 * width)
        self.bottom = block(2 * width, 4 * width)
        self.up_second = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.back_second = block(4 * width, 2 * width)
        self.up_first = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.back_first = block(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        first = self.first(x)
        second = self.second(self.pool(first))
        bottom = self.bottom(self.pool(second))
        back = self.back_second(torch.cat([self.up_second(bottom), second], dim=1))
        back = self.back_first(torch.cat([self.up_first(back), first], dim=1))
        return self.head(back)


def block(channels, width):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    )


def blobs(count, seed, size=16):
    """Noisy images with one to three discs, and where these are: (N, 1, H, W) both."""
    chance = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    masks = torch.zeros(count, 1, size, size)
    for mask in masks:
        for _ in range(int(torch.randint(1, 4, (), generator=chance))):
            row, column = torch.randint(2, size - 2, (2,), generator=chance)
            mask[0][(rows - row) ** 2 + (columns - column) ** 2 <= 8] = 1
    noise = torch.randn(masks.shape, generator=chance)
    return TensorDataset(masks + 0.7 * noise, masks)


def dice_loss(output, targets):
    """1 - dice of the probabilities, the mean over the batch."""
    said = output.sigmoid().flatten(1)
    targets = targets.flatten(1)
    overlap = 2 * (said * targets).sum(1) + 1
    return (1 - overlap / (said.sum(1) + targets.sum(1) + 1)).mean()


def dice(outputs, targets):
    """How well the masks overlap, from 0 to 1, over a whole split."""
    said = (outputs > 0).float()
    return float(2 * (said * targets).sum() / (said.sum() + targets.sum()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = sc.compare(
        UNet,
        data=(
            DataLoader(blobs(160, seed=0), batch_size=16, shuffle=True),
            DataLoader(blobs(64, seed=1), batch_size=64),
            DataLoader(blobs(64, seed=2), batch_size=64),
        ),
        budgets=["macs=50%"],
        arms=["fisher-tuned", "width"],
        loss=dice_loss,
        metric=(dice, "max"),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=3e-3),
        epochs=5,
        prune_every=2,
        device="cpu",
        out=sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(),
    )
    for point in result.points:
        print(f"{point.arm}: dice {point.accuracy:.3f} with {point.macs:,} of the MACs")
    print(result.verdict)
