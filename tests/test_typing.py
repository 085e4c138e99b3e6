"""What an editor and a type checker know of the library: the names that there are, and no others."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import secateur as sc
from secateur import names
from secateur.compare.arms import ARMS
from secateur.compare.settings import MATCHES
from secateur.data.pixels import FITS
from secateur.methods import CHANNEL_METHODS, METHODS
from secateur.network.task import TASKS
from secateur.runs.export import FORMATS
from secateur.training import arguments
from secateur.training.prune import prune
from secateur.training.recipe import (
    AUGMENTATIONS,
    DISTILLATIONS,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
    SELECTING_SPLITS,
)

ROOT = Path(__file__).parents[1]

PROGRAM = """\
import secateur as sc
from torch import nn

data = [(0, 0)]
model = nn.Linear(2, 2)
plain: nn.Linear = sc.prune(model, method="fisher", budget="macs=40%", data=data, beta=1e-9, every=2)
sc.prune(model, method="random-channels", budget="macs=40%", data=data, seed=3)
sc.prune(model, budget="macs=40%", data=data, at_once=4, tune_epochs=1, task="regression")
sc.prune(model, method=sc.methods.Fisher("macs=40%"), data=data)
sc.prune(model, method="fischer", budget="macs=40%", data=data)  # wrong: call-overload
sc.prune(model, method="fisher", budget="macs=40%", data=data, bta=1e-9)  # wrong: call-overload
sc.prune(model, method="fisher", budget="macs=40%", data=data, seed=3)  # wrong: call-overload
sc.prune(model, method="filter-norm", budget="macs=40%", data=data, p=3)  # wrong: call-overload
sc.prune(model, method=lambda act, grad: act.sum(), budget="macs=40%", data=data, keep="stem.*")
sc.prune(model, method="filter-norm", budget="macs=40%", train=False, inputs=0)  # wrong: call-overload
result: sc.CompareResult = sc.compare("wrn-16-1", arms=["width", "copycat"], match="compute")
sc.compare("wrn-16-1", arms=["width", "copycta"])  # wrong: list-item
sc.compare("wrn-16-1", match="time")  # wrong: arg-type
sc.compare("wrn-16-1", task="ranking")  # wrong: arg-type
sc.compare("wrn-16-1", epoch=3)  # wrong: call-arg
sc.Recipe(schedule="cosine", precision="bf16", optimizer="adamw")
sc.Recipe(schedule="cosin")  # wrong: arg-type
sc.Recipe(precision="fp8")  # wrong: arg-type
sc.Recipe(optimizer="adam")  # wrong: arg-type
sc.PruneSettings(method="tailor")  # wrong: arg-type
sc.Budget.parse("params=25%").limit(1000)
sc.comparee()  # wrong: attr-defined
"""


SETTINGS = """\
[mypy]
[mypy-torch.*,numpy.*,scipy.*,pyarrow.*,PIL.*,rich.*,matplotlib.*,jinja2.*,accelerate.*,safetensors.*]
follow_imports = skip
"""


def test_mypy_finds_what_is_misspelt(tmp_path):
    """Lines that say so are wrong, with that error code; no other is. Torch, which is large, is not read."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", *options, "program.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        check=False,
    )
    found = re.findall(r"program\.py:(\d+): error: .*\[([\w-]+)\]", done.stdout)
    said = [
        (str(number), wrong[1])
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if (wrong := re.search(r"# wrong: ([\w-]+)$", line))
    ]
    assert sorted(set(found)) == sorted(said), "\n".join(re.findall(".*error:.*", done.stdout)) + done.stderr


@pytest.mark.parametrize(
    ("literal", "registry"),
    [
        (names.ChannelMethod, CHANNEL_METHODS),
        (names.ArmName, ARMS),
        (names.Match, MATCHES),
        (names.Schedule, SCHEDULES),
        (names.SelectingSplit, SELECTING_SPLITS),
        (names.Precision, PRECISIONS),
        (names.Optimizer, OPTIMIZERS),
        (names.Distilled, DISTILLATIONS),
        (names.Augment, AUGMENTATIONS),
        (names.Fit, FITS),
        (names.TaskName, TASKS),
        (names.Format, FORMATS),
    ],
    ids=lambda value: None if isinstance(value, (dict, tuple)) else str(value)[:40],
)
def test_the_types_name_what_there_is(literal, registry):
    """In `secateur.names`, a new name is one word more."""
    assert sorted(get_args(literal)) == sorted(registry)


def test_the_arguments_of_prune_are_those_that_are_typed():
    """Add a new argument of `sc.prune` to `training.arguments.Arguments`."""
    own = set(inspect.signature(prune).parameters) - {"model", "method", "settings"}
    common = set(arguments.Arguments.__annotations__)
    assert own == common | {"budget", "every", "keep", "at_least", "ratio"}


TYPED = {
    "fisher": arguments.OfNamed,
    "snip-channels": arguments.OfNamed,
    "taylor": arguments.OfTaylor,
    "filter-norm": arguments.OfFilterNorm,
    "batch-norm-scale": arguments.OfBatchNormScale,
    "random-channels": arguments.OfRandomChannels,
}


@pytest.mark.parametrize("name", CHANNEL_METHODS)
def test_the_settings_of_a_method_are_those_that_are_typed(name):
    typed = set(TYPED[name].__annotations__) - set(arguments.Arguments.__annotations__)
    typed = typed - {"keep", "at_least", "ratio"} | {"constraints"}  # which those come to
    own = {
        parameter.name
        for kind in CHANNEL_METHODS[name].__mro__
        if "__init__" in vars(kind) and kind is not object
        for parameter in inspect.signature(kind.__init__).parameters.values()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    assert own - {"self", "config"} == typed  # Config holds the rhythm, which ChannelPruning names one by one


def test_dir_shows_what_there_is_and_all_of_it():
    assert dir(sc) == sorted([*sc.__all__, "__version__"])
    assert {"compare", "prune", "load", "save", "inspect", "models", "data"} <= set(dir(sc))
    for name in dir(sc):
        assert getattr(sc, name) is not None
    assert {kind.__name__ for kind in METHODS.values()} <= set(dir(sc.methods))


def test_the_types_are_marked_as_there():
    assert (Path(sc.__file__).parent / "py.typed").is_file()
