"""Nothing of the user's is lost: what is not ours, what is read, and the answers to other questions stay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import secateur as sc
from digit_photos import build
from secateur.data.sources import folder_of
from secateur.deploy.onnx import to_onnx
from secateur.deploy.openvino import to_openvino
from secateur.errors import InputError
from secateur.records.ours import is_ours, wrote
from secateur.records.out import check_out, expanded
from secateur.runs.store import RunStore

TRAIN = "train --model wrn-10-1 --data digits --limit-train 100 --epochs 1 --device cpu"
PRUNE = (
    "prune fisher --data digits --limit-train 100 --epochs 1 --prune-every 1 --budget params=60% --device cpu"
)
COMPARE = "compare --model wrn-10-1 --data digits --limit-train 100 --epochs 1 --arms width --device cpu"
HERE = Path(__file__).parent


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in sorted(folder.rglob("*"))
        if each.is_file()
    }


@pytest.fixture
def undrawn(monkeypatch):
    """Figures take most of the time of a small comparison."""
    monkeypatch.setattr("secateur.report.html.write_figures", lambda *_: [])


def network(folder: Path, **more) -> torch.nn.Module:
    model = sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)
    sc.save(model, folder, **more)
    return model


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{TRAIN} --out theirs", "model.safetensors"),
        (f"{TRAIN} --out theirs", "record.json"),
        (f"{TRAIN} --out theirs", "artefact.json"),
        (f"{TRAIN} --out theirs", "plan.json"),
        (f"{PRUNE} --model wrn-10-1 --out theirs", "architecture.json"),
        (f"{COMPARE} --out theirs", "report.html"),
        (f"{COMPARE} --out theirs", "results.json"),
        (f"{COMPARE} --out theirs", "best/model.safetensors"),
        (f"{COMPARE} --out theirs", "figures/channel_profile.png"),
        ("reproduce dupont2021 table1 --scale smoke --device cpu --out theirs", "table1.csv"),
        ("reproduce dupont2021 figure2 --out theirs", "figure2.png"),
    ],
)
def test_a_file_that_is_not_ours_is_never_overwritten(run, tmp_path, line, name):
    file = tmp_path / "theirs" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"schema": 1, "mine": true}')
    before = contents(tmp_path / "theirs")
    code, _, err = run(line)
    assert code == 2
    assert str(Path("theirs") / name) in err
    assert err.count("\n") == 1
    assert contents(tmp_path / "theirs") == before


def test_what_lies_beside_stays_and_does_not_hinder(run, tmp_path):
    (tmp_path / "out/runs/Jan01_tensorboard").mkdir(parents=True)
    theirs = {"notes.txt": b"mine", ".lock": b"theirs too", "runs/Jan01_tensorboard/events": b"1"}
    for name, content in theirs.items():
        (tmp_path / "out" / name).write_bytes(content)
    code, _, err = run(f"{TRAIN} --out out")
    assert (code, "'out/.lock'" in err) == (2, True)
    (tmp_path / "out/.lock").unlink()
    assert run(f"{TRAIN} --out out")[0] == 0
    found = contents(tmp_path / "out")
    assert found["notes.txt"] == b"mine"
    assert found["runs/Jan01_tensorboard/events"] == b"1"
    assert run(f"{TRAIN} --out out --epochs 2")[0] == 0  # ours, and the earlier run is still there
    assert len(list((tmp_path / "out/runs").glob("train-*/model.safetensors"))) == 2


def test_a_network_that_was_saved_by_hand_is_not_replaced_by_a_runs(run, tmp_path):
    network(tmp_path / "mine")
    before = contents(tmp_path / "mine")
    code, _, err = run(f"{TRAIN} --out mine")
    assert (code, "has no record.json beside it" in err) == (2, True)
    assert contents(tmp_path / "mine") == before
    (tmp_path / "file").mkdir()
    (tmp_path / "file/runs").write_text("mine")
    code, _, err = run(f"{TRAIN} --out file")
    assert (code, "'file/runs' must be a folder" in err) == (2, True)


@pytest.mark.parametrize(
    ("model", "out"),
    [
        ("dense", "dense"),
        ("dense", "./dense/"),
        ("dense/architecture.json", "dense"),
        ("link", "dense"),
        ("dense", "link"),
        ("{absolute}/dense", "dense/../dense"),
    ],
)
@pytest.mark.parametrize("command", [f"{PRUNE} --trained", TRAIN.replace("--model wrn-10-1 ", "")])
def test_the_input_is_not_the_output(run, tmp_path, command, model, out):
    if "--trained" in command and model.endswith(".json"):
        pytest.skip("takes a folder")
    network(tmp_path / "dense")
    (tmp_path / "link").symlink_to("dense")
    before = contents(tmp_path / "dense")
    code, _, err = run(f"{command} --model {model.format(absolute=tmp_path)} --out {out}")
    assert (code, err.count("\n")) == (2, 1)
    assert "may not replace the network that it is made of" in err
    assert contents(tmp_path / "dense") == before


def test_scale_and_export_replace_neither_their_input_nor_anything_of_others(run, tmp_path):
    network(tmp_path / "dense")
    network(tmp_path / "other")
    (tmp_path / "mine.json").write_text('{"a": 1}')
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    before = contents(tmp_path)
    for line, part in {
        "scale dense --budget params=50% --out dense": "may not replace the network",
        "scale dense --budget params=50% --out dense/architecture.json": "may not replace the network",
        "scale dense --budget params=50% --out other": "may not replace that of the weights beside it",
        "scale dense --budget params=50% --out mine.json": "'mine.json' is not known to be",
        "export dense --out dense/model.safetensors": "may not replace the network",
        "export dense --out mine.onnx": "'mine.onnx' is not known to be",
    }.items():
        code, _, err = run(line)
        assert (code, part in err) == (2, True), (line, err)
    assert contents(tmp_path) == before
    for _ in range(2):
        assert run("scale dense --budget params=50% --out ours.json")[0] == 0


def test_save_and_export_from_python_refuse_what_is_not_ours(tmp_path):
    pytest.importorskip("onnx")
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"model\.safetensors' is not known to be"):
        network(tmp_path)
    with pytest.raises(InputError, match="must name a file or folder"):
        network("")
    with pytest.raises(InputError, match="must be a folder"):
        network(tmp_path / "model.safetensors" / "x")
    assert contents(tmp_path) == {"model.safetensors": b"mine"}
    network(tmp_path / "ours")
    network(tmp_path / "ours")  # again
    model = build(num_classes=10, in_channels=1)
    (tmp_path / "model.bin").write_bytes(b"mine")
    example = torch.zeros(1, 1, 8, 8)
    with pytest.raises(InputError, match=r"model\.bin' is not known to be"):
        to_openvino(model, example, tmp_path / "model.xml")
    for _ in range(2):
        to_onnx(model, example, tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"model\.onnx' is not known to be"):
        to_onnx(model, example, tmp_path / "model.onnx")


def test_another_question_has_a_report_of_its_own(run, tmp_path, undrawn):
    first = f"{COMPARE} --budget params=50%"
    assert run(f"{first} --out out")[0] == 0
    before = {name: content for name, content in contents(tmp_path / "out").items() if "runs" not in name}
    code, out, _ = run(f"{COMPARE} --budget params=30% --out out")
    assert code == 0
    (folder,) = (tmp_path / "out/reports").iterdir()
    assert f"out/reports/{folder.name}/report.html" in out
    assert "another question" in out
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before if name != "plan.json"} == {
        name: content for name, content in before.items() if name != "plan.json"
    }
    assert json.loads((folder / "results.json").read_text())["settings"]["budgets"] == "params=30%"
    assert sc.load(folder / "best").classes == tuple("0123456789")
    assert run(f"report {folder.relative_to(tmp_path)}")[0] == 0
    page = folder / "report.html"
    drawn = page.read_text()
    page.write_text("<p>mine")
    assert run(f"report {folder.relative_to(tmp_path)}")[0] == 2
    assert page.read_text() == "<p>mine"
    page.write_text(drawn)
    assert run(f"{first} --out out")[0] == 0  # the first again: its own report, no third
    assert len(list((tmp_path / "out/reports").iterdir())) == 1
    assert run(f"{COMPARE} --model out/best --budget params=30% --out out")[0] == 0  # read, and not replaced
    assert contents(tmp_path / "out/best") == {
        name.removeprefix("best/"): content for name, content in before.items() if name.startswith("best/")
    }


def test_results_of_older_versions_are_told_apart_too(run, tmp_path, undrawn):
    line = f"{COMPARE} --budget params=50% --out out"
    assert run(line)[0] == 0
    results = json.loads((tmp_path / "out/results.json").read_text())
    del results["question"]
    del results["settings"]["momentum"]  # a setting that the older version did not have
    (tmp_path / "out/results.json").write_text(json.dumps(results))
    assert run(line)[0] == 0
    assert not (tmp_path / "out/reports").exists()
    (tmp_path / "out/results.json").write_text(json.dumps(results))
    assert run(line.replace("--epochs 1", "--epochs 2"))[0] == 0
    assert len(list((tmp_path / "out/reports").iterdir())) == 1


@pytest.fixture
def photos(tmp_path):
    """Two classes of ten grey images."""
    for name, level in (("dark", 20), ("light", 220)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(np.full((8, 8), level + i, np.uint8)).save(tmp_path / f"photos/{name}/{i}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("out", ["photos", "photos/out", "photos/dark/out", "link/out"])
def test_out_lies_outside_the_data(run, tmp_path, photos, out):
    (tmp_path / "link").symlink_to("photos")
    before = contents(photos)
    code, _, err = run(f"train --model wrn-10-1 --data photos --epochs 1 --device cpu --out {out}")
    assert (code, err.count("\n")) == (2, 1)
    assert "must lie outside --data" in err
    assert contents(photos) == before


def test_from_python_too(tmp_path, photos, monkeypatch):
    with pytest.raises(InputError, match="must lie outside --data"):
        sc.compare("wrn-10-1", str(photos), out=photos / "out")
    with pytest.raises(InputError, match="must name a file or folder"):
        sc.compare("wrn-10-1", str(photos), out="")
    assert not (photos / "out").exists()
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()  # a folder that has the name of an embedded set is not what is read
    check_out(Path("digits/out"), [], data=folder_of("digits"))


def test_results_among_the_data_are_no_class(tmp_path, photos):
    """An older version wrote them there, or somebody moved them."""
    before = sc.data.load_data(str(photos))
    network(photos / "dense")
    (photos / "report/runs/train-2bc92b92550b-s0").mkdir(parents=True)
    (photos / "report/figures").mkdir()
    for i in range(10):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(photos / f"report/figures/{i}.png")
    after = sc.data.load_data(str(photos))
    assert (after.classes, after.fingerprint) == (("dark", "light"), before.fingerprint)
    assert after.found.left_out["of Secateur's own folders"] == 2


def test_data_do_not_lie_where_out_is_written_to(run, tmp_path, photos):
    photos.rename(tmp_path / "best")
    code, _, err = run(f"{COMPARE.replace('digits', 'best')} --out .")
    assert code == 2
    assert "may not lie where --out is written to" in err


def test_the_home_folder_is_meant_by_a_tilde(run, tmp_path):
    (tmp_path / "home").mkdir()
    assert run(f"{TRAIN} --out=~/dense")[0] == 0
    assert (tmp_path / "home/dense/model.safetensors").is_file()
    assert not (tmp_path / "~").exists()
    assert run("scale ~/dense --budget params=50% --out=~/small.json")[0] == 0
    assert run("diff ~/dense ~/small.json")[0] == 0
    assert run("runs list ~/dense")[0] == 0
    assert run(f"{TRAIN.replace('wrn-10-1', '~/small.json')} --out=~/small")[0] == 0
    assert sc.load("~/dense").classes == tuple("0123456789")
    sc.save(sc.load("~/dense"), "~/again")
    assert sc.Architecture.load("~/again").params == sc.Architecture.load(tmp_path / "home/dense").params
    assert RunStore("~/dense").directory == tmp_path / "home/dense"


@pytest.mark.parametrize(
    "line",
    [
        f"{TRAIN} --out ''",
        f"{COMPARE} --out ''",
        f"{PRUNE} --model '' --out x",
        "train --data '' --epochs 1",
        "scale '' --budget params=50%",
        "export ''",
        "runs list ''",
    ],
)
def test_an_empty_path_is_refused(run, tmp_path, line):
    code, _, err = run(line)
    assert (code, err.count("\n")) == (2, 1)
    assert "must name a file or folder" in err
    assert [each.name for each in tmp_path.iterdir() if each.name != "cache"] == []


def test_an_out_that_cannot_be_written_to_is_refused_before_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"where '.*file' is a file"):
        check_out(tmp_path / "file/sub/out", ["record.json"])
    with pytest.raises(InputError, match="can be written to"):
        check_out(Path("/proc/out"), ["record.json"])
    assert check_out(tmp_path / "new/out", ["record.json"]) is None
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    for too_long in (tmp_path / ("x" * 256) / "out", Path("é" * 128)):
        with pytest.raises(
            InputError, match=r"names of at most 255 bytes, got '.{40}\.\.\.' with 256: choose a"
        ):
            expanded(too_long, "--out")
        with pytest.raises(InputError, match="names of at most 255 bytes"):
            check_out(too_long, ["record.json"])
    with pytest.raises(InputError, match="names of at most 239 bytes"):
        check_out(tmp_path / "new", ["x" * 240])
    with pytest.raises(InputError, match="no such user"):
        expanded("~nobody-here-by-that-name/x")


def test_folders_of_every_version_are_known(tmp_path):
    assert is_ours(HERE / "left_by_e086a27/in-training")
    assert is_ours(HERE.parent / "results/digits-channels")
    assert is_ours(HERE.parent / "results/dupont2021-laptop")
    assert wrote(HERE.parent / "results/dupont2021-laptop/table1.md")
    assert wrote(HERE.parent / "results/digits-channels/figures/channel_profile.png")
    assert not is_ours(HERE)
    assert not is_ours(tmp_path / "nowhere")
    network(tmp_path / "ours")
    assert is_ours(tmp_path / "ours")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/config.json").write_text('{"architectures": ["ResNet"]}')
    shutil.copy(tmp_path / "ours/model.safetensors", tmp_path / "hub")
    assert not is_ours(tmp_path / "hub")
    assert not wrote(tmp_path / "hub/model.safetensors")
    (tmp_path / "hub/plan.json").write_text("[[[")
    assert not wrote(tmp_path / "hub/plan.json")


def test_only_runs_are_deleted(run, tmp_path):
    assert run(f"{TRAIN} --out out")[0] == 0
    (mine,) = (tmp_path / "out/runs").iterdir()
    (tmp_path / "out/runs/tensorboard").mkdir()
    (tmp_path / "out/runs/tensorboard/events").write_text("1")
    code, _, err = run("runs delete tensorboard out --yes")
    assert (code, "only runs are deleted" in err) == (2, True)
    (mine / "notes.txt").write_text("mine")
    code, _, err = run(f"runs delete {mine.name} out --yes")
    assert (code, "notes.txt" in err) == (2, True)
    assert (mine / "record.json").is_file()
    (mine / "notes.txt").unlink()
    assert run(f"runs delete {mine.name} out --yes")[0] == 0
    assert [each.name for each in (tmp_path / "out/runs").iterdir()] == ["tensorboard"]
