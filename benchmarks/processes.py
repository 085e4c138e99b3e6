"""Fresh processes: what they take as a whole, and what they answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


def secateur(arguments: Sequence[str], **more: str) -> str:
    """Run the command line as `python -m secateur.cli`."""
    return python("-m", "secateur.cli", *arguments, **more)
