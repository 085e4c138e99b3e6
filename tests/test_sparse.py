"""The arms that zero weights, made by real runs on the embedded digits."""

from __future__ import annotations

import json

import pytest

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.wanted import ask
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import Reparametrization
from secateur.methods.gates import kernels as gate_kernels
from secateur.network.masks import count_nonzeros
from secateur.network.weights import count_weights
from secateur.progress import Reporter
from secateur.records.stored import ABSENT
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=64, lr=0.05)
CONV4 = sc.models.conv4(width=0.25, in_channels=1, image_size=8)


@pytest.fixture(scope="module")
def compared(digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("sparse")
    arms = (*WEIGHT_ARMS, "width")
    return sc.compare(CONV4, digits, ["nonzeros=5%"], arms=arms, recipe=RECIPE, out=out, device="cpu")


def test_every_arm_has_exactly_the_budget(compared):
    limit = round(0.05 * count_weights(CONV4))
    assert {point.arm for point in compared.points} == {*WEIGHT_ARMS, "width"}
    for point in compared.points:
        network = sc.load(compared.directory / "runs" / point.run_id)
        assert point.nonzeros == count_nonzeros(network)
        if point.arm == "width":
            assert 0.9 * limit < point.nonzeros == point.weights <= limit
        else:
            assert point.nonzeros == limit
            assert point.weights == count_weights(CONV4)


def test_every_arm_takes_the_same_epochs_in_total(compared):
    spent = {point.arm: (point.epochs, point.train_compute) for point in compared.points}
    sparse = [spent[arm] for arm in WEIGHT_ARMS]
    assert {epochs for epochs, _ in sparse} == {4}
    assert len({compute for _, compute in sparse}) == 1


def test_what_the_cut_changed_is_recorded(compared):
    for point in compared.points:
        if point.arm in WEIGHT_ARMS:
            assert 0 <= point.accuracy_before <= 1
        if point.arm == "reparametrization":
            assert point.remaining == pytest.approx(0.05, abs=1e-4)
        if point.arm == "magnitude":
            assert point.remaining is ABSENT


def test_magnitude_and_its_tuned_form_share_the_trained_network_between_budgets(digits, tmp_path):
    sc.compare(
        CONV4,
        digits,
        ["nonzeros=10%", "nonzeros=5%"],
        arms=["magnitude", "magnitude-tuned", "random-tuned"],
        recipe=RECIPE,
        out=tmp_path,
        device="cpu",
    )
    runs = [path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()]
    assert sorted(runs) == ["sparse"] * 6 + ["train"] * 2  # trained for 4 epochs, and for 2


def test_the_report_shows_nonzeros(compared):
    results = json.loads((compared.directory / "results.json").read_text())
    assert results["settings"]["resource"] == "nonzeros"
    assert results["settings"]["l1_strength"] == 3e-4
    assert results["settings"]["reparametrization"] == "the method's defaults"
    page = (compared.directory / "report.html").read_text()
    assert "nonzero" in page


def test_a_second_call_trains_nothing(compared, digits):
    before = {path: path.stat().st_mtime_ns for path in compared.directory.glob("runs/*/record.json")}
    sc.compare(
        CONV4,
        digits,
        ["nonzeros=5%"],
        arms=(*WEIGHT_ARMS, "width"),
        recipe=RECIPE,
        out=compared.directory,
        device="cpu",
    )
    assert before == {path: path.stat().st_mtime_ns for path in compared.directory.glob("runs/*/record.json")}


@pytest.mark.parametrize("name", ["reparametrization", "snip"])
def test_interrupted_within_a_sparse_run_the_result_is_the_same(digits, tmp_path, name):
    """The run is broken off after its second epoch, by the reporter, and taken up again."""

    class Breaks(Reporter):
        def epoch(self, row):
            if row["epoch"] == 2:
                raise KeyboardInterrupt

    architecture = resolve_model(CONV4, digits)
    budget = Budget.parse("nonzeros=500")
    question = Comparison(architecture, digits, Settings((budget,), (name,), recipe=RECIPE), prunes=False)

    def make(folder, reporter):
        session = Session(RunStore(tmp_path / folder), Runtime("cpu"), reporter)
        return session.make(ARMS[name].run(question, budget, 0, "x"))

    with pytest.raises(KeyboardInterrupt):
        make("broken", Breaks())
    resumed, whole = make("broken", Reporter()), make("whole", Reporter())
    weights = [
        sc.load(tmp_path / folder / "runs" / whole.run_id).state_dict() for folder in ("broken", "whole")
    ]
    assert resumed.history == whole.history
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_early_stopping_does_not_break_off_the_schedule():
    recipe = Recipe(epochs=9, schedule="plateau", early_stop=2)
    shares = ARMS["reparametrization"].shares(recipe, Sparsity())
    assert (shares.epochs, shares.recipe.schedule, shares.recipe.early_stop) == (9, "cosine", None)
    assert ARMS["reparametrization-faithful"].shares(recipe, Sparsity()).recipe == recipe


@pytest.mark.parametrize(
    ("share", "epochs", "expected"), [(0.5, 10, (5, 5)), (0.25, 10, (8, 2)), (0.9, 2, (1, 1))]
)
def test_epochs_are_divided_between_training_and_tuning(share, epochs, expected):
    shares = ARMS["magnitude-tuned"].shares(Recipe(epochs=epochs), Sparsity(share))
    assert (shares.training.epochs, shares.epochs) == expected


def test_the_papers_tuning_comes_on_top():
    shares = ARMS["magnitude-tuned"].shares(Recipe(epochs=30), Sparsity(tune_epochs=20))
    assert (shares.training.epochs, shares.epochs) == (30, 20)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (
            {"budgets": ["params=50%"], "arms": ["magnitude"]},
            "must be in nonzeros or bytes, got 'params=50%'",
        ),
        ({"budgets": ["params=50%", "nonzeros=5%"]}, "limit one resource"),
        ({"budgets": ["nonzeros=5%"], "arms": ["magnitude"], "match": "compute"}, "--match epochs"),
        ({"budgets": ["nonzeros=5%"], "arms": ["magnitude-tuned"], "epochs": 1}, "at least 2, got 1"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(digits, tmp_path, arguments, part):
    with pytest.raises(InputError) as caught:
        sc.compare("conv4", digits, out=tmp_path / "out", device="cpu", **arguments)
    assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"tune_share": 1.5}, "must lie in (0, 1), got 1.5"),
        ({"tune_epochs": 0}, "at least 1 epoch, got 0"),
        ({"l1_strength": -1.0}, "at least 0, got -1"),
        ({"reparametrization": {"n": 5}}, "n must be even and at least 2, got 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, part):
    with pytest.raises(InputError) as caught:
        Sparsity(**settings)
    assert part in str(caught.value)


def test_the_plan_counts_what_is_trained(compared, digits):
    """Training before a cut is shared by budgets and arms, and counted once."""
    settings = Settings((Budget.parse("nonzeros=5%"),), arms=(*WEIGHT_ARMS, "width"), seeds=2, recipe=RECIPE)
    rows = ask(resolve_model(CONV4, digits), digits, settings).plan()
    planned = sum(row.compute for row in rows)
    store = RunStore(compared.directory)
    records = [store.record(run_id) for run_id in store.ids()]
    assert planned == sum(record.train_compute for record in records if record.seed == 0)


def test_compiled_gates_are_tried_out_before_anything_is_trained(monkeypatch):
    def fail(*_):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(gate_kernels, "_compiled", fail)
    with pytest.raises(InputError, match=r"failed here \(no compiler\): leave compiled out"):
        Sparsity(reparametrization={"compiled": True})


def test_compiled_gates_are_the_same_run():
    """They change how the numbers are rounded, as another device does, not what is computed."""
    plain = Reparametrization("nonzeros=5%", steps=10)
    assert Reparametrization("nonzeros=5%", steps=10, compiled=True).identity() == plain.identity()
