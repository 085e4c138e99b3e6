"""Limits: what budgets come to for one network, from what the user wrote to the cut."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import secateur as sc
from secateur.budget import COUNTERS, Budget, Budgets, Limits, one_budget
from secateur.deploy.latency import Latency
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.methods import (
    L1,
    SNIP,
    ChannelReparametrization,
    FilterNorm,
    Magnitude,
    Random,
    RandomChannels,
    Reparametrization,
    goal,
)
from secateur.progress import Reporter
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.session import Session
from secateur.runs.stop import Stop
from secateur.runs.store import RunStore
from secateur.surgery.anatomy import anatomy_of
from secateur.training.recipe import Recipe

COUNTED = sorted(COUNTERS)


class Ledger:
    """A network that is nothing but its counts."""

    def __init__(self, **counts: int):
        self.counts = counts

    def cost(self, resource: str) -> int:
        return self.counts[resource]


BOOKS = Ledger(params=4100, nonzeros=4000, macs=1_000_000, bytes=16_536)


# What budgets come to


@given(st.sampled_from(COUNTED), st.integers(1, 10**12))
def test_an_absolute_budget_is_itself(resource, amount):
    network = Ledger(**{resource: amount})
    limits = Limits.of(f"{resource}={amount}", network)
    assert dict(limits) == limits.identity() == {resource: amount}
    assert limits == Limits.at({resource: amount}) == Limits.of(limits, BOOKS)
    assert (limits.resource, limits.units) == (resource, amount)


@given(st.sampled_from(COUNTED), st.integers(1, 10**12), st.integers(1, 10_000))
def test_a_share_is_never_above_the_budget(resource, original, hundredths):
    """In whole numbers: units * 10,000 <= original * hundredths; nonzeros are the nearest."""
    limits = Limits.of(f"{resource}={hundredths / 100:.2f}%", Ledger(**{resource: original}))
    above = limits[resource] * 10_000 - original * hundredths
    assert above <= (5_000 if resource == "nonzeros" else 0)
    assert above > -(5_001 if resource == "nonzeros" else 10_000)


@given(st.lists(st.sampled_from(["params=40%", "macs=400k", "bytes=9kB"]), min_size=1, unique=True))
def test_the_order_in_which_budgets_are_written_does_not_matter(budgets):
    one, two = (Limits.of(",".join(texts), BOOKS) for texts in (budgets, budgets[::-1]))
    assert one == two
    assert hash(one) == hash(two)
    assert list(one) == [resource for resource in ("params", "macs", "bytes") if resource in one]
    assert str(one) == str(two)


@given(st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 9), min_size=1), st.data())
def test_they_are_met_where_no_cost_is_above_its_limit(units, data):
    costs = {resource: data.draw(st.integers(0, 9)) for resource in units}
    assert Limits.at(units).met({**costs, "something else": 99}) == (
        not [resource for resource, limit in units.items() if costs[resource] > limit]
    )


def test_a_module_counts_as_its_architecture_does():
    model = sc.models.wide_resnet(depth=10, in_channels=1, image_size=8)
    for resource in COUNTED:
        text = f"{resource}=37%"
        assert Limits.of(text, model) == Limits.of(text, sc.Architecture.of(model))


def test_what_is_limited_must_have_a_cost():
    with pytest.raises(KeyError, match="macs"):
        Limits.at({"macs": 5}).met({"params": 1})


# What goes into a run's hash: literal values that `Target.identity` gave at commit e086a27


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("params=25%", {"params": 43694}),
        ("macs=40%", {"macs": 659302}),
        ("bytes=100kB", {"bytes": 100000}),
        ("nonzeros=50%", {"nonzeros": 86920}),
        ("macs=1M,params=40k", {"macs": 1000000, "params": 40000}),
        (
            "bytes=60%,latency=50%@torch,params=50%",
            {"bytes": 425870, "params": 87389, "latency": "latency=50%@torch"},
        ),
        ("latency=2ms@onnxruntime:batch=8", {"latency": "latency=2ms@onnxruntime:batch=8"}),
    ],
)
def test_the_identity_is_what_it_was(text, identity):
    network = sc.Architecture.of(sc.models.wide_resnet(depth=16, in_channels=1, image_size=8))
    limits = Limits.of(text, network)
    assert limits.identity() == Target(limits).identity() == identity
    assert json.loads(json.dumps(limits.identity())) == identity
    if limits.latency is not None:
        assert limits.fixed(10**6).identity() == identity  # it is measured anew in every run


def stopped(removed=0, **costs):
    return Stop("prune-a-s0", "a", removed, costs)


def test_a_number_of_removals_is_a_target_too():
    assert Target(removals=7).identity() == {"removals": 7}
    assert Target(removals=7).lies_beyond(stopped(removed=7))
    assert not Target(removals=7).lies_beyond(stopped(removed=8))
    target = Target(Limits.at({"params": 100, "macs": 50}))
    assert target.lies_beyond(stopped(params=100, macs=51))
    assert not target.lies_beyond(stopped(params=100, macs=50))


# A latency


def test_a_latency_is_open_until_the_original_was_measured():
    limits = Limits.of("params=50%,latency=50%@torch", BOOKS)
    assert limits.open
    assert dict(limits) == {"params": 2050}
    assert "latency" not in limits
    assert str(limits) == "params=2050,latency=50%@torch"
    fixed = limits.fixed(1001)
    assert not fixed.open
    assert dict(fixed) == {"params": 2050, "latency": 500}
    assert limits.open  # the value itself never changes
    assert fixed.without_latency() == Limits.at({"params": 2050})
    assert fixed.met({"params": 2050, "latency": 500})
    assert not fixed.met({"params": 2050, "latency": 501})
    assert Limits.of("latency=2ms@torch", BOOKS).fixed(10**9)["latency"] == 2_000_000
    assert len({limits, fixed, limits.fixed(1001)}) == 2


def test_the_limits_of_a_state_take_the_place_of_ones_own():
    own = Limits.of("latency=50%@torch,params=50%", BOOKS).fixed(100)
    state = json.loads(json.dumps({"macs": 7, "latency": 999}))
    assert own.resumed(state) == replace(Limits.at({"macs": 7}), latency=own.latency, nanoseconds=999)
    assert own.resumed({"params": 9}).open
    with pytest.raises(InputError, match="has a limit on latency, got 'params=5': make the method with the"):
        Limits.at({"params": 5}).resumed(state)


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "params=5k",
            r"network's own size, 4,100 params; got 'params=5k' \(5,000\): ask for at most params=4",
        ),
        ("params=1G,macs=900G", "every one of 'params=1G, macs=900G' does: ask for less"),
        ("params=25%,params=4k", "every resource has one budget"),
        ("nonzeros=5%,params=5%", "cannot hold together with another"),
        ("parms=5%", "unknown budget resource 'parms'"),
    ],
)
def test_budgets_that_make_no_limits_are_refused(text, message):
    layer = nn.Linear(40, 100)
    layer.input_shape = (40,)  # what its MACs are counted at
    for original in (BOOKS, layer):
        with pytest.raises(InputError, match=message):
            Limits.of(text, original)


def test_of_several_one_may_be_loose():
    assert dict(Limits.of("params=50%,macs=900G", BOOKS)) == {"params": 2050, "macs": 900 * 10**9}
    assert dict(Limits.of("params=900G,latency=2ms@torch", BOOKS)) == {"params": 900 * 10**9}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Limits.at({"parms": 5}), "unknown resource 'parms': did you mean 'params'"),
        (lambda: Limits.at({"latency": 5}), "latency is measured on a machine, not counted"),
        (lambda: Limits.at({"params": -1}), "a whole number of params, at least 0, got -1"),
        (lambda: Limits.at({"params": 0.5}), "a whole number of params, at least 0, got 0.5"),
        (
            lambda: Limits.at({"params": 5, "macs": 4}).units,
            "one budget is taken here, got 'params=5,macs=4'",
        ),
        (lambda: Limits().units, "one budget is taken here, got 'none'"),
        (
            lambda: sc.Architecture.of(sc.models.conv4()).scaled_to(Limits.of("latency=1ms@torch", BOOKS)),
            "latency is measured on a machine, not counted",
        ),
        (
            lambda: Limits.at({"macs": 4}).resumed({}),
            "the state to continue from has no limits, got 'macs=4'",
        ),
        (lambda: Magnitude(Limits.at({"macs": 4})), "its budget must be in nonzeros or bytes, got 'macs=4'"),
        (
            lambda: ChannelReparametrization(Limits.at({"params": 5, "macs": 4}), steps=1),
            "one budget is taken here, got 'params=5,macs=4'",
        ),
        (
            lambda: ChannelReparametrization(Limits.at({"bytes": 5}), steps=1),
            "got 'bytes=5': ask for params, which",
        ),
        (
            lambda: SNIP(Limits.at({"nonzeros": 9000})).prepare(nn.Linear(40, 100)),
            r"network's own size, 4,000 nonzeros; got 'nonzeros=9000' \(9,000\)",
        ),
        (
            lambda: sc.Architecture.of(sc.models.conv4()).scaled_to(Limits.at({"params": 5, "macs": 4})),
            "one budget is taken here",
        ),
    ],
)
def test_limits_that_make_no_sense_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_what_a_method_of_one_budget_is_given():
    budget = Budget.parse("nonzeros=5%")
    assert one_budget("nonzeros=5%") == one_budget(budget) == one_budget(Budgets([budget])) == budget
    limits = Limits.at({"nonzeros": 5})
    assert one_budget(limits) is limits
    with pytest.raises(InputError, match="a budget's amount is a number"):
        one_budget(Budgets.parse("params=5k,macs=5%"))


# To the cut


@pytest.mark.parametrize("resource", COUNTED)
@pytest.mark.parametrize("build", [sc.models.conv4, lambda: sc.models.wide_resnet(depth=10)])
def test_an_architecture_takes_limits_as_it_takes_text(build, resource):
    architecture = sc.Architecture.of(build())
    limits = Limits.of(f"{resource}=40%", architecture)
    assert architecture.scaled_to(limits) == architecture.scaled_to(f"{resource}=40%")
    assert architecture.narrowed_to(limits) == architecture.narrowed_to(f"{resource}=40%")
    assert architecture.narrowed_to(limits).cost(resource) <= limits.units


def network(width: float = 0.5) -> nn.Module:
    torch.manual_seed(5)
    return sc.models.wide_resnet(depth=10, width=width, in_channels=1, image_size=8)


def images(_model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(4, 1, 8, 8), torch.arange(4))]


METHODS = {
    "random channels": lambda budget: RandomChannels(budget, every=1),
    "filter norm": lambda budget: FilterNorm(budget, every=1),
    "channel reparametrization": lambda budget: ChannelReparametrization(budget, steps=9),
    "magnitude": Magnitude,
    "random": Random,
    "snip": SNIP,
    "l1": L1,
    "exact": lambda budget: Reparametrization(budget, steps=9),
    "faithful": lambda budget: Reparametrization(budget, mode="faithful"),
}
CHANNELS = ("random channels", "filter norm", "channel reparametrization")


def limits_of(method) -> Limits:
    return getattr(method.goal, "limits", None) or method.limits if hasattr(method, "goal") else method.limits


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_given_text_or_limits(name):
    resource = "params" if name in CHANNELS else "nonzeros"
    prepared = []
    for wanted in (
        f"{resource}=60%",
        Budgets.parse(f"{resource}=60%"),
        Limits.of(f"{resource}=60%", network()),
    ):
        method = METHODS[name](wanted)
        model = network()
        method.prepare(model, images(model))
        prepared.append(limits_of(method))
    assert prepared[0] == prepared[1] == prepared[2]
    assert prepared[0][resource] == Budget.parse(f"{resource}=60%").limit(COUNTERS[resource](network()))


@pytest.mark.parametrize("name", METHODS)
def test_restored_it_has_the_limits_of_the_state(name):
    """Not those of what it was made with; networks cut already: test_resumed_limits.py."""
    resource = "params" if name in CHANNELS else "nonzeros"
    first, other = METHODS[name](f"{resource}=60%"), METHODS[name](f"{resource}=80%")
    for method in (first, other):
        model = network()
        method.prepare(model, images(model))
    state = json.loads(json.dumps(first.state()))
    assert limits_of(other) != limits_of(first)
    other.restore(state, first.tensors())
    assert limits_of(other) == limits_of(first)
    assert other.state()["limits"] == state["limits"] == dict(limits_of(first))


@pytest.mark.parametrize("name", ["magnitude", "l1", "exact", "faithful", "channel reparametrization"])
def test_states_that_earlier_versions_wrote_can_be_restored(name):
    method = METHODS[name]("params=60%" if name in CHANNELS else "nonzeros=60%")
    model = network()
    method.prepare(model, images(model))
    state = method.state()
    own = state.pop("limits")
    if name in CHANNELS:
        state["limit"] = 12345
        own = {"params": 12345}
    method.restore(state, method.tensors())
    assert dict(limits_of(method)) == own


def stand_in_clock(monkeypatch):
    """A latency of 1 us and 1 ns for every MAC."""

    def measure(model, _inputs, where):
        seconds = 1e-6 + anatomy_of(model).costs.now["macs"] * 1e-9
        return Latency(seconds, (seconds, seconds), 30, where.runtime, "0", 1, 1, "clock", "float32")

    monkeypatch.setattr(goal, "measure", measure)


def cut(method, model, steps: int) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _ in range(steps):
        if not method.finished:
            model = method.after_step(model, optimizer)
    return model


@pytest.mark.parametrize("budget", ["latency=50%@torch", "params=70%,latency=50%@torch", "macs=50%"])
def test_continued_on_the_network_as_it_is_now_it_ends_as_if_never_interrupted(budget, monkeypatch):
    """A share stays one of the network that pruning began with."""
    stand_in_clock(monkeypatch)
    whole = RandomChannels(budget, every=1, seed=1)
    model = cut(whole, whole.prepare(network()), 1000)
    first = RandomChannels(budget, every=1, seed=1)
    half = cut(first, first.prepare(network()), len(whole.removed) // 2)
    half = copy.deepcopy(first.finalize(half))
    second = RandomChannels(budget, every=1, seed=1)
    half = second.prepare(half)
    second.restore(json.loads(json.dumps(first.state())), first.tensors())
    half = cut(second, half, 1000)
    assert limits_of(second) == limits_of(whole)
    assert second.removed == whole.removed
    assert half.widths == model.widths


def test_limits_of_a_larger_original_are_taken_where_text_would_be_refused():
    """The small network is within them already: one window more, and it is finished."""
    small = network(0.25)
    limits = Limits.at({"params": COUNTERS["params"](small) + 10})
    with pytest.raises(InputError, match="must not exceed the network's own size"):
        RandomChannels(str(limits), every=1).prepare(small)
    method = RandomChannels(limits, every=1)
    model = cut(method, method.prepare(small), 1)
    assert method.finished
    assert model.widths == network(0.25).widths


def test_several_budgets_that_do_not_bind_are_refused_before_a_run():
    architecture = sc.Architecture.of(network())
    with pytest.raises(InputError, match="every one of 'params=1G, macs=900G' does"):
        Limits.of("params=1G,macs=900G", architecture)
    Target(Limits.of("params=1G,macs=50%", architecture)).check(architecture, PruneSettings())


class Breaks(Reporter):
    """Ctrl-C while channels go."""

    def epoch(self, row):
        if row.get("removed", 0) > 5:
            raise KeyboardInterrupt


def test_a_run_down_to_a_share_of_a_latency_resumes(digits, tmp_path, monkeypatch):
    """The share is one of the network before pruning; of the network broken off it would be out of reach."""
    stand_in_clock(monkeypatch)
    architecture = sc.Architecture.of(network())
    original = 1000 + architecture.macs
    least = 1000 + architecture.with_widths([1] * len(architecture.widths)).macs
    percent = math.ceil(105 * least / original)
    target = Target(Limits.of(f"latency={percent}%@torch", architecture))

    def make(folder, reporter):
        run = PruneChannels(
            architecture=architecture,
            data=digits,
            recipe=Recipe(epochs=1, batch_size=64),
            seed=0,
            settings=PruneSettings(every=1, at_once=4),
            target=target,
        )
        return Session(RunStore(tmp_path / folder), Runtime("cpu"), reporter).make(run)

    with pytest.raises(KeyboardInterrupt):
        make("broken", Breaks())
    resumed, whole = make("broken", Reporter()), make("whole", Reporter())
    assert len(whole.removed) > 6
    assert resumed.removed == whole.removed
    assert resumed.limits == whole.limits == {"latency": original * percent // 100}
    assert 1000 + whole.macs <= whole.limits["latency"] < 1000 + whole.removed[-1].macs
    assert whole.identity["target"] == {"latency": f"latency={percent}%@torch"}
