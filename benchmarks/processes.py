"""Fresh processes: what they take as a whole, and what they answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.machine import ROOT


def environment(**more: str) -> dict[str, str]:
    """Ours, with this checkout first on the path."""
    paths = [str(ROOT / "src"), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, dict.fromkeys(paths))), **more}


def python(*arguments: str, **more: str) -> str:
    """Run Python to its end; its output. RuntimeError, with the last of its errors, where it fails."""
    done = subprocess.run(
        [sys.executable, *arguments], env=environment(**more), cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]} failed: {done.stderr[-2000:]}")
    return done.stdout


def ask(module: str, question: Mapping[str, Any], **more: str) -> dict[str, Any]:
    """Run `python -m MODULE QUESTION`, whose last line answers in JSON."""
    return json.loads(python("-m", module, json.dumps(question), **more).splitlines()[-1])


class Partner:
    """A process of its own that waits to be told: `partner(word)` has it do what goes by that word.

    It is `python -m MODULE QUESTION`, which is to call `serve`; `more` is put into its environment. Between
    `start` and `wait` several of them work side by side.
    """

    def __init__(self, module: str, question: Mapping[str, Any], **more: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(question)],
            env=environment(**more),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, word: str) -> None:
        """RuntimeError where it died."""
        self.start(word)
        self.wait(word)

    def start(self, word: str) -> None:
        """Tell it, and go on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def wait(self, word: str) -> None:
        """Until it has done so."""
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != word:
            raise RuntimeError(f"the process that was to do '{word}' has died: see its error above")

    def __enter__(self) -> Partner:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__(None, None, None)  # closes what it is told by, and waits for its end


def serve(actions: Mapping[str, Callable[[], Any]]) -> None:
    """In a `Partner`: do as told until there is nothing more."""
    for line in sys.stdin:
        actions[line.strip()]()
        print(line.strip(), flush=True)


def secateur(arguments: Sequence[str], **more: str) -> str:
    """Run the command line as `python -m secateur.cli`."""
    return python("-m", "secateur.cli", *arguments, **more)
