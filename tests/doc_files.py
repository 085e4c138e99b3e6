"""The files that pages speak of, made once: photographs, a network of one's own, trained folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from PIL import Image

from secateur.architecture.resolve import resolve_model
from secateur.compare.one_network import Subject, train_one
from secateur.data import load_data
from secateur.device import Runtime
from secateur.progress import Reporter
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
CLASSES = ("beach", "city", "forest")
NETS = '''
from torch import nn


def build(num_classes=3, in_channels=3):
    """A network of one's own: two convolutions and a classifier."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, num_classes),
    )
'''


class Files:
    """Makes each of them once, in a folder of its own, and copies it to where a page is run."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def put(self, name: str, folder: Path) -> None:
        """Copy one of them into the folder."""
        source = self.find(name.rstrip("/"))
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / source.name)

    def find(self, name: str) -> Path:
        """Where it is, made if it was not."""
        path = self.made / name
        if not path.exists():
            getattr(self, "_" + name.replace(".", "_"))(path)
        return path

    def _photos(self, path: Path) -> None:
        """Ten photographs of each of three classes, told apart by their colours."""
        chance = torch.Generator().manual_seed(0)
        for number, name in enumerate(CLASSES):
            (path / name).mkdir(parents=True)
            for i in range(10):
                pixels = torch.randint(0, 128, (16, 16, 3), generator=chance)
                pixels[..., number] += 127
                Image.fromarray(pixels.byte().numpy()).save(path / name / f"{i:02}.png")

    def _photo_jpg(self, path: Path) -> None:
        Image.open(self.find("photos") / "city" / "00.png").save(path)

    def _holiday(self, path: Path) -> None:
        path.mkdir()
        for name in CLASSES:
            Image.open(self.find("photos") / name / "01.png").save(path / f"{name}.jpg")

    def _houses(self, path: Path) -> None:
        """Photographs with a price each."""
        shutil.copytree(self.find("photos"), path)
        rows = [f"{file.relative_to(path)},{i / 10}" for i, file in enumerate(sorted(path.rglob("*.png")))]
        (path / "labels.csv").write_text("\n".join(["file_name,price", *rows]) + "\n")

    def _more(self, path: Path) -> None:
        shutil.copytree(self.find("holiday"), path)

    def _device_json(self, path: Path) -> None:
        shutil.copy(ROOT / "device.json", path)

    def _mypackage(self, path: Path) -> None:
        path.mkdir()
        (path / "__init__.py").write_text("")
        (path / "nets.py").write_text(NETS)

    def _dense(self, path: Path) -> None:
        self._trained(path, "wrn-10-1")

    def _trained(self, path: Path, model: str) -> None:
        data = load_data(str(self.find("photos")))
        session = Session(RunStore(path), Runtime("cpu"), Reporter())
        train_one(session, Subject(resolve_model(model, data), data, Recipe(epochs=1, batch_size=8)))

    def _small(self, path: Path) -> None:
        """A tenth of the size, trained, with what a saved network knows of its data."""
        data = load_data(str(self.find("photos")))
        dense = resolve_model("wrn-10-1", data)
        file = self.made / "small.json"
        dense.scaled_to("params=10%").save(file)
        self._trained(path, str(file))
