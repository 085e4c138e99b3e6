"""A folder that a command was killed in is known to be torn, and mended by the next command."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import secateur as sc
from secateur.atomic import write_bytes
from secateur.errors import InputError
from secateur.records.manifest import replace_files

TRAIN = "train --model wrn-10-1 --data digits --limit-train 100 --epochs 1 --device cpu --out out"
ONE_NETWORK = "its files must be of one network"


class Killed(BaseException):
    """Stands for SIGKILL at a step of writing."""


@pytest.fixture
def killed_at(monkeypatch):
    """Have the n-th file from now on not take its place."""

    def install(step: int) -> None:
        left = iter(range(step, -1, -1))
        replace = os.replace

        def replace_or_die(*paths, **more):
            if next(left, -1) <= 0:
                raise Killed
            replace(*paths, **more)

        monkeypatch.setattr("os.replace", replace_or_die)
        monkeypatch.setattr("pathlib.Path.replace", replace_or_die)

    return install


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)


def contents(folder: Path) -> dict[str, bytes]:
    """What a folder holds of a network, a record and a manifest."""
    return {each.name: each.read_bytes() for each in sorted(folder.iterdir()) if each.is_file()}


def files_of(folder: Path, seed: int) -> dict[str, bytes | None]:
    """What a command leaves of a network."""
    sc.save(network(seed), folder, classes=[f"{seed}{each}" for each in range(10)])
    found = contents(folder)
    names = ("artefact.json", "architecture.json", "model.safetensors")
    return {"record.json": b'{"run": %d}' % seed, **{name: found[name] for name in names}}


STEPS = ("manifest.json", "record.json", "artefact.json", "architecture.json", "model.safetensors", None)


@pytest.mark.parametrize("old_version", [False, True])
@pytest.mark.parametrize("step", range(len(STEPS)), ids=str)
def test_killed_at_any_step_a_folder_is_the_old_one_or_the_new_one_or_refused(
    tmp_path, killed_at, monkeypatch, old_version, step
):
    old, new = files_of(tmp_path / "a", 1), files_of(tmp_path / "b", 2)
    out = tmp_path / "out"
    out.mkdir()
    replace_files(out, old)
    if old_version:
        (out / "manifest.json").unlink()
    killed_at(step)
    with pytest.raises(Killed) if STEPS[step] else nullcontext():
        replace_files(out, new)
    monkeypatch.undo()
    there = {name: content for name, content in contents(out).items() if name != "manifest.json"}
    assert there == {name: (new if STEPS.index(name) < step else old)[name] for name in new}
    with pytest.raises(InputError, match=ONE_NETWORK) if 0 < step < 5 else nullcontext() as error:
        sc.load(out)
    assert error is None or "\n" not in str(error.value)
    replace_files(out, new)
    assert sc.load(out).classes == tuple(f"2{each}" for each in range(10))


def test_save_killed_between_classes_and_weights_is_refused_and_saved_again(tmp_path, killed_at, monkeypatch):
    sc.save(network(1), tmp_path, classes=[f"old {each}" for each in range(10)])
    with monkeypatch.context():
        killed_at(3 + 4)  # four files made beside, then the manifest, the architecture and the classes placed
        with pytest.raises(Killed):
            sc.save(network(2), tmp_path, classes=[f"new {each}" for each in range(10)])
        monkeypatch.undo()
    assert json.loads((tmp_path / "artefact.json").read_text())["classes"][0] == "new 0"
    with pytest.raises(InputError, match=ONE_NETWORK):
        sc.load(tmp_path)
    sc.save(network(2), tmp_path, classes=[f"new {each}" for each in range(10)])
    assert sc.load(tmp_path).classes[0] == "new 0"


def test_folders_of_older_versions_have_no_manifest_and_load(tmp_path):
    sc.save(network(1), tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert sc.load(tmp_path) is not None


def test_a_manifest_names_no_file_elsewhere(tmp_path):
    sc.save(network(1), tmp_path / "out")
    (tmp_path / "secret").write_text("x")
    content = {"schema": 1, "format": "secateur-manifest", "files": {"../secret": "0" * 64}}
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="names of files"):
        sc.load(tmp_path / "out")


def test_export_refuses_what_a_killed_train_left_and_the_same_command_mends_it(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    assert run(f"{TRAIN} --seed 0")[0] == 0

    def killed(path, content):
        if path == Path("out/model.safetensors"):
            raise Killed
        write_bytes(path, content)

    with monkeypatch.context() as patched:
        patched.setattr("secateur.records.manifest.write_bytes", killed)
        with pytest.raises(Killed):
            run(f"{TRAIN} --seed 1")
    code, _, said = run("export out --to onnx --out there.onnx")
    assert code == 2
    assert ONE_NETWORK in said
    assert not Path("there.onnx").exists()
    assert run(f"{TRAIN} --seed 1")[0] == 0
    assert sc.load("out") is not None
