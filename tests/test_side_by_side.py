"""Runs made side by side: the same as one after the other, at any interruption, and nothing is left over."""

from __future__ import annotations

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

import pytest
import torch
from secateur.compare.handover import importable_name, leave, take
from secateur.compare.jobs import Job, Schedule, jobs_of, without
from secateur.runs.side_by_side import SMALL_STEP, WORTH_STARTING, in_words, workers_for

import made
import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.cli.main import main
from secateur.compare.comparison import Comparison, Settings, _made_with
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.papers import crowley2018, dupont2021
from secateur.progress import BarReporter, LineReporter, Reporter
from secateur.runs.session import PruneSettings, Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

FAST = {"recipe": Recipe(epochs=1, batch_size=64), "prune": PruneSettings(every=1), "device": "cpu"}
ARMS = ("fisher-tuned", "fisher-scratch", "copycat", "width")
CPU = SimpleNamespace(world=1, device=torch.device("cpu"))


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
        patch.setattr("secateur.compare.results.rewrite_report", lambda *_: None)
        yield


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    handler = signal.getsignal(signal.SIGTERM)

    def call(line):
        monkeypatch.setattr(sys, "argv", ["secateur", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    yield call
    signal.signal(signal.SIGTERM, handler)


class Diary(Reporter):
    """Everything that is told, in order."""

    def __init__(self):
        self.started, self.finished, self.notes = [], [], []

    def run_started(self, label, compute):
        self.started.append(label)

    def run_finished(self, text):
        self.finished.append(text.split(":")[0])

    def note(self, text):
        self.notes.append(text)


def workers_of(marker: str | int) -> list[int]:
    """The ids of worker processes: children of a process, or those with a mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            marks = (folder / "environ").read_bytes()
        except OSError:
            continue
        ours = parent == marker if isinstance(marker, int) else marker.encode() in marks
        if b"secateur.worker" in line and ours:
            found.append(int(folder.name))
    return found


def what_counts(out: Path) -> tuple:
    """All numbers but times, and every weight."""
    results = json.loads((out / "results.json").read_text())
    points = [{k: v for k, v in point.items() if k != "wall_s"} for point in results["points"]]
    weights = {path.parent.name: path.read_bytes() for path in out.glob("runs/*/model.safetensors")}
    records = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/record.json"))]
    histories = [(record["label"], record["history"]) for record in records]
    return points, results["verdict"], results["profiles"], results["trajectory"], weights, histories


# What may begin when, without any process


def test_whoever_has_the_longest_way_to_the_end_goes_first():
    jobs = [Job("a", (), 1), Job("b", ("a",), 9), Job("c", (), 5), Job("d", (), 11), Job("e", ("b",), 1)]
    schedule = Schedule(jobs)
    assert schedule.weights == {"a": 11, "b": 10, "c": 5, "d": 11, "e": 1}
    assert [job.name for job in schedule.ready()] == ["a", "d", "c"]
    for job in (jobs[0], jobs[3]):
        schedule.take(job)
    assert [job.name for job in schedule.ready()] == ["c"]
    schedule.finish(jobs[0])
    assert [job.name for job in schedule.ready()] == ["b", "c"]
    for job in (jobs[1], jobs[2], jobs[3]):
        schedule.finish(job)
    assert not schedule.over
    schedule.finish(jobs[4])
    assert schedule.over


def test_what_waits_for_finished_jobs_waits_no_more():
    jobs = [Job("a"), Job("b", ("a",)), Job("c", ("a", "b"))]
    assert without(jobs[:1], jobs) == [Job("b"), Job("c", ("b",))]


def waits(digits, tmp_path, model, settings):
    comparison = Comparison(resolve_model(model, digits), digits, settings)
    session = Session(digits, RunStore(tmp_path / "none"), Runtime("cpu"), Reporter())
    jobs = jobs_of(comparison, session, comparison.plan(session))
    assert all(job.compute >= 0 for job in jobs)
    return {job.name: job.after for job in jobs}


def budgets(*texts):
    return tuple(sc.Budget.parse(text) for text in texts)


def test_arms_wait_for_what_they_stand_on(digits, tmp_path):
    settings = Settings(budgets("params=30%", "params=60%"), recipe=FAST["recipe"])
    assert waits(digits, tmp_path, "wrn-10-1", settings) == {
        "dense seed 0": (),
        "tuned params=60% seed 0": ("dense seed 0",),
        "tuned params=30% seed 0": ("tuned params=60% seed 0",),
        "profile seed 0": ("tuned params=30% seed 0",),
        "point fisher-scratch params=60% seed 0": ("tuned params=60% seed 0",),
        "point copycat params=60% seed 0": ("profile seed 0",),
        "point width params=60% seed 0": (),
        "point bottleneck params=60% seed 0": (),
        "point channel-reparametrization params=60% seed 0": (),
        "point fisher-scratch params=30% seed 0": ("tuned params=30% seed 0",),
        "point copycat params=30% seed 0": ("profile seed 0",),
        "point width params=30% seed 0": (),
        "point bottleneck params=30% seed 0": (),
        "point channel-reparametrization params=30% seed 0": (),
    }


def test_equal_compute_waits_for_what_pruning_spends(digits, tmp_path):
    settings = Settings(
        budgets("params=50%"), ("width", "copycat"), seeds=2, match="compute", recipe=FAST["recipe"]
    )
    found = waits(digits, tmp_path, "wrn-10-1", settings)
    assert found["point width params=50% seed 1"] == ("tuned params=50% seed 1",)
    assert found["point copycat params=50% seed 1"] == ("profile seed 1", "tuned params=50% seed 1")
    assert found["tuned params=50% seed 1"] == ("dense seed 1",)


def test_arms_that_zero_weights_wait_for_the_training_that_they_share(digits, tmp_path):
    arms = ("magnitude", "magnitude-tuned", "random-tuned", "l1", "snip", "width")
    settings = Settings(budgets("nonzeros=5%"), arms, recipe=Recipe(epochs=2, batch_size=64))
    assert waits(digits, tmp_path, "wrn-10-1", settings) == {
        "dense seed 0": (),
        "first magnitude-tuned seed 0": (),
        "point magnitude nonzeros=5% seed 0": ("dense seed 0",),
        "point magnitude-tuned nonzeros=5% seed 0": ("first magnitude-tuned seed 0",),
        "point random-tuned nonzeros=5% seed 0": ("first magnitude-tuned seed 0",),
        "point l1 nonzeros=5% seed 0": (),
        "point snip nonzeros=5% seed 0": (),
        "point width nonzeros=5% seed 0": (),
    }


def test_two_arms_that_come_to_the_same_network_are_one_job(digits, tmp_path):
    """A plain chain has no outputs to spare: narrower and bottlenecked are the same."""
    settings = Settings(budgets("params=50%"), ("width", "bottleneck"), recipe=FAST["recipe"])
    assert waits(digits, tmp_path, "conv4", settings) == {"point width params=50% seed 0": ()}


def test_a_papers_cells_share_what_is_trained_before_a_cut(tmp_path):
    cells = dupont2021.parse_cells("conv4/cifar10/90%,conv4/cifar10/99%")
    methods = ("magnitude", "magnitude-tuned", "reparametrization")
    grid = dupont2021.Reproduction(tmp_path, "smoke", cells, methods=methods, seeds=1, device="cpu")
    assert {job.name: job.after for job in grid.jobs(grid.sessions())} == {
        "conv4/cifar10 seed 0": (),
        "conv4/cifar10/90% magnitude seed 0": ("conv4/cifar10 seed 0",),
        "conv4/cifar10 seed 0: 2 epochs first": (),
        "conv4/cifar10/90% magnitude-tuned seed 0": ("conv4/cifar10 seed 0: 2 epochs first",),
        "conv4/cifar10/90% reparametrization seed 0": (),
        "conv4/cifar10/99% magnitude seed 0": ("conv4/cifar10 seed 0",),
        "conv4/cifar10/99% magnitude-tuned seed 0": ("conv4/cifar10 seed 0: 2 epochs first",),
        "conv4/cifar10/99% reparametrization seed 0": (),
    }


def test_both_sizes_of_copycat_share_one_trajectory(tmp_path):
    grid = crowley2018.Reproduction(tmp_path, "smoke", seeds=1, device="cpu")
    assert {job.name: job.after for job in grid.jobs(grid.sessions())} == {
        "snip wrn-22-8 seed 0": (),
        "dense seed 0": (),
        "profile seed 0": ("dense seed 0",),
        "point copycat params=35.7% seed 0": ("profile seed 0",),
        "snip wrn-16-8 seed 0": (),
        "point copycat params=22.3% seed 0": ("profile seed 0",),
    }


# How many processes


def free(count, compute=WORTH_STARTING):
    return [Job(str(number), (), compute) for number in range(count)]


@pytest.mark.parametrize(
    ("threads", "jobs", "step", "expected"),
    [
        (4, free(9), SMALL_STEP / 2, 4),
        (4, free(3), SMALL_STEP / 2, 3),
        (1, free(9), SMALL_STEP / 2, 1),
        (4, [Job("a", (), 1e13), Job("b", ("a",), 1e13)], SMALL_STEP / 2, 1),
        (4, free(9), SMALL_STEP, 1),
        (4, free(9, WORTH_STARTING / 10), SMALL_STEP / 2, 1),
        (4, [], SMALL_STEP / 2, 1),
    ],
    ids=["threads", "jobs", "one thread", "a chain", "large steps", "soon done", "nothing to do"],
)
def test_automatic_is_as_many_as_win(monkeypatch, threads, jobs, step, expected):
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    assert workers_for("auto", CPU, step, lambda: jobs)[0] == expected


def test_on_a_gpu_and_among_several_processes_it_is_one_unless_asked_for(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    gpu = SimpleNamespace(world=1, device=torch.device("cuda:0"))
    several = SimpleNamespace(world=2, device=torch.device("cpu"))
    for where in (gpu, several):
        assert workers_for("auto", where, 1.0, lambda: free(9)) == (1, [])
    assert workers_for(3, gpu, 1e15, lambda: free(9)) == (3, free(9))
    assert workers_for(1, several, 1.0, lambda: free(9)) == (1, [])
    with pytest.raises(InputError, match="must be 1 where several processes share each run, got 2"):
        workers_for(2, several, 1.0, lambda: free(9))


def test_no_more_than_there_are_jobs_and_the_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 5)
    assert workers_for(8, CPU, 1.0, lambda: free(2)) == (2, free(2))
    assert workers_for("3", CPU, 1.0, lambda: []) == (1, [])
    assert in_words(2) == "2 runs side by side, 2 threads each"
    assert in_words(8) == "8 runs side by side, 1 thread each"


@pytest.mark.parametrize("asked", [0, -1, "x", "1.5", "", True, "²"])
def test_anything_else_is_refused_before_all_else(asked, tmp_path):
    with pytest.raises(InputError, match="workers must be auto or a number of at least 1"):
        sc.compare("no such model", workers=asked, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# What is handed over


def test_what_comes_out_is_what_went_in(digits, tmp_path):
    settings = Settings(
        budgets("nonzeros=5%"),
        ("magnitude-tuned", "width"),
        recipe=Recipe(epochs=3, milestones=(0.5,)),
        prune=PruneSettings(every=3, weights=tmp_path / "weights"),
    )
    comparison = Comparison(resolve_model("wrn-10-0.5", digits), digits, settings)
    session = Session(digits, RunStore(tmp_path / "out"), Runtime("cpu"), Reporter())
    leave(comparison, session, comparison.plan(session), tmp_path)
    taken = take(tmp_path, Reporter())
    assert (taken.architecture, Settings(**taken.settings)) == (comparison.architecture, settings)
    assert [row.compute for row in taken.rows] == [row.compute for row in comparison.plan(session)]
    store = taken.session.store
    assert (store.directory, store.shared) == (tmp_path / "out", True)
    for name in ("train", "val", "test"):
        ours, theirs = getattr(digits, name), getattr(taken.session.data, name)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
    for name in ("name", "label", "classes", "mean", "std", "augmentation", "fingerprint"):
        assert getattr(digits, name) == getattr(taken.session.data, name)


def test_another_network_than_the_one_handed_over_is_refused(digits, tmp_path):
    settings = Settings(budgets("params=50%"), ("width",))
    comparison = Comparison(resolve_model("wrn-10-1", digits), digits, settings)
    leave(comparison, Session(digits, RunStore(tmp_path), Runtime("cpu"), Reporter()), [], tmp_path)
    work = json.loads((tmp_path / "work.json").read_text())
    work["identity"]["widths"][0] += 1
    (tmp_path / "work.json").write_text(json.dumps(work))
    with pytest.raises(InputError, match="another network in another process"):
        take(tmp_path, Reporter())


def test_only_what_can_be_imported_has_a_name(digits):
    """A file's word for a factory is nobody's reason to import anything."""
    images = torch.zeros(2, 1, 8, 8)
    for factory in (lambda: small_net(), small_net):
        model = factory()
        sc.inspect(model, images, factory=factory)
        origin = sc.Architecture.of(model).origin
        expected = None if factory.__name__ == "<lambda>" else f"{__name__}:small_net"
        assert importable_name(origin) == expected
    origin.name = "os:system"
    assert importable_name(origin) == f"{__name__}:small_net"


def small_net():
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU()),
        *(torch.nn.Flatten(), torch.nn.Linear(128, 10)),
    )


def test_a_run_that_another_process_makes_is_waited_for(tmp_path):
    first, second = RunStore(tmp_path, shared=True), RunStore(tmp_path, shared=True)
    first.claim("train-0-s0")
    waiting = threading.Thread(target=second.claim, args=("train-0-s0",))
    waiting.start()
    second_other = RunStore(tmp_path, shared=True)
    second_other.claim("train-1-s0")  # another run is free
    waiting.join(0.2)
    assert waiting.is_alive()
    first.release()
    waiting.join(10)
    assert not waiting.is_alive()
    for store in (second, second_other):
        store.release()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


# Shown


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


def test_lines_of_runs_side_by_side_name_their_own_run(capsys):
    one, other = LineReporter(sys.stdout).beside(), LineReporter(sys.stdout).beside()
    one.run_started("width", 1.0)
    other.run_started("copycat", 1.0)
    one.step(done=0.5, loss=1.0)
    one._last -= 31
    one.epoch({"epoch": 1, "loss": 1.0, "val_accuracy": 0.5})
    assert capsys.readouterr().out == "  width: 50%, epoch 1, loss 1.000, validation 50.0%\n"


# Real processes


@pytest.fixture(scope="module")
def both(digits, tmp_path_factory):
    """The same comparison in one process and in two workers, of data that only this process holds."""
    out, diary = tmp_path_factory.mktemp("side"), Diary()
    settings = {"arms": ARMS, "budgets": ["params=60%", "params=30%"], **FAST}
    sc.compare("wrn-10-1", digits, out=out / "one", workers=1, **settings)
    sc.compare("wrn-10-1", digits, out=out / "two", workers=2, reporter=diary, **settings)
    return out, diary


def test_two_workers_find_what_one_process_finds_to_the_bit(both):
    out, diary = both
    for ours, theirs in zip(what_counts(out / "one"), what_counts(out / "two"), strict=True):
        assert ours == theirs
    assert diary.notes == ["2 runs side by side, 1 thread each"]
    assert not workers_of(os.getpid())


def test_no_run_is_made_twice(both):
    out, diary = both
    made = sorted(json.loads(path.read_text())["label"] for path in out.glob("two/runs/*/record.json"))
    assert sorted(diary.started) == sorted(diary.finished) == made
    threads = {
        json.loads(path.read_text())["environment"]["threads"] for path in out.glob("two/runs/*/record.json")
    }
    assert threads == {1}


def test_results_say_with_how_many_threads_the_runs_were_made(tmp_path):
    store = RunStore(tmp_path)
    for run, threads in (("a", 1), ("b", 2), ("c", 1)):
        store.save_record(made.record(run, environment={"threads": threads, "commit": "abc"}))
    points = [made.point(run_id=run) for run in "abc"]
    assert _made_with(points, store) == {"trained_at": ["abc"], "threads": "1 or 2"}
    assert _made_with([points[0], points[2]], store)["threads"] == 1


def test_what_is_finished_starts_no_process(both, monkeypatch, digits):
    out, _ = both
    monkeypatch.setattr("subprocess.Popen", None)
    diary = Diary()
    settings = {"arms": ARMS, "budgets": ["params=60%", "params=30%"], **FAST}
    monkeypatch.setattr("secateur.runs.environment.source_commit", lambda: None)
    sc.compare("wrn-10-1", digits, out=out / "two", workers=2, reporter=diary, **settings)
    assert (diary.started, diary.notes) == ([], [])


def test_a_model_that_no_other_process_can_build_is_trained_all_the_same(digits, tmp_path):
    model, diary = small_net(), Diary()
    sc.inspect(model, torch.zeros(2, 1, 8, 8), factory=lambda: small_net())
    settings = {"arms": ["width"], "budgets": ["params=50%", "params=70%"], **FAST}
    result = sc.compare(model, digits, out=tmp_path, workers=2, reporter=diary, **settings)
    assert len(result.points) == 2
    assert diary.notes[-1].startswith("one run after the other: the factory of ")
    assert diary.notes[-1].endswith("cannot be imported by another process")


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("/nowhere/python", "one run after the other: no process can be started ("),
        ("/bin/false", "one run after the other: a worker ended at its start (exit code 1)"),
    ],
)
def test_where_no_process_can_be_had_one_run_follows_the_other(digits, tmp_path, monkeypatch, python, why):
    monkeypatch.setattr(sys, "executable", python)
    settings, diary = {"arms": ["width", "bottleneck"], "budgets": ["params=20%"], **FAST}, Diary()
    result = sc.compare("wrn-10-0.5", digits, out=tmp_path, workers=2, reporter=diary, **settings)
    assert len(result.points) == 2
    assert diary.notes[-1].startswith(why)


def test_where_nothing_can_be_handed_over_one_run_follows_the_other(digits, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("secateur.compare.handover.save_file", full)
    settings, diary = {"arms": ["width", "bottleneck"], "budgets": ["params=20%"], **FAST}, Diary()
    result = sc.compare("wrn-10-0.5", digits, out=tmp_path, workers=2, reporter=diary, **settings)
    assert len(result.points) == 2
    assert diary.notes[-1] == "one run after the other: [Errno 28] No space left on device"


NETS = """
from torch import nn

print("hello from a user's module")

def build(num_classes):
    print("building")
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, num_classes),
    )
"""


def test_a_model_of_ones_own_by_its_factorys_name(digits, tmp_path, monkeypatch):
    """It is found where this process found it, and may print what it likes."""
    (tmp_path / "usersnets2.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"arms": ["fisher-tuned", "width"], "budgets": ["params=60%"], **FAST}
    diary = Diary()
    for workers in (1, 2):
        sc.compare(
            "usersnets2:build",
            digits,
            out=tmp_path / str(workers),
            workers=workers,
            reporter=diary,
            **settings,
        )
    assert diary.notes == ["2 runs side by side, 1 thread each"]
    for ours, theirs in zip(what_counts(tmp_path / "1"), what_counts(tmp_path / "2"), strict=True):
        assert ours == theirs


def test_what_stops_a_run_is_one_line_and_ends_the_others(run, tmp_path):
    line = (
        "compare --model wrn-10-1 --limit-train 300 --epochs 2 --lr 1e30 --arms width,bottleneck --workers 2 "
        f"--budget params=50% --device cpu --out {tmp_path / 'out'}"
    )
    code, _, error = run(line)
    assert (code, error.count("\n")) == (1, 1)
    assert "params=50% seed 0: the loss is not finite in epoch 1" in error
    assert not workers_of(os.getpid())


def test_a_worker_that_is_killed_is_one_clear_line(digits, tmp_path):
    class Killer(Diary):
        def run_started(self, label, compute):
            os.kill(workers_of(os.getpid())[0], signal.SIGKILL)

    settings = {"arms": ["width", "bottleneck"], "budgets": ["params=50%"], **FAST}
    with pytest.raises(TrainingError, match=r"a worker ended at .* \(killed, .*the same command continues"):
        sc.compare("wrn-10-1", digits, out=tmp_path, workers=2, reporter=Killer(), **settings)
    assert not workers_of(os.getpid())


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
        rows = grid.run("x", workers=workers).to_json()["cells"]
        found.append([{key: value for key, value in row.items() if key != "wall_s"} for row in rows])
    assert found[0] == found[1]
    assert diary.notes == ["2 runs side by side, 1 thread each"]
    assert len(diary.started) == 2 * 4


COMMAND = (
    "compare --model wrn-10-1 --data digits --limit-train 300 --epochs 6 --batch-size 32 --prune-every 1 "
    "--arms fisher-tuned,width,bottleneck --budget params=60% --device cpu --out"
)


def files(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("runs/*/[!.]*")}


def further(out, before, process):
    """Wait until more is there than before, and two workers are at it."""
    while files(out) == before:
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return len(workers_of(str(out)))


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
    for disturbed, undisturbed in zip(what_counts(two), what_counts(tmp_path / "one"), strict=True):
        assert disturbed == undisturbed
