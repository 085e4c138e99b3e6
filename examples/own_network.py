"""A network of your own, trained by AdamW along a cosine in bfloat16, cut while it trains, its average kept.

Your own loop, with two things of Secateur's in it: a method, which cuts, and the average of the weights,
which follows every cut. Run it with `python examples/own_network.py [FOLDER]`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sc


class Net(nn.Module):
    """Convolutions with a shortcut, layer norm over channels, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.mix = nn.Conv2d(32, 48, 3, padding=1)
        self.back = nn.Conv2d(48, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.stem(x))
        x = F.max_pool2d(self.norm(x + self.back(F.gelu(self.mix(x)))), 2)
        return self.head(F.relu(x).mean((2, 3)))


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images in [-1, 1] and classes, of training and of validation."""
    data = sc.data.load_data("digits")
    train, val = (split.images.float() / 127.5 - 1 for split in (data.train, data.val))
    return train, data.train.labels, val, data.val.labels


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images whose class has the highest score."""
    return float((model.eval()(x).argmax(1) == y).float().mean())


def main(folder: Path) -> None:
    torch.manual_seed(0)
    x, y, val_x, val_y = digits()
    model, epochs, batch = Net(), 10, 64
    sc.inspect(model, x[:4], factory=Net)
    method = sc.methods.Fisher("params=60%", every=4)
    model = method.prepare(model)
    optimizer = torch.optim.AdamW(method.parameter_groups(model, 0.01), lr=4e-3)
    average = sc.Average(model, decay=0.98)
    steps = epochs * (len(x) // batch)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 20) * (1 + math.cos(math.pi * step / steps)) / 2
        chosen = torch.randint(len(x), (batch,))
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x[chosen]).float(), y[chosen])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step > steps // 4 and not method.finished:
            model = method.after_step(model, optimizer)
        average.update()
    plain = accuracy(model, val_x, val_y)
    average.settle()
    model = method.finalize(model)
    sc.save(model, folder)
    kept = sum(parameter.numel() for parameter in model.parameters())
    whole = sum(parameter.numel() for parameter in Net().parameters())
    print(f"{kept:,} of {whole:,} parameters after {len(method.removed)} removals")
    averaged = accuracy(model, val_x, val_y)
    print(f"on validation: {plain:.1%} with the last weights, {averaged:.1%} with their average")
    same = accuracy(sc.load(folder, factory=Net), val_x, val_y)
    print(f"loaded from {folder.name}: {same:.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "own-network"))
