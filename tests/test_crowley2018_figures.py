"""`secateur reproduce crowley2018 figure1`, `figure2` and `penalties`: what is drawn, of made-up runs."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr, ttest_ind

import secateur as sc
from made import about
from secateur.budget import Budget
from secateur.data import load_data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.models import wide_resnet
from secateur.papers.cells import FamilyCells, FamilyRun, Pruned
from secateur.papers.crowley2018 import SCALES, Asked, Figure2, Penalties, claims, judging, precision
from secateur.papers.crowley2018.families import FAMILIES, strided
from secateur.papers.crowley2018.figure1 import write_figure1
from secateur.papers.crowley2018.figure1_tables import to_sheet
from secateur.papers.crowley2018.figure2 import write_figure2
from secateur.papers.crowley2018.penalties import write_penalties
from secateur.papers.crowley2018.profiles import later, profile_after, ranks, spearman
from secateur.papers.crowley2018.scales import SIZES

ROOT = Path(__file__).parents[1]


def run(arm: str, size: str, seed: int, error: float, **changes: Any) -> FamilyRun:
    """A line of a figure, with a test error in percent."""
    content = {
        "arm": arm,
        "network": "wrn-40-2",
        "dataset": "cifar10",
        "size": size,
        "budget": f"params={int(size[:-1]) / 22.43546:.1f}%",
        "distill": None,
        "beta": 0.0,
        "made_of": "wrn-16-1",
        "seed": seed,
        "accuracy": 1 - error / 100,
        "val_accuracy": 0.5,
        "params": 78 * int(size[:-1]),
        "macs": 1000,
        "widths": (8, 4, 2),
        "epochs": 10,
        "wall_s": 1.0,
        "train_compute": 10,
        "discovery_compute": 0,
        "run_id": f"train-{arm}-{size}-{seed}",
    }
    return FamilyRun(**{**content, **changes})


def pruned(**changes: Any) -> Pruned:
    """A trajectory of four blocks, of which the third has a stride; its profile is taken after 6 removals."""
    removed = (3, 3, 3, 1, 3, 1, 3, 1, 3, 0, 2)
    content = {
        "seed": 0,
        "beta": 0.0,
        "measured_on": "val",
        "profile_after": 6,
        "groups": ("blocks.0", "blocks.1", "blocks.2", "blocks.3"),
        "strided": (2,),
        "widths": (8, 8, 8, 8),
        "removed": removed,
        "params": tuple(range(100_000, 100_000 - 1000 * len(removed), -1000)),
        "accuracies": tuple(0.6 - 0.01 * index for index in range(len(removed))),
        "run_id": "prune-aa-s0",
    }
    return Pruned(**{**content, **changes})


ERRORS = {"fisher-tuned": 50.0, "width": 45.0, "bottleneck": 47.0, "fisher-scratch": 41.0, "copycat": 41.2}
RUNS = [
    run(arm, size, seed, ERRORS[arm] + offset + seed / 10)
    for arm in FAMILIES
    for size, offset in (("500K", 4.0), ("1300K", 0.0))
    for seed in range(1 if arm == "fisher-tuned" else 3)
]


def cells(runs: list[FamilyRun] = RUNS, **changes: Any) -> FamilyCells:
    """The file of a figure."""
    content = {
        "paper": "crowley2018",
        "about": about(command="secateur reproduce crowley2018 figure1"),
        "precision": "bf16",
        "left_out": {},
        "trajectories": (pruned(),),
        "cells": tuple(runs),
    }
    return FamilyCells(**{**content, **changes})


# --- the grid ----------------------------------------------------------------------------------------------


def test_the_papers_sizes_are_19_from_200k_to_2m():
    assert len(SIZES) == 19
    assert (SIZES[0], SIZES[1], SIZES[-1]) == ("200K", "300K", "2000K")
    assert SCALES["paper"].sizes == SIZES
    assert len(SCALES["laptop"].sizes) == 5


@pytest.mark.parametrize(
    ("network", "size", "budget"),
    [
        ("wrn-40-2", "500K", "params=500K"),
        ("wrn-16-1", "500K", "params=22.3%"),
        ("vgg19", "2000K", "params=89.1%"),
    ],
)
def test_sizes_are_the_papers_of_its_network_and_its_shares_of_others(network, size, budget):
    """500,000 of 2,243,546 are 22.29%; 2,000,000 are 89.14%."""
    assert SCALES["paper"].budget(size, network) == budget
    Budget.parse(budget)


def test_with_fewer_epochs_pruning_takes_the_same_share():
    """100 steps between removals at 200 epochs are 50 at 100; at least one is left."""
    assert [SCALES["paper"].pruning(epochs, "val").every for epochs in (200, 100, 1)] == [100, 50, 1]
    assert SCALES["paper"].pruning(200, "test").measured_on == "test"


def test_strided_blocks_of_wrn_40_2_are_7_and_13():
    assert [index + 1 for index in strided(sc.Architecture.of(wide_resnet(40, 2)))] == [7, 13]
    assert [index + 1 for index in strided(sc.Architecture.of(wide_resnet(16, 1)))] == [3, 5]


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ({"network": "wrn40"}, "unknown model 'wrn40'"),
        ({"distill": "logit"}, "unknown distillation 'logit'"),
        ({"red_on": "train"}, "unknown split for --red-on 'train'"),
        ({"sizes": ("550K",)}, "unknown size '550K'"),
        ({"betas": (-1.0,)}, "FLOP penalties must be above 0, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(asked, part):
    with pytest.raises(InputError) as caught:
        Asked(**asked)
    assert part in str(caught.value)


def test_one_trajectory_needs_no_seeds(tmp_path):
    with pytest.raises(InputError, match="figure2 has one trajectory, of seed 0, got --seeds 2"):
        Figure2(tmp_path, "smoke", seeds=2, device="cpu")
    assert Figure2(tmp_path, "smoke", Asked(each_prunes=True), seeds=2, device="cpu").seeds == 2


# --- figure 1 ----------------------------------------------------------------------------------------------


def test_figure_1_has_the_published_values_beside_ours(tmp_path):
    write_figure1(cells(), tmp_path)
    lines = (tmp_path / "figure1.md").read_text().splitlines()
    heads = (
        "paper's size | at most | parameters | fisher-tuned | width | bottleneck | fisher-scratch | copycat"
    )
    assert lines[2] == f"| {heads} | paper |"
    assert lines[4:8] == [
        "| 500K | 22.3% | 39,000 | 54.0 (1) | 49.1 ± 0.1 (3) | 51.1 ± 0.1 (3) | 45.1 ± 0.1 (3) "
        "| 45.3 ± 0.1 (3) | 6.35 (copycat) |",
        "| 548K | – | – | – | – | – | – | – | 6.63 (SNIP, wrn-16-8) |",
        "| 800K | – | – | – | – | – | – | – | 5.66 (copycat) |",
        "| 858K | – | – | – | – | – | – | – | 5.85 (SNIP, wrn-22-8) |",
    ]
    assert "Epochs from scratch: 10 (in the paper 200), passes in bf16" in lines[-3]
    assert "Before every removal the red curve was measured on the validation split." in lines[-3]
    rows = list(csv.DictReader((tmp_path / "figure1.csv").read_text().splitlines()))
    (copycat,) = [row for row in rows if (row["arm"], row["size"]) == ("copycat", "500K")]
    assert (copycat["published"], copycat["n"], float(copycat["mean"])) == ("6.35", "3", pytest.approx(45.3))
    assert {row["published"] for row in rows if row["arm"] != "copycat"} == {""}


def test_another_network_has_no_published_values_beside_it(tmp_path):
    other = [replace(each, network="vgg19", made_of="vgg19") for each in RUNS if each.arm != "bottleneck"]
    content = cells(
        other, left_out={"bottleneck": "vgg19 has no blocks, so that these are its narrower networks"}
    )
    page = to_sheet(content).to_markdown()
    assert "6.35" not in page
    assert "bottleneck is left out: vgg19 has no blocks, so that these are its narrower networks." in page


def test_taught_networks_are_columns_beside_their_own(tmp_path):
    taught = [replace(each, distill="logits", accuracy=0.7) for each in RUNS if each.arm != "fisher-tuned"]
    page = to_sheet(cells([*RUNS, *taught])).to_markdown()
    assert (
        "| width | width, logits | bottleneck | bottleneck, logits | fisher-scratch | fisher-scratch, logits "
        in page
    )
    assert "logits: the network learns from the unpruned one too" in page


def test_figure_1_is_drawn_alike_every_time_and_tells_its_curves(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_figure1(cells(), tmp_path / folder)
    names = ("figure1.png", "figure1.svg", "figure1.html")
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    picture = (tmp_path / "a" / "figure1.svg").read_text()
    assert all(f">{arm}<" in picture for arm in FAMILIES)
    assert "fisher-tuned, before every removal (validation error)" in picture
    assert "paper: copycat" not in picture
    page = (tmp_path / "a" / "figure1.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert 'src="' not in page


def test_at_the_papers_scale_its_values_are_drawn_too(tmp_path):
    write_figure1(cells(about=about(scale="paper")), tmp_path)
    picture = (tmp_path / "figure1.svg").read_text()
    assert picture.count("paper: copycat") == 2
    assert "paper: SNIP, wrn-22-8" in picture


def test_red_on_test_is_said_in_the_caption(tmp_path):
    content = cells(trajectories=(pruned(measured_on="test"),))
    assert "the red curve was measured on the test split." in to_sheet(content).to_markdown()


# --- figure 2 ----------------------------------------------------------------------------------------------


def test_the_profile_in_percent_and_number_from_1_with_strided_blocks_marked(tmp_path):
    """After 6 of 32 removals block 4 has lost 4 channels and block 2 has lost 2."""
    write_figure2(cells(), tmp_path)
    lines = (tmp_path / "figure2.md").read_text().splitlines()
    assert lines[6:10] == [
        "| 1 | blocks.0 | 8 | 8 | 100% |",
        "| 2 | blocks.1 | 8 | 6 | 75% |",
        r"| 3\* | blocks.2 | 8 | 8 | 100% |",
        "| 4 | blocks.3 | 8 | 4 | 50% |",
    ]
    rows = list(csv.DictReader((tmp_path / "figure2.csv").read_text().splitlines()))
    first = [row for row in rows if row["removals"] == "6"]
    assert [row["remaining"] for row in first] == ["8", "6", "8", "4"]
    assert [row["strided"] for row in first] == ["False", "False", "True", "False"]
    assert ">3*<" in (tmp_path / "figure2.svg").read_text()


def test_later_profiles_lie_a_tenth_of_all_channels_apart():
    """A tenth of 32 channels are 3: 9 of 11 removals, and the last."""
    assert later(pruned()) == [9, 11]
    assert later(pruned(profile_after=11)) == []
    assert profile_after(pruned(), 9).left == (8, 5, 8, 2)


def test_equal_values_share_a_rank():
    assert ranks([100.0, 75.0, 100.0, 50.0]) == [3.5, 2.0, 3.5, 1.0]
    assert spearman([1.0, 1.0], [1.0, 2.0]) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_the_rank_correlation_is_spearmans(pairs):
    one, other = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = spearman(one, other)
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(one, other).statistic, abs=1e-9)


# --- penalties ---------------------------------------------------------------------------------------------


def test_every_penalty_is_a_row_at_every_size(tmp_path):
    costly = [
        replace(each, beta=1e-8, accuracy=each.accuracy + 0.002, macs=700)
        for each in RUNS
        if each.arm in ("fisher-tuned", "fisher-scratch")
    ]
    other = pruned(beta=1e-8, removed=(0, 0, 0, 0, 1, 1, 2))
    write_penalties(cells([*RUNS, *costly], trajectories=(pruned(), other)), tmp_path)
    lines = (tmp_path / "penalties.md").read_text().splitlines()
    # After 6 removals 8, 6, 8 and 4 channels are left without it and 4, 6, 8 and 8 with it: ranks 3.5, 2,
    # 3.5, 1 and 1, 2, 3.5, 3.5; their correlation is -1.75 / 4.5.
    assert lines[4:8] == [
        "| 0 | 500K | 1,000 | 54.0 (1) | 45.1 ± 0.1 (3) | – |",
        "| 0 | 1300K | 1,000 | 50.0 (1) | 41.1 ± 0.1 (3) | – |",
        "| 1e-08 | 500K | 700 | 53.8 (1) | 44.9 ± 0.1 (3) | -0.39 |",
        "| 1e-08 | 1300K | 700 | 49.8 (1) | 40.9 ± 0.1 (3) | -0.39 |",
    ]
    assert "n = 1 to 3 runs with different seeds" in "".join(lines)


def test_penalties_begin_with_none(tmp_path):
    made = Penalties(tmp_path, "smoke", Asked(betas=(1e-9, 1e-7)), device="cpu")
    assert made.betas == (0.0, 1e-9, 1e-7)
    assert len(made.cells) == 2 * 3 * len(SCALES["smoke"].sizes)
    assert len(Penalties(tmp_path, "smoke", device="cpu").betas) == 1 + 3


# --- the claims --------------------------------------------------------------------------------------------


def of(arm: str) -> list[FamilyRun]:
    return [each for each in RUNS if each.arm == arm]


def test_a_gap_is_a_difference_of_means_with_welchs_interval():
    found = judging.gap(of("fisher-scratch"), of("width"))
    ours, theirs = [43.0, 43.1, 43.2], [47.0, 47.1, 47.2]
    theirs_first = ttest_ind(theirs, ours, equal_var=False).confidence_interval(0.95)
    assert found.mean == pytest.approx(4.0)
    assert (found.low, found.high) == (pytest.approx(theirs_first.low), pytest.approx(theirs_first.high))
    assert (found.better, found.sizes, found.n) == (2, 2, (3, 3))


def test_one_trajectory_counts_as_a_number():
    found = judging.gap(of("width"), of("fisher-tuned"))
    assert found.n == (3, 1)
    half = 4.302652729911275 * 0.1 / 3**0.5  # Student's t of 2 degrees of freedom
    assert (found.low, found.high) == (pytest.approx(4.9 - half), pytest.approx(4.9 + half))


def test_a_seed_without_a_size_is_not_counted():
    part = [each for each in of("width") if (each.size, each.seed) != ("1300K", 2)]
    assert judging.gap(part, of("fisher-tuned")).n == (2, 1)
    assert judging.gap([], of("fisher-tuned")) is None


@pytest.mark.parametrize(
    ("low", "high", "better", "similar"),
    [
        (0.1, 3.0, "held", "open"),
        (-3.0, -0.1, "not held", "open"),
        (-0.4, 0.9, "open", "held"),
        (-0.4, 1.1, "open", "open"),
        (1.1, 2.0, "held", "not held"),
        (-2.0, -1.1, "not held", "not held"),
        (None, None, "open", "open"),
    ],
)
def test_verdicts_are_the_intervals(low, high, better, similar):
    found = judging.Gap(0.5, low, high, 1, 2, (3, 3))
    assert (judging.better(found).word, judging.similar(found).word) == (better, similar)


def test_every_claim_is_a_paragraph_with_its_verdict(tmp_path):
    for name in ("figure1", "figure2"):
        (tmp_path / f"{name}.json").write_text(json.dumps(cells().to_json()))
    claims.write_claims(tmp_path)
    page = (tmp_path / "claims.md").read_text()
    found = [line.partition("). ")[2].split("*")[1] for line in page.splitlines() if "). *" in line]
    assert found == ["held", "held", "open", *["held"] * 7, "not made yet", "not made yet"]
    assert page.endswith("*not made yet* (secateur reproduce crowley2018 snip).\n")
    assert "+4.0 points (+3.8 to +4.2), lower at 2 of 2 sizes, n = 3 and 3" in page
    assert "block 3 keeps 100%, others as wide 75%" in page
    assert "(scale laptop, wrn-16-1, cifar10, 4,500 training images, 10 epochs)" in page


def test_a_worse_family_does_not_hold():
    swapped = [
        replace(each, arm={"width": "fisher-scratch", "fisher-scratch": "width"}.get(each.arm, each.arm))
        for each in RUNS
    ]
    by_text = {claim.text: claim.verdict.word for claim in claims.figure1_claims(cells(swapped))}
    assert by_text["they beat narrower networks for most sizes"] == "not held"
    assert claims.consistent(()).word == "not made yet"


def test_what_is_not_made_yet_is_said():
    words = [claim.verdict.word for claim in claims.figure1_claims(cells(of("width")))]
    assert set(words) == {"not made yet"}


# --- the precision -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slower", "taken"), [(1.2, "bf16"), (1.05, "fp32"), (0.7, "fp32")])
def test_bf16_is_taken_where_it_is_faster_and_then_kept(tmp_path, slower, taken):
    """The clock is a stand-in: between two looks of the one kind `slower` times as long as of the other."""
    data = load_data("digits", limit_train=40)
    network = sc.Architecture.of(wide_resnet(10, 0.25, in_channels=1, image_size=8))
    looks = iter(range(1000))

    def clock() -> float:
        pair, second = divmod(next(looks), 2)
        return float(pair) * 10 + (slower if pair % 2 == 0 else 1.0) * second

    found, why = precision.settled(tmp_path, network, data, 2, Runtime("cpu"), clock)
    assert found == taken
    assert f"{slower:.2f} times as fast" in why
    again, why = precision.settled(tmp_path, network, data, 2, Runtime("cpu"), lambda: 1 / 0)
    assert (again, why) == (taken, f"forward passes in {taken}, as measured for this folder before")
    assert json.loads((tmp_path / "precision.json").read_text())["ratio"] == pytest.approx(slower)


# --- the recorded figures ----------------------------------------------------------------------------------

WRITERS = {"figure1": write_figure1, "figure2": write_figure2, "penalties": write_penalties}
RECORDED = [path for place in WRITERS for path in sorted(ROOT.glob(f"results/crowley2018*/{place}.json"))]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_runs_give_the_recorded_figures(path, tmp_path):
    content = json.loads(path.read_text())
    found = FamilyCells.load(path)
    assert json.dumps(found.to_json()) == json.dumps(content)
    WRITERS[path.stem](found, tmp_path)
    written = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.suffix in (".md", ".csv")}
    assert written == {name: (path.parent / name).read_bytes() for name in written}
    assert found.about.command.startswith(f"secateur reproduce crowley2018 {path.stem} ")
    commits = found.about.environment["trained_at"]
    assert commits
    assert all(re.fullmatch(r"[0-9a-f]{12}", commit) for commit in commits), "made from a clean commit"


@pytest.mark.parametrize(
    "folder", sorted(ROOT.glob("results/crowley2018*/claims.md")), ids=lambda path: path.parent.name
)
def test_recorded_verdicts_are_those_of_the_recorded_runs(folder, tmp_path):
    for path in folder.parent.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    claims.write_claims(tmp_path)
    assert (tmp_path / "claims.md").read_bytes() == folder.read_bytes()
