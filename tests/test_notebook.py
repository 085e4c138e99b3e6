"""What a notebook shows: small tables, of the same words as the terminal, and text where it is HTML."""

from __future__ import annotations

import json

import pytest
import torch

import secateur as sc
from secateur.compare import run
from secateur.compare.arms import PlanRow
from secateur.compare.planned import Planned
from secateur.errors import InputError
from secateur.records.evaluated import ClassRow, Evaluated
from test_shown import read


def a_plan(**changed):
    rows = (
        PlanRow(
            "dense", "", None, sc.Architecture.of(sc.models.wide_resnet(10, 1)), 77562, 763520, 3, 2.5e12
        ),
        PlanRow("fisher-tuned", "params=50% <b>", 38781, None, 38000, 400000, None, 1.25e11),
    )
    told = {
        "model": "wrn-10-1",
        "data": "digits",
        "found": None,
        "resource": "params",
        "seeds": 3,
        "rows": rows,
        "row_seconds": (60.0, 100.0),
        "device": "cpu (this one)",
        "workers": "one run after the other",
    }
    return Planned(**{**told, **changed})


def test_a_plan_shows_itself():
    plan = a_plan(tuned="it comes trained")
    lines = repr(plan).splitlines()
    assert lines[0] == ("wrn-10-1 on digits: one seed of 3; nothing is trained now. it comes trained.")
    assert [" ".join(line.split()) for line in lines[1:4]] == [
        "arm params MACs epochs training MACs about",
        "dense 77,562 763,520 3 2.5e+12 60 s",
        "fisher-tuned params=50% <b> (38,781) ≤ 38,781 ~ 400,000 until met ~ 1.25e+11 2 min",
    ]
    assert lines[-2] == "In all about 8 min on cpu (this one), one run after the other."
    assert lines[-1] == "--workers: one run after the other."
    found = read(plan._repr_html_())
    assert "fisher-tuned params=50% <b> (38,781)" in found.texts  # as text
    assert found.tags == {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "color" not in plan._repr_html_()  # a dark notebook's own colours hold


def test_a_plan_in_python_is_that_of_the_command_line(tmp_path, command_line, monkeypatch):
    monkeypatch.setattr("secateur.compare.planned.estimate_seconds", lambda *_: [2.0])  # no steps are timed
    given = {"arms": ["width"], "epochs": 2, "seeds": 3, "device": "cpu", "workers": 1}
    data = sc.data.load_data("digits", limit_train=200)
    plan = sc.plan("wrn-10-1", data=data, budgets="params=50%", **given, out=tmp_path / "out")
    assert [(row.arm, row.params, row.epochs) for row in plan.rows] == [("width", 38698, 2)]
    assert plan.seconds == 6.0
    assert not (tmp_path / "out").exists()
    line = (
        "compare --model wrn-10-1 --data digits --limit-train 200 --budget params=50% --arms width --epochs 2"
    )
    code, out, _ = command_line(f"{line} --seeds 3 --device cpu --workers 1 --out {tmp_path} --plan --json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(plan.to_json()))
    with pytest.raises(InputError, match="unknown arm 'widht'"):
        sc.plan("wrn-10-1", data=data, budgets="params=50%", arms=["widht"])
    assert run._END.get() is run.answer  # it left no trace on `compare`


def test_an_evaluation_shows_itself():
    rows = (
        ClassRow(
            name="<cat>", n=1200, right=900, called=950, recall=0.75, low=0.72, high=0.78, precision=0.9
        ),
        ClassRow(name="dog", n=0, right=0, called=300, recall=None, low=None, high=None, precision=0.0),
    )
    found = Evaluated(
        network="wrn-10-1",
        data="photos",
        found="2 classes",
        split="test",
        n=1200,
        right=900,
        accuracy=0.75,
        low=0.72,
        high=0.78,
        balanced_accuracy=0.75,
        classes=rows,
        confusion=((900, 300), (0, 0)),
        worst=(),
        remarks=("no image is a dog",),
    )
    assert repr(found).splitlines() == [
        "wrn-10-1 on photos, split 'test': 75.0% of 1,200 images right (95% interval 72.0% to 78.0%); 75.0% "
        "balanced over classes",
        "  class  images  right  recall    95% interval  precision",
        "  <cat>   1,200    900   75.0%  72.0% to 78.0%      90.0%",
        "  dog         0      0       -               -       0.0%",
        "Note: no image is a dog.",
    ]
    assert "<cat>" in read(found._repr_html_()).texts


NOTEBOOK = """
import torch, secateur as sc
model = sc.models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
sc.Architecture.of(model)
#---
sc.inspect(model, torch.zeros(1, 1, 8, 8))
#---
sc.plan("wrn-10-1", data="digits", budgets="params=50%", arms=["width"], epochs=1, device="cpu")
#---
sc.compare("wrn-10-1", data="digits", budgets="params=50%", arms=["width"], epochs=1, device="cpu", workers=1)
"""


@pytest.mark.slow
def test_a_real_notebook(tmp_path):
    """Executed by a kernel, every cell has a small HTML table and its text."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in NOTEBOOK.split("#---")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": tmp_path}}).execute()
    for cell in notebook.cells:
        (shown,) = [each.data for each in cell.outputs if each.output_type == "execute_result"]
        assert "table" in read(shown["text/html"]).tags
        assert len(shown["text/plain"].splitlines()[0]) < 200


def test_settings_and_budgets_are_a_line():
    for value in (sc.Budget.parse("macs=25%"), sc.Recipe(epochs=2), sc.Limits.at({"params": 5000})):
        assert len(repr(value).splitlines()) == 1
    inspected = sc.inspect(sc.models.wide_resnet(10, 1), torch.zeros(1, 3, 32, 32))
    assert repr(inspected).startswith("Anatomy: 3 groups of channels that can be cut, ")
