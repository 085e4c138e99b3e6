"""The power is cut after any change that a command makes: what the disk may show then is read, and mended.

Simulated: what a command writes is logged, and every state that POSIX allows after each step is laid out
(`power_cut.py`). A folder is then the old one, the new one, or refused in a line, and the same command ends
as if nothing had been. What a command has written when it ends is on disk.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

import secateur as sc
from killing import Place, Template, differences
from power_cut import Change, Disk, changes_in, compiled, cuts, laid_out
from secateur.data import load_data
from secateur.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="logs by LD_PRELOAD")]
SEED = 20181010
BASE = "--model wrn-10-1 --data digits --limit-train 100 --batch-size 64 --device cpu --quiet --out new/out"


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return compiled(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def template():
    with Template() as found:
        yield found


@pytest.fixture
def logged(library, tmp_path):
    """Run a program, its working folder logged: the disk before, and what it changed."""

    def call(folder: Path, *program: str) -> tuple[Disk, list[Change]]:
        log, before = tmp_path / "log", Disk.of(folder)
        log.unlink(missing_ok=True)
        added = {"LD_PRELOAD": str(library), "DISK_LOG": str(log), "DISK_LOG_BENEATH": str(folder)}
        done = subprocess.run(
            [sys.executable, *program],
            cwd=folder,
            env={**os.environ, **added, "OMP_NUM_THREADS": "1", "SECATEUR_CACHE": str(folder / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        changes = changes_in(log, folder)
        after = Disk.of(folder).seen()
        replayed = Disk.of(folder) if not changes else _replayed(before, changes)
        assert replayed.seen() == after, "what was logged is not what happened"
        return before, changes

    return call


def _replayed(before: Disk, changes: list[Change]) -> Disk:
    disk = Disk(list(map(_copied, before.nodes)), dict(before.live), dict(before.safe))
    for change in changes:
        disk.apply(change)
    return disk


def _copied(node):
    return type(node)(node.is_folder, node.data, node.safe)


def not_on_disk(before: Disk, changes: list[Change]) -> list[str]:
    """The files that might not be there, or hold something else, were the power cut when all is done."""
    disk = _replayed(before, changes)
    sure = disk.worst()
    return [name for name, content in disk.seen().items() if name not in sure or sure[name] != content]


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)


SAVE = """
import torch, secateur as sc
torch.manual_seed(2)
model = sc.models.wide_resnet(depth=10, width=1, num_classes=10, in_channels=1, image_size=8)
sc.save(model, "new/net", classes=[f"new {each}" for each in range(10)])
"""


def facts(folder: Path) -> tuple:
    """What a network is: its classes and its weights."""
    model = sc.load(folder)
    return model.classes, [value.numpy().tobytes() for value in model.state_dict().values()]


def facts_or_refusal(folder: Path) -> tuple | str:
    """The same, or the line in which it is refused."""
    try:
        return facts(folder)
    except InputError as error:
        (line,) = str(error).splitlines()
        return line


@pytest.mark.parametrize("old", ["none", "of an older version", "whole"])
def test_saving_over_a_network_is_the_old_one_or_the_new_one_or_refused(tmp_path, logged, capsys, old):
    disk, states = tmp_path / "disk", Counter()
    net = disk / "new" / "net"
    disk.mkdir()
    allowed = {}
    if old != "none":
        sc.save(network(1), net, classes=[f"old {each}" for each in range(10)])
        allowed["old"] = facts(net)
        if old != "whole":
            (net / "manifest.json").unlink()
    before, changes = logged(disk, "-c", SAVE)
    allowed["new"] = facts(net)
    assert not not_on_disk(before, changes)
    for number, (when, tree) in enumerate(cuts(before, changes)):
        there = tmp_path / str(number)
        there.mkdir()
        laid_out(tree, there)
        found = facts_or_refusal(there / "new" / "net")
        name = next((name for name, each in allowed.items() if each == found), None)
        assert name or isinstance(found, str), f"{when}: it is neither the old network nor the new one"
        states[name or "refused"] += 1
        sc.save(network(2), there / "new" / "net", classes=[f"new {each}" for each in range(10)])
        assert facts(there / "new" / "net") == allowed["new"], when
        shutil.rmtree(there)
    with capsys.disabled():
        print(f"\nsc.save, old network {old}: {sum(states.values())} states: {dict(states)}")
    assert states["new"]
    assert states["refused"]
    assert bool(states["old"]) == (old != "none")


COMMANDS = {
    "train": (f"train {BASE} --epochs 2", 40),
    "prune": (f"prune fisher {BASE} --epochs 1 --prune-every 1 --at-once 8 --budget params=50%", 25),
    "compare": (
        f"compare {BASE} --epochs 1 --prune-every 1 --at-once 8 --budget params=60% --arms width,copycat "
        "--workers 1",
        20,
    ),
}
"""Name -> command, and after how many of the states it is run again."""
MOST_READ = 150
"""How many of the states are read at most."""


@pytest.mark.parametrize("name", COMMANDS)
def test_after_any_cut_runs_are_read_and_the_same_command_ends_the_same(
    tmp_path, logged, template, capsys, monkeypatch, command_line, name
):
    line, most = COMMANDS[name]
    place = Place(tmp_path / "whole")
    before, changes = logged(place.work, "-m", "secateur", *shlex.split(line))
    assert not not_on_disk(before, changes)
    states = list(cuts(before, changes))
    moments = random.Random(SEED)
    chosen = {*moments.sample(range(len(states)), min(most, len(states))), len(states) - 1}
    read = chosen | {*moments.sample(range(len(states)), min(MOST_READ, len(states)))}
    counts, wrong = Counter(), []
    alone = Place(tmp_path / "alone")  # figures are not drawn there either
    assert template.start(line, alone).wait() == 0
    made = [path.parent.relative_to(alone.work) for path in alone.work.rglob("model.safetensors")]
    networks = {folder: facts(alone.work / folder) for folder in made}
    for number, (when, tree) in enumerate(states):
        if number not in read:
            continue
        there = Place(tmp_path / f"{number}")
        laid_out(tree, there.work)
        monkeypatch.chdir(there.work)
        code, _, error = command_line("runs list new/out")
        if code not in (0, 2) or error.strip().count("\n"):
            wrong.append(f"{when}: runs list: exit {code}: {error}")
        for folder in networks:
            found = facts_or_refusal(there.work / folder)
            counts["networks refused or not there" if isinstance(found, str) else "networks whole"] += 1
            if not isinstance(found, str) and found != networks[folder]:
                wrong.append(f"{when}: {folder} is another network")
            if isinstance(found, str) and folder.parent.name == "runs" and f"{folder}/record.json" in tree:
                wrong.append(f"{when}: {found}, though its run is finished")
        if number in chosen:
            command = template.start(line, there)
            if code := command.wait():
                wrong.append(f"{when}: exit {code}: {command.said[-500:]}")
            found = differences(there.work / "new", alone.work / "new")
            wrong += [f"{when}: {each}" for each in found]
            counts["run again: the same" if not found else "run again: another"] += 1
        monkeypatch.chdir(tmp_path)
        shutil.rmtree(there.folder)
    with capsys.disabled():
        print(f"\n{name}: {len(changes)} changes, {len(states)} states: {dict(counts)}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Images in folders of their classes, of a few colours."""
    colours = random.Random(SEED)
    for split, count in (("train", 6), ("test", 2)):
        for name in ("dark", "light"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                tint = tuple(colours.randrange(1, 255) for _ in range(3))
                Image.new("RGB", (12, 12), tint).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_cache_that_lost_its_power_is_decoded_again(tmp_path, logged, monkeypatch, photos, capsys):
    disk, fingerprints = tmp_path / "disk", Counter()
    disk.mkdir()
    told = f"from secateur.data import load_data; print(load_data({str(photos)!r}, image_size=8).fingerprint)"
    before, changes = logged(disk, "-c", told)
    assert not not_on_disk(before, changes)
    monkeypatch.setenv("SECATEUR_CACHE", str(disk / "cache"))
    whole = load_data(str(photos), image_size=8).fingerprint
    for number, (when, tree) in enumerate(cuts(before, changes)):
        there = tmp_path / str(number)
        there.mkdir()
        laid_out(tree, there)
        monkeypatch.setenv("SECATEUR_CACHE", str(there / "cache"))
        found = load_data(str(photos), image_size=8)
        assert found.fingerprint == whole, when
        fingerprints[bool(len(list((there / "cache").glob("data-*.safetensors"))))] += 1
    with capsys.disabled():
        print(f"\ncache: {sum(fingerprints.values())} states, all read as the same images")


def test_what_a_command_says_that_it_wrote_is_on_disk(tmp_path, logged):
    sc.save(network(1), tmp_path / "disk" / "net")
    for line in (
        "export net --to onnx --out new/onnx/model.onnx --quiet",
        "export net --to c --out new/c/model.c --quiet",
        "measure net --emit new/there --quiet",
        "scale net --budget params=50% --out new/scaled",
    ):
        before, changes = logged(tmp_path / "disk", "-m", "secateur", *shlex.split(line))
        assert changes
        assert not not_on_disk(before, changes), line
