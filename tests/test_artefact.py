"""What lies beside a network so that it can be used, and what exported files say of themselves."""

from __future__ import annotations

import copy
import json
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from digit_photos import build
from secateur.architecture.artefact import Artefact
from secateur.data import Augmentation, Data, Split
from secateur.data.preprocessing import PixelFormat, Preprocessing
from secateur.errors import InputError
from secateur.records.seal import sealed
from secateur.runs.export import export_directory
from secateur.runs.predictor import Predictor

NAMES = ("beach", "city", "forest")


@pytest.fixture
def data():
    """Twelve coloured images of 8x8 of three classes."""
    images = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8)
    split = Split(images, torch.arange(12) % 3)
    wanted = PixelFormat(3, 8, 8, "pad", "black")
    return Data(
        name="photos", label="photos", train=split, val=split, test=split, classes=NAMES,
        mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), augmentation=Augmentation(1, True),
        fingerprint="0123456789abcdef", format=wanted,
    )  # fmt: skip


def small(num_classes=3):
    """A network of `build`, whose architecture is known."""
    model = build(num_classes, 3)
    sc.inspect(model, torch.randn(2, 3, 8, 8), factory=partial(build, num_classes, 3))
    return model


@pytest.fixture
def model():
    return small()


def load(folder, classes=3):
    return sc.load(folder, partial(build, classes, 3))


def export(folder, *arguments, **options):
    return export_directory(folder, *arguments, factory=partial(build, 3, 3), **options)


def test_a_saved_network_knows_its_classes_and_its_input(tmp_path, model, data):
    sc.save(model, tmp_path, data=data)
    content = json.loads((tmp_path / "artefact.json").read_text())
    digest = content.pop("digest")
    assert digest["keys"] == sorted(content)
    assert content == {
        "schema": 1,
        "format": "secateur-artefact",
        "classes": ["beach", "city", "forest"],
        "preprocessing": {
            "channels": 3, "height": 8, "width": 8, "fit": "pad", "background": "black", "depth": 16,
            "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3],
        },
        "task": "classification",
        "metric": "accuracy",
        "data": {
            "name": "photos", "label": "photos", "train": 12, "val": 12, "test": 12, "classes": 3,
            "shape": [3, 8, 8], "fingerprint": "0123456789abcdef",
        },
    }  # fmt: skip
    loaded = load(tmp_path)
    assert loaded.classes == NAMES
    image = np.full((8, 8, 3), 255, np.uint8)
    expected = [(1 - m) / s for m, s in zip((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), strict=True)]
    assert loaded.preprocess(image)[0, :, 3, 5].tolist() == pytest.approx(expected, abs=1e-5)
    assert loaded(loaded.preprocess(image)).shape == (1, 3)


def test_what_a_network_knows_is_no_part_of_its_state_and_goes_with_it(tmp_path, model, data):
    sc.save(model, tmp_path / "a", data=data)
    loaded = load(tmp_path / "a")
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert [name for name, _ in loaded.named_modules()] == [name for name, _ in model.named_modules()]
    assert copy.deepcopy(loaded).classes == NAMES
    assert sc.artefact(copy.deepcopy(loaded)) == sc.artefact(loaded)
    loaded.load_state_dict(model.state_dict(), strict=True)
    loader = [(torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))] * 3
    pruned = sc.prune(loaded, method="random-channels", budget="params=70%", data=loader)
    assert pruned.classes == NAMES
    sc.save(pruned, tmp_path / "b")
    assert load(tmp_path / "b").classes == NAMES
    assert (tmp_path / "b/artefact.json").read_bytes() == (tmp_path / "a/artefact.json").read_bytes()


def test_without_an_artefact_everything_loads_as_before(tmp_path, model):
    sc.save(model, tmp_path)
    assert not (tmp_path / "artefact.json").exists()
    loaded = load(tmp_path)
    assert not hasattr(loaded, "classes")
    assert sc.artefact(loaded) is None
    with pytest.raises(InputError, match=r"is a torch\.nn\.Module, got str: load a folder with sc\.load"):
        sc.artefact(str(tmp_path))
    with pytest.raises(InputError, match=r"which '.*' does not: save it with sc\.save"):
        sc.predict(tmp_path, np.zeros((8, 8, 3), np.uint8), factory=partial(build, 3, 3))
    with pytest.raises(InputError, match="--with-preprocessing needs an artefact"):
        export(tmp_path, with_preprocessing=True)


class Own(nn.Module):
    """Has attributes of these names itself."""

    classes = 3

    def __init__(self):
        super().__init__()
        self.conv, self.preprocess, self.head = nn.Conv2d(3, 6, 3), nn.Identity(), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.preprocess(self.conv(x)).relu().mean((2, 3)))


def test_attributes_of_the_networks_own_stay(tmp_path, data):
    model = Own()
    sc.inspect(model, torch.randn(2, 3, 8, 8), factory=Own)
    sc.save(model, tmp_path, data=data)
    with pytest.warns(UserWarning, match="attribute '(classes|preprocess)' of its own, which stays") as said:
        loaded = sc.load(tmp_path, factory=Own)
    assert len(said) == 2
    assert (loaded.classes, type(loaded.preprocess)) == (3, nn.Identity)
    assert sc.artefact(loaded).classes == NAMES
    assert sc.artefact(loaded).preprocess == data.preprocessing


def test_names_without_data(tmp_path, model):
    preprocessing = Preprocessing(PixelFormat(3, 8, 8), (0.5,) * 3, (0.5,) * 3)
    sc.save(model, tmp_path, classes=["a", "b", "c"], preprocessing=preprocessing)
    assert load(tmp_path).classes == ("a", "b", "c")
    assert load(tmp_path).preprocess == preprocessing
    with pytest.raises(InputError, match="has 3 classes, got 2 names"):
        sc.save(model, tmp_path, classes=["a", "b"])
    sc.save(model, tmp_path)  # another network may lie there now: nothing is known of it
    assert not (tmp_path / "artefact.json").exists()


def test_what_is_of_other_classes_is_not_carried_on(tmp_path, model, data):
    sc.save(model, tmp_path / "a", data=data)
    other = small(5)
    other.__dict__.update(_secateur_artefact=sc.artefact(load(tmp_path / "a")))
    sc.save(other, tmp_path / "b")
    assert not (tmp_path / "b/artefact.json").exists()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"classes": ["a", "b"]}, "the network has 3 classes, but the file names 2"),
        ({"classes": ["a", "a", "b"]}, "'classes' must be names that differ"),
        ({"classes": "abc"}, "'classes' must be a list"),
        ({"format": "other"}, "'format' must be 'secateur-artefact'"),
        ({"schema": 9}, "schema 1 is read here, got 9"),
        ({"preprocessing": {"channels": 3}}, "'preprocessing' must be sizes, mean and std"),
    ],
)
def test_a_damaged_artefact_is_refused(tmp_path, model, data, change, part):
    sc.save(model, tmp_path, data=data)
    content = json.loads((tmp_path / "artefact.json").read_text())
    (tmp_path / "artefact.json").write_text(json.dumps(sealed({**content, **change})))
    with pytest.raises(InputError) as said:
        load(tmp_path)
    assert part in str(said.value)
    assert "artefact.json" in str(said.value)


def test_runs_and_the_best_of_a_comparison_are_complete(tmp_path, digits):
    result = sc.compare(
        "wrn-10-1", data=digits, budgets=["params=50%"], arms=["width"], epochs=1, device="cpu", out=tmp_path
    )
    best = sc.load(tmp_path / "best")
    assert best.classes == tuple("0123456789")
    assert best.preprocess == digits.preprocessing
    artefact = sc.artefact(best)
    point = result.points[0]
    assert (artefact.run_id, artefact.budget) == (point.run_id, "params=50%")
    assert (artefact.data.train, artefact.data.val, artefact.data.test) == (270, 30, 500)
    assert json.loads((tmp_path / "best/record.json").read_text())["accuracy"] == point.accuracy
    assert sc.artefact(sc.load(tmp_path / "runs" / point.run_id)).classes == tuple("0123456789")


def in_onnx(path):
    import onnx

    return {entry.key.removeprefix("secateur."): entry.value for entry in onnx.load(path).metadata_props}


def in_openvino(path):
    import openvino

    model = openvino.Core().read_model(path)
    keys = ("classes", "input", "fit", "mean", "std", "task", "normalisation", "version")
    return {key: model.get_rt_info(["secateur", key]).astype(str) for key in keys}


@pytest.mark.parametrize(
    ("to", "name", "read"), [("onnx", "m.onnx", in_onnx), ("openvino", "m.xml", in_openvino)]
)
@pytest.mark.parametrize("within", [False, True])
def test_exported_files_say_what_they_are(tmp_path, model, data, to, name, read, within):
    sc.save(model, tmp_path, data=data)
    written = export(tmp_path, to, tmp_path / name, with_preprocessing=within)
    found = read(tmp_path / name)
    size = {"height": 8, "width": 8, "channels": 3}
    kind = {"layout": "NHWC", "dtype": "uint8"} if within else {"layout": "NCHW", "dtype": "float32"}
    assert json.loads(found["classes"]) == list(NAMES)
    assert json.loads(found["input"]) == {**size, **kind}
    assert (json.loads(found["mean"]), json.loads(found["std"])) == ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    assert (found["fit"], found["task"]) == ("pad", "classification")
    assert found["normalisation"] == ("inside" if within else "outside")
    assert (written.inputs, written.outputs) == (
        (("images",), ("probabilities",)) if within else (("input",), ("output",))
    )
    images = data.test.images.numpy()
    x = (data.test.images.double() / 255 - torch.tensor((0.4, 0.5, 0.6)).view(1, 3, 1, 1)) / torch.tensor(
        (0.2, 0.25, 0.3)
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = model.eval()(x.float()).softmax(1)
    predictor = Predictor.open(tmp_path / name)
    assert predictor.classes == NAMES
    torch.testing.assert_close(predictor.probabilities(images), expected, atol=1e-4, rtol=0)
    if to == "onnx":
        check_by_hand(tmp_path / name, images, expected, within)


def check_by_hand(path, images, expected, within):
    """As somebody uses the file who has nothing of ours, and after its metadata are gone."""
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    if within:
        (found,) = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 2, 3, 1))})
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    stripped = onnx.load(path)
    del stripped.metadata_props[:]
    onnx.save(stripped, path.with_name("stripped.onnx"))
    with pytest.raises(InputError, match="does not say what its classes are"):
        Predictor.open(path.with_name("stripped.onnx"))


@pytest.mark.parametrize(("to", "name"), [("onnx", "model.onnx"), ("openvino", "model.xml")])
def test_a_file_of_one_batch_size_takes_any_number_of_images(tmp_path, model, data, to, name):
    sc.save(model, tmp_path, data=data)
    export(tmp_path, to, dynamic_batch=False, with_preprocessing=True)
    images = data.test.images[:11].numpy()
    found = Predictor.open(tmp_path / name).probabilities(images)
    expected = Predictor.open(load(tmp_path)).probabilities(images)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_an_artefact_is_read_as_it_was_written(data):
    artefact = Artefact.of(data, label="a run", run_id="train-aa-s0", budget="params=25%")
    assert Artefact.from_json(json.loads(json.dumps(artefact.to_json()))) == artefact
