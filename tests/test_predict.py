"""A finished network is used: predictions and evaluation, from its folder, its ONNX and its OpenVINO file."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.stats import binomtest

import secateur as sc
from digit_photos import FACTORY, WORDS, build, by_hand, photos, small  # noqa: F401  # fixtures
from secateur.errors import InputError
from secateur.records.evaluated import Evaluated
from secateur.runs.export import export_directory
from secateur.runs.predict import Prediction
from secateur.runs.predictor import Predictor


@pytest.fixture(scope="module")
def networks(small):  # noqa: F811
    """The folder, and the files of other runtimes, with the normalisation outside and inside."""
    found = {"folder": small}
    for to, suffix in (("onnx", "onnx"), ("openvino", "xml")):
        for within in (False, True):
            path = small / f"inside-{within}.{suffix}"
            export_directory(small, to, path, factory=build, with_preprocessing=within)
            found[f"{to} {within}"] = path
    return found


def test_all_forms_of_a_network_give_the_classes_of_evaluation(small, photos, networks):  # noqa: F811
    expected = by_hand(small, photos, build)
    assert len(expected) == 100
    truth = {name: name.split("/")[-2] for name in expected}
    right = sum(expected[name] == truth[name] for name in expected)
    assert 50 < right < 100
    record = json.loads((small / "record.json").read_text())
    assert record["accuracy"] == right / 100
    for kind, network in networks.items():
        found = {
            each.file: each for each in sc.predict(network, str(photos / "test"), device="cpu", factory=build)
        }
        assert {name: each.said[0] for name, each in found.items()} == expected, kind
        assert all(abs(sum(each.probabilities) - 1) < 1e-5 for each in found.values()), kind
        evaluated = sc.evaluate(network, str(photos), device="cpu", factory=build)
        assert (evaluated.right, evaluated.n) == (right, 100), kind
        sure = [found[name].probabilities[0] for name in sorted(found)]
        if kind == "folder":
            reference = sure
        np.testing.assert_allclose(sure, reference, atol=1e-5)


def test_the_numbers_of_an_evaluation(small, photos):  # noqa: F811
    expected = by_hand(small, photos, build)
    found = sc.evaluate(small, str(photos), device="cpu", factory=build)
    pairs = [(name.split("/")[-2], said) for name, said in expected.items()]
    names = [row.name for row in found.classes]
    assert names == sorted(WORDS)
    for i, row in enumerate(found.classes):
        true, called = [p for p in pairs if p[0] == row.name], [p for p in pairs if p[1] == row.name]
        hits = sum(p == (row.name, row.name) for p in pairs)
        assert (row.n, row.right, row.called) == (len(true), hits, len(called))
        assert row.recall == hits / len(true)
        interval = binomtest(hits, len(true)).proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
        for j, other in enumerate(names):
            assert found.confusion[i][j] == pairs.count((row.name, other))
    assert found.balanced_accuracy == pytest.approx(np.mean([row.recall for row in found.classes]))
    interval = binomtest(found.right, 100).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert len(found.worst) == 100 - found.right
    gaps = [mistake.p_said - mistake.p_true for mistake in found.worst]
    assert gaps == sorted(gaps, reverse=True)
    assert all(mistake.true != mistake.said for mistake in found.worst)
    assert Evaluated.from_json(json.loads(json.dumps(found.to_json()))) == found
    everything = sc.evaluate(small, str(photos), "all", device="cpu", factory=build)
    assert everything.n == 500
    assert "only 'test' is new" in everything.remarks[0]


def test_predict_on_the_command_line(run, small, photos, tmp_path):  # noqa: F811
    (tmp_path / "home").mkdir()
    shutil.copytree(photos / "test", tmp_path / "home/mine")
    (tmp_path / "home/mine/notes.txt").write_text("no image")
    (tmp_path / "home/mine/.hidden.png").write_bytes(b"no image")
    expected = {file.rpartition("/")[2]: name for file, name in by_hand(small, photos, build).items()}

    code, out, err = run(f"predict {small} --factory {FACTORY} ~/mine --top 2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 100
    assert all(re.fullmatch(r"\S+/\d{3}\.png(  [a-z]+ \d+\.\d%){2}", line) for line in lines)
    assert {line.split()[0].rpartition("/")[2]: line.split()[1] for line in lines} == expected

    code, out, _ = run(f"predict {small} --factory {FACTORY} ~/mine --json")
    found = json.loads(out)["predictions"]
    assert {each["file"].rpartition("/")[2]: each["class"] for each in found} == expected
    assert [len(each["top"]) for each in found] == [3] * 100
    assert found[0]["top"][0] == {"class": found[0]["class"], "probability": found[0]["probability"]}

    code, out, _ = run(
        f"predict {small} --factory {FACTORY} 'home/mine/t*/00*.png' home/mine/six --csv --top 20"
    )
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["file"].rpartition("/")[2]: row["class"] for row in rows}.items() <= expected.items()
    assert list(rows[0])[:3] == ["file", "class", "probability"]
    assert list(rows[0])[-2:] == ["class_10", "probability_10"]
    assert {row["file"].split("/")[-2] for row in rows} == {"two", "three", "six"} | {
        file.parent.name for file in photos.glob("test/t*/00*.png")
    }


def test_what_cannot_be_read_is_named_and_the_others_predicted(run, small, photos, tmp_path):  # noqa: F811
    shutil.copytree(photos / "test/two", tmp_path / "two")
    count = len(list((tmp_path / "two").iterdir()))
    (tmp_path / "two/cut.png").write_bytes((next((tmp_path / "two").iterdir())).read_bytes()[:40])
    (tmp_path / "two/text.jpg").write_text("hello")
    code, out, err = run(f"predict {small} --factory {FACTORY} two")
    assert code == 1
    assert len(out.splitlines()) == count
    assert err.count("\n") == 2
    assert "two/cut.png cannot be read" in err
    assert "two/text.jpg cannot be read" in err
    code, _, err = run(f"predict {small} --factory {FACTORY} two/text.jpg")
    assert (code, "no image of 1 can be read" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign.onnx").write_bytes(b"not onnx")
    for line, part in {
        f"predict {small} --factory {FACTORY} nowhere.jpg": "no image at 'nowhere.jpg'",
        f"predict {small} --factory {FACTORY} 'no*.jpg'": "no image at 'no*.jpg'",
        f"predict {small} --factory {FACTORY} empty": "no image that can be read lies in 'empty'",
        f"predict {small} --factory {FACTORY} two --top 0": "--top must be at least 1",
        "predict nowhere two": "no network at 'nowhere'",
        "predict nowhere.onnx two": "no network at 'nowhere.onnx'",
        "predict foreign.onnx two": "cannot be read from 'foreign.onnx'",
        f"evaluate {small} --factory {FACTORY} --data {photos} --split tset": "did you mean 'test'",
        f"evaluate {small} --factory {FACTORY} --data {photos} --image-size 16": "takes them (8x8, crop",
        f"evaluate {small} --factory {FACTORY} --data {photos} --fit pad": "got --fit pad: leave it out",
    }.items():
        code, _, err = run(line)
        assert (code, err.count("\n"), part in err) == (2, 1, True), (line, err)


def test_images_of_any_kind_are_made_what_the_network_was_trained_on(small, photos, tmp_path):  # noqa: F811
    file = next(photos.glob("test/seven/*.png"))
    image = Image.open(file)
    (expected,) = sc.predict(small, file, factory=build)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: the picture lies on its side
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    image.convert("RGB").save(tmp_path / "coloured.bmp")
    for source in (image, np.array(image), tmp_path / "coloured.bmp", str(tmp_path / "turned.png")):
        (found,) = sc.predict(small, source, factory=build)
        assert found.said == expected.said
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-4)
    wide = image.resize((90, 60), Image.Resampling.BICUBIC)
    (found,) = sc.predict(small, wide, factory=build)
    (same,) = sc.predict(small, ImageOps.fit(wide, (8, 8), Image.Resampling.BILINEAR), factory=build)
    assert found == same
    assert [each.file for each in sc.predict(small, [image, file], factory=build)] == ["image 0", str(file)]
    (tmp_path / "bad.png").write_text("no")
    with pytest.raises(InputError, match=r"bad\.png is not"):
        sc.predict(small, [file, tmp_path / "bad.png"], factory=build)


def test_scores_that_depend_on_the_images_beside_are_refused(small, photos):  # noqa: F811
    """A folder is read batch by batch, and what is said of an image must not depend on which batch."""
    model, image = sc.load(small, build), next(photos.glob("test/*/*.png"))
    assert sc.predict(model, image)[0].said[0] in WORDS
    model[1] = torch.nn.BatchNorm2d(16, track_running_stats=False)
    for use in (lambda: sc.predict(model, image), lambda: sc.evaluate(model, str(photos))):
        with pytest.raises(InputError, match=r"^an image's scores must not depend on the images beside it"):
            use()


def test_any_number_of_images_is_read_batch_by_batch(small, photos, monkeypatch):  # noqa: F811
    sizes = []
    predictor = Predictor.open(small, build, device="cpu")
    counting = predictor.probabilities

    def probabilities(pixels):
        sizes.append(len(pixels))
        return counting(pixels)

    object.__setattr__(predictor, "probabilities", probabilities)
    files = sorted(photos.glob("t*/*/*.png"))
    assert len(sc.predict(predictor, files, factory=build)) == 500
    assert sizes == [64] * 7 + [52]


def test_classes_are_told_by_name(run, small, photos, tmp_path):  # noqa: F811
    """The same images under names that lie in another order; fewer of them; and unknown ones."""
    model = sc.load(small, build)
    order = torch.tensor([sorted(WORDS).index(word) for word in WORDS])
    with torch.no_grad():
        model[-1].weight.copy_(model[-1].weight[order])
        model[-1].bias.copy_(model[-1].bias[order])
    sc.save(model, tmp_path / "by-number", classes=WORDS)
    first, other = (
        sc.evaluate(each, str(photos), device="cpu", factory=build)
        for each in (small, tmp_path / "by-number")
    )
    assert other.right == first.right
    assert [row.name for row in other.classes] == list(WORDS)
    assert "another order" in other.remarks[0]

    for split in ("train", "test"):
        for word in WORDS[:4]:
            shutil.copytree(photos / split / word, tmp_path / "few" / split / word)
    few = sc.evaluate(small, str(tmp_path / "few"), device="cpu", factory=build)
    assert few.remarks == ("4 of the network's 10 classes occur in the data",)
    rows = {row.name: row for row in first.classes}
    assert few.right == sum(rows[word].right for word in WORDS[:4])

    for split in ("train", "test"):
        shutil.move(tmp_path / "few" / split / "zero", tmp_path / "few" / split / "nought")
    code, _, err = run(f"evaluate {small} --factory {FACTORY} --data few")
    assert (code, err.count("\n")) == (2, 1)
    assert "got nought in" in err


def test_evaluate_on_the_command_line_leaves_a_page(run, small, photos, tmp_path):  # noqa: F811
    code, out, _ = run(f"evaluate {small} --factory {FACTORY} --data {photos} --device cpu --out page")
    assert code == 0
    found = sc.evaluate(small, str(photos), device="cpu", factory=build)
    assert found.in_words() in " ".join(out.split())
    assert "10 classes (eight, five, four and 7 more)" in out
    page = (tmp_path / "page/evaluation.html").read_text()
    assert page.count("data:image/png;base64,") == len(found.worst)
    assert "http" not in re.sub(r"<meta[^>]*>", "", page)
    code, out, _ = run(f"evaluate {small} --factory {FACTORY} --data {photos} --device cpu --json --out page")
    content = json.loads(out)
    assert content.pop("page") == "page/evaluation.html"
    assert Evaluated.from_json(content) == found
    (tmp_path / "page/evaluation.html").write_text("mine")
    code, _, err = run(f"evaluate {small} --factory {FACTORY} --data {photos} --out page")
    assert (code, "evaluation.html' is not known to be" in err) == (2, True)
    code, _, err = run(f"evaluate {small} --factory {FACTORY} --data {photos} --out {photos}/page")
    assert (code, "must lie outside --data" in err) == (2, True)


def test_what_is_said_of_several_labels_and_of_numbers():
    labels = Prediction("a", ("cat", "dog", "sun"), (0.9, 0.6, 0.1), "multilabel")
    assert labels.said == ("cat", "dog")
    assert labels.to_json(1) == {
        "file": "a", "labels": ["cat", "dog"], "top": [{"class": "cat", "probability": 0.9}],
    }  # fmt: skip
    numbers = Prediction("a", ("output",), (3.5,), "regression")
    assert (numbers.said, numbers.to_json(3)) == ((), {"file": "a", "outputs": {"output": 3.5}})
