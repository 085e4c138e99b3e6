"""Runs commands where nobody can be reached and each attempt is recorded, with a new home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
_KEPT = ("PATH", "LANG", "LC_ALL", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "LD_LIBRARY_PATH")
"""Of the environment; the rest, whatever switches telemetry off there, is not everybody's."""


def shim(folder: Path) -> Path:
    """Compile what is preloaded: tests/no_network.c."""
    made = folder / "no_network.so"
    assert COMPILER is not None
    source = ROOT / "tests" / "no_network.c"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, source, "-ldl"], check=True
    )
    return made


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        attempts: (what was called, whom it meant, program) of each attempt to reach another machine.
        home, temporary: what was left there, files and folders, relative.
    """

    code: int
    out: str
    err: str
    attempts: list[tuple[str, str, str]]
    home: list[str]
    temporary: list[str]


class Unconnected:
    """A machine without a network, of a user who has just come to it.

    Args:
        folder: an empty one: `work`, where commands run, `home` and `tmp`.
        preload: of `shim`.
    """

    def __init__(self, folder: Path, preload: Path):
        self.work, self.home, self.temporary = folder / "work", folder / "home", folder / "tmp"
        self._log, self._preload = folder / "attempts", preload
        for each in (self.work, self.home, self.temporary):
            each.mkdir()

    def run(
        self,
        command: Sequence[str | Path],
        text: str | None = None,
        timeout: float = 300,
        **more: str,
    ) -> Ended:
        """Run a program's arguments by this Python, or another program."""
        self._log.unlink(missing_ok=True)
        before = {folder: _within(folder) for folder in (self.home, self.temporary)}
        done = subprocess.run(
            [sys.executable, *command],
            input=text,
            capture_output=True,
            text=True,
            cwd=self.work,
            env=self._environment() | more,
            timeout=timeout,
            check=False,
        )
        attempts = self._log.read_text().splitlines() if self._log.exists() else []
        left = [sorted(_within(folder) - before[folder]) for folder in (self.home, self.temporary)]
        return Ended(done.returncode, done.stdout, done.stderr, [_attempt(each) for each in attempts], *left)

    def _environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in _KEPT if name in os.environ} | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "LD_PRELOAD": str(self._preload),
            "NO_NETWORK_LOG": str(self._log),
        }


def _within(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _attempt(line: str) -> tuple[str, str, str]:
    what, whom, _process, program = line.split(" ", 3)
    return what, whom, program
