"""Runs that fail: what is not finite is never a result, and one failed arm does not cost the others."""

from __future__ import annotations

import html
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import made
import secateur as sc
from secateur.compare.gaps import with_intervals
from secateur.compare.judging import judged_again
from secateur.compare.summary import summarise
from secateur.data import load_data
from secateur.device import Runtime, patience
from secateur.errors import OUT_OF_MEMORY, InputError, TrainingError
from secateur.methods import ChannelPruning
from secateur.network.finite import not_finite
from secateur.network.metrics import ACCURACY
from secateur.network.task import Task
from secateur.progress import Reporter
from secateur.records.failed import Failed
from secateur.records.results import Results
from secateur.runs.graph import Graph
from secateur.runs.life import State, alive, state_of
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.evaluation import measure_and_score
from secateur.training.finite import unsure
from secateur.training.loop import Training
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

# What is not finite


def hits(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(1) == targets).float().mean())


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))


def test_the_first_number_that_is_none_is_named():
    model = net()
    assert not_finite(model) is None
    model[1].running_var[2] = torch.inf
    assert not_finite(model) == ("1.running_var", 1, 4)
    model[3].bias.data[:2] = torch.nan
    assert not_finite(model) == ("3.bias", 2, 10)
    masked = nn.Linear(2, 2)
    masked.register_buffer("mask", torch.full((2, 2), -torch.inf))
    assert not_finite(masked) is None
    masked.weight.requires_grad_(False)[0, 0] = torch.inf  # of somebody's own making, and never stepped
    assert not_finite(masked) is None
    masked.weight[0, 0] = torch.nan
    assert not_finite(masked) == ("weight", 1, 4)


def test_scores_that_no_class_can_lead_are_counted():
    inf, nan = torch.inf, torch.nan
    scores = torch.tensor([[1.0, 2.0], [-inf, 3.0], [nan, 1.0], [inf, 1.0], [-inf, -inf]])
    assert unsure(scores) == 3
    maps = torch.zeros(2, 3, 4, 4)
    maps[1, 0, 2] = nan
    assert unsure(maps) == 1


@pytest.fixture
def last_step_of_nan(monkeypatch):
    """Of a training by epochs: the gradient of its very last step is NaN, and the loss before it finite."""
    update = Training._update

    def harmed(training: Training) -> None:
        progress, per_epoch = training.progress, training.batches.per_epoch()
        if progress.epoch * per_epoch + progress.batch + 1 == (training.epochs or 0) * per_epoch:
            next(training.model.parameters()).grad.fill_(torch.nan)
        update(training)

    monkeypatch.setattr(Training, "_update", harmed)


def test_nan_in_the_very_last_step_is_in_no_checkpoint(digits, last_step_of_nan):
    saved = []
    training = made.training(digits, save=lambda checkpoint, _: saved.append(checkpoint.state["progress"]))
    with pytest.raises(
        TrainingError, match=r"the weights are not finite after step 5 of epoch 3 \(stem.weight"
    ):
        training.fit()
    assert [state["epoch"] for state in saved] == [1, 2]


@pytest.mark.parametrize(
    "command", ["train", "prune fisher --budget params=80%", "prune l1 --budget nonzeros=9%"]
)
def test_nan_in_the_very_last_step_is_no_record(run, tmp_path, last_step_of_nan, command):
    """It was 10.0%, with exit code 0."""
    small = "--model wrn-10-0.5 --data digits --limit-train 200 --epochs 1 --device cpu"
    code, _, error = run(f"{command} {small} --out {tmp_path / 'out'}")
    assert code == 1
    assert "the weights are not finite after step" in error
    assert "the last step" not in error
    assert not [*(tmp_path / "out").rglob("record.json")]


def test_a_loop_of_ones_own_gets_no_network_of_nan(monkeypatch):
    after_step = ChannelPruning.after_step

    def harmed(pruning, model, optimizer):
        model = after_step(pruning, model, optimizer)
        if pruning.finished:
            model[3].bias.data.fill_(torch.nan)
        return model

    monkeypatch.setattr(ChannelPruning, "after_step", harmed)
    batch = (torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,)))
    with pytest.raises(TrainingError, match=r"the weights are not finite after the last step \(3.bias\)"):
        sc.prune(net(), method="filter-norm", budget="params=80%", data=[batch], every=1)


def test_finite_weights_whose_scores_overflow_are_no_result(digits):
    """They would be told apart from a network that knows nothing by nobody: 10.0% each."""
    huge = net()
    for parameter in huge[1].parameters():
        nn.init.constant_(parameter, 3e38)
    assert not_finite(huge) is None
    with pytest.raises(TrainingError, match=r"no finite scores for 500 of 500 examples: its numbers"):
        measure_and_score(huge, digits.test, digits, Runtime("cpu"), "fp32", (ACCURACY,))


# One failed arm of several

NETS = """
import ctypes, os, signal, time
from pathlib import Path
import torch
from torch import nn

class Harm(nn.Module):
    def forward(self, x):
        harm = Path(os.environ["SECATEUR_HARM"])
        what, fewest, most = harm.read_text().split() if harm.exists() else ("none", 0, 0)
        here = os.environ.get("SECATEUR_HARM_RANK", os.environ.get("RANK")) == os.environ.get("RANK")
        if here and self.training and x.shape[0] in (32, 64) and int(fewest) <= x.shape[1] <= int(most):
            with harm.with_suffix(".count").open("a") as file:
                file.write("x")
            if what == "exit":
                raise SystemExit(7)
            if what == "file":
                raise FileNotFoundError(2, "No such file or directory", "weights.bin")
            if what == "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            if what == "hang":
                time.sleep(600)
            if what == "lock":  # for ever, within C and with Python's own lock held: no alarm is heard
                c, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(128)
                c.pthread_mutex_lock(lock)
                c.pthread_mutex_lock(lock)
            if what == "nan":
                x = x * float("nan")
            if what == "once" and len(harm.with_suffix(".count").read_text()) == 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            if what == "memory":
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return x

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU(), Harm(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, num_classes),
    )
"""
OWN = (
    "compare --model failingnets:build --data digits --limit-train 150 --epochs 1 --batch-size 64 "
    "--device cpu --arms width --budget params=80% --budget params=50%"
)
NARROW, WHOLE = "1 5", "8 8"
FAILS = {
    "nan": "the loss is not finite in epoch 1",
    "exit": "SystemExit: 7",
    "file": "FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'",
    "memory": "RuntimeError: CUDA out of memory. Tried to allocate 20.00 GiB",
}


@pytest.fixture
def harm(tmp_path, monkeypatch):
    """The file that says what happens in networks of so many to so many channels; there is none yet."""
    (tmp_path / "failingnets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SECATEUR_HARM", str(tmp_path / "harm"))
    yield tmp_path / "harm"
    sys.modules.pop("failingnets", None)


def results_in(folder: Path) -> Results:
    return Results.load(folder / "results.json")


@pytest.mark.parametrize(
    "what",
    [what if place < 2 else pytest.param(what, marks=pytest.mark.slow) for place, what in enumerate(FAILS)],
)
def test_a_failed_arm_costs_no_other(run, tmp_path, harm, what):
    harm.write_text(f"{what} {NARROW}")
    code, out, error = run(f"{OWN} --workers 1 --out {tmp_path / 'out'}")
    assert code == 3
    label = "width params=50% seed 0"
    assert error.startswith(f"secateur: 1 run failed ({label}: ")
    assert error.count("\n") == 1
    assert "--workers 1 --retry-failed" in error
    assert FAILS[what] in error
    found = results_in(tmp_path / "out")
    assert [(point.arm, point.budget) for point in found.points] == [("width", "params=80%")]
    (failed,) = found.failed
    assert (failed.label, found.missing[0].failed) == (label, label)
    assert FAILS[what] in failed.error
    assert found.verdict.text.endswith(" Runs failed: width failed at params=50%.")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Runs that failed" in page
    assert html.escape(FAILS[what]).replace("&#x27;", "&#39;") in page
    assert "failed: width params=50% seed 0: " in out


def test_what_failed_is_tried_again_when_that_is_asked_for(run, tmp_path, harm):
    harm.write_text(f"once {NARROW}")
    line = f"{OWN} --workers 1 --out {tmp_path / 'out'}"
    assert run(line)[0] == 3
    before = (tmp_path / "out" / "results.json").read_bytes()
    code, out, _ = run(line)
    assert code == 3
    assert "failed before: width params=50% seed 0: RuntimeError: CUDA out of memory" in out
    assert "(--retry-failed tries it again)" in out
    assert harm.with_suffix(".count").read_text() == "x"  # it was not tried
    assert (tmp_path / "out" / "results.json").read_bytes() == before
    code, _, error = run(f"{line} --retry-failed")
    assert (code, error) == (0, "")
    found = results_in(tmp_path / "out")
    assert (found.failed, found.missing, len(found.points)) == ((), (), 2)
    assert "--retry-failed" not in found.command
    assert not [*(tmp_path / "out").rglob("failed.json")]


@pytest.mark.slow  # its sibling, by the console, is in test_executors
def test_what_waits_for_a_failed_run_is_missing_for_it(run, tmp_path, harm):
    """With two workers."""
    harm.write_text(f"memory {WHOLE}")
    line = OWN.replace("--arms width", "--arms fisher-tuned,width") + " --prune-every 1 --workers 2"
    code, _, error = run(f"{line} --out {tmp_path / 'out'}")
    assert code == 3
    assert error.startswith(
        "secateur: 1 run failed (failingnets:build seed 0: RuntimeError: CUDA out of memory"
    )
    found = results_in(tmp_path / "out")
    assert [(point.arm, point.budget) for point in found.points] == [
        ("width", "params=80%"),
        ("width", "params=50%"),
    ]
    assert {(each.arm, each.budget, each.failed) for each in found.missing} == {
        ("dense", None, "failingnets:build seed 0"),
        ("fisher-tuned", "params=80%", "failingnets:build seed 0"),
        ("fisher-tuned", "params=50%", "failingnets:build seed 0"),
    }


@pytest.mark.slow
def test_python_gives_what_failed_and_the_others(digits, tmp_path, monkeypatch):
    def failing(session, run):
        if run.label == "width params=80% seed 1":
            raise MemoryError("17 GB")
        return made_by_session(session, run)

    made_by_session = Session._made
    monkeypatch.setattr(Session, "_made", failing)
    asked = {"epochs": 1, "arms": ["width", "bottleneck"], "seeds": 3, "budgets": "params=80%", "workers": 1}
    found = sc.compare("wrn-10-0.5", digits, out=tmp_path / "out", **asked)
    assert [(each.label, each.error) for each in found.failed] == [
        ("width params=80% seed 1", f"MemoryError: 17 GB: {OUT_OF_MEMORY}")
    ]
    assert len(found.points) == 5
    assert {row.arm: row.n for row in found.results.summary} == {"bottleneck": 3, "width": 2}
    assert found.verdict.endswith(" Runs failed: width stands on 2 of 3 seeds at params=80%.")
    assert "width stands on 2 of 3 seeds" in found.results.verdict.per_budget[0].text
    assert "failed: width params=80% seed 1: MemoryError: 17 GB: there is not" in repr(found)
    assert judged_again(found.results, RunStore(tmp_path / "out")) == found.results
    monkeypatch.setattr(Session, "_made", made_by_session)
    assert len(sc.compare("wrn-10-0.5", digits, out=tmp_path / "out", **asked).points) == 5
    whole = sc.compare("wrn-10-0.5", digits, out=tmp_path / "out", retry_failed=True, **asked)
    assert (len(whole.points), whole.failed) == (6, ())


def test_where_nothing_is_left_it_is_an_error(digits, tmp_path, monkeypatch):
    def failing(session, run):
        raise MemoryError("17 GB")

    monkeypatch.setattr(Session, "_made", failing)
    with pytest.raises(TrainingError, match=r"2 of 2 runs failed: .* tries these again with --retry-failed"):
        sc.compare(
            "wrn-10-0.5", digits, out=tmp_path, arms=["width"], budgets="params=80%", seeds=2, workers=1
        )


def test_a_row_that_lost_its_interval_takes_no_verdict_from_the_others():
    def row(arm, n):
        return summarise([made.point(arm, seed=seed) for seed in range(n)], {})[0]

    rows = [row("a", 3), row("b", 1), row("c", 2)]
    assert [each.arm for each in with_intervals(rows)] == ["a", "c"]
    assert [each.arm for each in with_intervals([row("a", 1), row("b", 1)])] == ["a", "b"]


# Whatever comes out of somebody's code

KINDS = {
    "exit": ("raise SystemExit(0)", "SystemExit: 0"),
    "base": ("raise type('Mine', (BaseException,), {})('mine')", "Mine: mine"),
    "generator": ("raise GeneratorExit('g')", "GeneratorExit: g"),
    "stop": ("raise StopIteration('s')", "StopIteration: s"),
    "recursion": ("(deep := lambda: deep())()", "RecursionError: maximum recursion depth exceeded"),
    "unpicklable": ("raise Unpicklable('a', 'b')", "Unpicklable: ab"),
    "mute": ("raise Mute()", "Mute: its message cannot be read"),
    "leaving": ("raise Leaving()", "Leaving: its message cannot be read"),
    "huge": ("raise RuntimeError('x' * 5_000_000)", "RuntimeError: " + 160 * "x"),
    "lines": ("raise RuntimeError('one\\ntwo\\r\\n' * 99)", "RuntimeError: one"),
    "control": ("raise RuntimeError('a\\x1b[2J\\u202eb\\0')", "RuntimeError: a?[2J?b?"),
    "surrogate": ("raise RuntimeError('a\\udc80')", "RuntimeError: a?"),
    "warning": ("warnings.warn('careful')", "UserWarning: careful"),
    "several": ("raise ExceptionGroup('two', [ValueError()])", "ExceptionGroup: two (1 sub-exception)"),
    "denied": (
        "raise PermissionError(13, 'Permission denied', '/w.bin')",
        "PermissionError: [Errno 13] Permission denied: '/w.bin'",
    ),
    "memory": ("torch.empty(10**15)", "there is not enough memory: take a smaller --batch-size"),
    "cuda": (
        "raise torch.OutOfMemoryError('CUDA out of memory')",
        "there is not enough memory: take a smaller --batch-size",
    ),
}
ENDS = {
    "interrupt": ("raise KeyboardInterrupt('by code')", "KeyboardInterrupt: by code"),
    "left": ("os._exit(0)", "a worker ended (exit code 0), 3 times"),
    "segment": ("ctypes.string_at(0)", "a worker ended (signal 11), 3 times"),
    "abort": ("os.abort()", "a worker ended (signal 6), 3 times"),
    "killed": (
        "os.kill(os.getpid(), 9)",
        "a worker ended (killed, as happens where memory runs out), 3 times: there is not enough memory",
    ),
}
"""These end the process that they are in, or the command: they cost one network where a worker makes it."""
ANYTHING = """
import ctypes, os, threading, warnings
import torch
from torch import nn

warnings.simplefilter("error")

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{{one}}{{two}}")
        self.held = threading.Lock()

class Mute(Exception):
    def __str__(self):
        raise ValueError("no")
    __repr__ = __str__

class Leaving(Exception):
    def __str__(self):
        raise SystemExit(0)

class Harm(nn.Module):
    def forward(self, x):
        if self.training and x.shape[0] == 64:
            {}
        return x

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), Harm(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(32, num_classes),
    )
"""


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_whatever_comes_out_of_a_network_costs_that_network_alone(tmp_path, monkeypatch, workers):
    kinds = KINDS if workers == 1 else KINDS | ENDS
    width = {kind: 5 + number for number, kind in enumerate(kinds)}
    each = "\n".join(
        f"            if x.shape[1] == {width[kind]}: {what}" for kind, (what, _) in kinds.items()
    )
    (tmp_path / "anything.py").write_text(ANYTHING.format(each.strip()))
    monkeypatch.syspath_prepend(tmp_path)
    budgets = {kind: f"params={20 * width[kind] + 10}" for kind in kinds}
    try:
        found = sc.compare(
            "anything:build",
            load_data("digits", limit_train=150),
            ["params=630", *budgets.values()],
            arms=["width"],
            recipe=Recipe(epochs=1, batch_size=64),
            out=tmp_path / "out",
            workers=workers,
            device="cpu",
        )
    finally:
        sys.modules.pop("anything", None)
    said = {failed.label: failed.error for failed in found.failed}
    assert [point.budget for point in found.points] == ["params=630"]
    assert len(said) == len(kinds)
    for kind, (_, told) in kinds.items():
        error = said[f"width {budgets[kind]} seed 0"]
        assert told in error, kind
        assert error.isprintable(), kind
        assert len(error) < 400, kind
    print(f"{len(kinds)} kinds with {workers} worker(s): each cost its own network")


def test_code_that_leaves_by_exit_is_no_success(run, tmp_path, harm):
    """By a network in training, alone and as an only run; and where it is built."""
    harm.write_text(f"exit {WHOLE}")
    small = (
        "--model failingnets:build --data digits --limit-train 150 --epochs 1 --batch-size 64 --device cpu"
    )
    code, _, error = run(f"train {small} --out {tmp_path / 'out'}")
    assert code == 1
    assert "SystemExit: 7: SECATEUR_DEBUG=1 shows where" in error
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    code, _, error = run("inspect --model leaving:build --data digits")
    assert code == 2, error
    assert "'leaving" in error


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_cannot_be_told_is_a_failed_one(digits, tmp_path, monkeypatch, workers):
    """As by an arm of somebody else's, once what it follows from is there; by the same call again, too."""
    add_later = Graph.add_later

    def broken(graph, name, settle, after, compute):
        def tell(made):
            settle(made)
            raise ZeroDivisionError("no such width")

        return add_later(graph, name, tell if "scratch" in name else settle, after, compute)

    monkeypatch.setattr(Graph, "add_later", broken)
    asked = {"epochs": 1, "prune_every": 1, "arms": ["fisher-scratch", "width"], "workers": workers}
    for _ in range(2):
        found = sc.compare("wrn-10-0.5", digits, "params=80%", out=tmp_path / "out", device="cpu", **asked)
        assert [each.error for each in found.failed] == ["ZeroDivisionError: no such width"]
        assert [point.arm for point in found.points] == ["width"]


# Labels that no class has


@pytest.mark.parametrize("wrong", [10, -1, -100])
def test_labels_that_no_class_has_are_one_line_early(digits, tmp_path, wrong):
    """By data made by hand, by loaders, and by the batches that sc.prune is to judge on."""
    labels = digits.val.labels.clone()
    labels[3] = wrong
    said = (
        f"class numbers must lie in 0..9, as there are 10 classes, got {wrong} at example 3 of val (1 of 30"
    )
    with pytest.raises(InputError, match=re.escape(said)):
        replace(digits, val=replace(digits.val, labels=labels))
    right = [(torch.randn(8, 1, 8, 8), torch.arange(8)) for _ in range(2)]
    bad = [right[0], (right[1][0], torch.tensor([0, 1, 2, wrong, 4, 5, 6, 7]))]
    said = re.escape(
        f"class numbers must lie in 0..9, as there are 10 scores, got {wrong}: number the classes"
    )
    with pytest.raises(InputError, match=said):
        sc.compare(net, (right, right, bad), ["params=80%"], arms=["width"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    model, before = net(), [value.clone() for value in net().parameters()]
    with pytest.raises(InputError, match=said):
        sc.prune(model, method="filter-norm", budget="params=80%", data=right, val=bad)
    assert all(map(torch.equal, model.parameters(), before))


def test_a_loss_of_ones_own_that_gets_wrong_labels_names_their_range(digits):
    terms = Terms(Task.of(None, lambda output, y: cross_entropy(output, y + 90 * (y == 9)), (hits, "max")))
    with pytest.raises(
        InputError, match=r"Target 99 is out of bounds.*the targets of this batch lie in 0..9, with"
    ):
        made.training(digits, terms=terms).fit()


# Runs that hang, and what became of each


HANGS = [
    (1, "lock"),
    pytest.param(1, "hang", marks=pytest.mark.slow),
    pytest.param(2, "hang", marks=pytest.mark.slow),
    pytest.param(2, "stop", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("workers", "what"), HANGS)
def test_a_run_that_hangs_is_ended_and_the_others_go_on(tmp_path, harm, monkeypatch, workers, what):
    """It is waiting within Python or C, or its process is stopped; what was made has the same bytes."""
    monkeypatch.setattr("secateur.runs.executors.sharing.PATIENCE_S", 1.0)
    harm.write_text(f"{what} {NARROW}")
    out, asked = tmp_path / "out", {"epochs": 1, "recipe": Recipe(batch_size=64), "arms": ["width"]}
    budgets, data = "params=80%,params=50%", load_data("digits", limit_train=150)
    found = sc.compare(
        "failingnets:build", data, budgets, out=out, workers=workers, run_limit=0.2, device="cpu", **asked
    )
    (failed,) = found.failed
    assert failed.label == "width params=50% seed 0"
    assert failed.error.startswith("it was ended, as it took longer than --run-limit allows (12 s)")
    assert [point.budget for point in found.points] == ["params=80%"]
    assert state_of(RunStore(out), failed.run_id) == State("failed", failed.label, failed.error)
    here, asked = tmp_path / "here", {**asked, "workers": workers, "device": "cpu"}
    sc.compare("failingnets:build", data, "params=80%", out=here, **asked)
    ours, theirs = RunStore(out), RunStore(here)
    (point,) = found.points
    alone = ours.record(point.run_id), theirs.record(point.run_id)
    assert alone[0].history == alone[1].history
    for name in ("model.safetensors", "scores.safetensors"):
        assert (ours.path(point.run_id) / name).read_bytes() == (
            theirs.path(point.run_id) / name
        ).read_bytes()


def test_what_cannot_be_handed_to_a_process_says_what_its_limit_cannot_do(tmp_path):
    def loader():
        return [(torch.randn(8, 1, 8, 8), torch.arange(8)) for _ in range(2)]

    class Heard(Reporter):
        def note(self, text: str) -> None:
            notes.append(text)

    told, notes = Heard(), []
    asked = {"arms": ["width"], "epochs": 1, "reporter": told, "run_limit": 1, "out": tmp_path / "out"}
    sc.compare(net, (loader(), loader(), loader()), "params=80%", **asked)
    assert (
        "one run after the other: a user's own loaders stay in this process; --run-limit cannot end here "
        "what hangs within a library written in C"
    ) in notes


def test_a_limit_must_be_one(run, tmp_path):
    code, _, error = run(f"{OWN} --run-limit 0 --out {tmp_path / 'out'}")
    assert (code, error) == (2, "secateur: --run-limit must be minutes above 0, got 0\n")


def test_every_run_has_a_state(tmp_path):
    store = RunStore(tmp_path)
    run_id = "train-aa-s0"
    with alive(store, run_id, "a run") as pulse:
        path = tmp_path / "runs" / run_id / "alive.json"
        with store.claimed(run_id):
            os.utime(path, (time.time() - 90, time.time() - 90))
            found = state_of(store, run_id)
            assert (found.name, found.label) == ("running", "a run")
            assert (
                found.said == f"process {os.getpid()} on {socket.gethostname()}, last sign of life 2 min ago"
            )
            pulse.step(done=0.5, loss=1.0)
            assert "last sign of life 0 s ago" in state_of(store, run_id).text
        os.utime(path, (time.time() - 90, time.time() - 90))
        assert state_of(store, run_id).text == "killed (last sign of life 2 min ago)"
    assert state_of(store, run_id).text == "interrupted"
    store.save_failure(Failed(run_id=run_id, label="a run", error="no memory", environment={}))
    assert state_of(store, run_id) == State("failed", "a run", "no memory")
    store.save_record(made.record(run_id))
    assert state_of(store, run_id).name == "finished"
    store.delete(run_id)


def test_who_holds_a_folder_is_named_and_whether_it_is_stopped(tmp_path):
    """A worker that is stopped does not notice that its parent was killed, and holds what that held."""
    store = RunStore(tmp_path)
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); "
    code += "print('held', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(InputError, match=rf"' \(process {other.pid}\): wait"), store.locked():
                pass
            os.kill(other.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, other.pid, os.WSTOPPED)
            said = f"stopped: {other.pid}; `kill -CONT {other.pid}`"
            with pytest.raises(InputError, match=said), store.locked():
                pass
        finally:
            other.kill()


# Ends that are announced

SMALL = "--model wrn-10-0.5 --data digits --limit-train 200 --epochs 3 --device cpu"
COMMANDS = (
    "train",
    "prune l1 --budget nonzeros=9%",
    "compare --arms width --budget params=80% --workers 1",
)
SIGNALS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGINT")
ANNOUNCED = [
    pytest.param(
        command,
        name,
        marks=() if (command, name) in zip(COMMANDS, SIGNALS, strict=False) else pytest.mark.slow,
    )
    for command in COMMANDS
    for name in SIGNALS
]


@pytest.fixture
def default_handlers():
    """As a process of its own begins, whatever this one was started by."""
    numbers = [getattr(signal, name) for name in SIGNALS]
    before = [signal.getsignal(number) for number in numbers]
    for number in numbers:
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("command", "name"), ANNOUNCED)
def test_a_signal_ends_a_command_in_a_line_and_the_next_goes_on(
    command_line, default_handlers, tmp_path, monkeypatch, command, name
):
    update, steps = Training._update, []

    def interrupted(training: Training) -> None:
        steps.append(training.progress.epoch)
        if training.progress.epoch == 1 and len(set(steps)) == 2:
            os.kill(os.getpid(), getattr(signal, name))
        update(training)

    line = f"{command} {SMALL} --out {tmp_path / 'out'}"
    monkeypatch.setattr(Training, "_update", interrupted)
    code, _, error = command_line(line)
    said = "secateur: interrupted: finished epochs and runs are kept; the same command continues"
    assert (code, error.splitlines()[-1]) == (130, said)
    assert not [*(tmp_path / "out").rglob("failed.json")]
    steps.clear()
    monkeypatch.setattr(
        Training, "_update", lambda training: steps.append(training.progress.epoch) or update(training)
    )
    assert command_line(line)[0] == 0
    assert steps[0] == 1  # the first epoch is not made again


# Two processes that make a run together


def test_how_long_others_are_waited_for_is_said_in_minutes(monkeypatch):
    monkeypatch.setenv("SECATEUR_RANK_TIMEOUT", "")
    assert patience().total_seconds() == 3600
    monkeypatch.setenv("SECATEUR_RANK_TIMEOUT", "1.5")
    assert patience().total_seconds() == 90
    monkeypatch.setenv("SECATEUR_RANK_TIMEOUT", "soon")
    with pytest.raises(InputError, match="SECATEUR_RANK_TIMEOUT must be minutes above 0, got 'soon'"):
        patience()


def two_processes(line: str, **settings: str) -> list[subprocess.Popen[str]]:
    """A command that two processes make together, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    common |= {"OMP_NUM_THREADS": "1", **settings}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "secateur", *line.split()],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


@pytest.mark.slow  # two processes, of which one waits for the other's time-out
@pytest.mark.parametrize("who", ["both", "0", "1"])
def test_a_run_that_fails_in_one_of_two_processes_or_both_is_a_gap(tmp_path, harm, who):
    """In both at once, or in one while the other waits for it in a sum of gradients."""
    harm.write_text("memory 6 8")  # the first two of three
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "SECATEUR_RANK_TIMEOUT": "0.3"}
    if who != "both":
        settings["SECATEUR_HARM_RANK"] = who
    both = two_processes(
        f"{OWN.replace('80%', '70%')} --budget params=90% --out {tmp_path / 'out'}", **settings
    )
    try:
        said = [each.communicate(timeout=400) for each in both]
    finally:
        for each in both:
            each.kill()
    assert [each.returncode for each in both] == [3, 3], said
    error = "RuntimeError: CUDA out of memory. Tried to allocate 20.00 GiB"
    assert (
        said[0][1].splitlines()[-1].startswith(f"secateur: 2 runs failed (width params=90% seed 0: {error}")
    )
    assert "No clear winner" not in said[1][0]
    found = results_in(tmp_path / "out")
    assert [(each.label, error in each.error) for each in found.failed] == [
        ("width params=90% seed 0", True),
        ("width params=70% seed 0", True),
    ]
    assert [point.budget for point in found.points] == ["params=50%"]


@pytest.mark.slow  # two processes and their epochs: half a minute
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (signal.SIGKILL, "ended"),
        (signal.SIGSTOP, "did not answer for 0.1 minutes (SECATEUR_RANK_TIMEOUT)"),
    ],
)
def test_a_lost_process_ends_the_other_with_a_line_and_its_run_is_kept(tmp_path, sent, said):
    line = f"train --model wrn-10-0.5 --data digits --epochs 200 --device cpu --out {tmp_path / 'out'}"
    both = two_processes(line, SECATEUR_RANK_TIMEOUT="0.1")
    try:
        begun = time.monotonic()
        while not [*(tmp_path / "out").glob("runs/*/checkpoint.safetensors")]:
            assert time.monotonic() < begun + 120
            time.sleep(0.1)
        both[1].send_signal(sent)
        error = both[0].communicate(timeout=120)[1]
    finally:
        for each in both:
            each.kill()
            each.communicate()
    assert both[0].returncode == 1
    assert error.splitlines()[-1] == (
        f"secateur: another of the 2 processes that make this run together {said}: finished epochs and runs "
        "are kept; the same command continues"
    )
    (left,) = (tmp_path / "out" / "runs").iterdir()
    assert (left / "checkpoint.safetensors").is_file()
    assert not (left / "failed.json").exists()
