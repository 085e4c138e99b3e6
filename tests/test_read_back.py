"""What was written is what is read: what was damaged is noticed, and made again or refused in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import made
import secateur as sc
from secateur.errors import InputError
from secateur.records.record import Record
from secateur.records.seal import check_seal, sealed, sealed_again
from secateur.runs.made import Made
from secateur.runs.store import RunStore
from secateur.training.checkpoint import Checkpoint

SMALL = "--model wrn-10-0.5 --data digits --limit-train 100 --epochs 1 --device cpu --out out"
TRAIN = f"train {SMALL}"
AGREES = "must hold what its 'digest' is of, and does not"


def flip(path: Path, place: int = -5) -> None:
    """Change a bit; from the end on, where tensors lie."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def change(path: Path, **changes: object) -> None:
    """Change keys of a file, and leave its digest."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def tell(run):
    """Run a command line: (exit code, all that it says)."""

    def call(line: str) -> tuple[int, str]:
        code, *said = run(line)
        return code, "".join(said)

    return call


# The digest


CONTENT = {"schema": 1, "a": [1, 2.5, None], "b": {"2": "x", "10": -0.0}, "label": "mine"}


def refused(content: object) -> bool:
    try:
        check_seal(content, "file.json", "make it again")
    except InputError as error:
        return str(error).startswith(f"file.json: {AGREES}") and "\n" not in str(error)
    return False


def test_a_digest_is_of_the_keys_that_it_names():
    whole = json.loads(json.dumps(sealed(CONTENT, ("label",))))
    assert whole["digest"]["keys"] == ["a", "b", "schema"]
    assert whole["digest"]["sha256"] == "0ce43c58fde8d536ec0c02b2c19ac740289283d771e65ee5625b855bb6f03e14"
    for fine in (
        CONTENT,  # of an older version
        whole,
        {**whole, "label": "yours", "note": "by hand"},
        dict(sorted(whole.items(), reverse=True)),
        sealed_again({**whole, "a": [1]}, whole),
        [],
    ):
        assert not refused(fine), fine
    digest = whole["digest"]
    for wrong in (
        {**whole, "a": [1, 2.25, None]},
        {**whole, "b": {"2": "x", "10": 0}},
        {key: value for key, value in whole.items() if key != "a"},
        {**whole, "digest": {**digest, "keys": ["a", "schema"]}},
        {**whole, "digest": {**digest, "keys": []}},
        {**whole, "digest": {**digest, "sha256": "0" * 64}},
        *({**whole, "digest": value} for value in (None, 1, [], {}, {"keys": "a", "sha256": 1})),
    ):
        assert refused(wrong), wrong


def test_keys_that_are_no_text_when_written_are_the_same_when_read():
    whole = sealed({"by_epoch": {10: 1, 9: 2}})
    assert not refused(json.loads(json.dumps(whole)))


def test_every_bit_of_a_record_is_covered_but_for_its_label():
    record = made.record(files={"model.safetensors": "0" * 64})
    text = json.dumps(record.for_file())
    read = Record.from_json(json.loads(text))
    assert read == record
    noticed = unread = 0
    for place in range(0, len(text), 3):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        try:
            found = Record.from_json(json.loads(changed), "record.json")
        except (InputError, ValueError):
            noticed += 1
        else:
            assert replace(found, label=record.label) == record, (place, changed[place - 20 : place + 20])
            unread += 1
    assert noticed > 10 * unread


# A finished run


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def trained(run, kept):
    """What `train` left in `out`: its run's folder, what the files held, and how to say the command again."""
    if not (kept / "out").exists():
        assert run(TRAIN)[0] == 0
        shutil.copytree("out", kept / "out")
    else:
        shutil.copytree(kept / "out", "out")
    (folder,) = Path("out").glob("runs/*")
    return folder, {each.name: each.read_bytes() for each in folder.iterdir()}


def without_times(record: bytes) -> dict[str, object]:
    content = json.loads(record)
    return {key: content[key] for key in content if key not in ("environment", "wall_s", "digest")}


FILES = ("model.safetensors", "architecture.json", "scores.safetensors")
DAMAGES: dict[str, Callable[[Path], object]] = {"flipped": flip, "gone": Path.unlink}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_finished_run_that_is_not_whole_is_made_again(trained, tell, name, damage):
    folder, before = trained
    DAMAGES[damage](folder / name)
    code, said = tell(TRAIN)
    assert code == 0
    fault = "is missing" if damage == "gone" else "is not the one that was written"
    assert f"{name} {fault}" in said
    assert "set aside as record.json.1.damaged, and is made again" in said
    assert (folder / "record.json.1.damaged").read_bytes() == before["record.json"]
    assert (folder / f"{name}.1.damaged").exists() == (damage == "flipped")
    for each in FILES:
        assert (folder / each).read_bytes() == before[each]
    assert without_times((folder / "record.json").read_bytes()) == without_times(before["record.json"])
    assert "damaged" not in tell(TRAIN)[1]


def test_a_record_that_says_another_number_is_not_believed(trained, tell):
    folder, before = trained
    accuracy = json.loads(before["record.json"])["accuracy"]
    change(folder / "record.json", accuracy=accuracy + 0.25)
    code, said = tell(f"runs show {folder.name} out")
    assert (code, AGREES in said, said.count("\n")) == (2, True, 1)
    code, said = tell(TRAIN)
    assert code == 0
    assert AGREES in said
    assert json.loads((folder / "record.json").read_text())["accuracy"] == accuracy
    assert json.loads(Path("out/record.json").read_text())["accuracy"] == accuracy


def test_a_record_of_another_run_is_not_believed(trained, tell):
    folder, before = trained
    content = {**json.loads(before["record.json"]), "run_id": "train-0123456789ab-s0"}
    (folder / "record.json").write_text(json.dumps(sealed(content, ("label",))))
    assert "must be of train-" in tell(TRAIN)[1]
    assert json.loads((folder / "record.json").read_text())["run_id"] == folder.name


def test_what_people_add_or_older_versions_left_is_believed(trained, tell):
    folder, before = trained
    content = json.loads(before["record.json"])
    older = {key: value for key, value in content.items() if key not in ("digest", "files")}
    for fine in ({**content, "label": "mine", "notes": ["the best of March"]}, older):
        (folder / "record.json").write_text(json.dumps(fine))
        code, said = tell(TRAIN)
        assert (code, "damaged" in said) == (0, False)
        assert json.loads((folder / "record.json").read_text()) == fine
    flip(folder / "model.safetensors")  # an older version's manifest has its hash
    assert "is not of one network with the others" in tell(TRAIN)[1]
    (folder / "record.json").write_text(json.dumps(older))
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing" in tell(TRAIN)[1]
    assert (folder / "model.safetensors").read_bytes() == before["model.safetensors"]


@pytest.mark.parametrize("damage", [b"{", b'{"schema": 1, "format": "secateur-manifest", "files": {}}'])
def test_a_manifest_alone_is_written_again(trained, tell, damage):
    folder, before = trained
    (folder / "manifest.json").write_bytes(damage)
    code, said = tell(TRAIN)
    assert (code, "manifest.json was damaged" in said) == (0, True)
    assert {each.name: each.read_bytes() for each in folder.iterdir() if "damaged" not in each.name} == before


def test_a_comparison_makes_again_what_a_later_arm_starts_from(tell):
    command = (
        "compare --model wrn-10-0.5 --data digits --limit-train 100 --epochs 1 --device cpu --out out "
        "--workers 1 --arms magnitude --budget nonzeros=20%"
    )
    assert tell(command)[0] == 0
    points = json.loads(Path("out/results.json").read_text())["points"]
    (dense,), (cut,) = Path("out/runs").glob("train-*"), Path("out/runs").glob("sparse-*")
    weights = (cut / "model.safetensors").read_bytes()
    flip(dense / "model.safetensors")
    shutil.rmtree(cut)
    code, said = tell(command)
    assert code == 0
    assert "set aside as record.json.1.damaged" in said
    assert (cut / "model.safetensors").read_bytes() == weights
    again = json.loads(Path("out/results.json").read_text())["points"]
    assert [point["accuracy"] for point in again] == [point["accuracy"] for point in points]


PRUNE = f"prune fisher {SMALL.replace('--epochs 1', '--epochs 1 --prune-every 1')} --budget"


def of_another_training(store: RunStore, run_id: str) -> None:
    found = store.checkpoint(run_id)
    progress = {**found.state["progress"], "more": 1}
    store.save_checkpoint(run_id, Checkpoint({**found.state, "progress": progress}, found.tensors))


def cut_short(store: RunStore, run_id: str) -> None:
    path = store.checkpoint_path(run_id)
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("damage", [cut_short, of_another_training])
def test_a_state_that_others_go_on_from_is_set_aside_and_an_earlier_one_taken(tell, damage):
    assert tell(f"{PRUNE} params=97%")[0] == 0
    (earlier,) = Path("out/runs").glob("prune-*")
    assert tell(f"{PRUNE} params=94%")[0] == 0
    (nearer,) = {*Path("out/runs").glob("prune-*")} - {earlier}
    shutil.copytree("out", "whole")
    assert tell(f"{PRUNE.replace('--out out', '--out whole')} params=90%")[0] == 0
    damage(RunStore("out"), nearer.name)
    code, said = tell(f"{PRUNE} params=90%")
    assert code == 0
    assert "set aside as checkpoint.safetensors.1.damaged, and the run goes on from an earlier state" in said
    assert (nearer / "record.json").exists()
    assert (earlier / "checkpoint.safetensors").exists()
    assert Path("out/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()
    one, other = (json.loads(Path(f"{folder}/record.json").read_text()) for folder in ("out", "whole"))
    assert one["accuracy"] == other["accuracy"]


def test_what_fails_without_them_was_not_the_checkpoints_fault(tell, monkeypatch):
    assert tell(f"{PRUNE} params=97%")[0] == 0
    before = sorted(Path("out/runs").rglob("*"))

    def broken(*_):
        raise ValueError("no step can be taken")

    with monkeypatch.context() as patched:
        patched.setattr("secateur.training.loop.Training.resume", broken)
        patched.setattr("secateur.runs.prune_channels.PruneChannels.begun", broken)
        code, said = tell(f"{PRUNE} params=94%")
    assert (code, "no step can be taken" in said) == (1, True)
    assert list(Path("out/runs").rglob("*.damaged")) == []
    assert {*before} <= {*Path("out/runs").rglob("*")}


# Scores


def test_scores_that_were_damaged_are_another_runs_or_none(tmp_path):
    store, scores = RunStore(tmp_path), torch.tensor([1.0, 0.0, 1.0])
    store.save_scores("train-aa-s0", scores)
    path = tmp_path / "runs/train-aa-s0/scores.safetensors"
    assert torch.equal(store.scores("train-aa-s0"), scores)
    assert store.scores("train-bb-s0") is None
    (tmp_path / "runs/train-bb-s0").mkdir()
    shutil.copy(path, tmp_path / "runs/train-bb-s0")
    with pytest.raises(InputError, match=r"came to on every test example, and is not \(of 'train-aa-s0'\)"):
        store.scores("train-bb-s0")
    whole = path.read_bytes()
    flip(path)
    with pytest.raises(InputError, match=r"\(damaged\)"):
        store.scores("train-aa-s0")
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="the same command makes the run again"):
        store.scores("train-aa-s0")
    save_file({"test": scores}, path)  # as older versions left them
    assert torch.equal(store.scores("train-aa-s0"), scores)


# What lies beside a network


def test_a_network_with_another_normalisation_than_was_written_is_not_loaded(trained):
    content = json.loads(Path("out/artefact.json").read_text())
    change(Path("out/artefact.json"), notes="of March")
    assert len(sc.load("out").classes) == 10
    content["preprocessing"]["mean"][0] += 0.25
    Path("out/artefact.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=AGREES):
        sc.load("out")
    del content["digest"]
    Path("out/artefact.json").write_text(json.dumps(content))
    assert sc.load("out") is not None


def test_a_networks_record_and_measurements_are_checked_by_who_reads_them(trained, tell):
    accuracy = json.loads(Path("out/record.json").read_text())["accuracy"]
    change(Path("out/record.json"), notes="of March")
    assert Made.read(Path("out/record.json")).accuracy == accuracy
    change(Path("out/record.json"), accuracy=accuracy + 0.25)
    with pytest.raises(InputError, match=AGREES):
        sc.push("out", "ann/small", token="none")


def test_what_is_published_is_scrubbed_and_sealed_again():
    before = sealed({"a": "/home/ann/photos", "b": 1}, ("b",))
    after = sealed_again({**before, "a": "photos"}, before)
    assert after["digest"]["keys"] == ["a"]
    check_seal(after, "x", "y")


# A whole folder


def test_a_folder_is_checked_and_each_fault_is_a_line(trained, tell):
    folder, before = trained
    assert tell("runs check out") == (0, "1 run checked: all is as it was written\n")
    for path, damage, said in (
        (folder / "record.json", partial(change, accuracy=0.5), "must hold what its 'digest' is of"),
        (folder / "model.safetensors", flip, "model.safetensors: is not the one that was written"),
        (folder / "architecture.json", Path.unlink, "architecture.json: is missing"),
        (folder / "scores.safetensors", flip, "scores.safetensors: is not the one that was written"),
        (folder / "manifest.json", flip, "manifest.json"),
        (folder / "artefact.json", partial(change, classes=["a", "b"]), "artefact.json: must hold"),
        (folder / "checkpoint.safetensors", Path.touch, "checkpoint.safetensors: cannot be read"),
        (Path("out/record.json"), partial(change, accuracy=0.5), "out/record.json: must hold"),
        (Path("out/model.safetensors"), flip, "out/record.json: is not of the weights beside it"),
        (Path("out/architecture.json"), Path.unlink, "out/architecture.json: is missing"),
        (Path("out/artefact.json"), partial(change, task="regression"), "out/artefact.json: must hold"),
        (Path("out/plan.json"), flip, "out/plan.json"),
    ):
        content = path.read_bytes() if path.exists() else None
        damage(path)
        code, text = tell("runs check out")
        assert code == 1
        assert said in text.splitlines()[0]
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
    assert tell("runs check out")[0] == 0
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before  # nothing is changed
    code, text = tell("runs check out/runs")
    assert (code, "nothing to check in 'out/runs'" in text) == (2, True)
