"""The programs under examples/, run as a user runs them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDED = {"transformers": "transformers", "timm": "timm", "torchvision": "torchvision"}
PRINTED: dict[str, list[str]] = {
    "accelerate_loop": [
        "epoch 6: 10% of the weights in use",
        r"[89]\d\.\d% on validation with 2,920 weights in \d\d,\d{3} bytes",
    ],
    "bert": [
        r"accuracy 9\d\.\d% before, [89]\d\.\d% with 2,\d{3} parameters|accuracy 100\.0% before",
        r"loaded again: a BertForSequenceClassification, the same outputs: True",
    ],
    "compare": [
        r"One seed decides nothing; ahead for now is \S+: ",
        r"fisher-tuned: \d\d\.\d% with 19,\d{3} parameters",
        r"a \d with \d+%",
    ],
    "image_folder": [
        r"2 classes \(even, odd\), 432/48/120 images of 8x8 px",
        r"[89]\d\.\d% before, [89]\d\.\d% with \d\d,\d{3} MACs",
        r"odd/\d+\.png is (odd|even)",
    ],
    "multilabel": [
        r"magnitude-tuned: F1 0\.\d+, \d+\.\d% of labels right, 687 weights",
        r"snip: F1 0\.\d+",
        r"row \d+%, column \d+%, diagonal \d+%, frame \d+%",
    ],
    "regression": [
        r"pruned: rmse \d\.\d+ before, \d\.\d+ with 40% of the parameters",
        r"width: rmse \d\.\d+ with 1,130 parameters",
        r"at params=40% \(1,133\)",
    ],
    "vit": [
        r"accuracy (9\d|100)\.\d% before, (9\d|100)\.\d% with \d\d,\d{3} MACs",
        r"mlp.*: \d\d left|intermediate.*: \d\d left",
        r"loaded again: a ViTForImageClassification, the same outputs: True",
    ],
    "without_training": [
        r"filter-norm: \(\d+, \d+\) channels, \d{3},\d{3} MACs",
        r"fisher, a share of one layer: \(16, 16\) channels",
        r"own criterion: \(\d+, \d+\) channels",
        r"loaded again, the same outputs: True",
    ],
    "unet_dice": [r"fisher-tuned: dice 0\.\d{3} with \d{3},\d{3} of the MACs", r"width: dice 0\.\d{3}"],
}
"""What is said, line by line, of examples whose words we know."""


@pytest.fixture
def in_this_process(monkeypatch, capsys):
    """Run a program as `python PATH OUT` does, where warnings are errors: what it prints."""
    before = torch.get_num_threads()

    def call(path, out):
        monkeypatch.chdir(out.parent)
        monkeypatch.setattr(sys, "argv", [str(path), str(out)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    yield call
    torch.set_num_threads(before)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def in_its_own():
    """Run a program in a process of its own: what it prints."""

    def call(path, out):
        done = subprocess.run(
            [sys.executable, str(path), str(out)],
            cwd=out.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        return done.stdout

    return call


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path, request):
    """One of them in a process of its own; the others without another import of torch."""
    for module in NEEDED:
        if re.search(rf"^\s*(import|from) {module}\b", path.read_text(), re.MULTILINE):
            pytest.importorskip(module)
    where = "in_its_own" if path.stem == "own_network" else "in_this_process"
    printed = request.getfixturevalue(where)(path, tmp_path / "out")
    assert printed.strip()
    for line in PRINTED.get(path.stem, []):
        assert re.search(rf"^.*{line}", printed, re.MULTILINE), (line, printed)


def test_every_example_is_told_of():
    """In the order in which people need them, and each short enough to be read."""
    told = re.findall(r"^\| \[([\w.]+)\]\(../examples/\1\) \|", (ROOT / "docs/examples.md").read_text(), re.M)
    assert sorted(told) == [path.name for path in EXAMPLES]
    assert len(told) >= 10
    assert [path.name for path in EXAMPLES if len(path.read_text().splitlines()) > 100] == []
