"""The quick part of the suite on the next torch, where that can be had: `make test-torch-next-quick`, in CI.

Where its wheels cannot be had (several GB are fetched), one line says so and the job is left out; pins that
contradict each other, and tests that fail, do fail.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "constraints-next.txt"
ENVIRONMENT = ROOT / ".venv-next"
QUICK = ("test_export", "test_surgery")
"""Files of tests of what a new torch breaks first: tracing, export to three runtimes, cutting, counting."""
PATIENCE_S = 600
ROOM_GB = 20
"""That must be free: wheels are unpacked beside what they become, and the rest of CI needs a disk too."""
TIMED_OUT = 124  # as timeout says it
OF_OURS = (
    "ResolutionImpossible",
    "conflicting dependencies",
    "requires a different Python",
    "error: subprocess-exited",
)
"""What pip says where the pins are at fault, not the network."""


def version() -> str:
    """The torch that is pinned."""
    return re.search(r"^torch==(\S+)$", PINNED.read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]


def made() -> tuple[bool, str]:
    """Make the environment, unless it is there: whether it is, and what was said."""
    done = subprocess.run(
        [
            "timeout",
            "--kill-after=10",
            str(PATIENCE_S),
            "make",
            "--no-print-directory",
            f"{ENVIRONMENT.name}/.ready",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    late = f"ERROR: not there within {PATIENCE_S} s\n" if done.returncode == TIMED_OUT else ""
    return done.returncode == 0, done.stdout + late


def reason(said: str) -> str:
    """The line of pip's that tells most."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["nothing was said"])[-1][:200]


def size_mb() -> int:
    """What the environment takes."""
    done = subprocess.run(["du", "-sm", ENVIRONMENT], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[0])


def main() -> int:
    """Install, test; the exit code."""
    start = time.monotonic()
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < ROOM_GB:
        print(f"left out: torch {version()} takes {ROOM_GB} GB of disk to install, and {free:.0f} are free")
        return 0
    there, said = made()
    if not there and any(mark in said for mark in OF_OURS):
        print(said)
        return 1
    if not there:
        print(f"left out: torch {version()} cannot be had here: {reason(said)}")
        return 0
    print(f"torch {version()}: installed in {time.monotonic() - start:.0f} s, {size_mb():,} MB", flush=True)
    files = [f"tests/{name}.py" for name in QUICK]
    command = ["bin/pytest", "-q", "-n", "2", "--dist", "loadfile", "-m", "not slow and not pinned", *files]
    return subprocess.run([ENVIRONMENT / command[0], *command[1:]], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
