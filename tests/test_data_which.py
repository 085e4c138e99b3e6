"""Which data: layouts of folders, lists, tables, arrays and archives as people have them -> what happens now.

Each table stands for kinds: what is right is written out, and what can be read in two ways must be refused
with the option that decides.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import secateur as sc
from secateur.data import load_data
from secateur.data.archives import unpacked
from secateur.data.names import split_name, split_of
from secateur.data.reading import Reading, parse_splits
from secateur.data.sources import find_source
from secateur.data.splits import largest_remainder, shares_of_all
from secateur.errors import InputError
from secateur.records.found import Found, counted, listed


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.delenv("SECATEUR_DATA", raising=False)


@cache
def picture(number: int) -> bytes:
    """A PNG of 4x4 pixels, another one for each number below 60,000."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (number % 251, number // 251, 7)).save(buffer, "PNG")
    return buffer.getvalue()


class Tree:
    """Makes folders of pictures, no two alike."""

    def __init__(self, root: Path):
        self.root, self.made = root, 0

    def images(self, folder: str, count: int = 10, suffix: str = ".png") -> Tree:
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (self.root / folder / f"{i}{suffix}").write_bytes(picture(self.made))
            self.made += 1
        return self

    def classes(self, folder: str, *names: str, count: int = 10) -> Tree:
        for name in names:
            self.images(os.path.join(folder, name), count)
        return self

    def file(self, path: str, content: str | bytes = "x") -> Tree:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content.encode() if isinstance(content, str) else content)
        return self


@pytest.fixture
def tree(tmp_path) -> Tree:
    (tmp_path / "photos").mkdir()
    return Tree(tmp_path / "photos")


def listing_of(root: Path, **options):
    """Classes, and images of each class of each split, without decoding; what is left out; what is said."""
    source = find_source(str(root), Reading(**options))
    with source.read() as listing:
        counts = {
            split: tuple(list(part.labels).count(k) for k in range(len(listing.classes)))
            for split, part in listing.splits.items()
        }
        left_out = {**source.left_out, **listing.left_out}
        return listing.classes, counts, left_out, (*source.remarks, *listing.remarks)


def refused(root: Path | str, *parts: str, **options) -> str:
    """The one line that refuses; it must have these parts."""
    with pytest.raises(InputError) as caught:
        load_data(str(root), **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    return message


# --- splits ---------------------------------------------------------------------------------------------

WORDS = [
    ("train", "test"),
    ("Train", "TEST"),
    ("training", "testing"),
    ("train", "val"),
    ("train", "valid"),
    ("train", "validation"),
    ("train", "dev"),
    ("train", "eval"),
    ("train", "evaluation"),
    ("train", "holdout"),
    ("train", "hold-out"),
    ("trn", "tst"),
    ("trainset", "testset"),
    ("trainimages", "imagestest"),
    ("training_set", "test_set"),
    ("my_train", "my_test"),
    ("train_images", "test_images"),
    ("train", "test_images"),
    ("train1", "test1"),
    ("train-2024", "val-2024"),
    ("TrainingData", "TestData"),
    ("seg_train", "seg_test"),
    ("photos.train", "photos.test"),
]


@pytest.mark.parametrize(("train", "test"), WORDS)
def test_split_folders(tree, train, test):
    tree.classes(train, "cat", "dog", count=5).classes(test, "cat", "dog", count=3)
    classes, counts, left_out, remarks = listing_of(tree.root)
    assert (classes, counts, left_out) == (("cat", "dog"), {"train": (5, 5), "test": (3, 3)}, {})
    own_test = split_of(test) == "val" or (split_name(test) and split_name(test).split == "val")
    assert remarks == (
        ("no test split: 'val' is it, and validation is held out of train",) if own_test else ()
    )


@pytest.mark.parametrize(("train", "test"), WORDS)
def test_split_files(tree, train, test):
    for name, count in ((train, 6), (test, 4)):
        pyarrow.parquet.write_table(table([0, 1] * (count // 2)), tree.root / f"{name}.parquet")
    assert listing_of(tree.root)[1] == {"train": (3, 3), "test": (2, 2)}


@pytest.mark.parametrize(
    "names",
    [
        ("train/0000.parquet", "test/0000.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
        (
            "data/train-00000-of-00001-a09b74b3ef9c3b56.parquet",
            "data/test-00000-of-00001-1234567890abcdef.parquet",
        ),
        ("plain_text/train/0000.parquet", "plain_text/test/0000.parquet"),
        ("my_train.parquet", "my_test.parquet"),
        ("mnist_train/part-0.parquet", "mnist_test/part-0.parquet"),
    ],
)
def test_tables_of_the_hub(tree, names):
    for name, count in zip(names, (6, 4), strict=True):
        (tree.root / name).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table([0, 1] * (count // 2)), tree.root / name)
    assert listing_of(tree.root)[1] == {"train": (3, 3), "test": (2, 2)}


def flat(tree: Tree, *names: str) -> Tree:
    return tree.classes(".", *names)


CLASSES = {
    "vehicles": (lambda t: flat(t, "bus", "car", "train"), ("bus", "car", "train")),
    "beginning so": (
        lambda t: flat(t, "beach", "train_station", "val_disere"),
        ("beach", "train_station", "val_disere"),
    ),
    "other words": (lambda t: flat(t, "valley", "trains", "testing"), ("testing", "trains", "valley")),
    "parts of classes": (
        lambda t: [t.classes(name, "day", "night") for name in ("beach", "train_station", "test_tube")],
        ("beach", "test_tube", "train_station"),
    ),
    "sub-folders of one": (lambda t: flat(t, "cat", "dog").images("cat/more"), ("cat", "dog")),
    "masks that faces wear": (
        lambda t: [t.file(f"{n}/{n}{i}.png", picture(i)) for n in ("face", "face_mask") for i in range(4)],
        ("face", "face_mask"),
    ),
    "a wrapper": (lambda t: t.classes("dataset/pets", "cat", "dog"), ("cat", "dog")),
    "a folder called as an image": (lambda t: flat(t, "cat", "dog").images("cat/album.jpg"), ("cat", "dog")),
}


@pytest.mark.parametrize("case", CLASSES)
def test_class_folders(tree, case):
    make, expected = CLASSES[case]
    make(tree)
    classes, counts, *_ = listing_of(tree.root)
    assert (classes, set(counts)) == (expected, {"all"})
    assert sum(counts["all"]) == len(list(tree.root.rglob("*.png")))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("bus", "car", "train"), ("train is read as a class",)),
        (("cat", "val", "test"), ("test, val are read as classes",)),
        (("beach", "train_station"), ()),
    ],
)
def test_a_class_that_is_called_as_a_split_is_said(tree, names, said):
    assert listing_of(flat(tree, *names).root)[3] == said


def test_what_lies_beside_the_only_class_is_told(tree):
    tree.images("jpg").file("imagelabels.mat", b"MATLAB")
    with pytest.raises(InputError, match=r"has only 'jpg' \(beside it: 1 .mat\): .* labels.csv"):
        listing_of(tree.root)


def batches(tree: Tree) -> None:
    tree.classes("batch1", "cat", "dog").classes("batch2", "cat", "dog")


AMBIGUOUS = {
    "batches": (batches, ("batch1, batch2", "(cat, dog)", "--classes-in '*'", "--classes-in .")),
    "people": (
        lambda t: t.classes("alice", "cat", "dog").classes("bob", "cat", "dog"),
        ("alice, bob", "--classes-in '*'"),
    ),
    "a class as a split": (
        lambda t: [t.classes(n, "red", "blue") for n in ("beach", "train", "test")],
        ("called as splits", "beach", "--classes-in .", "--splits train=DIR,test=DIR"),
    ),
    "flat splits beside a class": (
        lambda t: flat(t, "train", "test", "bus"),
        ("train", "test", "bus", "--classes-in .", "--splits"),
    ),
    "two sets": (
        lambda t: [t.classes(n, "cat", "dog") for n in ("a_train", "a_test", "b_train", "b_test")],
        ("'a_train' or 'b_train'", "--splits train=DIR,test=DIR"),
    ),
    "a train folder and another": (
        lambda t: t.classes("train", "cat", "dog").classes("more", "fox", "gnu"),
        ("'train'", "more", "--splits", "--classes-in ."),
    ),
    "val and valid": (
        lambda t: [t.classes(n, "cat", "dog") for n in ("train", "val", "valid")],
        ("both 'val'", "--splits train=DIR,val=DIR,test=DIR"),
    ),
    "a split and one like it": (
        lambda t: t.classes("learn", "a", "b").classes("test", "a", "b"),
        ("'test'", "learn", "--splits"),
    ),
    "only train": (lambda t: t.classes("train", "cat", "dog"), ("has 'train' but neither", "--data")),
    "other rests": (
        lambda t: t.classes("train_clean", "cat", "dog").classes("test_noisy", "cat", "dog"),
        ("train_clean", "test_noisy", "--classes-in"),
    ),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_ambiguous_is_refused_with_the_way(tree, case):
    make, parts = AMBIGUOUS[case]
    make(tree)
    refused(tree.root, *parts)


def test_the_ways_decide(tree):
    batches(tree)
    assert listing_of(tree.root, classes_in="*")[:2] == (("cat", "dog"), {"all": (20, 20)})
    assert listing_of(tree.root, classes_in=".")[:2] == (("batch1", "batch2"), {"all": (20, 20)})
    assert listing_of(tree.root, classes_in="batch2")[:2] == (("cat", "dog"), {"all": (10, 10)})
    splits = {"train": "batch1", "test": "batch2"}
    assert listing_of(tree.root, splits=splits)[:2] == (("cat", "dog"), {"train": (10, 10), "test": (10, 10)})
    refused(
        tree.root, "'batch3' is not there", "batch1, batch2", splits={"train": "batch1", "test": "batch3"}
    )
    refused(tree.root, "'..' is not there", classes_in="..")
    refused(tree.root, "leave one out", classes_in=".", splits=splits)


def test_splits_can_name_tables(tree):
    for name in ("a", "b", "c"):
        pyarrow.parquet.write_table(table([0, 1] * 3), tree.root / f"{name}.parquet")
    splits = {"train": "a.parquet", "test": "b.parquet", "val": "c.parquet"}
    assert set(listing_of(tree.root, splits=splits)[1]) == {"train", "test", "val"}
    refused(tree.root, "'../x.parquet' is not there", splits={"train": "../x.parquet", "test": "b.parquet"})


def test_splits_as_the_command_line_writes_them():
    assert parse_splits("train=a, test=b/c,val=d") == {"train": "a", "test": "b/c", "val": "d"}
    for text in ("a,b", "train=", "train=a,train=b", ""):
        with pytest.raises(InputError, match="--splits"):
            parse_splits(text)
    with pytest.raises(InputError, match="train=DIR,test=DIR"):
        Reading(splits={"train": "a"})
    with pytest.raises(InputError, match="got train, test, extra"):
        Reading(splits={"train": "a", "test": "b", "extra": "c"})


def test_every_class_with_its_own_splits(tree):
    tree.images("cat/train", 6).images("cat/test", 2).images("dog/train", 5).images("dog/test", 3)
    assert listing_of(tree.root)[1] == {"train": (6, 5), "test": (2, 3)}


# --- what lies beside -----------------------------------------------------------------------------------


def test_what_archivers_and_servers_leave_is_passed_over_and_said(tree):
    flat(tree, "cat", "dog")
    for name in (
        "__MACOSX",
        "@eaDir",
        "lost+found",
        "$RECYCLE.BIN",
        ".ipynb_checkpoints",
        "__pycache__",
        ".git",
    ):
        tree.images(name, 2)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "cat/._0.png", "cat/.DS_Store", "dog/Thumbs.db"):
        tree.file(name)
    tree.file("cat/readme.txt").file("notes.md")
    classes, counts, left_out, _ = listing_of(tree.root)
    assert (classes, counts) == (("cat", "dog"), {"all": (10, 10)})
    assert left_out == {"hidden or system files": 13, ".txt": 1, ".md": 1}


def test_what_lies_beside_is_counted(tree):
    tree.classes("train", "cat", "dog").classes("test", "cat", "dog", count=4).images("unlabeled", 7)
    tree.images(".", 3).images("train", 2).file("test/cat/IMG.HEIC", b"no image").file("train/cat/raw.CR2")
    _, counts, left_out, _ = listing_of(tree.root)
    assert counts == {"train": (10, 10), "test": (4, 4)}
    assert left_out == {
        "images in folders beside the splits (unlabeled)": 7,
        "images beside the splits": 3,
        "images beside the class folders": 2,
        ".heic": 1,
        ".cr2": 1,
    }


def test_links_are_followed_but_not_in_circles(tree):
    flat(tree, "cat", "dog")
    (tree.root / "self").symlink_to(tree.root)
    (tree.root / "cat" / "loop").symlink_to(tree.root / "cat")
    (tree.root / "cat" / "gone.png").symlink_to("/nowhere/x.png")
    (tree.root / "dog" / "me.png").symlink_to(tree.root / "dog" / "me.png")
    elsewhere = tree.root.parent / "elsewhere"
    Tree(elsewhere).images(".", 6)
    (tree.root / "emu").symlink_to(elsewhere)
    classes, counts, left_out, _ = listing_of(tree.root)
    assert (classes, counts) == (("cat", "dog", "emu"), {"all": (10, 10, 6)})
    assert left_out == {"links to a folder above": 2, "broken links": 2}


def test_masks_beside_their_images_are_no_images(tree):
    """The layout of BUSI, breast ultrasound: `benign (1).png`, `benign (1)_mask.png`."""
    flat(tree, "benign", "normal")
    for name in ("0_mask.png", "0_mask_1.png", "1_mask.png"):
        tree.file(f"benign/{name}", picture(9000))
    _, counts, left_out, _ = listing_of(tree.root)
    assert (counts, left_out) == ({"all": (10, 10)}, {"masks beside their images": 3})


OTHER_TASKS = {
    "masks": (lambda t: t.images("images").images("masks"), ("segmentation", "images beside masks")),
    "masks with a name": (
        lambda t: t.images("train_images").images("train_masks"),
        ("segmentation", "train_images beside train_masks"),
    ),
    "masks of carvana": (
        lambda t: [
            t.images("train"),
            *(t.file(f"train_masks/{i}_mask.gif.png", picture(500 + i)) for i in range(3)),
            *(t.file(f"train_masks/{i}_mask.png", picture(600 + i)) for i in range(9)),
        ],
        ("segmentation", "train beside train_masks"),
    ),
    "masks in splits": (
        lambda t: [t.images(f"{s}/{x}") for s in ("train", "val") for x in ("images", "labels")],
        ("segmentation",),
    ),
    "yolo": (
        lambda t: [
            t.images(f"{s}/images").file(f"{s}/labels/0.txt", "0 .5 .5 1 1") for s in ("train", "val")
        ],
        ("detection", "YOLO"),
    ),
    "ultralytics": (
        lambda t: [
            t.images(f"images/{s}").file(f"labels/{s}/0.txt", "0 .5 .5 1 1") for s in ("train", "val")
        ],
        ("detection", "YOLO"),
    ),
    "coco": (lambda t: t.images("train").file("train/_annotations.coco.json", "{}"), ("detection", "COCO")),
    "coco 2017": (
        lambda t: t.images("train2017").file("annotations/instances_train2017.json", "{}"),
        ("detection", "COCO"),
    ),
    "voc": (lambda t: t.images("JPEGImages").file("Annotations/0.xml", "<annotation>"), ("detection", "VOC")),
    "boxes beside images": (
        lambda t: [t.images("train"), *(t.file(f"train/{i}.txt", "3 0.5 0.5 0.25 0.25") for i in range(9))],
        ("detection", ".txt"),
    ),
    "boxes in a list": (
        lambda t: t.images(".").file("labels.csv", "file,class,xmin,ymin\n0.png,cat,1,1\n1.png,dog,2,2\n"),
        ("boxes", "detection"),
    ),
}


@pytest.mark.parametrize("case", OTHER_TASKS)
def test_other_tasks_are_recognised(tree, case):
    make, parts = OTHER_TASKS[case]
    make(tree)
    refused(tree.root, *parts, "secateur.compare")


UNCLEAR = {
    "flat": (lambda t: t.images("."), ("holds 10 images", "CLASS/", "labels.csv")),
    "flat splits": (
        lambda t: t.images("train").images("test"),
        ("no class folders in test, train", "CLASS/"),
    ),
    "names that look like classes": (
        lambda t: [t.file(f"{n}.{i}.png", picture(i)) for n in ("cat", "dog") for i in range(4)],
        ("cat, dog", "not taken as labels"),
    ),
    "an unlabelled test folder": (
        lambda t: t.classes("train", "cat", "dog").images("test"),
        ("test", "holds 10 images", "--splits"),
    ),
    "images of test in a folder": (
        lambda t: t.classes("train", "cat", "dog").images("test/images"),
        ("test", "holds 10 images"),
    ),
    "an empty class": (
        lambda t: [flat(t, "cat", "dog"), (t.root / "emu").mkdir()],
        ("class 'emu'", "remove the class"),
    ),
    "a class of heic": (
        lambda t: flat(t, "cat", "dog").file("emu/1.HEIC").file("emu/2.heic"),
        ("class 'emu'", "2 .heic", "secateur[heic]"),
    ),
    "one class": (lambda t: flat(t, "cat"), ("at least two classes", "only 'cat'")),
    "nothing": (lambda t: t, ("no class folders",)),
    "capitals": (lambda t: flat(t, "Cat", "cat", "dog"), ("'Cat' and 'cat'",)),
    "capitals in a split": (
        lambda t: t.classes("train", "Cat", "dog").classes("test", "cat", "dog"),
        ("'Cat' and 'cat'",),
    ),
    "spaces": (lambda t: flat(t, "cat", " cat", "dog"), ("' cat' and 'cat'",)),
    "accents": (lambda t: flat(t, "caf\u00e9", "cafe\u0301"), ("class names must differ",)),
    "only in test": (
        lambda t: t.classes("train", "cat", "dog").classes("test", "cat", "dog", "emu"),
        ("'emu' is in", "test and not in", "train"),
    ),
    "only in train": (
        lambda t: t.classes("train", "cat", "dog", "emu").classes("test", "cat", "dog"),
        ("'emu' is in", "train and not in", "test"),
    ),
    "two of each": (lambda t: t.classes(".", "cat", "dog", count=2), ("at least 3 images", "has 2")),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_cannot_be_read_says_what_to_do(tree, case):
    make, parts = UNCLEAR[case]
    make(tree)
    refused(tree.root, *parts)


def test_names_of_all_kinds_are_kept(tree):
    names = (
        "café crème",
        "犬",
        "a" * 200,
        "cat & dog; rm -rf",
        "[bold]x[/bold]".replace("/", ""),
        "%s",
        "new\nline",
    )
    flat(tree, *names)
    data = load_data(str(tree.root))
    assert set(data.classes) == {name.replace("\n", "\\n") for name in names}
    assert "\n" not in repr(data)


def test_a_name_that_is_no_text_is_one(tree):
    flat(tree, "cat", "dog")
    os.rename(os.fsencode(tree.root / "cat"), os.fsencode(tree.root) + b"/caf\xe9")
    data = load_data(str(tree.root))
    assert data.classes == ("caf\\xe9", "dog")
    repr(data).encode()


# --- small sets -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "classes", "sizes"), [(3, 4, (4, 4, 4)), (5, 10, (30, 10, 10)), (9, 10, (62, 10, 18))]
)
def test_small_sets_have_every_class_in_every_split(tree, each, classes, sizes):
    tree.classes(".", *(f"k{i}" for i in range(classes)), count=each)
    data = load_data(str(tree.root))
    assert (len(data.train), len(data.val), len(data.test)) == sizes
    for split in (data.train, data.val, data.test):
        assert split.labels.bincount(minlength=classes).min() >= 1


def test_a_rare_class_is_in_every_split(tree):
    tree.images("cat", 100).images("dog", 3)
    data = load_data(str(tree.root))
    assert data.found.counts == {"train": (73, 1), "val": (7, 1), "test": (20, 1)}
    limited = load_data(str(tree.root), limit_train=4)
    assert limited.found.counts == {"train": (1, 1), "val": (1, 1), "test": (20, 1)}


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.floats(0, 1), st.integers(1, 2))
def test_shares_are_exact_and_leave_no_class_out(counts, share, least):
    total = round(share * sum(counts))
    shares = shares_of_all(counts, total, least)
    assert sum(shares) == total
    assert all(0 <= part <= count for part, count in zip(shares, counts, strict=True))
    enough = [k for k, count in enumerate(counts) if count > least]
    plain = largest_remainder(counts, total)
    if all(least <= plain[k] < counts[k] for k in enough):
        assert shares == plain  # numbers of older versions do not move
    if all(count > least for count in counts) and least * len(counts) <= total <= sum(counts) - len(counts):
        assert all(part >= least and part < count for part, count in zip(shares, counts, strict=True))


@given(
    st.sampled_from([word for pair in WORDS for word in pair]),
    st.sampled_from(["{}", "{}_2024", "{} 1", "{}-set"]),
)
def test_every_word_is_a_split_in_every_dress(word, dress):
    found = split_name(dress.format(word))
    assert found is not None
    assert found.split == split_name(word).split  # type: ignore[union-attr]


@given(
    st.sampled_from(["train", "test", "val", "dev", "valid", "eval"]),
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=1),
)
def test_a_name_that_only_begins_so_is_none(word, more):
    name = word + more
    assert split_of(name) is None or more in {
        *("ing", "val", "id", "idate", "idation", "uation", "evaluation"),  # other words for the same
        *("set", "data", "dataset", "split", "subset", "part", "folder", "dir", "files", "of", "samples"),
        *("image", "images", "img", "imgs", "picture", "pictures", "photo", "photos"),
    }


# --- the same image twice -------------------------------------------------------------------------------


def test_a_test_split_that_is_training_data_is_said(tree):
    tree.classes("train", "cat", "dog").classes("test", "cat", "dog")
    for i in range(4):
        tree.file(f"test/dog/{i}.png", (tree.root / f"train/dog/{i}.png").read_bytes())
    data = load_data(str(tree.root))
    assert "4 of 20 test images are in training or validation too" in data.found.remarks
    assert "4 of 20 test images" in repr(data)


def test_an_image_in_two_classes_is_said(tree):
    flat(tree, "cat", "dog", "emu")
    for i in range(3):
        tree.file(f"emu/copy{i}.png", (tree.root / f"dog/{i}.png").read_bytes())
    found = load_data(str(tree.root)).found
    assert "3 images are in two classes (dog and emu)" in found.remarks


def test_no_image_twice_says_nothing(tree):
    assert load_data(str(flat(tree, "cat", "dog").root)).found.remarks == ()


# --- lists ----------------------------------------------------------------------------------------------


def rows(count: int = 10, name: str = "{}.png", names=("cat", "dog")) -> str:
    return "".join(f"{name.format(i)},{names[i % len(names)]}\n" for i in range(count))


LISTS: dict[str, tuple[Callable[[Tree], object], dict[str, tuple[int, ...]], dict[str, int]]] = {
    "images and labels.csv": (
        lambda t: t.images("images").file("labels.csv", f"file,label\n{rows()}"),
        {"all": (5, 5)},
        {},
    ),
    "some without a label": (
        lambda t: t.images("images", 14).file("labels.csv", f"file,label\n{rows()}"),
        {"all": (5, 5)},
        {"images without a label": 4},
    ),
    "metadata.csv beside": (
        lambda t: t.images(".").file("metadata.csv", f"file_name,label\n{rows()}"),
        {"all": (5, 5)},
        {},
    ),
    "metadata.jsonl in splits": (
        lambda t: [
            t.images(s, n).file(
                f"{s}/metadata.jsonl",
                "\n".join(json.dumps({"file_name": f"{i}.png", "label": "ab"[i % 2]}) for i in range(n)),
            )
            for s, n in (("train", 6), ("test", 4))
        ],
        {"train": (3, 3), "test": (2, 2)},
        {},
    ),
    "a list for each split": (
        lambda t: (
            t.images("train", 6)
            .images("test", 4)
            .file("train.csv", f"image_id,label\n{rows(6, '{}')}")
            .file("test.csv", f"image_id,label\n{rows(4, '{}')}")
        ),
        {"train": (3, 3), "test": (2, 2)},
        {},
    ),
    "an unlabelled list for test": (
        lambda t: (
            t.images("train", 6)
            .images("test", 4)
            .file("train.csv", f"id,label\n{rows(6, 'train/{}.png')}")
            .file("test.csv", "id\n" + "".join(f"test/{i}.png\n" for i in range(4)))
            .file("sample_submission.csv", f"id,label\n{rows(4, 'test/{}.png')}")
        ),
        {"all": (3, 3)},
        {"images without a label": 4},
    ),
    "a column of splits": (
        lambda t: t.images(".", 8).file(
            "all.csv",
            "path,labels,data set\n"
            + "".join(f"{i}.png,{'ab'[i % 2]},{'train' if i < 6 else 'test'}\n" for i in range(8)),
        ),
        {"train": (3, 3), "test": (1, 1)},
        {},
    ),
    "paths that say the split": (
        lambda t: (
            t.images("train", 6)
            .images("test", 4)
            .file("labels.csv", f"file,label\n{rows(6, 'train/{}.png')}{rows(4, 'test/{}.png')}")
        ),
        {"train": (3, 3), "test": (2, 2)},
        {},
    ),
    "no header": (lambda t: t.images(".").file("labels.csv", rows()), {"all": (5, 5)}, {}),
    "tabs": (
        lambda t: t.images(".").file("x.tsv", "f\tlabel\n" + rows().replace(",", "\t")),
        {"all": (5, 5)},
        {},
    ),
    "semicolons and a mark": (
        lambda t: t.images(".").file("x.csv", "\ufefff;label\n" + rows().replace(",", ";")),
        {"all": (5, 5)},
        {},
    ),
    "windows paths": (
        lambda t: t.images("a/b").file("x.csv", "f,label\n" + rows(10, "a\\b\\{}.png")),
        {"all": (5, 5)},
        {},
    ),
    "a label beside others": (
        lambda t: t.images(".").file(
            "x.csv", "f,is_valid,label\n" + "".join(f"{i}.png,{i % 3},{'ab'[i % 2]}\n" for i in range(10))
        ),
        {"all": (5, 5)},
        {},
    ),
    "in a wrapper": (
        lambda t: t.images("set/images").file("set/labels.csv", f"file,label\n{rows()}"),
        {"all": (5, 5)},
        {},
    ),
    "numbers": (
        lambda t: t.images(".").file("x.csv", f"f,label\n{rows(10, names=('10', '9'))}"),
        {"all": (5, 5)},
        {},
    ),
}


@pytest.mark.parametrize("case", LISTS)
def test_labels_of_lists(tree, case):
    make, counts, left_out = LISTS[case]
    make(tree)
    _, found, left, remarks = listing_of(tree.root)
    assert (found, {k: n for k, n in left.items() if not k.startswith(".")}) == (counts, left_out)
    assert any("labels are those of" in said for said in remarks)


def test_numbers_as_names_are_in_their_order(tree):
    tree.images(".", 12).file("x.csv", f"f,label\n{rows(12, names=('10', '9', '-1'))}")
    assert listing_of(tree.root)[0] == ("-1", "9", "10")


BROKEN_LISTS = {
    "two labels": ("f,label,class\n0.png,a,b\n1.png,b,a\n", ("label, class", "--label-column")),
    "none called so": ("f,colour,shape\n0.png,a,b\n1.png,b,a\n", ("colour, shape", "--label-column")),
    "an image and a mask": (
        "image,mask,label\n0.png,1.png,a\n1.png,2.png,b\n",
        ("image, mask", "--image-column"),
    ),
    "files that are not there": ("f,label\n0.png,a\n1.png,b\nx.png,b\n", ("1 of 3", "x.png")),
    "two labels for one": ("f,label\n0.png,a\n0.png,b\n", ("0.png two", "one label")),
    "no label": ("f,label\n0.png,a\n1.png,\n", ("needs a label", "1 of 2")),
    "fractions": ("f,label\n0.png,0.5\n1.png,1\n", ("has 0.5", "regression")),
    "ragged": ("f,label\n0.png,a,b\n", ("row 2", "same columns")),
    "outside": ("f,label\n../outside.png,a\n0.png,b\n", ("below the data folder", "../outside.png")),
    "absolute": ("f,label\n/etc/passwd,a\n0.png,b\n", ("below the data folder", "/etc/passwd")),
    "not utf-8": (b"f,label\n0.png,caf\xe9\n", ("UTF-8",)),
    "no image named": ("a,b\nx,y\n", ("no column names images",)),
}


@pytest.mark.parametrize("case", BROKEN_LISTS)
def test_lists_that_cannot_be_used(tree, case):
    content, parts = BROKEN_LISTS[case]
    tree.images(".").file("labels.csv", content).file("../outside.png", picture(0))
    refused(tree.root, *parts)


def test_columns_can_be_named(tree):
    tree.images(".").file(
        "labels.csv",
        "image,mask,label,class\n"
        + "".join(f"{i}.png,{9 - i}.png,{'ab'[i % 2]},{'xyz'[i % 3]}\n" for i in range(9)),
    )
    classes, counts, *_ = listing_of(tree.root, image_column="image", label_column="class")
    assert (classes, counts) == (("x", "y", "z"), {"all": (3, 3, 3)})
    refused(tree.root, "'colour'", image_column="image", label_column="colour")


def test_folders_and_a_list_that_disagree_are_refused(tree):
    flat(tree, "a", "b")
    tree.file("labels.csv", "f,label\na/0.png,cat\na/1.png,dog\nb/0.png,cat\n")
    refused(tree.root, "--label-column label", "--classes-in .")
    assert listing_of(tree.root, classes_in=".")[0] == ("a", "b")
    assert listing_of(tree.root, label_column="label")[0] == ("cat", "dog")


def test_a_list_of_names_that_several_images_have_is_refused(tree):
    tree.classes(".", "a", "b").file("labels.csv", f"f,label\n{rows()}")
    refused(tree.root, "class folders", "labels.csv", "--label-column label")
    refused(tree.root, "10 of 10", "name one image", label_column="label")


def test_a_list_that_agrees_with_the_folders_is_no_matter(tree):
    flat(tree, "a", "b")
    tree.file("labels.csv", "f,label\n" + "".join(f"{n}/{i}.png,{ord(n)}\n" for n in "ab" for i in range(10)))
    assert listing_of(tree.root)[0] == ("a", "b")


def test_a_list_by_its_name(tree):
    tree.images("images").file("labels.csv", f"file,label\n{rows()}")
    assert listing_of(tree.root / "labels.csv")[1] == {"all": (5, 5)}
    refused(tree.file("empty.csv", "a,b\n").root / "empty.csv", "it has no rows")


# --- tables ---------------------------------------------------------------------------------------------

IMAGE = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def table(values, metadata: object = None, image: str = "img", label: str = "label", **more) -> pyarrow.Table:
    images = [{"bytes": picture(i), "path": None} for i in range(len(values))]
    columns = {image: pyarrow.array(images, IMAGE), label: values, **more}
    made = pyarrow.table(columns)
    if metadata is None:
        return made
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    return made.replace_schema_metadata({b"huggingface": text})


def features(**kinds: object) -> dict[str, object]:
    return {"info": {"features": kinds}}


CLASS_LABEL = {"_type": "ClassLabel", "names": ["cat", "dog"]}

TABLES: dict[str, tuple[pyarrow.Table, tuple[str, ...], tuple[str, ...]]] = {
    "texts": (table(["dog", "cat"] * 3), ("cat", "dog"), ()),
    "truths": (table([True, False] * 3), ("False", "True"), ()),
    "from 1": (table([1, 2, 3] * 3), ("1", "2", "3"), ("labels are the numbers 1 to 3",)),
    "any numbers": (table([7, 40] * 3), ("7", "40"), ("labels are the numbers 7 to 40",)),
    "whole fractions": (table([0.0, 1.0] * 3), ("0", "1"), ()),
    "a dictionary": (table(pyarrow.array(["b", "a"] * 3).dictionary_encode()), ("a", "b"), ()),
    "a label beside numbers": (table(["a", "b"] * 3, is_valid=[1] * 6), ("a", "b"), ()),
    "a class label beside numbers": (
        table([0, 1] * 3, features(kind=CLASS_LABEL), label="kind", number=[5] * 6, text=["x"] * 6),
        ("cat", "dog"),
        (),
    ),
    "names": (table([0, 1] * 3, features(label=CLASS_LABEL)), ("cat", "dog"), ()),
    "names by number": (
        table([0, 1] * 3, features(label={"names": {"1": "dog", "0": "cat"}})),
        ("cat", "dog"),
        (),
    ),
    "no features": (table([0, 1] * 3, {"info": None}), ("0", "1"), ()),
    "no names": (table([0, 1] * 3, features(label={"names": None})), ("0", "1"), ()),
    "a feature that is a text": (table([0, 1] * 3, features(label="int")), ("0", "1"), ()),
}
for number, broken in enumerate((b"{", b"[1]", b'"x"', b"\xff", {"info": [1]}, {"info": {"features": 3}})):
    TABLES[f"broken metadata {number}"] = (
        table([0, 1] * 3, broken),
        ("0", "1"),
        ("the metadata are broken, so that label has no class names",),
    )
for number, names in enumerate(("cat", {"a": 1}, [], [["cat"], None], 3)):
    TABLES[f"broken names {number}"] = (
        table([0, 1] * 3, features(label={"names": names})),
        ("0", "1"),
        ("the class names of label are broken and were passed over",),
    )


@pytest.mark.parametrize("case", TABLES)
def test_labels_of_tables(tree, case):
    content, classes, remarks = TABLES[case]
    pyarrow.parquet.write_table(content, tree.root / "a.parquet")
    found, _, _, said = listing_of(tree.root)
    assert (found, said) == (classes, remarks)


BROKEN_TABLES = {
    "two texts": (table(["a"] * 4, label="x", y=["b"] * 4), ("x, y could each be it", "--label-column")),
    "two labels": (table([0, 1], labels=[1, 0]), ("label, labels", "--label-column")),
    "an image and a mask": (
        table([0, 1], mask=pyarrow.array([{"bytes": b"", "path": None}] * 2, IMAGE)),
        ("img, mask", "--image-column"),
    ),
    "fractions": (table([0.5, 1.5]), ("fraction", "regression")),
    "lists": (table([[0], [1]]), ("label column", "list")),
    "a name twice": (table([0, 1], features(label={"names": ["cat", "cat"]})), ("'cat' twice",)),
    "too few names": (table([0, 1, 2], features(label=CLASS_LABEL)), ("0..1 for 2 class names",)),
    "no label": (table(["a", None, "b"]), ("needs a label", "1 of 3")),
}


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_tables_that_are_refused(tree, case):
    content, parts = BROKEN_TABLES[case]
    pyarrow.parquet.write_table(content, tree.root / "a.parquet")
    refused(tree.root, *parts)


def test_columns_of_tables_can_be_named(tree):
    mask = pyarrow.array([{"bytes": picture(99), "path": None}] * 6, IMAGE)
    pyarrow.parquet.write_table(
        table([0, 1] * 3, mask=mask, shape=["a", "b", "c"] * 2), tree.root / "a.parquet"
    )
    assert listing_of(tree.root, image_column="img", label_column="shape")[0] == ("a", "b", "c")
    refused(tree.root, "'colour'", "img", label_column="colour", image_column="img")


def test_tables_that_do_not_go_together_are_refused(tree):
    for name in ("en/train-0", "en/test-0", "fr/train-0", "fr/test-0"):
        (tree.root / name).parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table([0, 1] * 2), tree.root / f"{name}.parquet")
    refused(tree.root, "en, fr", "--splits")
    assert set(listing_of(tree.root / "en")[1]) == {"train", "test"}


def test_tables_of_other_names_are_refused_or_left_out(tree):
    for name in ("train_clean", "test_noisy"):
        pyarrow.parquet.write_table(table([0, 1] * 2), tree.root / f"{name}.parquet")
    refused(tree.root, "train_clean", "test_noisy", "--splits train=FILE,test=FILE")
    for name in ("train", "test"):
        pyarrow.parquet.write_table(table([0, 1] * 2), tree.root / f"{name}.parquet")
    assert listing_of(tree.root)[2] == {"tables that name no split": 2}


def test_class_folders_beside_tables(tree):
    flat(tree, "cat", "dog")
    pyarrow.parquet.write_table(pyarrow.table({"x": [1.5]}), tree.root / "embeddings.parquet")
    assert listing_of(tree.root)[:3] == (("cat", "dog"), {"all": (10, 10)}, {".parquet": 1})
    pyarrow.parquet.write_table(table([0, 1] * 3), tree.root / "more.parquet")
    refused(tree.root, "has both", "--classes-in .", "more.parquet")
    assert listing_of(tree.root, classes_in=".")[1] == {"all": (10, 10)}
    assert listing_of(tree.root / "more.parquet")[1] == {"all": (3, 3)}


def paths_table(*paths: str) -> pyarrow.Table:
    return pyarrow.table(
        {
            "image": pyarrow.array([{"bytes": None, "path": path} for path in paths], IMAGE),
            "label": [0, 1] * (len(paths) // 2),
        }
    )


def test_paths_in_a_table_are_relative_to_it_and_stay_below(tree, monkeypatch):
    tree.images("files", 6)
    paths = [f"files/{i}.png" for i in range(6)]
    pyarrow.parquet.write_table(paths_table(*paths), tree.root / "a.parquet")
    data = load_data(str(tree.root))
    assert sum(map(sum, data.found.counts.values())) == 6
    before = data.fingerprint
    tree.file("files/3.png", picture(77))
    assert load_data(str(tree.root)).fingerprint != before, "an image that a table names has changed"
    for path in ("/etc/passwd", "../a.png"):
        pyarrow.parquet.write_table(paths_table(path, *paths[1:]), tree.root / "a.parquet")
        refused(tree.root, "below the data folder", path)
    pyarrow.parquet.write_table(paths_table("files/9.png", *paths[1:]), tree.root / "a.parquet")
    refused(tree.root, "not there", "files/9.png")


# --- arrays and archives --------------------------------------------------------------------------------


def pixels(count: int, *shape: int, kind=np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(kind)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (3, 8, 8), (1, 8, 8)])
def test_npz(tmp_path, shape):
    x, y = pixels(30, *shape), np.arange(30) % 3
    np.savez(tmp_path / "data.npz", x_train=x[:18], y_train=y[:18], x_test=x[18:], y_test=y[18:, None])
    data = load_data(str(tmp_path / "data.npz"))
    channels = 3 if 3 in shape else 1
    assert (data.name, data.shape, data.classes) == ("data", (channels, 8, 8), ("0", "1", "2"))
    expected = x[18:] if shape[0] == channels else x[18:].reshape(12, 8, 8, channels).transpose(0, 3, 1, 2)
    assert np.array_equal(data.test.images.numpy(), expected.reshape(12, channels, 8, 8))
    assert load_data(str(tmp_path)).fingerprint == data.fingerprint


def test_npz_of_other_names_and_kinds(tmp_path):
    x, y = pixels(12, 4, 4), np.array(["a", "b"] * 6)
    np.savez(tmp_path / "a.npz", images=x / 255, labels=y)
    data = load_data(str(tmp_path / "a.npz"))
    assert (data.classes, data.found.remarks) == (("a", "b"), ("pixels from 0 to 1 are read as 0 to 255",))
    assert {tuple(i.flatten().tolist()) for i in data.test.images} <= {tuple(i.flatten().tolist()) for i in x}
    names = {
        "train_images": x,
        "train_labels": np.eye(2)[np.arange(12) % 2],
        "val_images": x,
        "val_labels": y,
    }
    np.savez(tmp_path / "b.npz", **{**names, "val_labels": np.arange(12) % 2})
    assert set(listing_of(tmp_path / "b.npz")[1]) == {"train", "test"}


BROKEN_ARRAYS = {
    "no labels": ({"x_train": pixels(4, 8, 8)}, ("x_train", "rename")),
    "other names": ({"foo": pixels(4, 8, 8), "bar": np.zeros(4)}, ("foo, bar",)),
    "objects": ({"images": np.array([{}, 1], object), "labels": np.zeros(2)}, ("pickled objects",)),
    "too few labels": ({"images": pixels(4, 8, 8), "labels": np.zeros(3, int)}, ("one for each image",)),
    "any floats": ({"images": pixels(4, 8, 8) / 7.0, "labels": np.arange(4) % 2}, ("0 to 255, or 0 to 1",)),
    "four channels": ({"images": pixels(4, 8, 8, 4), "labels": np.arange(4) % 2}, ("1 or 3 channels",)),
    "an ambiguous shape": ({"images": pixels(4, 3, 8, 3), "labels": np.arange(4) % 2}, ("(4, 3, 8, 3)",)),
}


@pytest.mark.parametrize("case", BROKEN_ARRAYS)
def test_arrays_that_are_refused(tmp_path, case):
    arrays, parts = BROKEN_ARRAYS[case]
    np.savez(tmp_path / "a.npz", **arrays)
    refused(tmp_path / "a.npz", *parts)


def idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_files(tmp_path, packed):
    images, labels = pixels(24, 6, 5), (np.arange(24) % 2).astype(np.uint8)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(16)), ("t10k", slice(16, None))):
        for what, content in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
            data = idx(content)
            (raw / f"{name}-{what}-ubyte{'.gz' if packed else ''}").write_bytes(
                gzip.compress(data) if packed else data
            )
    data = load_data(str(tmp_path))
    assert (data.shape, len(data.test), data.classes) == ((1, 6, 5), 8, ("0", "1"))
    assert np.array_equal(data.test.images[:, 0].numpy(), images[16:])
    (raw / f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}").unlink()
    refused(tmp_path, "no labels for 't10k'")


def test_mnist_files_that_are_cut_off(tmp_path):
    for name in ("train", "t10k"):
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(pixels(4, 3, 3))[:-5])
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(np.array([0, 1, 0, 1], np.uint8)))
    refused(tmp_path, "is cut off", "31 of 36 bytes")


def test_the_binary_version_of_cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    content = pixels(12, 3073)
    content[:, 0] = np.arange(12) % 2
    for name, part in (
        ("data_batch_1", content[:4]),
        ("data_batch_2", content[4:8]),
        ("test_batch", content[8:]),
    ):
        (folder / f"{name}.bin").write_bytes(part.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-bin")
    data = load_data(str(folder))
    assert (data.shape, data.classes, len(data.test)) == ((3, 32, 32), ("airplane", "automobile"), 4)
    assert np.array_equal(data.test.images.flatten(1).numpy(), content[8:, 1:])
    assert load_data(str(tmp_path / "cifar-10-binary.tar.gz")).fingerprint == data.fingerprint


def pack(tree: Tree, path: Path) -> None:
    files = sorted(file for file in tree.root.rglob("*") if file.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(tree.root.parent))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
            for file in files:
                packed.add(file, str(file.relative_to(tree.root.parent)))


@pytest.mark.parametrize("name", ["set.zip", "set.tar", "set.tar.gz", "set.ZIP"])
def test_archives_are_read_as_their_folder(tree, tmp_path, name):
    tree.classes("train", "cat", "dog").classes("test", "cat", "dog", count=3).file("__MACOSX/._x").file(
        "a.txt"
    )
    pack(tree, tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    data = load_data(str(tmp_path / name))
    assert data.name == "set"
    assert data.fingerprint == load_data(str(tree.root)).fingerprint
    assert "read from photos/" in data.found.remarks
    assert data.found.left_out == {".txt": 1, "hidden or system files": 1}
    left = [path for path in Path(os.environ["SECATEUR_CACHE"]).iterdir() if path.name.startswith("unpacked")]
    assert left == []
    assert load_data(str(tmp_path / name)).found == data.found, "from the cache"


def test_messages_name_the_archive(tree, tmp_path):
    flat(tree, "cat", "dog").file("cat/bad.png", b"no image")
    pack(tree, tmp_path / "set.zip")
    message = refused(tmp_path / "set.zip", "set.zip/photos/cat/bad.png")
    assert "unpacked" not in message


def test_nothing_leaves_the_folder_of_an_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in (
            "../outside.png",
            "/tmp/absolute.png",
            "a/../../up.png",
            "cat/1.png",
            "C:\\x.png",
            "x\\..\\..\\y",
        ):
            archive.writestr(name, picture(1))
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with tarfile.open(tmp_path / "evil.tar", "w") as packed:
        for name in ("../outside.png", "cat/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(1))
            packed.addfile(info, io.BytesIO(picture(1)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"special{kind!r}")
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
    for name, left in (("evil.zip", 6), ("evil.tar", 4)):
        with unpacked(tmp_path / name, tmp_path / "room") as found:
            there = [
                str(file.relative_to(found.folder)) for file in found.folder.rglob("*") if file.is_file()
            ]
        assert (there, found.left) == (["cat/1.png"], left)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.tar", "evil.zip", "room"]


def test_an_archive_has_its_limits(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/1.png", bytes(10**6))
        archive.writestr("cat/2.png", b"")
    monkeypatch.setattr("secateur.data.archives.MOST_BYTES", 10**5)
    refused(tmp_path / "bomb.zip", "more than this disk has room for")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 no more")
    refused(tmp_path / "broken.zip", "cannot be unpacked")


def saved(root: Path, name: str, labels: list[int], names: list[str] | None = None) -> None:
    (root / name).mkdir(parents=True)
    content = table(labels, features(label=CLASS_LABEL))
    with (
        pyarrow.OSFile(str(root / name / "data-00000-of-00001.arrow"), "wb") as file,
        pyarrow.ipc.new_stream(file, content.schema) as stream,
    ):
        stream.write_table(content)
    (root / name / "dataset_info.json").write_text("{}")
    (root / name / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )


def test_saved_data_sets(tree):
    for name, labels in (("train", [0, 1] * 3), ("test", [1, 0]), ("extra", [0])):
        saved(tree.root, name, labels)
    tree.file("dataset_dict.json", '{"splits": ["train", "test", "extra"]}')
    classes, counts, left_out, _ = listing_of(tree.root)
    assert (classes, counts) == (("cat", "dog"), {"train": (3, 3), "test": (1, 1)})
    assert left_out == {"split extra": 1}
    assert listing_of(tree.root / "train")[1] == {"all": (3, 3)}
    tree.file("train/state.json", '{"_data_files": [{"filename": "../test/data-00000-of-00001.arrow"}]}')
    refused(tree.root, "must have '../test/data-00000-of-00001.arrow'")
    tree.file("train/state.json", "[")
    refused(tree.root, "state.json", "cannot be read")


ELSEWHERE = {
    "data.h5": ("HDF5", ".npz"),
    "train-00000.tfrecord": ("TFRecord", ".npz"),
    "train.tfrecord-00000-of-00010": ("TFRecord",),
    "data.mat": ("MATLAB",),
    "data.pkl": ("pickled", "never opened"),
    "data_batch_1": ("CIFAR", "cifar-10-binary.tar.gz"),
    "x.npy": ("numpy.savez",),
    "a.rar": ("unpack",),
    "clip.mp4": ("frames",),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_not_read_says_what_to_do(tree, name):
    refused(tree.file(name).root, *ELSEWHERE[name])


def test_archives_in_a_folder_are_named(tree):
    with zipfile.ZipFile(tree.root / "photos.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"")
    refused(tree.root, "pass --data", "photos.zip")
    tarfile.open(tree.root / "shard-000000.tar", "w").close()
    refused(tree.root, "2 archives")


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mnist", ("hf:ylecun/mnist",)),
        ("Fashion-MNIST", ("hf:zalando-datasets/fashion_mnist",)),
        ("imagenet", ("hf:ILSVRC/imagenet-1k",)),
        ("CIFAR10", ("did you mean 'cifar10'",)),
        ("cifar-10", ("did you mean 'cifar10'",)),
        ("tiny_imagenet", ("did you mean 'tiny-imagenet'",)),
        ("ylecun/mnist", ("hf:ylecun/mnist",)),
        ("https://example.com/x.zip", ("not fetched from addresses",)),
        ("s3://bucket/x", ("not fetched from addresses",)),
        ("", ("empty text",)),
        ("  ", ("empty text",)),
        ("~/no/such/folder", ("does not exist",)),
        ("hf:mnist", ("hf:owner/name",)),
    ],
)
def test_names_that_are_no_data(name, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(name, *parts)


def test_a_folder_of_the_name_of_a_set_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "tiny-imagenet"):
        Tree(tmp_path / name).classes(".", "cat", "dog")
    assert load_data("digits").found.remarks == ("this is the embedded set, not the folder ./digits here",)
    assert load_data("./digits").classes == ("cat", "dog")
    monkeypatch.setenv("SECATEUR_DATA", str(tmp_path / "data"))
    Tree(tmp_path / "data" / "tiny-imagenet").classes(".", "emu", "fox")
    data = load_data("tiny-imagenet")
    assert data.classes == ("emu", "fox")
    assert data.found.remarks == (
        "this is $SECATEUR_DATA/tiny-imagenet, not the folder ./tiny-imagenet here",
    )


def test_the_home_folder_is_expanded(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree.root.parent))
    assert load_data(f"~/{flat(tree, 'cat', 'dog').root.name}").name == "photos"


# --- what is said ---------------------------------------------------------------------------------------


def test_the_line():
    found = Found(
        name="photos",
        classes=("beach", "city", "forest"),
        counts={"train": (36, 36, 36), "val": (4, 4, 4), "test": (10, 10, 10)},
        smallest=(480, 480),
        largest=(1024, 1024),
        size=(64, 64),
        left_out={".heic": 20, "unreadable": 3},
    )
    assert found.line() == (
        "photos: 3 classes (beach, city, forest), 108/12/30 images of 480 to 1024 px -> 64x64 (centre "
        "square); left out: 20 .heic, 3 unreadable"
    )
    assert Found.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert listed([f"class {i}" for i in range(200)]) == "class 0, class 1, class 2 and 197 more"
    assert counted("images without a label", 1) == "1 image without a label"


def test_the_line_is_the_repr():
    assert repr(sc.load_data("digits")) == (
        "<Data digits: 10 classes (0, 1, 2 and 7 more), 1167/130/500 images of 8x8 px>"
    )


def test_what_is_found_is_that_of_the_cache(tree):
    tree.images("cat").images("dog").file("cat/a.heic")
    for i in range(10):
        image = Image.new("RGB", (5 + i, 9))
        image.putpixel((0, 0), (i, 1, 2))
        image.save(tree.root / "dog" / f"b{i}.png")
    one = load_data(str(tree.root), image_size=4)
    assert (one.found.smallest, one.found.largest, one.found.size) == ((4, 4), (14, 9), (4, 4))
    assert one.found.line().startswith("photos: 2 classes (cat, dog), 22/2/6 images of 4 to 14 px -> 4x4")
    assert "left out: 1 .heic" in one.found.line()
    tree.file("dog/b.heic")
    assert load_data(str(tree.root), image_size=4).found.left_out == {".heic": 2}, "counted anew"
