"""Whether a graph's runs fit on the disk at all: asked before anything is trained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from secateur.data.memory import in_words
from secateur.errors import InputError
from secateur.runs.graph import Node
from secateur.runs.run import Run
from secateur.runs.train import Given, Train

_BYTES = 4
"""Of a number of a network, in float32; other precisions are too few to be told apart here."""


def check_space(nodes: Iterable[Node], folder: Path) -> None:
    """Check that the least that runs leave has room; that a disk fills up in the end is not excluded by it.

    Counted are the weights of all networks that are known beforehand and not pruned, and two checkpoints of
    the largest network: one takes the other's place. Nothing is asked of where the system does not tell.

    Args:
        nodes: whose runs are not made yet.
        folder: of runs; it is there.

    Raises:
        InputError: with what is needed and what is free.
    """
    runs = [node.run for node in nodes if node.run is not None and not isinstance(node.run, Given)]
    if not runs:
        return
    largest = max(map(_checkpoint, runs))
    needed = sum(_weights(run) for run in runs if isinstance(run, Train)) + 2 * largest
    free = _free(folder)
    if free is not None and needed > free:
        raise InputError(
            f"runs need at least {in_words(needed)} for networks and checkpoints, but {in_words(free)} are "
            f"free in '{folder}': make room there, or choose an --out on another disk"
        )
    longest = _longest_file()
    if longest is not None and largest > longest:
        raise InputError(
            f"a checkpoint takes at least {in_words(largest)}, but files may have {in_words(longest)} here: "
            "allow larger ones (`ulimit -f`)"
        )


def _weights(run: Run) -> int:
    return _BYTES * run.architecture.params


def _checkpoint(run: Run) -> int:
    """Of the weights and what the optimizer remembers of each; none is written where one epoch is all."""
    return 2 * _weights(run) if run.recipe.epochs > 1 else 0


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _longest_file() -> int | None:
    """How long a file may become, by `ulimit -f`; None where that is not limited."""
    if os.name != "posix":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if limit == resource.RLIM_INFINITY else limit
