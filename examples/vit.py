"""A vision transformer of `transformers`, unmodified: a floor under every block; saved, and loaded again.

Images of 16x16 whose upper half is red, green or blue; the network is tiny and drawn at random, so
that nothing is downloaded. With `ViTForImageClassification.from_pretrained(...)` the rest stays the same.
Run it with `python examples/vit.py [FOLDER]`; it needs `pip install 'secateur[hf]'`.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTForImageClassification

import secateur as sc


def images(count, seed):
    """As image processors of the package give them: pixel_values, with labels in one dictionary."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=chance)
    pixels = torch.randn(count, 3, 16, 16, generator=chance)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[label, :8] += 0.7
    return [{"pixel_values": image, "labels": label} for image, label in zip(pixels, labels, strict=True)]


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = [model(batch["pixel_values"]).logits.argmax(1) == batch["labels"] for batch in loader]
    return float(torch.cat(right).float().mean())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    out = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    train = DataLoader(images(320, seed=0), batch_size=32, shuffle=True)
    test = DataLoader(images(200, seed=1), batch_size=100)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTForImageClassification(ViTConfig(image_size=16, patch_size=8, num_labels=3, **sizes))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(8):
        for batch in train:
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    before = accuracy(model, test)

    model = sc.prune(
        model,
        method="taylor",
        budget="macs=70%",
        data=train,
        optimizer=optimizer,
        at_least={"vit": 8},  # so many hidden channels are left in every block, and both heads
        every=2,
        at_once=8,
        tune_epochs=2,
    )
    found = sc.Architecture.of(model)
    print(f"accuracy {before:.1%} before, {accuracy(model, test):.1%} with {found.macs:,} MACs")
    for name, width in zip(found.group_names(), found.widths, strict=True):
        print(f"{name}: {width} left")

    # The folder has the network's configuration beside its architecture: no factory is needed.
    sc.save(model, out / "small")
    again = sc.load(out / "small")
    pixels = next(iter(test))["pixel_values"]
    with torch.no_grad():
        same = torch.equal(again(pixels).logits, model(pixels).logits)
    print(f"loaded again: a {type(again).__name__}, the same outputs: {same}")
