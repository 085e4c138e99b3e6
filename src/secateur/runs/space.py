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
from secateur.training.recipe import CUSTOM

_BYTES, _FEWEST = 4, 2
"""Of a number of a network: ours are in float32; others may be in half precision."""


def check_space(nodes: Iterable[Node], folder: Path) -> None:
    """Check that the least that runs leave has room; that a disk fills up in the end is not excluded by it.

    Counted are the weights of all networks that are known beforehand and not pruned, and checkpoints of
    the largest network: two where one takes the other's place. Nothing is asked where the system does not
    tell.

    Args:
        nodes: whose runs are not made yet.
        folder: of runs; it is there.

    Raises:
        InputError: with what is needed and what is free.
    """
    runs = [node.run for node in nodes if node.run is not None and not isinstance(node.run, Given)]
    if not runs:
        return
    largest, several = max(map(_checkpoint, runs)), any(run.recipe.epochs > 1 for run in runs)
    needed = sum(_weights(run) for run in runs if isinstance(run, Train)) + (1 + several) * largest
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
    architecture = run.architecture
    return architecture.params * (_BYTES if architecture.is_family else _FEWEST)


def _checkpoint(run: Run) -> int:
    """Of the weights, and of what the optimizer remembers of each."""
    remembers = run.recipe.momentum > 0 if run.recipe.optimizer == "sgd" else run.recipe.optimizer != CUSTOM
    return (1 + remembers) * _weights(run)


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
