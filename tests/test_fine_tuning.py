"""Networks that come trained stay what they are: recipe, search for a rate, stop, tuning after pruning."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from secateur import models
from secateur.architecture.architecture import Architecture
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget
from secateur.cli.main import main
from secateur.compare.settings import Settings
from secateur.compare.wanted import ask
from secateur.data import epoch_batches, load_data
from secateur.device import Runtime
from secateur.errors import TrainingError
from secateur.methods import Fisher
from secateur.progress import Reporter
from secateur.records.measure import Measure
from secateur.records.record import Record
from secateur.runs.graph import Graph
from secateur.training.guard import FirstEpochGuard
from secateur.training.loop import Training
from secateur.training.rates import Tried, best_of
from secateur.training.recipe import Recipe


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(line):
        monkeypatch.setattr("sys.argv", ["secateur", *line.split()])
        with pytest.raises(SystemExit) as found:
            main()
        out, err = capsys.readouterr()
        return found.value.code or 0, out + err

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a network that has more than 95% on the validation split of the digits."""
    from secateur.architecture.saved import save_model

    data = load_data("digits")
    torch.manual_seed(1)
    model = models.wide_resnet(depth=10, width=1.0, in_channels=1, image_size=8)
    recipe = Recipe(epochs=6, batch_size=32, lr=0.05)
    done = Training(model, data, recipe, seed=0, runtime=Runtime("cpu"), reporter=Reporter(), epochs=6).fit()
    assert done.validated() > 0.95
    folder = tmp_path_factory.mktemp("trained")
    save_model(done.model, folder)
    return folder


def records(folder):
    found = [Record.load(path) for path in folder.glob("runs/*/record.json")]
    return {record.run_id.split("-")[0]: record for record in found}


# The recipe


def test_the_recipe_of_fine_tuning_is_gentle():
    recipe = Recipe.fine_tuning()
    assert (recipe.optimizer, recipe.lr, recipe.epochs) == ("adamw", 1e-4, 3)
    assert (recipe.warmup, recipe.clip_norm, recipe.schedule) == (0.5, 1.0, "cosine")
    assert recipe.for_tuning().lr == 1e-4  # while channels go: at the same rate, that stays
    assert Recipe.fine_tuning(optimizer="sgd").lr == 1e-3
    given = Recipe.fine_tuning(lr=0.02, epochs=7, schedule="steps")
    assert (given.lr, given.epochs, given.schedule, given.optimizer) == (0.02, 7, "steps", "adamw")


def test_what_follows_from_the_optimizer_follows_it_in_a_changed_recipe():
    assert replace(Recipe(), optimizer="adamw").lr == 1e-3
    assert replace(Recipe(lr=0.1), optimizer="adamw").lr == 0.1
    assert replace(Recipe(), distill="logits").distill_weight == 0.9


# The stop


ACCURACY = Measure(name="accuracy", higher_is_better=True, fraction=True)
RMSE = Measure(name="rmse", higher_is_better=False, fraction=False)


@pytest.mark.parametrize(
    ("measure", "before", "now", "stops"),
    [
        (ACCURACY, 0.96, 0.87, False),
        (ACCURACY, 0.96, 0.86, False),
        (ACCURACY, 0.96, 0.85, True),
        (ACCURACY, 0.5, 0.97, False),
        (RMSE, 2.0, 2.2, False),
        (RMSE, 2.0, 2.3, True),
        (RMSE, 2.0, 0.1, False),
    ],
)
def test_what_may_be_lost(measure, before, now, stops):
    assert (FirstEpochGuard(0.1, measure).lost(before, now) > 1e-9) is stops


@pytest.fixture(scope="module")
def good(digits):
    """The weights of a network that is good on few digits."""
    torch.manual_seed(0)
    model = models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8)
    common = {"seed": 7, "runtime": Runtime("cpu"), "reporter": Reporter()}
    return Training(model, digits, Recipe(epochs=12, batch_size=32), epochs=12, **common).fit().model


def harmed(digits, good, method=None, epochs=2, lr=0.5, **changes):
    """A good network, to be trained at a rate that harms it."""
    recipe = Recipe.fine_tuning(lr=lr, batch_size=32, warmup=0.0, **changes)
    common = {"seed": 7, "runtime": Runtime("cpu"), "reporter": Reporter()}
    return Training(
        copy.deepcopy(good), digits, recipe, epochs=epochs, method=method, comes_trained=True, **common
    )


def test_training_that_harms_is_stopped_after_the_first_epoch(digits, good):
    run = harmed(digits, good)
    with pytest.raises(
        TrainingError,
        match=r"came with (7|8|9)\d\.\d% on the validation split and has \d+\.\d% after the first epoch, at "
        r"rate 0.5: more than 10 points lost; lower --lr .*--max-drop",
    ):
        run.fit()
    assert run.progress.history == []
    assert harmed(digits, good, max_drop=1.0, epochs=1).fit().progress.epoch == 1


def test_it_is_stopped_before_the_first_channel_goes(digits, good):
    method = Fisher(every=4, removals=3)
    with pytest.raises(TrainingError, match=r"before the first channel was removed, at rate 0\.5"):
        harmed(digits, good, method, epochs=None).fit()
    assert method.removed == []


def test_what_all_goes_at_once_may_cost_what_it_costs(digits, good):
    """A cut of most channels in the first step is what was asked for: only the rate is looked at."""
    method = Fisher("params=15%", every=2, at_once=0)
    run = harmed(digits, good, method, epochs=None, lr=1e-6).fit()
    assert method.finished
    assert run.progress.before > 0.7


def test_a_guard_that_does_not_stop_changes_no_bit(digits):
    found = []
    for guarded in (True, False):
        torch.manual_seed(0)
        model = models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8)
        run = Training(
            model,
            digits,
            Recipe(epochs=2, batch_size=64).for_tuning(0.01),
            seed=7,
            runtime=Runtime("cpu"),
            reporter=Reporter(),
            method=Fisher(every=2, removals=6),
            comes_trained=guarded,
        ).fit()
        found.append(run)
    one, other = (run.model.state_dict() for run in found)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert found[0].progress.history == found[1].progress.history


# The command line


def test_pruning_a_trained_folder_keeps_what_it_can(cli, trained, tmp_path):
    line = f"prune fisher --model {trained} --data digits --trained --budget params=60% --prune-every 2"
    code, said = cli(f"{line} --tune-epochs 1 --out kept")
    assert code == 0
    assert "on the validation split before it is tuned (adamw, rate 0.0001, while it is pruned)" in said
    found = records(tmp_path / "kept")
    assert set(found) == {"given", "prune", "tune"}
    assert found["given"].val_accuracy > 0.95
    assert found["prune"].val_accuracy_before == found["given"].val_accuracy
    assert found["tune"].val_accuracy > 0.92
    assert found["tune"].params <= 0.6 * found["given"].params
    assert found["tune"].epochs == 1
    assert found["tune"].removed == found["prune"].removed
    point = json.loads((tmp_path / "kept/record.json").read_text())
    spent = found["prune"].train_compute + found["tune"].train_compute
    assert (point["train_compute"], point["params"]) == (spent, found["tune"].params)

    code, said = cli(f"{line} --lr 5 --tune-epochs 1 --out harmed")
    assert code == 1
    assert "at rate 5: more than 10 points lost" in said
    assert set(records(tmp_path / "harmed")) == {"given"}  # what is finished is kept


def test_what_is_given_wins_over_the_defaults_of_tuning(cli, trained, tmp_path):
    options = "--optimizer sgd --lr 0.002 --epochs 1 --prune-every 2 --limit-train 200"
    code, said = cli(
        f"prune fisher --model {trained} --data digits --trained --budget params=97% {options} --out given"
    )
    assert code == 0
    assert "(sgd, rate 0.002, while it is pruned)" in said
    recipe = records(tmp_path / "given")["tune"].identity["recipe"]
    assert (recipe["lr"], recipe["epochs"], recipe["warmup"]) == (0.002, 1, 0.5)
    assert "optimizer" not in recipe  # sgd is what runs always had


def test_a_rate_is_found_on_validation_and_said(cli, trained, tmp_path):
    line = f"prune fisher --model {trained} --data digits --trained --budget params=97% --prune-every 2"
    line += " --lr auto --limit-train 300 --tune-epochs 0 --out found"
    code, said = cli(line)
    assert code == 0
    tried = [text for text in said.splitlines() if text.startswith("rate ") and "after" in text]
    assert [text.split(":")[0] for text in tried] == [
        "rate 1e-05", "rate 3e-05", "rate 0.0001", "rate 0.0003", "rate 0.001", "rate 0.003",
    ]  # fmt: skip
    stored = json.loads((tmp_path / "found/rates.json").read_text())
    del stored["digest"]
    (kept,) = stored.values()
    best = best_of([Tried(**each) for each in kept], lambda one, other: one > other)
    assert f"rate {best.rate:g} is taken" in said
    assert records(tmp_path / "found")["prune"].identity["tuning"]["lr"] == best.rate
    code, again = cli(line)
    assert code == 0
    assert "after 10 steps" not in again  # it was tried once


def test_the_best_rate_is_the_smallest_of_the_best():
    tried = [Tried(1e-4, 0.9), Tried(1e-5, 0.9), Tried(1e-3, 0.8), Tried(1.0, None)]
    assert best_of(tried, lambda one, other: one > other).rate == 1e-5
    assert best_of(tried, lambda one, other: one < other).rate == 1e-3
    with pytest.raises(TrainingError, match="no rate of 1, 2 kept the loss finite"):
        best_of([Tried(1.0, None), Tried(2.0, None)], lambda one, other: one > other)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "train --data digits --lr auto",
            "this one begins at its initialisation: give a rate, or prune what",
        ),
        ("train --data digits --lr fast", "--lr takes a number, or auto, got 'fast'"),
        ("compare --data digits --lr auto", "--lr auto is for one network"),
        (
            "prune snip --data digits --budget nonzeros=5% --lr auto",
            "--lr auto is for train, and for what prunes",
        ),
        ("prune snip --data digits --budget nonzeros=5% --tune-epochs 2", "snip has no tuning after a cut"),
        ("prune fisher --data digits --budget params=50% --tune-epochs -1", "must be at least 0, got -1"),
        ("train --data digits --optimizer custom", "unknown optimizer 'custom'"),
        ("train --data digits --max-drop 2", r"max_drop must lie in [0, 1], got 2"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(cli, tmp_path, line, message):
    code, said = cli(f"{line} --out no")
    assert code == 2
    assert message in said
    assert not (tmp_path / "no").exists()


def test_arms_that_tune_take_the_epochs_too(cli, tmp_path):
    line = "prune magnitude-tuned --model conv4 --data digits --limit-train 100 --budget nonzeros=20%"
    code, _ = cli(f"{line} --epochs 1 --tune-epochs 2 --out sparse")
    assert code == 0
    assert {name: record.epochs for name, record in records(tmp_path / "sparse").items()} == {
        "train": 1,
        "sparse": 2,
    }


# Pretrained networks


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A folder that `save_pretrained` left, of a network of transformers with 95% and more."""
    transformers = pytest.importorskip("transformers")
    data = load_data("digits")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        num_channels=1,
        num_labels=10,
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
    )
    model = transformers.ResNetForImageClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(8):
        order = torch.Generator().manual_seed(epoch)
        for x, y in epoch_batches(data.train, data, batch_size=32, device="cpu", generator=order):
            F.cross_entropy(model(x).logits, y).backward()
            optimizer.step()
            optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("pretrained")
    model.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # of transformers
def test_a_pretrained_network_survives_the_default(cli, pretrained, tmp_path):
    """96% went to 45%, then 10%, at the rate of training from scratch."""
    line = f"prune fisher --model hf:{pretrained} --data digits --budget params=70% --prune-every 2"
    code, said = cli(f"{line} --out tuned")
    assert code == 0
    assert "before it is tuned (adamw, rate 0.0001, 3 epochs)" in said
    found = records(tmp_path / "tuned")
    assert found["train"].val_accuracy_before > 0.94
    assert found["train"].val_accuracy > 0.94
    assert found["prune"].val_accuracy > 0.9

    code, said = cli(f"{line} --optimizer sgd --lr 0.3 --out harmed")
    assert code == 1
    assert "after the first epoch, at rate 0.3: more than 10 points lost" in said


@pytest.mark.filterwarnings("ignore")
def test_a_comparison_tunes_what_comes_trained_and_trains_the_rest(pretrained, digits):
    network = resolve_model(f"hf:{pretrained}", digits)
    settings = Settings(
        (Budget.parse("params=60%"),),
        ("fisher-tuned", "width"),
        tuning=Recipe.fine_tuning(),
        recipe=Recipe(epochs=9),
    )
    wanted = ask(network, digits, settings)
    graph = Graph()
    wanted.add_to(graph)
    dense, pruned, width = (node.run for node in graph)
    assert dense.recipe == Recipe.fine_tuning()
    assert pruned.first.run_id == dense.run_id
    assert width.recipe == Recipe(epochs=9)
    assert wanted.question.tuned.endswith(
        "comes with weights, so it is tuned (adamw, rate 0.0001, 3 epochs); networks from scratch are "
        "trained (sgd, rate 0.1, 9 epochs)"
    )
    ours = Architecture.of(models.wide_resnet(depth=10, width=0.5, in_channels=1, image_size=8))
    assert settings.recipe_of(ours) == Recipe(epochs=9)
