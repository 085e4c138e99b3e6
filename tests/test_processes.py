"""Two processes under accelerate do what one does (`accelerate launch` starts several only on GPUs)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys

import pytest

import secateur as sc

# conv4 has no batch norm, so that the mean gradient over two halves of a batch is that of the whole.
COMMAND = shlex.split(
    "prune fisher --model conv4 --data digits --limit-train 300 --epochs 2 --batch-size 64 --lr 0.02 "
    "--prune-every 2 --budget params=98.5% --device cpu --precision fp32"
)
SNIP = shlex.split(
    "prune snip --model conv4 --data digits --limit-train 300 --epochs 1 --batch-size 64 --lr 0.02 "
    "--budget nonzeros=5% --device cpu --precision fp32"
)
LAUNCH = shlex.split(
    "-m torch.distributed.run --standalone --nproc-per-node"
)  # accelerate takes it from there


def launch(processes, out, line=COMMAND):
    command = [sys.executable, *LAUNCH, str(processes)]
    done = subprocess.run(
        [*command, "-m", "secateur.cli", *line, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((out / "record.json").read_text()), done.stdout


def removed(out, record):
    return [
        (entry["group"], entry["channel"], entry["examples"])
        for entry in json.loads((out / "runs" / record["run_id"] / "record.json").read_text())["removed"]
    ]


def test_two_processes_train_and_prune_as_one(tmp_path, command_line):
    code, _, error = command_line(shlex.join([*COMMAND, "--out", str(tmp_path / "one")]))
    assert code == 0, error
    one = json.loads((tmp_path / "one/record.json").read_text())
    two, output = launch(2, tmp_path / "two")
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert one["run_id"] == two["run_id"]
    assert output.count("written to") == 1  # only one of them talks
    assert removed(tmp_path / "one", one) == removed(tmp_path / "two", two)
    for key in ("params", "macs", "train_compute"):
        assert one[key] == two[key]
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-3)
    weights = zip(sc.load(tmp_path / "one").parameters(), sc.load(tmp_path / "two").parameters(), strict=True)
    assert all((a - b).abs().max() < 1e-3 for a, b in weights)


@pytest.mark.slow
def test_two_processes_choose_the_same_connections_as_one(tmp_path):
    one, two = (launch(n, tmp_path / str(n), SNIP)[0] for n in (1, 2))
    assert one["nonzeros"] == two["nonzeros"] == 22890
    weights = zip(sc.load(tmp_path / "1").parameters(), sc.load(tmp_path / "2").parameters(), strict=True)
    for ours, theirs in weights:
        if ours.dim() > 1:
            assert ((ours == 0) == (theirs == 0)).all()
        assert (ours - theirs).abs().max() < 1e-3


@pytest.mark.slow
def test_two_processes_believe_one_clock(tmp_path):
    """The latency of the first is everybody's, or one would go on cutting where the other is done."""
    line = shlex.split(" ".join(COMMAND).replace("params=97%", "params=97%,latency=100s@torch"))
    record, _ = launch(2, tmp_path / "two", line)
    assert record["limits"]["latency"] == 100 * 10**9
    assert record["latency_ns"] < record["limits"]["latency"]
    assert record["params"] <= record["limits"]["params"]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["record", "weights"])
def test_two_processes_set_aside_what_is_damaged_and_make_it_again(tmp_path, damage):
    train = shlex.split("train --model conv4 --data digits --limit-train 100 --epochs 1 --device cpu")
    before, _ = launch(2, tmp_path, train)
    folder = tmp_path / "runs" / before["run_id"]
    weights = (folder / "model.safetensors").read_bytes()
    if damage == "record":
        content = {**json.loads((folder / "record.json").read_text()), "accuracy": 1.0}
        (folder / "record.json").write_text(json.dumps(content))
    else:
        (folder / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    after, output = launch(2, tmp_path, train)
    assert output.count("set aside as record.json.1.damaged") == 1
    assert (folder / "model.safetensors").read_bytes() == weights
    assert after["accuracy"] == before["accuracy"]
