"""Several labels at once: which shapes are in a picture? Weights of the network are set to zero.

`task="multilabel"` is the binary cross-entropy of every label for training, F1 over all labels for judging.
Run it with `python examples/multilabel.py [FOLDER]`.
"""

import sys
import tempfile

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import secateur as sc

SHAPES = ("row", "column", "diagonal", "frame")


def network():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, len(SHAPES)),  # a score for each label, no sigmoid
    )


def pictures(count, seed, size=10):
    """Noisy pictures and which shapes are in them: (N, 1, 10, 10), and 0 or 1 for each, (N, 4)."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count, len(SHAPES)), generator=chance)
    images = 0.4 * torch.randn(count, 1, size, size, generator=chance)
    for image, (row, column, diagonal, frame) in zip(images[:, 0], labels.bool().tolist(), strict=True):
        place = int(torch.randint(2, size - 2, (), generator=chance))
        image[place] += float(row)
        image[:, place] += float(column)
        image.diagonal().add_(float(diagonal))
        image[[0, -1]] += float(frame)
        image[:, [0, -1]] += float(frame)
    return TensorDataset(images, labels)


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = sc.compare(
        network,
        data=(
            DataLoader(pictures(400, seed=0), batch_size=40, shuffle=True),
            DataLoader(pictures(100, seed=1), batch_size=100),
            DataLoader(pictures(200, seed=2), batch_size=100),
        ),
        budgets=["nonzeros=20%"],
        arms=["magnitude-tuned", "snip", "gradual-magnitude"],
        task="multilabel",
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=1e-2),
        epochs=8,
        device="cpu",
        out=sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(),
    )
    for point in result.points:
        right = point.also["label-accuracy"]
        print(
            f"{point.arm}: F1 {point.accuracy:.3f}, {right:.1%} of labels right, {point.nonzeros:,} weights"
        )
    print(result.verdict)

    # The network of best/ goes on as any other: one probability for each label.
    model = sc.load(result.directory / "best", factory=network)
    images, labels = pictures(1, seed=3).tensors
    with torch.no_grad():
        found = model(images).sigmoid()[0]
    print(", ".join(f"{name} {float(p):.0%}" for name, p in zip(SHAPES, found, strict=True)))
    print("in it:", ", ".join(name for name, there in zip(SHAPES, labels[0].tolist(), strict=True) if there))
