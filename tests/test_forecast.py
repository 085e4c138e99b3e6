"""Forecasts: which networks are measured, in literal counts, and the width that a latency budget leads to."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import secateur as sc
from secateur.architecture.architecture import Architecture
from secateur.budget import Budget
from secateur.errors import InputError
from secateur.progress import Reporter
from secateur.records.forecasted import NO_ACCURACY
from secateur.runs.forecasting import forecast
from secateur.runs.latency_width import NEAR, width_within
from secateur.runs.runtimes import Plan
from secateur.runs.timing import Subject
from secateur.surgery.anatomy import anatomy_of
from test_device_table import images, table_of, tiny

TORCH = Plan(("torch",))


@pytest.fixture(scope="module")
def wrn():
    return Architecture.from_factory(
        "wide_resnet", {"depth": 10, "width": 1, "num_classes": 4, "image_size": [8, 8], "in_channels": 1}
    )


@pytest.fixture
def by_size(monkeypatch):
    """No process is started, nothing traced: a network takes 1 us and 1 ns for each MAC, in every round."""
    seen = []

    def subject(name, model, *_):
        return Subject(name, untraced=str(1000 + anatomy_of(model).costs.now["macs"]))

    def call(text, threads, timeout_s):
        order = json.loads(text)
        seen.append(order)
        about = {"n": 9, "version": "1", "device": "cpu (A)", "dtype": "float32", "arena_bytes": None}
        timed = {}
        for each in order["subjects"]:
            taken = int(each["untraced"])
            times = dict.fromkeys(("median_ns", "low_ns", "high_ns", "p95_ns"), taken)
            timed[each["name"]] = {**about, **times, "medians": [taken] * 12}
        return json.dumps({"timed": timed, "failed": {}})

    monkeypatch.setattr("secateur.runs.forecasting.subject_of", subject)
    monkeypatch.setattr("secateur.runs.runtimes.in_a_process", call)
    return seen


def forecasts(architecture, *budgets, plan=TORCH):
    return forecast(architecture, [Budget.parse(text) for text in budgets], plan, Reporter())


def test_every_way_to_a_budget_is_measured_beside_the_unpruned_network(wrn, by_size):
    found = forecasts(wrn, "params=50%", "nonzeros=10%")
    whole = found.rows[0]
    assert [(row.way, row.budget) for row in found.rows] == [
        ("unpruned", None),
        ("width", "params=50%"),
        ("uniform", "params=50%"),
        ("sparse", "nonzeros=10%"),
        ("width", "nonzeros=10%"),
        ("uniform", "nonzeros=10%"),
    ]
    assert (whole.sizes.params, whole.sizes.macs) == (wrn.params, wrn.macs)
    width, uniform, sparse = found.rows[1:4]
    assert width.sizes.params == wrn.narrowed_to("params=50%").params <= wrn.params // 2
    assert uniform.sizes.params == wrn.scaled_to("params=50%").params
    assert sparse.sizes.params == wrn.params
    assert sparse.sizes.nonzeros == round(whole.sizes.weights / 10)
    assert sparse.sizes.nonzero_macs < 0.2 * sparse.sizes.macs == 0.2 * wrn.macs
    assert sparse.sizes.file_bytes < 0.5 * whole.sizes.file_bytes  # it is stored sparse
    assert whole.speeds == ()
    assert [each.runtime for each in width.speeds] == ["torch"]
    assert width.timings[0].median_ns == 1000 + width.sizes.macs
    assert width.speeds[0].speedup == (1000 + wrn.macs) / (1000 + width.sizes.macs)
    (order,) = by_size  # all in one process, in turns
    assert [each["name"] for each in order["subjects"]] == list("012345")
    assert found.notes()[0] == NO_ACCURACY
    assert any(
        note.startswith("nonzeros=10% (sparse): torch: 90% of the weights are zero, and it is no faster")
        for note in found.notes()
    )


def test_a_budget_in_bytes_is_of_the_file(wrn, by_size):
    found = forecasts(wrn, "bytes=60kB")
    assert [row.way for row in found.rows[1:]] == ["sparse", "width", "uniform"]
    assert all(row.sizes.file_bytes <= 60_000 for row in found.rows[1:])
    assert found.rows[1].sizes.file_bytes > 50_000


def build():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 3))


def test_a_network_of_ones_own_has_one_way_where_all_lead_to_the_same(by_size):
    torch.manual_seed(0)
    model = build()
    sc.inspect(model, torch.randn(4, 1, 8, 8), factory=build)
    found = forecasts(Architecture.of(model), "macs=50%")
    assert [row.way for row in found.rows] == ["unpruned", "width"]
    assert found.rows[1].sizes.macs <= found.rows[0].sizes.macs // 2


def test_a_latency_budget_is_met_by_measuring(wrn, by_size):
    found = forecasts(wrn, "latency=85%@torch:batch=2")
    assert [order["where"] for order in by_size] == [
        *["torch:batch=2:threads=1"] * (len(by_size) - 1),
        "torch:batch=1:threads=1",
    ]
    row = found.rows[1]
    assert (row.way, row.budget) == ("width", "latency=85%@torch:batch=2")
    assert NEAR * 0.85 * (1000 + wrn.macs) <= 1000 + row.sizes.macs <= 0.85 * (1000 + wrn.macs)
    assert any("is met by measuring" in note for note in found.notes())


def test_the_widest_network_within_a_latency_is_found(wrn):
    """Of a machine that takes 100 us and 2 ns for each multiply-accumulate."""
    tried = []

    def nanoseconds(architecture):
        tried.append(architecture.macs)
        return 100_000 + 2 * architecture.macs

    budget = Budget.parse("latency=50%@torch")
    found, words = width_within(wrn, budget, nanoseconds, Reporter())
    limit = (100_000 + 2 * wrn.macs) // 2
    assert NEAR * limit <= 100_000 + 2 * found.macs <= limit
    assert len(tried) <= 5
    assert words.startswith("latency=50%@torch is met by measuring: ")


def test_a_latency_on_another_device_is_foretold_by_its_table(by_size, tmp_path):
    whole = tiny()
    (tmp_path / "device.json").write_text(json.dumps(table_of(whole, images()).to_json()))
    budget = f"latency=60%@file:{tmp_path}/device.json"
    found = forecasts(Architecture.of(whole), budget)
    assert len(by_size) == 1  # of the rows themselves
    assert found.rows[1].sizes.macs < found.rows[0].sizes.macs
    (note,) = (note for note in found.notes() if "is met by the table" in note)
    assert "stand-in" in note


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("latency=1s@torch", r"must not exceed the network's own latency, .* ms; got 'latency=1s@torch'"),
        ("latency=50us@torch", r"'latency=50us@torch' is at most 0.05 ms, and a network narrowed to"),
    ],
)
def test_a_latency_that_no_width_meets_is_refused(wrn, text, wrong):
    with pytest.raises(InputError, match=wrong):
        width_within(wrn, Budget.parse(text), lambda each: 100_000 + 2 * each.macs, Reporter())


def test_what_does_not_bind_is_refused_before_anything_is_measured(wrn, by_size):
    with pytest.raises(InputError, match="must not exceed the network's own size"):
        forecasts(wrn, "params=50%", "params=1G")
    with pytest.raises(InputError, match="the exported C runs on one thread"):
        forecasts(wrn, "latency=50%@c:threads=2")
    with pytest.raises(InputError, match="ask for at least"):
        forecasts(wrn, "params=10")
    assert by_size == []


def test_the_command_prints_what_it_found(run, by_size):
    line = "forecast --model wrn-10-1 --input 1x8x8 --classes 4 --budget params=50% --runtime torch"
    code, out, err = run(line)
    assert (code, err) == (0, "")
    assert "wrn-10-1, untrained:" in out
    assert f"- {NO_ACCURACY}." in " ".join(out.split())  # lines are as long as the terminal is wide
    content = json.loads(run(f"{line} --json")[1])
    assert [row["way"] for row in content["rows"]] == ["unpruned", "width", "uniform"]
    assert run("forecast --model wrn-10-1 --budget params=50% --runtime onnx")[0] == 2
