"""tools/channels.py: budgets met from below, equal compute, files found again, rows drawn."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import secateur as sc
from secateur.errors import InputError
from secateur.network.counting import count_model_macs

TOOLS = Path(__file__).parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import channel_trials  # noqa: E402
import channels  # noqa: E402
from field.measured import macs_of  # noqa: E402
from peers import cuts  # noqa: E402


@given(st.integers(0, 60), st.integers(0, 60))
def test_halving_finds_the_fewest_channels_that_meet_the_budget(needed, beyond):
    asked = []
    found = cuts.fewest(lambda n: asked.append(n) or n >= needed, needed + beyond)
    assert found == needed
    assert len(asked) <= 8


def test_a_budget_that_no_cut_meets_is_refused():
    with pytest.raises(InputError, match="not met with 5 channels cut"):
        cuts.fewest(lambda n: False, 5)
    with pytest.raises(InputError, match="10 MACs is not met after 3 steps, got 20"):
        cuts.first_within(lambda: None, lambda: 20, 10, steps=3)


def test_steps_end_at_the_first_network_within_the_budget():
    sizes = [100, 70, 50, 30]
    assert cuts.first_within(lambda: sizes.pop(0), lambda: sizes[0], 60) == 2
    assert sizes == [50, 30]


@dataclass(frozen=True)
class Digits(channels.Setting):
    """Small enough for a test."""

    def model(self):
        return sc.models.wide_resnet(depth=10, width=0.25, in_channels=1, image_size=8)

    def data(self):
        return sc.load_data("digits", limit_train=100)


SETTING = Digits("wrn-16-1", image_size=8, epochs=4, precision="fp32", shares=(50,))


def narrower(model, example, limit):
    """A cut of ours in place of a library's."""
    assert not torch.equal(model.stem.weight, SETTING.model().stem.weight)
    how = {"method": "filter-norm", "budget": f"macs={limit}", "train": False, "progress": False}
    small = sc.prune(model, example_inputs=example, **how)
    return cuts.Cut(small, 0.5, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One run in one schedule and one with schedules of its own, as they lie in the folder."""
    folder, patch = tmp_path_factory.mktemp("peers"), pytest.MonkeyPatch()
    patch.setitem(cuts.WAYS, "numpy, by hand", narrower)
    patch.setitem(cuts.LIBRARIES, "numpy", "numpy")
    for tuning in channels.TUNING:
        channels.peers(SETTING, [1], tuning, ["numpy, by hand"], folder)
    yield folder
    patch.undo()


def runs_in(folder):
    return {path.name: json.loads(path.read_text()) for path in sorted((folder / "runs").iterdir())}


def test_a_peer_trains_on_as_much_as_half_of_the_epochs_for_each_size_cost(made):
    whole = count_model_macs(SETTING.model())
    for run in runs_in(made).values():
        assert run["macs"] <= run["limit"] == whole // 2
        assert run["train_compute"] == 3 * 2 * 90 * (whole + run["macs"])
        assert 0 <= run["accuracy"] <= 1
        assert run["environment"]["torch"]


def test_runs_are_found_again_and_not_made_twice(made, monkeypatch):
    before = runs_in(made)
    assert [*before] == [f"wrn-16-1-numpy-by-hand-{way}-50-s1.json" for way in ("one", "own")]
    assert before["wrn-16-1-numpy-by-hand-one-50-s1.json"]["setting"]["epochs"] == 4
    monkeypatch.setattr(channels.Peers, "run", lambda *_: pytest.fail("made again"))
    channels.peers(SETTING, [1], "one", ["numpy, by hand"], made)
    assert runs_in(made) == before


def test_a_tuning_goes_on_in_the_schedule_or_begins_one_of_its_own():
    rates = {}
    for tuning in channels.TUNING:
        peer = channels.Peers(SETTING, SETTING.data(), 1, tuning)
        whole, _ = peer._trained()
        tuned = peer._tuned(whole)
        rates[tuning] = [row["lr"] for row in tuned.progress.history]
    assert rates["one"] == pytest.approx([0.025, 0.05 * 0.146447], rel=1e-4)
    assert rates["own"] == pytest.approx([0.01, 0.005])


def test_a_row_says_what_was_reached_and_what_it_took(made):
    (row,) = channels.rows_of_peers([run for run in runs_in(made).values() if run["tuning"] == "one"])
    assert row.arm == "numpy, by hand (one schedule)"
    row = channels.Row("x", 25, (0.5, 0.52), (0.4, 0.5), 2400.0, 1234.4, 6e6, 2e6)
    assert row.line(10_000, 10e6) == "| 25% | x | 51.0% ± 1.4% | 45.0% | 2 | 1,234 | 24.0% | 0.60 (+ 0.20) |"
    assert row.line(10_000, 10e6).count("|") == 9


def test_our_arms_have_the_recipe_of_the_peers(tmp_path):
    """The words of the command line come to the same recipe and the same images."""
    setting = channels.Setting("wrn-16-1")
    words = setting.words("wrn-16-1", tmp_path, 3)
    told = dict(zip(words[1::2], words[2::2], strict=True))
    recipe = setting.recipe()
    assert [float(told[f"--{name}"]) for name in ("epochs", "batch-size", "lr", "weight-decay")] == [
        recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay
    ]  # fmt: skip
    assert (told["--schedule"], told["--precision"]) == (recipe.schedule, recipe.precision)
    assert (told["--image-size"], told["--limit-train"]) == ("16", "5000")
    assert told["--budget"] == "macs=50%,macs=25%,macs=10%"


def test_an_unknown_network_and_an_absent_library_are_refused(monkeypatch, tmp_path, capsys):
    with pytest.raises(InputError, match="unknown network 'vgg'"):
        channels.Setting("vgg").model()
    monkeypatch.setattr(cuts, "find_spec", lambda name: None)
    assert channels.main(["peers", "--out", str(tmp_path)]) == 2
    assert "torch-kirigami and torch-pruning not found: use the environment" in capsys.readouterr().err
    assert channels.main(["peers", "--seeds", "0", "--out", str(tmp_path)]) == 2
    assert "at least 1 seed, got 0: pass --seeds 3" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


QUICK = [way for way in cuts.WAYS if "kirigami" not in way]
SLOW = [pytest.param(way, marks=pytest.mark.slow) for way in cuts.WAYS if way not in QUICK]


@pytest.mark.parametrize("way", [*QUICK, *SLOW])
def test_a_library_cuts_to_the_budget_from_below(way):
    """Skipped where the library is not installed: it is in the second virtual environment alone."""
    if library := cuts.missing(way):
        pytest.skip(f"{library} is not installed")
    model = sc.models.wide_resnet(depth=10, width=0.25, image_size=8)
    limit = count_model_macs(model) // 2
    cut = cuts.WAYS[way](model, torch.ones(1, 3, 8, 8), limit)
    assert 0.4 * limit < count_model_macs(cut.model) <= limit
    assert count_model_macs(cut.model) == macs_of(cut.model, torch.ones(1, 3, 8, 8))
    assert cut.model(torch.ones(2, 3, 8, 8)).shape == (2, 10)
    assert 0 < cut.share < 1


@pytest.mark.parametrize("variant", ["cut at 35%", "whole stream"])
def test_a_trial_meets_the_budget_and_is_judged_on_validation(variant):
    run = channel_trials.run(SETTING, SETTING.data(), 30, variant, 100)
    assert 0.2 * run["limit"] < run["macs"] <= run["limit"]
    assert "accuracy" not in run
    assert 0 <= run["val_accuracy"] <= 1
    group = [{**run, "val_accuracy": value, "params": 1000, "train_compute": 2e9} for value in (0.5, 0.52)]
    last = channel_trials.table(group).splitlines()[-1]
    assert last == f"| wrn-16-1 | 30% | {variant} | 51.0% ± 1.4% | 2 | 1,000 | 2e+09 |"


def test_the_answer_for_so_many_seeds_is_taken_not_another_one(tmp_path):
    """`compare` leaves that of another number of seeds beside the first."""
    recorded = json.loads((channels.OUT / "wrn-16-1.json").read_text())
    for place, seeds in (("", 1), ("reports/ab", 2)):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        answer = {**recorded, "settings": {**recorded["settings"], "seeds": seeds}}
        (tmp_path / place / "results.json").write_text(json.dumps(answer))
    assert channels.answer(tmp_path, 1) == tmp_path / "results.json"
    assert channels.answer(tmp_path, 2) == tmp_path / "reports/ab/results.json"
