"""Dupont et al. 2021 at the paper's scale, in pieces of some minutes: python tools/gpu_day.py --out DIR

Runs `secateur reproduce dupont2021` cell by cell and seed by seed: first the cells for which more was
published elsewhere than in the paper (ResNet18 at 95 and 99%, VGG19 at 95%), then the rest of the grid. It
stops behind the epoch after which another would take longer than --minutes (exit code 75), and keeps all in
DIR. The same command goes on, here or on any machine that was given DIR; when it is done its exit code is 0.
Either way DIR holds the tables and claims of what is finished.

DIR has to be kept between the calls: a run that was begun is a checkpoint of its weights and their momentum,
8 bytes a weight: 90 MB of ResNet18, 160 MB of VGG19. Where it cannot be, take so few --epochs that the runs
of a cell fit the minutes; the tables name the epochs. What a cell takes on a GPU was not measured yet.
`--scale smoke --device cpu` tries all of it on the embedded digits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from secateur.papers.dupont2021 import CELLS

FIRST = ("resnet18/cifar10/95%", "resnet18/cifar10/99%", "vgg19/cifar10/95%")
METHODS = (
    "reparametrization",
    "magnitude-tuned",
    "gradual-magnitude",
    "reparametrization-faithful",
    "magnitude",
)
UNFINISHED = 75
LEAST = 0.25  # minutes that are worth a call


def ordered() -> list[str]:
    """Every cell of the paper, those of `FIRST` first."""
    return [*FIRST, *(str(cell) for cell in CELLS if str(cell) not in FIRST)]


def calls(cells: Sequence[str], seeds: int) -> Iterator[list[str]]:
    """The words of every call but where and how long: one seed of every cell, then another."""
    for count in range(1, seeds + 1):
        for cell in cells:
            yield ["--cells", cell, "--seeds", str(count)]


def go_on(
    shared: Sequence[str],
    asked: Sequence[list[str]],
    minutes: float,
    call: Callable[[list[str]], int],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Make the calls within so many minutes; the exit code: 0 when all are done, 75 when the time is over.

    Args:
        shared: words of every call.
        call: runs `secateur` with these words, and gives its exit code.
    """
    end, code = clock() + 60 * minutes, 0
    for words in asked:
        left = (end - clock()) / 60
        if left < LEAST:
            code = UNFINISHED
            break
        code = call(["reproduce", "dupont2021", "table1", *shared, *words, "--minutes", f"{left:.2f}"])
        if code:
            break
    return code


def secateur(words: list[str]) -> int:
    """Run the command line in a process of its own."""
    print("secateur", *words, flush=True)
    return subprocess.run([sys.executable, "-m", "secateur", *words], check=False).returncode


def main() -> int:
    """Go on from where it was left, and draw the tables of what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and tables")
    parser.add_argument("--minutes", type=float, default=9, help="of this call (default 9)")
    parser.add_argument("--scale", default="paper", help="as of reproduce")
    parser.add_argument("--cells", nargs="*", default=ordered(), help="in this order")
    parser.add_argument("--methods", nargs="*", default=[*METHODS])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of the scale's")
    parser.add_argument("--device", default="cuda")
    asked = parser.parse_args()
    shared = ["--scale", asked.scale, "--methods", ",".join(asked.methods), "--device", asked.device]
    shared += ["--out", str(asked.out), *(["--epochs", str(asked.epochs)] if asked.epochs else [])]
    code = go_on(shared, list(calls(asked.cells, asked.seeds)), asked.minutes, secateur)
    whole = ["--cells", ",".join(asked.cells), "--seeds", str(asked.seeds), "--tables-only"]
    drawn = secateur(["reproduce", "dupont2021", "claims", *shared, *whole])
    return code or drawn


if __name__ == "__main__":
    sys.exit(main())
