"""Identity, records, checkpoints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import made
from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import resolve_model
from secateur.atomic import write_bytes
from secateur.budget import Limits
from secateur.data import load_data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.models import wide_resnet
from secateur.progress import Reporter
from secateur.runs.identity import RunSpec, identity_hash
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.train import Train
from secateur.training.checkpoint import Checkpoint
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed


def test_golden_hashes():
    """Pinned: a change here makes every finished run of every user a stranger. Raise PROTOCOL knowingly."""
    assert identity_hash({}) == "6d76d6a408f1"
    assert identity_hash({"b": 1, "a": [1.5, None, "x"]}) == "3b46614b54e2"
    assert derived_seed(0, "initialisation") == 1_952_974_914_541_233_639
    common = {
        "architecture": Architecture.of(wide_resnet(depth=16, in_channels=1, image_size=8)),
        "data": load_data("digits"),
        "recipe": Recipe(),
        "seed": 0,
    }
    dense = Train(**common)
    target = Target(Limits.at({"params": 40_000}))
    pruned = PruneChannels(**common, settings=PruneSettings(), target=target)
    assert dense.run_id == "train-66214e3a32e3-s0"
    assert pruned.run_id == "prune-5c1854316ae9-s0"


def spec(**changes):
    network = changes.pop("network", Architecture.of(wide_resnet(depth=10, in_channels=1, image_size=8)))
    data = changes.pop("data", load_data("digits"))
    label = changes.pop("label", "")
    return Train(architecture=network, data=data, recipe=Recipe(**changes), seed=0, label=label)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 199},
        {"batch_size": 64},
        {"lr": 0.05},
        {"weight_decay": 0.0},
        {"milestones": (0.5,)},
        {"precision": "bf16"},
        {"pad": 0},
        {"flip": True},
        {"network": Architecture.of(wide_resnet(depth=10, in_channels=1, image_size=8, widths=[16, 32, 63]))},
        {"data": load_data("digits", limit_train=1000)},
        {"data": load_data("digits", split_seed=1)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_a_number_changes_the_id(changes):
    assert spec(**changes).run_id != spec().run_id


def test_what_changes_no_number_is_not_in_the_id():
    assert spec(label="elsewhere").run_id == spec().run_id
    assert spec(pad=1, flip=False).run_id == spec().run_id  # the data set's own augmentation, spelled out


def test_seeds_stand_beside_the_hash():
    one, two = RunSpec("train", {"x": 1}, 0), RunSpec("train", {"x": 1}, 1)
    assert one.run_id[:-1] == two.run_id[:-1]
    assert (one.run_id[-3:], two.run_id[-3:]) == ("-s0", "-s1")


@given(st.integers(0, 2**31), st.text(max_size=9), st.text(max_size=9))
def test_derived_seeds_differ_by_purpose(seed, one, two):
    assert 0 <= derived_seed(seed, one) < 2**63
    assert (derived_seed(seed, one) == derived_seed(seed, two)) == (one == two)


def test_nan_has_no_identity():
    with pytest.raises(ValueError, match="not JSON compliant"):
        identity_hash({"lr": float("nan")})


def test_checkpoints_come_back(tmp_path):
    store = RunStore(tmp_path)
    tensors = {"model.w": torch.randn(2, 3), "method.n": torch.tensor(4)}
    store.save_checkpoint("train-a-s0", Checkpoint({"epoch": 3, "history": [{"loss": 0.1}]}, tensors))
    found = store.checkpoint("train-a-s0")
    assert found.state == {"epoch": 3, "history": [{"loss": 0.1}]}
    assert all(torch.equal(found.tensors[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_damaged_checkpoint_counts_as_none(tmp_path, keep):
    store = RunStore(tmp_path)
    store.save_checkpoint("train-a-s0", Checkpoint({}, {"w": torch.zeros(50)}))
    path = store.path("train-a-s0") / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert store.checkpoint("train-a-s0") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_bytes(tmp_path / "record.json", b"old")

    def full(_descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("secateur.atomic.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_bytes(tmp_path / "record.json", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("record.json", b"old")]


def test_one_process_at_a_time(tmp_path):
    held = (
        "import sys, time; from secateur.runs.store import RunStore\n"
        "with RunStore(sys.argv[1]).locked(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another secateur is at work"), RunStore(tmp_path).locked():
            pass
        other.kill()
    with RunStore(tmp_path).locked():  # a killed process holds nothing
        pass


def test_runs_are_found_by_how_they_begin(tmp_path):
    store = RunStore(tmp_path)
    for run_id in ("train-aa-s0", "train-ab-s0", "prune-cc-s0"):
        store.save_record(made.record(run_id))
    assert store.ids() == ["prune-cc-s0", "train-aa-s0", "train-ab-s0"]
    assert store.resolve("prune") == "prune-cc-s0"
    with pytest.raises(InputError, match=r"2 runs in .* begin with 'train-a'"):
        store.resolve("train-a")
    with pytest.raises(InputError, match="no run in"):
        store.resolve("x")
    store.delete("train-aa-s0")
    assert store.resolve("train-a") == "train-ab-s0"


LEFT = Path(__file__).parent / "left_by_e086a27"


@pytest.mark.parametrize("where", ["in-training", "in-pruning"])
def test_what_the_version_before_left_is_finished(where, tmp_path):
    """Same ids, nothing trained twice: what was done is in the histories as it was left."""
    shutil.copytree(LEFT / where, tmp_path, dirs_exist_ok=True)
    store, data = RunStore(tmp_path), load_data("digits", limit_train=120)
    left = {run_id: store.checkpoint(run_id) for run_id in store.ids()}
    done = {run_id: store.record(run_id) for run_id in store.ids() if store.finished(run_id)}
    whole = resolve_model("wrn-10-0.25", data)
    run = PruneChannels(
        architecture=whole,
        data=data,
        recipe=Recipe(epochs=4, batch_size=32, lr=0.05),
        seed=0,
        label="fisher",
        settings=PruneSettings(every=1),
        target=Target(Limits.at({"params": int(0.6 * whole.params)})),
    )
    assert (run.first.run_id, run.run_id) == ("train-bb51b42ebeb2-s0", "prune-e24df34e2a24-s0")
    record = Session(store, Runtime("cpu"), Reporter()).make(run)
    assert set(store.ids()) == {run.first.run_id, run.run_id}
    assert record.params <= int(0.6 * whole.params)
    for run_id, checkpoint in left.items():
        finished = store.record(run_id)
        if checkpoint is not None:
            before = checkpoint.state["progress"]["history"]
            assert len(before) == 2
            assert [epoch.to_json() for epoch in finished.history[:2]] == before
    for run_id, before in done.items():
        assert store.record(run_id) == before
