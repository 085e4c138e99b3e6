"""Runs made side by side, in processes and on Ray: the same bits as one after the other, whatever happens."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

import made
import secateur as sc
from secateur.compare import results
from secateur.compare.drawn_up import _made_with
from secateur.errors import InputError, TrainingError
from secateur.papers import dupont2021
from secateur.progress import BarReporter, LineReporter, Reporter
from secateur.runs.executors.choice import SMALL_STEP, WORTH_STARTING, Workers, count_for, in_words
from secateur.runs.executors.failures import Failures
from secateur.runs.executors.orphans import marked
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.graph import Graph, NotMadeError
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe
from watched import gone

FAST = {
    "recipe": Recipe(epochs=1, batch_size=64),
    "prune": PruneSettings(every=1, at_once=8),
    "device": "cpu",
}
ARMS = ("fisher-tuned", "fisher-scratch", "copycat", "width")
BOTH = {"arms": ARMS, "budgets": ["params=60%", "params=30%"], **FAST}
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """So that a worker has as many threads as this process, and the same bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _no_report():
    """Which takes longer than all of these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "rewrite_report", lambda *_: None)
        yield


@pytest.fixture
def run(command_line):
    """Run a command line in this process, where interruptions arrive: (exit code, stdout, stderr)."""
    handler = signal.getsignal(signal.SIGTERM)
    yield command_line
    signal.signal(signal.SIGTERM, handler)


class Diary(Reporter):
    """Everything that is told, in order."""

    def __init__(self):
        self.started, self.finished, self.notes, self.epochs = [], [], [], []

    def run_started(self, label, compute):
        self.started.append(label)

    def run_finished(self, text):
        self.finished.append(text.split(":")[0])

    def note(self, text):
        self.notes.append(text)

    def epoch(self, row):
        self.epochs.append(row["epoch"])


def workers_of(marker: str | int) -> list[int]:
    """The ids of workers' processes: children of a process, or those with a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            marks = (folder / "environ").read_bytes()
        except OSError:
            continue
        ours = parent == marker if isinstance(marker, int) else marker.encode() in marks
        if ours and (b"LokyProcess" in line or line.startswith(b"ray::call")):
            found.append(int(folder.name))
    return found


def what_counts(out: Path) -> tuple:
    """All numbers but times, and every weight."""
    found = json.loads((out / "results.json").read_text())
    points = [{k: v for k, v in point.items() if k != "wall_s"} for point in found["points"]]
    weights = {path.parent.name: path.read_bytes() for path in out.glob("runs/*/model.safetensors")}
    records = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/record.json"))]
    histories = [(record["label"], record["history"]) for record in records]
    return points, found["verdict"], found["profiles"], found["trajectory"], weights, histories


def same_bits(one: Path, other: Path) -> bool:
    """Whether two comparisons came to the same, to the bit; which part differs is told."""
    for ours, theirs in zip(what_counts(one), what_counts(other), strict=True):
        assert ours == theirs
    return True


def labels(out: Path) -> list[str]:
    """Of all finished runs."""
    return sorted(json.loads(path.read_text())["label"] for path in out.glob("runs/*/record.json"))


# How many, and where


def free(count, compute=WORTH_STARTING):
    """Runs that can all begin."""
    return [(str(number), (), compute) for number in range(count)]


def graph_of(rows):
    """A graph of runs that nobody can tell yet."""

    def never(made):
        raise NotMadeError

    graph = Graph()
    for name, after, compute in rows:
        graph.add_later(name, never, [graph.nodes[each] for each in after], compute)
    return graph


@pytest.fixture
def how_many(tmp_path, monkeypatch):
    """The number of workers that a graph is given."""

    def call(asked, rows, step, device="cpu", world=1):
        monkeypatch.setattr("secateur.runs.executors.choice.largest_step", lambda graph: step)
        runtime = SimpleNamespace(world=world, device=torch.device(device))
        session = SimpleNamespace(runtime=runtime, store=RunStore(tmp_path))
        return count_for(asked, graph_of(rows), session)

    return call


@pytest.mark.parametrize(
    ("threads", "rows", "step", "expected"),
    [
        (4, free(9), SMALL_STEP / 2, 4),
        (4, free(3), SMALL_STEP / 2, 3),
        (1, free(9), SMALL_STEP / 2, 1),
        (4, [("a", (), 1e13), ("b", ("a",), 1e13)], SMALL_STEP / 2, 1),
        (4, free(9), SMALL_STEP, 1),
        (4, free(9, WORTH_STARTING / 10), SMALL_STEP / 2, 1),
        (4, [], SMALL_STEP / 2, 1),
    ],
    ids=["threads", "jobs", "one thread", "a chain", "large steps", "soon done", "nothing to do"],
)
def test_automatic_is_as_many_as_win(how_many, monkeypatch, threads, rows, step, expected):
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert how_many(Workers.parse("auto"), rows, step) == expected


def test_on_a_gpu_and_among_several_processes_it_is_one_unless_asked_for(how_many, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    assert how_many(Workers(), free(9), 1.0, device="cuda:0") == 1
    assert how_many(Workers(), free(9), 1.0, world=2) == 1
    assert how_many(Workers(3), free(9), 1e15, device="cuda:0") == 3
    assert how_many(Workers(1), free(9), 1.0, world=2) == 1
    with pytest.raises(InputError, match="must be 1 where several processes share each run, got 2"):
        how_many(Workers(2), free(9), 1.0, world=2)


def test_on_ray_it_is_as_many_as_threads_whatever_the_steps(how_many, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    assert how_many(Workers(on="ray"), free(9, 1.0), 1e15) == 4
    assert how_many(Workers(8, on="ray"), free(9, 1.0), 1e15) == 8
    with pytest.raises(InputError, match="must be 1 where several processes share each run"):
        how_many(Workers(on="ray"), free(9), 1.0, world=2)


def test_no_more_than_there_are_runs_and_the_threads_are_shared_out(how_many, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 5)
    assert how_many(Workers(8), free(2), 1.0) == 2
    assert how_many(Workers.parse("3"), [], 1.0) == 1
    assert in_words(1) == "one run after the other"
    assert in_words(2) == "2 runs side by side, 2 threads each"
    assert in_words(8) == "8 runs side by side, 1 thread each"
    assert in_words(3, "ray") == "3 runs side by side on Ray, 1 thread each"


@pytest.mark.parametrize("asked", [0, -1, "x", "1.5", "", True, "²"])
def test_anything_else_is_refused_before_all_else(asked, tmp_path):
    with pytest.raises(InputError, match="workers must be auto or a number of at least 1"):
        sc.compare("no such model", workers=asked, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["there", "Ray", "ray:/x", "http://localhost:1"])
def test_any_other_place_is_refused_before_all_else(where, run, tmp_path):
    code, _, error = run(f"compare --on {where} --model nothing --out {tmp_path / 'out'}")
    assert (code, error.count("\n")) == (2, 1)
    assert f"--on is here, ray or ray://HOST:PORT, got '{where}'" in error
    assert not (tmp_path / "out").exists()


def test_what_is_asked_is_read():
    assert Workers.parse() == Workers(None, "here")
    assert Workers.parse("auto", "ray") == Workers(None, "ray")
    assert Workers.parse("3", "ray://host:10001") == Workers(3, "ray://host:10001")


# Shown, and held


def test_a_run_that_another_process_makes_is_waited_for(tmp_path):
    first, second = RunStore(tmp_path), RunStore(tmp_path)
    waiting, got = threading.Event(), threading.Event()

    def wait_for_it():
        waiting.set()
        with second.claimed("train-0-s0"):
            got.set()

    thread = threading.Thread(target=wait_for_it)
    with first.claimed("train-0-s0"):
        thread.start()
        assert waiting.wait(10)
        with RunStore(tmp_path).claimed("train-1-s0"):  # another run is free
            assert not got.wait(0.2)
    assert got.wait(10)
    thread.join()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_bars_of_runs_side_by_side_add_up():
    from rich.console import Console

    whole = BarReporter(Console(quiet=True))
    whole.begin("compare", 100.0)
    one, other = whole.beside(), whole.beside()
    one.run_started("width", 40.0)
    other.run_started("copycat", 60.0)
    one.step(done=0.5, loss=1.0)
    other.step(done=0.25, loss=1.0)
    assert [task.description for task in whole.bars.tasks] == ["compare", "width", "copycat"]
    assert whole.bars.tasks[0].completed == 20 + 15
    one.run_finished("width: 90%")
    assert [task.description for task in whole.bars.tasks] == ["compare", "copycat"]
    assert whole.bars.tasks[0].completed == 40 + 15
    other.run_started("copycat", 60.0)  # its worker was lost: it is begun again
    assert [task.description for task in whole.bars.tasks] == ["compare", "copycat"]
    other.step(done=0.5, loss=1.0)
    assert whole.bars.tasks[0].completed == 40 + 30


def test_lines_of_runs_side_by_side_name_their_own_run(capsys):
    one, other = LineReporter(sys.stdout).beside(), LineReporter(sys.stdout).beside()
    one.run_started("width", 1.0)
    other.run_started("copycat", 1.0)
    one.step(done=0.5, loss=1.0)
    one._last -= 31
    one.epoch({"epoch": 1, "loss": 1.0, "val_accuracy": 0.5, "train_accuracy": 0.5})
    assert capsys.readouterr().out == "  width: 50%, epoch 1, loss 1.000, validation 50.0%\n"


def test_results_say_with_how_many_threads_the_runs_were_made(tmp_path):
    store = RunStore(tmp_path)
    for run_id, threads in (("a", 1), ("b", 2), ("c", 1)):
        store.save_record(made.record(run_id, environment={"threads": threads, "commit": "abc"}))
    points = [made.point(run_id=run_id) for run_id in "abc"]
    assert _made_with(points, store) == {"trained_at": ["abc"], "threads": "1 or 2"}
    assert _made_with([points[0], points[2]], store)["threads"] == 1


# Real processes


@pytest.fixture(scope="module")
def both(digits, tmp_path_factory):
    """The same comparison in one process and in two workers, of data that only this process holds."""
    out, diary = tmp_path_factory.mktemp("side"), Diary()
    sc.compare("wrn-10-1", digits, out=out / "one", workers=1, **BOTH)
    sc.compare("wrn-10-1", digits, out=out / "two", workers=2, reporter=diary, **BOTH)
    return out, diary


def test_two_workers_find_what_one_process_finds_to_the_bit(both):
    out, diary = both
    assert same_bits(out / "one", out / "two")
    assert diary.notes == ["2 runs side by side, 1 thread each"]
    assert not workers_of(os.getpid())
    assert sorted(path.name for path in (out / "two").glob(".*")) == [".lock"]


def test_no_run_is_made_twice(both):
    out, diary = both
    assert sorted(diary.started) == sorted(diary.finished) == labels(out / "two")
    threads = {
        json.loads(path.read_text())["environment"]["threads"] for path in out.glob("two/runs/*/record.json")
    }
    assert threads == {1}


@pytest.mark.parametrize("on", ["here", "ray"])
def test_what_is_finished_starts_no_process(both, monkeypatch, digits, on):
    out, _ = both
    monkeypatch.setattr("subprocess.Popen", None)
    monkeypatch.setattr("secateur.runs.executors.choice.ProcessPool", None)
    monkeypatch.setattr("secateur.runs.executors.choice.RayPool", None)
    monkeypatch.setattr("secateur.runs.environment.source_commit", lambda: None)
    diary = Diary()
    sc.compare("wrn-10-1", digits, out=out / "two", workers=2, on=on, reporter=diary, **BOTH)
    assert (diary.started, diary.notes) == ([], [])


def small_net():
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU()),
        *(torch.nn.Flatten(), torch.nn.Linear(128, 10)),
    )


def test_a_model_that_no_other_process_can_build_is_trained_all_the_same(digits, tmp_path):
    model, diary = small_net(), Diary()
    sc.inspect(model, torch.zeros(2, 1, 8, 8), factory=lambda: small_net())
    settings = {"arms": ["width"], "budgets": ["params=50%", "params=70%"], **FAST}
    result = sc.compare(model, digits, out=tmp_path / "here", workers=2, reporter=diary, **settings)
    assert len(result.points) == 2
    assert diary.notes[-1].startswith("one run after the other: the factory of ")
    assert diary.notes[-1].endswith("cannot be imported by another process")
    with pytest.raises(InputError, match=r"^the factory of .* cannot be imported by another process$"):
        sc.compare(model, digits, out=tmp_path / "ray", workers=2, on="ray", **settings)


LITTLE = {"arms": ["width", "bottleneck"], "budgets": ["params=20%"], **FAST}


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/nowhere/python", "one run after the other: a worker ended at its start ("),
        ("/bin/false", "one run after the other: a worker ended at its start (exit code 1)"),
    ],
)
def test_where_no_process_can_be_had_one_run_follows_the_other(digits, tmp_path, monkeypatch, python, why):
    monkeypatch.setattr(sys, "executable", python)
    diary = Diary()
    result = sc.compare("wrn-10-0.5", digits, out=tmp_path, workers=2, reporter=diary, **LITTLE)
    assert len(result.points) == 2
    assert diary.notes[-1].startswith(why)


def full(*_):
    raise OSError(28, "No space left on device")


def test_where_nothing_can_be_handed_over_one_run_follows_the_other(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("secateur.runs.portable.save_file", full)
    diary = Diary()
    result = sc.compare("wrn-10-0.5", digits, out=tmp_path, workers=2, reporter=diary, **LITTLE)
    assert len(result.points) == 2
    assert diary.notes[-1] == "one run after the other: [Errno 28] No space left on device"


class NoRay(ProcessPool):
    """Stands in for a cluster; it is asked for nothing."""

    def __init__(self, address, workers, threads, gpus):
        super().__init__(workers, threads)

    def probe(self, folder):
        """All machines share it."""


def test_where_nothing_can_be_handed_to_ray_it_is_one_line(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("secateur.runs.portable.save_file", full)
    monkeypatch.setattr("secateur.runs.executors.choice.RayPool", NoRay)
    with pytest.raises(InputError) as refused:
        sc.compare("wrn-10-0.5", digits, out=tmp_path, workers=2, on="ray", **LITTLE)
    assert str(refused.value) == "the runs cannot be handed to Ray ([Errno 28] No space left on device)"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "plan.json", "report.html"]


def test_failures_are_told_in_a_line():
    diary, graph = Diary(), graph_of(free(9))
    failures = Failures(9)
    failures.raise_if_any(0)
    errors = [TrainingError("1: the loss"), RuntimeError("no memory\nat all"), *[TrainingError("x")] * 3]
    for node, error in zip(list(graph)[1:6], errors, strict=True):
        failures.add(node, error, diary)
    assert diary.notes[:2] == ["failed: 1: the loss", "failed: 2: RuntimeError: no memory"]
    with pytest.raises(TrainingError) as told:
        failures.raise_if_any(2)
    assert str(told.value) == (
        "5 of 9 runs failed: 1: the loss; 2: RuntimeError: no memory; 3: x; and 2 more; 2 that wait for them "
        "were not begun; the others are finished and kept, and the same command tries these again"
    )
    assert told.value.__cause__ is errors[0]
    alone = Failures(1)
    alone.add(graph.nodes["1"], errors[1], diary)
    with pytest.raises(RuntimeError) as told:
        alone.raise_if_any(0)
    assert told.value.__cause__ is errors[1]
    assert str(told.value) == "1: RuntimeError: no memory: SECATEUR_DEBUG=1 shows where"


@pytest.mark.slow  # which workers and which runs is one question for all: `both` above is its sibling
def test_a_paper_is_reproduced_side_by_side(tmp_path):
    cells, diary, found = dupont2021.parse_cells("conv4/cifar10/90%"), Diary(), []
    for workers in (1, 2):
        grid = dupont2021.Reproduction(
            tmp_path / str(workers),
            "smoke",
            cells,
            methods=("magnitude", "magnitude-tuned"),
            seeds=1,
            epochs=2,
            device="cpu",
            reporter=diary,
        )
        rows = grid.run("x", workers=Workers(workers)).to_json()["cells"]
        found.append([{key: value for key, value in row.items() if key != "wall_s"} for row in rows])
    assert found[0] == found[1]
    assert diary.notes == ["2 runs side by side, 1 thread each"]
    assert len(diary.started) == 2 * 4


# A model of one's own, and what can go wrong in it

NETS = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn

print("hello from a user's module")

class Harm(nn.Module):
    def forward(self, x):
        harm = Path(os.environ["SECATEUR_HARM"])
        what, fewest, most = harm.read_text().split() if harm.exists() else ("none", 0, 0)
        if self.training and x.shape[0] == 64 and int(fewest) <= x.shape[1] <= int(most):
            if what == "memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            if what == "kill":
                with harm.with_suffix(".kills").open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            x = x * float("nan")
        return x

def build(num_classes):
    print("building")
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), Harm(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, num_classes),
    )
"""
OWN = (
    "compare --model usersnets2:build --data digits --limit-train 300 --epochs 1 --batch-size 64 "
    "--device cpu --arms width --budget params=80% --budget params=50% --seeds 2"
)


@pytest.fixture
def harm(tmp_path, monkeypatch):
    """The file that says what happens in networks of so many to so many channels; there is none yet."""
    (tmp_path / "usersnets2.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SECATEUR_HARM", str(tmp_path / "harm"))
    yield tmp_path / "harm"
    sys.modules.pop("usersnets2", None)


NARROW, WHOLE = "1 5", "8 8"


def test_a_run_that_fails_is_told_and_the_others_go_on(run, tmp_path, harm):
    """In a model of one's own: it is found where this process found it, and may print what it likes."""
    loss = "width params=50% seed {}: the loss is not finite in epoch 1"
    memory = "width params=50% seed {}: RuntimeError: CUDA out of memory. Tried to allocate 20.00 GiB"
    for workers, what, said in ((1, "loss", loss), (1, "memory", memory), (2, "memory", memory)):
        harm.write_text(f"{what} {NARROW}")
        code, out, error = run(f"{OWN} --retry-failed --workers {workers} --out {tmp_path / str(workers)}")
        assert ("2 runs side by side, 1 thread each" in out) == (workers == 2)
        assert (code, error.count("\n")) == (3, 1)
        assert error.startswith("secateur: 2 runs failed (")
        for seed in (0, 1):
            assert f"failed: {said.format(seed)}" in out
        assert labels(tmp_path / str(workers)) == ["width params=80% seed 0", "width params=80% seed 1"]
        assert not workers_of(os.getpid())
    harm.unlink()
    for workers in (1, 2):
        code, out, error = run(f"{OWN} --workers 1 --retry-failed --out {tmp_path / str(workers)}")
        assert (code, error) == (0, "")
        assert "width params=50% seed 0: " in out
        assert "width params=80% seed 0: " not in out  # it was made before
    assert same_bits(tmp_path / "1", tmp_path / "2")


def test_what_waits_for_a_failed_run_is_not_begun_and_said(run, tmp_path, harm):
    harm.write_text(f"loss {WHOLE}")
    line = OWN.replace("--arms width", "--arms fisher-tuned,fisher-scratch,width").replace(" --seeds 2", "")
    code, out, error = run(f"{line} --prune-every 1 --workers 2 --out {tmp_path / 'out'}")
    assert (code, error.count("\n")) == (3, 1)
    assert error.startswith("secateur: 1 run failed (usersnets2:build seed 0: the loss is not finite")
    missing = "unpruned seed 0, fisher-tuned params=80% seed 0, fisher-scratch params=80% seed 0, "
    assert f"; missing for it: dense {missing}" in " ".join(out.split())
    assert labels(tmp_path / "out") == ["width params=50% seed 0", "width params=80% seed 0"]


def test_a_run_that_kills_its_workers_is_given_up_and_the_others_are_finished(run, tmp_path, harm):
    harm.write_text(f"kill {NARROW}")
    line = OWN.replace(" --seeds 2", "")
    code, out, error = run(f"{line} --workers 2 --out {tmp_path / 'out'}")
    assert (code, error.count("\n")) == (3, 1)
    how = "a worker ended (killed, as happens where memory runs out), 3 times"
    assert f"width params=50% seed 0: {how}" in error
    assert out.count("it goes on from its last epoch") == 2
    assert harm.with_suffix(".kills").read_text() == "xxx"
    assert labels(tmp_path / "out") == ["width params=80% seed 0"]
    assert not workers_of(os.getpid())


class Killer(Diary):
    """Kills a worker that is at it when it hears of so many epochs, until it hears that one is lost."""

    def __init__(self, mark, after=2):
        super().__init__()
        self.mark, self.after = mark, after

    @property
    def lost(self):
        return [note for note in self.notes if "worker ended" in note]

    def epoch(self, row):
        super().epoch(row)
        if row["epoch"] >= self.after and not self.lost:
            for worker in workers_of(self.mark)[:1]:
                os.kill(worker, signal.SIGKILL)


LONG = {
    "recipe": Recipe(epochs=8, batch_size=32),
    "prune": PruneSettings(every=1, at_once=8),
    "device": "cpu",
}


def test_a_lost_worker_is_replaced_and_goes_on_from_the_last_epoch(digits, tmp_path):
    """The unpruned network is trained first and alone, so that it is known whose worker is killed."""
    settings = {**LONG, "arms": ["fisher-tuned"], "budgets": ["params=60%"]}
    diary = Killer(os.getpid())
    sc.compare("wrn-10-1", digits, out=tmp_path / "two", workers=2, reporter=diary, **settings)
    (lost,) = diary.lost
    assert lost == (
        "wrn-10-1 seed 0: a worker ended (killed, as happens where memory runs out); "
        "it goes on from its last epoch"
    )
    assert diary.started[:2] == ["wrn-10-1 seed 0"] * 2
    first = diary.epochs[: diary.epochs.index(8) + 1]
    assert first.count(1) == first.count(2) == 1
    assert not workers_of(os.getpid())
    sc.compare("wrn-10-1", digits, out=tmp_path / "one", workers=1, **settings)
    assert same_bits(tmp_path / "one", tmp_path / "two")


COMMAND = (
    "compare --model wrn-10-1 --data digits --limit-train 300 --epochs 6 --batch-size 32 --prune-every 1 "
    "--arms fisher-tuned,width,bottleneck --budget params=60% --device cpu --out"
)


def files(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/[!.]*")}


def further(out, before, process):
    """Wait until more is there than before, and two workers are at it."""
    while files(out) == before or len(workers_of(str(out))) < 2:
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return 2


def stopped(out, how):
    """The command in a process group of its own, stopped once it got further: exit code and output."""
    before, argv = files(out), [sys.executable, "-m", "secateur.cli", *shlex.split(COMMAND), str(out)]
    with subprocess.Popen(
        [*argv, "--workers", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "SECATEUR_TEST": str(out)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # see test_interruption
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert further(out, before, process) == 2
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as a terminal does: the workers get it too
        else:
            process.send_signal(how)
        return process.communicate()[0], process.returncode


def ended(out):
    """Whether no worker is left, at most 5 seconds later."""
    last = time.monotonic() + 5
    while workers_of(str(out)) and time.monotonic() < last:
        time.sleep(0.01)
    return not workers_of(str(out))


@pytest.mark.slow  # `test_interruption.py` kills what runs in one process
def test_interrupted_in_any_way_nothing_is_left_and_it_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    two = tmp_path / "two"
    output, code = stopped(two, signal.SIGINT)
    assert (code, "Traceback" in output) == (130, False)
    assert output.splitlines()[-1].endswith("the same command continues")
    assert ended(two)

    assert stopped(two, signal.SIGKILL)[1] == -signal.SIGKILL
    assert ended(two)

    before, seen = files(two), []

    def terminate():
        seen.append(further(two, before, None))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setenv("SECATEUR_TEST", str(two))
    thread = threading.Thread(target=terminate)
    thread.start()
    assert run(f"{COMMAND} {two} --workers 2")[0] == 130
    thread.join()
    assert seen == [2]
    assert not workers_of(str(two))  # at once: who started them waits for their end

    for out in (two, tmp_path / "one"):  # what workers began, one process may end
        assert run(f"{COMMAND} {out} --workers 1")[0] == 0
    assert same_bits(two, tmp_path / "one")


# Ray


@needs_ray
@pytest.mark.slow
def test_on_ray_the_bits_are_the_same_though_a_worker_is_killed(both, digits, tmp_path, monkeypatch):
    """Three workers of a real cluster, which share a folder and nothing else."""
    out, _ = both
    mark = str(tmp_path)
    monkeypatch.setenv("SECATEUR_TEST", mark)
    diary = Killer(mark, after=1)
    sc.compare("wrn-10-1", digits, out=tmp_path / "ray", workers=3, on="ray", reporter=diary, **BOTH)
    assert same_bits(out / "one", tmp_path / "ray")
    assert diary.notes[0] == "3 runs side by side on Ray, 1 thread each"
    assert diary.lost
    assert all(note.endswith("; it goes on from its last epoch") for note in diary.lost)
    assert sorted(set(diary.started)) == sorted(diary.finished) == labels(tmp_path / "ray")
    assert not [process for process in marked(mark) if process != os.getpid()]


def command_line(line, **environment):
    """A command in a process of its own: a client of Ray leaves threads that forks do not survive."""
    return subprocess.Popen(
        [sys.executable, "-m", "secateur.cli", *shlex.split(line)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_ray
@pytest.mark.slow
def test_rays_folder_goes_with_the_next_command_though_who_watched_it_is_killed_too(tmp_path):
    mark, before = str(tmp_path), {*Path("/tmp").glob("secateur-*")}
    with command_line(f"{COMMAND} {tmp_path / 'out'} --on ray --workers 2", SECATEUR_TEST=mark) as process:
        while not workers_of(mark):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        (watch,) = (
            each for each in psutil.Process(process.pid).children() if "orphans.py" in str(each.cmdline())
        )
        watch.kill()
        process.kill()
        process.communicate()
    assert gone(mark, 120.0)
    own = [
        each for each in {*Path("/tmp").glob("secateur-*")} - before if f"-{process.pid}-" in owner_of(each)
    ]
    assert len(own) == 1
    with RunStore(tmp_path / "another").locked():
        pass
    assert not own[0].exists()


def owner_of(folder: Path) -> str:
    """The process that made a temporary folder."""
    file = folder / "process"
    return file.read_text() if file.is_file() else ""


@needs_ray
@pytest.mark.slow
def test_runs_on_a_cluster_that_was_there_before(run, head, tmp_path):
    address, token, mark = head
    there, here = tmp_path / "there", tmp_path / "here"
    with command_line(f"{COMMAND} {there} --on {address} --workers 3", **token) as process:
        while not (files(there) and workers_of(mark)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        os.kill(workers_of(mark)[0], signal.SIGKILL)
        out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    assert out.count("it goes on from its last epoch") == 1
    assert marked(mark)
    assert run(f"{COMMAND} {here} --workers 1")[0] == 0
    assert same_bits(here, there)


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(tmp_path):
    with command_line(f"{COMMAND} {tmp_path / 'out'} --on ray://127.0.0.1:9 --workers 2") as process:
        _, error = process.communicate()
    assert process.returncode == 2
    assert error.splitlines()[-1].startswith("secateur: cannot reach the Ray cluster at 'ray://127.0.0.1:9'")
    assert "Traceback" not in error
