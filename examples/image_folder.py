"""A folder of images, a network of one's own, a budget of multiplications: pruned, saved, used on a file.

The folder is made here of the digits that come with the package: a PNG file each, in a folder for each class.
Run it with `python examples/image_folder.py [FOLDER]`; it needs `pip install 'secateur[data]'`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import nn

import secateur as sc
from secateur.data import epoch_batches


def network(num_classes, in_channels):
    """Called with what the images are; any module will do."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1),
        nn.BatchNorm2d(48),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(192, num_classes),
    )


def write_images(folder):
    """600 files: FOLDER/even/003.png and FOLDER/odd/004.png."""
    digits = sc.load_data("digits").train
    for i in range(600):
        file = folder / ("even", "odd")[int(digits.labels[i]) % 2] / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[i, 0].numpy()).save(file)
    return folder


def batches(split, data):
    """Lists of (images, labels), normalised as training needs it."""
    return list(epoch_batches(split, data, batch_size=64, device="cpu"))


def accuracy(model, data):
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches(data.test, data))
    return right / len(data.test)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    data = sc.load_data(str(write_images(out / "photos")))
    print(data)  # what was understood of the folder

    model = network(num_classes=2, in_channels=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    train = batches(data.train, data)
    for _ in range(6):
        for x, y in train:
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    before = accuracy(model, data)

    # Also "params=500k", "bytes=40kB", "latency=2ms@onnxruntime", and several at once: "macs=50%,params=50%".
    model = sc.prune(model, budget="macs=50%", data=train, optimizer=optimizer, every=2, tune_epochs=2)
    print(f"{before:.1%} before, {accuracy(model, data):.1%} with {sc.Architecture.of(model).macs:,} MACs")

    sc.save(model, out / "small", data=data)  # with the classes, and how pixels are made
    again = sc.load(out / "small", factory=lambda: network(2, 1))
    file = next((out / "photos" / "odd").iterdir())
    with torch.no_grad():
        print(f"odd/{file.name} is {again.classes[again(again.preprocess(file)).argmax()]}")
