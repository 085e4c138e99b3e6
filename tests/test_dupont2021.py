"""`secateur reproduce dupont2021`: the grid, and a real run at the smallest scale."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.compare.arms import WEIGHT_ARMS
from secateur.compare.settings import Sparsity
from secateur.errors import InputError, UnfinishedError
from secateur.papers import dupont2021
from secateur.papers.dupont2021 import CELLS, SCALES, Cell, Reproduction, parse_cells
from secateur.papers.published import load_highest
from secateur.papers.reproduction import selection
from secateur.runs.executors.choice import Workers
from secateur.runs.store import RunStore
from secateur.runs.time_limit import TimeLimit


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
    for table in ("table1", "table2", "table3", "claims"):
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


def test_any_arm_that_zeroes_weights_is_a_row(made):
    """They were trained, and then nothing had a place for them."""
    out, _ = made
    methods = ("magnitude", "snip", "l1")
    cells = parse_cells("conv4/cifar10/99%")
    content = Reproduction(out, "smoke", cells, methods=methods, seeds=1, epochs=2, device="cpu").run("x")
    assert {cell.method for cell in content.cells} == {"dense", *methods}
    table = (out / "table1.md").read_text()
    assert "| cifar10 | conv4 | snip |" in table
    assert "snip: the least sensitive weights set to zero before training (not in the paper)" in table
    assert "| cifar10 | conv4 | l1 |" in (out / "table3.md").read_text()
    assert "| l1 |" not in (out / "table2.md").read_text()  # it has no gates, so no C


def test_it_stops_behind_an_epoch_and_goes_on(made, tmp_path, monkeypatch):
    """A minute passes whenever the clock is looked at; what comes of it is what was made in one go."""
    _, whole = made
    monkeypatch.setattr(
        "secateur.papers.reproduction.TimeLimit", lambda minutes: TimeLimit(minutes, passing_minutes())
    )
    cells, methods = parse_cells("conv4/cifar10/90%"), ("reparametrization-faithful",)

    def again():
        given = {"methods": methods, "seeds": 1, "epochs": 2, "minutes": 2, "device": "cpu"}
        return Reproduction(tmp_path, "smoke", cells, **given).run("x")

    with pytest.raises(UnfinishedError, match=r"the 2 minutes are over: 0 of 2 runs are finished.*goes on"):
        again()
    (left,) = (tmp_path / "runs").iterdir()
    assert not (left / "record.json").exists()
    calls = 1
    while True:
        calls += 1
        with suppress(UnfinishedError):
            content = again()
            break
    assert 2 < calls < 10
    in_one_go = {cell.run_id: replace(cell, wall_s=0.0) for cell in whole.cells}
    assert len(content.cells) == 2
    assert all(replace(cell, wall_s=0.0) == in_one_go[cell.run_id] for cell in content.cells)


def test_side_by_side_nobody_looks_at_the_clock(tmp_path):
    with pytest.raises(InputError, match="leave out --workers and --on, or --minutes"):
        Reproduction(tmp_path, "smoke", minutes=1, device="cpu").run("x", workers=Workers(2))
    assert not (tmp_path / "runs").exists()


def passing_minutes():
    """A clock."""
    return (60.0 * count for count in itertools.count()).__next__


def test_time_is_up_when_the_next_epoch_would_take_too_long():
    now = [0.0]
    limit = TimeLimit(10, lambda: now[0])
    now[0] = 700.0  # whatever came before, an epoch is made
    limit.before_run()
    now[0] = 701.0
    with pytest.raises(UnfinishedError, match="the 10 minutes are over"):
        limit.after_epoch()
    limit = TimeLimit(1, lambda: now[0])
    for _ in range(3):  # 4 epochs of 14 s fit a minute, the fifth would end 10 s late
        now[0] += 14
        limit.after_epoch()
    now[0] += 14
    with pytest.raises(UnfinishedError):
        limit.after_epoch()


def test_the_scale_can_be_changed_and_the_caption_says_so(tmp_path):
    cells = parse_cells("conv4/cifar10/95%")
    given = {"methods": ["magnitude"], "seeds": 1, "epochs": 1, "device": "cpu"}
    made = Reproduction(tmp_path, "smoke", cells, limit_train=200, width=0.125, **given).run("x")
    assert (
        made.about.data == "digits in place of cifar10, 180 training images, conv4 of 0.125 times the width"
    )
    assert "Epochs: 1 (in the paper 300). Scale: smoke." in (tmp_path / "table1.md").read_text()


def test_tiny_imagenet_is_made_small_for_a_laptop():
    small, cell = SCALES["laptop"], Cell("conv4", "tiny-imagenet", "99%")
    assert small.image_size(cell) == 16
    assert small.image_size(replace(cell, dataset="cifar10")) is None
    assert Reproduction("nowhere", "laptop", [cell], device="cpu").limit_train(cell) == 20_000
    assert Reproduction("nowhere", "laptop", [cell], limit_train=900, device="cpu").limit_train(cell) == 900


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
        ({"select_on": "test"}, "select_on must be left out at scale smoke, where nothing follows the acc"),
        ({"methods": []}, "at least one method is needed, got none"),
        ({"width": 0.0}, "width must lie in (0, 4], a factor on the paper's, got 0"),
        ({"minutes": 0.0}, "minutes must be above 0, got 0"),
        ({"minutes": math.nan}, "minutes must be above 0, got nan"),
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


# --- a day with a GPU, in pieces ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu_day():
    path = Path(__file__).parents[1] / "tools" / "gpu_day.py"
    spec = importlib.util.spec_from_file_location("gpu_day", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_cells_with_something_to_beat_come_first(gpu_day):
    assert gpu_day.ordered()[:3] == [f"{row.network}/{row.dataset}/{row.rate}" for row in load_highest()]
    assert sorted(gpu_day.ordered()) == sorted(map(str, CELLS))
    assert set(gpu_day.METHODS) <= set(WEIGHT_ARMS)


def test_a_piece_ends_with_its_minutes_and_the_next_goes_on(gpu_day):
    """The second call says that its time is over; so does the clock before the third."""
    asked = list(gpu_day.calls(["a", "b"], 2))
    assert [" ".join(words) for words in asked] == [
        f"--cells {cell} --seeds {count}" for count in (1, 2) for cell in "ab"
    ]
    codes, made = iter([0, 75]), []
    assert gpu_day.go_on(["--x"], asked, 9, lambda words: made.append(words) or next(codes)) == 75
    assert " ".join(made[0]) == "reproduce dupont2021 table1 --x --cells a --seeds 1 --minutes 9.00"
    assert len(made) == 2
    clock = iter([0.0, 0.0, 300.0, 590.0]).__next__
    made.clear()
    assert gpu_day.go_on([], asked, 10, lambda words: made.append(words[-1]) or 0, clock) == 75
    assert made == ["10.00", "5.00"]  # 10 s are not worth a call
    assert gpu_day.go_on([], asked, 9, lambda words: 0) == 0
    assert gpu_day.go_on([], asked, 9, lambda words: 2) == 2
