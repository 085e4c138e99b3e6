"""Learning from the original network: the two losses by hand, where maps are found, runs and their ids."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import made
from made import network
from secateur import models
from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.cli.main import main
from secateur.compare.arms import ARMS
from secateur.compare.settings import Settings
from secateur.compare.wanted import ask
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import Fisher
from secateur.network.task import TASKS
from secateur.progress import Reporter
from secateur.records.record import Record
from secateur.runs.executors.choice import Workers, make_graph
from secateur.runs.graph import Graph, Made
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.runs.train import Train
from secateur.training.distillation import attention_map, attention_term, common_ends, logits_term
from secateur.training.feature_maps import spatial_ends, watching
from secateur.training.recipe import Recipe
from secateur.training.terms import Terms

SMALL = Recipe(epochs=2, batch_size=64, lr=0.05)
training = partial(made.training, epochs=2)
LOGITS, ATTENTION = replace(SMALL, distill="logits"), replace(SMALL, distill="attention")


def same_weights(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(name == name2 and torch.equal(a, b) for (name, a), (name2, b) in pairs)


# The losses


def softmax(scores):
    raised = [math.exp(score) for score in scores]
    return [each / sum(raised) for each in raised]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-8, 8)] * 6), min_size=1, max_size=4),
    st.floats(0.5, 20),
)
def test_the_logits_term_is_the_divergence_at_the_temperature(rows, temperature):
    """By hand: T^2 sum_k p_k log(p_k / q_k), the mean over examples."""
    expected = 0.0
    for row in rows:
        p = softmax([score / temperature for score in row[:3]])
        q = softmax([score / temperature for score in row[3:]])
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(rows)
    scores = torch.tensor(rows)
    found = logits_term(scores[:, 3:], scores[:, :3], temperature)
    assert found.item() == pytest.approx(temperature**2 * expected, rel=1e-3, abs=1e-3)


def test_at_high_temperature_it_matches_logits():
    """Hinton et al. 2015, eq. (4): the gradient is then (z - v) / K of scores whose mean is 0."""
    z, v = torch.tensor([[0.3, -0.1, -0.2]], requires_grad=True), torch.tensor([[-0.4, 0.5, -0.1]])
    logits_term(z, v, 1000.0).backward()
    np.testing.assert_allclose(z.grad.numpy(), ((z - v) / 3).detach().numpy(), rtol=2e-2)


def test_attention_by_hand():
    """Two channels on two positions: F = (1 + 4, 9 + 0) -> (5, 9) / sqrt(106)."""
    a = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    np.testing.assert_allclose(attention_map(a).numpy(), [[5 / 106**0.5, 9 / 106**0.5]], rtol=1e-6)
    b = torch.tensor([[[[0.0, 2.0]]]])  # another width: its map is (0, 1)
    expected = ((5 / 106**0.5) ** 2 + (9 / 106**0.5 - 1) ** 2) / 2
    assert float(attention_term({(1, 2): b}, {(1, 2): a})) == pytest.approx(expected)
    two = attention_term({(1, 2): b, (2, 1): b}, {(1, 2): a, (2, 1): a})
    assert float(two) == pytest.approx(2 * expected)
    scaled = {(1, 2): torch.cat([7 * a, torch.zeros_like(a)], 1)}  # neither scale nor dead channels matter
    assert float(attention_term(scaled, {(1, 2): a})) == pytest.approx(0, abs=1e-6)


# Where stages end


class Chain(nn.Module):
    """Stages without blocks; one activation serves all of them."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Conv2d(4, 8, 3),
        )
        self.act, self.pool, self.head = nn.ReLU(), nn.MaxPool2d(2), nn.Linear(8 * 4, 10)

    def forward(self, x):
        x = self.pool(self.act(self.two(self.act(self.one(x)))))
        return self.head(self.act(self.three(x)).flatten(1))


def test_maps_are_taken_at_the_ends_of_stages():
    x = torch.randn(2, 1, 8, 8)
    assert spatial_ends(network(), x) == {(8, 8): "blocks.0", (4, 4): "blocks.1", (2, 2): "bn"}
    chain = Chain()
    assert spatial_ends(chain, x) == {(8, 8): "act", (4, 4): "pool", (2, 2): "act"}
    with watching(chain, spatial_ends(chain, x)) as seen:
        chain(x)
    assert {size: tuple(found.shape) for size, found in seen.items()} == {
        (8, 8): (2, 4, 8, 8), (4, 4): (2, 4, 4, 4), (2, 2): (2, 8, 2, 2),
    }  # fmt: skip
    assert not any(module._forward_hooks for module in chain.modules())


def test_networks_without_maps_are_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(
        InputError, match=r"feature maps .* of one size in teacher and student, got 8x8, .* and none"
    ):
        common_ends(network(), flat, torch.randn(2, 1, 8, 8))


# Training


def test_the_loss_is_that_of_both(digits):
    """Of the first step, against both terms computed here."""
    teacher = network(5)
    x, y = next(iter(training(digits, SMALL).batches.of_epoch(0, 0, torch.channels_last)))
    for recipe in (LOGITS, replace(LOGITS, distill_weight=0.3, temperature=2.0), ATTENTION):
        student = network()
        run = training(digits, recipe, model=student, teacher=teacher)
        run.method.after_step = lambda model, optimizer: model
        with run.teacher.watching(run.model):
            output = run.network.output(x, "fp32")
        found = run.teacher.taught(F.cross_entropy(output, y), x, output)
        with torch.no_grad():
            student, wanted = network().train(), teacher.eval()
            ends = spatial_ends(student, x)
            with watching(student, ends) as ours, watching(wanted, ends) as theirs:
                hard, soft = student(x), wanted(x)
            if recipe.distill == "logits":
                t, w = recipe.temperature, recipe.distill_weight
                p, q = (soft / t).softmax(1), (hard / t).softmax(1)
                expected = (1 - w) * F.cross_entropy(hard, y) + w * t**2 * (p * (p / q).log()).sum(1).mean()
            else:
                apart = [
                    (F.normalize((a**2).sum(1).flatten(1)) - F.normalize((b**2).sum(1).flatten(1))) ** 2
                    for a, b in zip(ours.values(), theirs.values(), strict=True)
                ]
                expected = F.cross_entropy(hard, y) + sum(each.sum(1).mean() for each in apart) / 2
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("recipe", [LOGITS, ATTENTION], ids=["logits", "attention"])
def test_with_weight_0_a_run_is_what_it_is_without_to_the_bit(digits, recipe):
    plain = training(digits, SMALL).fit()
    off = training(digits, replace(recipe, distill_weight=0.0), teacher=network(5)).fit()
    on = training(digits, recipe, teacher=network(5)).fit()
    assert same_weights(off.model, plain.model)
    assert off.progress.history == plain.progress.history
    assert off.progress.compute == plain.progress.compute
    assert not same_weights(on.model, plain.model)


def test_the_teachers_passes_are_counted_and_it_stays_as_it_is(digits):
    teacher = network(5, width=1.0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    done = training(digits, LOGITS, teacher=teacher).fit()
    macs = (3 * Architecture.of(network()).macs) + Architecture.of(network(width=1.0)).macs
    assert done.progress.compute == 2 * 270 * macs
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize("recipe", [LOGITS, ATTENTION], ids=["logits", "attention"])
def test_a_network_that_is_cut_goes_on_learning(digits, recipe):
    method = Fisher(every=2, removals=5)
    run = training(digits, recipe.for_tuning(0.01), method=method, teacher=network(5), epochs=None)
    run.fit().finish()
    assert len(method.removed) == 5
    assert math.isfinite(run.progress.history[-1]["loss"])
    assert not any(module._forward_hooks for module in run.model.modules())


def test_accumulated_parts_learn_the_same(digits):
    torch.manual_seed(0)
    teacher, start = (
        models.conv4(in_channels=1, image_size=8, num_classes=10, width=0.125) for _ in range(2)
    )
    found = []
    for parts in (1, 3):
        student = models.conv4(in_channels=1, image_size=8, num_classes=10, width=0.125)
        student.load_state_dict(start.state_dict())
        recipe = replace(LOGITS, accumulate=parts)
        found.append(training(digits, recipe, model=student, teacher=teacher, epochs=1).fit().model)
    for a, b in zip(found[0].parameters(), found[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "teacher", "task", "message"),
    [
        (LOGITS, None, "classification", "distilling logits needs a teacher, got none"),
        (
            LOGITS,
            network(),
            "regression",
            "takes scores of classes, got the task regression: choose attention",
        ),
    ],
)
def test_what_cannot_be_taught_is_refused(digits, recipe, teacher, task, message):
    with pytest.raises(InputError, match=message):
        training(digits, recipe, teacher=teacher, terms=Terms(TASKS[task]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distill": "hints"}, "unknown distillation 'hints'"),
        ({"distill": "logits", "distill_weight": 1.1}, "distill_weight must be at most 1, got 1.1"),
        ({"distill": "attention", "distill_weight": -1.0}, "distill_weight must be at least 0, got -1"),
        ({"distill": "logits", "temperature": 0.0}, "temperature must be above 0, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**change)


# Runs


def wanted(digits, recipe, budget, arms, match="epochs"):
    question = Settings((Budget.parse(budget),), arms, 1, match, recipe, PruneSettings(every=3))
    graph = Graph()
    ask(Architecture.of(network()), digits, question).add_to(graph)
    return graph


SIZE_ARMS = ("fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck", "channel-reparametrization")
WEIGHT_ARMS = tuple(name for name, arm in ARMS.items() if arm.zeroes)


@pytest.mark.parametrize(("budget", "arms"), [("params=60%", SIZE_ARMS), ("nonzeros=20%", WEIGHT_ARMS)])
def test_every_arm_that_trains_learns_from_the_dense_network(digits, budget, arms):
    graph = wanted(digits, LOGITS, budget, arms)
    plain = {node.name: node.run for node in wanted(digits, SMALL, budget, arms)}
    (dense, *others) = graph
    assert dense.run.run_id == plain[dense.name].run_id  # it learns from nobody
    for node in others:
        assert dense.name in node.after or node.run is None or not node.run.recipe.distills
        if node.run is None:  # its architecture is found first; it waits for the dense network then
            continue
        if "training first" in node.name:
            assert node.run.taught_by() is None
        else:
            assert node.run.taught_by().run_id == dense.run.run_id
            assert node.run.run_id != plain[node.name].run_id


def test_with_weight_0_every_run_is_the_same_run(digits):
    off = wanted(digits, replace(LOGITS, distill_weight=0.0), "params=60%", SIZE_ARMS)
    plain = wanted(digits, SMALL, "params=60%", SIZE_ARMS)
    ids = [[node.run and node.run.run_id for node in graph] for graph in (off, plain)]
    assert ids[0] == ids[1]
    assert [node.name for node in off] == [node.name for node in plain]


def test_a_comparison_waits_for_its_teacher(digits, tmp_path):
    graph = wanted(digits, LOGITS, "params=60%", ("width", "fisher-scratch"))
    session = Session(RunStore(tmp_path), Runtime("cpu"), Reporter())
    with session.working("test", graph.compute):
        make_graph(graph, session, Workers(1))
    made = Made(graph, session.store)
    nodes = {node.name.split(" params")[0]: node for node in graph}
    dense = made.record(next(iter(graph)))
    for name in ("width", "fisher-scratch"):
        record = made.record(nodes[name])
        assert record.identity["teacher"] == dense.run_id
        assert record.identity["recipe"]["distill_weight"] == 0.9
        teacher_macs = Architecture.of(network()).macs
        assert record.train_compute == 2 * 270 * (3 * record.macs + teacher_macs)
    assert nodes["width"].compute == made.record(nodes["width"]).train_compute


def test_what_a_teacher_is_changes_the_run(digits):
    def run(recipe, seed):
        common = {"architecture": Architecture.of(network()), "data": digits, "seed": 0}
        teacher = Train(**{**common, "seed": seed}, recipe=SMALL)
        return Train(**common, recipe=recipe, teacher=teacher).run_id

    found = [run(LOGITS, 0), run(LOGITS, 1), run(replace(LOGITS, temperature=2.0), 0), run(ATTENTION, 0)]
    assert len(set(found)) == 4
    assert run(SMALL, 0) == run(SMALL, 1) == run(replace(LOGITS, distill_weight=0.0), 0)
    assert run(ATTENTION, 0) == run(replace(ATTENTION, temperature=2.0), 0)  # of logits only


def cli(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["secateur", *line.split()])
    with pytest.raises(SystemExit) as found:
        main()
    out, err = capsys.readouterr()
    return found.value.code or 0, out + err


def test_the_command_line_learns_from_a_folder(tmp_path, monkeypatch, capsys):
    def run(line):
        return cli(line, tmp_path, monkeypatch, capsys)

    short = "--data digits --limit-train 200 --epochs 1"
    assert run(f"train --model wrn-10-0.5 {short} --out big")[0] == 0
    code, _ = run(f"train --model wrn-10-0.25 {short} --distill attention --teacher big --out small")
    assert code == 0
    record = Record.load(next((tmp_path / "small/runs").glob("train-*/record.json")))
    assert record.identity["teacher"].startswith("given-")
    for line, message in (
        (
            f"train --model wrn-10-0.25 {short} --distill logits --out no",
            "name the folder of a trained one, --teacher",
        ),
        (
            f"train --model wrn-10-0.25 {short} --teacher big --out no",
            "with --distill logits or attention: add it",
        ),
        (
            f"train --model wrn-10-0.25 {short} --distill logits --teacher nowhere --out no",
            "no folder 'nowhere'",
        ),
    ):
        code, said = run(line)
        assert code == 2
        assert message in said
        assert not (tmp_path / "no").exists()
