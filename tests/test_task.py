"""What a network is for: losses, metrics, and the refusal of what a loss would silently get wrong."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, f1_score, mean_squared_error, r2_score
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.errors import InputError
from secateur.network.callables import describe_callable
from secateur.network.task import ACCURACY, CLASSIFICATION, METRICS, Metric, Task
from secateur.records.measure import Measure
from secateur.training.evaluation import joined, metrics_on

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0], [-1.0, 0.0, 3.0], [1.0, 2.0, 0.0]])
CLASSES = torch.tensor([0, 1, 2, 0])
NUMBERS = torch.tensor([0.5, 1.5, -2.0, 7.0])
LABELS = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
TASKS = "one of: classification, multilabel, regression"


# The built-in tasks


def numbers(shape):
    """Whole ones, so that the spread of a constant column is exactly 0."""
    return arrays.arrays(np.int64, shape, elements=st.integers(-100, 100)).map(
        lambda found: found.astype(float)
    )


@settings(max_examples=40)
@given(st.data(), st.integers(2, 12), st.integers(2, 4))
def test_the_metrics_are_those_of_scikit_learn(data, examples, labels):
    scores = torch.from_numpy(data.draw(numbers((examples, labels))))
    true = torch.from_numpy(
        data.draw(arrays.arrays(np.int64, (examples, labels), elements=st.integers(0, 1)))
    )
    said = (scores > 0).long()
    expected = f1_score(true, said, average="micro", zero_division=0.0)
    assert METRICS["micro-f1"](scores, true) == pytest.approx(expected)
    right = accuracy_score(true.flatten(), said.flatten())
    assert METRICS["label-accuracy"](scores, true) == pytest.approx(right)
    values = torch.from_numpy(data.draw(numbers((examples, labels))))
    squared = mean_squared_error(values, scores)
    assert METRICS["rmse"](scores, values) == pytest.approx(squared**0.5, rel=1e-6, abs=1e-9)
    r2 = METRICS["r2"](scores, values)
    assert r2 == pytest.approx(r2_score(values, scores), rel=1e-6, abs=1e-6)
    chosen = scores.argmax(1)
    assert ACCURACY(scores, true[:, 0]) == pytest.approx(accuracy_score(true[:, 0], chosen))


def test_the_losses_are_the_known_ones():
    assert CLASSIFICATION.loss(SCORES, CLASSES) == F.cross_entropy(SCORES, CLASSES)
    assert CLASSIFICATION.loss({"logits": SCORES}, CLASSES.to(torch.int16)) == F.cross_entropy(
        SCORES, CLASSES
    )
    bce = F.binary_cross_entropy_with_logits(SCORES, LABELS.float())
    assert Task.named("multilabel").loss(SCORES, LABELS) == bce
    # (2 - 0.5)**2 = 2.25, (0 - 1.5)**2 = 2.25, (-1 + 2)**2 = 1, (1 - 7)**2 = 36; the mean is 10.375
    assert Task.named("regression").loss(SCORES[:, 0], NUMBERS) == pytest.approx(10.375)
    assert Task.named("regression").loss(SCORES[:, :1], NUMBERS) == pytest.approx(10.375)


def test_a_column_is_never_broadcast_against_a_row():
    """(N, 1) against (N,) would be N * N differences: torch only warns."""
    regression = Task.named("regression")
    assert regression.loss(NUMBERS[:, None], NUMBERS) == 0
    assert regression.metric(NUMBERS[:, None], NUMBERS) == 0
    assert regression.also[0](NUMBERS, NUMBERS[:, None]) == 1
    binary = Task.named("multilabel")
    assert binary.metric(torch.tensor([[3.0], [-3.0]]), torch.tensor([1, 0])) == 1


def test_probabilities():
    assert CLASSIFICATION.probabilities((SCORES,)).sum(1).tolist() == pytest.approx([1.0] * 4)
    assert Task.named("multilabel").probabilities(torch.zeros(1, 2)).tolist() == [[0.5, 0.5]]
    assert Task.named("regression").probabilities(NUMBERS) is NUMBERS


def test_soft_and_ignored_labels():
    soft = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
    CLASSIFICATION.check(soft, SCORES)
    maps, labels = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[0, 0] = -100
    CLASSIFICATION.check(labels, maps)
    right = (maps.argmax(1) == labels)[labels >= 0].float().mean()
    assert ACCURACY(maps, labels) == pytest.approx(float(right))


# What a loss would silently get wrong

WRONG = [
    ("classification", NUMBERS, SCORES, r"fractions \(4,\) for scores \(4, 3\): pass task='regression'"),
    (
        "classification",
        NUMBERS,
        SCORES[:, :1],
        r"one score .* always 0.*task='multilabel'.*task='regression'",
    ),
    ("classification", NUMBERS, SCORES[:, 0], r"one score for each of at least two classes.*got \(4,\)"),
    ("classification", LABELS, SCORES, r"class numbers \(N,\), got whole numbers .*task='multilabel'"),
    ("classification", LABELS.float(), SCORES, r"a row that sums to 3: pass task='multilabel'"),
    ("classification", SCORES, SCORES, "a row that sums to"),
    ("classification", CLASSES + 1, SCORES, r"must lie in 0\.\.2.*got 3: number the classes from 0"),
    ("classification", CLASSES - 1, SCORES, r"must lie in 0\.\.2.*got -1"),
    ("classification", CLASSES - 100, SCORES, r"must lie in 0\.\.2.*got -100"),
    ("classification", CLASSES[:, None], SCORES, r"class numbers \(4,\), got \(4, 1\)"),
    ("classification", CLASSES, SCORES.softmax(1), r"before softmax.*leave the softmax out"),
    ("classification", [0, 1, 2, 0], SCORES, "are a tensor, got list"),
    ("multilabel", CLASSES, SCORES, r"0 or 1 for every label, \(N, K\), got \(4,\) for an output \(4, 3\)"),
    ("multilabel", LABELS * 2, SCORES, "got 2: pass task='classification'"),
    ("regression", SCORES[:, :2], SCORES[:, :1], r"got \(4, 2\) for an output \(4, 1\)"),
    ("regression", NUMBERS * torch.nan, SCORES[:, 0], "must be finite"),
]


@pytest.mark.parametrize(("task", "targets", "output", "message"), WRONG)
def test_what_the_loss_would_get_wrong_is_refused(task, targets, output, message):
    with pytest.raises(InputError, match=message) as caught:
        Task.named(task).check(targets, output)
    assert "\n" not in str(caught.value)


def network(scores=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, scores))


X = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
CASES = {
    "float": (torch.rand(16), {}, "task='regression'"),
    "multi-hot": (torch.randint(0, 2, (16, 4)), {}, "task='multilabel'"),
    "out of range": (torch.full((16,), 4), {}, r"must lie in 0\.\.3"),
    "class numbers": (torch.zeros(16, dtype=torch.int64), {"task": "multilabel"}, "0 or 1 for every label"),
}


@pytest.mark.parametrize("case", CASES)
def test_prune_refuses_before_anything_is_trained(case):
    targets, given, message = CASES[case]
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        sc.prune(model, budget="params=70%", data=[(X, targets)], every=1, **given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


BAD_LOSSES = {
    "each example's": (lambda out, y: F.cross_entropy(out, y, reduction="none"), r"got a tensor of \[16\]"),
    "a number of Python's": (lambda out, y: 1.0, "got float"),
    "cut off": (lambda out, y: F.cross_entropy(out.detach(), y), "has no gradient"),
    "failing": (lambda out, y: out["scores"], "failed on the first batch with IndexError"),
    "infinite": (lambda out, y: out.sum() / 0, "the loss of the first batch is"),
}


@pytest.mark.parametrize("case", BAD_LOSSES)
def test_prune_refuses_a_loss_that_is_none(case):
    loss, message = BAD_LOSSES[case]
    with pytest.raises(InputError, match=message):
        sc.prune(
            network(), budget="params=70%", data=[(X, torch.zeros(16, dtype=torch.int64))], every=1, loss=loss
        )


def test_prune_refuses_a_later_batch():
    data = [(X, torch.zeros(16, dtype=torch.int64)), (X, torch.rand(16))]
    with pytest.raises(InputError, match="task='regression'"):
        sc.prune(network(), budget="params=30%", data=data, every=1)


@pytest.mark.parametrize("column", [True, False])
def test_prune_for_a_regression(column):
    model, x = network(1), torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=column)
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    sc.prune(model, budget="params=60%", data=batches, task="regression", every=2, lr=0.02, tune_epochs=30)
    assert float((model(x) - x.sum(1, keepdim=True)).detach().square().mean()) < 0.5  # of 5 before


def test_prune_measures_before_and_after(capsys):
    model, x = network(1), torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
    y = x.sum(1)
    with torch.no_grad():
        before = float((model(x).squeeze(1) - y).square().mean().sqrt())
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)]
    settings = {"budget": "params=60%", "every": 2, "lr": 0.02, "tune_epochs": 30}
    sc.prune(model, data=batches, task="regression", val=batches, **settings)
    after = float((model(x).squeeze(1) - y).detach().square().mean().sqrt())
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "on val" in line]
    found = re.fullmatch(r"on val: rmse (\S+), r2 \S+ before, rmse (\S+), r2 \S+ after", line)
    assert [float(number) for number in found.groups()] == pytest.approx([before, after], rel=1e-3)


def test_a_metric_for_nothing_is_refused():
    for wrong, message in (({"metric": "rmse"}, "measured on val="), ({"val": []}, "val holds no batch")):
        with pytest.raises(InputError, match=message):
            sc.prune(network(), budget="params=60%", data=[(X, CASES["class numbers"][0])], **wrong)
    with pytest.raises(InputError, match="loss= needs metric="):
        sc.prune(network(), budget="params=60%", data=[(X, NUMBERS)], loss=F.l1_loss, val=[(X, NUMBERS)])


# A user's own


def test_own_losses_and_metrics():
    assert Task.of() is CLASSIFICATION
    assert Task.of("regression").metric.name == "rmse"
    own = Task.of(None, F.l1_loss, (lambda outputs, targets: 1, "min"))
    assert (own.name, own.metric.name, own.metric.higher_is_better) == ("custom", "metric", False)
    assert Task.of("multilabel", metric="label-accuracy").metric is METRICS["label-accuracy"]
    assert Task.of(metric=(max, "max")).loss is CLASSIFICATION.loss
    own.check("anything", "at all")


REFUSED = [
    ({"loss": F.l1_loss}, "loss= needs metric="),
    ({"loss": 3, "metric": "rmse"}, "loss is a function of .* got int"),
    ({"task": "segmentation"}, "unknown task 'segmentation'"),
    ({"metric": "rsme"}, "unknown metric 'rsme': did you mean 'rmse'"),
    ({"metric": max}, r"a function with its direction, \(function, 'max'\).*got max"),
    ({"metric": (max, "up")}, "unknown direction of a metric 'up'"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_is_no_task_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        Task.of(**given)


def test_a_metric_is_one_number():
    assert Metric("mean", lambda outputs, targets: outputs.mean())(SCORES, None) == pytest.approx(0.4583333)
    with pytest.raises(InputError, match=r"the metric all must give one number, got a tensor of \[4, 3\]"):
        Metric("all", lambda outputs, targets: outputs)(SCORES, None)


def test_values_for_people():
    dice = Measure(name="dice", higher_is_better=True, fraction=False)
    error = Measure(name="rmse", higher_is_better=False, fraction=False)
    assert [ACCURACY.shown(0.83), dice.shown(0.831234), error.shown(12345.6)] == [
        "83.0%",
        "dice 0.8312",
        "rmse 12,346",
    ]
    assert dice.better(2, 1)
    assert error.better(1, 2)
    assert not error.better(2, 2)
    assert error.best([3.0, 1.0, 2.0]) == 1.0


# What tells one function from another


def shifted(by):
    return lambda outputs, targets: (outputs - targets - by).mean()


FACTOR = 2


def scaled(outputs, targets):
    return FACTOR * (outputs - targets).mean()


def powered(outputs, targets, power=2):
    return (outputs - targets).abs().pow(power).mean()


class Weighted(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight))

    def forward(self, output, targets):
        return (self.weight * (output - targets)).mean()


def test_functions_that_compute_something_else_are_described_otherwise(monkeypatch):
    made = [
        *(shifted(1), shifted(2), scaled, powered, functools.partial(powered, power=3)),
        *(nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.BCEWithLogitsLoss()),
        *(Weighted([1.0, 2.0]), Weighted([1.0, 3.0]), F.l1_loss, F.mse_loss),
        *(lambda o, t: o.mean(), lambda o, t: o.sum()),
    ]
    codes = [describe_callable(function)["code"] for function in made]
    assert [code for code, times in Counter(codes).items() if times > 1] == []
    again = describe_callable(scaled)
    monkeypatch.setitem(globals(), "FACTOR", 3)
    assert describe_callable(scaled) != again
    assert describe_callable(Weighted([1.0, 2.0])) == describe_callable(Weighted([1.0, 2.0]))
    assert describe_callable(shifted(1)) == describe_callable(shifted(1))
    assert describe_callable(powered)["name"] == "test_task:powered"


def test_the_default_task_is_in_no_identity():
    """So that runs from before there were tasks keep their ids."""
    assert CLASSIFICATION.identity() == {}
    regression = {"task": {"loss": {"name": "regression"}, "metric": {"name": "rmse"}}}
    assert Task.named("regression").identity() == regression
    own = Task.of(None, F.l1_loss, (scaled, "min")).identity()
    assert json.loads(json.dumps(own)) == own
    assert own != Task.of(None, F.l1_loss, (scaled, "max")).identity()


class Ragged(nn.Module):
    """Gives as many numbers for an example as it is long."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.scale * x


def test_metrics_of_batches_whose_outputs_differ_in_shape():
    """The mean over the examples; all of them together would have no shape."""
    batches = [(torch.ones(1, 3), torch.ones(1, 3)), (torch.full((3, 5), 2.0), torch.ones(3, 5))]

    def error(outputs, targets):
        return (outputs - targets).mean()

    found = metrics_on(Ragged(), batches, [Metric("error", error, batchwise=True)], Task.named("regression"))
    assert found == {"error": (1 * 1.0 + 3 * 3.0) / 4}
    with pytest.raises(InputError, match=r"differ in shape.*sc.Metric\(name, function, batchwise=True\)"):
        metrics_on(Ragged(), batches, [Metric("error", error)], Task.named("regression"))


def test_outputs_are_joined_however_they_are_wrapped():
    parts = [{"a": (torch.ones(2, 1), torch.zeros(2)), "loss": torch.tensor(float(i))} for i in range(2)]
    whole = joined(parts)
    assert whole["a"][0].shape == (4, 1)
    assert whole["a"][1].shape == (4,)
    assert whole["loss"] == 0
