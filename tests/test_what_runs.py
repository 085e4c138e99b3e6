"""The budget is of what will run: sizes, channels and classes that do not fit are refused, or followed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import secateur as sc
from secateur.architecture.matching import check_classes, check_given, weights_for
from secateur.architecture.resolve import resolve_model
from secateur.models import conv4, wide_resnet
from test_constraints import cli

MACS = {32: 12_501_184, 48: 28_127_424}
"""Of wrn-10-1 on RGB images of 3 classes; 64 * 3 MACs of the classifier do not grow with the side."""


def photos(root: Path, classes: str, mode: str = "RGB", each: int = 12) -> Path:
    """A folder of coloured noise for every letter."""
    pixels = np.random.default_rng(0)
    for number, name in enumerate(classes):
        for split, count in (("train", each), ("test", 4)):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                image = pixels.integers(0, 120, (20, 20, 3), dtype=np.uint8)
                image[..., number % 3] += 100
                Image.fromarray(image).convert(mode).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wrn-10-1 for the classes a, b, c of colour images, saved as trained at 32 pixels."""
    folder = tmp_path_factory.mktemp("dense")
    torch.manual_seed(0)
    model = wide_resnet(depth=10, width=1, num_classes=3, image_size=32)
    sc.save(model, folder, classes=("a", "b", "c"))
    return folder


def given(model: Path, data: Path, side: int) -> list[str]:
    """The remarks of a network that is taken as it is; InputError where it is refused."""
    loaded = sc.data.load_data(str(data), image_size=side, val_fraction=0.2)
    return check_given(resolve_model(str(model), loaded), loaded, model)


def test_images_that_are_made_otherwise_are_told(tmp_path: Path) -> None:
    folder, images = tmp_path / "net", str(photos(tmp_path / "images", "ab"))
    trained_on = sc.data.load_data(images, image_size=16, val_fraction=0.2)
    sc.save(wide_resnet(depth=10, width=1, num_classes=2, image_size=16), folder, data=trained_on)
    other = sc.data.load_data(images, image_size=16, val_fraction=0.2, fit="squash")
    assert check_given(resolve_model(str(folder), other), other, folder) == [
        "trained on images with --fit crop, it runs on images with --fit squash here"
    ]
    assert check_given(resolve_model(str(folder), trained_on), trained_on, folder) == []


def test_the_family_counts_what_it_should() -> None:
    for side, macs in MACS.items():
        model = wide_resnet(depth=10, width=1, num_classes=3, image_size=side)
        assert sc.Architecture.of(model).macs == macs
        assert (macs - 192) * 32**2 == (MACS[32] - 192) * side**2


def test_a_trained_network_on_larger_images_is_cut_to_the_budget_at_their_size(
    dense: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = photos(tmp_path / "photos", "abc"), tmp_path / "out"
    command = f"prune random-channels --model {dense} --trained --data {data} --val-fraction 0.2 --device cpu"
    asked = "--image-size 48 --budget macs=20M --prune-every 1 --at-once 16"
    assert cli(f"{command} {asked} --out {out}") == 0
    said = capsys.readouterr().out
    assert "trained on images of 32x32 pixels, it runs on 48x48 pixels here" in said
    model = sc.load(out)
    assert model.input_shape == (3, 48, 48)
    macs = sc.Architecture.of(model).macs
    assert 15_000_000 < macs <= 20_000_000
    assert json.loads((out / "architecture.json").read_text())["input"]["shape"] == [3, 48, 48]
    assert json.loads((out / "record.json").read_text())["macs"] == macs
    narrow = wide_resnet(depth=10, width=1, num_classes=3, image_size=32, widths=model.widths)
    assert (macs - 192) * 32**2 == (sc.Architecture.of(narrow).macs - 192) * 48**2


@pytest.mark.parametrize(
    ("classes", "mode", "said"),
    [
        ("abc", "L", "takes images of 3 channels, the data set photos has 1 channel (grey)"),
        ("xyz", "RGB", "tells apart a, b, c, the data set photos has x, y, z"),
        ("abcd", "RGB", "the model has 3 classes, the data set photos has 4"),
    ],
)
def test_data_that_a_trained_network_does_not_suit_are_refused_in_one_line(
    dense: Path, tmp_path: Path, classes: str, mode: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = photos(tmp_path / "photos", classes, mode), tmp_path / "out"
    command = f"prune fisher --model {dense} --trained --data {data} --image-size 32 --val-fraction 0.2"
    assert cli(f"{command} --budget macs=50% --device cpu --out {out}") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_classes_in_another_order_are_refused_with_the_first_that_differs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = wide_resnet(depth=10, width=1, num_classes=3, image_size=32)
    sc.save(model, tmp_path / "net", classes=("a", "c", "b"))
    with pytest.raises(sc.InputError, match=r"score 1 of .* is the class 'c'.* class 1 is 'b'.*a, c, b"):
        given(tmp_path / "net", photos(tmp_path / "photos", "abc"), 32)


def test_classes_that_nobody_named_are_not_guessed_at(tmp_path: Path) -> None:
    sc.save(wide_resnet(depth=10, width=1, num_classes=3, image_size=32), tmp_path / "net")
    assert given(tmp_path / "net", photos(tmp_path / "photos", "abc"), 32) == []
    check_classes("it", (), "data", ("a",))


def test_layers_that_hold_to_their_image_size_are_refused_at_another(tmp_path: Path) -> None:
    sc.save(conv4(num_classes=3, image_size=16), tmp_path / "net")
    data = photos(tmp_path / "photos", "abc")
    assert given(tmp_path / "net", data, 16) == []
    with pytest.raises(sc.InputError, match=r"trained on images of 16x16 pixels, to which its layers hold .*"
                       r"choose --image-size 16"):  # fmt: skip
        given(tmp_path / "net", data, 32)


def test_what_has_no_weights_is_not_taken_as_trained(dense: Path, tmp_path: Path) -> None:
    assert weights_for(str(dense)) == dense
    assert weights_for(str(dense / "architecture.json")) == dense
    assert weights_for("package.module:function") is None
    with pytest.raises(sc.InputError, match="'wrn-16-1' has none: name a folder that train left"):
        weights_for("wrn-16-1")
    sc.Architecture.load(dense).save(tmp_path / "architecture.json")
    with pytest.raises(sc.InputError, match=r"there is no model\.safetensors in"):
        weights_for(str(tmp_path / "architecture.json"))


def test_inspect_counts_a_folder_at_the_size_that_is_asked_for(
    dense: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(f"inspect --model {dense} --input 3x48x48 --json") == 0
    assert json.loads(capsys.readouterr().out)["now"]["macs"] == MACS[48]
    assert cli(f"inspect --model {dense} --input 3x2x2") == 2


# sc.prune


def batches(side: int, channels: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    noise = torch.Generator().manual_seed(0)
    return [(torch.randn(4, channels, side, side, generator=noise), torch.tensor([0, 1, 2, 0]))]


class Plain(nn.Sequential):
    """Convolutions, then a mean: it takes images of any size, 10 * 9 * side**2 * (3 + 12) + 36 MACs."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 10, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(10, 12, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 3),
        )


@pytest.mark.parametrize("side", [32, 48])
def test_a_family_in_sc_prune_is_counted_on_the_images_that_it_is_given(side: int, tmp_path: Path) -> None:
    model = wide_resnet(depth=10, width=1, num_classes=3, image_size=32)
    model = sc.prune(
        model, method="random-channels", budget="macs=90%", data=batches(side), every=1, at_once=0, lr=1e-4
    )
    assert model.input_shape == (3, side, side)
    assert 0.8 * MACS[side] < sc.Architecture.of(model).macs <= 0.9 * MACS[side]
    sc.save(model, tmp_path)
    assert sc.load(tmp_path).input_shape == (3, side, side)


def test_a_foreign_network_opened_at_one_size_follows_the_data_to_another(tmp_path: Path) -> None:
    model = Plain()
    sc.inspect(model, torch.randn(2, 3, 8, 8), factory=Plain)
    assert sc.Architecture.of(model).macs == 10 * 9 * 64 * 15 + 36
    model = sc.prune(model, method="random-channels", budget="macs=50%", data=batches(16), every=1)
    found = sc.Architecture.of(model)
    assert found.macs <= (10 * 9 * 256 * 15 + 36) // 2
    assert found.to_dict()["input"] == {"shape": [3, 16, 16], "dtype": "float32"}
    sc.save(model, tmp_path)
    again = sc.load(tmp_path, factory=Plain)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(again(x), model(x))
    cut = found.widths
    again = sc.prune(again, method="random-channels", budget="macs=80%", data=batches(12), every=1)
    smaller = sc.Architecture.of(again)
    assert smaller.macs <= 0.8 * (9 * 144 * (3 * cut[0] + cut[0] * cut[1]) + 3 * cut[1])
    assert smaller.to_dict()["input"]["shape"] == [3, 12, 12]


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (wide_resnet(depth=10, width=1, num_classes=3), batches(32, channels=1)),
        (conv4(num_classes=3, image_size=16), batches(32)),
        (Plain(), batches(8, channels=1)),
        (Plain(), [({"images": torch.randn(2, 3, 8, 8)}, torch.zeros(2, dtype=torch.int64))]),
    ],
)
def test_inputs_that_a_network_does_not_take_are_refused_in_one_line(model: nn.Module, data: list) -> None:  # type: ignore[type-arg]
    with pytest.raises(sc.InputError, match="cannot be run on the inputs given, float32") as caught:
        sc.prune(model, budget="macs=50%", data=data)
    assert "\n" not in str(caught.value)


def test_inspecting_a_family_counts_on_the_inputs_that_are_given() -> None:
    model = wide_resnet(depth=10, width=1, num_classes=3, image_size=32)
    assert sc.inspect(model, torch.randn(2, 3, 48, 48)).now["macs"] == MACS[48]
    with pytest.raises(sc.InputError, match="cannot be run on the inputs given"):
        sc.inspect(model, torch.randn(2, 1, 48, 48))


def test_images_too_small_for_a_family_are_refused() -> None:
    with pytest.raises(sc.InputError, match="images must be at least 4x4 pixels"):
        sc.prune(wide_resnet(depth=10, width=1, num_classes=3), budget="macs=50%", data=batches(2))
