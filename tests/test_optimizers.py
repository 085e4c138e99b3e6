"""What steps the weights: against plain loops, resumed, cut; and the average that is the result."""

from __future__ import annotations

import copy
import gc
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from made import SMALL, network, training
from secateur import models
from secateur.architecture.architecture import Architecture
from secateur.data import epoch_batches
from secateur.errors import InputError
from secateur.methods import METHODS, Fisher
from secateur.network.masks import count_nonzeros
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.cutting import cut, follow_cuts, scale
from secateur.training.average import Average, decay_at
from secateur.training.micro import parts_of
from secateur.training.optimizers import MuonWithAdamW, build, set_rate
from secateur.training.recipe import Recipe
from secateur.training.seeds import derived_seed
from secateur.training.terms import Terms

ALL = {"optimizer": "adamw", "lr": 3e-3, "warmup": 1.5, "ema": 0.9, "accumulate": 3, "clip_norm": 0.5}


def same_weights(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == name2 and torch.equal(a, b) for (name, a), (name2, b) in pairs)


# Recipes


def test_every_optimizer_has_a_rate_and_a_decay_of_its_own():
    found = {
        name: (r.lr, r.weight_decay) for name in ("sgd", "adamw", "muon") for r in [Recipe(optimizer=name)]
    }
    assert found == {"sgd": (0.1, 5e-4), "adamw": (1e-3, 1e-2), "muon": (1e-3, 1e-2)}
    assert Recipe(optimizer="adamw", lr=0.1, weight_decay=0.0).lr == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adma"}, "unknown optimizer 'adma': did you mean 'adamw'"),
        ({"warmup": -1.0}, "warmup must be at least 0, got -1"),
        ({"warmup": math.inf}, "warmup must be at least 0, got inf"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, got 0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"accumulate": 129}, "accumulate must be at most batch_size, got 129"),
        ({"ema": 1.0}, r"ema must lie in \(0, 1\), got 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**change)


def test_what_came_later_is_in_the_identity_only_where_it_is_used(digits):
    before = {
        "epochs", "batch_size", "lr", "momentum", "weight_decay", "milestones", "gamma", "pad", "flip",
        "precision",
    }  # fmt: skip
    assert set(Recipe().identity(digits)) == before
    for name, value in ALL.items():
        added = set(Recipe(**{name: value}).identity(digits)) - before
        assert added == ({name} if name != "lr" else set())
    assert "momentum" not in Recipe(optimizer="adamw").identity(digits)


def test_the_rate_rises_step_by_step_and_then_follows_the_schedule(digits):
    """270 images in batches of 64 are 5 steps an epoch; the rise takes 1.5 epochs, 7.5 steps."""
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    recipe = replace(SMALL, warmup=1.5, milestones=(0.6,), gamma=0.1).with_own_optimizer()
    done = training(digits, recipe, terms=Terms(optimizer=lambda groups: Watched(groups, lr=0.3))).fit()
    expected = [0.3 * step / 7.5 for step in range(1, 8)] + [0.3] * 3 + [0.03] * 5
    assert rates == pytest.approx(expected)
    assert [row["lr"] for row in done.progress.history] == pytest.approx([5 / 7.5, 1, 0.1])  # its factor


def test_it_is_plain_adamw_with_warm_up_and_clipping(digits):
    """The same weights as a loop written out here."""
    recipe = replace(
        SMALL, optimizer="adamw", lr=0.01, weight_decay=0.1, warmup=1, clip_norm=0.3, schedule="cosine"
    )
    ours = training(digits, recipe, epochs=2).fit().model
    model = network().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    clipped = 0
    for epoch in range(2):
        order = torch.Generator().manual_seed(derived_seed(7, "order", epoch))
        batches = epoch_batches(
            digits.train,
            digits,
            batch_size=64,
            device="cpu",
            generator=order,
            augmentation=digits.augmentation,
        )
        for step, (x, y) in enumerate(batches):
            rise = (step + 1) / 5 if epoch == 0 else 1
            optimizer.param_groups[0]["lr"] = 0.01 * (1 + math.cos(math.pi * epoch / 3)) / 2 * rise
            optimizer.zero_grad()
            F.cross_entropy(model(x.to(memory_format=torch.channels_last)), y).backward()
            norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters()]))
            clipped += bool(norm > 0.3)
            if norm > 0.3:
                for parameter in model.parameters():
                    parameter.grad.mul_(0.3 / (norm + 1e-6))
            optimizer.step()
    assert clipped == 10
    for a, b in zip(ours.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


# Gradient accumulation


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30))
def test_the_parts_are_the_batch(examples, parts):
    x, y = torch.arange(examples), {"a": torch.arange(examples) * 2}
    found = list(parts_of(x, y, parts))
    assert torch.equal(torch.cat([part.inputs for part in found]), x)
    assert torch.equal(torch.cat([part.targets["a"] for part in found]), y["a"])
    sizes = [len(part.inputs) for part in found]
    assert len(found) == min(parts, examples)
    assert max(sizes) - min(sizes) <= 1
    assert [part.share for part in found] == pytest.approx([size / examples for size in sizes])


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 17), st.integers(2, 8), st.integers(0, 10_000))
def test_the_gradient_of_the_parts_is_that_of_the_batch(examples, parts, seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 3)).double()
    x, y = torch.randn(examples, 5, dtype=torch.float64), torch.randint(3, (examples,))
    F.cross_entropy(model(x), y).backward()
    whole = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for part in parts_of(x, y, parts):
        (F.cross_entropy(model(part.inputs), part.targets) * part.share).backward()
    for parameter, expected in zip(model.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-12)


PENALISED = {
    "dense": lambda: None,
    "l1": lambda: METHODS["l1"]("nonzeros=50%", strength=1e-2),
    "faithful": lambda: METHODS["reparametrization"]("nonzeros=50%", mode="faithful"),
    "exact": lambda: METHODS["reparametrization"]("nonzeros=50%", steps=15, solve_every=2),
    "fisher": lambda: METHODS["fisher"](removals=4, every=3),
}


@pytest.mark.parametrize("method", PENALISED)
def test_accumulated_steps_are_those_of_whole_batches(digits, method):
    """Conv4 has no batch statistics; penalties count once a step, and scores add up."""

    def trained(parts):
        torch.manual_seed(0)
        model = models.conv4(in_channels=1, image_size=8, num_classes=10, width=0.125)
        recipe = replace(SMALL, accumulate=parts, lr=0.05)
        return training(digits, recipe, model=model, method=PENALISED[method](), epochs=1).fit()

    whole, parts = trained(1), trained(4)
    assert parts.progress.seen == whole.progress.seen == 0
    assert parts.progress.compute == whole.progress.compute
    assert parts.progress.history[0]["loss"] == pytest.approx(whole.progress.history[0]["loss"], rel=1e-4)
    assert not same_weights(whole.model, parts.model)  # other sums, other roundings
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


# The average of the weights


def test_the_decay_rises_to_its_value():
    assert [round(decay_at(update, 0.99), 4) for update in (0, 1, 10, 90, 890, 5000)] == [
        0.1, 0.1818, 0.55, 0.91, 0.99, 0.99,
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"must lie in \(0, 1\), got 1"):
        Average(nn.Linear(1, 1), 1.0)


def average_of(snapshots, decay):
    """The definition, in float64: of weights that begin at the first snapshot."""
    found = {name: value.double().numpy() for name, value in snapshots[0].items()}
    for update, snapshot in enumerate(snapshots[1:]):
        d = min(decay, (1 + update) / (10 + update))
        found = {name: d * old + (1 - d) * snapshot[name].double().numpy() for name, old in found.items()}
    return found


def jittered(model, times):
    """A network whose weights change by noise: what training does, without its cost."""
    for _ in range(times):
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                if tensor.is_floating_point():
                    tensor.add_(torch.randn_like(tensor) * 0.1)
        yield


def floats(model):
    return {k: v.clone() for k, v in model.state_dict().items() if v.is_floating_point()}


def test_after_a_cut_the_average_is_that_of_the_kept_entries():
    """Every snapshot is cut as the network was; their average by the definition is what is there."""
    model = network()
    anatomy = anatomy_of(model)
    average, before = Average(model, 0.9), [copy.deepcopy(model)]
    for _ in jittered(model, 4):
        average.update()
        before.append(copy.deepcopy(model))
    names = list(anatomy.graph.groups)
    removed = dict(zip((names[0], names[-1]), ([0, 3], [1, 2, 20]), strict=True))
    for name, channels in removed.items():
        anatomy.remove(model, name, channels)
        for each in before:
            anatomy_of(each).remove(each, name, channels)
    after = []
    for _ in jittered(model, 4):
        average.update()
        after.append(copy.deepcopy(model))
    expected = average_of([floats(each) for each in (*before, *after)], 0.9)
    own = floats(model)
    with average.swapped() as swapped:
        assert swapped is model
        for name, value in floats(model).items():
            np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-4, atol=1e-5)
        assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert all(torch.equal(value, own[name]) for name, value in floats(model).items())
    average.settle()
    assert not all(torch.equal(value, own[name]) for name, value in floats(model).items())


def test_a_weight_that_two_layers_share_is_averaged_and_cut_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.two.weight = self.one.weight

    model = Tied()
    average = Average(model, 0.5)
    keep = torch.tensor([True, False, True, True])
    for axis in ("out", "in"):
        cut(model, {("one", axis): keep, ("two", axis): keep})
    assert model.one.weight is model.two.weight
    assert {name: value.shape for name, value in average.tensors().items()} == {"one.weight": (3, 3)}


def test_an_average_is_forgotten_with_whoever_keeps_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    average = Average(model, 0.5)
    tensors = average.tensors()
    del average
    gc.collect()
    cut(model, {("0", "out"): torch.tensor([True, True, True, False])})
    assert tensors["0.weight"].shape == (4, 3)


def test_folded_gates_are_folded_into_the_average_too(digits):
    """At the cut of channel-reparametrization the weights that read are multiplied by the gates."""
    method = METHODS["channel-reparametrization"]("params=50%", steps=15)
    recipe = replace(SMALL, ema=0.9, batch_size=64)
    run = training(digits, recipe, method=method)
    folded = {}

    class Watching:
        def cut(self, name, index, dim):
            pass

        def scale(self, name, factor):
            folded[name] = factor.clone()

    watching = Watching()
    follow_cuts(run.model, watching)
    run.fit().finish()
    assert len(folded) >= 3
    assert all(float(factor.min()) < 0.99 for factor in folded.values())
    assert run.params <= 0.5 * Architecture.of(network()).params


def test_a_factor_of_a_weight_is_one_of_its_average():
    model = nn.Sequential(nn.Linear(2, 2))
    average = Average(model, 0.5)
    was = model[0].weight.detach().clone()
    scale(model, [(model[0].weight, torch.tensor([[2.0, 0.5]]))])
    assert torch.equal(model[0].weight, was * torch.tensor([[2.0, 0.5]]))
    assert torch.equal(average.tensors()["0.weight"], model[0].weight)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("magnitude", {}),
        ("gradual-magnitude", {"steps": 10, "every": 2}),
        ("dynamic-feedback", {"steps": 10, "every": 2}),
        ("rigl", {"steps": 10, "every": 2}),
        ("granet", {"steps": 10, "every": 2}),
        ("ac-dc", {"steps": 10}),
        ("str", {"steps": 10}),
        ("powerpropagation", {"steps": 10}),
        ("spartan", {"steps": 10}),
        ("l0", {"steps": 10}),
        ("reparametrization", {"steps": 10, "solve_every": 2}),
        ("reparametrization", {"mode": "faithful"}),
        ("l1", {}),
    ],
)
def test_the_average_meets_a_budget_of_nonzeros_exactly(digits, name, settings):
    torch.manual_seed(0)
    model = models.conv4(in_channels=1, image_size=8, num_classes=10, width=0.125)
    method = METHODS[name]("nonzeros=700", **settings)
    run = training(digits, replace(SMALL, ema=0.99, lr=0.02), model=model, method=method, epochs=2)
    assert count_nonzeros(run.fit().finish().model) == 700


def test_what_is_measured_and_kept_is_the_average(digits):
    """Against the weights of every step, averaged here by the definition."""
    snapshots = [floats(network())]

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            snapshots.append(None)
            return super().step(closure)

    run = training(
        digits,
        replace(SMALL, ema=0.8).with_own_optimizer(),
        terms=Terms(optimizer=lambda groups: Watched(groups, lr=0.1)),
        epochs=2,
    )
    step = run.step

    def stepping(x, y, meter):
        step(x, y, meter)
        snapshots[-1] = floats(run.model)

    run.step = stepping
    run.fit()
    expected = average_of(snapshots, 0.8)
    assert len(snapshots) == 11
    for name, value in floats(run.model).items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-3, atol=1e-5)


# Resumed, and cut


def interrupted(data, recipe, stop_after, method, epochs):
    """A training that was killed after an epoch, and goes on in another process."""
    saved = []

    def save(checkpoint, model):
        tensors = {name: value.clone() for name, value in checkpoint.tensors.items()}
        saved.append((replace(checkpoint, tensors=tensors), model.widths))
        if len(saved) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(data, recipe, save=save, method=method(), epochs=epochs).fit()
    checkpoint, widths = saved[-1]
    small = Architecture.of(network()).with_widths(widths).build(seed=0)
    on = training(data, recipe, model=small, method=method(), epochs=epochs)
    on.resume(checkpoint)
    return on.fit()


@pytest.mark.parametrize(
    ("changes", "stop_after", "method", "epochs"),
    [
        (ALL, 1, lambda: None, 3),
        (ALL, 2, lambda: None, 3),
        (ALL, 1, lambda: Fisher(every=3, removals=4), None),
        ({"optimizer": "muon", "ema": 0.9}, 1, lambda: Fisher(every=3, removals=4), None),
    ],
)
def test_a_resumed_run_is_the_undisturbed_one_to_the_bit(digits, changes, stop_after, method, epochs):
    recipe = replace(Recipe(**changes), epochs=3, batch_size=64)
    whole = training(digits, recipe, method=method(), epochs=epochs).fit()
    resumed = interrupted(digits, recipe, stop_after, method, epochs)
    assert same_weights(resumed.model, whole.model)
    assert resumed.progress.history == whole.progress.history


def test_what_a_checkpoint_holds_is_what_the_store_can_write(digits, tmp_path):
    from secateur.runs.store import RunStore

    saved = []
    training(
        digits, replace(SMALL, **ALL), save=lambda checkpoint, _: saved.append(checkpoint), epochs=1
    ).fit()
    store = RunStore(tmp_path)
    store.save_checkpoint("train-1-s0", saved[-1])
    back = store.checkpoint("train-1-s0")
    assert {name.split(".")[0] for name in back.tensors} == {"model", "optimizer", "average"}
    assert {name: value.shape for name, value in back.tensors.items()} == {
        name: value.shape for name, value in saved[-1].tensors.items()
    }
    assert back.state["average"] == {"updates": 5}


def block():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def test_muon_steps_matrices_and_adamw_the_rest():
    model, alone = block(), block()
    optimizer = build(
        Recipe(optimizer="muon", lr=0.01), [{"params": list(model.parameters()), "weight_decay": 0.1}]
    )
    matrices = [p for p in alone.parameters() if p.dim() == 2]
    vectors = [p for p in alone.parameters() if p.dim() != 2]
    muon = torch.optim.Muon(matrices, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(vectors, lr=0.01, weight_decay=0.1)
    for _ in range(3):
        x, y = torch.randn(9, 6), torch.randint(3, (9,))
        for net, steppers in ((model, [optimizer]), (alone, [muon, adamw])):
            F.cross_entropy(net(x), y).backward()
            for stepper in steppers:
                stepper.step()
                stepper.zero_grad()
    assert same_weights(model, alone)


def test_muon_follows_a_cut():
    model = block()
    optimizer = MuonWithAdamW([{"params": list(model.parameters()), "weight_decay": 0.0}], 0.01)

    def step():
        F.cross_entropy(model(torch.randn(9, 6)), torch.randint(3, (9,))).backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    old = {name: dict(optimizer.state[p]) for name, p in model.named_parameters()}
    keep = torch.tensor([True, False, True, True, False, True, True, True])
    cut(model, {("3", "out"): keep, ("5", "in"): keep}, optimizer)
    weight, moment = model[3].weight, optimizer.state[model[3].weight]["momentum_buffer"]
    assert weight.shape == moment.shape == (6, 8)
    assert torch.equal(moment, old["3.weight"]["momentum_buffer"][keep])
    assert torch.equal(optimizer.state[model[3].bias]["exp_avg"], old["3.bias"]["exp_avg"][keep])
    before = model[3].weight.detach().clone()
    step()
    assert model[3].weight.shape == (6, 8)
    assert not torch.equal(model[3].weight, before)


def test_muon_is_refused_where_there_is_no_matrix():
    convolutions = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with pytest.raises(InputError, match=r"muon steps matrices .* has none: choose adamw"):
        MuonWithAdamW([{"params": list(convolutions.parameters()), "weight_decay": 0.0}], 0.01)


# A user's own optimizer


PAGE = Path(__file__).parents[1] / "docs/training.md"


def test_the_loop_of_the_page_runs(digits):
    (code,) = (
        text for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "Average(" in text
    )
    method, accuracies = Fisher(every=2, removals=3), []
    names = {
        "torch": torch,
        "F": F,
        "method": method,
        "model": network(),
        "batches": epoch_batches(digits.train, digits, batch_size=32, device="cpu"),
        "evaluate": lambda model: accuracies.append(model(torch.zeros(2, 1, 8, 8)).shape),
        "print": lambda found: None,
    }
    exec(code, names)  # our own text
    assert len(method.removed) == 3
    assert accuracies == [(2, 10)]
    settled = names["average"].tensors()
    assert all(torch.equal(p, settled[name]) for name, p in names["model"].named_parameters())


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", "muon", lambda groups: torch.optim.RAdam(groups, lr=1e-3)],
    ids=["adamw", "muon", "own"],
)
def test_sc_prune_takes_an_optimizer_by_name_or_function(optimizer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(4)]
    pruned = sc.prune(model, budget="params=70%", data=batches, every=2, optimizer=optimizer)
    assert sum(p.numel() for p in pruned.parameters()) <= 0.7 * (6 * 16 + 16 + 16 * 16 + 16 + 16 * 3 + 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adma"}, "unknown optimizer 'adma'"),
        ({"optimizer": 3}, "optimizer is a name .* got int"),
        ({"optimizer": torch.optim.RAdam, "lr": 0.1}, "an optimizer of yours has its own rate, got lr=0.1"),
    ],
)
def test_sc_prune_refuses_what_is_no_optimizer(settings, message):
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(InputError, match=message):
        sc.prune(model, budget="params=70%", data=[(torch.randn(8, 6), torch.zeros(8).long())], **settings)


def test_the_rates_of_an_own_optimizer_are_followed_by_the_schedule(digits):
    """Other rates for other layers: the recipe's rate, 1 unless said otherwise, is a factor of each."""

    def own(groups):
        (group,) = groups
        first, *rest = group["params"]
        return torch.optim.RAdam([{"params": [first], "lr": 0.5}, {"params": rest}], lr=0.1)

    recipe = Recipe(epochs=4, schedule="cosine", batch_size=64).with_own_optimizer()
    assert recipe.lr == 1.0
    run = training(digits, recipe, terms=Terms(optimizer=own), epochs=1)
    set_rate(run.optimizer, recipe.lr_at(2))
    assert [group["lr"] for group in run.optimizer.param_groups] == pytest.approx([0.25, 0.05])
    run.fit()
    for settled, factory in ((recipe, None), (SMALL, own)):
        with pytest.raises(
            InputError, match=r"an own optimizer goes with Recipe.with_own_optimizer\(\), got"
        ):
            training(digits, settled, terms=Terms(optimizer=factory))


def test_the_weight_decay_of_an_own_optimizer_is_its_own():
    def decays(recipe):
        groups = METHODS["reparametrization"]("nonzeros=50%", mode="faithful")
        model = groups.prepare(block())
        made = build(
            recipe,
            groups.parameter_groups(model, recipe.weight_decay),
            lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.07),
        )
        return [group["weight_decay"] for group in made.param_groups]

    own = Recipe().with_own_optimizer()
    assert decays(own) == [0.07, 0.0]  # the temperatures have none, whoever makes the optimizer
    assert decays(replace(own, weight_decay=0.02)) == [0.02, 0.0]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda groups: None, "makes a torch.optim.Optimizer of parameter groups, got NoneType"),
        (lambda groups: torch.optim.SGD(groups[0]["params"][:1], lr=0.1), "must step all parameters"),
    ],
)
def test_what_is_no_optimizer_is_refused(factory, message):
    model = block()
    with pytest.raises(InputError, match=message):
        build(
            Recipe().with_own_optimizer(),
            [{"params": list(model.parameters()), "weight_decay": 0.0}],
            factory,
        )
