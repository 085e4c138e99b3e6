"""Pools of workers: calls come back, a lost worker takes no other with it, and nothing is left over."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from secateur.errors import InputError, TrainingError
from secateur.records.ours import VERSION
from secateur.runs.executors.call import seen_from_here
from secateur.runs.executors.orphans import marked
from secateur.runs.executors.pool import NoWorkerError, WorkerLostError
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.executors.ray import RayPool
from watched import gone

CALLS = """
import json, os, time
from pathlib import Path
from secateur.errors import InputError, TrainingError

print("hello from a user's module")

def upper(text):
    print("working", flush=True)
    os.write(1, b"below Python")
    return text.upper()

def about(text):
    import torch
    omp = os.environ["OMP_NUM_THREADS"]
    return json.dumps({"pid": os.getpid(), "torch": torch.get_num_threads(), "omp": omp})

def wait_for(text):
    started, stop = map(Path, json.loads(text))
    started.with_suffix(".new").write_text(str(os.getpid()))
    started.with_suffix(".new").rename(started)
    while not stop.exists():
        time.sleep(0.01)
    return started.name

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}\\nmore")

def fail(kind):
    raise {
        "input": InputError("epochs must be at least 1, got 0"),
        "training": TrainingError("the loss is not finite"),
        "file": FileNotFoundError(2, "No such file or directory", "weights"),
        "disk": OSError("the disk is full"),
        "other": Unpicklable(1, 2),
        "exit": SystemExit("bye"),
    }[kind]

def number(text):
    return 1

def leave(text):
    import sys
    print("the last words", file=sys.stderr, flush=True)
    os._exit(3)

def opened(text):
    return json.dumps([os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")])
"""
THREADS, WORKERS = 2, 2
NO_RAY = "--on ray needs the package ray, which is not installed: pip install 'secateur[ray]'"
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=NO_RAY)
KINDS = ["processes", pytest.param("ray", marks=[needs_ray, pytest.mark.slow])]


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A folder with a user's module, which only this process knows."""
    folder = tmp_path_factory.mktemp("calls")
    (folder / "poolcalls.py").write_text(CALLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module", params=KINDS)
def pool(request, calls):
    before = signal.getsignal(signal.SIGTERM), settings_of_ray()
    made = ProcessPool(WORKERS, THREADS) if request.param == "processes" else RayPool("ray", WORKERS, THREADS)
    with made:
        assert (signal.getsignal(signal.SIGTERM), settings_of_ray()) == before  # Ray changes both
        yield made


def settings_of_ray():
    """Those of this process's environment that would go on to whatever else it starts."""
    return {name for name in os.environ if name.startswith(("RAY_AUTH", "RAY_DEDUP", "SECATEUR_RAY"))}


def call(pool, name, argument=""):
    return pool.submit(f"poolcalls:{name}", argument)


def started(path, patience_s=30.0):
    """The process that wrote itself there, once it has."""
    last = time.monotonic() + patience_s
    while not path.exists():
        assert time.monotonic() < last, f"{path.name} did not begin"
        time.sleep(0.01)
    return int(path.read_text())


# The contract of every pool


def test_answers_come_back_and_what_is_printed_does_not(pool, capfd):
    futures = [call(pool, "upper", text) for text in ("a", "", "ß\n☃")]
    assert [future.result(60) for future in futures] == ["A", "", "SS\n☃"]
    assert capfd.readouterr().out == ""


def test_workers_are_other_processes_with_the_threads_that_were_asked_for(pool):
    found = [json.loads(future.result(60)) for future in [call(pool, "about") for _ in range(WORKERS)]]
    assert {(each["torch"], each["omp"]) for each in found} == {(THREADS, str(THREADS))}
    assert os.getpid() not in {each["pid"] for each in found}


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("input", InputError, "epochs must be at least 1, got 0"),
        ("training", TrainingError, "the loss is not finite"),
        ("file", FileNotFoundError, "[Errno 2] No such file or directory: 'weights'"),
        ("disk", OSError, "the disk is full"),
        ("other", RuntimeError, "Unpicklable: 1 and 2"),
        ("exit", RuntimeError, "SystemExit: bye"),
    ],
)
def test_errors_come_back_as_they_were_or_as_one_line(pool, kind, error, text):
    found = call(pool, "fail", kind).exception(60)
    assert (type(found), str(found)) == (error, text)


def test_what_cannot_be_called_is_one_line(pool):
    for function, text in (
        ("nosuchmodule:run", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("poolcalls:nothing", "AttributeError: module 'poolcalls' has no attribute 'nothing'"),
        ("poolcalls:number", "TypeError: poolcalls:number must give text, got int"),
    ):
        assert str(pool.submit(function, "").exception(60)) == text


def test_a_killed_worker_takes_no_other_with_it(pool, tmp_path, capfd):
    """What was submitted beyond the workers begins in the lost one's place, and the pool goes on."""
    stop = tmp_path / "stop"
    one, two, three = [
        call(pool, "wait_for", json.dumps([str(tmp_path / name), str(stop)])) for name in "abc"
    ]
    pids = [started(tmp_path / name) for name in "ab"]
    assert len(set(pids)) == WORKERS
    time.sleep(0.2)
    assert not (tmp_path / "c").exists()
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(WorkerLostError, match=r"^a worker ended \(killed.* memory "):
        two.result(10)
    started(tmp_path / "c")
    assert [future.done() for future in (one, three)] == [False] * 2
    stop.touch()
    assert [future.result(30) for future in (one, three)] == ["a", "c"]
    assert [call(pool, "upper", "x").result(30) for _ in range(WORKERS)] == ["X"] * WORKERS
    assert capfd.readouterr().out == ""


# Interrupted in any way nothing is left

SCRIPT = """
import sys
from secateur.runs.executors.processes import ProcessPool
from secateur.runs.executors.ray import RayPool

kind, folder = sys.argv[1:]
with ProcessPool(1, 1) if kind == "processes" else RayPool(kind, 1, 1) as pool:
    print(pool.submit("poolcalls:upper", "answered").result(), flush=True)
    future = pool.submit("poolcalls:wait_for", '["{0}/at work", "{0}/never"]'.format(folder))
    try:
        future.result()
    finally:
        print("closing", flush=True)
print("closed")
"""


class Script:
    """The script above, without a `__main__` guard, in a group of its own."""

    def __init__(self, kind, folder, calls, **environment):
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT)
        self.mark, self.folder = secrets.token_hex(16), folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", folder / "script.py", kind, folder],
            env={**os.environ, "PYTHONPATH": str(calls) + os.pathsep + os.environ.get("PYTHONPATH", ""),
                 "SECATEUR_TEST": self.mark, **environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def stop(self, how, group):
        """Once its call has begun: exit code, the words it printed, the lines of its errors."""
        started(self.folder / "at work", 60)
        (os.killpg if group else os.kill)(self.process.pid, how)
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out.split(), error.strip().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_nothing(kind, tmp_path, calls):
    interrupted = Script(kind, tmp_path / "interrupted", calls)
    code, out, error = interrupted.stop(signal.SIGINT, group=True)
    assert (code, out, error[-1]) == (-signal.SIGINT, ["ANSWERED", "closing"], "KeyboardInterrupt")
    assert error[0].startswith("Traceback")  # of the script; no worker says a word
    assert "".join(error).count("Traceback") == 1
    assert gone(interrupted.mark, 5.0)  # its trackers end with it


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_parent_leaves_nothing(kind, tmp_path, calls):
    killed = Script(kind, tmp_path / "killed", calls)
    code, out, error = killed.stop(signal.SIGKILL, group=False)
    assert (code, out, error) == (-signal.SIGKILL, ["ANSWERED"], [])
    assert gone(killed.mark)


def test_close_ends_what_is_at_work_and_what_waits(tmp_path, calls):
    never = tmp_path / "never"
    with ProcessPool(1, 1) as pool:
        at_work, waiting = [
            call(pool, "wait_for", json.dumps([str(tmp_path / name), str(never)])) for name in "ab"
        ]
        pid = started(tmp_path / "a")
        pool.close()
        assert not Path(f"/proc/{pid}").exists()
        assert str(at_work.exception()) == "a worker ended (the pool was closed)"
        assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="after shutdown"):
        call(pool, "upper")


# Processes


def test_nothing_is_started_before_it_is_needed(monkeypatch):
    monkeypatch.setattr("loky.process_executor.ProcessPoolExecutor", None)
    with ProcessPool(3, 1):
        pass


def test_where_no_process_can_be_had_it_says_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        ProcessPool(1, 1) as pool,
        pytest.raises(NoWorkerError, match=r"ended at its start \(exit code 1\)$"),
    ):
        call(pool, "upper").result(60)


def test_workers_hold_what_they_are_given_and_quote_their_last_words(tmp_path, calls):
    with (tmp_path / "lock").open("w") as lock, ProcessPool(1, 1, held=(lock.fileno(),)) as pool:
        assert str(tmp_path / "lock") in json.loads(call(pool, "opened").result(60))
        assert not os.get_inheritable(lock.fileno())
        with pytest.raises(WorkerLostError) as lost:
            call(pool, "leave").result(60)
    assert str(lost.value) == "a worker ended (exit code 3, the last words)"


# Ray


@pytest.mark.parametrize("pool", KINDS[1:], indirect=True)
def test_a_folder_that_the_cluster_shares_is_left_as_it_was(pool, tmp_path):
    pool.probe(tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_ray
def test_what_the_cluster_sees_of_a_folder_is_judged(tmp_path):
    pool = object.__new__(RayPool)  # without a cluster
    pool._where = "ray"
    seen = json.loads(seen_from_here(str(tmp_path / "elsewhere")))
    assert seen == {"found": None, "version": VERSION}
    pool._check({"found": "token", "version": VERSION}, "token", tmp_path)
    with pytest.raises(InputError, match="is not the same on all machines of the Ray cluster at 'ray'"):
        pool._check(seen, "token", tmp_path)
    with pytest.raises(InputError, match=r"Secateur is 0\.0 on the Ray cluster"):
        pool._check({"found": "token", "version": "0.0"}, "token", tmp_path)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError) as refused:
        RayPool("ray", 1, 1)
    assert str(refused.value) == NO_RAY


@needs_ray
@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("nonsense", "must be ray, ray://HOST:PORT or HOST:PORT, got 'nonsense'"),
        ("ray://", "must be ray, ray://HOST:PORT or HOST:PORT, got 'ray://'"),
        ("ray://127.0.0.1:9", "cannot reach a Ray cluster at 'ray://127.0.0.1:9' "),
        ("127.0.0.1:99999", "cannot reach a Ray cluster at '127.0.0.1:99999' "),
    ],
)
def test_where_no_cluster_is_it_says_so_at_once(address, text):
    with pytest.raises(InputError) as refused:
        RayPool(address, 1, 1)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


@needs_ray
@pytest.mark.slow
def test_a_cluster_that_was_there_before_stays(head, tmp_path, calls):
    address, token, mark = head
    script = Script(address, tmp_path / "client", calls, **token)
    worker = started(tmp_path / "client" / "at work", 60)
    assert worker in marked(mark)
    _, out, error = script.stop(signal.SIGINT, group=True)
    assert (out, error[-1]) == (["ANSWERED", "closing"], "KeyboardInterrupt")
    assert gone(script.mark, 1.0)
    left = marked(mark)
    assert left
    assert worker not in left
