"""Augmentation by name, and normalisation as weights want it."""

from __future__ import annotations

import json
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torch.nn import functional as F

from secateur.architecture.pretrained import normalization_of, normalized_for
from secateur.compare.forecast import timed_examples
from secateur.data import Augmentation, Data, Split, epoch_batches, load_data
from secateur.data.augment import SMALLEST_BOX, draw, draw_boxes, resized_crop, tinted
from secateur.data.normalization import IMAGENET, Normalization, named
from secateur.errors import InputError
from secateur.training.recipe import Recipe

SIDE = 8


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, channels: int = 3, side: int = SIDE) -> torch.Tensor:
    return torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=seeded(9))


@pytest.fixture(scope="module")
def data() -> Data:
    split = Split(images(40), torch.arange(40) % 2)
    return Data(
        "x", "x", split, split, split, ("a", "b"), (0.0,) * 3, (1.0,) * 3, Augmentation(1, True), "0" * 16
    )


def epoch(data: Data, augmentation: Augmentation | None, start: int = 0) -> list[torch.Tensor]:
    """Batches as uint8: the data have mean 0 and deviation 1."""
    batches = epoch_batches(
        data.train,
        data,
        batch_size=8,
        device="cpu",
        generator=seeded(3),
        augmentation=augmentation,
        start=start,
    )
    return [(x * 255).round().to(torch.uint8) for x, _ in batches]


# --- by name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Augmentation(1, True)),
        ({"augment": "none"}, Augmentation(0, False)),
        ({"augment": "none", "flip": True}, Augmentation(0, True)),
        ({"augment": "crop-flip", "pad": 2}, Augmentation(2, True)),
        ({"augment": "resized-crop"}, Augmentation(0, True, resized=True)),
        ({"jitter": 0.2}, Augmentation(1, True, jitter=0.2)),
    ],
)
def test_names(data, settings, expected):
    assert Recipe(**settings).augmentation(data) == expected


def test_what_the_data_suggest_stays_but_where_a_name_says_otherwise(data):
    digits = replace(data, augmentation=Augmentation(1, False))
    assert Recipe(augment="resized-crop").augmentation(digits) == Augmentation(0, False, resized=True)
    assert Recipe(augment="crop-flip").augmentation(digits) == Augmentation(1, True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": "cutout"}, "unknown augmentation 'cutout'"),
        ({"jitter": 1.0}, r"jitter must lie in \[0, 1\), got 1.0"),
        ({"augment": "none", "pad": 2}, "pad must be left out where augment is not crop-flip, got 2"),
    ],
)
def test_settings_that_are_none(settings, message):
    with pytest.raises(InputError, match=message):
        Recipe(**settings)


def test_only_what_is_used_is_part_of_an_identity(data):
    plain = Recipe().identity(data)
    assert not {"augment", "jitter"} & plain.keys()
    assert Recipe(augment="crop-flip").identity(data) == plain  # the same by another name
    assert Recipe(augment="none").identity(data) == Recipe(pad=0, flip=False).identity(data)
    assert Recipe(augment="resized-crop").identity(data) == {**plain, "pad": 0, "augment": "resized-crop"}
    assert Recipe(jitter=0.2).identity(data) == {**plain, "jitter": 0.2}


# --- what it does ---------------------------------------------------------------------------------------


def test_none_gives_the_plain_images(data):
    order = torch.randperm(40, generator=seeded(3))
    assert torch.equal(torch.cat(epoch(data, Augmentation(0, False))), data.train.images[order])


@pytest.mark.parametrize(
    "augmentation", [Augmentation(0, True, resized=True, jitter=0.3), Augmentation(2, True, jitter=0.3)]
)
def test_an_epoch_is_its_seeds_and_goes_on_anywhere(data, augmentation):
    whole = epoch(data, augmentation)
    assert all(torch.equal(a, b) for a, b in zip(whole, epoch(data, augmentation), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], epoch(data, augmentation, start=2), strict=True))
    assert not torch.equal(torch.cat(whole), torch.cat(epoch(data, replace(augmentation, jitter=0.0))))


def test_without_jitter_the_bits_are_those_without_it(data):
    with_it = draw(40, Augmentation(1, True, jitter=0.5), torch.Size([8, 8]), seeded())
    without = draw(40, Augmentation(1, True), torch.Size([8, 8]), seeded())
    for name in ("top", "left", "mirrored"):
        assert torch.equal(getattr(with_it, name), getattr(without, name))
    assert without.tints is None


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**31))
def test_boxes_lie_inside(height, width, seed):
    top, left, high, wide = draw_boxes(64, torch.Size([height, width]), seeded(seed)).unbind(1)
    assert int(top.min()) >= 0
    assert int(left.min()) >= 0
    assert int(high.min()) >= 1
    assert int(wide.min()) >= 1
    assert int((top + high).max()) <= height
    assert int((left + wide).max()) <= width


def test_boxes_have_the_areas_and_shapes_that_are_promised():
    _, _, high, wide = draw_boxes(20_000, torch.Size([1000, 1000]), seeded()).double().unbind(1)
    areas, ratios = high * wide / 1e6, wide / high
    whole = (high < 1000) & (wide < 1000)
    assert float(areas.min()) > SMALLEST_BOX * 0.98
    assert 3 / 4 * 0.99 < float(ratios[whole].min()) < 0.76
    assert 1.32 < float(ratios[whole].max()) < 4 / 3 * 1.01
    # uniform in 0.08 .. 1: mean 0.54; boxes cut at the sides lose a little
    assert float(areas.mean()) == pytest.approx(0.535, abs=0.01)


@pytest.mark.parametrize("box", [(0, 0, 8, 8), (2, 1, 4, 4), (0, 3, 3, 5), (7, 7, 1, 1)])
def test_a_box_is_cut_out_and_then_resized(box):
    x = images(3)
    top, left, high, wide = box
    cut = x[:, :, top : top + high, left : left + wide].float()
    expected = F.interpolate(cut, (SIDE, SIDE), mode="bilinear", align_corners=False).round()
    found = resized_crop(x, torch.tensor([box] * 3))
    assert (found.float() - expected).abs().max() <= 1
    if box == (0, 0, 8, 8):
        assert torch.equal(found, x)


def test_tints_are_those_of_pillow():
    """ImageEnhance is the same arithmetic in steps of a whole level, its mean grey rounded."""
    x = images(1)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    for place, enhance in enumerate((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)):
        for factor in (0.6, 1.0, 1.4):
            tints = torch.ones(1, 3)
            tints[0, place] = factor
            expected = torch.from_numpy(np.array(enhance(picture).enhance(factor))).int()
            assert (tinted(x, tints)[0].permute(1, 2, 0).int() - expected).abs().max() <= 2
    assert torch.equal(tinted(x, torch.ones(1, 3)), x)


def test_grey_images_have_no_saturation():
    x = images(2, channels=1)
    assert torch.equal(tinted(x, torch.tensor([[1.0, 1.0, 1.9]] * 2)), x)


# --- normalisation --------------------------------------------------------------------------------------


def test_normalizations_by_name_and_by_number():
    assert named("imagenet") == IMAGENET
    assert named("data") is named(None) is None
    half = Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert named("mean=0.5,0.5,0.5 std=.25,.25,.25") == half
    assert named(([0.5] * 3, [0.25] * 3)) == half
    assert IMAGENET.of(1).mean == pytest.approx((0.449,))
    assert Normalization((0.5,), (0.25,)).of(3).mean == half.mean


@pytest.mark.parametrize(
    "wrong", ["caffe", "mean=0.5", "mean=1,2 std=1,2", "mean=.5,.5,.5 std=0,1,1", ([0.5],)]
)
def test_normalizations_that_are_none(wrong):
    with pytest.raises(InputError, match=r"normaliz"):
        load_data("digits", normalize=wrong)


def test_other_numbers_are_other_runs():
    plain = load_data("digits")
    assert load_data("digits", normalize=(plain.mean, plain.std)).fingerprint == plain.fingerprint
    other = load_data("digits", normalize="imagenet")
    assert other.mean == pytest.approx((0.449,))
    assert other.fingerprint != plain.fingerprint
    assert other.preprocessing.mean == other.mean


def test_a_model_says_how_its_images_are_normalised(tmp_path, monkeypatch, data):
    saved = tmp_path / "small"
    saved.mkdir()
    assert normalization_of(str(saved)) is None
    (saved / "artefact.json").write_text(json.dumps({"preprocessing": {"mean": [0.1] * 3, "std": [0.2] * 3}}))
    assert normalization_of(str(saved)).mean == (0.1,) * 3
    assert normalization_of(str(saved / "architecture.json")).std == (0.2,) * 3
    module = torch.nn.Identity()
    module.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    assert normalization_of(module).mean == (0.5,) * 3
    monkeypatch.chdir(tmp_path)
    saved.rename("wrn-16-1")  # which names the built-in network all the same
    assert normalization_of("wrn-16-1") is None
    saved = (tmp_path / "wrn-16-1").rename(saved)
    changed, said = normalized_for(str(saved), data)
    assert changed.mean == (0.1,) * 3
    assert str(said) == f"as {saved} has it: mean 0.1 0.1 0.1, deviation 0.2 0.2 0.2"
    assert normalized_for(str(saved), data, "data") == (data, None)
    with pytest.raises(InputError, match="'wrn-16-1' does not say how its images are normalised: use --norm"):
        normalized_for("wrn-16-1", data, "model")


@pytest.mark.parametrize(
    ("config", "mean"),
    [
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (0.5,) * 3),
        ({"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (0.0,)),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, None),
        ({}, None),
    ],
)
def test_the_image_processor_of_transformers_is_asked(tmp_path, config, mean):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert normalization_of(f"hf:{tmp_path}") is None  # no weights to be suited
    (tmp_path / "model.safetensors").touch()
    found = normalization_of(f"hf:{tmp_path}")
    assert (found.mean if found else None) == mean


def test_timm_is_asked(monkeypatch):
    timm = types.ModuleType("timm")
    timm.is_model = timm.is_model_pretrained = lambda name: True
    timm.get_pretrained_cfg = lambda name: types.SimpleNamespace(mean=(0.4,) * 3, std=(0.2,) * 3)
    monkeypatch.setitem(__import__("sys").modules, "timm", timm)
    assert normalization_of("timm:resnet18") == Normalization((0.4,) * 3, (0.2,) * 3, "timm:resnet18")


# --- a plan of large images -----------------------------------------------------------------------------


def test_a_plan_times_as_many_examples_as_take_a_second():
    assert timed_examples(12_500_000, 128, "cpu") == 128  # 32 pixels
    assert timed_examples(1_306_181_824, 128, "cpu") == 2  # 224 pixels: 128 took 5 minutes and 14 GB
    assert timed_examples(500_000_000, 128, "cpu") == 6
    assert timed_examples(1_306_181_824, 128, "cuda") == 128
