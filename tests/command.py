"""The command line, run in this process."""

from __future__ import annotations

import shlex
import sys

import pytest

from secateur.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in an empty folder, which is the home folder too: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def call(line: str):
        monkeypatch.setattr(sys, "argv", ["secateur", *shlex.split(line)])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        return stop.value.code, output.out, output.err

    return call
