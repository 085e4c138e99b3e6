"""The harness behind the claims of speed, and that each benchmark runs. No time is asserted anywhere."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import (
    allocator,
    compact_latency,
    compare_overhead,
    fisher_run,
    growth,
    machine,
    records,
    side_by_side,
    startup,
)
from benchmarks.masked import Masked, ours_per_theirs
from benchmarks.records import Case, Found, Settings
from benchmarks.timing import WARM_UP, Action, Ratio, Times, measure, rotated, summary
from torch.nn import functional as F

import secateur as sc
from secateur import models
from secateur.compare.results import load_results
from secateur.device import Runtime
from secateur.methods import Fisher
from secateur.records.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
QUICK = Settings(rounds=1, quick=True)
IDLE = {"idle": True, "cpu": 0.01, "load": [0.0, 0.0, 0.0], "busy": []}
ENVIRONMENT = {
    "device": "cpu (Test 1)",
    "threads": 2,
    "commit": "0123456789ab",
    "date": "2026-01-02",
}


class StandIn:
    """A clock that goes on only when something is done."""

    def __init__(self):
        self.now, self.done = 0.0, []

    def __call__(self):
        return self.now

    def doing(self, name, *durations):
        """Takes these seconds, one after the other, the last for ever."""
        left = list(durations)

        def run():
            self.done.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_ratios_are_of_the_same_round_and_the_warm_up_does_not_count():
    clock = StandIn()
    times = measure(
        {
            "a": clock.doing("a", 100, 50, 1, 2, 3, 4, 5),
            "b": clock.doing("b", 70, 70, 2, 2, 2, 2, 20),
        },
        rounds=5,
        clock=clock,
        at_least_s=0,
    )
    assert times.seconds == {"a": [1, 2, 3, 4, 5], "b": [2, 2, 2, 2, 20]}
    assert times.ratio("a", "b") == Ratio(1.0, 0.5, 1.5)  # of 0.5, 1, 1.5, 2, 0.25
    assert times.ratio("a", "b", factor=2).middle == 2.0
    assert times.ms("a") == {"a": 3000.0}
    assert times.ms() == {"a": 3000.0, "b": 2000.0}


def test_the_order_changes_from_round_to_round():
    clock = StandIn()
    measure({name: clock.doing(name, 1) for name in "abc"}, rounds=4, clock=clock, at_least_s=0)
    assert "".join(clock.done) == "abc" * WARM_UP + "abc" + "bca" + "cab" + "abc"
    assert rotated(["a", "b"], 7) == ["b", "a"]


def test_short_actions_are_repeated_and_their_time_is_that_of_one():
    clock = StandIn()
    times = measure({"a": clock.doing("a", 0.25)}, rounds=2, clock=clock, at_least_s=1.0)
    assert times.seconds == {"a": [0.25, 0.25]}
    assert len(clock.done) == WARM_UP + 2 * 4


def test_the_time_of_a_round_is_the_mean_over_its_passes():
    clock = StandIn()
    times = measure(
        {"a": clock.doing("a", 9, 9, 1, 3, 5, 7), "b": clock.doing("b", 9, 9, 2)},
        rounds=2,
        passes=2,
        clock=clock,
        at_least_s=0,
    )
    assert times.seconds == {"a": [2.0, 6.0], "b": [2.0, 2.0]}
    assert "".join(clock.done) == "ab" * WARM_UP + "ab" + "ba" + "ab" + "ba"


def test_what_comes_before_is_outside_the_clock_and_steps_are_divided_by():
    clock = StandIn()
    action = Action(clock.doing("run", 6), before=clock.doing("before", 1000), per=3)
    waited = []
    times = measure({"a": action}, rounds=1, clock=clock, at_least_s=0, finish=lambda: waited.append(1))
    assert times.seconds == {"a": [2.0]}
    assert clock.done == ["before", "run"] * (WARM_UP + 1)
    assert len(waited) == 2 * (WARM_UP + 1)


def test_quartiles_by_hand():
    assert summary([4.0, 1.0, 3.0, 2.0, 5.0]) == Ratio(3.0, 2.0, 4.0)
    assert summary([7.0]) == Ratio(7.0, 7.0, 7.0)


def test_idleness_is_a_share_of_all_cores(monkeypatch):
    ticks = iter([(100, 1000), (130, 1100)])
    monkeypatch.setattr(machine, "_cpu_ticks", lambda: next(ticks))
    taken = 3 * machine.os.sysconf("SC_CLK_TCK") // 10
    processes = iter([{1: ("other", 5), 2: ("still", 7)}, {1: ("other", 5 + taken), 2: ("still", 7)}])
    monkeypatch.setattr(machine, "_process_ticks", lambda: next(processes))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    found = machine.idleness(1.0)
    assert found["cpu"] == 0.3
    assert found["idle"] is False
    assert found["busy"] == [{"process": "other", "cores": 0.3}]


def test_the_environment_says_where_the_numbers_are_from():
    found = machine.environment("cpu")
    assert {"threads", "device", "commit", "torch"} <= set(found)
    assert found["commit"] is None or re.fullmatch(r"[0-9a-f]{12}(\+changes)?", found["commit"])
    assert callable(machine.tuner())


def check(content, name):
    """What must hold of every record."""
    again = json.loads(json.dumps(content))
    assert again == content, "JSON takes it as it is"
    assert again["schema"] == 1
    assert again["benchmark"] == name
    assert again["quick"] is True
    names = [case["case"] for case in again["cases"]]
    assert names
    assert len(set(names)) == len(names)
    for case in again["cases"]:
        assert {"case", "what", "over", "ratio", "low", "high", "bar", "met", "ms"} <= set(case)
        assert 0 < case["low"] <= case["ratio"] <= case["high"]
        assert case["met"] == (None if case["bar"] is None else case["ratio"] <= case["bar"])
        assert case["ms"]
    assert all(isinstance(note, str) for note in again["notes"])
    assert name in records.table(content)


RUN_HERE = {
    "cost_of_a_channel": 2,
    "reparametrization": 6,
    "exact_solve": 2,
    "fisher_bookkeeping": 4,
    "fisher_run": 8,
    "uneven_widths": 4,
    "batches": 6,
    "layouts": 8,
}


SLOW = ("fisher_run",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RUN_HERE]
)
def test_benchmarks_run(name):
    found = importlib.import_module(f"benchmarks.{name}").run(QUICK)
    content = records.record(name, QUICK, found, IDLE, ENVIRONMENT)
    check(content, name)
    assert len(content["cases"]) == RUN_HERE[name]


@pytest.mark.slow
def test_compact_latency_runs():
    found = compact_latency.run(QUICK)
    check(records.record("compact_latency", QUICK, found, IDLE, ENVIRONMENT), "compact_latency")
    assert len(found.cases) == 4 + 1 + 1


@pytest.mark.parametrize("budget", compact_latency.BARS)
def test_compact_networks_have_so_many_parameters_at_most(budget):
    whole, most = compact_latency.whole(quick=False), compact_latency.PARAMS[budget]
    assert compact_latency.limit(whole, budget) == most
    uneven = compact_latency.uneven(whole, most)
    assert most - 2500 < uneven.params <= most  # a channel of the last stage is 2 * 9 * 128 + 2 of them
    assert sum(width % 8 > 0 for width in uneven.widths) > 9
    for number in (8, 16):
        found = compact_latency.multiples(whole, most, number)
        assert 0.97 * most < found.params <= most  # no smaller networks than the claim is of
        assert all(width % number == 0 for width in found.widths)


def test_the_training_rate_stands_beside_the_floor():
    settings = Settings(rounds=1, quick=True, only=("wrn-40-2-128",))
    found = importlib.import_module("benchmarks.training_rate").run(settings)
    content = records.record("training_rate", settings, found, IDLE, ENVIRONMENT)
    check(content, "training_rate")
    assert records.file_name(content) == "training_rate-wrn-40-2-128_cpu-test-1_2026-01-02.json"
    eager = content["cases"][0]
    assert eager["floor_ms"]["operations"] > 0
    assert eager["of_the_floor"] >= eager["of_the_peak"] > 0


def test_bytes_of_a_step_by_hand():
    from benchmarks.training_rate import bytes_of_a_step

    model = models.conv4(width=0.03125, in_channels=1, image_size=8)
    conv = sum(c * s * s for c, s in zip(model.widths[:4], (8, 8, 4, 4), strict=True))
    linear = sum(model.widths[4:]) + 10
    params = sum(p.numel() for p in model.parameters())
    assert bytes_of_a_step(model, 3, "bf16") == 5 * (conv + linear) * 3 * 2 + 8 * params * 4


def test_startup_counts_an_imported_torch_as_not_met(monkeypatch):
    monkeypatch.setattr(startup, "python", lambda *arguments: "usage\ntorch was imported")
    content = records.record("startup", QUICK, startup.run(QUICK), IDLE, ENVIRONMENT)
    check(content, "startup")
    assert content["cases"][1]["met"] is False
    monkeypatch.setattr(startup, "python", lambda *arguments: "usage\nwithout torch")
    assert startup.run(QUICK).cases[1].met is True


def test_growth_runs_commands_in_folders_that_it_makes(monkeypatch):
    asked = []

    def answer(words, **environment):
        asked.append(words)
        if words[0] == "report":
            (Path(words[1]) / "report.html").write_text("<p>a page</p>")
            assert len(load_results(Path(words[1])).points) == 12
        elif words[0] == "runs":
            assert len(RunFolder(words[-1]).ids()) == 40
            assert RunFolder(words[-1]).head(RunFolder(words[-1]).resolve(f"train-{7:012x}")).epochs == 30

    monkeypatch.setattr(growth, "secateur", answer)
    monkeypatch.setattr(growth, "cpu_seconds", iter(range(1000)).__next__)
    content = records.record("growth", QUICK, growth.run(QUICK), IDLE, ENVIRONMENT)
    check(content, "growth")
    assert [(case["ratio"], case["bar"]) for case in content["cases"]] == [
        *((1.0, bar) for bar in (2.0, 1.0, 10.0, None)),
    ]
    assert content["cases"][2]["bytes"] == 13
    assert [words[0] for words in asked[:4]] == ["runs", "runs", "report", "compare"]


def test_allocator_divides_tuned_by_default(monkeypatch):
    def answer(module, question):
        return {"seconds": 1.0 if question["tuned"] else 2.0, "faults": 10 if question["tuned"] else 3e5}

    monkeypatch.setattr(allocator, "ask", answer)
    content = records.record("allocator", QUICK, allocator.run(QUICK), IDLE, ENVIRONMENT)
    check(content, "allocator")
    assert content["cases"][0]["ratio"] == 0.5
    assert content["cases"][0]["page_faults_per_step"] == {"tuned": 10, "default": 300000}


def test_the_allocators_child_counts_page_faults():
    answer = allocator.child({"network": "resnet18", "tuned": False, "quick": True})
    assert answer["seconds"] > 0
    assert answer["faults"] >= 0


def test_side_by_side_trains_and_compares(monkeypatch):
    question = {"network": "wrn-16-1 on 8x8 digits", "device": "cpu", "quick": True, "times": 1}
    side_by_side._trainer({**question, "threads": torch.get_num_threads()})()
    ran = []
    monkeypatch.setattr(side_by_side, "secateur", ran.append)
    found = side_by_side.run(Settings(rounds=1, quick=True, only=("compare",)))
    assert found.cases[0].more["of"] == 2
    assert [words[words.index("--workers") + 1] for words in ran] == ["1", "2"] * 2
    assert len({words[-1] for words in ran}) == len(ran), "each in a folder of its own"


def test_replayed_steps_are_those_of_the_runs(digits, tmp_path):
    """The same training MACs, run by run, as the records counted while they trained."""
    model = models.wide_resnet(depth=10, width=1, in_channels=1, image_size=8)
    budgets = ["params=98%", "params=96%"]
    sc.compare(
        model,
        data=digits,
        budgets=budgets,
        arms=["fisher-tuned", "fisher-scratch"],
        epochs=1,
        prune_every=2,
        out=tmp_path / "out",
    )
    made = compare_overhead.records(tmp_path / "out")
    counted = compare_overhead.counted(made)
    pruned = [record for record in made if record.removed is not None]
    assert len(pruned) == 2
    assert len(counted) == len(made) - 1, "one trajectory, trained once"
    for record in counted:
        total = 0
        for stretch in compare_overhead.stretches(record, len(digits.train)):
            architecture = sc.Architecture.from_identity(stretch.architecture)
            total += 3 * architecture.macs * sum(stretch.batches)
        assert total == record.train_compute
    stretch = next(compare_overhead.stretches(pruned[0], len(digits.train)))
    assert compare_overhead.bare_seconds(stretch, digits, Runtime("cpu"), 1) > 0


def test_compare_overhead_divides_walls_by_bare_steps(monkeypatch, tmp_path):
    monkeypatch.setattr(compare_overhead, "secateur", lambda words, **more: "")
    monkeypatch.setattr(compare_overhead, "ask", lambda *question, **more: {"seconds": 1e-9})
    found = compare_overhead.run(QUICK)
    check(records.record("compare_overhead", QUICK, found, IDLE, ENVIRONMENT), "compare_overhead")
    assert [(case.case, case.bar) for case in found.cases] == [("digits", None), ("images", 1.05)]
    folder = compare_overhead.make_images(tmp_path / "images", QUICK)
    assert len(list(folder.glob("train/*/*.png"))) == 100


def test_the_masked_reference_scores_as_ours_does():
    """Float64: the same scores up to the known factor, before a removal and after it, and the same choice."""
    torch.manual_seed(3)
    ours = models.wide_resnet(depth=10, stages=[4, 6, 8], in_channels=1, image_size=8).double()
    theirs = Masked(copy.deepcopy(ours))
    method = Fisher(removals=2, every=3)
    optimizers = [
        torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4) for m in (ours, theirs)
    ]
    method.prepare(ours)
    x, y = torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.randint(10, (6,))
    for removals in range(2):
        for step in range(3):
            for model, optimizer in zip((ours, theirs), optimizers, strict=True):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                optimizer.zero_grad()
            if step < 2:
                method.after_step(ours, optimizers[0])
        alive = [block.mask.bool() for block in theirs.blocks]
        assert sum(int((~mask).sum()) for mask in alive) == removals
        scores = list(method.scores(ours).values())
        expected = [ours_per_theirs(6, 3) * block.running for block in theirs.blocks]
        for mine, other, mask in zip(scores, expected, alive, strict=True):
            torch.testing.assert_close(mine, other[mask], rtol=1e-9, atol=1e-18)
        method.after_step(ours, optimizers[0])
        gone = method.removed[-1]
        block = int(gone["group"].split(".")[1])
        lowest = min(float(other[mask].min()) for other, mask in zip(expected, alive, strict=True))
        assert float(expected[block][gone["channel"]]) == lowest
        theirs.remove(block, gone["channel"])
        for other in theirs.blocks:
            other.running.zero_()


def test_the_integral_against_closed_forms():
    points = [0, 125, 250, 375, 500, 625, 750, 875, 1000]
    cubic = [1 - 2e-3 * p + 3e-6 * p**2 - 4e-9 * p**3 for p in points]
    assert fisher_run.integral(points, cubic) == pytest.approx(1000 - 1000 + 1000 - 1000, abs=1e-9)
    assert fisher_run.integral([0, 1, 2, 3], [1, 2, 3, 4]) == 7.5  # trapezoids
    assert fisher_run.integral([0, 2], [1, 2]) == 3.0


def test_totals_of_a_run_integrate_each_round_by_itself():
    rounds = {
        removed: Times({"ours fp32": [0.25, 1.0], "ours fp32, removing": [2.0 + removed, 5.0]})
        for removed in (0, 1, 2)
    }
    found = fisher_run.totals(rounds, fisher_run._our_training("fp32"))
    assert found == pytest.approx([2 * (99 * 0.25 + 2) + 2, 2 * (99 + 5)])


def test_channels_of_a_run_go_once_and_never_the_last_of_a_group():
    order = fisher_run.order_of_removal([3, 4])
    assert sorted(order) == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    assert order == fisher_run.order_of_removal([3, 4])


@pytest.mark.parametrize("path", sorted(records.RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_times_say_where_they_come_from(path):
    content = json.loads(path.read_text())
    assert content["schema"] == 1
    assert content["rounds"] >= 7
    assert re.fullmatch(r"[0-9a-f]{12}", content["environment"]["commit"]), "made from a clean commit"
    assert content["environment"]["device"]
    assert not content["quick"]
    assert path.name == records.file_name(content)


def made_up():
    """A record with a bar met, one missed, and one measured without."""
    found = Found(
        [
            Case("one", "gated step", "step", Ratio(1.012, 1.01, 1.02), 1.03, {"step": 5.0}),
            Case("two", "gated step", "step", Ratio(1.2, 1.1, 1.3), 1.03, {"step": 5.0}),
            Case("three", "this", "that", Ratio(0.5, 0.4, 0.6), None, {"this": 1.0}),
        ]
    )
    return records.record("reparametrization", Settings(), found, IDLE, ENVIRONMENT)


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")  # where the tool finds the others when it is run
    spec = importlib.util.spec_from_file_location("readme_tool", ROOT / "tools" / "readme.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_readmes_table_of_speed(readme, tmp_path):
    assert readme.speed(tmp_path) == "Nothing is recorded yet: `make bench` measures it here.\n"
    old = {**made_up(), "environment": {**ENVIRONMENT, "date": "2026-01-01"}, "cases": []}
    for content in (made_up(), old):
        records.write(content, tmp_path)
    quick = {**made_up(), "quick": True, "environment": {**ENVIRONMENT, "date": "2026-01-03"}}
    records.write(quick, tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    shutil.copy(next((ROOT / "benchmarks/results").glob("cost_of_a_channel_*_2026-11-22.json")), tmp_path)
    text = readme.speed(tmp_path)
    assert "**cpu (Test 1), 2 threads**" in text
    assert "| `reparametrization` one: gated step / step | 1.012 (1.01 to 1.02) | 1.03 | yes |" in text
    assert "| `reparametrization` two: gated step / step | 1.2 (1.1 to 1.3) | 1.03 | **no** |" in text
    assert "| `reparametrization` three: this / that | 0.5 (0.4 to 0.6) |  |  |" in text
    assert "medians of 7 rounds on 2026-01-02 at commit 0123456789ab." in text
    assert "not idle" not in text
    busy = {**made_up(), "idle": {**IDLE, "idle": False}}
    records.write(busy, tmp_path)
    assert "0123456789ab, the machine not idle" in readme.speed(tmp_path)


def test_a_table_says_what_is_not_met_and_that_the_machine_was_busy():
    busy = {"idle": False, "cpu": 0.5, "load": None, "busy": [{"process": "other", "cores": 1.0}]}
    text = records.table({**made_up(), "idle": busy})
    assert "NOT MET" in text
    assert "THE MACHINE IS NOT IDLE (50% in use; other 1.0)" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there is no benchmark 'nonsense'"),
        (["batches", "--rounds", "3"], "--rounds must be at least 7"),
        (["batches", "--only", "x"], "batches has no part 'x'"),
        (["batches", "startup", "--only", "x"], "one benchmark at a time"),
        ([], "required: NAME"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_help_names_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert all(name in printed for name in command.BENCHMARKS)


def test_every_benchmark_has_a_file_and_every_file_is_offered():
    helpers = {"__init__", "__main__", "timing", "machine", "records", "networks", "processes", "masked"}
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files - helpers == set(command.BENCHMARKS)


def test_the_command_writes_only_where_it_is_told(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(machine, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(machine, "idleness", lambda seconds: IDLE)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    assert command.main(["cost_of_a_channel", "--quick"]) == 0
    assert not (tmp_path / "results").exists()
    assert command.main(["cost_of_a_channel", "--quick", "--out", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"cost_of_a_channel_cpu[a-z0-9-]*_\d{4}-\d\d-\d\d\.json", path.name)
    check(json.loads(path.read_text()), "cost_of_a_channel")
    assert "QUICK" in capsys.readouterr().out
