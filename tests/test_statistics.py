"""Means, intervals and what they allow to be said; expected values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

import made
from secateur.compare.summary import Interval, interval, summarise
from secateur.compare.verdict import Evidence, verdict


def test_interval_by_hand():
    # mean 0.92, deviations -.02, 0, .02: std sqrt(.0008 / 2) = .02; t(0.975, 2) = 4.302653
    found = interval([0.90, 0.92, 0.94])
    assert found.n == 3
    assert found.mean == pytest.approx(0.92)
    assert found.std == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_has_no_interval():
    assert interval([0.5]) == Interval(n=1, mean=0.5, std=None, half=None, low=None, high=None)


def point(arm, budget, seed, accuracy, val_accuracy=None, **more):
    val_accuracy = accuracy if val_accuracy is None else val_accuracy
    return made.point(arm, budget, seed, accuracy=accuracy, val_accuracy=val_accuracy, **more)


LIMITS = {"params=50%": 500, "params=25%": 250}


def points(**arms):
    return [
        point(arm.replace("_", "-"), "params=25%", seed, value)
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]


def test_summary_has_one_row_for_each_arm_and_budget():
    rows = summarise(points(width=[0.5, 0.7], copycat=[0.9, 0.9]), LIMITS)
    assert [(row.arm, row.n, row.limit) for row in rows] == [("width", 2, 250), ("copycat", 2, 250)]
    assert rows[0].params == 100.5
    assert rows[0].mean == pytest.approx(0.6)
    assert rows[1].std == 0


def test_arms_that_lie_apart_give_a_winner():
    judged = verdict(summarise(points(copycat=[0.95, 0.951, 0.952], width=[0.90, 0.901, 0.902]), LIMITS))
    (entry,) = judged.per_budget
    assert (entry.winner, entry.leader, entry.not_separated) == ("copycat", "copycat", ())
    assert judged.text == "Copycat wins at params=25% (250)."
    assert entry.text.startswith("copycat wins with 95.1% ± 0.2: 5.0 points (")
    assert entry.text.endswith(") ahead of width, the nearest")


def test_arms_that_do_not_give_none():
    judged = verdict(
        summarise(
            points(copycat=[0.95, 0.90, 0.99], width=[0.93, 0.94, 0.95], bottleneck=[0.1, 0.1, 0.1]), LIMITS
        )
    )
    (entry,) = judged.per_budget
    assert entry.winner is None
    assert entry.leader == "copycat"
    assert (entry.not_separated, entry.behind) == (("width",), ("bottleneck",))
    assert judged.text == "No clear winner at params=25% (250); bottleneck clearly behind at params=25%."
    assert entry.text.startswith(
        "no clear winner: copycat leads on validation and test together and has 94.7% ± 11.2 on test, 0.7 "
        "points ahead of width ("
    )
    assert "; bottleneck clearly behind; 3 seeds show gaps from about " in entry.text


def test_one_seed_never_wins():
    judged = verdict(summarise(points(copycat=[0.99], width=[0.10]), LIMITS))
    assert judged.per_budget[0].winner is None
    assert judged.per_budget[0].not_separated == ("width",)
    assert "no clear winner, as one seed has no interval" in judged.per_budget[0].text


def test_the_leader_is_chosen_on_validation_and_test_together_and_must_lead_on_test_to_win():
    rows = [
        *(point("width", "params=25%", seed, 0.900 + seed / 1000, val_accuracy=0.99) for seed in range(3)),
        *(point("copycat", "params=25%", seed, 0.930 + seed / 1000, val_accuracy=0.94) for seed in range(3)),
    ]
    summary = summarise(rows, LIMITS)
    (entry,) = verdict(summary, Evidence(test=100, val=1000)).per_budget
    assert (entry.leader, entry.winner, entry.behind) == (
        "width",
        None,
        (),
    )  # .991 of 1000, but behind on test
    assert "3.0 points behind copycat" in entry.text
    (entry,) = verdict(summary, Evidence(test=10_000, val=10)).per_budget
    assert entry.leader == "copycat"


def test_budgets_come_largest_first_and_agree_in_one_sentence():
    rows = points(copycat=[0.95, 0.95], width=[0.9, 0.9])
    rows += [replace(row, budget="params=50%") for row in rows]
    judged = verdict(summarise(rows, LIMITS))
    assert [entry.budget for entry in judged.per_budget] == ["params=50%", "params=25%"]
    assert judged.text == "Copycat wins at params=50% (500) and at params=25% (250)."


def test_budgets_that_disagree_are_told_one_by_one():
    rows = points(copycat=[0.95, 0.95], width=[0.9, 0.9])
    rows += [replace(row, budget="params=50%") for row in points(copycat=[0.95, 0.7], width=[0.8, 0.8])]
    text = verdict(summarise(rows, LIMITS)).text
    assert text == "At params=50% (500) there is no clear winner; at params=25% (250) copycat wins."


def test_an_interval_stays_within_what_a_fraction_can_be():
    found = interval([0.9, 1.0])
    assert (found.low, found.high) == (
        pytest.approx(0.95 - found.half) if found.half < 0.95 else 0.0,
        1.0,
    )
    assert found.half == pytest.approx(12.7062 * 0.05, rel=1e-4)


def test_what_every_point_of_a_cell_has_of_weights_is_averaged():
    more = {"nonzeros": 10, "weights": 100}
    rows = [
        point("magnitude", "params=25%", 0, 0.8, **more, accuracy_before=0.9),
        point("magnitude", "params=25%", 1, 0.8, nonzeros=11, weights=100, accuracy_before=0.7),
        point("width", "params=25%", 0, 0.8, **more),
        point("width", "params=25%", 1, 0.8, **more, accuracy_before=0.9),
        point("copycat", "params=25%", 0, 0.8),
    ]
    magnitude, width, copycat = summarise(rows, LIMITS)
    assert (magnitude.nonzeros, magnitude.weights) == (10.5, 100)
    assert magnitude.accuracy_before == pytest.approx(0.8)
    assert width.nonzeros == 10
    assert width.accuracy_before is None
    assert (copycat.nonzeros, copycat.weights, copycat.accuracy_before) == (None, None, None)


def test_more_than_two_arms_behind_are_counted_in_the_sentence_and_named_at_the_budget():
    arms = {"a": (0.9, 0.91, 0.9), "b": (0.9, 0.9, 0.91), "c": (0.1, 0.11, 0.1), "d": (0.2, 0.21, 0.2)}
    points = [
        point(arm, "params=5", seed, accuracy)
        for arm, values in (arms | {"e": (0.3, 0.31, 0.3)}).items()
        for seed, accuracy in enumerate(values)
    ]
    found = verdict(summarise(points, {"params=5": 5}))
    assert found.text == "No clear winner at params=5 (5); 3 arms clearly behind at params=5."
    assert "c, d and e clearly behind" in found.per_budget[0].text
