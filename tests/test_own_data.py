"""`compare` on a user's own loaders, under their own loss, metric and optimizer."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import secateur as sc
from secateur.compare.results import best_point, load_results
from secateur.compare.settings import Settings
from secateur.data import epoch_batches
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.network.described import without_values
from secateur.progress import LineReporter, Reporter
from secateur.records.measure import Measure
from secateur.runs.store import RunStore
from secateur.training.batches import LoadedBatches
from secateur.training.chance import seeded
from secateur.training.loaders import Loaders
from secateur.training.recipe import Recipe
from secateur.training.state import Progress

CPU = Runtime("cpu")
ERROR = Measure(name="rmse", higher_is_better=False, fraction=False)


def numbers(count=60, seed=0):
    """Of which the label is whether the sum is above 0."""
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(1) > 0).long())


def three(make=numbers, batch=15):
    return (
        DataLoader(make(60, 0), batch_size=batch, shuffle=True),
        DataLoader(make(30, 1), batch_size=15),
        DataLoader(make(30, 2), batch_size=15),
    )


def mlp(outputs=2):
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, outputs))


def adam(groups):
    return torch.optim.AdamW(groups, lr=1e-2)


@pytest.fixture(autouse=True)
def _no_page(monkeypatch, request):
    """Drawing one takes longer than all that is trained here."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr("secateur.compare.results.rewrite_report", lambda *_: None)


@pytest.fixture
def page(tmp_path):
    """Says that the test wants the page drawn; its path."""
    return tmp_path / "report.html"


def compare(out, model=mlp, data=None, **changes):
    settings = {
        **{"budgets": ["params=60%"], "arms": ["width"], "epochs": 2, "prune_every": 1, "device": "cpu"},
        **{"optimizer": adam, "out": out, "workers": 1},
    }
    return sc.compare(model, data=data or three(), **{**settings, **changes})


# Chance


class Noisy(Dataset):
    """Draws from every global generator for each example."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        drawn = [torch.rand(()), torch.tensor(np.random.rand()), torch.tensor(random.random())]
        return torch.stack([each.float() for each in drawn]), index


def drawn(loader, seed, disturbed=False):
    found = []
    for x, y in seeded(loader, seed):
        found.append((x.tolist(), y.tolist()))
        if disturbed:
            torch.rand(3)
            np.random.rand(3)
            random.random()
    return found


@pytest.mark.parametrize("generator", [None, torch.Generator()])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_epoch_is_a_function_of_its_seed(generator, workers):
    loader = DataLoader(Noisy(), batch_size=2, shuffle=True, generator=generator, num_workers=workers)
    first = drawn(loader, 7)
    assert drawn(loader, 7, disturbed=True) == first
    assert drawn(loader, 8) != first
    assert sorted(y for _, labels in first for y in labels) == list(range(6))
    noise = {number for batch, _ in first for example in batch for number in example}
    assert len(noise) == 18  # chance goes on from batch to batch


def test_the_users_own_chance_goes_on_as_it_was():
    def own():
        return float(torch.rand(())), float(np.random.rand()), random.random()

    for seed_all in (torch.manual_seed, np.random.seed, random.seed):
        seed_all(3)
    expected = [own() for _ in range(3)]
    for seed_all in (torch.manual_seed, np.random.seed, random.seed):
        seed_all(3)
    found = [
        own() for _ in zip(seeded(DataLoader(Noisy(), batch_size=2, shuffle=True), 0), "ab", strict=False)
    ]
    assert [*found, own()] == expected


def test_a_later_batch_without_those_before_it():
    loaders = Loaders(*three())
    loaders.count(lambda batch: None)
    batches = LoadedBatches(loaders, 0, CPU)
    whole = [x.tolist() for x, _ in batches.of_epoch(2, 0, torch.contiguous_format)]
    rest = [x.tolist() for x, _ in batches.of_epoch(2, 3, torch.contiguous_format)]
    assert len(whole) == batches.per_epoch() == 4
    assert rest == whole[3:]
    assert [x.tolist() for x, _ in batches.of_epoch(3, 0, torch.contiguous_format)] != whole


# Loaders


class Once(IterableDataset):
    def __init__(self):
        self.times = 0

    def __iter__(self):
        self.times += 1
        yield from zip(*numbers(15).tensors, strict=True) if self.times < 4 else ()


def no_data(**changes):
    train, val, test = three()
    return tuple({"train": train, "val": val, "test": test, **changes}.values())


NOT_DATA = [
    (lambda: three()[:2], r"three iterables of \(inputs, targets\), \(train, val, test\); got 2 of them"),
    (lambda: no_data(train=iter(three()[0])), "train must be a DataLoader or a list .* got _SingleProcess"),
    (lambda: no_data(val=3), "val must be a DataLoader or a list .* got int"),
    (lambda: no_data(train=[]), "train holds no batch"),
    (lambda: no_data(test=[]), "test holds no batch"),
    (lambda: no_data(val=[torch.ones(4, 6)]), r"val: a batch is a pair .* got Tensor"),
    (lambda: no_data(train=[(torch.ones(2, 6), torch.ones(2), 1)]), "got 3 items"),
    (lambda: no_data(train=DataLoader(Noisy(), batch_size=2)), "cannot be run on the inputs given"),
    (lambda: no_data(val=[(torch.ones(2, 6), torch.tensor([0, 2]))]), r"class numbers must lie in 0\.\.1"),
    (lambda: no_data(test=[(torch.ones(2, 6), torch.rand(2))]), "task='regression'"),
    (lambda: no_data(train=DataLoader(numbers(), batch_size=59)), "has 1 example, of which batch normal"),
]


@pytest.mark.parametrize(("make", "message"), NOT_DATA)
def test_what_is_no_data_is_refused_before_anything_is_written(make, message, tmp_path):
    def network():
        return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 2))

    with pytest.raises(InputError, match=message) as caught:
        compare(tmp_path / "out", network, make())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_epoch_that_ends_early_stops_the_run(tmp_path):
    with pytest.raises(
        TrainingError, match="train yielded 0 batches in epoch 1, and 1 when they were counted"
    ):
        compare(tmp_path, data=no_data(train=DataLoader(Once(), batch_size=15)))


def test_the_fingerprint_is_of_the_content():
    def fingerprint(data, **settings):
        loaders = Loaders(*data, **settings)
        return loaders.count(lambda batch: None), loaders.fingerprint

    assert fingerprint(three()) == fingerprint(three())
    assert fingerprint(three())[1] != fingerprint(three(batch=20))[1]
    changed = numbers(30, 2)
    changed.tensors[0][29, 5] += 1
    assert fingerprint(no_data(test=DataLoader(changed, batch_size=15))) != fingerprint(three())
    unhashed = [
        fingerprint(no_data(test=DataLoader(test, batch_size=15)), fingerprint="mine")[1]
        for test in (changed, numbers(30, 2), numbers(29, 2))
    ]
    assert unhashed[0] == unhashed[1] != unhashed[2]


def test_chance_that_no_seed_decides_is_said():
    chance = random.SystemRandom()

    class Unseeded(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return torch.full((6,), chance.random()), 0

    loaders = Loaders(DataLoader(Unseeded(), batch_size=2), *three()[1:])
    (note,) = loaders.count(lambda batch: None)
    assert note.startswith("train yields other batches each time, whatever the seed")
    again = Loaders(DataLoader(Unseeded(), batch_size=2), *three()[1:])
    again.count(lambda batch: None)
    assert again.fingerprint == loaders.fingerprint


# The same numbers as the built-in way


class SameOrder:
    """Digits' training images in the order in which our own batches have them."""

    def __init__(self, digits, batch):
        self.x, self.y = next(epoch_batches(digits.train, digits, batch_size=len(digits.train), device="cpu"))
        self.batch = batch

    def __iter__(self):
        order = torch.randperm(len(self.y))
        for first in range(0, len(order), self.batch):
            chosen = order[first : first + self.batch]
            if len(chosen) > 1:
                yield self.x[chosen], self.y[chosen]


def small_conv():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


@pytest.mark.parametrize(
    ("budget", "arms"),
    [("params=50%", ["fisher-tuned", "copycat", "channel-reparametrization"]), ("nonzeros=20%", ["snip"])],
)
def test_loaders_give_the_numbers_of_our_own_images(digits, tmp_path, budget, arms):
    """To the bit: the order, the network, every step and what is measured are the same."""
    recipe = Recipe(epochs=2, batch_size=64, pad=0, flip=False, lr=0.05)
    given = {"budgets": [budget], "arms": arms, "optimizer": None, "epochs": None}
    ours = compare(tmp_path / "ours", small_conv, digits, recipe=recipe, **given)
    loaders = (
        SameOrder(digits, 64),
        *(
            [next(epoch_batches(split, digits, batch_size=999, device="cpu"))]
            for split in (digits.val, digits.test)
        ),
    )
    plain = Recipe(epochs=2, lr=0.05)
    own = compare(tmp_path / "own", small_conv, loaders, recipe=plain, **given)
    assert len(ours.points) == len(own.points) == len(arms)
    for one, other in zip(ours.points, own.points, strict=True):
        assert (one.accuracy, one.val_accuracy, one.params) == (
            other.accuracy,
            other.val_accuracy,
            other.params,
        )
        assert one.train_compute == other.train_compute
        histories = [RunStore(result.directory).record(point.run_id).history
                     for result, point in ((ours, one), (own, other))]  # fmt: skip
        assert histories[0] == histories[1]


# Any network, any data


class Text(nn.Module):
    """Takes tokens and how many count, by name."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.recurrent = nn.GRU(8, 8, batch_first=True)
        self.hidden, self.out = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, tokens, counted):
        read, _ = self.recurrent(self.embedding(tokens))
        there = torch.arange(tokens.shape[1]) < counted[:, None]
        mean = (read * there[..., None]).sum(1) / counted[:, None]
        return {"logits": self.out(torch.relu(self.hidden(mean)))}


def sentences(count, seed):
    """Whether most tokens are of the first ten; batches of dictionaries."""
    chance = torch.Generator().manual_seed(seed)
    tokens = torch.randint(20, (count, 5), generator=chance)
    counted = torch.randint(3, 6, (count,), generator=chance)
    there = torch.arange(5) < counted[:, None]
    labels = (((tokens < 10) & there).sum(1) * 2 > counted).long()
    return [
        ({"tokens": tokens[i : i + 16], "counted": counted[i : i + 16]}, labels[i : i + 16])
        for i in range(0, count, 16)
    ]


@pytest.mark.parametrize(
    ("budget", "arms"),
    [
        ("params=92%", ["fisher-tuned", "fisher-scratch", "width"]),
        ("nonzeros=50%", ["magnitude-tuned", "snip", "l1", "reparametrization", "gradual-magnitude"]),
    ],
)
def test_a_text_classifier(tmp_path, budget, arms):
    data = sentences(256, 0), sentences(48, 1), sentences(96, 2)
    result = compare(tmp_path, Text, data, budgets=[budget], arms=arms, epochs=5)
    assert [point.arm for point in result.points] == arms
    # the recurrent layer's 2 * 3 * 8 * (8 + 1), the embedding's 160, 8 * 16 + 16 and 2 * 16 + 2
    assert RunStore(tmp_path).record(result.results.dense[0].run_id).params == 432 + 160 + 144 + 34
    assert max(point.accuracy for point in result.points) > 0.75
    told = json.loads((tmp_path / "best/architecture.json").read_text())["input"]
    assert without_values(told) == {
        "named": {"tokens": {"shape": [5], "dtype": "int64"}, "counted": {"shape": [], "dtype": "int64"}}
    }
    assert told["named"]["counted"]["values"] == [5]  # a length of 0 would be none


class Skips(nn.Module):
    """A U-Net of one level."""

    def __init__(self):
        super().__init__()
        self.down, self.inner = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.back, self.out = nn.Conv2d(12, 6, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        high = torch.relu(self.down(x))
        low = torch.relu(self.inner(F.max_pool2d(high, 2)))
        return self.out(torch.relu(self.back(torch.cat([self.up(low), high], 1))))


def dice_loss(output, targets):
    said, true = output.sigmoid().flatten(1), targets.flatten(1)
    return (1 - (2 * (said * true).sum(1) + 1) / (said.sum(1) + true.sum(1) + 1)).mean()


def dice(outputs, targets):
    said = outputs > 0
    return 2 * (said & (targets > 0)).sum() / (said.sum() + targets.sum())


def squares(count, seed):
    chance = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, 8, 8)
    for mask, (row, column) in zip(masks, torch.randint(0, 5, (count, 2), generator=chance), strict=True):
        mask[0, row : row + 4, column : column + 4] = 1
    return TensorDataset(masks + 0.3 * torch.randn(masks.shape, generator=chance), masks)


def test_a_segmentation_through_all_arms_that_suit(tmp_path, page):
    given = {"loss": dice_loss, "metric": (dice, "max"), "epochs": 4}
    result = compare(tmp_path, Skips, three(squares), budgets=["macs=60%"], arms=[], **given)
    arms = ["fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck", "channel-reparametrization"]
    assert [point.arm for point in result.points] == arms
    # 8 * 8 * (9 * 6 + 9 * 12 * 6 + 6) + 4 * 4 * (9 * 6 * 8 + 4 * 8 * 6): the whole network's
    dense = result.results.dense[0]
    assert dense.macs == 64 * (54 + 648 + 6) + 16 * (432 + 192)
    assert all(0.2 < point.accuracy <= 1 and point.macs <= 0.6 * dense.macs for point in result.points)
    assert load_results(tmp_path).measure == Measure(name="dice", higher_is_better=True, fraction=False)
    shown = result.results.settings
    assert (shown["loss"], shown["optimizer"]) == ("test_own_data:dice_loss", "test_own_data:adam")
    assert shown["metric"] == "dice (higher is better)"
    assert "dice on the test split" in (shown := page.read_text())
    assert '<h2 id="h-accuracy">Dice against MACs</h2>' in shown
    assert "ccuracy on the test split" not in shown
    assert "%" not in result.verdict.replace("macs=60%", "")


def pictures(count, seed):
    x = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.mean((1, 2, 3)) > 0.5).long() + 1)


def test_networks_that_we_know_already(tmp_path):
    """By name, with as many scores as the labels number; as an architecture; as an inspected model."""
    named = compare(tmp_path / "named", "conv4", three(pictures), epochs=1)
    record = RunStore(tmp_path / "named").record(named.points[0].run_id)
    assert record.architecture["arguments"]["num_classes"] == 3
    known = sc.Architecture.of(sc.models.conv4(num_classes=3, in_channels=1, image_size=12))
    again = compare(tmp_path / "named", known, three(pictures), epochs=1)
    assert again.points[0].run_id == named.points[0].run_id
    model = mlp()
    sc.inspect(model, torch.randn(4, 6), factory=mlp)
    inspected = compare(tmp_path / "inspected", model)
    assert inspected.points[0].run_id == compare(tmp_path / "inspected").points[0].run_id
    numbered = TensorDataset(*three(pictures)[1].dataset.tensors[:1], torch.full((30,), -1))
    data = (three(pictures)[0], DataLoader(numbered, batch_size=15), three(pictures)[2])
    with pytest.raises(InputError, match=r"class numbers must lie in 0\.\.2"):
        compare(tmp_path / "other", "conv4", data, epochs=1)
    with pytest.raises(InputError, match=r"the model takes .*\[6\].*, train has .*\[1, 12, 12\]"):
        compare(tmp_path / "other", model, three(pictures))


def squared(count, seed):
    x, _ = numbers(count, seed).tensors
    return TensorDataset(x, x.square().sum(1))


def number():
    return mlp(1)


def test_of_an_error_the_lowest_is_the_best(tmp_path):
    result = compare(
        tmp_path, number, three(squared), task="regression", seeds=2, arms=["width", "fisher-tuned"]
    )
    assert result.results.measure == ERROR
    for point in result.points:
        assert point.accuracy > 1  # no fraction
        assert set(point.also) == {"r2"}
        assert point.measure == ERROR
    (judged,) = result.results.verdict.per_budget
    of_arm = {row.arm: row for row in result.results.summary}
    other = ({*of_arm} - {judged.leader}).pop()
    pooled = {arm: row.mean + row.val_mean for arm, row in of_arm.items()}  # the splits are of one size
    assert pooled[judged.leader] < pooled[other]
    best = best_point(result.results)
    assert best.val_accuracy == min(p.val_accuracy for p in result.points if p.arm == result.advice.arm)
    assert "rmse" in judged.text
    assert "%" not in judged.text


def test_schedules_follow_the_direction():
    recipe = Recipe(schedule="plateau", patience=2, early_stop=3)
    progress = Progress()
    for value in (3.0, 2.0, 2.5, 2.0, 1.0, 1.5):
        progress.close_epoch({"val_accuracy": value}, recipe, ERROR)
    assert (progress.best, progress.stale, progress.drops) == (1.0, 1, 1)
    falling = Progress()
    for value in (3.0, 2.0, 1.0):
        falling.close_epoch({"val_accuracy": value}, recipe)
    assert (falling.best, falling.stale) == (3.0, 2)


def test_another_metric_on_our_own_images(digits, tmp_path):
    def balanced(outputs, targets):
        right = outputs.argmax(1) == targets
        return torch.stack([right[targets == k].float().mean() for k in range(10)]).mean()

    given = {"metric": (balanced, "max"), "epochs": 1, "workers": 2}
    result = compare(tmp_path, small_conv, digits, **given)
    assert result.results.measure.name == "balanced"
    assert "best" in {path.name for path in tmp_path.iterdir()}


# What is refused


def soft(*_):
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2), nn.Softmax(1))


REFUSED = [
    ({"model": mlp()}, r"sc.inspect\(model, inputs, factory=build\)"),
    ({"model": lambda: 3}, "must return a torch.nn.Module, got int"),
    ({"model": lambda: 1 / 0}, "the factory .* failed with ZeroDivisionError"),
    ({"model": 3}, "a model is a function that builds one, a name, or a network, got int"),
    ({"model": soft}, "before softmax"),
    ({"model": number}, "one score for each of at least two classes"),
    ({"model": "wrn-16-1"}, "classifies images"),
    ({"model": lambda: nn.Linear(5, 2)}, "cannot be run on the inputs given"),
    ({"task": "regression"}, r"of the output's shape, got \(15,\) for an output \(15, 2\)"),
    ({"loss": dice_loss}, "loss= needs metric="),
    (
        {"loss": lambda o, t: o[:, 0], "metric": "rmse"},
        r"one number, got a tensor of \[15\]: end it with .mean",
    ),
    ({"loss": lambda o, t: o.argmax().float(), "metric": "rmse"}, "no gradient"),
    ({"loss": lambda o, t: o.sum() / 0, "metric": "rmse"}, "the loss of the first batch is"),
    ({"loss": lambda o, t: o.nothing, "metric": "rmse"}, "the loss failed .* AttributeError"),
    ({"metric": (lambda o, t: o, "max")}, r"must give one number, got a tensor of \[15, 2\]"),
    (
        {"metric": (lambda o, t: o.nothing, "max")},
        "the metric .* failed on the first batch with AttributeError",
    ),
    ({"optimizer": torch.optim.SGD(mlp().parameters(), lr=1)}, "anew for every network, got SGD"),
    ({"optimizer": lambda groups: 3}, "got int"),
    ({"optimizer": lambda groups: groups.nothing}, "optimizer= failed with AttributeError"),
    ({"recipe": Recipe(pad=2)}, "own loaders augment by themselves, got pad=2"),
    ({"data": "nowhere"}, "nowhere"),
    ({"data": 3}, r"three iterables of \(inputs, targets\), \(train, val, test\); got int"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        compare(tmp_path / "out", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_metric_that_is_no_number_later_stops_the_run(tmp_path):
    def sometimes(outputs, targets):
        return float("nan") if len(targets) == 30 else 1.0

    with pytest.raises(TrainingError, match="the metric sometimes is nan, no finite number"):
        compare(tmp_path, metric=(sometimes, "max"))


# What a run is


def counted(monkeypatch):
    started = []
    monkeypatch.setattr(Reporter, "run_started", lambda self, label, compute: started.append(label))
    return started


def test_runs_are_kept_while_nothing_changes(tmp_path, monkeypatch):
    started = counted(monkeypatch)
    losses = [lambda o, t, power=power: F.cross_entropy(o, t).pow(power) for power in (1, 1, 2)]
    for loss in losses:
        compare(tmp_path, loss=loss, metric="accuracy")
    assert len(started) == 2  # the third loss computes something else
    compare(tmp_path, loss=losses[0], metric="accuracy", optimizer=lambda groups: adam(groups))
    compare(
        tmp_path, data=no_data(train=DataLoader(numbers(), batch_size=15)), loss=losses[0], metric="accuracy"
    )
    assert len(started) == 4


INTERRUPTING = []


def interrupted_loss(output, targets):
    """Breaks off at its last number, once."""
    INTERRUPTING.append(1)
    if len(INTERRUPTING) == 10 and torch.is_grad_enabled():
        raise KeyboardInterrupt
    return F.cross_entropy(output, targets)


def dropping():
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 2))


def test_an_interrupted_comparison_goes_on_to_the_same_numbers(tmp_path):
    given = {"loss": interrupted_loss, "metric": "accuracy", "epochs": 4, "arms": ["width", "fisher-tuned"]}
    INTERRUPTING.extend([1] * 10)  # past it
    whole = compare(tmp_path / "whole", dropping, **given)
    INTERRUPTING.clear()
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path / "broken", dropping, **given)
    runs = tmp_path / "broken/runs"
    assert any((path / "checkpoint.safetensors").is_file() for path in runs.iterdir())
    assert not any((path / "record.json").is_file() for path in runs.iterdir())
    again = compare(tmp_path / "broken", dropping, **given)
    numbers_of = [
        [(p.arm, p.accuracy, p.val_accuracy, p.run_id, p.train_compute) for p in result.points]
        for result in (whole, again)
    ]
    assert numbers_of[0] == numbers_of[1]


def test_loaders_stay_in_this_process(tmp_path, capsys):
    compare(tmp_path, workers=2, arms=["width", "fisher-tuned"], reporter=LineReporter())
    assert "one run after the other: a user's own loaders stay in this process" in capsys.readouterr().out


def pretrained():
    model = mlp()
    model[0].weight.data = torch.linspace(-1, 1, 72).view(12, 6)
    return model


def test_a_factory_that_gives_weights_is_known_by_them(tmp_path):
    """Its whole network is tuned from them, and other weights are another run."""
    known = sc.compare(pretrained, data=three(), budgets=["params=60%"], arms=["fisher-tuned"], epochs=1,
                       prune_every=1, device="cpu", out=tmp_path / "one")  # fmt: skip
    record = RunStore(tmp_path / "one").record(known.results.dense[0].run_id)
    assert "start" in record.architecture
    fresh = compare(tmp_path / "two", arms=["fisher-tuned"])
    assert "start" not in RunStore(tmp_path / "two").record(fresh.results.dense[0].run_id).architecture


def test_settings_carry_the_default_terms():
    assert Settings((sc.Budget.parse("params=50%"),)).terms.identity() == {}


def test_the_page_on_it(tmp_path, monkeypatch, capsys):
    """docs/your-own.md, as it stands."""
    text = (Path(__file__).parents[1] / "docs/your-own.md").read_text()
    code, _detector = re.findall(r"```python\n(.*?)```", text, re.DOTALL)  # the latter needs torchvision
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/your-own.md", "exec"), {"__name__": "your_own"})  # our own text
    assert "params=50%" in capsys.readouterr().out
    measure = load_results(tmp_path / "own").measure
    assert measure == Measure(name="median_error", higher_is_better=False, fraction=False)
