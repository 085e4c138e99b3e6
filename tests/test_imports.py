"""Importing costs what torch costs: everything else that is heavy waits for its first use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import secateur

HEAVY = [
    *("PIL", "accelerate", "datasets", "jinja2", "matplotlib", "onnx", "onnxruntime", "onnxscript"),
    *("openvino", "pandas", "pyarrow", "rich", "scipy", "sklearn", "torch._dynamo"),
    *("torch._inductor", "torchvision", "transformers", "typer"),
]

FIRST_USES = {
    "from secateur.progress import BarReporter; BarReporter()": "rich",
    "from secateur.data import load_data; load_data('digits', image_size=9)": "PIL",
    "from secateur.device import Runtime; Runtime('cpu')": "accelerate",
}
"""What loads something heavy, and what."""


def heavy_modules_after(*statements: str) -> list[set[str]]:
    """The heavy modules that are there after each of some statements, in a process of their own."""
    told = f"print(*(name for name in {HEAVY} if name in sys.modules))"
    program = "\n".join(["import sys", *(f"{statement}\n{told}" for statement in statements)])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_the_names_of_the_library_load_torch_and_nothing_else_that_is_heavy_before_it_is_used():
    names = ", ".join(secateur.__all__)
    of_torch, of_ours, *after = heavy_modules_after(
        "import torch",  # a build of which may bring some along
        f"from secateur import {names}",
        *FIRST_USES,
    )
    assert of_ours == of_torch
    before = of_ours
    for wanted, found in zip(FIRST_USES.values(), after, strict=True):
        assert wanted in found - before
        before = found


def test_compare_is_a_function_and_a_folder():
    """At the door it is the function, whatever was imported; the folder's files are found all the same."""
    code = (
        "import secateur.compare.run as run, secateur as sc, secateur.compare.arms.base as base\n"
        "from secateur.compare import verdict\n"
        "assert sc.compare is run.compare, sc.compare\n"
        "assert sc.compare.verdict is verdict and base.Arm.__module__ == 'secateur.compare.arms.base'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_of_sources_that_was_never_installed_makes_and_saves_networks(tmp_path: Path) -> None:
    """Its version is its own, not the metadata's: a network trained for hours was lost where it was saved."""
    alone = tmp_path / "alone"
    shutil.copytree(
        Path(secateur.__file__).parent, alone / "secateur", ignore=shutil.ignore_patterns("__pycache__")
    )
    program = (
        "import importlib.metadata as metadata\n"
        "whole = metadata.Distribution.from_name.__func__\n"
        "def without(cls, name):\n"
        "    if name == 'secateur': raise metadata.PackageNotFoundError(name)\n"
        "    return whole(cls, name)\n"
        "metadata.Distribution.from_name = classmethod(without)\n"
        "import secateur as sc\n"
        "sc.save(sc.models.conv4(width=0.1, num_classes=10), 'saved')\n"
        "print(sc.__version__, sc.load('saved').training)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(alone), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{secateur.__version__} False\n", done.stderr
