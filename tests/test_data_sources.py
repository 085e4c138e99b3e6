"""Loading: `secateur.data.{sources,folders,tables,layout,decode,jpeg,cache}` through `load_data`."""

from __future__ import annotations

import builtins
import io
import json
import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import secateur.data as package
from secateur.data import Augmentation, load_data
from secateur.data.jpeg import describe_codec
from secateur.data.names import split_of
from secateur.data.tables import from_dataset_dict
from secateur.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_data_folder(monkeypatch):
    monkeypatch.delenv("SECATEUR_DATA", raising=False)


def picture(value: int, mode: str = "RGB", size: tuple[int, int] = (6, 6)) -> Image.Image:
    colour = (value, 255 - value, 7)
    image = Image.new("RGB", size, colour if mode not in ("L", "1") else (value,) * 3)
    return image if mode == "RGB" else image.convert(mode)


def encoded(value: int, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture(value).save(buffer, kind, **options)
    return buffer.getvalue()


def fill(
    folder: Path, count: int = 5, mode: str = "RGB", suffix: str = "png", first: int = 0, **options
) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        picture(10 * i + first, mode, **options).save(folder / f"{i:03}.{suffix}")


def make_folders(root: Path, *splits: str, classes=("cat", "dog"), **options) -> Path:
    for split in splits or ("",):
        for k, name in enumerate(classes):
            fill(root / split / name, first=k, **({"count": 20} | options))
    return root


def hub_table(labels, names=("cat", "dog"), image="img", label="label", **options) -> pyarrow.Table:
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = [{"bytes": encoded(i, **options), "path": None} for i in range(len(labels))]
    table = pyarrow.table({image: pyarrow.array(images, kind), label: pyarrow.array(labels, pyarrow.int64())})
    if names is None:
        return table
    features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def make_parquet(root: Path, tables: dict[str, pyarrow.Table]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pyarrow.parquet.write_table(table, root / f"{name}.parquet")
    return root


# --- digits ---------------------------------------------------------------------------------------------


def test_digits_literals():
    data = load_data("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1167, 130, 500)
    assert (data.shape, data.num_classes, data.classes[3]) == ((1, 8, 8), 10, "3")
    assert (data.name, data.label) == ("digits", "digits")
    assert data.augmentation == Augmentation(pad=1, flip=False)
    assert (data.train.images.dtype, data.train.labels.dtype) == (torch.uint8, torch.int64)
    assert data.test.labels.bincount().tolist() == [50, 51, 49, 51, 50, 51, 50, 50, 48, 50]
    assert data.mean == pytest.approx((0.30665,), abs=1e-5)
    assert data.fingerprint == "2f29cd56189097ec"


def test_digits_are_those_of_scikit_learn(tmp_path):
    """How the embedded file was made, and that it still holds just that."""
    source = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.from_numpy(np.rint(source.images * 255 / 16).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(source.target.astype(np.int64))
    save_file({"images": images.contiguous(), "labels": labels}, tmp_path / "digits.safetensors")
    made = load_file(tmp_path / "digits.safetensors")
    embedded = load_file(Path(package.__file__).with_name("digits.safetensors"))
    assert embedded.keys() == made.keys()
    assert all(torch.equal(embedded[name], made[name]) for name in made)


def test_seed_and_fraction_move_validation_and_never_the_test_split():
    one, two = load_data("digits"), load_data("digits", split_seed=1, val_fraction=0.5)
    assert torch.equal(one.test.images, two.test.images)
    assert not torch.equal(one.val.images, two.val.images[:130])
    assert (len(two.train), len(two.val)) == (649, 648)
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint == load_data("digits").fingerprint


def test_limit_counts_training_and_validation():
    data = load_data("digits", limit_train=203, val_fraction=0.2)
    assert (len(data.train), len(data.val), len(data.test)) == (162, 41, 500)


def test_digits_can_be_resized():
    assert load_data("digits", image_size=32).shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 0.0}, "val_fraction must be above 0 and at most 0.5, not 0.0"),
        ({"val_fraction": 0.6}, "not 0.6"),
        ({"image_size": 0}, "image_size must be at least 1 pixel, not 0"),
        ({"limit_train": 19}, "limit_train must be from 20 .* to 1297 .*, not 19"),
        ({"limit_train": 1298}, "not 1298"),
    ],
)
def test_option_errors(options, message):
    with pytest.raises(InputError, match=message):
        load_data("digits", **options)


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", r"unknown data set 'digit': did you mean 'digits'\?.*, a folder, or hf:owner/name"),
        ("./none", r"data folder './none' does not exist: pass a folder or one of digits, cifar10"),
        ("some/where", "data folder 'some/where' does not exist"),
        ("hf:cifar", "written hf:owner/name, not 'hf:cifar'"),
        (
            __file__,
            r"a data set is a folder, a .zip .*test_data_sources.py' is another file: pass the folder",
        ),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(InputError, match=message) as caught:
        load_data(name)
    assert "\n" not in str(caught.value)


def test_split_names():
    names = [
        "train-00000-of-00001.parquet",
        "Training",
        "valid",
        "validation",
        "val",
        "test",
        "values",
        "dev",
    ]
    assert [split_of(name) for name in names] == ["train", "train", "val", "val", "val", "test", None, "val"]


# --- image folders --------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_split(tmp_path):
    root = make_folders(tmp_path / "photos")
    data = load_data(str(root) + "/")
    assert (data.name, data.label, data.classes) == ("photos", "photos", ("cat", "dog"))
    assert (len(data.train), len(data.val), len(data.test)) == (29, 3, 8)
    assert data.test.labels.bincount().tolist() == [4, 4]
    assert torch.equal(data.test.images, load_data(str(root), split_seed=3).test.images)
    assert data.augmentation == Augmentation(pad=1, flip=True)


def test_pixels_and_labels_stay_together(tmp_path):
    data = load_data(str(make_folders(tmp_path / "photos")))
    for split in (data.train, data.val, data.test):
        red, green, blue = split.images[:, :, 2, 3].T.int()
        assert torch.equal(red % 10, split.labels)
        assert torch.equal(green, 255 - red)
        assert set(blue.tolist()) == {7}


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        (("train", "test"), (36, 4, 40)),
        (("train", "valid"), (36, 4, 40)),
        (("Train", "Validation"), (36, 4, 40)),
        (("train", "val", "test"), (40, 40, 40)),
    ],
)
def test_split_folders(tmp_path, splits, sizes):
    data = load_data(str(make_folders(tmp_path / "photos", *splits)))
    assert (len(data.train), len(data.val), len(data.test)) == sizes


def test_hidden_files_others_and_sub_folders(tmp_path):
    root = make_folders(tmp_path / "photos")
    (root / "cat" / ".hidden.png").write_bytes(b"no image")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / ".git").mkdir()
    fill(root / "cat" / "more", count=10, suffix="bmp")
    data = load_data(str(root))
    assert len(data.train) + len(data.val) + len(data.test) == 50


@pytest.mark.parametrize("mode", ["L", "1", "I;16", "LA"])
def test_grey_images_have_one_channel(tmp_path, mode):
    assert load_data(str(make_folders(tmp_path / "photos", mode=mode))).shape == (1, 6, 6)


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.full((4, 4), 0xABCD, np.uint16)).save(tmp_path / "photos" / name / f"{i}.png")
    assert load_data(str(tmp_path / "photos")).train.images.unique().tolist() == [0xAB]


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("CMYK", "tiff"), ("RGB", "webp")]
)
def test_one_colour_image_makes_all_rgb(tmp_path, mode, suffix):
    root = make_folders(tmp_path / "photos", mode="L")
    picture(200, mode).save(root / "cat" / f"colour.{suffix}")
    data = load_data(str(root))
    assert data.shape == (3, 6, 6)


def test_a_palette_with_transparency_is_converted_without_a_warning(tmp_path):
    root = make_folders(tmp_path / "photos")
    picture(9, "P").save(root / "cat" / "clear.png", transparency=bytes(range(256)))
    assert load_data(str(root)).shape == (3, 6, 6)


def test_image_size_takes_the_centre(tmp_path):
    root = make_folders(tmp_path / "photos", size=(12, 6))
    stripes = Image.new("RGB", (18, 6), (255, 0, 0))
    stripes.paste((0, 0, 255), (6, 0, 12, 6))
    stripes.save(root / "cat" / "stripes.png")
    data = load_data(str(root), image_size=6)
    assert data.shape == (3, 6, 6)
    images = torch.cat([data.train.images, data.val.images, data.test.images])
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8).view(3, 1, 1).expand(3, 6, 6)
    assert any(torch.equal(image, blue) for image in images)


def corrupt(root: Path) -> None:
    (root / "cat" / "003.png").write_bytes((root / "cat" / "003.png").read_bytes()[:45])


def no_image(root: Path) -> None:
    (root / "cat" / "003.png").write_text("hello")


def other_size(root: Path) -> None:
    picture(1, size=(7, 5)).save(root / "dog" / "big.png")


def empty_class(root: Path) -> None:
    (root / "eel").mkdir()


def one_class(root: Path) -> None:
    for path in [*(root / "dog").iterdir(), root / "dog"]:
        path.unlink() if path.is_file() else path.rmdir()


def rare_class(root: Path) -> None:
    fill(root / "eel", count=1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt, r"every image must be readable, but .*cat/003.png is not \(.*\): replace or remove it"),
        (no_image, r"cat/003.png is not \(no image format that Pillow knows\)"),
        (other_size, r"dog/big.png is 7x5 and .*cat/000.png is 6x6: resize them all with --image-size 6"),
        (empty_class, r"class 'eel' in .*photos has none"),
        (one_class, r"at least two classes, but .*photos has only 'cat'"),
        (rare_class, r"at least 3 images, one each to train, .*, but class 'eel' has 1: add images"),
    ],
)
def test_folder_errors(tmp_path, damage, message):
    root = make_folders(tmp_path / "photos")
    damage(root)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(root))
    assert "\n" not in str(caught.value)


def test_floating_point_images_are_refused(tmp_path):
    root = make_folders(tmp_path / "photos")
    Image.fromarray(np.full((6, 6), 1.5, np.float32)).save(root / "cat" / "float.tiff")
    with pytest.raises(InputError, match=r"float.tiff is not \(floating-point pixels must lie in \[0, 1\]"):
        load_data(str(root))


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match=r"no class folders in .*: expected .*/CLASS/\*.jpg"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("train",), r"has 'train' but neither 'test' nor 'valid': add one, or pass --data .*/train to have"),
        (("test", "valid"), "has 'test' and 'val' but no 'train'"),
        (("train", "val", "valid"), "one folder per split, but .*val and .*valid are both 'val'"),
    ],
)
def test_missing_splits(tmp_path, splits, message):
    root = make_folders(tmp_path / "photos", *splits, count=1)
    with pytest.raises(InputError, match=message):
        load_data(str(root))


def test_splits_of_other_classes(tmp_path):
    root = make_folders(tmp_path / "photos", "train", "test", count=1)
    fill(root / "test" / "eel", count=1)
    with pytest.raises(InputError, match=r"same classes, but 'eel' is in .*test and not in .*train"):
        load_data(str(root))


# --- parquet and the Hub --------------------------------------------------------------------------------

LABELS = [0, 1] * 20


def test_parquet_in_the_schema_of_the_hub(tmp_path):
    tables = {"train-00000-of-00002": hub_table(LABELS), "train-00001-of-00002": hub_table(LABELS)}
    root = make_parquet(
        tmp_path / "animals" / "plain_text", tables | {"test-00000-of-00001": hub_table([1, 0])}
    )
    data = load_data(str(root.parent))
    assert (data.name, data.classes, data.shape) == ("animals", ("cat", "dog"), (3, 6, 6))
    assert (len(data.train), len(data.val), len(data.test)) == (72, 8, 2)
    assert data.test.labels.tolist() == [1, 0]
    assert data.test.images[:, 0, 0, 0].tolist() == [0, 1]


def test_validation_rows_test_when_there_is_no_test_split(tmp_path):
    tables = {"train-0": hub_table(LABELS), "valid-0": hub_table([0, 1, 1])}
    assert len(load_data(str(make_parquet(tmp_path / "animals", tables))).test) == 3


def test_files_that_name_no_split_are_one_set(tmp_path):
    root = make_parquet(tmp_path / "animals", {"part-0": hub_table(LABELS, names=None)})
    data = load_data(str(root))
    assert (len(data.test), data.classes) == (8, ("0", "1"))


def test_plain_binary_and_another_label_name(tmp_path):
    table = pyarrow.table(
        {"jpg": [encoded(i) for i in range(40)], "kind": pyarrow.array(LABELS, pyarrow.int8())}
    )
    assert load_data(str(make_parquet(tmp_path / "animals", {"a": table}))).num_classes == 2


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"train": hub_table([0, 1])}, "missing split: .*neither 'test' nor 'valid'"),
        ({"train": hub_table(LABELS), "test": hub_table([-1, -1])}, "split 'test' of .* has -1 .*unlabelled"),
        ({"train": hub_table([0, None, 1]), "test": hub_table([0, 1])}, "split 'train' of .* has None"),
        (
            {"train": hub_table([0, 1, 2]), "test": hub_table([0, 1])},
            r"0\.\.1 for 2 class names.*'train'.* has 2",
        ),
        ({"train": hub_table([0, 1]), "test": hub_table([1])}, "class 'cat' of split 'test' in .* has none"),
        (
            {"all": hub_table([1, 2], names=None)},
            "every class needs at least 3 images, .*, but class '1' has 1",
        ),
        ({"all": hub_table([0, 0], names=["cat"])}, "at least two classes, but .* has only 'cat'"),
        ({"train": hub_table([0, 1]), "test": hub_table([0, 1], names="ab")}, "class names of .* differ"),
        ({"train": hub_table([]), "test": hub_table([0, 1])}, "split 'train' of .* has no images"),
        (
            {"all": pyarrow.table({"x": [1.5], "label": [0]})},
            r"one image column, but none is there: it has x \(double\), label \(int64\)",
        ),
        (
            {"all": pyarrow.table({"img": [b""], "fine": [0], "coarse": [1]})},
            r"one label column, but fine, coarse could each be it: .*; choose with --label-column",
        ),
        ({"all": pyarrow.table({"img": [b"a", None], "label": [0, 1]})}, "all.parquet row 1 has none"),
        (
            {"all": pyarrow.table({"img": [b"a", b"b"], "label": [0, 1]})},
            r"2 of 2 are not: all.parquet row 0 \(",
        ),
    ],
)
def test_parquet_errors(tmp_path, tables, message):
    root = make_parquet(tmp_path / "animals", tables)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(root))
    assert "\n" not in str(caught.value)


def test_a_broken_parquet_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")
    make_parquet(tmp_path, {"test": hub_table([0, 1])})
    with pytest.raises(
        InputError, match=r"train.parquet is not a readable parquet file \(.*\): fetch it again"
    ):
        load_data(str(tmp_path))


def test_named_sets_are_looked_for_in_secateur_data(tmp_path, monkeypatch):
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))
    make_folders(tmp_path / "tiny-imagenet", "train", "val")
    assert load_data("tiny-imagenet").label == "tiny-imagenet"


@pytest.mark.parametrize(
    ("options", "label"), [({}, "cifar10"), ({"kind": "JPEG", "quality": 75}, "cifar10 (jpeg q75)")]
)
def test_captions_say_that_cifar_was_compressed(tmp_path, monkeypatch, options, label):
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path))
    make_parquet(tmp_path / "cifar10", {s: hub_table(LABELS, **options) for s in ("train", "test")})
    assert load_data("cifar10").label == label
    assert load_data("cifar10").label == label, "from the cache"
    assert load_data(str(tmp_path / "cifar10")).label == label


def test_codecs():
    assert describe_codec([encoded(1, "JPEG", quality=q) for q in (40, 40)]) == "jpeg q40"
    assert describe_codec([encoded(1, "JPEG", quality=q) for q in (40, 41)]) == "jpeg"
    assert describe_codec([encoded(1, "JPEG"), encoded(1)]) == ""
    odd = encoded(1, "JPEG", qtables=[list(range(1, 65)), list(range(1, 65))])
    assert describe_codec([odd]) == "jpeg"


def test_without_the_library_the_hub_says_how_to_go_on(monkeypatch, no_data_folder):
    plain_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return plain_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"pip install 'secateur\[hub\]'`, or set SECATEUR_DATA .*'cifar10'"):
        load_data("cifar10")
    with pytest.raises(InputError, match=r"pip install 'secateur\[hub\]'`, or pass a folder"):
        load_data("hf:some/data")


def test_a_hub_out_of_reach_is_one_line(monkeypatch, no_data_folder):
    def load_dataset(name, trust_remote_code):
        assert trust_remote_code is False
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub\nand a long story")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(
        InputError, match=r"did not give 'uoft-cs/cifar10' \(Couldn't reach.*Hub\): check"
    ) as caught:
        load_data("cifar10")
    assert "\n" not in str(caught.value)


@pytest.fixture
def dataset_dict(tmp_path):
    """What `load_dataset` gives for the Hub's parquet files, read from local ones."""
    datasets = pytest.importorskip("datasets")
    root = make_parquet(tmp_path / "files", {"train-0": hub_table(LABELS), "test-0": hub_table([1, 0])})
    files = {split: str(root / f"{split}-0.parquet") for split in ("train", "test")}
    files["unsupervised"] = files["test"]
    return datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "hub"))


def test_a_dataset_dict_of_the_hub(dataset_dict):
    listing = from_dataset_dict(dataset_dict, "owner/animals")
    splits = listing.splits
    assert (sorted(splits), listing.classes) == (["test", "train"], ("cat", "dog"))
    assert listing.left_out == {"split unsupervised": 2}
    assert (len(splits["train"].images), splits["test"].labels) == (40, [1, 0])
    assert splits["test"].images[1] == encoded(1)
    assert splits["test"].names[1] == "test row 1"
    with pytest.raises(InputError, match="missing split: owner/animals has 'train'"):
        from_dataset_dict({"train": dataset_dict["train"]}, "owner/animals")


def test_the_hub_gives_what_its_parquet_files_give(dataset_dict, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda repository, trust_remote_code: dataset_dict)
    data = load_data("hf:owner/animals")
    assert (data.name, data.label) == ("hf:owner/animals", "owner/animals")
    assert data.fingerprint == load_data(str(tmp_path / "files")).fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 2, "both are cached"


class Fetched:
    """One split as the `datasets` library has it, which need not be installed: images by path alone."""

    cache_files = ()

    def __init__(self, paths):
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        cells = pyarrow.array([{"bytes": None, "path": str(path)} for path in paths], kind)
        self.table = pyarrow.table({"image": cells, "label": [i % 2 for i in range(len(paths))]})
        self.features = types.SimpleNamespace(arrow_schema=self.table.schema)

    def __len__(self):
        return len(self.table)

    def with_format(self, name):
        assert name == "arrow"
        return self

    def __getitem__(self, rows):
        return self.table


def test_a_set_of_the_hub_names_no_file_but_what_was_fetched(tmp_path, monkeypatch):
    for folder in ("datasets", "elsewhere"):
        for index in range(12):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{index}.png").write_bytes(encoded(index))
    caches = ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH")
    asked = []
    fetched = {"train": Fetched([tmp_path / "datasets" / f"{i}.png" for i in range(12)])}
    fetched["test"] = fetched["train"]

    def load_dataset(name, **given):
        asked.append((name, given))
        return fetched

    config = types.SimpleNamespace(**dict.fromkeys(caches, tmp_path / "datasets"))
    stand_in = types.SimpleNamespace(load_dataset=load_dataset, config=config)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    assert len(load_data("hf:owner/animals").test) == 12
    assert asked == [("owner/animals", {"trust_remote_code": False})]
    for path in ("/etc/passwd", tmp_path / "elsewhere" / "0.png", "datasets/../elsewhere/0.png"):
        monkeypatch.chdir(tmp_path)
        fetched["test"] = Fetched([path] * 2)
        with pytest.raises(InputError, match=f"test row 0 names '{path}'"):
            load_data("hf:owner/animals")


# --- cache ----------------------------------------------------------------------------------------------


@pytest.fixture
def decodings(monkeypatch) -> list[int]:
    """Grows by one for every image that is opened."""
    opened: list[int] = []
    plain_open = Image.open

    def counting(*args, **kwargs):
        opened.append(1)
        return plain_open(*args, **kwargs)

    monkeypatch.setattr(Image, "open", counting)
    return opened


def test_the_second_load_decodes_nothing(tmp_path, decodings):
    root = make_folders(tmp_path / "photos")
    calls = []
    first = load_data(str(root), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("decoding images", 40, 40)
    decodings.clear()
    assert load_data(str(root)).fingerprint == first.fingerprint
    assert not decodings
    load_data(str(root), image_size=4)
    assert decodings, "another option, another cache file"


def test_a_changed_file_is_decoded(tmp_path, decodings):
    root = make_folders(tmp_path / "photos")
    first = load_data(str(root))
    picture(99).save(root / "cat" / "000.png")
    os.utime(root / "cat" / "000.png", ns=(1, 1))
    decodings.clear()
    assert load_data(str(root)).fingerprint != first.fingerprint
    assert decodings


@pytest.mark.parametrize("content", [b"", b"junk", struct.pack("<Q", 2) + b"{}", None])
def test_a_damaged_cache_file_is_made_again(tmp_path, decodings, content):
    root = make_folders(tmp_path / "photos")
    first = load_data(str(root))
    [file] = (tmp_path / "cache").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] if content is None else content)
    decodings.clear()
    assert load_data(str(root)).fingerprint == first.fingerprint
    assert decodings
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "file" / "cache"))
    assert load_data(str(make_folders(tmp_path / "photos"))).shape == (3, 6, 6)
    assert "set SECATEUR_CACHE to a writable folder" in caplog.text


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    def full(file, content, place):
        raise OSError("disk full")

    monkeypatch.setattr("secateur.data.store._write_at", full)
    assert len(load_data(str(make_folders(tmp_path / "photos"))).train) == 29
    assert not list((tmp_path / "cache").iterdir())


# --- real data ------------------------------------------------------------------------------------------

real = pytest.mark.skipif("SECATEUR_DATA" not in os.environ, reason="SECATEUR_DATA is not set: no real data")


@real
def test_cifar10_as_it_is_here():
    data = load_data("cifar10")
    assert (data.shape, data.classes[0], data.classes[9]) == ((3, 32, 32), "airplane", "truck")
    assert (len(data.train), len(data.val), len(data.test)) == (45000, 5000, 10000)
    assert (data.train.labels.bincount() + data.val.labels.bincount()).tolist() == [5000] * 10
    assert data.test.labels.bincount().tolist() == [1000] * 10
    assert data.mean == pytest.approx((0.491, 0.482, 0.447), abs=2e-3)
    assert data.std == pytest.approx((0.247, 0.243, 0.262), abs=4e-3)


@real
@pytest.mark.slow
def test_tiny_imagenet_as_it_is_here():
    data = load_data("tiny-imagenet", limit_train=2000)
    assert (data.shape, data.num_classes, data.label) == ((3, 64, 64), 200, "tiny-imagenet")
    assert (len(data.train), len(data.val), len(data.test)) == (1800, 200, 10000)
    assert data.test.labels.bincount().unique().tolist() == [50]
