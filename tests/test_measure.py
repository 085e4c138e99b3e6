"""Measuring what is shipped: counts in literals, times by a stand-in clock, words from given numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur import models
from secateur.budget import RUNTIMES
from secateur.deploy.programs import read_traced, write_traced
from secateur.deploy.rounds import ROUNDS, Ratio, Times, interval, timed
from secateur.deploy.traced import Traced
from secateur.errors import InputError
from secateur.network.activations import peak_activation_bytes
from secateur.progress import Reporter
from secateur.records.measured import (
    BEFORE,
    NOW,
    Measured,
    NotMeasured,
    Sizes,
    Speed,
    Timing,
    in_bytes,
)
from secateur.report.measured import bars, render
from secateur.runs.brought import words_on_speed
from secateur.runs.executors.pool import WorkerLostError
from secateur.runs.measuring import measure
from secateur.runs.runtimes import Plan, time_on
from secateur.runs.sizes import sizes_of
from secateur.runs.timing import Subject

ROOT = Path(__file__).parents[1]


class Residual(nn.Module):
    """x + b(relu(a(x))), 4 channels."""

    def __init__(self):
        super().__init__()
        self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1) for _ in "ab")

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


def build():
    """A small network that is not of a family."""
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, groups=2)),
        *(nn.Flatten(), nn.Linear(24, 8), nn.Linear(8, 2)),
    )


# Peak activation memory, in bytes of float32


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (nn.Linear(4, 8), (4,), 4 * (4 + 8)),
        # the convolution reads 64 and gives 256 numbers; the ReLU holds two of 256; the last 256 + 128
        (
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)),
            (1, 8, 8),
            2048,
        ),
        # in place, and a flatten, make nothing: 64 + 256 while the convolution runs
        (
            nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(True), nn.Flatten()),
            (1, 8, 8),
            4 * (64 + 256),
        ),
        # the input is read at the end, so that three of 4x8x8 live while the ReLU or the second layer runs
        (Residual(), (4, 8, 8), 3 * 4 * 4 * 8 * 8),
        # stem's output stays for the sum while a convolution or normalisation reads one and makes another
        (models.wide_resnet(depth=10, width=1, num_classes=10), (3, 32, 32), 3 * 4 * 16 * 32 * 32),
    ],
    ids=["linear", "chain", "in place", "residual", "wrn"],
)
def test_peak_activations(model, shape, expected):
    model.train()
    for batch in (1, 3):  # the first example alone
        assert peak_activation_bytes(model, torch.zeros(batch, *shape)) == expected
    assert model.training


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6))
@settings(max_examples=20, deadline=None)
def test_of_a_chain_two_neighbours_live_at_a_time(widths):
    chain = nn.Sequential(*(nn.Linear(one, other) for one, other in pairwise(widths)))
    expected = 4 * max(one + other for one, other in pairwise(widths))
    assert peak_activation_bytes(chain, torch.zeros(1, widths[0])) == expected


# Multiply-accumulates with a weight that is not zero


def test_nonzero_macs_in_literals():
    model = build()
    costs = sc.inspect(model, torch.randn(3, 1, 8, 8)).costs
    # 36 weights at 64 places, 108 at 4, 24 x 8 and 8 x 2
    assert costs.now["macs"] == costs.nonzero_macs(model) == 36 * 64 + 108 * 4 + 192 + 16
    with torch.no_grad():
        model[0].weight[0] = 0  # 9 of 36
        model[3].weight[:, :, 0] = 0  # a row of each kernel: 36 of 108
        model[5].weight[:, ::2] = 0  # 96 of 192
        model[0].bias.zero_()  # no weight
    assert costs.nonzero_macs(model) == 27 * 64 + 72 * 4 + 96 + 16
    found = sizes_of(model, 1)
    assert (found.weights, found.nonzeros, found.zeros) == (352, 352 - 9 - 36 - 96, 141 / 352)
    assert (found.macs, found.nonzero_macs) == (2944, 2128)


@given(st.integers(0, 10**6), st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 0, 2), (2, 2, 1)]))
@settings(max_examples=15, deadline=None)
def test_nonzero_macs_are_what_a_convolution_of_ones_adds_up(seed, shape):
    """sum over positions of nonzero weights = ones, padded with ones, convolved with where weights are."""
    stride, padding, groups = shape
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(4, 6, 3, stride, padding, groups=groups)
    model = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    if shape not in _INSPECTED:
        _INSPECTED[shape] = sc.inspect(model, torch.randn(2, 4, 9, 9)).costs
    costs = _INSPECTED[shape]
    with torch.no_grad():
        layer.weight[torch.rand(layer.weight.shape, generator=generator) < 0.7] = 0
    ones = F.pad(torch.ones(1, 4, 9, 9), [padding] * 4, value=1.0)
    first = F.conv2d(ones, (layer.weight != 0).float(), stride=stride, groups=groups)
    assert costs.nonzero_macs(model) == int(first.sum()) + (48 + 32) * first[0, 0].numel()


_INSPECTED: dict = {}


def test_weights_that_no_layer_calls_are_counted_too():
    """torch's attention multiplies by its layer's weight itself."""

    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.h = nn.Linear(12, 16), nn.Linear(16, 3)
            self.t = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

        def forward(self, x):
            return self.h(self.t(self.e(x)).mean(1))

    model = Attends()
    costs = sc.inspect(model, torch.randn(3, 5, 12)).costs
    with torch.no_grad():
        model.t.self_attn.out_proj.weight.zero_()
    assert costs.now["macs"] - costs.nonzero_macs(model) == 16 * 16 * 5


# Rounds, by a stand-in clock


class Clock:
    """Goes on by what runs take: the times given, over and over."""

    def __init__(self):
        self.now, self.log = 0, []

    def __call__(self):
        return self.now

    def run(self, name, *times):
        left = list(times)

        def once():
            self.log.append(name)
            self.now += left[0]
            left.append(left.pop(0))

        return once


def test_networks_take_turns_and_a_turns_first_run_does_not_count():
    clock = Clock()
    runs = {"a": clock.run("a", 4_000_000), "b": clock.run("b", 6_000_000)}
    found = timed(runs, limit_s=10, turn_s=0.01, clock=clock)
    assert clock.log[:10] == ["a"] * 5 + ["b"] * 5
    rounds = "".join(clock.log[10:])
    assert rounds.startswith("aaaa" + "bbb" + "bbb" + "aaaa" + "aaaa")  # 10 ms each, and one more before
    assert len(found["a"].rounds) == ROUNDS[0]  # known at once
    assert found["a"].all == [4_000_000] * 3 * 12
    assert Ratio.of(found["b"].medians, found["a"].medians) == Ratio(1.5, 1.5, 1.5)


def test_long_runs_are_few_and_the_time_has_an_end():
    clock = Clock()
    second = 10**9
    found = timed({"a": clock.run("a", second, 2 * second)}, limit_s=29.9, clock=clock)
    assert len(found["a"].all) == 20  # of 1.5 s each
    assert len(clock.log) == 2 + 20
    clock = Clock()
    found = timed({"a": clock.run("a", second, 2 * second)}, limit_s=1, clock=clock)
    assert len(found["a"].all) == ROUNDS[0]


def test_medians_intervals_and_quantiles():
    assert interval([*range(1, 101)]) == (40, 61)  # ranks 50 -+ 9.8
    assert interval([3, 1, 2]) == (1, 3)
    times = Times(tuple((i, i, i) for i in range(1, 101)))
    assert (times.median, times.interval, times.quantile(0.95)) == (50.5, (40, 61), 95)
    assert Ratio.of([2, 4, 6], [1, 1, 2]) == Ratio(3, 2, 4)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=40))
def test_an_interval_holds_its_median(values):
    times = Times(tuple((round(each * 1000),) for each in values))
    low, high = times.interval
    assert low <= times.median <= high


# Programs for other processes


def test_a_traced_network_comes_back_from_its_file(tmp_path):
    model = Residual().eval()
    x = torch.randn(2, 4, 8, 8)
    write_traced(Traced.of(model, {"x": x}, dynamic_batch=False), tmp_path / "a.pt2")
    found = read_traced(tmp_path / "a.pt2")
    assert torch.equal(found.plain(x)[0], model(x))
    assert (found.outputs, found.dtype, found.dynamic_batch) == (("output",), "float32", False)
    assert torch.equal(next(iter(found.examples.values())), x)


# What is measured on


def test_only_what_is_there_is_measured_on(monkeypatch):
    def check(runtime):
        if runtime in ("openvino", "c"):
            raise InputError(f"no {runtime} here: install it")

    monkeypatch.setattr("secateur.runs.runtimes.check_installed", check)
    plan = Plan.of()
    assert plan.runtimes == ("torch", "onnxruntime")
    assert [(each.runtime, each.why, each.failed) for each in plan.missing] == [
        ("openvino", "no openvino here: install it", False),
        ("c", "no c here: install it", False),
    ]
    assert Plan.of(["torch", "torch"]).runtimes == ("torch",)
    for asked, wrong in (
        ({"asked": ["openvino"]}, "no openvino here"),
        ({"asked": ["onnx"]}, "unknown runtime 'onnx': did you mean 'onnxruntime'"),
        ({"asked": []}, "at least one runtime is needed, got none"),
        ({"asked": ["c"], "threads": 2}, "runs on one thread, got threads=2"),
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"threads": True}, "threads must be a whole number"),
        ({"seconds": 0.0}, "seconds must be above 0"),
    ):
        with pytest.raises(InputError, match=wrong):
            Plan.of(**asked)


def test_a_runtime_that_fails_is_named_and_the_others_go_on():
    called = []

    def call(text, threads, timeout_s):
        runtime = json.loads(text)["where"].split(":")[0]
        called.append((runtime, threads))
        if runtime == "torch":
            raise WorkerLostError("a worker ended (signal 11)")
        if runtime == "onnxruntime":
            raise TimeoutError
        if runtime == "openvino":
            return json.dumps({"timed": {}, "failed": {"before": "the network cannot be converted"}})
        return json.dumps({"timed": {}, "failed": {"now": "no", "before": "no"}})

    found = time_on(
        Plan(RUNTIMES, threads=3, timeout_s=7), [Subject("now"), Subject("before")], Reporter(), call
    )
    assert called == [(runtime, 3) for runtime in RUNTIMES]
    assert found.timed == {"openvino": {}, "c": {}}
    assert [(each.runtime, each.why) for each in found.not_measured] == [
        ("torch", "a worker ended (signal 11)"),
        ("onnxruntime", "it took more than 7 s: a smaller network, or batch"),
        ("openvino", "before: the network cannot be converted"),
        ("c", "no"),
    ]
    assert all(each.failed for each in found.not_measured)


# What is said


SIZES = Sizes(
    file_bytes=1000,
    params=900,
    weights=800,
    nonzeros=800,
    macs=5000,
    nonzero_macs=5000,
    peak_activation_bytes=64,
)


def speed(runtime, middle, low, high):
    return Speed(runtime=runtime, speedup=middle, low=low, high=high)


def test_where_sparsity_brings_nothing_it_is_said():
    sparse = replace(SIZES, nonzeros=24, nonzero_macs=150)
    speeds = (
        speed("onnxruntime", 0.99, 0.97, 1.01),
        speed("openvino", 0.9, 0.88, 0.92),
        speed("torch", 1.01, 1.005, 1.015),  # surely measured, and nothing
        speed("c", 3.6, 3.5, 3.7),
    )
    assert words_on_speed(sparse, SIZES, speeds) == (
        "onnxruntime: 97% of the weights are zero, and it is no faster (0.99x, 95% interval 0.97 to 1.01): "
        "it multiplies by zeros",
        "openvino: 97% of the weights are zero, and it is slower, not faster (0.90x, 95% interval 0.88 to "
        "0.92): it multiplies by zeros",
        "torch: 97% of the weights are zero, and it is no faster (1.01x, 95% interval 1.00 to 1.01): it "
        "multiplies by zeros",
        "c: 97% of the weights are zero, and it is faster, 3.60x, 95% interval 3.50 to 3.70",
    )
    few = words_on_speed(replace(SIZES, nonzeros=480), SIZES, (speed("c", 1.0, 0.9, 1.1),))
    assert few == (
        "c: 40% of the weights are zero, and it is no faster (1.00x, 95% interval 0.90 to 1.10): too few for "
        "skipping them to pay",
    )
    assert words_on_speed(replace(SIZES, nonzeros=799), SIZES, speeds) == ()


def test_where_a_cut_brings_nothing_it_is_said():
    cut = replace(SIZES, params=450, weights=400, nonzeros=400, macs=2000, nonzero_macs=2000)
    assert words_on_speed(cut, SIZES, (speed("torch", 1.05, 0.95, 1.15), speed("c", 2.0, 1.9, 2.1))) == (
        "torch: 40% of the multiply-accumulates are left, and it is no faster (1.05x, 95% interval 0.95 to "
        "1.15): its time goes elsewhere",
        "c: 40% of the multiply-accumulates are left, and it is faster, 2.00x, 95% interval 1.90 to 2.10",
    )


def test_where_times_varied_nothing_is_claimed():
    busy = (speed("torch", 1.01, 0.7, 1.6),)
    (words,) = words_on_speed(replace(SIZES, nonzeros=24), SIZES, busy)
    assert words == (
        "torch: 97% of the weights are zero, and whether it is faster cannot be told (1.01x, 95% interval "
        "0.70 to 1.60): times varied, so measure again where nothing else runs"
    )
    (words,) = words_on_speed(replace(SIZES, macs=2000), SIZES, busy)
    assert "whether it is faster cannot be told" in words


def timing(which, runtime, median_ns, **more):
    given = {
        "version": "1",
        "batch": 1,
        "threads": 1,
        "n": 50,
        "device": "cpu (A)",
        "dtype": "float32",
        **more,
    }
    return Timing(
        which=which,
        runtime=runtime,
        median_ns=median_ns,
        low_ns=median_ns - 10,
        high_ns=median_ns + 10,
        p95_ns=2 * median_ns,
        **given,
    )


MEASURED = Measured(
    network="net <b>",
    weights_sha256="0" * 16,
    now=replace(SIZES, nonzeros=24, file_bytes=100),
    before=SIZES,
    timings=(
        *(timing(NOW, "torch", 500_000), timing(BEFORE, "torch", 490_000)),
        *(timing(NOW, "c", 100_000, arena_bytes=4096), timing(BEFORE, "c", 400_000, arena_bytes=8192)),
    ),
    speeds=(speed("torch", 0.98, 0.97, 0.99), speed("c", 4.0, 3.9, 4.1)),
    not_measured=(NotMeasured(runtime="openvino", why="it is not installed", failed=False),),
    remarks=("torch: no faster",),
    versions={"secateur": "0.1.0"},
    platform="Linux",
)


def test_the_tables():
    assert repr(MEASURED) == (
        "net <b>\n"
        "                                          now   before  now / before\n"
        "  size on disk                          100 B     1 kB           0.1\n"
        "  parameters                              900      900             1\n"
        "  weights that are not zero                24      800          0.03\n"
        "  MACs                                  5,000    5,000             1\n"
        "  MACs with a weight that is not zero   5,000    5,000             1\n"
        "  peak activation memory                 64 B     64 B             1\n"
        "  arena of the exported C              4.1 kB  8.19 kB           0.5\n"
        "one batch of 1 example, 1 thread, cpu (A)\n"
        "  runtime  median ms  before          faster (95%)  p95 ms  before\n"
        "  torch 1        0.5    0.49  0.98x (0.97 to 0.99)       1    0.98\n"
        "  c 1            0.1     0.4  4.00x (3.90 to 4.10)     0.2     0.8\n"
        "torch: no faster\n"
        "openvino was not measured: it is not installed"
    )
    alone = replace(MEASURED, before=None, speeds=(), timings=MEASURED.timings[:1])
    assert "  size on disk                         100 B       -             -\n" in repr(alone)
    assert in_bytes(45_000_000) == "45 MB"


def test_the_page_has_a_bar_for_each_time():
    drawn = bars(MEASURED)
    assert [(runtime, [(bar.which, bar.share) for bar in each]) for runtime, each in drawn] == [
        ("torch", [(NOW, 100.0), (BEFORE, 98.0)]),
        ("c", [(NOW, 20.0), (BEFORE, 80.0)]),
    ]
    page = render(MEASURED)
    assert "net &lt;b&gt;" in page
    assert "<b>net" not in page
    assert "torch: no faster." in page
    assert "openvino was not measured: it is not installed." in page
    assert page.count('class="bar now"') == 2
    assert "script" not in page


def test_what_was_measured_is_of_the_weights_beside_it(tmp_path):
    weights = tmp_path / "model.safetensors"
    assert Measured.of(weights) is None
    weights.write_bytes(b"abc")
    known = replace(MEASURED, weights_sha256="ba7816bf8f01cfea")  # sha256 of "abc"
    (tmp_path / "measured.json").write_text(json.dumps(known.to_json()))
    assert Measured.of(weights) == known
    weights.write_bytes(b"abd")
    assert Measured.of(weights) is None


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("format", "other", "'format' must be 'secateur-measured'"),
        (
            "timings",
            [{**MEASURED.timings[0].to_json(), "which": "later"}],
            r"'timings\[0\].which' must be 'now'",
        ),
        ("timings", [{**MEASURED.timings[0].to_json(), "n": 0}], r"'timings\[0\].n' must be at least 1"),
        (
            "speeds",
            [speed("c", 2.0, 2.5, 3.0).to_json()],
            r"'speeds\[0\].speedup' must be within its interval",
        ),
        ("now", None, "'now' must be an object"),
    ],
)
def test_a_damaged_file_is_named(key, value, wrong):
    content = {**MEASURED.to_json(), key: value}
    with pytest.raises(InputError, match=wrong):
        Measured.from_json(content, "measured.json")


# The whole, with real runtimes


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    """A tiny network with most of its weights zero, in a folder."""
    folder = tmp_path_factory.mktemp("sparse")
    torch.manual_seed(0)
    model = models.conv4(num_classes=3, width=0.1, in_channels=1, image_size=[8, 8])
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight[torch.rand_like(layer.weight) < 0.9] = 0
    sc.save(model, folder)
    return folder


def test_measure_end_to_end(sparse, run):
    pytest.importorskip("onnxruntime")
    code, out, err = run(f"measure {sparse} --runtime torch,onnxruntime --seconds 0.05 --out page --json")
    assert code == 0, err
    content = json.loads(out)
    assert content["page"] == "page/measured.html"
    found = Measured.load(sparse / "measured.json")
    assert {key: value for key, value in content.items() if key != "page"} == found.to_json()
    assert Measured.of(sparse / "model.safetensors") == found
    assert found.runtimes == ("torch", "onnxruntime")
    assert {(row.which, row.batch, row.threads, row.dtype) for row in found.timings} == {
        (which, 1, 1, "float32") for which in (NOW, BEFORE)
    }
    assert all(0 < row.low_ns <= row.median_ns <= row.p95_ns for row in found.timings)
    assert found.before.nonzeros == found.before.weights == found.now.weights
    assert found.now.nonzeros < 0.2 * found.now.weights
    assert found.now.file_bytes == (sparse / "model.safetensors").stat().st_size
    assert sum("9" in words and "% of the weights are zero" in words for words in found.remarks) == 2
    assert any("untrained weights" in words for words in found.remarks)
    assert "Reporter" not in err


def test_a_failing_runtime_gives_exit_code_1(sparse, run, monkeypatch):
    def call(text, threads, timeout_s):
        raise WorkerLostError("a worker ended (signal 11)")

    monkeypatch.setattr("secateur.runs.runtimes.in_a_process", call)
    code, out, err = run(f"measure {sparse} --runtime torch")
    assert (code, err) == (1, "")
    assert "- torch was not measured: a worker ended (signal 11)." in out
    assert run(f"measure {sparse} --runtime tourch")[0] == 2
    assert run("measure nowhere")[2].startswith("secateur: no network at 'nowhere': name a folder")


@pytest.fixture
def uncalled(monkeypatch):
    """No process is started: whatever is asked for is seen, and takes nothing."""
    seen = []

    def call(text, threads, timeout_s):
        seen.append(json.loads(text))
        return json.dumps({"timed": {}, "failed": {}})

    monkeypatch.setattr("secateur.runs.runtimes.in_a_process", call)
    return seen


def test_of_a_cut_network_before_is_the_whole_one(uncalled):
    whole = models.wide_resnet(depth=10, width=1, num_classes=4, image_size=[8, 8])
    small = sc.Architecture.of(whole).scaled_to("params=40%").build(0)
    found = measure(small, ["torch"], batch=3)
    assert found.before.params == sum(each.numel() for each in whole.parameters())
    assert found.now.params <= 0.4 * found.before.params
    (order,) = uncalled
    assert [each["name"] for each in order["subjects"]] == [NOW, BEFORE]
    assert order["where"] == "torch:batch=3:threads=1"
    nothing = measure(whole, ["torch"])
    assert nothing.before is None
    assert nothing.remarks[0].startswith("nothing was pruned")


def test_a_network_of_ones_own_is_measured_too(uncalled, tmp_path):
    torch.manual_seed(0)
    model = build()
    sc.inspect(model, torch.randn(4, 1, 8, 8), factory=build)
    cut = sc.Architecture.of(model).scaled_to("macs=50%").build(0)
    sc.save(cut, tmp_path / "cut")
    found = measure(tmp_path / "cut", ["torch"], factory=build)
    assert found.now.macs <= 1472
    assert found.before.macs == 2944
    before = [each for each in uncalled[0]["subjects"] if each["name"] == BEFORE]
    assert before[0]["program"].endswith("before.pt2")
    beside = measure(tmp_path / "cut", ["torch"], factory=build, before=model)
    assert beside.before.macs == 2944
    assert any("as --before says" in words for words in beside.remarks)


def test_of_a_comparison_its_best_is_measured(sparse, tmp_path, uncalled, run):
    sc.save(sc.load(sparse), tmp_path / "out/best")
    assert run("measure out --runtime torch --json")[0] == 0
    assert (tmp_path / "out/best/measured.json").is_file()
    (tmp_path / "out/best/measured.json").write_text('{"mine": 1}')
    code, _, err = run("measure out --runtime torch")
    assert code == 2
    assert "only what Secateur wrote is overwritten" in err
    with pytest.raises(InputError, match="only what Secateur wrote"):
        sc.save(sc.load(sparse), tmp_path / "out/best")  # of which a measurement is no part


def test_of_a_narrower_network_before_is_what_it_was_compared_with(tmp_path, uncalled):
    dense = models.wide_resnet(depth=10, width=1, num_classes=4, image_size=[8, 8])
    sc.save(dense, tmp_path / "out/runs/train-0123456789ab-s0")
    narrow = sc.Architecture.of(dense).narrowed_to("params=50%").build(0)
    sc.save(narrow, tmp_path / "out/best")
    assert measure(tmp_path / "out", ["torch"]).before is None
    results = json.loads(next(ROOT.glob("results/*/results.json")).read_text())
    results["dense"] = [{**results["dense"][0], "run_id": "train-0123456789ab-s0"}]
    (tmp_path / "out/results.json").write_text(json.dumps(results))
    found = measure(tmp_path / "out", ["torch"])
    assert found.before.params == sum(each.numel() for each in dense.parameters())
    assert any("the unpruned network of the comparison" in words for words in found.remarks)


def test_saving_another_network_forgets_what_was_measured(sparse, tmp_path):
    (tmp_path / "measured.json").write_text(json.dumps(MEASURED.to_json()))
    sc.save(sc.load(sparse), tmp_path)
    assert not (tmp_path / "measured.json").exists()
