"""`secateur reproduce crowley2018`: the rows and sizes, and real runs at the smallest scale."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import replace

import pytest

import secateur as sc
from secateur.data import load_data
from secateur.device import Runtime
from secateur.errors import InputError
from secateur.models import parse_name, wide_resnet
from secateur.network.masks import count_nonzeros
from secateur.network.weights import count_params, count_weights
from secateur.papers import crowley2018
from secateur.papers.cells import FamilyCells
from secateur.papers.crowley2018 import (
    CELLS,
    SCALES,
    Asked,
    Figure1,
    Figure2,
    Snip,
    entries,
    to_html,
    to_markdown,
)
from secateur.papers.crowley2018.families import FAMILIES
from secateur.progress import Reporter
from secateur.runs.graph import Graph
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target
from secateur.runs.session import Session
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe


def test_the_rows_are_the_papers():
    """Section 3.2: "5.85% error on CIFAR-10 and has 858K parameters, and another gets 6.63% error with 548K
    parameters. Comparably, the copycat WideResNets [...] 5.66% with 800K [...] 6.35% error with 500K"."""
    assert [(cell.method, cell.size, cell.published) for cell in CELLS] == [
        ("snip", "858K", 5.85),
        ("copycat", "800K", 5.66),
        ("snip", "548K", 6.63),
        ("copycat", "500K", 6.35),
    ]


@pytest.mark.parametrize(
    ("depth", "params", "weights", "size"),
    [
        # wide_resnet(22, 8): 17,147,312 weights of convolutions and the classifier, 10,794 of BN and bias
        (22, 17_158_106, 17_147_312, "858K"),
        (16, 10_961_370, 10_954_160, "548K"),
    ],
)
def test_snips_sizes_are_5_percent_of_all_parameters(depth, params, weights, size):
    """Of the weights alone it would be 857K and 548K; with all BN and biases kept, as ours, 868K and 555K."""
    model = wide_resnet(depth, 8)
    assert (count_params(model), count_weights(model)) == (params, weights)
    assert f"{0.05 * params / 1000:.0f}K" == size
    theirs = {22: "857K", 16: "548K"}, {22: "868K", 16: "555K"}
    assert f"{0.05 * weights / 1000:.0f}K" == theirs[0][depth]
    assert f"{(0.05 * weights + params - weights) / 1000:.0f}K" == theirs[1][depth]


def test_the_paper_scale_is_the_papers_protocol():
    scale = SCALES["paper"]
    recipe = scale.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (200, 128, 0.1, 5e-4)
    assert (scale.prune.every, scale.removals, scale.seeds) == (100, 500, 3)
    assert scale.networks == scale.image_sizes == {}
    assert scale.limit_train is None
    assert [scale.budget(size, "wrn-40-2") for size in ("200K", "2000K")] == ["params=200K", "params=2000K"]


def test_smaller_scales_are_proportional():
    """WRN-16-1: copycat's budgets are the paper's shares, and SNIP's 5% as much larger as in the paper."""
    scale = SCALES["laptop"]
    sizes = {
        cell.size: 0.05 * count_params(wide_resnet(**parse_name(scale.networks[cell.network])[1]))
        for cell in CELLS
        if cell.method == "snip"
    }
    network = scale.networks["wrn-40-2"]
    base = sc.Architecture.of(wide_resnet(**parse_name(network)[1]))
    for snip, copycat in (("858K", "800K"), ("548K", "500K")):
        paper = int(copycat[:-1]) / int(snip[:-1])
        found = base.scaled_to(scale.budget(copycat, network)).params
        assert found / sizes[snip] == pytest.approx(paper, rel=0.03)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(crowley2018.SCALES, "smoke", replace(SCALES["smoke"], limit_train=300))
        yield out, Snip(out, "smoke", seeds=2, epochs=1, device="cpu").run("the command")


def test_every_row_is_made_at_every_seed(made):
    out, content = made
    assert json.loads((out / "cells.json").read_text()) == content.to_json()
    found = [(run.method, run.size, run.seed) for run in content.cells]
    assert sorted(found) == sorted((cell.method, cell.size, seed) for cell in CELLS for seed in (0, 1))
    runs = [path.name.split("-")[0] for path in (out / "runs").iterdir()]
    assert {kind: runs.count(kind) for kind in runs} == {"sparse": 4, "train": 5, "prune": 1}


def test_sizes_are_those_of_the_networks_left(made):
    out, content = made
    for run in content.cells:
        model = sc.load(out / "runs" / run.run_id)
        assert run.nonzeros == count_nonzeros(model)
        assert run.not_zero == sum(
            int(p.count_nonzero()) if p.dim() > 1 else p.numel() for p in model.parameters()
        )
        if run.method == "snip":
            assert run.nonzeros == round(0.05 * run.weights)
            assert run.discovery_compute == 0
        else:
            assert run.not_zero == run.params == run.nonzeros + count_params(model) - run.weights
            assert run.params <= {"800K": 0.357, "500K": 0.223}[run.size] * 44922
            assert run.discovery_compute > 0


def test_the_table_has_the_papers_numbers_beside_ours(made):
    out, content = made
    page = (out / "snip.md").read_text()
    rows = list(csv.DictReader((out / "snip.csv").read_text().splitlines()))
    for cell, row in zip(CELLS, rows, strict=True):
        errors = [100 * (1 - run.accuracy) for run in content.cells if run.size == cell.size]
        assert float(row["published"]) == cell.published
        assert float(row["ours_mean"]) == pytest.approx(statistics.mean(errors))
        assert float(row["ours_std"]) == pytest.approx(statistics.stdev(errors))
        shown = f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f} (2) |"
        (line,) = [line for line in page.splitlines() if f"| {cell.size} | {cell.published} |" in line]
        assert line.endswith(shown)
        assert shown.removesuffix(" |") in (out / "snip.html").read_text()
    assert "| snip | wrn-22-8, 95% pruned | 858K | 5.85 | wrn-22-1, 95% pruned | 14,916 |" in page
    assert "Epochs: 1 (in the paper 200). Scale: smoke. Data: digits in place of cifar10, 270 " in page
    assert "absolute numbers are not comparable" in page


def test_a_second_run_trains_nothing_and_tables_show_what_is_finished(made, tmp_path):
    out, content = made
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    again = Snip(out, "smoke", seeds=3, epochs=1, device="cpu").run("x", tables_only=True)
    assert again.cells == content.cells
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("runs/*/record.json")}
    (copycat,) = [run for run in content.cells if run.size == "500K" and run.seed == 0]
    store = RunStore(out)
    hidden = out / "hidden"
    store.path(copycat.run_id).rename(hidden)
    try:
        part = Snip(out, "smoke", seeds=2, epochs=1, device="cpu").run("x", tables_only=True)
    finally:
        hidden.rename(store.path(copycat.run_id))
    assert len(part.cells) == 7
    assert [entry.n for entry in entries(part.cells)] == [2, 2, 2, 1]


@pytest.fixture(scope="module")
def drawn(made):
    """Fig. 1 at two sizes in the folder of the comparison: figures and runs."""
    out, _ = made
    before = {path.parent.name for path in out.glob("runs/*/record.json")}
    asked = Asked(sizes=("500K", "1300K"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(crowley2018.SCALES, "smoke", replace(SCALES["smoke"], limit_train=300))
        content = Figure1(out, "smoke", asked, seeds=1, epochs=1, device="cpu").run("the command")
        yield out, content, before


def test_figure_1_has_five_curves_of_one_trajectory(drawn):
    out, content, before = drawn
    assert {run.arm: run.size for run in content.cells if run.size == "500K"}.keys() == set(FAMILIES)
    assert len(content.cells) == 10
    limits = {"500K": 0.223, "1300K": 0.579}
    whole = 45_210 - 288  # WRN-16-0.5 with one colour
    assert all(run.params <= limits[run.size] * whole for run in content.cells)
    pruned = {run.size: run.widths for run in content.cells if run.arm == "fisher-tuned"}
    assert {run.size: run.widths for run in content.cells if run.arm == "fisher-scratch"} == pruned
    (copycat,) = [run for run in content.cells if (run.arm, run.size) == ("copycat", "500K")]
    assert copycat.run_id in before, "the comparison had trained it"
    (trajectory,) = content.trajectories
    assert trajectory.left_after(len(trajectory.removed)) == pruned["500K"]
    assert list(trajectory.params) == sorted(trajectory.params, reverse=True)
    assert all(accuracy is not None for accuracy in trajectory.accuracies)
    assert FamilyCells.load(out / "figure1.json") == content
    assert {"figure1.svg", "figure1.png", "figure1.md", "figure1.csv", "figure1.html", "claims.md"} <= {
        path.name for path in out.iterdir()
    }


def test_figure_2_is_a_point_on_the_red_curve_for_which_nothing_is_trained(drawn):
    out, content, _ = drawn
    before = sorted(path.name for path in (out / "runs").iterdir())
    found = Figure2(out, "smoke", Asked(sizes=("500K", "1300K")), epochs=1, device="cpu").run("the command")
    assert sorted(path.name for path in (out / "runs").iterdir()) == before
    assert found.trajectories == content.trajectories
    assert "| 5\\* | blocks.4 | 32 |" in (out / "figure2.md").read_text()
    assert "The profile is consistent with those after further pruning" in (out / "claims.md").read_text()
    assert "Copycat's networks have a lower error than SNIP's" in (out / "claims.md").read_text()


def test_each_seed_prunes_its_own_network_where_that_is_asked_for(tmp_path):
    asked = Asked(sizes=("1300K",), distill="logits")
    graphs = []
    for each in (False, True):
        made = Figure1(tmp_path, "smoke", replace(asked, each_prunes=each), seeds=2, device="cpu")
        graphs.append(Graph())
        for seed in range(2):
            for cell in made.cells:
                made.nodes(cell, graphs[-1], seed)
    names = [set(graph.nodes) for graph in graphs]
    assert "fisher-tuned params=57.9% seed 1" in names[1] - names[0]
    assert {"wrn-16-0.5 seed 0", "fisher-scratch params=57.9% seed 1"} <= names[0] & names[1]
    taught = [graph.nodes["width logits params=57.9% seed 1"] for graph in graphs]
    assert [node.run.teacher.seed for node in taught] == [0, 1], "by the network that was pruned"
    assert not (tmp_path / "runs").exists()


def test_a_plain_chain_has_no_bottlenecks_and_that_is_said(tmp_path):
    made = Figure1(tmp_path, "smoke", Asked(network="conv4", sizes=("500K",)), seeds=1, device="cpu")
    nodes = {cell.arm: made.nodes(cell, Graph(), 0) for cell in made.cells}
    assert made.left_out == {"bottleneck": "conv4 has no blocks, so that these are its narrower networks"}
    assert [arm for arm, found in nodes.items() if not found] == ["bottleneck"]


def test_sizes_that_pruning_cannot_reach_are_left_out_and_that_is_said(tmp_path):
    """WRN-10-0.5 with one middle channel a block has 2,256 parameters, 11.0% of 20,506; 200K are 8.9%."""
    asked = Asked(network="wrn-10-0.5", sizes=("200K", "500K"))
    made = Figure1(tmp_path, "smoke", asked, seeds=1, device="cpu")
    nodes = {(cell.arm, cell.size): made.nodes(cell, Graph(), 0) for cell in made.cells}
    assert list(made.left_out) == ["200K"]
    assert "is below what is left when every group is down to one channel" in made.left_out["200K"]
    assert {size for (_, size), found in nodes.items() if found} == {"500K"}
    with pytest.raises(InputError, match="ask for at least params="):
        Figure1(tmp_path, "smoke", replace(asked, sizes=("200K",)), device="cpu").nodes(
            made.cells[0], Graph(), 0
        )


def test_measuring_before_removals_changes_nothing_else(tmp_path):
    """What is measured before the second is the network that stops after the first, tuned for a window."""
    data = load_data("digits", limit_train=120)
    architecture = sc.Architecture.of(wide_resnet(10, 0.25, in_channels=1, image_size=8))
    store = RunStore(tmp_path)
    session = Session(store, Runtime("cpu"), Reporter())

    def pruned(removals, measured_on=None):
        settings = PruneSettings(every=2, measured_on=measured_on)
        recipe = Recipe(epochs=1, batch_size=32)
        common = {"architecture": architecture, "data": data, "recipe": recipe, "seed": 0}
        run = PruneChannels(**common, settings=settings, target=Target(removals=removals))
        return session.make(run)

    short, long = pruned(1, "val"), pruned(3, "val")
    plain = pruned(3)
    assert plain.run_id != long.run_id
    assert [each.val_accuracy for each in plain.removed] == [None] * 3
    assert long.removed[1].val_accuracy == short.val_accuracy
    assert [replace(each, val_accuracy=None) for each in long.removed] == list(plain.removed)
    weights = [sc.load(store.path(each.run_id)).state_dict() for each in (plain, long)]
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
    on_test = pruned(1, "test")
    assert on_test.removed[0].test_accuracy is not None
    assert on_test.removed[0].val_accuracy is None
    with pytest.raises(InputError, match="unknown split to measure on 'train'"):
        PruneSettings(measured_on="train")


def test_rows_without_runs_are_shown(made):
    _, content = made
    snip = [run for run in content.cells if run.method == "snip"]
    assert "| copycat | wrn-40-2 | 800K | 5.66 | – | – | – |" in to_markdown(snip, content.about)
    assert "No finished runs yet" in to_markdown([], content.about)


def test_what_is_written_is_text(made):
    _, content = made
    about = replace(content.about, device="a|b <i>x</i>", command="<script>")
    assert r"a\|b \<i\>x\</i\>" in to_markdown(content.cells, about)
    page = to_html(content.cells, about)
    assert "<script>" not in page
    assert "a|b &lt;i&gt;x&lt;/i&gt;" in page


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"scale": "huge"}, "huge"),
        ({"seeds": 0}, "at least 1 seed is needed, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_written(tmp_path, arguments, part):
    with pytest.raises(InputError) as caught:
        Snip(tmp_path / "out", **{"scale": "smoke", "device": "cpu", **arguments})
    assert part in str(caught.value)
    assert not (tmp_path / "out").exists()
