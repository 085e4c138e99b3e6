"""What a comparison advises: literal sentences, the smallest gap against the rule itself, and a real run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.compare.advice import Question, advise, with_seeds
from secateur.compare.differences import told_from
from secateur.compare.judging import judged_again
from secateur.compare.results import best_point, rewrite_report
from secateur.compare.verdict import Evidence, decide
from secateur.compare.winner import errors_of
from secateur.errors import InputError
from secateur.records.advice import Advice
from secateur.records.measure import ACCURACY, Measure
from secateur.records.results import Results, SummaryRow
from secateur.records.winner import Miss, Winner
from secateur.report.checklist import checklist
from secateur.report.thumbnails import thumbnails
from secateur.report.winner import parts
from secateur.runs.store import RunStore

ROOT = Path(__file__).parents[1]
PLAIN = Measure(name="gain", higher_is_better=True, fraction=False)
LOSS = Measure(name="mae", higher_is_better=False, fraction=False)


def row(
    arm, values, *, budget="params=25%", limit=1000, training=1e9, params=990, val=None, **more
) -> SummaryRow:
    turn = sum(map(ord, arm)) % len(values)  # else the arms' seeds would be paired, and leave no spread
    values = tuple(float(value) for value in [*values[turn:], *values[:turn]])
    return SummaryRow(
        arm=arm,
        budget=budget,
        limit=limit,
        n=len(values),
        mean=float(np.mean(values)),
        std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        low=None,
        high=None,
        seeds=tuple(range(len(values))),
        values=values,
        val_mean=float(np.mean(values)) if val is None else val,
        params=params,
        macs=more.pop("macs", 5000),
        train_compute=training,
        discovery_compute=0.0,
        wall_s=1.0,
        **more,
    )


def around(mean, *, by=0.002, n=3):
    """Values with this mean, evenly spread."""
    return [mean + by * (i - (n - 1) / 2) for i in range(n)]


def dense(mean, **more):
    return row("dense", around(mean, **more), budget=None, limit=None, params=4000)


def told(*rows, unpruned=None, measure=ACCURACY, **question) -> Advice:
    found = advise(rows, unpruned, None, measure, Question(**question))
    assert found is not None
    assert Advice.from_json(found.to_json()) == found
    return found


# Sentences


def test_a_winner():
    found = told(row("grasp", around(0.993)), row("snip2", around(0.95)), unpruned=dense(0.984))
    assert found.text == "Keep grasp: 990 parameters, 99.3%; unpruned 98.4%, clearly worse."
    first, smallest, beside = found.lines
    assert first == "grasp wins: 4.3 points (3.7 to 4.9) ahead of snip2, the nearest."
    assert re.fullmatch(
        r"3 seeds cannot tell gaps under 0\.\d points; snip2 is behind by 4\.3 points\.", smallest
    )
    assert beside == "grasp is 0.9 points (0.5 to 1.3) better than the unpruned network, beyond doubt."
    assert (found.seeds, found.command) == (None, None)


def test_a_choice_among_equals_is_the_cheapest_and_is_not_sold_as_a_win():
    found = told(
        row("dear", around(0.985, by=0.01), training=9e9),
        row("cheap", around(0.981, by=0.01), training=3e9),
        row("far", around(0.60, by=0.01), training=1e9),
        unpruned=dense(0.985, by=0.01),
    )
    assert found.text == "Keep cheap: 990 parameters, 98.1%; unpruned 98.5%."
    assert found.lines[0] == (
        "A choice among equals, not a win: 2 arms cannot be told apart; of them cheap takes the least "
        "training, 3 times less than dear; dear leads."
    )
    assert re.fullmatch(
        r"Not told apart from dear: cheap \(-0\.4\): 3 seeds cannot tell gaps under \d\.\d points; far is "
        r"behind by 38\.5 points\.",
        found.lines[1],
    )
    (entry,) = found.per_budget
    assert (entry.arm, entry.why, entry.by, entry.equals) == (
        "cheap",
        "equals",
        "training",
        ("dear", "cheap"),
    )
    assert "win" not in entry.text


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        (({"params": 900}, {}), "size"),
        (({"macs": 4000}, {}), "macs"),
        (({"val": 0.5}, {"val": 0.99}), "mean"),
    ],
)
def test_what_costs_the_same_is_chosen_by_size_then_macs_then_the_mean(changes, by):
    one, other = changes
    found = told(row("one", around(0.980, by=0.01), **one), row("other", around(0.981, by=0.01), **other))
    assert found.per_budget[0].by == by
    assert found.arm == ("other" if by == "mean" else "one")


def test_an_arm_whose_seeds_differ_so_much_that_nothing_is_told_of_it_is_not_offered():
    """At nonzeros=1% of the recorded digits-gradual an arm of 49% is "not clearly behind" one of 98%."""
    recorded = Results.load(ROOT / "results/digits-gradual/results.json")
    rows = [each for each in recorded.summary if each.budget == "nonzeros=1%"]
    cheap = [replace(each, train_compute=1.0) if each.arm == "magnitude-tuned" else each for each in rows]
    alone = advise(
        cheap, None, Evidence(test=500, val=130)
    )  # nor where no unpruned network speaks against it
    assert alone is not None
    assert alone.arm == "gradual-magnitude"
    found = advise(cheap, recorded.dense_summary, Evidence(test=500, val=130))
    assert found is not None
    assert found.arm == "gradual-magnitude"
    (entry,) = found.per_budget
    assert set(entry.equals) == {row.arm for row in rows}
    assert entry.near == ("gradual-magnitude", "dynamic-feedback")
    assert "4 arms cannot be told apart; the 2 near enough to the best and to the unpruned" in found.lines[0]
    assert "magnitude-tuned (-49.4, as its seeds differ much): 3 seeds and 500 test images" in found.lines[1]


def test_an_equal_that_is_further_from_the_unpruned_network_than_the_leader_is_passed_over():
    rows = [row("dear", around(0.980, by=0.01), training=9e9), row("cheap", around(0.969, by=0.01))]
    unpruned = row("dense", around(0.998, by=0.01), budget=None)
    assert told(*rows).arm == "cheap"
    found = told(*rows, unpruned=unpruned)
    assert found.text == "Keep dear: 990 parameters, 98.0%; unpruned 99.8%."
    assert found.lines[0] == (
        "dear leads on validation and test together, but does not win; no other is near enough to replace it."
    )
    assert found.lines[1].startswith(
        "Not told apart from dear: cheap (-1.1): 3 seeds cannot tell gaps under "
    )


def test_one_seed_decides_nothing_and_the_command_adds_two():
    command = "secateur compare --out 'my folder' --seeds=1"
    found = told(row("one", [0.98]), row("other", [0.97], training=1.0), command=command)
    assert found.text == "One seed decides nothing; ahead for now is one: 990 parameters, 98.0%."
    assert found.lines[-1] == "3 seeds give intervals and a verdict; what is trained already is kept."
    assert (found.seeds, found.command) == (3, "secateur compare --out 'my folder' --seeds 3")
    assert repr(found).splitlines() == [found.text, *found.lines, found.command]


def test_the_smallest_budget_that_cannot_be_told_apart_from_the_unpruned_network_is_taken():
    rows = [
        row(arm, around(mean), budget=f"params={share}%", limit=share * 40, params=share * 39)
        for share, mean in ((50, 0.985), (25, 0.983), (10, 0.90))
        for arm in ("one", "other")
    ]
    found = told(*rows, unpruned=dense(0.984))
    assert (found.budget, found.arm) == ("params=25%", "one")
    assert found.text == "Keep one at params=25%: 975 parameters, 98.3%; unpruned 98.4%."
    assert found.lines[2].startswith(
        "params=25% is the smallest budget whose network is near the unpruned one and cannot be told apart "
        "from it: 0.1 points ("
    )
    assert "farther off" not in found.lines[2]
    assert [entry.unpruned and entry.unpruned.stands for entry in found.per_budget] == [
        "alike",
        "alike",
        "worse",
    ]
    assert found.per_budget[2].text.endswith("worse than the unpruned network, beyond doubt")


def test_a_smaller_budget_that_is_passed_over_for_its_noise_is_named():
    rows = [
        row(arm, scores, budget=f"params={share}%", limit=share * 40, params=share * 39)
        for share, scores in ((50, around(0.983)), (25, [0.99, 0.93, 0.97]))
        for arm in ("one", "other")
    ]
    found = told(*rows, unpruned=dense(0.984))
    assert found.budget == "params=50%"
    assert [entry.unpruned and entry.unpruned.stands for entry in found.per_budget] == ["alike", "alike"]
    assert found.lines[2].endswith(" worse; farther off, if not told apart either: params=25% (2.1 points).")


def test_where_the_unpruned_network_is_better_than_all():
    one = [row(arm, around(0.95)) for arm in ("one", "other")]
    found = told(*one, unpruned=dense(0.984))
    assert found.text == (
        "Keep one only where params=25% must hold: 990 parameters, 95.0%; unpruned 98.4%, clearly better."
    )
    more = [row(arm, around(0.90), budget="params=10%", limit=400) for arm in ("one", "other")]
    both = told(*one, *more, unpruned=dense(0.984))
    assert both.text == (
        "No budget is free; keep one at params=25%, which loses least: 990 parameters, 95.0%; unpruned "
        "98.4%, clearly better."
    )


def test_the_only_arm_without_the_unpruned_network_and_what_is_not_finished():
    found = told(
        row("width", around(0.95)),
        row("width", around(0.90), budget="params=10%", limit=400),
        arms=("width", "copycat"),
        seeds=3,
    )
    assert found.text == "Keep width at params=10%: 990 parameters, 90.0%."
    assert found.lines == (
        "width (a narrower network, from scratch) is the only arm.",
        "params=10% is the smallest budget; what a budget costs nothing says, as the unpruned network was "
        "not trained.",
        "Not finished at params=25%: copycat.",
        "Not finished at params=10%: copycat.",
    )
    assert advise([], None) is None


@pytest.mark.parametrize(
    ("resource", "size"),
    [("macs", "5,000 MACs"), ("nonzeros", "120 nonzero weights"), ("bytes", "3,960 bytes")],
)
def test_sizes_are_said_in_what_the_budget_limits(resource, size):
    rows = [row(arm, around(mean), nonzeros=120, bytes=3960) for arm, mean in (("a", 0.99), ("b", 0.9))]
    assert told(*rows, resource=resource).text == f"Keep a: {size}, 99.0%."


def test_a_metric_where_lower_is_better():
    rows = [row("a", around(0.02)), row("b", around(0.08))]
    found = told(*rows, unpruned=dense(0.05), measure=LOSS)
    assert found.text == "Keep a: 990 parameters, mae 0.02; unpruned mae 0.05, clearly worse."
    assert found.lines[0].startswith("a wins: 0.06 (0.05")
    assert "b is behind by 0.06." in found.lines[1]


def test_networks_that_have_learnt_nothing_are_said_to():
    guessed = told(row("a", around(0.15)), row("b", around(0.14)), classes=10)
    assert guessed.lines[0] == (
        "Hardly better than guessing, which is right in 10.0% of the cases: train longer before you take any "
        "of these."
    )
    assert "guessing" not in " ".join(told(row("a", around(0.2)), row("b", around(0.14)), classes=10).lines)


def test_names_that_are_markup_are_only_text_in_the_sentences():
    assert "<b>" in told(row("<b>", around(0.9))).text  # pages escape it: see below


def test_the_advice_that_the_docs_quote_is_that_of_the_recorded_comparison(tmp_path):
    recorded = Results.load(ROOT / "results/digits-channels/results.json")
    found = judged_again(recorded, RunStore(tmp_path)).advice
    assert found is not None
    quoted = re.sub(r"\n> ?", " ", (ROOT / "docs/verdict.md").read_text())
    for line in (found.text, *found.lines):
        assert " ".join(line.split()) in " ".join(quoted.split())


# The smallest gap


def made_up(rng, arms, seeds, gap=0.0, sd=1.0):
    """Arms of equal spread, the first `gap` ahead; validation the same again."""
    values = sd * rng.standard_normal((arms, seeds))
    values[0] += gap
    return [row(f"arm {i}", list(each), val=float(each.mean())) for i, each in enumerate(values)]


def shifted(each: SummaryRow, by: float) -> SummaryRow:
    values = tuple(value + by for value in each.values)
    return replace(each, values=values, mean=each.mean + by, val_mean=each.val_mean + by)


@pytest.mark.parametrize(("arms", "seeds"), [(2, 3), (3, 5), (5, 3)])
def test_the_smallest_gap_is_where_the_verdict_turns(arms, seeds):
    """Oracle: the whole rule, asked with one arm's values moved to just under and just over that gap."""
    rng = np.random.default_rng(arms * 10 + seeds)
    for _ in range(4):
        rows = made_up(rng, arms, seeds)
        decision = decide(rows, Evidence(), PLAIN)
        for index, smallest in enumerate(told_from(decision.differences)):
            other, gap = decision.others[index], decision.differences[index].gap
            said = []
            for factor in (0.98, 1.02):
                moved = shifted(other, gap - factor * smallest)
                again = decide([moved if each is other else each for each in rows], Evidence(), PLAIN)
                assert again.leader.arm == decision.leader.arm
                said.append(again.behind[[each.arm for each in again.others].index(other.arm)])
            assert said == [False, True]


def test_a_true_gap_of_that_size_is_told_in_half_of_the_comparisons():
    rng = np.random.default_rng(1)
    smallest = np.median(
        [told_from(decide(made_up(rng, 2, 5), Evidence(), PLAIN).differences) for _ in range(40)]
    )

    def told_at(gap):
        found = [decide(made_up(rng, 2, 5, gap=gap), Evidence(), PLAIN) for _ in range(120)]
        return np.mean([each.wins and each.leader.arm == "arm 0" for each in found])

    assert told_at(0.5 * smallest) < 0.25
    assert 0.3 < told_at(smallest) < 0.65
    assert told_at(2 * smallest) > 0.8


def test_so_many_seeds_tell_the_gap():
    """The estimate of one comparison whose observed gap is the true one."""
    rows = [row("a", around(1.2, by=1.0)), row("b", around(0.0, by=1.0))]
    found = told(*rows, measure=PLAIN, command="secateur.compare('wrn-16-1', ...)")
    assert found.seeds is not None
    rng = np.random.default_rng(2)
    wins = [decide(made_up(rng, 2, found.seeds, gap=1.2), Evidence(), PLAIN).wins for _ in range(120)]
    assert np.mean(wins) > 0.7
    assert found.lines[-2:] == (
        f"About {found.seeds} seeds would tell the 1.2 between a and b, in four of five cases; that is "
        f"{found.seeds - 3} more, as what is trained already is kept.",
        f"The same call with seeds={found.seeds} adds them.",
    )


def test_few_test_images_are_said_to_be_what_is_missing():
    rows = [row("a", [0.99] * 3), row("b", [0.97] * 3)]
    found = advise(rows, None, Evidence(test=100, val=100), ACCURACY, Question(command="secateur compare"))
    assert found is not None
    assert (found.seeds, found.command) == (None, None)
    assert re.fullmatch(
        r"No number of seeds would tell the 2\.0 points between a and b on 100 test images; about [\d,]+ "
        r"test images would, with 3 seeds\.",
        found.lines[-1],
    )


@pytest.mark.parametrize(
    ("command", "again"),
    [
        ("secateur compare", "secateur compare --seeds 8"),
        ("secateur compare --seeds 3 --out 'a b'", "secateur compare --out 'a b' --seeds 8"),
        ("secateur --quiet compare --out --seeds=2", "secateur --quiet compare --out --seeds 8"),
        ("secateur.compare('wrn-16-1', ...)", None),
        ("secateur compare 'broken", None),
        ("rm -rf compare", None),
    ],
)
def test_the_command_that_adds_seeds(command, again):
    assert with_seeds(command, 8) == again


# Where the kept network is wrong


def logits(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_what_is_taken_for_what_and_the_surest_mistakes():
    batches = [
        (logits([5, 0, 0], [0, 3, 0]), torch.tensor([0, 2])),  # right; a "c" called "b"
        (logits([9, 0, 0], [0, 0, 1]), torch.tensor([1, -100])),  # a "b" called "a", surer; ignored
    ]
    found = errors_of("classification", batches, ("a", "b", "c"))
    assert found["confusion"] == ((1, 0, 0), (1, 0, 0), (0, 1, 0))
    assert (found["n"], found["wrong"]) == (3, 2)
    assert [(each.index, each.true, each.said) for each in found["worst"]] == [(2, "b", "a"), (1, "c", "b")]
    assert found["worst"][0].confidence == pytest.approx(np.exp(9) / (np.exp(9) + 2))


def test_of_many_classes_only_the_pairs_that_are_confused_most_are_kept():
    truth = torch.tensor([0] * 5 + [1] * 3 + [2])
    said = torch.tensor([1] * 5 + [24] * 3 + [2])
    found = errors_of("classification", [(torch.nn.functional.one_hot(said, 25).float(), truth)], ())
    assert (found["classes"], found["confusion"]) == ((), ())
    assert [each.to_json() for each in found["pairs"]] == [
        {"true": "class 0", "said": "class 1", "n": 5},
        {"true": "class 1", "said": "class 24", "n": 3},
    ]


def test_labels_that_are_missed_and_invented():
    batches = [(logits([4, -4], [-9, 9]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))]
    found = errors_of("multilabel", batches, ("cat", "dog"))
    assert [each.to_json() for each in found["labels"]] == [
        {"name": "cat", "n": 2, "missed": 1, "invented": 0},
        {"name": "dog", "n": 1, "missed": 1, "invented": 1},
    ]
    assert [(each.index, each.true, each.said) for each in found["worst"]] == [
        (1, "cat", "dog"),
        (0, "cat, dog", "cat"),
    ]


def test_the_largest_errors_of_a_regression():
    found = errors_of("regression", [(logits([1], [5], [2.5]), torch.tensor([1.0, 2.0, 3.0]))], ("age",))
    assert found["wrong"] is None
    assert [(each.index, each.true, each.said) for each in found["worst"]] == [
        (1, "2", "5"),
        (2, "3", "2.5"),
        (0, "1", "1"),
    ]
    assert found["outputs"][0].to_json() == {"name": "age", "mean": pytest.approx(3.5 / 3), "largest": 3.0}


def test_pictures_stay_small_and_together_within_their_bytes():
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (3, 200, 100), dtype=np.uint8) for _ in range(12)]  # nothing compresses it
    uris = thumbnails(noise)
    assert len(uris) == 12
    assert sum(map(len, uris)) <= 60_000
    assert len(thumbnails(noise, most=2000)) < 12
    (one,) = thumbnails([np.zeros((1, 8, 8), np.uint8)])
    assert one.startswith("data:image/png;base64,iVBOR")


# The literature's checklist


def test_the_checklist_of_recorded_comparisons():
    found = {
        name: {each.title: each for each in checklist(Results.load(ROOT / f"results/{name}/results.json"))}
        for name in ("digits-conv4", "digits-wrn-16-1")
    }
    assert all(each.met for each in found["digits-conv4"].values())
    channels = found["digits-wrn-16-1"]
    assert [title for title, each in channels.items() if not each.met] == [
        "Several operating points",
        "Random and magnitude controls",
    ]
    assert channels["Several operating points"].reason == "2 budgets for every arm: params=50%, params=25%."
    assert "secateur prune random-channels" in channels["Random and magnitude controls"].remedy


def test_what_is_not_met_says_which_option_meets_it():
    recorded = Results.load(ROOT / "results/digits-gradual/results.json")
    one = replace(
        recorded,
        points=recorded.points[1:],
        summary=tuple(replace(each, n=1) for each in recorded.summary),
        dense=(),
        dense_summary=None,
        settings={**recorded.settings, "select_on": "test"},
    )
    unmet = {each.title: each for each in checklist(one) if not each.met}
    assert unmet["n and spread"].remedy == "--seeds 3"
    assert unmet["Random and magnitude controls"].remedy == "--arms …,random-tuned"
    assert unmet["Raw numbers, and the unpruned network"].remedy.endswith("--arms …,magnitude-tuned.")
    assert unmet["The same initial weights and data"].reason == (
        "Not every seed is there of magnitude-tuned nonzeros=5%."
    )
    assert unmet["The selecting split is named"].reason == "Training was steered by the test split."


# A real comparison, and the command that it advises


LINE = (
    "secateur compare --model wrn-10-1 --data digits --limit-train 60 --epochs 1 --device cpu --workers 1 "
    "--budget params=25% --arms width,bottleneck --out 'my runs'"
)


def test_the_advised_command_adds_seeds_to_those_that_are_there(run, tmp_path):
    code, out, err = run(LINE.removeprefix("secateur "))
    assert code == 0, err
    found = Results.load(tmp_path / "my runs/results.json")
    assert found.advice is not None
    assert found.advice.text in out
    assert f"  {found.advice.command}\n" in out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "my runs/runs").glob("*/record.json")}
    code, _, err = run(str(found.advice.command).removeprefix("secateur "))
    assert code == 0, err
    (again,) = (tmp_path / "my runs/reports").glob("*/results.json")
    more = Results.load(again)
    assert {each.n for each in more.summary} == {3}
    assert {path: path.stat().st_mtime_ns for path in before} == before  # nothing was trained twice
    check_what_is_left(again.parent, more)


def check_what_is_left(folder, found):
    """`best/` holds what is advised; its matrix is that network's; the page has both, drawn again too."""
    best = best_point(found)
    assert (best.arm, best.budget) == (found.advice.arm, found.advice.budget)
    assert json.loads((folder / "best/record.json").read_text())["run_id"] == best.run_id
    winner = Winner.load(folder / "best/winner.json")
    assert sum(map(sum, winner.confusion)) == winner.n == 500
    right = sum(winner.confusion[i][i] for i in range(10))
    assert right / 500 == best.accuracy
    assert winner.wrong == 500 - right
    page = (folder / "report.html").read_text()
    assert found.advice.text in page
    assert page.count('<img src="data:image/png;base64,') == len(winner.worst) == 12

    assert "best/ still holds" not in page
    hostile = replace(winner, classes=("<script>alert(1)</script>", *winner.classes[1:]))
    (folder / "best/winner.json").write_text(json.dumps(hostile.to_json()))
    other = replace(found, advice=replace(found.advice, arm="copycat"))
    page = rewrite_report(folder, other).read_text()
    assert f"best/ still holds a network of {best.arm} at {best.budget}" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page

    (folder / "best/model.safetensors").unlink()  # of which weights the matrix is, nobody can say then
    page = rewrite_report(folder, replace(found, advice=None)).read_text()  # as of older versions
    assert found.advice.text in page
    assert "h-winner" not in page


def test_a_picture_that_is_an_address_is_refused():
    content = {"index": 0, "true": "a", "said": "b", "image": "https://example.org/x.png"}
    with pytest.raises(InputError, match=r"'image' must be a PNG as a data: URI, got \"https://example.org"):
        Miss.from_json(content)


def test_the_section_of_a_regression_says_numbers():
    content = {
        "weights_sha256": "0" * 16, "fingerprint": "f", "arm": "width", "budget": "params=25%", "seed": 0,
        "run_id": "r", "task": "regression", "n": 3, "wrong": None, "no_images": "they came from loaders",
        "outputs": [{"name": "age", "mean": 1.23456, "largest": 3}],
        "worst": [{"index": 1, "true": "2", "said": "5"}],
    }  # fmt: skip
    shown = parts(Winner.from_json({"schema": 1, **content}), "examples")
    assert shown["title"] == "width at params=25%, seed 0, on the 3 examples of the test split."
    assert shown["heads"] == ("output", "mean error", "largest error")
    assert shown["table"] == [("age", "1.235", "3")]
    assert shown["worst_title"] == "The largest errors"
