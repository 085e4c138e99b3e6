"""The loop: against a plain one, resumed at any epoch, stopped by a loss that is no number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from made import SMALL, network, training
from secateur.architecture.architecture import Architecture
from secateur.data import Split, epoch_batches
from secateur.device import AUTOCAST, Runtime
from secateur.errors import InputError, TrainingError
from secateur.methods import Fisher
from secateur.training.evaluation import VALIDATION, evaluate, validated_every
from secateur.training.recipe import PRECISIONS, Recipe
from secateur.training.seeds import derived_seed


def same_weights(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == name2 and torch.equal(a, b) for (name, a), (name2, b) in pairs)


def test_the_default_schedule_is_crowleys():
    rates = [Recipe().lr_at(epoch) for epoch in (0, 59, 60, 119, 120, 179, 180, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 4e-3, 4e-3, 8e-4, 8e-4])
    # Shares that fall within an epoch count from the next: three epochs begin at the full rate.
    assert [round(Recipe(epochs=3).lr_at(epoch), 9) for epoch in range(3)] == [0.1, 0.02, 0.004]
    assert Recipe().for_tuning().lr_at(123) == pytest.approx(8e-4)
    assert Recipe().for_tuning(0.01).lr_at(123) == 0.01


def test_the_cosine_falls_from_the_rate_to_almost_nothing():
    rates = [Recipe(epochs=4, lr=0.2, schedule="cosine").lr_at(epoch) for epoch in range(4)]
    assert rates == pytest.approx([0.2, 0.1 + 0.1 * 0.5**0.5, 0.1, 0.1 - 0.1 * 0.5**0.5])


STAGNANT = Recipe(
    epochs=9, batch_size=64, lr=1e-9, momentum=0, schedule="plateau", gamma=0.3, patience=2, early_stop=5
)


def test_the_plateau_lowers_the_rate_and_early_stopping_ends(digits):
    """A network that hardly learns; the rates are worked out again from the accuracies that it had."""
    done = training(digits, recipe=STAGNANT, epochs=9).fit()
    accuracies = [row["val_accuracy"] for row in done.progress.history]
    expected, best, waited, stale, drops = [], -1.0, 0, 0, 0
    for accuracy in accuracies:
        expected.append(1e-9 * 0.3**drops)
        waited, stale = (0, 0) if accuracy > best else (waited + 1, stale + 1)
        best = max(best, accuracy)
        if waited == 2:
            drops, waited = drops + 1, 0
    assert [row["lr"] for row in done.progress.history] == pytest.approx(expected)
    assert drops >= 1
    assert len(accuracies) == 9 or stale == 5


def test_early_stopping_counts_from_the_best_epoch(digits):
    data_rows = iter([0.5, 0.6, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7, 0.7])
    run = training(digits, recipe=STAGNANT, epochs=9)
    seen = []
    for accuracy in data_rows:
        run.progress.close_epoch({"val_accuracy": accuracy}, STAGNANT)
        seen.append((run.progress.drops, run.progress.stale, run._done()))
    assert seen == [
        (0, 0, False),
        (0, 0, False),
        (0, 1, False),
        (1, 2, False),
        (1, 0, False),
        (1, 1, False),
        (2, 2, False),
        (2, 3, False),
        (3, 4, True),  # the ninth epoch is the last anyway
    ]


def test_what_follows_the_test_split_says_so_in_its_history(digits):
    done = training(digits, recipe=replace(SMALL, select_on="test"), epochs=1).fit()
    (row,) = done.progress.history
    assert row["test_accuracy"] == evaluate(done.model, digits.test, digits, Runtime("cpu"), "fp32")


def test_older_recipes_keep_their_identity(digits):
    """What came later is part of a run's hash only where it is used."""
    assert "schedule" not in Recipe().identity(digits)
    assert Recipe(schedule="cosine").identity(digits)["schedule"] == "cosine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "linear"}, "linear"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"early_stop": 0}, "early_stop must be at least 1, got 0"),
        ({"select_on": "train"}, "train"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be above 0, got 0"),
        ({"lr": math.nan}, "lr must be above 0, got nan"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"milestones": (0.6, 0.3)}, r"milestones must be rising shares in \(0, 1\)"),
        ({"milestones": (0.3, 1.0)}, "milestones must be rising shares"),
        ({"gamma": 0.0}, r"gamma must lie in \(0, 1\]"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"pad": -1}, "pad must be at least 0"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**change)


def test_no_crop_misses_the_image(digits):
    assert Recipe(pad=7).augmentation(digits).pad == 7
    with pytest.raises(InputError, match="pad must be less than the image's side, 8 pixels, got 8"):
        Recipe(pad=8).augmentation(digits)


def test_it_is_plain_sgd(digits):
    """The same weights as a loop written out here."""
    ours = training(digits, epochs=2).fit().model
    layout = torch.channels_last
    model = network().train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for epoch in range(2):
        order = torch.Generator().manual_seed(derived_seed(7, "order", epoch))
        for group in optimizer.param_groups:
            group["lr"] = SMALL.lr_at(epoch)
        batches = epoch_batches(
            digits.train,
            digits,
            batch_size=64,
            device="cpu",
            generator=order,
            augmentation=digits.augmentation,
        )
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x.to(memory_format=layout)), y).backward()
            optimizer.step()
    assert same_weights(ours, model)


def test_it_learns(digits):
    done = training(digits, recipe=Recipe(epochs=12, batch_size=32), epochs=12).fit()
    assert evaluate(done.model, digits.test, digits, Runtime("cpu"), "fp32") > 0.8


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(digits, stop_after):
    whole = training(digits).fit()
    saved = []

    def save(checkpoint, _model):
        saved.append(checkpoint)
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(digits, save=save).fit()
    resumed = training(digits, model=network(seed=99))
    resumed.resume(saved[-1])
    resumed.fit()
    assert same_weights(resumed.model, whole.model)
    assert resumed.progress.history == whole.progress.history
    assert resumed.progress.compute == whole.progress.compute


def fisher(target):
    return Fisher(every=2, removals=target)


def test_a_continued_trajectory_is_the_direct_one_to_the_bit(digits):
    """Pausing at a budget, in the middle of an epoch, leaves no trace in what follows."""
    recipe = Recipe(epochs=10, batch_size=64).for_tuning(0.01)
    direct_method, saved = fisher(8), []

    def save(checkpoint, model):
        saved.append((checkpoint, model.widths))

    direct = training(digits, recipe=recipe, method=direct_method, epochs=None).fit()
    paused = training(digits, recipe=recipe, method=fisher(3), epochs=None, save=save).fit()
    assert paused.progress.batch > 0  # within an epoch
    checkpoint, widths = saved[-1]
    small = Architecture.of(network()).with_widths(widths).build(seed=0)
    on_method = fisher(8)
    on = training(digits, model=small, recipe=recipe, method=on_method, epochs=None)
    on.resume(checkpoint)
    on.fit()
    assert on_method.removed == direct_method.removed
    assert len(on_method.removed) == 8
    assert same_weights(on.model, direct.model)
    assert on.progress.history == direct.progress.history
    assert on.progress.compute == direct.progress.compute


def test_compute_counts_examples_times_three_times_macs(digits):
    done = training(digits, epochs=2).fit()
    # 270 training images in batches of 64: 4 whole and one of 14. MACs of WRN-10-0.5 at 8x8x1, by hand:
    # stem 64*9*8 ... the network's own count is tested against torch elsewhere.
    assert len(digits.train) == 270
    assert done.progress.compute == 2 * 270 * 3 * Architecture.of(network()).macs


def test_history_has_a_row_for_every_epoch(digits):
    rows = training(digits).fit().progress.history
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"epoch", "loss", "train_accuracy", "val_accuracy", "lr", "params"}
    assert all(0 <= row["train_accuracy"] <= 1 and row["loss"] > 0 for row in rows)


def test_accuracy_counts_every_example_of_a_short_last_batch(digits):
    model = network().eval()
    x = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
    expected = (model(x).argmax(1) == digits.test.labels).sum().item() / 500
    assert evaluate(model, digits.test, digits, Runtime("cpu"), "fp32") == pytest.approx(expected, abs=1e-9)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_epoch(digits):
    saved = []

    def save(checkpoint, _model):
        saved.append(checkpoint)
        torch.nn.init.constant_(run.model.stem.weight, math.inf)  # what a diverged step leaves

    run = training(digits, save=save)
    with pytest.raises(
        TrainingError, match=r"not finite in epoch 2 .*last good checkpoint is that of epoch 1"
    ):
        run.fit()
    assert [checkpoint.state["progress"]["epoch"] for checkpoint in saved] == [1]


def test_an_absurd_rate_is_named_in_the_first_epoch(digits):
    with pytest.raises(TrainingError, match=r"epoch 1 .*rate 1e\+30.*no epoch was finished"):
        training(digits, recipe=Recipe(epochs=3, batch_size=64, lr=1e30)).fit()


def test_bf16_trains_close_to_fp32_and_keeps_float32_weights(digits):
    recipe = Recipe(epochs=2, batch_size=64, precision="bf16")
    done = training(digits, recipe=recipe, epochs=2).fit()
    reference = training(digits, epochs=2).fit()
    assert next(done.model.parameters()).dtype == torch.float32
    assert done.progress.history[0]["loss"] == pytest.approx(reference.progress.history[0]["loss"], rel=0.05)
    assert not same_weights(done.model, reference.model)


def test_training_spares_the_global_generator(digits):
    torch.manual_seed(11)
    expected = torch.rand(2)
    run = training(digits, model=network(), epochs=1)
    torch.manual_seed(11)
    run.fit()
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("cpu:1", "takes no number"),
        ("cuda:99", r"finds no CUDA GPU|does not exist"),
    ],
)
def test_devices_that_are_not_there_are_refused(device, message):
    with pytest.raises(InputError, match=message):
        Runtime(device)


def test_unknown_precision_is_refused():
    with pytest.raises(InputError, match="unknown precision 'fp16'"):
        Recipe(precision="fp16")


def test_the_runtime_knows_every_precision_of_a_recipe():
    assert tuple(AUTOCAST) == PRECISIONS
    x = torch.ones(2, 2)
    for precision, kind in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        with Runtime("cpu").autocast(precision):
            assert (x @ x).dtype == kind


@pytest.mark.parametrize(
    ("train", "val", "every"), [(900, 100, 2), (1167, 130, 2), (990, 10, 1), (100, 100, 17)]
)
def test_validation_costs_at_most_a_fiftieth_of_training(digits, train, val, every):
    splits = {"train": train, "val": val}
    sized = replace(digits, **{name: Split(*repeated(digits.train, n)) for name, n in splits.items()})
    assert validated_every(sized) == every
    assert every == 1 or val / (3 * train * every) <= VALIDATION < val / (3 * train * (every - 1))


def repeated(split, n):
    index = torch.arange(n) % len(split)
    return split.images[index], split.labels[index]


def test_the_last_epoch_is_always_validated(digits):
    every = validated_every(digits)
    assert every > 1
    rows = training(digits, recipe=replace(SMALL, epochs=every + 1), epochs=every + 1).fit().progress.history
    known = [row["epoch"] for row in rows if row["val_accuracy"] is not None]
    assert known == [1, every, every + 1]


def test_where_the_accuracy_is_followed_every_epoch_is_validated(digits):
    rows = training(digits, recipe=STAGNANT, epochs=4).fit().progress.history
    assert all(row["val_accuracy"] is not None for row in rows)
