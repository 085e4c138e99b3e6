"""Comparisons that really run, on a part of the embedded digits."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

import foreign
import secateur as sc
from secateur.architecture.resolve import resolve_model
from secateur.compare.results import load_results
from secateur.compare.settings import Settings
from secateur.compare.wanted import ask
from secateur.errors import InputError
from secateur.network.weights import count_params
from secateur.runs.prune_channels import PruneSettings
from secateur.runs.store import RunStore
from secateur.training.recipe import Recipe

GATED = "channel-reparametrization"
ARMS = ("fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck", GATED)
BUDGETS = ("params=60%", "params=30%")
RECIPE = Recipe(epochs=2, batch_size=64)
FAST = {"recipe": RECIPE, "prune": PruneSettings(every=1), "device": "cpu"}
FASTER = FAST | {"prune": PruneSettings(every=1, at_once=8)}


@pytest.fixture(scope="module")
def done(digits, tmp_path_factory):
    """All five arms, two budgets, two seeds."""
    return sc.compare("wrn-10-1", digits, BUDGETS, seeds=2, out=tmp_path_factory.mktemp("compare"), **FAST)


def test_every_arm_budget_and_seed_has_a_point_and_none_is_over_budget(done):
    found = {(point.arm, point.budget, point.seed) for point in done.points}
    assert found == {(arm, budget, seed) for arm in ARMS for budget in BUDGETS for seed in (0, 1)}
    assert len(done.points) == len(found)
    original = done.results.dense[0].params
    for point in done.points:
        assert point.params <= int(original * int(point.budget[7:9]) / 100)
        assert 0 <= point.accuracy <= 1


def test_the_file_is_the_result_and_has_the_promised_keys(done):
    written = json.loads((done.directory / "results.json").read_text())
    assert written == json.loads(json.dumps(done.results.to_json()))
    assert {"schema", "command", "points", "verdict", "environment"} <= set(written)
    promised = (
        "arm budget seed params macs accuracy val_accuracy train_compute discovery_compute wall_s run_id"
    )
    assert all(set(promised.split()) <= set(point) for point in written["points"])
    assert {"text", "per_budget"} <= set(written["verdict"])
    assert {"torch", "device", "commit", "python"} <= set(written["environment"])


def test_points_are_what_the_saved_networks_are(done, digits):
    """Sizes and accuracies measured again on the weights on disk."""
    for point in done.points[::3]:
        model = sc.load(done.directory / "runs" / point.run_id)
        assert count_params(model) == point.params
        assert list(model.widths) == list(point.widths.values())
        x = (digits.test.images.float() / 255 - digits.mean[0]) / digits.std[0]
        accuracy = (model(x).argmax(1) == digits.test.labels).float().mean().item()
        assert accuracy == pytest.approx(point.accuracy, abs=2 / 500)  # another memory layout may flip a tie


def test_fisher_scratch_has_the_tuned_networks_architecture_and_other_weights(done):
    by_key = {(point.arm, point.budget, point.seed): point for point in done.points}
    for budget in BUDGETS:
        tuned, scratch = (by_key[arm, budget, 0] for arm in ("fisher-tuned", "fisher-scratch"))
        assert tuned.widths == scratch.widths
        one, two = (sc.load(done.directory / "runs" / point.run_id) for point in (tuned, scratch))
        assert not torch.equal(one.stem.weight, two.stem.weight)


def test_one_trajectory_serves_all_budgets(done):
    store = RunStore(done.directory)
    large, small = (
        store.record(next(p.run_id for p in done.points if p.arm == "fisher-tuned" and p.budget == budget))
        for budget in BUDGETS
    )
    assert small.removed[: len(large.removed)] == large.removed
    assert len(small.removed) > len(large.removed)


def test_copycat_has_the_profile_times_alpha(done):
    (profile, _) = done.results.profiles
    kept = [group.kept for group in profile.groups]
    gone = sum(group.of - group.kept for group in profile.groups)
    assert gone == profile.removed == round(112 * 500 / 1344)
    for point in done.points:
        if point.arm == "copycat" and point.seed == 0:
            ratios = [width / of for width, of in zip(point.widths.values(), kept, strict=True)]
            assert max(ratios) - min(ratios) < 2 / min(kept)


def test_width_keeps_no_bottleneck_and_bottleneck_keeps_the_outputs(done):
    for point in done.points:
        model = sc.load(done.directory / "runs" / point.run_id)
        outputs = [block.conv2.out_channels for block in model.blocks]
        if point.arm == "width":
            assert list(model.widths) == outputs
        elif point.arm != GATED:  # whose residual streams are narrower too
            assert outputs == [16, 32, 64]


def test_costs_add_up(done, digits):
    """From scratch: epochs x examples x 3 x MACs; discovery: all that pruning took before it."""
    store = RunStore(done.directory)
    dense = done.results.dense[0]
    assert dense.train_compute == 2 * 270 * 3 * dense.macs
    for point in done.points:
        if point.seed:
            continue
        if point.arm == "fisher-tuned":
            own = store.record(point.run_id).train_compute
            assert point.train_compute == dense.train_compute + own
            assert point.discovery_compute == 0
            continue
        if point.arm == GATED:  # dense for the first half
            assert dense.train_compute / 2 < point.train_compute < dense.train_compute
            assert point.discovery_compute == 0
            continue
        assert point.train_compute == 2 * 270 * 3 * point.macs
        if point.arm in ("width", "bottleneck"):
            assert point.discovery_compute == 0
        else:
            tuned = next(p for p in done.points if p.arm == "fisher-tuned" and p.budget == BUDGETS[1])
            assert dense.train_compute < point.discovery_compute < tuned.train_compute


def test_the_best_is_what_is_advised_chosen_on_validation(done):
    advice = done.advice
    (entry,) = [entry for entry in advice.per_budget if entry.budget == advice.budget]
    candidates = [p for p in done.points if (p.arm, p.budget) == (advice.arm, advice.budget)]
    best = max(candidates, key=lambda p: p.val_accuracy)
    assert count_params(sc.load(done.directory / "best")) <= entry.limit
    run = done.directory / "runs" / best.run_id
    assert (done.directory / "best/model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()


def test_every_run_says_which_test_images_it_gets_right_and_arms_are_compared_by_them(done):
    for point in done.points:
        scores = load_file(done.directory / "runs" / point.run_id / "scores.safetensors")["test"]
        assert len(scores) == done.results.data.test
        assert scores.sum().item() / len(scores) == point.accuracy
    assert {entry.basis for entry in done.results.verdict.per_budget} == {"paired"}
    for entry in done.results.verdict.per_budget:
        assert [gap.arm for gap in entry.gaps] == [arm for arm in arms_of(done) if arm != entry.leader]


def arms_of(done):
    return list(dict.fromkeys(point.arm for point in done.points))


def test_the_report_and_figures_are_there(done):
    assert done.verdict in (done.directory / "report.html").read_text()
    figures = {path.name for path in (done.directory / "figures").iterdir()}
    assert {"accuracy_vs_params.png", "accuracy_vs_params.svg", "channel_profile.png"} <= figures


def records(directory):
    return {
        path.parent.name: (path.stat().st_mtime_ns, path.read_bytes())
        for path in directory.glob("runs/*/record.json")
    }


def test_the_same_call_again_trains_nothing(done, digits):
    before = records(done.directory)
    again = sc.compare("wrn-10-1", digits, BUDGETS, seeds=2, out=done.directory, **FAST)
    assert records(done.directory) == before
    assert again.points == done.points


def test_one_seed_more_trains_only_that_seed(done, digits, tmp_path):
    import shutil

    shutil.copytree(done.directory, tmp_path / "more")
    before = set(records(tmp_path / "more"))
    more = sc.compare("wrn-10-1", digits, BUDGETS, seeds=3, arms=["width"], out=tmp_path / "more", **FAST)
    assert {run_id[-3:] for run_id in set(records(tmp_path / "more")) - before} == {"-s2"}
    assert len(more.points) == 6


def test_a_module_an_architecture_and_a_name_mean_the_same(done, digits, tmp_path):
    """A network built for other images is fitted to the data; its weights do not matter."""
    model = sc.models.wide_resnet(depth=10, width=1, num_classes=10)
    for same in (model, sc.Architecture.of(model)):
        result = sc.compare(same, digits, ["params=30%"], arms=["width"], out=tmp_path / "out", **FAST)
        expected = next(p for p in done.points if p.arm == "width" and p.budget == "params=30%")
        assert result.points[0].run_id == expected.run_id
        assert result.points[0].accuracy == expected.accuracy


def test_copycat_alone_prunes_no_further_than_its_profile(digits, tmp_path):
    result = sc.compare(
        "wrn-10-1", digits, ["params=30%"], arms=["copycat"], copycat_after=5, out=tmp_path, **FAST
    )
    (pruned,) = [record for run_id, (_, record) in records(tmp_path).items() if run_id.startswith("prune-")]
    assert len(json.loads(pruned)["removed"]) == 5
    assert result.results.profiles[0].removed == 5


def test_match_compute_gives_scratch_arms_what_tuning_spent(digits, tmp_path):
    result = sc.compare(
        "wrn-10-1",
        digits,
        ["params=50%"],
        arms=["fisher-tuned", "width", "copycat"],
        match="compute",
        out=tmp_path,
        **FASTER,
    )
    tuned, *scratch = result.points
    for point in scratch:
        epoch = 270 * 3 * point.macs
        assert point.epochs == tuned.train_compute // epoch > RECIPE.epochs
        assert point.train_compute <= tuned.train_compute < point.train_compute + epoch


def test_a_profile_smaller_than_the_budget_is_scaled_up(digits, tmp_path):
    result = sc.compare(
        "wrn-10-1", digits, ["params=90%"], arms=["copycat"], copycat_after=60, out=tmp_path, **FAST
    )
    (point,) = result.points
    kept = [group.kept for group in result.results.profiles[0].groups]
    assert sum(point.widths.values()) > sum(kept)


@pytest.mark.parametrize("model", ["conv4", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_other_families(model, digits, tmp_path):
    narrow = replace(
        resolve_model(model, digits),
        arguments={
            **resolve_model(model, digits).arguments,
            **({"width": 0.125} if model == "conv4" else {"stages": [8, 8, 8, 8]}),
        },
    )
    narrow = narrow.with_arguments()
    result = sc.compare(narrow, digits, ["params=60%"], out=tmp_path, **FASTER)
    assert {point.arm for point in result.points} == {*ARMS}


def test_a_network_of_ones_own_goes_through_all_arms(digits, tmp_path):
    """Residual, with zero-padded shortcuts: a bottleneck leaves its stream alone, width does not."""
    build = partial(foreign.PaddedResNet, in_channels=1)
    model = build()
    sc.inspect(model, torch.rand(4, 1, 8, 8), factory=build)
    whole = sc.Architecture.of(model)
    result = sc.compare(whole, digits, ["params=60%"], out=tmp_path, **FASTER)
    found = {point.arm: point for point in result.points}
    assert list(found) == [*ARMS]
    for arm, point in found.items():
        network = sc.load(tmp_path / "runs" / point.run_id, factory=build)
        assert count_params(network) == point.params <= 0.6 * whole.params
        if arm in ("width", "bottleneck"):
            assert (network.conv.out_channels == 8) == (arm == "bottleneck")
            assert network.blocks[2].conv1.out_channels < 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": ["params=1"]}, "ask for at least"),
        ({"budgets": ["params=999M"]}, "must not exceed the network's own size"),
        ({"budgets": ["params=50%", "params=50%"]}, "every budget must be another one"),
        ({"budgets": []}, "at least one budget"),
        ({"arms": ["copy-cat"]}, "unknown arm 'copy-cat': did you mean 'copycat'"),
        ({"arms": ["width", "width"]}, "every arm is named once"),
        ({"arms": ["copycat"], "budgets": ["params=1%"]}, "ask for at least params="),
        ({"arms": ["width"], "match": "compute", "budgets": ["params=1%"]}, "ask for at least params="),
        ({"seeds": 0}, "at least 1 seed"),
        ({"match": "time"}, "unknown --match 'time'"),
        ({"copycat_after": 112}, "1 to 109 can be removed, got 112"),
        ({"copycat_after": 0}, "can be removed, got 0"),
        ({"model": "wrn-11-1"}, r"depth must be 6n \+ 4"),
        ({"model": "resnet81"}, "unknown model 'resnet81': write timm:resnet81"),
        ({"model": "vgg19"}, "at least 32x32 pixels"),
        ({"model": torch.nn.Linear(2, 2)}, "architecture of a Linear is not known yet"),
        (
            {"model": sc.models.wide_resnet(depth=10, num_classes=7)},
            "the model has 7 classes, the data set digits has 10",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(change, message, digits, tmp_path):
    arguments = {
        "model": "wrn-10-1",
        "data": digits,
        "budgets": ["params=50%"],
        "out": tmp_path / "out",
    } | change
    with pytest.raises(InputError, match=message) as error:
        sc.compare(**arguments, **FAST)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_plan_is_what_happens(done, digits):
    settings = Settings(
        tuple(sc.Budget.parse(b) for b in BUDGETS), recipe=RECIPE, prune=PruneSettings(every=1)
    )
    rows = ask(resolve_model("wrn-10-1", digits), digits, settings).plan()
    actual = {(point.arm, point.budget): point for point in done.points if point.seed == 0}
    for row in rows[1:]:
        point = actual[row.arm, row.budget]
        if row.exact:
            assert (row.params, row.macs, row.epochs, row.compute) == tuple(
                getattr(point, key) for key in ("params", "macs", "epochs", "train_compute")
            )
        else:
            assert point.params <= row.params


def test_results_of_another_version_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"no results\.json"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 99}')
    with pytest.raises(InputError, match="schema 1 is read here"):
        load_results(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_results(tmp_path)
