"""What is shipped says what was evaluated: the classes of 100 images, from every form of a network alike."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import secateur as sc
from digit_photos import by_hand, write_photos
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budgets
from secateur.compare.one_network import Subject, arm_alone, prune_one
from secateur.compare.settings import Sparsity
from secateur.data import load_data
from secateur.deploy import c
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.progress import Reporter
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

COMPILER = shutil.which("gcc") or shutil.which("clang")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """500 digits as PNG files, 100 of them for the test."""
    return write_photos(tmp_path_factory.mktemp("photos"), 400, 100)


@pytest.fixture(scope="module")
def trained(photos):
    """What both networks are made of."""
    data = load_data(str(photos))
    return Subject(resolve_model("wrn-10-1", data), data, Recipe(epochs=10, batch_size=32))


def session(folder):
    return Session(RunStore(folder), Runtime("cpu"), Reporter())


@pytest.fixture(scope="module")
def sparse(trained, tmp_path_factory):
    """A network with a tenth of its weights, as `secateur prune` leaves it."""
    folder = tmp_path_factory.mktemp("sparse")
    budget = Budgets.parse("nonzeros=10%")
    arm_alone(session(folder), trained, "magnitude-tuned", budget, Sparsity(tune_epochs=4))
    return folder


@pytest.fixture(scope="module")
def compact(trained, tmp_path_factory):
    """A network with fewer channels."""
    folder = tmp_path_factory.mktemp("compact")
    settings = PruneSettings(every=2, at_once=4, lr=0.01)
    prune_one(session(folder), trained, settings, Budgets.parse("macs=70%"), 6)
    return folder


def counted(classes, photos):
    """The confusion matrix of files in folders that are called by their class."""
    names = sorted(path.name for path in (photos / "test").iterdir())
    matrix = [[0] * len(names) for _ in names]
    for file, said in classes.items():
        matrix[names.index(file.split("/")[-2])][names.index(said)] += 1
    return matrix


FORMS = {
    "folder": (None, ""),
    "onnx": ("--to onnx", "model.onnx"),
    "openvino": ("--to openvino", "model.xml"),
    "int8": ("--to onnx --int8 --data PHOTOS", "model.int8.onnx"),
    **({"c": ("--to c", "model.c")} if COMPILER else {}),
    **({"int8 c": ("--to c --int8 --data PHOTOS", "model.int8.c")} if COMPILER else {}),
}
"""Form -> what exports it, and the file that is left; of the folder itself nothing."""


IN_C = [form for form in FORMS if form in ("folder", "c", "int8 c")]
"""The other forms' classes are looked at in test_predict and, in int8, test_int8, by the same 100 images."""


@pytest.mark.parametrize(
    ("kind", "forms"),
    [
        ("sparse", IN_C),
        *(pytest.param(kind, [*FORMS], marks=pytest.mark.slow) for kind in ("sparse", "compact")),
    ],
    ids=["sparse-in-c", "sparse", "compact"],
)
def test_the_classes_of_100_images_are_those_of_evaluation(request, photos, run, kind, forms):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    network = request.getfixturevalue(kind)
    expected = by_hand(network, photos)
    truth = {name: name.split("/")[-2] for name in expected}
    right = sum(expected[name] == truth[name] for name in expected)
    assert len(expected) == 100
    assert 80 <= right < 100
    assert json.loads((network / "record.json").read_text())["accuracy"] == right / 100
    for form in forms:
        export, file = FORMS[form]
        if export is not None:
            code, out, err = run(f"export {network} {export.replace('PHOTOS', str(photos))} --quiet")
            assert code == 0, (form, out, err)
        trust = " --trust" if file.endswith(".c") else ""
        named = f"{network / file}{trust} --device cpu --json"
        code, out, err = run(f"predict {named} {photos / 'test'}")
        assert (code, err) == (0, ""), form
        said = {each["file"]: each["class"] for each in json.loads(out)["predictions"]}
        if form.startswith("int8"):  # other numbers, so that a class may change where two are close
            assert sum(said[name] == expected[name] for name in expected) >= 97
        else:
            assert said == expected, form
        if form in ("folder", "int8"):
            code, out, _ = run(f"evaluate {named} --data {photos}")
            assert counted(said, photos) == json.loads(out)["confusion"], form
            assert json.loads(out)["n"] == 100


@pytest.mark.skipif(not COMPILER, reason="no C compiler on this machine")
def test_the_compiled_folder_says_so_too(sparse, photos):
    compiled, model = c.compile(sparse), sc.load(sparse)
    expected = by_hand(sparse, photos)
    images = np.concatenate([model.preprocess(file).numpy() for file in expected])
    said = [model.classes[i] for i in compiled(images).argmax(1)]
    assert said == list(expected.values())


@pytest.mark.skipif(not COMPILER, reason="no C compiler on this machine")
def test_a_c_file_is_a_program_and_runs_only_where_the_user_says_so(photos, run, tmp_path):
    image, ran = next(photos.glob("test/*/*.png")), tmp_path / "ran"
    hostile = tmp_path / "model.c"
    hostile.write_text(
        "#include <stdio.h>\n"
        f'__attribute__((constructor)) static void run(void) {{ fclose(fopen("{ran}", "w")); }}\n'
    )
    (tmp_path / "model.h").write_text("")
    for what in ("predict", "evaluate"):
        rest = image if what == "predict" else f"--data {photos}"
        code, out, err = run(f"{what} {hostile} {rest}")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "a C file is a program" in err
    with pytest.raises(InputError, match="a C file is a program"):
        sc.predict(hostile, image)
    code, _, err = run(f"predict {hostile} {image} --trust")  # and none that export did not write
    assert (code, "must be a C file that Secateur wrote" in err) == (2, True)
    assert not ran.exists()
