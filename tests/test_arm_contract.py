"""Every arm, through the same assertions. An arm that is missing from CASES fails."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.cli import names
from secateur.compare import results as results_files
from secateur.compare.arms import ARMS, default_arms
from secateur.compare.settings import Settings
from secateur.compare.wanted import ask
from secateur.network.masks import count_nonzeros
from secateur.progress import Reporter
from secateur.runs.graph import Graph, Made
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=64, lr=0.05)
MODEL, SIZE, ZEROS = "wrn-10-0.25", "params=60%", "nonzeros=20%"
FAST = {"recipe": RECIPE, "prune": PruneSettings(every=1), "device": "cpu", "workers": 1}


@dataclass(frozen=True)
class Case:
    """An arm as it is tested.

    Attributes:
        budget: one that it takes.
        scratch: its network is trained from scratch, so that its plan is exact where it is known.
        finds: pruning finds its architecture, which is counted as discovery.
    """

    budget: str
    scratch: bool = False
    finds: bool = False


CASES = {
    "ac-dc": Case(ZEROS),
    "bottleneck": Case(SIZE, scratch=True),
    "channel-reparametrization": Case(SIZE),
    "copycat": Case(SIZE, scratch=True, finds=True),
    "dynamic-feedback": Case(ZEROS),
    "fisher-scratch": Case(SIZE, scratch=True, finds=True),
    "fisher-tuned": Case(SIZE),
    "gradual-magnitude": Case(ZEROS),
    "granet": Case(ZEROS),
    "iterative-magnitude": Case(ZEROS),
    "l0": Case(ZEROS),
    "l1": Case(ZEROS),
    "magnitude": Case(ZEROS),
    "magnitude-tuned": Case(ZEROS),
    "magnitude-tuned-layerwise": Case(ZEROS),
    "powerpropagation": Case(ZEROS),
    "random-tuned": Case(ZEROS),
    "random-tuned-layers": Case(ZEROS),
    "reparametrization": Case(ZEROS),
    "reparametrization-faithful": Case(ZEROS),
    "rigl": Case(ZEROS),
    "set": Case(ZEROS),
    "snip": Case(ZEROS),
    "spartan": Case(ZEROS),
    "str": Case(ZEROS),
    "width": Case(SIZE, scratch=True),
}


def test_every_arm_is_in_the_contract():
    assert set(CASES) == set(ARMS)


@pytest.fixture(scope="module")
def few(digits):
    """A third of the images that other tests take."""
    return sc.data.load_data("digits", limit_train=120)


@pytest.fixture(scope="module")
def together(few, tmp_path_factory):
    """All arms of a kind in one comparison, by budget."""
    found = {}
    for budget in (SIZE, ZEROS):
        out = tmp_path_factory.mktemp("together")
        found[budget] = sc.compare(MODEL, few, [budget], arms=kin(budget), out=out, **FAST)
    return found


def point_of(result, name):
    (point,) = (point for point in result.points if point.arm == name)
    return point


def kin(budget):
    """The arms that are compared at a budget."""
    return tuple(name for name, case in CASES.items() if case.budget == budget)


def wanted(budget, few):
    settings = Settings((sc.Budget.parse(budget),), kin(budget), recipe=RECIPE, prune=FAST["prune"])
    return ask(resolve_model(MODEL, few), few, settings)


@pytest.mark.parametrize("name", CASES)
def test_it_names_itself(name):
    arm = ARMS[name]
    assert arm.name == name
    assert arm.meaning
    assert not arm.meaning.endswith(".")
    assert name in names.arms().split(", ")
    assert (name in names.arms(names.FIRST_OF_WEIGHTS).split(", ")) == arm.zeroes
    assert [other for other in ARMS.values() if other.place == arm.place] == [arm]


@pytest.mark.parametrize("name", CASES)
def test_the_budget_is_met(name, few, together):
    result = together[CASES[name].budget]
    point = point_of(result, name)
    network = sc.load(result.directory / "runs" / point.run_id)
    whole = resolve_model(MODEL, few)
    if ARMS[name].zeroes:
        assert count_nonzeros(network) == point.nonzeros == round(0.2 * whole.cost("nonzeros"))
        assert sc.Architecture.of(network) == whole
    else:
        params = sum(parameter.numel() for parameter in network.parameters())
        assert params == point.params <= int(0.6 * whole.params)


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_what_happens(name, few, together):
    question = wanted(CASES[name].budget, few)
    graph = Graph()
    (replicate,) = question.add_to(graph)
    (budget,) = question.question.budgets
    node, row = ARMS[name].node(replicate, budget), ARMS[name].row(replicate, budget)
    result = together[CASES[name].budget]
    point, made = point_of(result, name), Made(graph, RunStore(result.directory))
    assert made.run(node).run_id == point.run_id
    assert set(node.after) <= set(list(graph.nodes)[: list(graph.nodes).index(node.name)])
    assert row.arm == name
    assert row.limit == question.question.units[budget.text]
    assert row.compute == node.compute > 0 or name == "magnitude"  # which cuts what is trained already
    if row.exact:
        assert (row.params, row.macs) == (point.params, point.macs)
        assert row.epochs == point.epochs
        assert row.compute == made.record(node).train_compute
    else:
        assert point.params <= row.params


@pytest.mark.parametrize("name", CASES)
def test_costs_add_up(name, few, together):
    """What a network cost is all training that it went through itself; what found it is told apart."""
    case, result = CASES[name], together[CASES[name].budget]
    point, store = point_of(result, name), RunStore(result.directory)
    record = store.record(point.run_id)
    before = store.record(record.trained) if record.trained else None
    assert point.train_compute == record.train_compute + (before.train_compute if before else 0)
    assert (point.discovery_compute > result.results.dense[0].train_compute) == case.finds
    assert bool(point.discovery_compute) == case.finds
    if case.scratch:
        assert point.train_compute == RECIPE.epochs * len(few.train) * 3 * point.macs


@pytest.mark.parametrize("name", CASES)
def test_alone_and_broken_off_it_comes_to_the_same(name, few, together, tmp_path, monkeypatch):
    """Interrupted after the first epoch of its own run, then continued by the same call."""
    monkeypatch.setattr(results_files, "rewrite_report", lambda *_: None)  # which takes longer than all else

    class Breaks(Reporter):
        label = ""

        def run_started(self, label, compute):
            self.label = label

        def epoch(self, row):
            if self.label.startswith(f"{name} "):
                raise KeyboardInterrupt

    def alone(**more):
        return sc.compare(MODEL, few, [CASES[name].budget], arms=[name], out=tmp_path, **FAST, **more)

    trains = name != "magnitude"  # which cuts at once
    if trains:
        with pytest.raises(KeyboardInterrupt):
            alone(reporter=Breaks())
    found, expected = (point_of(result, name) for result in (alone(), together[CASES[name].budget]))
    assert replace(found, wall_s=0.0) == replace(expected, wall_s=0.0)


@pytest.mark.parametrize("name", CASES)
def test_it_is_shown_in_the_report(name, together):
    result = together[CASES[name].budget]
    page = (result.directory / "report.html").read_text()
    assert name in page
    assert ARMS[name].meaning.replace("’", "&#8217;") in page or ARMS[name].meaning in page
    written = json.loads((result.directory / "results.json").read_text())
    assert name in {row["arm"] for row in written["summary"]}


def test_what_is_compared_where_nobody_says():
    """In the order in which they are compared."""
    assert (
        default_arms("params")
        == default_arms("macs")
        == (
            *(
                "fisher-tuned",
                "fisher-scratch",
                "copycat",
                "width",
                "bottleneck",
                "channel-reparametrization",
            ),
        )
    )
    assert default_arms("nonzeros") == (
        *("magnitude", "magnitude-tuned", "reparametrization-faithful", "reparametrization", "width"),
    )
