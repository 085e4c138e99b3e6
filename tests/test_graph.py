"""The graph of runs: what there is, what waits for what, what may begin when; runs, written down."""

from __future__ import annotations

import gc
import json
import signal
import sys
import tracemalloc
from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import made
import secateur as sc
from secateur.architecture.elsewhere import importable_name
from secateur.architecture.resolve import resolve_model
from secateur.budget import Budget, Limits
from secateur.cli.main import main
from secateur.compare.arms import ARMS, WEIGHT_ARMS
from secateur.compare.settings import Settings, Sparsity
from secateur.compare.wanted import ask
from secateur.errors import InputError
from secateur.papers import crowley2018, dupont2021
from secateur.records.record import Record, Removal
from secateur.runs.gate_channels import GateChannels
from secateur.runs.graph import Graph, Made, NotMadeError, write_plan
from secateur.runs.portable import KINDS, read_data, run_as_json, run_from_json, write_data
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.run import Run
from secateur.runs.schedule import Schedule
from secateur.runs.sparsify import Sparsify
from secateur.runs.store import RunStore
from secateur.runs.train import Given, Train, Tune
from secateur.training.recipe import OPTIMIZERS, PRECISIONS, SCHEDULES, SELECTING_SPLITS, Recipe

SHORT = Recipe(epochs=1, batch_size=64)


@pytest.fixture(scope="module")
def network(digits):
    return resolve_model("wrn-10-1", digits)


@pytest.fixture
def train(digits, network):
    """Make a run that trains for some epochs."""

    def run(epochs, seed=0, label=""):
        recipe = replace(SHORT, epochs=epochs)
        return Train(architecture=network, data=digits, recipe=recipe, seed=seed, label=label)

    return run


def never(made):
    raise NotMadeError("nobody tells")


def later(graph, *names, after=(), compute=0.0):
    """Nodes of runs that nobody will ever be able to tell."""
    found = [graph.add_later(name, never, after, compute) for name in names]
    return found[0] if len(found) == 1 else found


# The graph


def test_a_run_that_is_wanted_twice_is_one_node(train):
    graph = Graph()
    one, other = graph.add(train(1, label="dense")), graph.add(train(1, label="width, as it happens"))
    assert one is other
    assert [node.name for node in graph] == ["dense"]
    assert graph.add(train(1, seed=1, label="seed 1")) is not one
    assert len(graph) == 2


def test_what_a_run_goes_on_from_is_added_before_it(digits, network, train):
    graph, recipe = Graph(), replace(SHORT, epochs=3)
    prune = PruneChannels(
        architecture=network,
        data=digits,
        recipe=recipe,
        seed=0,
        label="pruned",
        settings=PruneSettings(every=1),
        target=Target(removals=3),
        about=5.0,
    )
    node = graph.add(prune)
    assert {each.name: each.after for each in graph} == {
        "pruned: training first": (),
        "pruned": ("pruned: training first",),
    }
    first = graph.nodes["pruned: training first"]
    assert first.run.run_id == train(3).run_id
    assert (node.compute, graph.compute) == (5.0, 5.0 + first.compute)
    named = Graph()
    dense = named.add(train(3, label="dense"))
    assert named.add(prune, [dense]).after == ("dense",)
    assert named.add(train(3)) is dense


def test_names_are_unique(train):
    graph = Graph()
    assert [graph.add(train(epochs, label="same")).name for epochs in (1, 2, 3)] == [
        "same",
        "same #2",
        "same #3",
    ]
    assert later(graph, "same").name == "same #4"


def test_a_finished_run_is_known_by_its_record_alone(train, tmp_path):
    graph, store = Graph(), RunStore(tmp_path)
    one, two = (graph.add(train(epochs, label=str(epochs))) for epochs in (1, 2))
    follows = graph.add_later("follows", lambda made: train(made.record(one).params), [one], 1.0)
    found = Made(graph, store)
    assert found.unfinished() == [one, two, follows]
    with pytest.raises(NotMadeError):
        found.record(one)
    with pytest.raises(NotMadeError):
        found.run(follows)
    store.save_record(made.record(one.run.run_id, params=7))
    assert found.unfinished() == [two, follows]
    assert found.run(follows).recipe.epochs == 7
    assert found.run(follows) is found.run(follows)
    store.save_record(made.record(found.run(follows).run_id, trained=one.run.run_id))
    assert found.unfinished() == [two]
    assert found.before(found.record(follows)).params == 7
    assert found.before(found.record(one)) is None


def test_the_plan_is_written_beside_the_runs(train, tmp_path):
    graph = Graph()
    one = graph.add(train(1, label="one"))
    later(graph, "two", after=[one], compute=3.0)
    (tmp_path / "runs").mkdir()
    write_plan(Made(graph, RunStore(tmp_path)))
    rows = json.loads((tmp_path / "plan.json").read_text())["runs"]
    assert rows == [
        {"name": "one", "after": [], "compute": one.compute, "run_id": one.run.run_id},
        {"name": "two", "after": ["one"], "compute": 3.0, "run_id": None},
    ]


# What may begin when


def names_of(schedule):
    """Take all that can begin."""
    found = []
    while (node := schedule.take()) is not None:
        found.append(node.name)
    return found


def test_whoever_has_the_longest_way_to_the_end_goes_first(tmp_path):
    graph = Graph()
    a = later(graph, "a", compute=1)
    b = later(graph, "b", after=[a], compute=9)
    c = later(graph, "c", compute=5)
    d = later(graph, "d", compute=11)
    e = later(graph, "e", after=[b], compute=1)
    schedule = Schedule(graph, Made(graph, RunStore(tmp_path)))
    assert schedule.ways == {"a": 11, "b": 10, "c": 5, "d": 11, "e": 1}
    assert schedule.ready == 3
    assert [schedule.take(), schedule.take()] == [a, d]
    assert schedule.ready == 1
    schedule.finish(a)
    assert names_of(schedule) == ["b", "c"]
    for node in (b, c, d):
        schedule.finish(node)
    assert not schedule.over
    assert schedule.take() is e
    assert not schedule.over
    schedule.finish(e)
    assert schedule.over
    assert schedule.waiting == {}


def test_what_waits_for_finished_runs_waits_no_more(tmp_path):
    graph = Graph()
    a = later(graph, "a")
    b = later(graph, "b", after=[a])
    c = later(graph, "c", after=[a, b])
    schedule = Schedule([b, c], Made(graph, RunStore(tmp_path)))
    assert names_of(schedule) == ["b"]
    schedule.finish(b)
    assert names_of(schedule) == ["c"]


def test_what_follows_from_others_begins_as_soon_as_it_can_be_told(train, tmp_path):
    """Copycat's profile, say: the first pruned network that lost enough, whatever becomes of the smaller."""
    graph, store = Graph(), RunStore(tmp_path)
    one, two = (graph.add(train(epochs, label=name)) for epochs, name in ((1, "one"), (2, "two")))
    early = graph.add_later("early", lambda made: train(made.record(one).params), [one, two], 0.0)
    graph.add(train(9, label="known"), [one, two])
    schedule = Schedule(graph, Made(graph, store))
    assert names_of(schedule) == ["two", "one"]
    store.save_record(made.record(one.run.run_id, params=5))
    schedule.finish(one)
    assert names_of(schedule) == ["early"]  # `known` waits: what it is does not say that it may begin
    schedule.finish(early)
    schedule.finish(two)
    assert names_of(schedule) == ["known"]


def test_what_waits_for_a_failed_run_never_begins(tmp_path):
    graph = Graph()
    a, b = later(graph, "a", "b")
    c = later(graph, "c", after=[a])
    later(graph, "d", after=[c])
    later(graph, "e", after=[b, a])
    f = later(graph, "f", after=[b])
    schedule = Schedule(graph, Made(graph, RunStore(tmp_path)))
    assert names_of(schedule) == ["a", "b"]
    schedule.fail(a)
    schedule.finish(b)
    assert names_of(schedule) == ["f"]
    schedule.finish(f)
    assert schedule.over
    assert list(schedule.waiting) == ["c", "d", "e"]


# What a comparison's arms stand on


def waits(digits, model, asked):
    graph = Graph()
    ask(resolve_model(model, digits), digits, asked).add_to(graph)
    assert all(node.compute >= 0 for node in graph)
    return {node.name: node.after for node in graph}


def budgets(*texts):
    return tuple(sc.Budget.parse(text) for text in texts)


def test_arms_wait_for_what_they_stand_on(digits):
    asked = Settings(budgets("params=30%", "params=60%"), recipe=SHORT)
    assert waits(digits, "wrn-10-1", asked) == {
        "wrn-10-1 seed 0": (),
        "fisher-tuned params=60% seed 0": ("wrn-10-1 seed 0",),
        "fisher-tuned params=30% seed 0": ("fisher-tuned params=60% seed 0", "wrn-10-1 seed 0"),
        "copycat profile seed 0": ("fisher-tuned params=60% seed 0", "fisher-tuned params=30% seed 0"),
        "fisher-scratch params=60% seed 0": ("fisher-tuned params=60% seed 0",),
        "copycat params=60% seed 0": ("copycat profile seed 0",),
        "width params=60% seed 0": (),
        "bottleneck params=60% seed 0": (),
        "channel-reparametrization params=60% seed 0": (),
        "fisher-scratch params=30% seed 0": ("fisher-tuned params=30% seed 0",),
        "copycat params=30% seed 0": ("copycat profile seed 0",),
        "width params=30% seed 0": (),
        "bottleneck params=30% seed 0": (),
        "channel-reparametrization params=30% seed 0": (),
    }


def test_equal_compute_waits_for_what_pruning_spends(digits):
    asked = Settings(budgets("params=50%"), ("width", "copycat"), seeds=2, match="compute", recipe=SHORT)
    found = waits(digits, "wrn-10-1", asked)
    assert found["width params=50% seed 1"] == ("fisher-tuned params=50% seed 1",)
    assert found["copycat params=50% seed 1"] == ("copycat profile seed 1", "fisher-tuned params=50% seed 1")
    assert found["fisher-tuned params=50% seed 1"] == ("wrn-10-1 seed 1",)


def test_arms_that_zero_weights_wait_for_the_training_that_they_share(digits):
    arms = ("magnitude", "magnitude-tuned", "random-tuned", "l1", "snip", "width")
    asked = Settings(budgets("nonzeros=5%"), arms, recipe=Recipe(epochs=2, batch_size=64))
    assert waits(digits, "wrn-10-1", asked) == {
        "wrn-10-1 seed 0": (),
        "magnitude-tuned nonzeros=5% seed 0: training first": (),
        "magnitude nonzeros=5% seed 0": ("wrn-10-1 seed 0",),
        "magnitude-tuned nonzeros=5% seed 0": ("magnitude-tuned nonzeros=5% seed 0: training first",),
        "random-tuned nonzeros=5% seed 0": ("magnitude-tuned nonzeros=5% seed 0: training first",),
        "l1 nonzeros=5% seed 0": (),
        "snip nonzeros=5% seed 0": (),
        "width nonzeros=5% seed 0": (),
    }


def test_two_arms_that_come_to_the_same_network_are_one_run(digits):
    """A plain chain has no outputs to spare: narrower and bottlenecked are the same."""
    asked = Settings(budgets("params=50%"), ("width", "bottleneck"), recipe=SHORT)
    assert waits(digits, "conv4", asked) == {"width params=50% seed 0": ()}


def of_paper(grid):
    graph = Graph()
    for cell in grid.cells:
        grid.nodes(cell, graph, 0)
    return {node.name: node.after for node in graph}


def test_a_papers_cells_share_what_is_trained_before_a_cut(tmp_path):
    cells = dupont2021.parse_cells("conv4/cifar10/90%,conv4/cifar10/99%")
    methods = ("magnitude", "magnitude-tuned", "reparametrization")
    grid = dupont2021.Reproduction(tmp_path, "smoke", cells, methods=methods, seeds=1, device="cpu")
    first = "conv4/cifar10/90% magnitude-tuned seed 0: training first"
    assert of_paper(grid) == {
        "conv4/cifar10 seed 0": (),
        "conv4/cifar10/90% magnitude seed 0": ("conv4/cifar10 seed 0",),
        first: (),
        "conv4/cifar10/90% magnitude-tuned seed 0": (first,),
        "conv4/cifar10/90% reparametrization seed 0": (),
        "conv4/cifar10/99% magnitude seed 0": ("conv4/cifar10 seed 0",),
        "conv4/cifar10/99% magnitude-tuned seed 0": (first,),
        "conv4/cifar10/99% reparametrization seed 0": (),
    }


def test_both_sizes_of_copycat_share_one_trajectory(tmp_path):
    """And nobody trains the large networks that SNIP prunes before training."""
    grid = crowley2018.Snip(tmp_path, "smoke", seeds=1, device="cpu")
    assert of_paper(grid) == {
        "snip wrn-22-8 seed 0": (),
        "wrn-16-0.5 seed 0": (),
        "copycat profile seed 0": ("wrn-16-0.5 seed 0",),
        "copycat params=35.7% seed 0": ("copycat profile seed 0",),
        "snip wrn-16-8 seed 0": (),
        "copycat params=22.3% seed 0": ("copycat profile seed 0",),
    }


# Written down for another process


def small_net():
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU()),
        *(torch.nn.Flatten(), torch.nn.Linear(128, 10)),
    )


def of_a_factory():
    model = small_net()
    sc.inspect(model, torch.zeros(2, 1, 8, 8), factory=small_net)
    return sc.Architecture.of(model)


NETWORKS = {
    "family": lambda digits: resolve_model("wrn-10-0.5", digits),
    "narrower": lambda digits: resolve_model("wrn-10-0.5", digits).narrowed_to(Budget.parse("params=50%")),
    "factory": lambda digits: of_a_factory(),
    "factory, cut": lambda digits: of_a_factory().with_widths([5]),
}


@pytest.fixture(scope="module", params=NETWORKS)
def whichever(request, digits):
    return NETWORKS[request.param](digits)


def kinds_of_runs(folder):
    """Every kind of run with every kind of setting: (class, its own settings)."""
    sparse = Settings(
        budgets("nonzeros=5%"),
        recipe=replace(SHORT, epochs=4),
        sparsity=Sparsity(l1_strength=2e-3, reparametrization={"floor": 0.1}),
    )
    limits = Limits.at({"params": 700, "macs": 5000})
    targets = {
        "removals": Target(removals=2),
        "params": Target(Limits.at({"params": 700})),
        "several": Target(limits),
        "latency": Target(Limits(limits.counted, Budget.parse("latency=2ms@onnxruntime"))),
        "latency, measured": Target(Limits((), Budget.parse("latency=50%@torch"), 12345)),
    }
    settings = PruneSettings(every=3, beta=1e-6, lr=0.01, method="taylor", granularity=2, at_once=4)
    given = PruneSettings(trained=True, weights=folder)
    found = {
        "train": (Train, {}),
        "given by its factory": (Given, {}),
        "given by a folder": (Given, {"weights": folder}),
        "gated": (GateChannels, {"limits": Limits.at({"macs": 5000})}),
        "prune a given one": (PruneChannels, {"settings": given, "target": targets["params"], "about": 0.1}),
    }
    found["tuned"] = Tune, {"after": lambda own: PruneChannels(**own, **found["prune a given one"][1])}
    taught = {"recipe": replace(SHORT, distill="logits"), "teacher": lambda own: Train(**own)}
    found["taught"] = Train, taught
    for name, target in targets.items():
        found[f"prune to {name}"] = PruneChannels, {"settings": settings, "target": target, "about": 1e12}
    for name in WEIGHT_ARMS:
        shares = ARMS[name].shares(sparse.recipe, sparse.sparsity)
        own = {"epochs": shares.epochs, "recipe": shares.recipe, "training": shares.training}
        method = ARMS[name].method(sparse.sparsity, 3)
        found[name] = Sparsify, {**own, "method": method, "limits": Limits.at({"nonzeros": 99})}
    return found


def settings_of(run):
    """All that a run is given but its network and images."""
    found = {
        field.name: getattr(run, field.name)
        for field in fields(run)
        if field.name not in ("architecture", "data")
    }
    return {name: value.run_id if isinstance(value, Run) else value for name, value in found.items()}


def there_and_back(run):
    """The run, as another process has it."""
    return run_from_json(json.loads(json.dumps(run_as_json(run))), run.data)


def test_every_kind_of_run_comes_back_as_it_went(whichever, digits, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    tried = kinds_of_runs(tmp_path)
    assert {kind for kind, _ in tried.values()} == set(KINDS.values())
    assert {name for name, (kind, _) in tried.items() if kind is Sparsify} == set(WEIGHT_ARMS)
    for name, (kind, own) in tried.items():
        common = {"architecture": whichever, "data": digits, "seed": 3, "recipe": SHORT}
        own = {setting: value(common) if callable(value) else value for setting, value in own.items()}
        run = kind(**{**common, "label": f"{name} ☃", **own})
        back = there_and_back(run)
        assert type(back) is kind, name
        assert back.run_id == run.run_id, name
        assert settings_of(back) == settings_of(run), name
        assert back.architecture.widths == run.architecture.widths, name
        assert back.first is None or back.first.run_id == run.first.run_id, name


def test_what_a_comparison_asks_for_can_all_be_written_down(digits, network):
    for budget in ("params=50%", "nonzeros=5%"):
        graph = Graph()
        ask(network, digits, Settings(budgets(budget), recipe=replace(SHORT, epochs=2))).add_to(graph)
        for node in graph:
            if node.run is not None:
                assert there_and_back(node.run).run_id == node.run.run_id


shares = st.floats(0.01, 0.99)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(
    recipe=st.builds(
        Recipe,
        epochs=st.integers(1, 10**4),
        batch_size=st.integers(2, 10**4),
        lr=st.floats(0, 10, exclude_min=True),
        momentum=st.floats(0, 1, exclude_max=True),
        weight_decay=st.floats(0, 1),
        milestones=st.lists(shares, max_size=4, unique=True).map(lambda found: tuple(sorted(found))),
        gamma=st.floats(0, 1, exclude_min=True),
        pad=st.none() | st.integers(0, 7),
        flip=st.none() | st.booleans(),
        precision=st.sampled_from(PRECISIONS),
        schedule=st.sampled_from(SCHEDULES),
        patience=st.integers(1, 99),
        early_stop=st.none() | st.integers(1, 99),
        select_on=st.sampled_from(SELECTING_SPLITS),
        optimizer=st.sampled_from([*OPTIMIZERS]),
        warmup=st.floats(0, 9),
        clip_norm=st.none() | st.floats(0.1, 9),
        accumulate=st.integers(1, 2),
        ema=st.none() | shares,
    ),
    seed=st.integers(0, 2**31),
    label=st.text(),
)
def test_every_recipe_comes_back_as_it_went(digits, network, recipe, seed, label):
    run = Train(architecture=network, data=digits, recipe=recipe, seed=seed, label=label)
    back = there_and_back(run)
    assert (back.run_id, settings_of(back)) == (run.run_id, settings_of(run))


def test_another_network_than_the_one_that_was_written_is_refused(digits, network, train):
    content = run_as_json(train(1, label="width params=50% seed 0"))
    content["architecture"]["whole"]["family"]["widths"][0] += 1
    content["architecture"]["widths"][0] += 1
    with pytest.raises(InputError, match="'width params=50% seed 0' is another run in another process"):
        run_from_json(content, digits)


def test_images_come_back_as_they_went(digits, tmp_path):
    write_data(digits, tmp_path / "data.safetensors")
    found = read_data(tmp_path / "data.safetensors")
    for name in ("train", "val", "test"):
        ours, theirs = getattr(digits, name), getattr(found, name)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
    for name in ("name", "label", "classes", "mean", "std", "augmentation", "fingerprint"):
        assert getattr(digits, name) == getattr(found, name)


def test_only_what_can_be_imported_has_a_name():
    """A file's word for a factory is nobody's reason to import anything."""
    images = torch.zeros(2, 1, 8, 8)
    for factory in (lambda: small_net(), small_net):
        model = factory()
        sc.inspect(model, images, factory=factory)
        origin = sc.Architecture.of(model).origin
        expected = None if factory.__name__ == "<lambda>" else f"{__name__}:small_net"
        assert importable_name(origin) == expected
    origin.name = "os:system"
    assert importable_name(origin) == f"{__name__}:small_net"


def test_a_run_whose_network_nobody_else_can_build_is_refused(digits):
    model = small_net()
    sc.inspect(model, torch.zeros(2, 1, 8, 8), factory=lambda: small_net())
    run = Train(architecture=sc.Architecture.of(model), data=digits, recipe=SHORT, seed=0, label="x")
    with pytest.raises(InputError, match="cannot be imported by another process"):
        run_as_json(run)


# Ten thousand runs

MEGABYTE = 2**20
MOST_MEMORY = 60 * MEGABYTE
"""6 kB for a run, `runs list` included: less than its record takes."""


class StandIn:
    """Leaves records as runs would have, without making any."""

    def __init__(self, store, architecture):
        self.store, self.groups = store, architecture.group_names()
        lost = {"group": self.groups[0], "params": 1, "macs": 9, "examples": 64}
        self.removed = tuple(Removal(channel=channel, **lost) for channel in range(8))

    def make(self, run):
        record = made.record(
            run.run_id,
            label=run.label,
            seed=run.seed,
            identity={"recipe": {"epochs": run.recipe.epochs}},
            architecture={"widths": list(run.architecture.widths), "groups": list(self.groups)},
            removed=self.removed if isinstance(run, PruneChannels) else None,
        )
        folder = self.store.path(run.run_id)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record.to_json()))


@pytest.fixture
def opened(monkeypatch):
    """How often each record was read."""
    found, load = Counter(), Record.load.__func__

    def counting(cls, path):
        found[path.parent.name] += 1
        return load(cls, path)

    monkeypatch.setattr(Record, "load", classmethod(counting))
    return found


def records_kept():
    """How many records somebody holds on to."""
    gc.collect()
    return sum(type(each) is Record for each in gc.get_objects())


def made_to_the_end(graph, store, network):
    """Schedule all of a graph, with a stand-in for every run; the names in order."""
    found, stand_in, order = Made(graph, store), StandIn(store, network), []
    left = found.unfinished()
    assert len(left) == len(graph)
    schedule = Schedule(left, found)
    while (node := schedule.take()) is not None:
        order.append(node.name)
        if not found.has(node):
            stand_in.make(found.run(node))
        schedule.finish(node)
    assert schedule.over
    assert not schedule.waiting
    return order


def listed(folder, monkeypatch, capsys):
    """The lines of `secateur runs list`."""
    monkeypatch.setattr(sys, "argv", ["secateur", "runs", "list", str(folder)])
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        main()
    signal.signal(signal.SIGTERM, handler)
    assert stop.value.code == 0
    return capsys.readouterr().out.splitlines()


KNOWN = ("fisher-tuned", "width", "bottleneck")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arms", "a_seed", "seeds", "read"),
    [(KNOWN, 7, 1430, 0), ((), 14, 715, 4)],
    ids=["known", "found by pruning"],
)
def test_ten_thousand_runs(arms, a_seed, seeds, read, digits, network, tmp_path, opened, monkeypatch, capsys):
    """Planned, made, found finished, listed; records are read where runs follow from them, and not kept.

    Args:
        a_seed: runs of a seed.
        read: how often at most a record is read to tell what is finished.
    """
    asked = Settings(budgets("params=30%", "params=60%"), arms, seeds, recipe=SHORT, copycat_after=5)
    graph, store, elsewhere = Graph(), RunStore(tmp_path), records_kept()
    ask(network, digits, asked).add_to(graph)
    assert len(graph) == a_seed * seeds > 10_000
    order = made_to_the_end(graph, store, network)
    assert sorted(order) == sorted(graph.nodes)
    assert max(opened.values(), default=0) <= read
    opened.clear()
    again = Made(graph, store)
    assert again.unfinished() == []
    assert max(opened.values(), default=0) <= read
    opened.clear()
    write_plan(again)
    assert opened == {}
    assert records_kept() == elsewhere
    lines = listed(tmp_path, monkeypatch, capsys)
    assert sum("seed" in line for line in lines) == len(store.ids())


@pytest.mark.slow  # `tracemalloc` makes it four times as slow
def test_ten_thousand_runs_in_little_memory(digits, network, tmp_path, monkeypatch, capsys):
    asked = Settings(budgets("params=30%", "params=60%"), KNOWN, 1430, recipe=SHORT)
    wanted, store = ask(network, digits, asked), RunStore(tmp_path)
    tracemalloc.start()
    try:
        graph = Graph()
        wanted.add_to(graph)
        made_to_the_end(graph, store, network)
        listed(tmp_path, monkeypatch, capsys)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
