"""Fixtures that several test files share."""

from __future__ import annotations

import os
import runpy
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from secateur.cli.main import main
from secateur.data import Data, load_data
from secateur.report import drawing
from watched import gone

if "PYTEST_XDIST_WORKER" in os.environ:  # several of us share the cores
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


LONGEST = (
    *("test_tracing", "test_executors", "test_own_loop", "test_foreign", "test_interruption", "test_report"),
    *("test_export", "test_own_data", "test_sparse", "test_int8", "test_shipped", "test_examples"),
)
"""They come first, so that no worker is left with one of them at the end; a file is one worker's."""


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache, and none depends on the order of the others."""
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)


_encode = drawing.encode


@pytest.fixture(scope="session", autouse=True)
def _no_drawing():
    """Figures are composed everywhere, but drawn where a module asks for `drawn`: it takes 2 s a report."""
    with drawing.house_style():
        blank = {kind: _encode(drawing.new_figure(1, 1), kind) for kind in ("png", "svg")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "encode", lambda figure, kind: blank[kind])
        yield


@pytest.fixture(scope="module")
def drawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing, "encode", _encode)
        yield


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Run a command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)

    def call(line: str):
        monkeypatch.setattr(sys, "argv", ["secateur", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return call


@pytest.fixture
def run(monkeypatch, command_line, tmp_path):
    """Run a command line in an empty folder, which is the home folder too, as `command_line` does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return command_line


@pytest.fixture
def checked(monkeypatch, capsys):
    """Run `python tools/NAME.py --check` in this process: exit code, and what it says."""

    def call(name):
        path = Path(__file__).parents[1] / "tools" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), "--check"])
        monkeypatch.syspath_prepend(path.parent)
        code = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return code or 0, capsys.readouterr().out

    return call


@pytest.fixture(scope="session")
def digits() -> Data:
    """A stratified 300 of the embedded digits: small enough for real runs inside a test."""
    return load_data("digits", limit_train=300)


def listens(port, patience_s=60.0):
    last = time.monotonic() + patience_s
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < last, f"nobody listens at {port}"
            time.sleep(0.1)


@pytest.fixture
def head(tmp_path):
    """A cluster that somebody else started: its server of clients' address, and how to be let in."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    mark, port, folder = secrets.token_hex(16), 25000 + os.getpid() % 5000, f"/tmp/secateur-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
         f"--ray-client-server-port={port + 5000}", "--num-cpus=3", "--include-dashboard=false",
         "--object-store-memory=80000000", f"--temp-dir={folder}"],
        env={**os.environ, **token, "RAY_USAGE_STATS_ENABLED": "0", "SECATEUR_TEST": mark},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        listens(port + 5000)
        yield f"ray://127.0.0.1:{port + 5000}", token, mark
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert gone(mark)
    subprocess.run(["rm", "-r", folder], check=True)
