"""`--task regression` and `--task multilabel`: targets from the columns of lists and tables."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

import secateur as sc
from secateur.data import load_data
from secateur.errors import InputError
from secateur.runs.portable import read_data, write_data

COUNT = 40
BRIGHT = [(7 * i) % COUNT / COUNT for i in range(COUNT)]


def picture(i):
    return Image.fromarray(np.full((8, 8), round(250 * BRIGHT[i]), np.uint8))


def encoded(i):
    content = io.BytesIO()
    picture(i).save(content, "png")
    return content.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Grey squares, and a list of their brightness, of two labels, and of tags."""
    folder = tmp_path_factory.mktemp("squares")
    for i in range(COUNT):
        picture(i).save(folder / f"s{i:02}.png")
    return folder


def rows(images, tmp_path, header, row, name="labels.csv"):
    """A folder with the images and a list."""
    folder = tmp_path / "data"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).hardlink_to(path)
    lines = [header, *(row(i) for i in range(COUNT))]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def split_of_image(data):
    """(brightness of the pixels, targets) of every split."""
    for split in (data.train, data.val, data.test):
        yield split.images[:, 0, 0, 0].double() / 250, split.labels


def test_a_number_for_each_image(images, tmp_path):
    folder = rows(images, tmp_path, "id,file,brightness", lambda i: f"{i},s{i:02}.png,{BRIGHT[i]}")
    data = load_data(str(folder), task="regression")
    assert (data.classes, data.train.labels.dtype, data.train.labels.shape) == (
        ("brightness",),
        torch.float32,
        (29,),
    )
    for bright, targets in split_of_image(data):
        torch.testing.assert_close(targets.double(), bright, atol=0.003, rtol=0)
    assert data.found.line() == ("data: a number for each image (brightness), 29/3/8 images of 8x8 px")
    again = load_data(str(folder / "labels.csv"), task="regression", split_seed=1)
    assert torch.equal(again.test.labels, data.test.labels)
    assert not torch.equal(again.val.labels, data.val.labels)
    assert again.fingerprint != data.fingerprint
    write_data(data, tmp_path / "data.safetensors")
    assert torch.equal(read_data(tmp_path / "data.safetensors").val.labels, data.val.labels)


def test_several_numbers_and_a_column_of_splits(images, tmp_path):
    parts = ["train"] * 30 + ["val"] * 4 + ["test"] * 6
    folder = rows(
        images, tmp_path, "file,a,b,split", lambda i: f"s{i:02}.png,{BRIGHT[i]},{-BRIGHT[i]},{parts[i]}"
    )
    with pytest.raises(InputError, match="a column of numbers, but a, b could each be it"):
        load_data(str(folder), task="regression")
    data = load_data(str(folder), task="regression", label_column="b, a")
    assert [len(split) for split in (data.train, data.val, data.test)] == [30, 4, 6]
    assert data.classes == ("b", "a")
    for bright, targets in split_of_image(data):
        torch.testing.assert_close(targets.double(), torch.stack([-bright, bright], 1), atol=0.003, rtol=0)


def labels(i):
    return [BRIGHT[i] > 0.3, BRIGHT[i] > 0.6]


TAGS = {
    "columns": ("file,grey,white", lambda i: f"s{i:02}.png,{labels(i)[0]:d},{labels(i)[1]:d}"),
    "words": ("file,tags", lambda i: f's{i:02}.png,"{named(i, ", ") or "black"}"'),
    "bars": ("file,tags", lambda i: f"s{i:02}.png,{named(i, '|') or 'black'}"),
    "json": (
        None,
        lambda i: json.dumps({"file_name": f"s{i:02}.png", "tags": named(i).split() or ["black"]}),
    ),
}


def named(i, between=" "):
    return between.join(name for name, there in zip(("grey", "white"), labels(i), strict=True) if there)


@pytest.mark.parametrize("kind", TAGS)
def test_several_labels_for_an_image(images, tmp_path, kind):
    header, row = TAGS[kind]
    folder = rows(images, tmp_path, header or "", row, "metadata.jsonl" if header is None else "labels.csv")
    data = load_data(str(folder), task="multilabel")
    assert data.classes[-2:] == ("grey", "white")
    for bright, targets in split_of_image(data):
        expected = torch.stack([bright > 0.3, bright > 0.6], 1).float()
        assert torch.equal(targets[:, -2:], expected)
    assert data.found.counts["train"][-1] == int(data.train.labels[:, -1].sum())
    assert f"{len(data.classes)} labels for each image" in data.found.line()


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_tables(tmp_path, task):
    target = [named(i).split() for i in range(COUNT)] if task == "multilabel" else BRIGHT
    table = {"image": [{"bytes": encoded(i), "path": None} for i in range(COUNT)], "target": target}
    pyarrow.parquet.write_table(pyarrow.table(table).slice(0, 30), tmp_path / "train.parquet")
    pyarrow.parquet.write_table(pyarrow.table(table).slice(30), tmp_path / "test.parquet")
    data = load_data(str(tmp_path), task=task)
    assert [len(split) for split in (data.train, data.val, data.test)] == [27, 3, 10]
    for bright, targets in split_of_image(data):
        if task == "regression":
            torch.testing.assert_close(targets.double(), bright, atol=0.003, rtol=0)
        else:
            assert torch.equal(targets, torch.stack([bright > 0.3, bright > 0.6], 1).float())


REFUSED = [
    (
        "file,price",
        lambda i: f"s{i:02}.png,{'many' if i == 3 else i}",
        "regression",
        "a column of numbers.*none is",
    ),
    (
        "file,price",
        lambda i: f"s{i:02}.png,{'' if i == 3 else i}",
        "regression",
        "1 of 40 in split 'all' .* no price",
    ),
    (
        "file,a,b",
        lambda i: f"s{i:02}.png,{i},{i}",
        "multilabel",
        "of 0 and 1, or one of lists .* none is there",
    ),
    ("file,price", lambda i: f"s{i:02}.png,{i + 0.5}", "classification", "--task regression"),
    ("file,price", lambda i: f"s{i:02}.png,{i}", "segmentation", "unknown task 'segmentation'"),
]


@pytest.mark.parametrize(("header", "row", "task", "message"), REFUSED)
def test_targets_that_are_none_are_refused(images, tmp_path, header, row, task, message):
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(rows(images, tmp_path, header, row)), task=task)
    assert "\n" not in str(caught.value)


def test_columns_that_were_asked_for_must_be_the_tasks(images, tmp_path):
    folder = str(rows(images, tmp_path, "file,name,n", lambda i: f"s{i:02}.png,x{i},{i}"))
    for task, column, message in (
        ("regression", "name", "must be numbers, but name of .* has 'x0'"),
        ("multilabel", "n,name", "must be 0 or 1 for every label, but n of .* has '2'"),
        ("regression", "price", "'price' is none: it has name, n"),
    ):
        with pytest.raises(InputError, match=message):
            load_data(folder, task=task, label_column=column)


def test_folders_say_classes_only(images, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        picture(0).save(tmp_path / "classes" / name / "0.png")
    for data in (tmp_path / "classes", "digits", ""):
        with pytest.raises(InputError, match=r"--task regression (needs targets|reads images with targets)"):
            load_data(str(data), task="regression")


# Commands


def test_a_regression_on_the_command_line(images, tmp_path, run):
    rows(images, tmp_path, "file,brightness", lambda i: f"s{i:02}.png,{BRIGHT[i]}")
    code, out, err = run(
        "train --model conv4 --data data --task regression --device cpu --lr 0.01 --epochs 2 --out out"
    )
    assert code == 0, err
    assert "data: a number for each image (brightness), 29/3/8 images" in out
    assert re.search(r"^dense: rmse \S+, r2 \S+ on the test split with", out, re.MULTILINE)
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert record["metric"] == {"name": "rmse", "higher_is_better": False, "fraction": False}
    assert set(record["also"]) == {"r2"}
    code, _, err = run("compare --data digits --task multilabel --epochs 1")
    assert (code, err.count("\n")) == (2, 1)
    assert "--task multilabel reads images with targets" in err


def test_several_labels_through_compare(images, tmp_path):
    header, row = TAGS["columns"]
    result = sc.compare(
        "conv4",
        data=str(rows(images, tmp_path, header, row)),
        task="multilabel",
        budgets=["nonzeros=20%"],
        arms=["snip"],
        recipe=sc.Recipe(epochs=1, lr=0.01),
        device="cpu",
        out=tmp_path / "out",
    )
    (point,) = result.points
    assert point.measure.name == "micro-f1"
    assert set(point.also) == {"label-accuracy"}


def test_the_command_line_refuses_probabilities_in_place_of_scores(tmp_path, run):
    (tmp_path / "nets_with_softmax.py").write_text(
        "from torch import nn\n\n\ndef build(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(),\n"
        "        nn.Linear(144, num_classes), nn.Softmax(1))\n"
    )
    code, _, err = run("train --model nets_with_softmax:build --data digits --epochs 1 --out out")
    assert (code, err.count("\n")) == (2, 1)
    assert "leave the softmax out of the network" in err
    assert not (tmp_path / "out").exists()
