"""Differences and what they allow to be said: against scipy's tests, by hand, and by simulation."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import made
from secateur.cli.main import main
from secateur.compare.differences import Difference, corrected, difference
from secateur.compare.judging import judge, judged_again
from secateur.compare.lost_seeds import counted_as_worst
from secateur.compare.sampling import TestError, bounded, paired
from secateur.compare.spreads import ALIKE, USUAL, samples, spreads
from secateur.compare.summary import interval, summarise
from secateur.compare.verdict import Evidence, decide, verdict
from secateur.data import load_data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.network.task import ACCURACY as TOP_1
from secateur.records.failed import Missing
from secateur.records.measure import ACCURACY, Measure, wilson
from secateur.records.results import DataSummary, Results
from secateur.runs.store import RunStore
from secateur.training import evaluation

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import verdict_power  # noqa: E402

LOSS = Measure(name="loss", higher_is_better=False, fraction=False)
GAIN = Measure(name="gain", higher_is_better=True, fraction=False)


def rows(*values, names="abcdefghijkl", val=None):
    """Summary rows of arms with these values, one a seed; on validation the same."""
    found = []
    for index, row in enumerate(values):
        for seed, value in enumerate(row):
            point = {"accuracy": float(value), "val_accuracy": float(val[index] if val else value)}
            found.append(made.point(names[index], "params=25%", seed, **point))
    return summarise(found, {"params=25%": 250}, measure=GAIN)


def gap(*values, test=None) -> Difference:
    """The first two arms' difference."""
    found = samples(values)[0]
    return difference(found, spreads(found), 0, 1, better=1.0, test=test or TestError())


# One difference


def test_the_two_arms_alone_are_welchs_test():
    ours, theirs = [0.91, 0.95, 0.94, 0.90], [0.80, 0.88, 0.87, 0.91]
    assert gap(ours, theirs).own_p == pytest.approx(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


def test_a_p_value_is_the_moderated_ts_averaged_over_what_spreads_may_be():
    """Again with scipy's F density for s^2 / s0^2 (Smyth 2004, section 4) and its t distribution."""
    values = [[1.0, 1.2, 1.1], [0.7, 0.9, 0.2], [0.5, 0.5, 0.6], [0.1, 0.9, 0.4]]
    s2, d = np.var(values, axis=1, ddof=1), 2
    weights, ps = [], []
    for d0 in ALIKE:
        for usual in USUAL * s2.mean():
            weights.append(np.prod(stats.f.pdf(s2 / usual, d, d0) / usual))
            moved = (d0 * usual + d * s2[:2]) / (d0 + d) / 3
            freedom = moved.sum() ** 2 / (moved**2 / (d0 + d)).sum()
            ps.append(2 * stats.t.sf(0.5 / math.sqrt(moved.sum()), freedom))
    assert gap(*values).gap == pytest.approx(0.5)
    assert gap(*values).p == pytest.approx(np.average(ps, weights=weights), rel=1e-4)


def test_arms_that_are_alike_share_one_spread():
    """Twelve arms with the same sample variance: nearly the pooled t test, with 24 degrees of freedom."""
    arms = [np.roll([-1.0, 0.0, 1.0], i) + level for i, level in enumerate((2.0, *([0.0] * 11)))]
    pooled = 2 * stats.t.sf(2.0 / math.sqrt(2 / 3), 24)
    assert gap(*arms).p == pytest.approx(pooled, rel=0.15)
    assert gap(*arms).own_p == pytest.approx(2 * stats.t.sf(2.0 / math.sqrt(2 / 3), 4))


def test_the_interval_is_where_the_p_value_crosses_five_percent():
    found = gap([1.0, 1.2, 1.1], [0.7, 0.9, 0.2])
    assert found._p(found.half) == pytest.approx(0.05, rel=1e-6)
    assert found.visible == pytest.approx(found.half + 0.8416212 * math.sqrt(found.variance))


def test_the_test_splits_part_is_added():
    values = [[1.0, 1.2, 1.1], [0.7, 0.9, 0.2]]
    without, within = gap(*values), gap(*values, test=TestError(between=0.04))
    assert within.variance == pytest.approx(without.variance + 0.04)
    assert within.p > without.p
    assert within.own_p == pytest.approx(
        2 * stats.t.sf(0.5 / math.sqrt(0.14 / 3 + 0.04), 2.3058824 * (1 + 0.12 / 0.14) ** 2)
    )


def test_seeds_and_images_that_would_show_a_gap():
    """Had there been so many, the smallest visible gap would be the one observed, all else alike."""
    found = gap([1.0, 1.3, 1.1], [1.2, 0.9, 1.0], test=TestError(between=1e-4, within=1e-4))
    seeds = found.seeds_needed
    assert found.by_seeds * 3 / seeds + 1e-4 <= found.variance * (found.gap / found.visible) ** 2
    assert found.by_seeds * 3 / (seeds - 1) + 1e-4 > found.variance * (found.gap / found.visible) ** 2
    assert seeds > 3
    assert found.examples_needed(500) is None  # the seeds' part alone is too much
    coarse = gap([1.0, 1.01, 1.02], [0.91, 0.9, 0.92], test=TestError(between=0.01))
    assert coarse.seeds_needed is None
    needed = coarse.examples_needed(500)
    room = coarse.variance * (coarse.gap / coarse.visible) ** 2
    assert coarse.by_seeds + 0.01 * 500 / needed <= room < coarse.by_seeds + 0.01 * 500 / (needed - 1)


def test_correction_by_hand():
    """Four arms: the smallest of three p values is one of 6 pairs, the next of 3, the last by itself."""
    assert corrected([0.02, 0.001, 0.03]) == pytest.approx([0.06, 0.006, 0.06])
    assert corrected([0.5, 0.4]) == [1.0, 1.0]
    assert corrected([]) == []


def test_seeds_that_are_good_for_all_arms_are_paired():
    luck = np.array([0.0, 3.0, 6.0])
    noise = np.array([[0.1, 0.0, 0.2], [0.0, 0.2, 0.1], [0.2, 0.1, 0.0], [0.1, 0.2, 0.0]])
    table = luck + noise + np.array([[1.0], [0.0], [0.0], [0.0]])
    found, are_paired = samples(table)
    assert are_paired
    left = table - table.mean(0)  # what a two-way analysis leaves: variance times arms / (arms - 1)
    assert found[0].variance == pytest.approx(left[0].var(ddof=1) * 4 / 3)
    assert found[0].freedom == pytest.approx(2 * 3 / 4)
    assert verdict(rows(*table), measure=GAIN).per_budget[0].winner == "a"
    shuffled = [table[0], table[1][[1, 2, 0]], table[2][[2, 0, 1]], table[3]]
    assert verdict(rows(*shuffled), measure=GAIN).per_budget[0].winner is None


def test_two_coarse_differences_that_are_equal_are_no_certainty():
    """Two arms, two seeds, 500 images: that both gaps are of 25 images is chance, not a spread of none."""
    summary = rows([0.95, 0.90], [0.90, 0.85])
    assert not decide(summary, Evidence(test=500, val=130), ACCURACY).wins


# The test split


def test_one_image_of_thirty_by_hand():
    """d is 1 once: (1 + 1) / 30^2."""
    ours, theirs = np.ones((1, 30)), np.ones((1, 30))
    theirs[0, 3] = 0
    assert paired(ours, theirs) == TestError(pytest.approx(2 / 900), 0.0)


def test_what_seeds_do_not_agree_on_is_within_them():
    """Two seeds, two images: the mean square of the interaction is 0.5, over seeds times images^2."""
    d = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = paired(d, np.zeros((2, 2)), shares=False)
    assert found.within == pytest.approx(1.0 / (1 * 2 * 4))
    assert found.between == 0.0


def test_the_parts_are_those_of_a_crossed_design():
    """Simulated: a difference varies, over fresh seeds and images, by the seeds' part plus `between`."""
    rng = np.random.default_rng(0)
    seeds, n = 3, 400
    gaps, parts = [], []
    for _ in range(300):
        image = 0.6 * rng.standard_normal(n)
        own = 0.05 * rng.standard_normal((seeds, 1))
        d = image + own + 0.8 * rng.standard_normal((seeds, n))
        gaps.append(d.mean())
        parts.append(d.mean(1).var(ddof=1) / seeds + paired(d, np.zeros_like(d), shares=False).between)
    assert np.mean(parts) == pytest.approx(np.var(gaps), rel=0.2)
    assert np.mean(parts) == pytest.approx(0.05**2 / seeds + 0.6**2 / n + 0.8**2 / (seeds * n), rel=0.1)


def test_wilsons_interval_is_scipys():
    for right, n in ((30, 30), (27, 30), (0, 12), (250, 500)):
        found = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right / n, n) == pytest.approx((found.low, found.high), abs=1e-12)


def test_without_scores_the_bound_is_that_of_different_images():
    assert bounded(0.9, 0.8, 98).between == pytest.approx((0.892 * 0.108 + 0.794 * 0.206) / 98)
    assert bounded(0.9, 0.8, 98).within == 0.0
    assert bounded(0.0, 1.0, 4).between == pytest.approx(5 / 16)


def test_all_of_thirty_images_is_not_certainty():
    found = interval([1.0, 1.0, 1.0], 30)
    assert found.low == pytest.approx(1 / (1 + 1.959964**2 / 30))
    assert (found.high, found.half) == (1.0, pytest.approx(1 - found.low))
    assert interval([0.5, 0.75]).half == pytest.approx(12.706205 * 0.1767767 / 2**0.5)


# Verdicts


def on_images(arms: int, seeds: int, images: int, right: dict[int, Sequence[int]]):
    """Arms that get every image right but those that are named; with the scores."""
    scores = np.ones((arms, seeds, images))
    for arm, wrong in right.items():
        scores[arm][:, wrong] = 0
    points = [
        made.point(f"arm{arm}", "params=25%", seed, accuracy=float(mean), val_accuracy=1.0)
        for arm in range(arms)
        for seed, mean in enumerate(scores[arm].mean(1))
    ]
    kept = {
        (point.arm, point.budget, point.seed): row
        for point, row in zip(points, scores.reshape(-1, images), strict=True)
    }
    return summarise(points, {"params=25%": 250}, test=images), kept


@given(st.integers(2, 8), st.integers(2, 6), st.integers(1, 3000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_one_image_never_makes_a_winner(arms, seeds, images, kept):
    """Every arm but the first fails on the same image, at every seed, and nothing else varies at all."""
    summary, scores = on_images(arms, seeds, images, {arm: [0] for arm in range(1, arms)})
    (entry,) = verdict(summary, Evidence(images, images, scores if kept else {})).per_budget
    assert entry.leader == "arm0"
    assert (entry.winner, entry.behind) == (None, ())
    assert all(row.half > 0 for row in summary)


@given(st.integers(2, 8), st.integers(2, 6), st.integers(1, 4), st.integers(0, 500), st.booleans())
@settings(deadline=None, max_examples=30)
def test_nor_do_four_however_few_there_are(arms, seeds, wrong, others, kept):
    """McNemar's test gives 4 / sqrt(4 + 1), not enough; his exact one, 2 / 2^4."""
    summary, scores = on_images(arms, seeds, wrong + others, {arm: range(wrong) for arm in range(1, arms)})
    evidence = Evidence(wrong + others, 100, scores if kept else {})
    assert verdict(summary, evidence).per_budget[0].winner is None


def test_many_images_do():
    summary, scores = on_images(3, 3, 500, {1: list(range(20)), 2: list(range(30))})
    (entry,) = verdict(summary, Evidence(500, 130, scores)).per_budget
    assert (entry.winner, entry.basis) == ("arm0", "paired")
    (entry,) = verdict(summary, Evidence(500, 130)).per_budget
    assert entry.basis == "bounded"
    assert "(of which no single results were kept)" not in entry.text  # it wins all the same


tables = st.integers(2, 6).flatmap(
    lambda seeds: st.lists(st.lists(st.floats(-5, 5), min_size=seeds, max_size=seeds), min_size=2, max_size=6)
)


def outcome(table, measure=GAIN):
    found = decide(rows(*table), Evidence(), measure)
    behind = {row.arm for row, is_behind in zip(found.others, found.behind, strict=True) if is_behind}
    ps = {row.arm: each.p for row, each in zip(found.others, found.differences, strict=True)}
    return found.leader.arm, found.wins, behind, ps


def clear(table) -> bool:
    """Nothing hangs on the last bits: means differ, seeds vary, and no p value lies at a level."""
    means = sorted(float(np.mean(row)) for row in table)
    found = decide(rows(*table), Evidence(), GAIN)
    levels = [p for each in found.differences for p in (each.p, each.own_p)] + list(found.corrected)
    return (
        min(np.diff(means)) > 1e-6
        and min(np.var(row) for row in table) > 1e-6
        and all(abs(p - level) > 1e-3 for p in levels for level in (0.05, 0.1))
    )


@given(tables, st.floats(-100, 100), st.floats(0.1, 10))
@settings(deadline=None, max_examples=40)
def test_another_zero_or_unit_changes_nothing(table, shift, scale):
    assume(clear(table))
    leader, wins, behind, ps = outcome(table)
    other = outcome([[scale * value + shift for value in row] for row in table])
    assert (leader, wins, behind) == other[:3]
    assert other[3] == pytest.approx(ps, rel=1e-3, abs=1e-9)


@given(tables, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=40)
def test_the_order_of_arms_changes_nothing(table, random):
    assume(clear(table))
    order = list(range(len(table)))
    random.shuffle(order)
    leader, wins, behind, _ = outcome(table)
    found = decide(
        rows(*(table[i] for i in order), names="".join("abcdef"[i] for i in order)), Evidence(), GAIN
    )
    assert (found.leader.arm, found.wins) == (leader, wins)
    assert {row.arm for row, is_behind in zip(found.others, found.behind, strict=True) if is_behind} == behind


@given(tables)
@settings(deadline=None, max_examples=60)
def test_who_is_behind_is_worse_and_lower_is_better_where_it_is(table):
    means = {name: np.mean(row) for name, row in zip("abcdef", table, strict=False)}
    leader, wins, behind, _ = outcome(table)
    assert all(means[arm] < means[leader] for arm in behind)
    assert not wins or len(behind) == len(table) - 1
    assume(clear(table))
    assert outcome([[-value for value in row] for row in table], LOSS)[:3] == (leader, wins, behind)


@given(tables)
@settings(deadline=None, max_examples=40)
def test_more_seeds_of_the_same_kind_show_no_less(table):
    """By the two arms alone; what other arms say of their spread may well change with what is known of it."""
    twice = [[*row, *row] for row in table]
    assume(clear(table) and not samples(table)[1] and not samples(twice)[1])
    few, many = (decide(rows(*each), Evidence(), GAIN).differences for each in (table, twice))
    assert all(more.own_p <= less.own_p + 1e-9 for less, more in zip(few, many, strict=True))


def test_validation_decides_among_arms_that_are_alike_on_test():
    summary = rows([0.5, 0.6], [0.5, 0.6], val=[0.1, 0.2])
    (entry,) = verdict(summary, Evidence(test=10, val=10), GAIN).per_budget
    assert entry.leader == "b"


def test_the_words_of_another_metric():
    summary = rows([0.5, 0.51, 0.52], [0.3, 0.31, 0.32])
    (entry,) = verdict(summary, measure=LOSS).per_budget
    assert entry.winner == "b"
    assert entry.text.startswith("b wins with loss 0.31 ± 0.02484: 0.2 (")
    assert entry.basis == "seeds"


def test_older_rows_have_only_mean_and_deviation():
    summary = [replace(row, seeds=(), values=()) for row in rows([0.95, 0.96, 0.94], [0.5, 0.52, 0.51])]
    assert verdict(summary, measure=GAIN).per_budget[0].winner == "a"


def test_the_recorded_arm_at_87_percent_is_behind_that_at_98():
    results = Results.load(ROOT / "results/digits-channels/results.json")
    limits = {row.budget: row.limit for row in results.summary}
    summary = summarise(results.points, limits, test=results.data.test)
    (entry,) = [
        each
        for each in verdict(summary, Evidence(results.data.test, results.data.val)).per_budget
        if each.budget == "params=10%"
    ]
    assert (entry.leader, entry.winner, entry.behind) == ("fisher-scratch", None, ("fisher-tuned",))


# Error rates


def rate(n: int, **case) -> verdict_power.Rates:
    return verdict_power.measure(verdict_power.Case(**case), n, np.random.default_rng(7))


def test_ties_win_rarely_and_a_leader_is_found():
    """400 comparisons: 5% and 60% with three standard errors to spare."""
    tied = rate(400, arms=6, seeds=3, truth="two tied ahead")
    assert tied.wins <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert tied.false_statements <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    ahead = rate(400, arms=6, seeds=3, truth="one ahead", gap=3.0)
    assert ahead.wins >= 0.6 - 3 * math.sqrt(0.6 * 0.4 / 400)
    assert ahead.wins > 10 * ahead.intervals


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spreads", list(verdict_power.SPREADS))
def test_false_wins_are_rare_where_all_are_tied(spreads, seeds):
    for arms in (3, 6, 12):
        found = rate(1500, arms=arms, seeds=seeds, spreads=spreads)
        assert found.wins <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500), (arms, found)


@pytest.mark.slow
def test_power_is_what_is_asked():
    assert rate(3000, arms=6, seeds=3, truth="one ahead", gap=3.0).wins >= 0.6 - 0.02
    assert rate(1000, arms=6, seeds=5, truth="one ahead", gap=3.0).wins >= 0.85
    assert rate(500, arms=6, seeds=5, truth="one ahead", gap=3.0, images=500).wins >= 0.85


def test_the_recorded_rates_are_those_that_are_asked():
    found = json.loads((ROOT / "results/verdict-power/power.json").read_text())["cases"]
    plain = [case for case in found if not case["images"] and not case["shared"]]
    equal = [case for case in plain if case["spreads"] == "equal" and case["truth"] != "one ahead"]
    assert {case["arms"] for case in equal} >= {2, 12}
    assert {case["seeds"] for case in equal} >= {2, 10}
    assert max(case["wins"] for case in equal) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    tied = [case for case in plain if case["truth"] == "all tied" and case["arms"] > 2]
    assert max(case["wins"] for case in tied) <= 0.05
    ahead = {
        case["seeds"]: case["wins"]
        for case in plain
        if (case["arms"], case["truth"], case["gap"], case["spreads"]) == (6, "one ahead", 3.0, "equal")
    }
    assert ahead[3] >= 0.6 - 0.02
    assert ahead[5] >= 0.85


# Judged again


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """Run `secateur report` on the test's folder, in this process: what it prints."""
    monkeypatch.setattr("secateur.cli.main.keep_freed_memory", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["secateur", "report", str(tmp_path)])

    def call() -> str:
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        return capsys.readouterr().out

    return call


def a_comparison(directory: Path, kept: bool) -> None:
    """What a version that compared intervals left of three arms on 40 images; the runs' scores beside it."""
    summary, scores = on_images(3, 3, 40, {1: range(12), 2: range(14)})
    points = [
        made.point(row.arm, row.budget, seed, accuracy=value, val_accuracy=row.val_mean)
        for row in summary
        for seed, value in zip(row.seeds, row.values, strict=True)
    ]
    recorded = json.loads((ROOT / "results/digits-channels/results.json").read_text())
    recorded["data"]["test"] = 40
    plain = [replace(row, seeds=(), values=()) for row in summary]
    changed = {
        "points": [point.to_json() for point in points],
        "dense": [],
        "dense_summary": None,
        "summary": [row.to_json() for row in plain],
        "verdict": {
            "text": "No clear winner at params=25% (250).",
            "per_budget": [
                {
                    "budget": "params=25%",
                    "limit": 250,
                    "leader": "arm1",
                    "winner": None,
                    "not_separated": ["arm0", "arm2"],
                    "behind": [],
                    "text": "no clear winner: arm1 leads on validation",
                }
            ],
        },
    }
    (directory / "results.json").write_text(json.dumps({**recorded, **changed}))
    (directory / "best").mkdir()
    (directory / "best/record.json").write_text(json.dumps({"arm": "arm1", "budget": "params=25%"}))
    store = RunStore(directory)
    for point in points if kept else []:
        store.save_scores(point.run_id, torch.tensor(scores[point.arm, point.budget, point.seed]))


@pytest.mark.parametrize(("kept", "basis"), [(True, "paired"), (False, "bounded")])
def test_report_judges_again_says_what_changed_and_shows_differences(tmp_path, kept, basis, report):
    a_comparison(tmp_path, kept)
    points = Results.load(tmp_path / "results.json").points
    told = report()
    now = Results.load(tmp_path / "results.json")
    assert now.points == points
    (entry,) = now.verdict.per_budget
    assert (entry.leader, entry.winner, entry.basis) == ("arm0", "arm0", basis)
    assert "Before: No clear winner at params=25% (250). Now: Arm0 wins at params=25% (250)." in told
    assert "best/ still holds a network of arm1 at params=25%, and the advice is arm0 at params=25%" in told
    page = (tmp_path / "report.html").read_text()
    (rows,) = re.findall(r'<table class="compute gaps">.*?</table>', page, re.DOTALL)
    body = re.findall(r"<tr>.*?</tr>", rows, re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in body if "<td>" in row]
    assert [row[0] for row in cells] == ["30.00", "35.00"]
    assert [row[3] for row in cells] == ["clearly behind"] * 2
    assert ("image by image" in page) == kept
    assert ("the most that it can be" in page) == (not kept)
    assert "judged again" not in report()


def test_scores_that_are_damaged_are_refused_and_of_another_split_not_taken(tmp_path):
    a_comparison(tmp_path, kept=True)
    results, store = Results.load(tmp_path / "results.json"), RunStore(tmp_path)
    path = store.path(results.points[0].run_id) / "scores.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="the same command makes the run again"):
        judged_again(results, store)
    store.save_scores(results.points[0].run_id, torch.ones(39))
    assert judged_again(results, store).verdict.per_budget[0].basis == "bounded"


# Scores of every example


class Share:
    """A process of several, whose sums are left to the test."""

    def __init__(self, rank: int, world: int):
        self.rank, self.world, self.device = rank, world, torch.device("cpu")
        self.layout, self.autocast = Runtime("cpu").layout, Runtime("cpu").autocast

    def sum(self, value):
        return value


def test_scores_are_in_the_splits_order_in_one_process_and_in_several():
    data = load_data("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(1))

    def measured(runtime):
        return evaluation.measure_and_score(model, data.train, data, runtime, "fp32", (TOP_1,))

    values, whole = measured(Runtime("cpu"))
    assert (whole.dtype, len(whole)) == (torch.uint8, len(data.train))
    assert len(data.train) > 2 * 500
    assert values["accuracy"] == whole.sum().item() / len(data.train)
    assert evaluation.evaluate(model, data.train, data, Runtime("cpu"), "fp32") == values["accuracy"]
    x = torch.stack([data.train.images[i] for i in range(20)]).float() / 255
    x = (x - torch.tensor(data.mean).view(-1, 1, 1)) / torch.tensor(data.std).view(-1, 1, 1)
    assert whole[:20].tolist() == (model(x).argmax(1) == data.train.labels[:20]).int().tolist()
    parts = [measured(Share(rank, 3))[1].int() for rank in range(3)]
    assert torch.equal(sum(parts), whole.int())


# Where runs failed

AT = "params=25%"


def test_a_leader_with_failed_seeds_wins_only_with_them_counted_as_the_worst():
    few = rows((0.98, 0.981, 0.979, 0.98), (0.90, 0.901, 0.899, 0.9, 0.9), (0.80, 0.801, 0.799, 0.8, 0.8))
    lost = Evidence(lost={("a", AT): (4,)})
    careless, careful = decide(few, Evidence(), GAIN), decide(few, lost, GAIN)
    assert (careless.wins, careless.behind) == (True, (True, True))
    assert (careful.leader.arm, careful.wins, careful.behind) == ("a", False, (False, True))
    assert careful.differences[0].gap == careless.differences[0].gap
    others = Evidence(lost={("b", AT): (5,), ("a", "params=50%"): (4,)})
    assert decide(few, others, GAIN).wins  # whoever is behind is not flattered by it
    many = rows(
        [0.98 + 0.001 * (seed % 3) for seed in range(19)], [0.97 + 0.001 * (seed % 3) for seed in range(20)]
    )
    assert decide(many, Evidence(lost={("a", AT): (19,)}), GAIN).wins


def test_a_lost_seed_is_as_bad_as_the_worst_of_all():
    table = rows((0.9, 0.8), (0.5, 0.7, 0.6))
    found = counted_as_worst(table[0], (2,), table, GAIN)
    assert (found.seeds, found.values, found.n) == ((0, 1, 2), (0.9, 0.8, 0.5), 3)
    assert found.mean == pytest.approx(2.2 / 3)
    assert found.std == pytest.approx(np.std([0.9, 0.8, 0.5], ddof=1))
    assert counted_as_worst(table[0], (2,), table, LOSS).values == (0.9, 0.8, 0.9)


def test_test_images_are_compared_over_the_seeds_that_both_have():
    rng = np.random.default_rng(0)
    right = (rng.random((2, 3, 50)) < 0.8).astype(float)
    scores = {(arm, AT, seed): right[i, seed] for i, arm in enumerate("ab") for seed in range(3)}
    del scores["a", AT, 1]
    points = [
        made.point(arm, AT, seed, accuracy=float(each.mean())) for (arm, _, seed), each in scores.items()
    ]
    table = summarise(points, {AT: 250})
    found = decide(table, Evidence(50, 20, scores, lost={("a", AT): (1,)}))
    both = paired(right[0][[0, 2]], right[1][[0, 2]])
    (ours,) = found.differences
    assert (ours.test.between, ours.test.within) == pytest.approx((both.between, both.within))


def test_the_text_says_what_becomes_of_a_win(tmp_path):
    values = {"a": (0.98, 0.981, 0.979, 0.98), "b": (0.90, 0.901, 0.899, 0.9, 0.9), "c": (0.7,) * 5}
    points = [
        made.point(arm, AT, seed, accuracy=value, val_accuracy=value)
        for arm, row in values.items()
        for seed, value in enumerate(row)
    ]
    data = DataSummary(
        name="d", label="d", train=1, val=1000, test=5000, classes=10, shape=(1, 8, 8), fingerprint="f"
    )
    missing = (Missing(arm="a", budget=AT, seed=4, failed="a params=25% seed 4"),)
    found = judge(points, (), {AT: 250}, data, RunStore(tmp_path), missing=missing).verdict
    said = "a stands on 4 of 5 seeds and wins by these alone: not with those that failed counted as the worst"
    assert found.per_budget[0].winner is None
    assert found.per_budget[0].text.endswith(said)
    assert found.text.endswith(f" Runs failed: {said} at params=25%.")
    whole = judge(points[1:], (), {AT: 250}, data, RunStore(tmp_path)).verdict
    assert "Runs failed" not in whole.text
