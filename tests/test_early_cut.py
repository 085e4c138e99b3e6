"""The exact mode's cut in the middle of training: when it comes, what it does, what it leaves to the rest."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget, Limits
from secateur.compare.arms import ARMS
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Settings, Sparsity
from secateur.data import epoch_batches
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import Reparametrization
from secateur.methods.gates.gate import gate
from secateur.methods.gates.parametrization import original_weight
from secateur.network.masks import count_nonzeros
from secateur.network.weight_file import file_bytes
from secateur.progress import Reporter
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.average import Average

STEPS, CUT = 20, 13  # by default at 65%


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 10))


def sgd(model, method):
    return torch.optim.SGD(method.parameter_groups(model, 5e-3), lr=0.1, momentum=0.9)


class Loop:
    """A loop of a user's own."""

    def __init__(self, method, model=None, optimizer=sgd):
        self.method, self.model = method, method.prepare(model or network())
        self.optimizer, self.step = optimizer(self.model, method), 0

    def to(self, step, clip=None):
        while self.step < step:
            self.backward()
            if clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.model = self.method.after_step(self.model, self.optimizer)
            self.step += 1
        return self

    def backward(self):
        x = torch.randn(32, 12, generator=torch.Generator().manual_seed(self.step))
        F.cross_entropy(self.model(x), x[:, :10].argmax(1)).backward()

    @property
    def originals(self):
        return [original_weight(self.model[index]) for index in (0, 2)]


def exact(budget="nonzeros=15%", steps=STEPS, **more):
    return Reparametrization(budget, steps=steps, **more)


# When


@given(steps=st.integers(1, 60), shares=st.lists(st.floats(0.02, 0.98), min_size=3, max_size=3, unique=True))
@settings(max_examples=40, deadline=None)
def test_it_comes_once_when_the_schedule_is_over(steps, shares):
    end, sharpen, cut_at = sorted(shares)
    method = exact(steps=steps, start=0.0, end=end, sharpen_until=sharpen, cut_at=cut_at)
    model, cuts = method.prepare(network()), []
    for step in range(1, steps + 1):
        due = method.about_to_zero
        method.after_step(model)
        cuts += [step] if due else []
        assert (method.state()["cut"], "mask.0" in method.tensors()) == (bool(cuts), bool(cuts))
    assert cuts == [min(step for step in range(1, steps + 1) if step >= cut_at * steps)]
    assert count_nonzeros(model) == method.target
    assert method.remaining(model) == method.target / method.initial
    assert method.config.n_at(cuts[0] / steps) == method.config.n_final


def test_by_default_it_comes_at_65_percent_and_a_cut_at_the_end_has_its_old_schedule():
    early, late = exact().config, exact(cut_at=1.0).config
    assert (early.start, early.end, early.sharpen_until, early.cut_at) == (0.1, 0.5, 0.65, 0.65)
    assert (late.start, late.end, late.sharpen_until, late.cut_at) == (0.1, 0.7, 0.9, 1.0)
    assert exact(cut_at=1, end=0.6).config == replace(late, end=0.6)
    assert exact(sharpen_until=0.8).config == replace(early, sharpen_until=0.8, cut_at=0.8)
    loop = Loop(exact(cut_at=1.0)).to(STEPS)
    assert not loop.method.state()["cut"]
    assert count_nonzeros(loop.model) > loop.method.target


def test_runs_of_older_versions_keep_their_identity():
    """Literally what records of the exact and of the faithful mode hold."""
    old = {
        "method": "reparametrization",
        "n": 4, "start": 0.1, "end": 0.7, "n_final": 64, "sharpen_until": 0.9, "solve_every": 4,
        "mode": "exact", "t_init": 100.0, "penalty_weight": 5.0, "floor": 0.0, "sample": 200_000,
    }  # fmt: skip
    assert exact(cut_at=1.0).identity() == old
    assert Reparametrization("nonzeros=5%", mode="faithful").identity() == {**old, "mode": "faithful"}
    assert exact().identity() == {**old, "end": 0.5, "sharpen_until": 0.65, "cut_at": 0.65, "restart": True}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"cut_at": 0.6}, "cut_at must lie in [sharpen_until, 1], got 0.6"),
        ({"cut_at": 1.5}, "cut_at must lie in [sharpen_until, 1], got 1.5"),
        ({"cut_at": math.nan}, "cut_at must lie in [sharpen_until, 1], got nan"),
        (
            {"mode": "faithful", "end": 0.3, "sharpen_until": 0.5, "cut_at": 0.5},
            "cut_at must be 1 in faithful mode, which cuts when training is over, got 0.5",
        ),
    ],
)
def test_a_cut_before_the_gates_are_sharp_is_refused(arguments, part):
    with pytest.raises(InputError) as caught:
        exact(**arguments)
    assert part in str(caught.value)


# What it does


def test_what_stays_is_the_apparent_weight_and_what_goes_are_the_smallest():
    loop = Loop(exact(n_final=8)).to(CUT - 1)
    loop.backward()
    loop.optimizer.step()
    before = [weight.detach().clone() for weight in loop.originals]
    loop.model = loop.method.after_step(loop.model, loop.optimizer)
    t = float(loop.method.tensors()["t.0"])
    apparent = [w * gate(w, t, 8) for w in before]
    sizes = torch.cat([w.abs().flatten() for w in apparent])
    threshold = sizes.sort(descending=True).values[loop.method.target - 1]
    for now, then in zip(loop.originals, apparent, strict=True):
        torch.testing.assert_close(now.detach(), torch.where(then.abs() >= threshold, then, 0.0))
    assert count_nonzeros(loop.model) == loop.method.target == round(0.15 * (192 + 160))
    whole = torch.cat([w.abs().flatten() for w in before])
    assert (sizes < 0.99 * whole)[sizes > threshold].any(), "or no gate had anything to be multiplied in"


def test_momentum_is_carried_over_for_what_stays_and_zero_for_what_goes():
    loop = Loop(exact()).to(CUT - 1)
    loop.backward()
    loop.optimizer.step()
    before = [loop.optimizer.state[weight]["momentum_buffer"].clone() for weight in loop.originals]
    biases = loop.optimizer.state[loop.model[0].bias]["momentum_buffer"].clone()
    held = [id(weight) for weight in loop.originals]
    loop.model = loop.method.after_step(loop.model, loop.optimizer)
    assert [id(weight) for weight in loop.originals] == held
    for name, weight, was in zip(("0", "2"), loop.originals, before, strict=True):
        mask, now = loop.method.tensors()[f"mask.{name}"], loop.optimizer.state[weight]["momentum_buffer"]
        assert (now[mask] == was[mask]).all()
        assert (was[~mask] != 0).any()
        assert (now[~mask] == 0).all()
    assert torch.equal(loop.optimizer.state[loop.model[0].bias]["momentum_buffer"], biases)


def adamw(model, method):
    return torch.optim.AdamW(method.parameter_groups(model, 0.01), lr=0.01)


def muon(model, method):
    groups = method.parameter_groups(model, 0.01)
    matrices = [p for p in groups[0]["params"] if p.dim() == 2]
    return torch.optim.Muon(matrices, lr=0.02)


def without(model, method):
    """An optimizer that nobody hands to the method."""
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)


@pytest.mark.parametrize("optimizer", [sgd, adamw, muon, without])
def test_what_is_gone_stays_gone_and_what_stays_learns(optimizer):
    loop = Loop(exact(), optimizer=optimizer).to(CUT, clip=1.0)
    cut = [layer.weight.detach().clone() for layer in (loop.model[0], loop.model[2])]
    loop.backward()
    for layer, was in zip((loop.model[0], loop.model[2]), cut, strict=True):
        grad = original_weight(layer).grad
        assert (grad[was == 0] == 0).all(), "what is gone has no part in a gradient's norm"
        assert (grad[was != 0] != 0).any()
    loop.optimizer.zero_grad()
    loop.to(STEPS, clip=1.0)
    model = loop.method.finalize(loop.model)
    for layer, was in zip((model[0], model[2]), cut, strict=True):
        assert (layer.weight[was == 0] == 0).all()
        assert not torch.equal(layer.weight, was)
    assert count_nonzeros(model) == loop.method.target


def test_layers_that_are_kept_and_floors_hold_at_an_early_cut():
    loop = Loop(exact("nonzeros=60%", keep=["2"], floor=0.9)).to(CUT)
    target = round(0.6 * 352)
    assert count_nonzeros(loop.model) == target
    assert int(loop.model[0].weight.count_nonzero()) == target - 160
    assert type(loop.model[2]) is nn.Linear
    assert loop.method.remaining(loop.model) == (target - 160) / 192


def test_a_budget_in_bytes_is_met():
    loop = Loop(exact("bytes=1500", steps=STEPS)).to(STEPS)
    model = loop.method.finalize(loop.model)
    assert 1300 < file_bytes(model) <= 1500


def test_an_average_of_weights_follows_the_cut():
    loop = Loop(exact())
    average = Average(loop.model, decay=0.9)
    for step in range(1, STEPS + 1):
        loop.to(step)
        if step == CUT:
            averaged = average.tensors()["0.parametrizations.weight.original"]
            assert (averaged[~loop.method.tensors()["mask.0"]] == 0).all()
        average.update()
    with average.swapped():
        loop.method.before_evaluation(loop.model)
        assert count_nonzeros(loop.model) == loop.method.target
    average.settle()
    assert count_nonzeros(loop.method.finalize(loop.model)) == loop.method.target


def test_a_network_behind_its_cut_can_be_copied_and_trains_on():
    loop = Loop(exact()).to(CUT)
    twin = copy.deepcopy(loop.model)
    loop.to(STEPS)
    assert count_nonzeros(twin) == loop.method.target
    assert not torch.equal(twin[0].weight, loop.model[0].weight)


# Interrupted


@pytest.mark.parametrize("optimizer", [sgd, adamw])
@pytest.mark.parametrize("until", [CUT - 1, CUT, CUT + 1])
def test_resumed_before_at_and_behind_the_cut_it_ends_the_same(until, optimizer):
    whole, half = (Loop(exact(), optimizer=optimizer).to(step) for step in (STEPS, until))
    resumed = Loop(exact(), nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 10)), optimizer)
    resumed.model.load_state_dict(half.model.state_dict())
    resumed.optimizer.load_state_dict(half.optimizer.state_dict())
    resumed.method.restore(half.method.state(), half.method.tensors())
    resumed.step = until
    finals = [loop.method.finalize(loop.model).state_dict() for loop in (whole, resumed.to(STEPS))]
    for name, value in finals[0].items():
        assert torch.equal(value, finals[1][name]), name


# In a run


RECIPE = sc.Recipe(epochs=4, batch_size=64, lr=0.05, schedule="cosine")


class Breaks(Reporter):
    """Breaks off after the epoch with the cut."""

    def epoch(self, row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt


def made(digits, folder, recipe=RECIPE, reporter=None, budget="nonzeros=2%", **more):
    architecture = resolve_model("conv4", digits)
    sparsity = Sparsity(reparametrization=more)
    asked = Settings((Budget.parse(budget),), ("reparametrization",), recipe=recipe, sparsity=sparsity)
    question = Comparison(architecture, digits, asked, prunes=False)
    session = Session(RunStore(folder), Runtime("cpu"), reporter or Reporter())
    return session.make(ARMS["reparametrization"].run(question, asked.budgets[0], 0, "x"))


def right(model, digits):
    """Accuracy on the test split, counted here."""
    x, y = next(epoch_batches(digits.test, digits, batch_size=len(digits.test), device="cpu"))
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).double().mean())


def test_a_run_says_what_it_was_worth_right_before_the_cut_and_after_it(digits, tmp_path, monkeypatch):
    seen, cut = [], Reparametrization._cut_early

    def watched(self, model, optimizer):
        seen.append(right(model, digits))
        cut(self, model, optimizer)
        seen.append(right(model, digits))

    monkeypatch.setattr(Reparametrization, "_cut_early", watched)
    recipe = replace(RECIPE, epochs=6, batch_size=32, optimizer="adamw", lr=3e-3)
    record = made(digits, tmp_path, recipe, budget="nonzeros=10%", n_final=4)
    said = [record.accuracy_before, record.accuracy_after_cut]
    assert said == pytest.approx(seen, abs=2 / len(digits.test))
    assert record.accuracy == right(sc.load(tmp_path / "runs" / record.run_id), digits)
    assert len({record.accuracy, *seen}) == 3, "three numbers, or nothing is shown"
    assert record.remaining == pytest.approx(0.1, abs=1e-3)
    assert [each.more["remaining"] for each in record.history][3:] == [record.nonzeros / record.weights] * 3


def test_interrupted_after_the_cut_a_run_ends_the_same_and_knows_what_it_cost(digits, tmp_path):
    recipe = replace(RECIPE, ema=0.9, optimizer="adamw", lr=None)
    with pytest.raises(KeyboardInterrupt):
        made(digits, tmp_path / "broken", recipe, Breaks())
    resumed, whole = (made(digits, tmp_path / folder, recipe) for folder in ("broken", "whole"))
    told = [f"{split}accuracy_{when}" for split in ("", "val_") for when in ("before", "after_cut")]
    assert [getattr(resumed, key) for key in told] == [getattr(whole, key) for key in told]
    assert None not in [getattr(whole, key) for key in told]
    assert resumed.history == whole.history
    one, two = (sc.load(tmp_path / folder / "runs" / whole.run_id) for folder in ("broken", "whole"))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    assert count_nonzeros(one) == whole.nonzeros == round(0.02 * whole.weights)


@pytest.mark.parametrize("schedule", ["cosine", "steps"])
def test_the_rate_goes_over_its_schedule_anew_after_the_cut(digits, tmp_path, schedule):
    """Four epochs of five steps: the cut is after step 13, the first of seven whose rates begin anew."""
    recipe = replace(RECIPE, schedule=schedule, milestones=(0.5,), gamma=0.1)
    used, step = [], torch.optim.SGD.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.optim.SGD, "step", lambda self: (used.append(self.param_groups[0]["lr"]), step(self))
        )
        record = made(digits, tmp_path, recipe)
        without = made(digits, tmp_path, recipe, restart=False)
    epochs = [0, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 + math.cos(3 * math.pi / 4))]
    plain = {"cosine": [1.0, *epochs[1:]], "steps": [1.0, 1.0, 0.1, 0.1]}[schedule]
    plain = [0.05 * share for share in plain for _ in range(5)]
    anew = [k / 20 for k in range(13, 20)]
    again = [(done - 0.65) / 0.35 for done in anew]
    again = [
        0.5 * (1 + math.cos(math.pi * s)) if schedule == "cosine" else (0.1 if s >= 0.5 else 1) for s in again
    ]
    assert used[:20] == pytest.approx(plain[:13] + [0.05 * share for share in again])
    assert used[20:] == pytest.approx(plain)
    assert (record.history[-1].lr, without.history[-1].lr) == (used[19], used[39])


def test_the_faithful_arm_has_nothing_of_the_exact_ones_cut():
    sparsity = Sparsity(reparametrization={"cut_at": 0.9, "t_init": 50.0})
    methods = [ARMS[f"reparametrization{mode}"].method(sparsity, 0) for mode in ("", "-faithful")]
    built = [choice.build(Limits.at({"nonzeros": 9}), 10).config for choice in methods]
    assert [(config.mode, config.cut_at, config.t_init) for config in built] == [
        ("exact", 0.9, 50.0),
        ("faithful", 1.0, 50.0),
    ]


def test_a_cut_at_the_end_is_measured_there(digits, tmp_path):
    record = made(digits, tmp_path, replace(RECIPE, epochs=1), cut_at=1.0)
    assert record.accuracy_after_cut is None
    assert record.accuracy_before is not None
    assert "cut_at" not in record.identity["method"]
