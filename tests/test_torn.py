"""A folder that a command was killed in is known to be torn, and mended by the next command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors import deserialize
from safetensors.torch import save

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.atomic import scratch, write_bytes
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.sparse_file import encoded
from secateur.network.tensor_files import with_metadata
from secateur.process import has_ended, this_process
from secateur.progress import Reporter
from secateur.records.manifest import replace_files
from secateur.runs.checkpoint_file import checkpoint_bytes
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.graph import Graph
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.train import Train
from secateur.training.checkpoint import Checkpoint
from secateur.training.recipe import Recipe

TRAIN = "train --model wrn-10-1 --data digits --limit-train 100 --epochs 1 --device cpu --out out"
ONE_NETWORK = "its files must be of one network"


class Killed(KeyboardInterrupt):
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
        assert run(f"{TRAIN} --seed 1")[0] == 130
    code, _, said = run("export out --to onnx --out there.onnx")
    assert code == 2
    assert ONE_NETWORK in said
    assert not Path("there.onnx").exists()
    assert run(f"{TRAIN} --seed 1")[0] == 0
    assert sc.load("out") is not None


def run_of(folder: str | Path) -> Path:
    (found,) = Path(folder).glob("runs/*")
    return found


@pytest.mark.parametrize("damage", [b"{", b'{"schema": 1}'])
def test_a_damaged_record_is_set_aside_with_a_note_and_its_run_made_again(run, damage):
    assert run(TRAIN)[0] == 0
    folder = run_of("out")
    before = (folder / "model.safetensors").read_bytes()
    (folder / "record.json").write_bytes(damage)
    code, listed, _ = run("runs list out")
    assert code == 0
    assert "damaged" in listed
    code, said, _ = run(TRAIN)
    assert code == 0
    assert "set aside as record.json.1.damaged" in said
    assert (folder / "record.json.1.damaged").read_bytes() == damage
    assert (folder / "model.safetensors").read_bytes() == before
    assert "damaged" not in run("runs list out")[1]
    assert run(f"runs delete {folder.name} out --yes")[0] == 0


def test_a_record_of_a_newer_version_stays(run):
    assert run(TRAIN)[0] == 0
    path = run_of("out") / "record.json"
    newer = json.dumps({**json.loads(path.read_text()), "schema": 2})
    path.write_text(newer)
    code, _, said = run(TRAIN)
    assert code == 2
    assert "schema 1 is read here, got 2" in said
    assert path.read_text() == newer


def test_a_run_of_two_names_has_the_first_and_nothing_is_left_behind_it(tmp_path, digits):
    """Whichever of several workers was first, and though a kill kept it from clearing up."""

    def run_called(label: str) -> Train:
        network = resolve_model("wrn-10-1", digits)
        recipe = Recipe(epochs=1, batch_size=64)
        return Train(architecture=network, data=digits, recipe=recipe, seed=0, label=label)

    def asked(*labels: str) -> tuple[str, str]:
        graph = Graph()
        for label in labels:
            graph.add_later(label, lambda made, label=label: run_called(label), (), 0.0)
        with session.working("compare", 0.0):
            make_graph(graph, session, Workers(1))
        artefact = json.loads((folder / "artefact.json").read_text())
        return store.record(folder.name).label, artefact["label"]

    store = RunStore(tmp_path)
    session = Session(store, Runtime("cpu"), Reporter())
    with session.working("compare", 0.0):
        session.make(run_called("copycat"))
    folder = run_of(tmp_path)
    before = contents(folder)
    for name in ("checkpoint.safetensors", "alive.json"):
        (folder / name).write_bytes(b"{}")
    assert asked("fisher-scratch", "copycat") == ("fisher-scratch", "fisher-scratch")
    assert set(contents(folder)) == set(before)
    assert asked("width", "mine") == ("fisher-scratch", "fisher-scratch")  # another question's
    assert asked("copycat") == ("fisher-scratch", "fisher-scratch")
    assert asked("copycat", "fisher-scratch") == ("copycat", "copycat")
    assert contents(folder) == before


def test_what_is_written_twice_has_the_same_bytes_both_times():
    """The library gives metadata in another order each time."""
    state = {"a.weight": torch.eye(40), "a.bias": torch.arange(3), "é": torch.zeros(0)}
    told = Checkpoint({"progress": {"say": "\u2028é\x1f"}}, state)
    for content in (lambda: encoded(state), lambda: checkpoint_bytes(told)):
        (written,) = {content() for _ in range(30)}
        assert int.from_bytes(written[:8], "little") % 8 == 0
    metadata = {"b": "1", "a": "é", "c": "x"}
    ours, theirs = with_metadata(state, metadata), save(state, metadata=metadata)
    assert len(ours) == len(theirs)
    assert dict(deserialize(ours)) == dict(deserialize(theirs))
    assert list(json.loads(ours[8:].split(b"}", 1)[0].partition(b":")[2] + b"}")) == ["b", "a", "c"]


def without_progress(store, run_id, found):
    state = {key: value for key, value in found.state.items() if key != "progress"}
    store.save_checkpoint(run_id, Checkpoint(state, found.tensors))


def with_more_progress(store, run_id, found):
    state = {**found.state, "progress": {**found.state["progress"], "more": 1}}
    store.save_checkpoint(run_id, Checkpoint(state, found.tensors))


def without_a_tensor(store, run_id, found):
    gone = next(name for name in found.tensors if name.startswith("model."))
    kept = {name: value for name, value in found.tensors.items() if name != gone}
    store.save_checkpoint(run_id, Checkpoint(found.state, kept))


def cut(store, run_id, found):
    path = store.checkpoint_path(run_id)
    path.write_bytes(path.read_bytes()[:-1])


def flipped(store, run_id, found):
    path = store.checkpoint_path(run_id)
    content = bytearray(path.read_bytes())
    content[-400] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [without_progress, with_more_progress, without_a_tensor, cut, flipped])
def test_a_checkpoint_with_other_fields_is_set_aside_and_its_run_made_anew(run, monkeypatch, damage):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("secateur.runs.store.RunStore.save_record", killed)
        assert run(TRAIN)[0] == 130
    folder, store = run_of("out"), RunStore("out")
    weights = (folder / "model.safetensors").read_bytes()
    damage(store, folder.name, store.checkpoint(folder.name))
    damaged = store.checkpoint_path(folder.name).read_bytes()
    code, said, _ = run(TRAIN)
    assert code == 0
    assert "set aside as checkpoint.safetensors.1.damaged" in said
    assert (folder / "checkpoint.safetensors.1.damaged").read_bytes() == damaged
    assert (folder / "model.safetensors").read_bytes() == weights


def test_who_holds_the_folder_sweeps_what_killed_processes_left_and_nothing_else(tmp_path):
    gone = (
        ".work/0123.safetensors",
        ".model.safetensors.abc.part",
        "best/.record.json.abc.part",
        "reports/0123456789ab/.results.json.abc.part",
        "runs/train-0123456789ab-s0/.checkpoint.safetensors.abc.part",
        "runs/train-0123456789ab-s0/.saving-abc.part/model.safetensors",
        ".network.onnx.old.part",
    )
    stays = (
        ".saving-abc.part/model.safetensors",  # sc.save at work there
        ".network.onnx.new.part",  # export
        "runs/train-0123456789ab-s0/.measured.json.abc.part",  # measure
        "runs/train-0123456789ab-s0/record.json",
        "mine/.model.safetensors.abc.part",
        "report.part",
    )
    for name in (*gone, *stays):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    os.utime(tmp_path / ".network.onnx.old.part", (0, 0))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".model.safetensors.abc.part").write_bytes(b"x")
    (tmp_path / "runs" / "link").symlink_to(elsewhere)
    with RunStore(tmp_path).locked():
        there = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert there == {*stays, ".lock", "elsewhere/.model.safetensors.abc.part"}


def ended_process() -> str:
    """The name of a process that is gone, as parts of it are called."""
    told = "from secateur.process import this_process; print(this_process())"
    return subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(not this_process(), reason="nobody tells where there is no /proc")
def test_what_a_dead_process_left_goes_with_the_next_and_what_a_living_one_makes_stays(tmp_path, monkeypatch):
    place, number, began = (dead := ended_process()).split("-")
    assert has_ended(f".network.onnx.{dead}.abc.part") is True
    assert has_ended(f"secateur-{this_process()}-abc") is False
    assert has_ended(f".x.{place}-{os.getpid()}-{int(began) - 1}.abc.part") is True  # ids are given out again
    assert has_ended(f".x.{'0' * 8}-{number}-{began}.abc.part") is None  # another machine
    assert has_ended(".x.1-y.part") is None
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    gone = (
        f"out/.saving.{dead}.abc.part/model.safetensors",
        f"out/.network.onnx.{dead}.abc.part",
        f"out/runs/train-0123456789ab-s0/.measured.json.{dead}.abc.part",
        f"tmp/secateur-{dead}-abc/network.so",
        "tmp/secateur-ray/session/raylet.out",
    )
    stays = (
        f"out/.saving.{this_process()}.abc.part/model.safetensors",
        f"out/.network.onnx.{'0' * 8}-{number}-{began}.abc.part",
        f"tmp/secateur-{this_process()}-abc/network.so",
        "tmp/secateur-other/mine",
    )
    for name in (*gone, *stays):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (temporary / "secateur-ray" / "process").write_text(dead)  # whose path must be short
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with RunStore(out).locked():
        pass
    there = {str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file()}
    assert there == {*stays, "out/.lock"}
    (temporary / f"secateur-{dead}-more").mkdir()
    with scratch() as made:
        assert has_ended(made.name) is False
        (made / "x").touch()
        assert len(list(temporary.iterdir())) == 3
    assert sorted(temporary.iterdir()) == [
        temporary / f"secateur-{this_process()}-abc",
        temporary / "secateur-other",
    ]


@pytest.mark.skipif(not this_process(), reason="nobody tells where there is no /proc")
def test_whoever_writes_a_file_again_sweeps_what_was_half_made_of_it(tmp_path):
    dead = ended_process()
    for name in (f".a.json.{dead}.x.part", f".b.json.{dead}.x.part", f".a.json.{this_process()}.x.part"):
        (tmp_path / name).touch()
    (tmp_path / f".saving.{dead}.x.part").mkdir()
    write_bytes(tmp_path / "a.json", b"{}")
    sc.save(network(1), tmp_path)
    left = {each.name for each in tmp_path.iterdir() if each.name.endswith(".part")}
    assert left == {f".b.json.{dead}.x.part", f".a.json.{this_process()}.x.part"}
    write_bytes(tmp_path / ("n" * 230), b"")  # there is no room for whose it is


def test_who_does_not_hold_the_folder_sweeps_nothing(tmp_path):
    store = RunStore(tmp_path)
    (tmp_path / ".work").mkdir()
    with store.locked():
        (tmp_path / ".work").mkdir()
        with pytest.raises(InputError, match="another secateur is at work"), RunStore(tmp_path).locked():
            pass
        assert (tmp_path / ".work").is_dir()
