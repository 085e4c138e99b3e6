"""Runs that fail: what is not finite is never a result, and one failed arm does not cost the others."""

from __future__ import annotations

import json
from pathlib import Path

import made
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.device import Runtime
from secateur.errors import InputError, TrainingError
from secateur.methods import ChannelPruning
from secateur.network.metrics import ACCURACY
from secateur.training.evaluation import measure_and_score
from secateur.training.finite import not_finite, unsure
from secateur.training.loop import Training

# What is not finite


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))


def test_the_first_number_that_is_none_is_named():
    model = net()
    assert not_finite(model) is None
    model[1].running_var[2] = torch.inf
    assert not_finite(model) == "1.running_var"
    model[3].bias.data[0] = torch.nan
    assert not_finite(model) == "3.bias"
    masked = nn.Linear(2, 2)
    masked.register_buffer("mask", torch.full((2, 2), -torch.inf))
    assert not_finite(masked) is None
    masked.weight.requires_grad_(False)[0, 0] = torch.inf  # of somebody's own making, and never stepped
    assert not_finite(masked) is None
    masked.weight[0, 0] = torch.nan
    assert not_finite(masked) == "weight"


def test_scores_that_no_class_can_lead_are_counted():
    inf, nan = torch.inf, torch.nan
    scores = torch.tensor([[1.0, 2.0], [-inf, 3.0], [nan, 1.0], [inf, 1.0], [-inf, -inf]])
    assert unsure(scores) == 3
    maps = torch.zeros(2, 3, 4, 4)
    maps[1, 0, 2] = nan
    assert unsure(maps) == 1


@pytest.fixture
def last_step_of_nan(monkeypatch):
    """Of a training by epochs: the gradient of its very last step is NaN, and the loss before it finite."""
    update = Training._update

    def harmed(training: Training) -> None:
        progress, per_epoch = training.progress, training.batches.per_epoch()
        if progress.epoch * per_epoch + progress.batch + 1 == (training.epochs or 0) * per_epoch:
            next(training.model.parameters()).grad.fill_(torch.nan)
        update(training)

    monkeypatch.setattr(Training, "_update", harmed)


def test_nan_in_the_very_last_step_is_in_no_checkpoint(digits, last_step_of_nan):
    saved = []
    training = made.training(digits, save=lambda checkpoint, _: saved.append(checkpoint.state["progress"]))
    with pytest.raises(TrainingError, match=r"the weights are not finite after step 5 of epoch 3 \(stem.weight"):
        training.fit()
    assert [state["epoch"] for state in saved] == [1, 2]


@pytest.mark.parametrize("command", ["train", "prune fisher --budget params=80%", "prune l1 --budget nonzeros=9%"])
def test_nan_in_the_very_last_step_is_no_record(run, tmp_path, last_step_of_nan, command):
    """It was 10.0%, with exit code 0."""
    small = "--model wrn-10-0.5 --data digits --limit-train 200 --epochs 1 --device cpu"
    code, _, error = run(f"{command} {small} --out {tmp_path / 'out'}")
    assert code == 1
    assert "the weights are not finite after step" in error
    assert "the last step" not in error
    assert not [*(tmp_path / "out").rglob("record.json")]


def test_a_loop_of_ones_own_gets_no_network_of_nan(monkeypatch):
    after_step = ChannelPruning.after_step

    def harmed(pruning, model, optimizer):
        model = after_step(pruning, model, optimizer)
        if pruning.finished:
            model[3].bias.data.fill_(torch.nan)
        return model

    monkeypatch.setattr(ChannelPruning, "after_step", harmed)
    batch = (torch.randn(8, 1, 8, 8), torch.randint(0, 10, (8,)))
    with pytest.raises(TrainingError, match=r"the weights are not finite after the last step \(3.bias\)"):
        sc.prune(net(), method="filter-norm", budget="params=80%", data=[batch], every=1)


def test_finite_weights_whose_scores_overflow_are_no_result(digits):
    """They would be told apart from a network that knows nothing by nobody: 10.0% each."""
    huge = net()
    for parameter in huge[1].parameters():
        nn.init.constant_(parameter, 3e38)
    assert not_finite(huge) is None
    with pytest.raises(TrainingError, match=r"no finite scores for 500 of 500 examples: its numbers"):
        measure_and_score(huge, digits.test, digits, Runtime("cpu"), "fp32", (ACCURACY,))
