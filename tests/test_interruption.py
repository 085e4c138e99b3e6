"""A comparison that is killed again and again ends as if nothing had happened, to the bit."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

CLI = f"{shlex.quote(sys.executable)} -m secateur.cli"
COMMAND = (
    f"{CLI} compare --model wrn-10-1 --data digits --limit-train 400 "
    "--batch-size 64 --prune-every 2 --budget params=60% --budget params=30% --device cpu"
)
ONCE = f"{COMMAND} --epochs 12 --out"
FEW = "--epochs 4 --seeds 1 --at-once 4 --arms fisher-tuned,copycat,width"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """So that this process comes to the same bits as those that it starts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def hear_ctrl_c():
    """A shell that runs us in the background has Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(out, command=ONCE):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*shlex.split(command), str(out)],
        cwd=out.parent,
        env=environment,
        preexec_fn=hear_ctrl_c,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def state(out):
    """Changes whenever a checkpoint or a record is written."""
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*") if not path.name.startswith(".")}


def kill_at_random(out, moments, command):
    """Start it, let it get somewhere, kill it at a random moment after; whether it was still running."""
    before = state(out)
    with start(out, command) as process:
        while process.poll() is None and state(out) == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return running


@pytest.fixture
def finish(run, monkeypatch):
    """Let a command end, in this process."""

    def call(out, command):
        monkeypatch.chdir(out.parent)
        code, output, error = run(f"{command.removeprefix(CLI)} {out}")
        assert code == 0, output + error

    return call


def what_counts(out):
    """All numbers but times, and every weight."""
    results = json.loads((out / "results.json").read_text())
    points = [{key: value for key, value in point.items() if key != "wall_s"} for point in results["points"]]
    weights = {path.parent.name: path.read_bytes() for path in out.glob("runs/*/model.safetensors")}
    histories = {
        path.parent.name: json.loads(path.read_text())["history"] for path in out.glob("runs/*/record.json")
    }
    best = (out / "best/model.safetensors").read_bytes()
    return points, results["verdict"], results["profiles"], results["trajectory"], weights, histories, best


@pytest.mark.parametrize(
    ("kills", "length"),
    [(2, FEW), pytest.param(12, "--epochs 24", marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path, finish, kills, length):
    moments, command = random.Random(20181010), f"{COMMAND} {length} --out"
    killed = sum(kill_at_random(tmp_path / "killed", moments, command) for _ in range(kills))
    assert killed >= kills - 1, "the comparison ended before it could be killed so often: make it longer"
    finish(tmp_path / "killed", command)
    finish(tmp_path / "whole", command)
    for disturbed, undisturbed in zip(
        what_counts(tmp_path / "killed"), what_counts(tmp_path / "whole"), strict=True
    ):
        assert disturbed == undisturbed


def test_ctrl_c_says_how_to_go_on(tmp_path):
    with start(tmp_path / "out") as process:
        while not state(tmp_path / "out"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate()
    assert process.returncode == 130
    assert "the same command continues" in output
    assert "Traceback" not in output


NETS = """
from torch import nn


def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1),
        nn.GroupNorm(4, 16), nn.ReLU(), nn.Flatten(), nn.Linear(256, num_classes),
    )
"""
OWN = (
    f"{CLI} prune fisher --model usersnets:build --data digits "
    "--limit-train 600 --epochs 2 --batch-size 64 --prune-every 6 --budget params=30% --device cpu --out"
)


def test_pruning_a_model_of_ones_own_ends_the_same_after_a_kill(tmp_path, finish, monkeypatch):
    (tmp_path / "usersnets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "usersnets", raising=False)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with start(killed, OWN) as process:
        while process.poll() is None and not list(killed.glob("runs/prune-*/checkpoint*")):
            time.sleep(0.01)
        time.sleep(0.1)  # into an epoch, past a cut that the checkpoint does not know of
        assert process.poll() is None, "it ended before it could be killed: prune more slowly"
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(killed, OWN)
    finish(whole, OWN)
    for name in ("model.safetensors", "architecture.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    one, other = (json.loads((of / "record.json").read_text()) for of in (killed, whole))
    for key in ("history", "identity", "accuracy", "val_accuracy", "params", "macs", "train_compute"):
        assert one[key] == other[key]
