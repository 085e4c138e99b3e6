"""The tool that tunes the controls and compares them: its trials, its tables, its runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from scipy import stats

import secateur as sc
from secateur.budget import Budget
from secateur.compare.arms import ARMS, WEIGHT_ARMS, chosen
from secateur.compare.settings import Settings
from secateur.data import load_data

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import controls  # noqa: E402
import controls_table as tables  # noqa: E402


def rows(arm, kept, accuracies, **more):
    """Fabricated records of one arm at seeds 0, 1, ..."""
    common = {"network": "small", "arm": arm, "kept": kept, "settings": "", "accuracy_before": None}
    return [
        {**common, "seed": seed, "accuracy": value, "commit": "abc", **more}
        for seed, value in enumerate(accuracies)
    ]


FABRICATED = [
    *rows("dense", None, [0.50, 0.51, 0.52]),
    *rows("reparametrization", 1, [0.40, 0.42, 0.44]),
    *rows("rigl", 1, [0.30, 0.33, 0.33], settings="rigl.drop=0.5"),
    *rows("l1", 1, [0.45, 0.47, 0.50], accuracy_before=0.55),
    *rows("snip", 1, [0.40, 0.43]),
    *rows("set", 1, [0.41]),
]


def test_every_arm_that_zeroes_weights_is_a_control_or_says_nothing_new():
    """What is no control: the exact mode's own faithful form, cuts by lot or without training, layerwise."""
    left_out = {
        *("magnitude", "magnitude-tuned-layerwise", "random-tuned", "random-tuned-layers"),
        "reparametrization-faithful",
    }
    assert set(WEIGHT_ARMS) - left_out <= set(controls.CONTROLS)


@pytest.mark.parametrize("arm", [arm for arm in controls.CONTROLS if arm in ARMS])
def test_every_trial_can_be_had_and_all_controls_have_as_many(arm):
    trials = controls.CONTROLS[arm]
    assert len(set(trials)) == len(trials) == controls.TRIALS
    assert trials[0] == "", "the defaults come first"
    for trial in trials:
        sparsity = controls.sparsity_of(trial)
        asked = Settings((Budget.parse("nonzeros=3%"),), (arm,), recipe=controls.RECIPE, sparsity=sparsity)
        assert chosen(asked) == (ARMS[arm],)


def test_no_trial_is_another_one_again():
    """A setting that is the method's default would be no trial."""
    for arm in set(controls.CONTROLS) & set(ARMS) - {"magnitude-tuned"}:
        made = {
            json.dumps(ARMS[arm]._method(_asked(arm, trial), 0).build(_one_percent(), 9).identity())
            for trial in controls.CONTROLS[arm]
        }
        assert len(made) == controls.TRIALS, arm


def _asked(arm, trial):
    return Settings((Budget.parse("nonzeros=3%"),), (arm,), sparsity=controls.sparsity_of(trial))


def _one_percent():
    return sc.budget.Limits.at({"nonzeros": 9})


def test_differences_are_paired_and_their_intervals_students():
    found = tables.paired(FABRICATED, "rigl", 1)
    expected = stats.ttest_rel([0.40, 0.42, 0.44], [0.30, 0.33, 0.33]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(0.10)
    shared = tables.paired(FABRICATED, "snip", 1)  # which has no third seed
    assert (shared.n, shared.mean) == (2, pytest.approx(-0.005))
    dense = tables.paired(FABRICATED, "dense", 1)
    assert dense.mean == pytest.approx(-0.09)
    assert tables.paired(FABRICATED, "granet", 1) is None
    assert tables.paired(FABRICATED, "rigl", 5) is None


def test_the_table():
    content = {"rows": FABRICATED, "environment": {"device": "a CPU"}}
    page = tables.comparison_table(content)
    assert "**ResNet18 x0.125 at 16 px**, the dense network: 51.0 ± 1.0 (3)" in page
    assert "| reparametrization | defaults | 42.0 ± 2.0 (3) |" in page
    assert "| rigl | `rigl.drop=0.5` | 32.0 ± 1.7 (3) |" in page
    assert "| l1 | defaults | 47.3 ± 2.5 (3, 55.0 before its cut) |" in page
    assert "| set | defaults | 41.0 (1) |" in page
    assert "| rigl | +10.0 [+7.5, +12.5] ahead |" in page
    assert re.search(r"\| l1 \| -5\.3 \[-6\.8, -3\.9\] behind \|", page)
    assert "| snip | -0.5 [-6.9, +5.9] level |" in page
    assert "| set | -1.0 one seed |" in page
    assert "Over all 4 pairs of a control and a share" in page
    assert "the exact mode is: 1 ahead, 1 level, 1 behind, 1 one seed." in page
    assert "at commit abc on a CPU" in page


def test_nothing_recorded_is_no_table():
    assert tables.comparison_table({"rows": [], "environment": {}}).startswith("Nothing is recorded yet")


def trial_rows(values):
    return [
        {"arm": arm, "settings": controls.CONTROLS[arm][index], "seed": seed, "val_accuracy": value}
        for (arm, index, seed), value in values.items()
    ]


def test_the_best_on_validation_is_chosen_of_an_equal_number_of_trials():
    """A third trial of one control does not count while the other has had two; nor a seed that one lacks."""
    values = {
        **{("rigl", 0, 100): 0.30, ("rigl", 1, 100): 0.32, ("rigl", 2, 100): 0.90},
        **{("l1", 0, 100): 0.35, ("l1", 1, 100): 0.33},
        ("l1", 0, 101): 0.99,
    }
    found = controls.tuning_of(trial_rows(values))
    assert (found["trials"], found["seeds"]) == (2, [100])
    assert found["chosen"] == {"rigl": controls.CONTROLS["rigl"][1], "l1": ""}
    page = tables.tuning_table(found)
    assert "| rigl | defaults: 30.0 | **every=8: 32.0** |" in page
    assert "2 settings of each arm, 1 seed each, at 3% kept" in page


def test_the_mean_over_seeds_decides():
    values = {
        **{("l1", 0, 100): 0.30, ("l1", 1, 100): 0.36},
        **{("l1", 0, 101): 0.40, ("l1", 1, 101): 0.32},
    }
    found = controls.tuning_of(trial_rows(values))
    assert (found["seeds"], found["chosen"]) == ([100, 101], {"l1": ""})


def test_without_enough_nothing_is_chosen():
    found = controls.tuning_of(trial_rows({("l1", 0, 100): 0.3}))
    assert found["chosen"] == {}
    assert tables.tuning_table(found).startswith("**Not made yet**")


def test_arms_that_are_not_there_are_left_out_with_a_word(capsys):
    assert controls.there(["l1", "not-yet", "dense"]) == ["l1", "dense"]
    assert capsys.readouterr().err == "left out, as this checkout has no such arms: not-yet\n"


@pytest.fixture
def small(monkeypatch):
    """A network of digits in place of all others."""
    few = load_data("digits", limit_train=120)
    recipe = sc.Recipe(epochs=2, batch_size=64, lr=0.05)
    bench = controls.Bench(controls.Network("conv4", 0.125), few, recipe)
    monkeypatch.setattr(controls, "bench", lambda _: bench)
    return bench


def test_runs_are_made_once_and_recorded(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(controls, "TRIALS", 2)
    arms = ("l1",)
    monkeypatch.setattr(controls, "CONTROLS", {arm: controls.CONTROLS[arm] for arm in arms})
    store = controls.RunStore(tmp_path / "runs")
    controls.make(controls.tuning(arms, [100]), store.directory, None, sc.progress.Reporter())
    assert len(store.ids()) == 2
    made = {run_id: (store.path(run_id) / "record.json").stat().st_mtime_ns for run_id in store.ids()}
    monkeypatch.setattr(controls, "describe_environment", lambda *_: {"device": "a CPU"})
    commits = []
    monkeypatch.setattr(sc.records.record.Record, "commit", property(lambda _: commits[-1]))
    commits.append("abc")
    controls.record_all(store, ["small"], [0], tmp_path / "results")
    picked = controls.chosen_settings(tmp_path / "results")
    assert set(picked) == set(arms)
    wanted = controls.comparison("small", ["dense", *arms], [5], [0], picked)
    controls.make(wanted, store.directory, None, sc.progress.Reporter())
    controls.record_all(store, ["small"], [0], tmp_path / "results")
    content = json.loads((tmp_path / "results" / "comparison.json").read_text())
    assert [(row["arm"], row["kept"]) for row in content["rows"]] == [("dense", None), ("l1", 5)]
    for row in content["rows"][1:]:
        assert row["nonzeros"] == round(0.05 * row["weights"])
        assert row["settings"] == picked[row["arm"]]
    controls.make(controls.tuning(arms, [100]), store.directory, None, sc.progress.Reporter())
    assert made == {each: (store.path(each) / "record.json").stat().st_mtime_ns for each in made}, (
        "made again"
    )
    assert (tmp_path / "results" / "table.md").is_file()
    commits.append("abc+changes")
    with pytest.raises(SystemExit, match=r"made at abc\+changes: make it again from a clean checkout"):
        controls.record_all(store, ["small"], [0], tmp_path / "results")


def test_a_trial_changes_the_run(small):
    arm = "gradual-magnitude"
    plain, other = (small.run(arm, 5, 0, trial) for trial in controls.CONTROLS[arm][:2])
    assert plain.run_id != other.run_id
    assert (
        small.run("magnitude-tuned", 5, 0, "tune_share=0.5").run_id
        == small.run("magnitude-tuned", 5, 0).run_id
    )
    assert small.run("dense", None, 0).kind == "train"
