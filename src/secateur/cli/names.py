"""The names that `--help` lists, read from the files that define them: importing those would load torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from secateur.names import ChannelMethod, Format, Match, RuntimeName, TrackerName

_HOUSE = Path(__file__).resolve().parents[1]


GATES = "channel-reparametrization"
FIRST_OF_WEIGHTS = 100
"""The place (`compare.arms.base.Arm.place`) from which on arms set weights to zero."""


BUDGETS = ("params=", "macs=", "nonzeros=", "bytes=", "latency=")
"""How budgets begin."""
MODELS = ("wrn-16-1", "wrn-40-2", "resnet18", "vgg19", "conv4", "hf:", "timm:")
"""Models, or how their names begin; any wrn-D-K is one."""
DATA = ("digits", "cifar10", "tiny-imagenet", "hf:")
"""Data sets, or how their names begin."""
TASKS = ("classification", "multilabel", "regression")
"""What labels are."""
FORMATS, MATCHES, RUNTIMES = get_args(Format), get_args(Match), get_args(RuntimeName)
TRACKERS = get_args(TrackerName)
VALUES = ("float32", "float16")
PADDINGS = ("auto", "off", "8", "16")
"""What weights are stored as in C."""


def all_arms() -> list[str]:
    """The arms of `compare`."""
    return arms().split(", ")


def methods() -> list[str]:
    """What `prune` takes: criteria for channels, and arms that need no other."""
    return [*get_args(ChannelMethod), GATES, *arms(FIRST_OF_WEIGHTS).split(", ")]


def arms(first: int = 0) -> str:
    """List the arms whose place is `first` or behind, with commas.

    A name is a class's own `name = "..."`, which is what `methods.registry` registers it by.

    Example:
        >>> arms().split(", ")[:2]
        ['fisher-tuned', 'fisher-scratch']
    """
    found = [
        named
        for file in sorted((_HOUSE / "compare/arms").glob("*.py"))
        for named in _named(ast.parse(file.read_text(encoding="utf-8")))
    ]
    return ", ".join(name for place, name in sorted(found) if place >= first)


def _named(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Place and name of every class that has a name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            own = _constants(node)
            name, place = own.get("name"), own.get("place")
            if isinstance(name, str) and isinstance(place, int):
                yield place, name


def _constants(node: ast.ClassDef) -> dict[str, object]:
    """The constants that a class body assigns."""
    return {
        target.id: statement.value.value
        for statement in node.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
