"""The embedded digits as photos in folders, in which a class is called by a word, and a network of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.compare.one_network import Subject, train_one
from secateur.data import Data, load_data
from secateur.device import Runtime
from secateur.progress import Reporter
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""Alphabetically they lie in another order than by number."""
FACTORY = "digit_photos:build"


def build(num_classes, in_channels):
    """A network that is traced and exported in a second."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, num_classes),
    )


def write_photos(folder: Path, train: int, test: int) -> Path:
    """So many of the digits as PNG files: FOLDER/train/WORD/NUMBER.png and FOLDER/test/WORD/NUMBER.png."""
    digits = load_data("digits")
    for name, part, count in (("train", digits.train, train), ("test", digits.test, test)):
        for i in range(count):
            file = folder / name / WORDS[int(part.labels[i])] / f"{i:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(part.images[i, 0].numpy()).save(file)
    return folder


def trained(data: Data, out: Path, epochs: int) -> Path:
    """A small network, trained, in a folder as `secateur train` leaves it."""
    session = Session(RunStore(out), Runtime("cpu"), Reporter())
    recipe = Recipe(epochs=epochs, batch_size=64)
    train_one(session, Subject(resolve_model(FACTORY, data), data, recipe))
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), 400, 100)


@pytest.fixture(scope="module")
def small(photos, tmp_path_factory):
    """A network that is right about most of `photos`, and wrong about some."""
    return trained(load_data(str(photos)), tmp_path_factory.mktemp("small"), 8)


def by_hand(network, photos, factory=None):
    """File -> class, by torch alone: the pixels, (x / 255 - mean) / std, the largest score."""
    content, model = json.loads((network / "artefact.json").read_text()), sc.load(network, factory)
    found = {}
    for file in sorted(photos.glob("test/*/*.png")):
        pixels = torch.from_numpy(np.array(Image.open(file))).double() / 255
        x = (pixels - content["preprocessing"]["mean"][0]) / content["preprocessing"]["std"][0]
        with torch.no_grad():
            found[str(file)] = content["classes"][int(model(x.float()[None, None]).argmax())]
    return found
