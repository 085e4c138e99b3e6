"""The arm `channel-reparametrization`, by real runs on the embedded digits."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import foreign
import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.budget import COUNTERS, TRAINABLE, Limits
from secateur.device import Runtime
from secateur.progress import Reporter
from secateur.runs.gate_channels import GateChannels
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.run import epoch_compute
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

RECIPE = Recipe(epochs=4, batch_size=64, lr=0.05)


class Breaks(Reporter):
    """Ctrl-C after an epoch."""

    def __init__(self, after):
        self.after = after

    def epoch(self, row):
        if row["epoch"] == self.after:
            raise KeyboardInterrupt


def gated(architecture, data, limits):
    return GateChannels(architecture=architecture, data=data, recipe=RECIPE, seed=0, label="x", limits=limits)


def of_others():
    """The architecture of a network that is not ours, with streams and zero-padded shortcuts."""
    build = partial(foreign.PaddedResNet, in_channels=1)
    model = build()
    sc.inspect(model, torch.zeros(4, 1, 8, 8).uniform_(), factory=build)
    return sc.Architecture.of(model), build


@pytest.mark.parametrize(("after", "ours"), [(1, True), (2, True), (3, True), (1, False), (3, False)])
def test_broken_off_before_or_behind_the_cut_it_ends_the_same(digits, tmp_path, after, ours):
    architecture, factory = (resolve_model("wrn-10-1", digits), None) if ours else of_others()
    run = gated(architecture, digits, Limits.at({"params": architecture.params // 3}))

    def make(folder, reporter):
        return Session(RunStore(tmp_path / folder), Runtime("cpu"), reporter).make(run)

    with pytest.raises(KeyboardInterrupt):
        make("broken", Breaks(after))
    resumed, whole = make("broken", Reporter()), make("whole", Reporter())
    assert resumed.history == whole.history
    networks = [
        sc.load(tmp_path / folder / "runs" / whole.run_id, factory=factory) for folder in ("broken", "whole")
    ]
    assert sum(p.numel() for p in networks[0].parameters()) == whole.params <= run.limits["params"]
    for name, value in networks[0].state_dict().items():
        assert (value == networks[1].state_dict()[name]).all()


def test_the_cut_makes_the_rest_of_the_training_cheaper(digits, tmp_path):
    architecture = resolve_model("wrn-10-1", digits)
    run = gated(architecture, digits, Limits.at({"macs": architecture.macs // 4}))
    record = Session(RunStore(tmp_path), Runtime("cpu"), Reporter()).make(run)
    dense = epoch_compute(architecture, digits, RECIPE) * RECIPE.epochs
    assert 0.5 * dense < record.train_compute < 0.7 * dense
    assert record.params < record.history[0].params


@pytest.mark.parametrize("resource", TRAINABLE)
def test_any_budget_that_can_be_trained_to_can_be_compared(digits, tmp_path, resource):
    result = sc.compare(
        "wrn-10-1",
        digits,
        [f"{resource}=40%"],
        arms=["channel-reparametrization", "width", "fisher-tuned"],
        recipe=Recipe(epochs=2, batch_size=64),
        prune=PruneSettings(every=1, at_once=8),
        out=tmp_path,
        device="cpu",
    )
    for point in result.points:
        network = sc.load(tmp_path / "runs" / point.run_id)
        limit = int(0.4 * COUNTERS[resource](resolve_model("wrn-10-1", digits).skeleton()))
        assert COUNTERS[resource](network) == point.count_of(resource)
        assert point.count_of(resource) <= limit + (
            resource == "nonzeros"
        )  # that one is rounded to the nearest
