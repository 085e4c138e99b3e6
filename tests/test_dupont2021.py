"""`secateur reproduce dupont2021`: the grid, and a real run at the smallest scale."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from secateur.compare.settings import Sparsity
from secateur.errors import InputError
from secateur.papers import dupont2021
from secateur.papers.dupont2021 import CELLS, SCALES, Cell, Reproduction, parse_cells
from secateur.papers.reproduction import selection
from secateur.runs.store import RunStore


def test_the_grid_is_the_papers():
    assert len(CELLS) == 16
    assert len({str(cell) for cell in CELLS}) == 16
    assert str(CELLS[0]) == "conv4/cifar10/90%"
    assert [cell.budget.text for cell in CELLS[:4]] == [f"nonzeros={kept}%" for kept in (10, 5, 3, 1)]


def test_cells_are_chosen_by_their_beginning():
    assert parse_cells(None) == CELLS
    assert parse_cells("vgg19/cifar10/99%") == (Cell("vgg19", "cifar10", "99%"),)
    assert parse_cells("conv4/tiny-imagenet, conv4/cifar10/95%") == (
        Cell("conv4", "cifar10", "95%"),
        *(cell for cell in CELLS if cell.dataset == "tiny-imagenet"),
    )
    assert len(parse_cells("conv4")) == 8


@pytest.mark.parametrize("text", ["conv6", "conv4/cifar10/50%", "vgg19/tiny-imagenet", "", "conv4/cifar10,"])
def test_cells_that_the_paper_has_not_are_refused(text):
    with pytest.raises(InputError, match="write NETWORK/DATASET/RATE"):
        parse_cells(text)


def test_the_paper_scale_is_the_papers_protocol():
    """Section 3.1, number by number."""
    recipe = SCALES["paper"].recipe
    assert (recipe.epochs, recipe.lr, recipe.weight_decay) == (300, 0.1, 5e-5)
    assert (recipe.schedule, recipe.patience, recipe.gamma, recipe.early_stop) == ("plateau", 10, 0.3, 60)
    assert recipe.select_on == "test"
    assert SCALES["paper"].sparsity.tune_epochs == 300
    assert SCALES["paper"].widths == {}
    assert SCALES["paper"].limit_train is None


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke")
    cells = parse_cells("conv4/cifar10/90%,conv4/cifar10/99%")
    return out, Reproduction(out, "smoke", cells, epochs=2, device="cpu").run("the command")


def test_one_run_serves_all_three_tables(made):
    out, content = made
    assert json.loads((out / "cells.json").read_text()) == content.to_json()
    found = {(cell.method, cell.rate, cell.seed) for cell in content.cells}
    rates = [(method, rate) for method in dupont2021.METHODS for rate in ("90%", "99%")]
    assert found == {(*pair, seed) for pair in [("dense", None), *rates] for seed in (0, 1)}
    for cell in content.cells:
        share = 1 if cell.rate is None else (100 - int(cell.rate[:-1])) / 100
        assert cell.nonzeros == round(share * cell.weights)
    for table in ("table1", "table2", "table3"):
        assert {path.suffix for path in out.glob(f"{table}.*")} == {".md", ".csv", ".html"}


def test_the_stand_in_is_named(made):
    out, content = made
    assert (
        content.about.data == "digits in place of cifar10, 270 training images, conv4 of 0.25 times the width"
    )
    assert "digits in place of cifar10" in (out / "table1.md").read_text()


def test_the_tables_are_of_the_cells(made):
    out, _ = made
    rows = list(csv.DictReader((out / "table2.csv").read_text().splitlines()))
    (row,) = [r for r in rows if r["method"] == "reparametrization" and r["rate"] == "99%"]
    assert float(row["ours_mean"]) == pytest.approx(0.01, abs=1e-4)  # the budget, met by construction
    (paper,) = [r for r in rows if r["method"] == "reparametrization-faithful" and r["rate"] == "99%"]
    assert float(paper["published"]) == 0.03


def test_more_cells_are_added_without_training_again(made):
    out, _ = made
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    content = Reproduction(out, "smoke", parse_cells("conv4/cifar10"), epochs=2, device="cpu").run("again")
    assert len(content.cells) == 2 * (1 + 4 * 4)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_tables_of_what_is_finished_train_nothing(made):
    """The 99% cells are there, of the others only the dense network, which they share."""
    out, _ = made
    before = sorted(path.name for path in (out / "runs").iterdir())
    cells = parse_cells("conv4/cifar10/99%,vgg19/cifar10/99%")
    again = Reproduction(out, "smoke", cells, epochs=2, seeds=3, device="cpu").run("x", tables_only=True)
    found = {(cell.network, cell.method, cell.seed) for cell in again.cells}
    assert found == {("conv4", name, seed) for name in ("dense", *dupont2021.METHODS) for seed in (0, 1)}
    assert before == sorted(path.name for path in (out / "runs").iterdir())


def test_the_selection_is_named(tmp_path):
    paper = SCALES["paper"].recipe
    assert selection(paper) == "test split, as in the paper"
    assert selection(replace(paper, select_on="val")) == "validation split"
    assert selection(SCALES["laptop"].recipe) == "none, the last epoch's network"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"scale": "huge"}, "huge"),
        ({"methods": ["fisher-tuned"]}, "fisher-tuned"),
        ({"seeds": 0}, "at least 1 seed is needed, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"select_on": "train"}, "train"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_written(tmp_path, arguments, part):
    with pytest.raises(InputError) as caught:
        Reproduction(tmp_path / "out", **{"scale": "smoke", "device": "cpu", **arguments})
    assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("select_on", "named"), [(None, "test split, as in the paper"), ("val", "validation split")]
)
def test_the_papers_protocol_runs_and_names_its_selection(tmp_path, monkeypatch, select_on, named):
    """`paper` itself takes a GPU and days; this is its protocol, on little data for few epochs."""
    little = replace(
        SCALES["paper"],
        recipe=replace(SCALES["paper"].recipe, epochs=3, patience=1, early_stop=1),
        sparsity=Sparsity(tune_epochs=2),
        seeds=1,
        limit_train=300,
        val_fraction=0.1,
        widths={"conv4": 0.25},
        stand_in="digits",
    )
    monkeypatch.setitem(dupont2021.SCALES, "paper", little)
    cells = parse_cells("conv4/cifar10/95%")
    content = Reproduction(tmp_path, "paper", cells, select_on=select_on, device="cpu").run("x")
    assert content.about.selection == named
    assert f"Selection: {named}." in (tmp_path / "table1.md").read_text()
    histories = {cell.method: RunStore(tmp_path).record(cell.run_id).history for cell in content.cells}
    assert len(histories["reparametrization"]) == 3  # its schedule is never broken off
    assert all((row.test_accuracy is not None) == (select_on is None) for row in histories["dense"])
