"""Latency on another device: tables with literal costs, what they foretell, and pruning to them."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import secateur as sc
from secateur.budget import Budget, Budgets, Limits
from secateur.deploy.latency import measure
from secateur.deploy.layer_shapes import layers_of
from secateur.deploy.predicted import Reader, fitted, in_words, interpolated, predicted
from secateur.errors import InputError
from secateur.methods import RandomChannels
from secateur.records.device_table import FORMAT, DeviceTable, Layer, Shape, Site, Whole, read_table
from secateur.runs.portable import _limits, _plain
from secateur.surgery.anatomy import anatomy_of


def tiny():
    return sc.models.wide_resnet(depth=10, stages=[4, 8, 8], image_size=8, in_channels=1)


def images():
    return torch.zeros(1, 1, 8, 8)


def ns_of(shape, channels):
    """Literal costs of a stand-in device: 100 ns a call, at every position 2 ns a weight, 3 ns an input."""
    groups, ins, outs = channels
    return 100 + math.prod(shape.size) * groups * (2 * ins * outs + 3 * ins)


def table_of(model, inputs, wholes=(1.0, 0.7, 0.5, 0.4, 0.2), **changed):
    """A table of that device: its whole networks take twice their layers, and 0.5 us more."""
    whole = layers_of(model, inputs)
    sites, indices = [], {}
    for found in whole.found:
        key = found.shape, found.channels
        if key not in indices:
            indices[key] = len(sites)
            axes = [sorted({1, -(-length // 2), length}) for length in found.channels]
            ns = [ns_of(found.shape, (g, i, o)) for g in axes[0] for i in axes[1] for o in axes[2]]
            groups, ins, outs = map(tuple, axes)
            sites.append(Site(shape=found.shape, groups=groups, ins=ins, outs=outs, ns=tuple(ns)))
    layers = [
        Layer(name=found.name, site=indices[found.shape, found.channels], channels=found.channels)
        for found in whole.found
    ]
    by_name = {layer.name: layer.site for layer in layers}
    measured = []
    for share in wholes:
        small = cut(model, share)
        now = layers_of(small, inputs)
        total = sum(ns_of(found.shape, found.channels) for found in now.found)
        entries = tuple((by_name[found.name], *found.channels) for found in now.found)
        measured.append(Whole(layers=entries, elements=now.elements, products=0, ns=2 * total + 500))
    known = {
        "format": FORMAT,
        "runtime": "c",
        "version": "gcc 12",
        "device": "stand-in",
        "batch": 1,
        "threads": 1,
        "dtype": "float32",
        "layers": tuple(layers),
        "sites": tuple(sites),
        "wholes": tuple(measured),
    }
    return DeviceTable(**known | changed)


def cut(model, share):
    small = copy.deepcopy(model)
    anatomy = anatomy_of(small)
    widths = {name: max(1, int(anatomy.graph.width(name) * share)) for name in anatomy.graph.groups}
    anatomy.narrow(small, widths)
    return small


@pytest.fixture(scope="module")
def table():
    return table_of(tiny(), images())


@pytest.fixture
def file(table, tmp_path):
    return written(table.to_json(), tmp_path / "device.json")


def written(content, path):
    path.write_text(json.dumps(content))
    return path


class TestWhatItForetells:
    @pytest.mark.parametrize("share", [1.0, 0.9, 0.6, 0.3, 0.05])
    def test_costs_linear_in_widths_are_foretold_exactly(self, table, share):
        small = cut(tiny(), share)
        now = layers_of(small, images())
        found = predicted(small, images(), table)
        expected = 2 * sum(ns_of(each.shape, each.channels) for each in now.found) + 500
        assert found.seconds * 1e9 == pytest.approx(expected, rel=1e-6)
        assert found.nanoseconds >= found.seconds * 1e9
        assert found.errors.worst < 1e-6
        assert "5 networks" in str(found)

    def test_the_model_is_left_as_it_was(self, table):
        model = tiny().train()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        predicted(model, images(), table)
        assert model.training
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    def test_a_narrower_layer_that_took_longer_counts_for_the_wider(self):
        shape = Shape(kind="linear", size=(1,))
        site = Site(shape=shape, groups=(1,), ins=(1, 8), outs=(1, 8), ns=(10.0, 50.0, 20.0, 40.0))
        table = DeviceTable(
            format=FORMAT,
            runtime="c",
            version="1",
            device="d",
            batch=1,
            threads=1,
            dtype="float32",
            layers=(Layer(name="", site=0, channels=(1, 8, 8)),),
            sites=(site,),
            wholes=(Whole(layers=((0, 1, 8, 8),), elements=0, products=0, ns=50.0),),
        )
        assert predicted(nn.Linear(8, 8), torch.zeros(1, 8), table).nanoseconds == 50
        assert predicted(nn.Linear(1, 8), torch.zeros(1, 1), table).nanoseconds == 50
        half = predicted(nn.Linear(1, 4), torch.zeros(1, 1), table).nanoseconds
        assert half == 28  # 10 + 3/7 * 40, rounded up
        assert "too few whole networks" in in_words(table, "t")

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_interpolation_meets_the_grid_lies_between_and_rises(self, data):
        axis = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True).map(sorted).map(tuple)
        groups, ins, outs = (data.draw(axis) for _ in range(3))
        number = len(groups) * len(ins) * len(outs)
        ns = data.draw(st.lists(st.floats(1, 1e6), min_size=number, max_size=number))
        site = Site(shape=Shape(kind="linear", size=(1,)), groups=groups, ins=ins, outs=outs, ns=tuple(ns))
        grid = np.array(ns).reshape(len(groups), len(ins), len(outs))
        for dim in range(3):
            grid = np.maximum.accumulate(grid, axis=dim)
        for point in np.ndindex(grid.shape):
            here = groups[point[0]], ins[point[1]], outs[point[2]]
            assert interpolated(site, grid, here) == grid[point] >= np.array(ns).reshape(grid.shape)[point]
        here = [data.draw(st.integers(axis[0], axis[-1])) for axis in site.axes]
        more = [data.draw(st.integers(low, axis[-1])) for low, axis in zip(here, site.axes, strict=True)]
        assert grid.min() <= interpolated(site, grid, here) * (1 + 1e-9)
        assert interpolated(site, grid, here) <= interpolated(site, grid, more) * (1 + 1e-9)

    def test_the_error_is_that_of_networks_left_out_of_the_fit(self, table):
        *others, last = table.wholes
        errors = Reader(replace(table, wholes=(*others, replace(last, ns=last.ns * 2)))).errors
        assert errors.n == 5
        assert errors.worst == pytest.approx(0.5)  # the odd one, foretold by those that agree
        odd = replace(table, wholes=(*others, replace(last, ns=last.ns * 2)))
        assert "within 50%" in in_words(odd, "t")
        assert "do not rely on it" in in_words(odd, "t")

    def test_the_fit_is_that_of_least_squares_where_nothing_is_negative(self):
        features = np.array([[1.0, 4, 0, 1], [2, 3, 0, 1], [3, 9, 0, 1], [5, 1, 0, 1], [8, 2, 0, 1]])
        found = fitted(features, features @ [3.0, 0.5, 0, 2.0])
        assert found == pytest.approx([3.0, 0.5, 0, 2.0])
        assert (fitted(features, np.array([9.0, 8, 7, 6, 5])) >= 0).all()


class TestBudgets:
    def test_a_table_is_read_with_the_budget(self, table, file):
        budget = Budget.parse(f"latency=2ms@file:{file}")
        assert (budget.runtime, budget.batch_size, budget.threads) == ("c", 1, 1)
        assert budget.deployment.table == table
        assert str(budget) == f"latency=2ms@file:{file}"
        assert Budget.parse(f"latency=50% @ file: {file}").relative

    @pytest.mark.parametrize("name", ["a b.json", "a:b.json", "a,b.json", "a@b=c.json", "a:batch=1.json"])
    def test_any_path_is_taken(self, table, tmp_path, name):
        path = written(table.to_json(), tmp_path / name)
        found = Budgets.parse(f"macs=50%,latency=2ms@file:{path}, params=90%")
        assert [budget.resource for budget in found] == ["macs", "latency", "params"]
        assert found[1].deployment.table == table
        assert Budgets.parse(f"latency=2ms@file:{path}")[0].deployment.path == str(path)

    def test_the_content_of_a_table_is_in_a_runs_identity_and_its_path_is_not(self, table, tmp_path):
        one = written(table.to_json(), tmp_path / "one.json")
        other = tmp_path / "other.json"
        other.write_text(json.dumps(table.to_json(), indent=7, sort_keys=True))
        found = [Limits.of(f"latency=2ms@file:{path}", tiny()).identity() for path in (one, other)]
        assert found[0] == found[1] == {"latency": f"latency=2ms@file:{table.content_hash}"}
        slower = replace(table, wholes=(replace(table.wholes[0], ns=1e6), *table.wholes[1:]))
        assert slower.content_hash != table.content_hash
        assert Limits.of("latency=2ms@torch", tiny()).identity() == {"latency": "latency=2ms@torch"}

    def test_options_are_checked_against_the_table(self, file):
        assert Budget.parse(f"latency=2ms@file:{file}:batch=1:threads=1").batch_size == 1
        with pytest.raises(InputError, match=r"was measured with batch=1, got batch=8: leave it out, or"):
            Budget.parse(f"latency=2ms@file:{file}:batch=8")
        with pytest.raises(InputError, match="was measured with threads=1, got threads=two"):
            Budget.parse(f"latency=2ms@file:{file}:threads=two")

    @pytest.mark.parametrize(
        ("where", "message"),
        [
            ("file:no/such.json", "no table at 'no/such.json'"),
            ("file:", "file names a table"),
            ("file", "file names a table"),
            ("file: ", "file names a table"),
            ("file:.", "no table at '.'"),
        ],
    )
    def test_what_is_no_table_is_refused_with_the_budget(self, where, message):
        with pytest.raises(InputError, match=message) as refused:
            Budget.parse(f"latency=2ms@{where}")
        assert "\n" not in str(refused.value)

    def test_a_run_elsewhere_takes_the_table_along(self, table, file):
        limits = Limits.of(f"macs=50%,latency=2ms@file:{file}", tiny())
        content = json.loads(json.dumps(_plain(limits)))
        file.unlink()
        assert _limits(content) == limits


def changed(content, path, value):
    """A copy of JSON with one value changed, by its keys and indices."""
    found = copy.deepcopy(content)
    where = found
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    return found


HOSTILE = {
    "another format": (["format"], "secateur-artefact", "'format' must be 'secateur-device-table'"),
    "another schema": (["schema"], 2, "schema 1 is read here, got 2"),
    "an unknown runtime": (["runtime"], "torch", "'runtime' must be one of c, onnxruntime"),
    "no batch": (["batch"], 0, "'batch' must be a whole number from 1"),
    "threads of a text": (["threads"], "1", "'threads' must be a whole number"),
    "an escape sequence": (["device"], "\x1b[2J", "'device' must be a printable text"),
    "a long text": (["device"], "x" * 1000, "'device' must be a printable text"),
    "no layers": (["layers"], [], "'layers' must be a list of 1 to"),
    "no networks": (["wholes"], [], "'wholes' must be a list of 1 to"),
    "a site that is not there": (["layers", 0, "site"], 99, "'layers.[0]' must be the index of one of"),
    "a negative site": (["layers", 0, "site"], -1, "'layers.[0]' must be the index of one of"),
    "channels beyond the grid": (["layers", 0, "channels"], [1, 1, 500], "within the grid of site 0"),
    "two channels": (["layers", 0, "channels"], [1, 1], "within the grid of site 0"),
    "an empty layer": (["wholes", 0, "layers", 0], [], "'wholes.[0].layers.[0]' must be"),
    "a negative time": (["sites", 0, "ns", 0], -1.0, "nanoseconds above 0"),
    "no time": (["wholes", 0, "ns"], 0, "nanoseconds above 0"),
    "an infinite time": (["sites", 0, "ns", 0], float("inf"), "Infinity is no"),
    "no number": (["wholes", 0, "ns"], float("nan"), "NaN is no"),
    "a huge time": (["wholes", 0, "ns"], 1e300, "nanoseconds above 0, at most 11 days"),
    "too few points": (["sites", 0, "ns"], [1.0], "numbers, one a point of the grid"),
    "a falling axis": (["sites", 0, "outs"], [4, 2, 1], "rising numbers from 1"),
    "no axis": (["sites", 0, "outs"], [], "rising numbers from 1"),
    "a channel of zero": (["sites", 0, "outs"], [0, 2, 4], "rising numbers from 1"),
    "a fourth dimension": (["sites", 0, "shape", "kernel"], [3] * 9, "at most 3 lengths"),
    "a huge length": (["sites", 0, "shape", "size"], [10**400], "a number of m"),
    "an unknown kind": (["sites", 0, "shape", "kind"], "attention", "one of convolution, transposed, linear"),
    "negative numbers": (["wholes", 0, "elements"], -1, "a count of at least 0"),
    "a list for a table": ([], None, ""),
}


class TestHostileTables:
    @pytest.mark.parametrize("case", HOSTILE)
    def test_it_is_refused_in_one_line(self, table, tmp_path, case):
        path, value, message = HOSTILE[case]
        content = changed(table.to_json(), path, value) if path else [1, 2]
        file = written(content, tmp_path / "device.json")
        with pytest.raises(InputError) as refused:
            Budget.parse(f"latency=2ms@file:{file}")
        assert message in str(refused.value)
        assert "device.json" in str(refused.value)
        assert len(str(refused.value).splitlines()) == 1

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}'])
    def test_a_damaged_file_is_refused_in_one_line(self, tmp_path, content):
        (tmp_path / "device.json").write_bytes(content)
        with pytest.raises(InputError) as refused:
            read_table(tmp_path / "device.json")
        assert len(str(refused.value).splitlines()) == 1

    def test_a_huge_file_is_not_read(self, tmp_path):
        with (tmp_path / "device.json").open("wb") as file:
            file.truncate(2**30)
        with pytest.raises(InputError, match="at most 33,554,432 bytes, got 1,073,741,824"):
            read_table(tmp_path / "device.json")

    def test_layers_of_one_name_are_refused(self, table):
        content = changed(table.to_json(), ["layers", 1, "name"], table.layers[0].name)
        with pytest.raises(InputError, match="layers of different names"):
            DeviceTable.from_json(content)

    def test_the_json_is_read_back_alike(self, table):
        assert DeviceTable.from_json(json.loads(json.dumps(table.to_json()))) == table


class TestAnotherNetwork:
    @pytest.mark.parametrize(
        ("model", "inputs", "message"),
        [
            (lambda: nn.Linear(64, 3), lambda: torch.zeros(1, 64), r"has no layer '', a linear on 1 vector"),
            (tiny, lambda: torch.zeros(1, 1, 12, 12), "of another network, or of other inputs: 'stem"),
            (
                lambda: sc.models.wide_resnet(depth=10, stages=[4, 9, 8], image_size=8, in_channels=1),
                images,
                r"got 4 -> 9 channels: emit a folder",
            ),
        ],
    )
    def test_it_is_refused(self, table, model, inputs, message):
        with pytest.raises(InputError, match=message):
            predicted(model(), inputs(), table)

    def test_pruning_refuses_it_before_anything_is_trained(self, file):
        model = sc.models.wide_resnet(depth=10, stages=[4, 9, 8], image_size=8, in_channels=1)
        with pytest.raises(InputError, match=r"the table '.*device.json' reaches from"):
            RandomChannels(f"latency=50%@file:{file}").prepare(model)


class TestWhatMeasuresHere:
    """A table is of another device: who measures on this one refuses it."""

    def test_a_runtime_is_not_asked_for_a_granularity(self, file):
        with pytest.raises(
            InputError, match=r"granularity auto asks a runtime on this machine, got 'latency"
        ):
            RandomChannels(f"latency=90%@file:{file}", granularity="auto").prepare(tiny())

    def test_a_latency_is_not_measured(self, file):
        with pytest.raises(InputError, match="a latency is measured on this machine, got 'file:"):
            measure(tiny(), images(), f"file:{file}")

    def test_another_precision_is_refused(self, table):
        with pytest.raises(InputError, match="is of a network in float32, got one in float64"):
            predicted(tiny().double(), images().double(), table)


class TestPruning:
    @pytest.mark.parametrize("share", [95, 88, 81, 74])
    def test_a_share_is_met_and_one_channel_more_would_be_too_slow(self, table, file, share):
        model = tiny()
        whole = predicted(model, images(), table).nanoseconds
        method = RandomChannels(f"latency={share}%@file:{file}", every=1, at_once=0)
        small = method.cut(method.prepare(model))
        limit = method.goal.limits["latency"]
        assert limit == whole * share // 100
        found = predicted(small, images(), table)
        assert found.nanoseconds <= limit
        assert method.goal.describe()["latency_ns"] == found.nanoseconds
        assert "foretold within 0%" in method.goal.describe()["latency"]
        assert "stand-in" in method.goal.describe()["latency"]
        wider = copy.deepcopy(tiny())
        widths = dict(method.anatomy.graph.widths)
        widths[method.removed[-1]["group"]] += 1
        anatomy_of(wider).narrow(wider, widths)
        assert predicted(wider, images(), table).nanoseconds > limit

    @pytest.mark.parametrize("name", ["filter-norm", "random-channels"])
    def test_sc_prune_says_how_far_the_table_is_off(self, table, file, capsys, name):
        small = sc.prune(
            tiny(),
            method=name,
            budget=f"latency=70%@file:{file},params=90%",
            example_inputs=images(),
            train=False,
        )
        limit = predicted(tiny(), images(), table).nanoseconds * 7 // 10
        assert predicted(small, images(), table).nanoseconds <= limit
        said = capsys.readouterr().err
        assert "foretells whole networks within 0% (median 0%, 5 networks)" in said

    def test_a_foreign_network_with_grouped_convolutions_is_pruned(self, tmp_path):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, groups=16),
            nn.Conv2d(16, 12, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 5),
        )
        inputs = torch.randn(4, 3, 10, 10)
        sc.inspect(model, inputs)
        table = table_of(model, inputs)
        file = written(table.to_json(), tmp_path / "device.json")
        whole = predicted(model, inputs, table).nanoseconds
        small = sc.prune(
            model,
            method="filter-norm",
            budget=f"latency={whole * 0.7 / 1000:.3f}us@file:{file}",
            example_inputs=inputs,
            train=False,
            progress=False,
        )
        assert predicted(small, inputs, table).nanoseconds <= whole * 0.7
        assert small[2].groups == small[0].out_channels < 16

    def test_out_of_reach_is_refused_with_the_least(self, file):
        with pytest.raises(InputError, match=r"ns of latency is below what is left .* ask for at least more"):
            RandomChannels(f"latency=10us@file:{file}").prepare(tiny())

    def test_a_limit_above_what_it_takes_is_refused(self, file):
        with pytest.raises(InputError, match=r"must not exceed the network's own latency, .*foretold"):
            RandomChannels(f"latency=1s@file:{file}").prepare(tiny())
