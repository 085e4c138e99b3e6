"""What must stay: keep, at_least and ratio, in sc.prune, the command line, and every arm of a comparison."""

from __future__ import annotations

import copy
import json
import re
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import secateur as sc
from secateur.cli.main import main
from secateur.compare.arms import ARMS, default_arms
from secateur.compare.comparison import Comparison
from secateur.compare.settings import Settings
from secateur.methods import METHODS, Fisher
from secateur.methods.own_criterion import OwnCriterion
from secateur.models import wide_resnet
from secateur.network.masks import count_nonzeros
from secateur.network.weights import prunable_weights
from secateur.runs.prune_channels import PruneChannels, PruneSettings, Target, removable
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.constraints import NO_CONSTRAINTS, Constraints, matches


class Net(nn.Module):
    """stem (8) -> stage1 (12) -> stage2: conv1 (16), conv2 (20) -> head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.stage1 = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.stage2 = nn.ModuleDict(
            {"conv1": nn.Conv2d(12, 16, 3, padding=1), "conv2": nn.Conv2d(16, 20, 3, padding=1)}
        )
        self.head = nn.Linear(20, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stage1(self.stem(x).relu())
        x = self.stage2["conv2"](self.stage2["conv1"](x).relu()).relu()
        return self.head(x.mean((2, 3)))


X = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 3


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def pruned(**settings: object) -> Net:
    """Pruned without training, by the norms of the filters."""
    return sc.prune(net(), method="filter-norm", example_inputs=X, train=False, **settings)


def cli(command: str) -> int:
    """Run the command line; its exit code."""
    before, sys.argv = sys.argv, ["secateur", *command.split()]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    return int(ended.value.code or 0)


def widths(model: nn.Module) -> list[int]:
    return list(anatomy_of(model).graph.widths.values())


@pytest.mark.parametrize(
    ("pattern", "name", "holds"),
    [
        ("stem.*", "stem", True),  # a stem that is one layer
        ("stem", "stem.conv", True),  # what holds it
        ("layer4.*", "layer4.0.conv1", True),
        ("layer4", "layer40.0", False),
        ("*.conv1", "layer4.0.conv1", True),
        ("Stem", "stem", False),
        ("layer?.0", "layer1.0.conv1", True),
        ("conv1", "layer4.0.conv1", False),
    ],
)
def test_a_pattern_is_a_glob_on_a_name_or_on_what_holds_it(pattern: str, name: str, holds: bool) -> None:
    assert matches(pattern, name) is holds


def test_nothing_is_cut_from_what_is_kept_and_the_rest_pays() -> None:
    whole = net()
    model = pruned(budget="params=30%", keep=["stem.*", "head"])
    assert model.stem.weight.shape == whole.stem.weight.shape
    assert model.head.weight.shape == whole.head.weight.shape  # what it reads, too
    assert torch.equal(model.stem.weight, whole.stem.weight)
    assert widths(model)[0] == 8
    assert widths(model)[3] == 20
    assert sum(p.numel() for p in model.parameters()) <= 0.3 * sum(p.numel() for p in whole.parameters())


def test_a_kept_layer_keeps_what_it_reads() -> None:
    model = pruned(budget="params=60%", keep="stage2.conv2")
    assert model.stage2["conv2"].weight.shape == (20, 16, 3, 3)


def test_so_many_channels_are_left_at_least() -> None:
    free = pruned(budget="params=8%")
    assert min(widths(free)[1:3]) < 6
    model = pruned(budget="params=16%", at_least={"stage1": 6, "stage2.conv1": 5, "stem": 99})
    assert widths(model)[0] == 8  # fewer than the floor to begin with: all stay
    assert widths(model)[1] >= 6
    assert widths(model)[2] >= 5


@pytest.mark.parametrize("ratio", [{"stage2": 0.5}, {"stage2": "50%"}, ["stage2=50%"], "stage2=.5"])
def test_a_ratio_is_the_share_that_goes_and_is_met_exactly_without_a_budget(ratio: object) -> None:
    assert widths(pruned(ratio=ratio)) == [8, 12, 8, 10]


def test_beside_a_budget_a_ratio_holds_and_other_groups_pay() -> None:
    model = pruned(budget="params=40%", ratio={"stage2.conv2": 0.25, "stem": 0.5})
    assert widths(model)[3] == 15
    assert widths(model)[0] == 4
    assert sum(p.numel() for p in model.parameters()) <= 0.4 * sum(p.numel() for p in net().parameters())


def test_a_budget_met_already_does_not_stop_a_ratio_nor_cut_elsewhere() -> None:
    assert widths(pruned(budget="params=100%", ratio={"stage1": 0.5})) == [8, 6, 16, 20]


def test_precedence_is_keep_then_at_least_then_the_last_ratio() -> None:
    wanted = Constraints.parse(
        keep="stem", at_least={"stage1": 9}, ratio={"*": 0.5, "stage1": 0.75, "stage2.conv2": 0.1}
    )
    assert widths(pruned(ratio=wanted.ratio and {"*": 0.5, "stage1": 0.75, "stage2.conv2": 0.1},
                         keep="stem", at_least={"stage1": 9})) == [8, 9, 8, 18]  # fmt: skip
    model = net()
    sc.inspect(model, X)
    bounds = wanted.on(anatomy_of(model).graph, model)
    assert bounds.words == (
        "keep stem: nothing is cut from stem (8)",
        "at least stage1=9: so many are left of stage1.0 (9 of 12)",
        "ratio *=50%: 50% of the channels go: stem 8 -> 8, stage1.0 12 -> 9, stage2.conv1 16 -> 8, "
        "stage2.conv2 20 -> 18",
        "ratio stage1=75%: 75% of the channels go: stage1.0 12 -> 9",
        "ratio stage2.conv2=10%: 10% of the channels go: stage2.conv2 20 -> 18",
    )


def test_with_granularity_a_ratio_stops_at_the_multiple_above_and_is_finished() -> None:
    model = pruned(ratio={"stage2": 0.4}, granularity=4)  # 16 -> 10, 20 -> 12
    assert widths(model)[2:] == [12, 12]


def test_while_training_too() -> None:
    model = sc.prune(
        net(), budget="params=40%", data=[(X, Y)], every=1, at_once=4, keep="head", ratio={"stem": 0.5}
    )
    assert (widths(model)[0], widths(model)[3]) == (4, 20)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep": "stam"}, "no channel group or layer is named 'stam': the nearest are stem"),
        ({"at_least": {"stage3": 4}}, "no channel group or layer is named 'stage3': the nearest are stage"),
        ({"ratio": {"haed": 0.5}}, "no channel group or layer is named 'haed': the nearest are head"),
        ({"ratio": {"head": 0.5}}, "nothing that 'head' names can be cut"),
        ({"ratio": {"stem": 1.0}}, "above 0% and below 100%, got '1.0' for 'stem'"),
        ({"ratio": "stem=50"}, "above 0% and below 100%, got '50' for 'stem': write for example 'stem=50%'"),
        ({"ratio": "stem"}, "ratio reads PATTERN=VALUE, got 'stem'"),
        ({"ratio": {"stem": float("nan")}}, "above 0% and below 100%"),
        ({"at_least": {"stem": 0}}, "at-least is a whole number of channels from 1 on, got '0'"),
        ({"at_least": "stem=x"}, "at-least is a whole number of channels from 1 on, got 'x'"),
        ({"keep": [""]}, "keep is a pattern of names, got ''"),
        ({"keep": [3]}, "keep is a pattern of names, got 3"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_cut(given: dict[str, object], said: str) -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(sc.InputError) as caught:
        sc.prune(model, method="filter-norm", budget="params=50%", example_inputs=X, train=False, **given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_budget_out_of_reach_under_constraints_names_the_smallest_cost_that_is_in_reach() -> None:
    with pytest.raises(
        sc.InputError, match=r"what must stay of it \(keep stage2\.conv1\).*at least params=(\d+)"
    ) as caught:
        pruned(budget="params=10%", keep="stage2.conv1")
    least = int(str(caught.value).split("params=")[-1].split()[0].rstrip("),"))
    assert sum(p.numel() for p in pruned(budget=f"params={least}", keep="stage2.conv1").parameters()) == least
    with pytest.raises(sc.InputError, match="is below what is left"):
        pruned(budget=f"params={least - 1}", keep="stage2.conv1")


def test_pruning_needs_a_goal() -> None:
    with pytest.raises(sc.InputError, match="give either a budget or a number of removals, or a ratio"):
        pruned()


INSPECTED = (net(), sc.inspect(net(), X).graph)


@settings(max_examples=50, deadline=None)
@given(
    floors=st.lists(st.integers(1, 20), min_size=4, max_size=4),
    shares=st.lists(st.fractions(0, 1, max_denominator=20), min_size=4, max_size=4),
)
def test_bounds_agree_with_what_they_are_made_of(floors: list[int], shares: list[Fraction]) -> None:
    model, graph = INSPECTED
    names, whole = list(graph.groups), list(graph.widths.values())
    ratio = {n: share for n, share in zip(names, shares, strict=True) if 0 < share < 1}
    bounds = Constraints.parse(at_least=dict(zip(names, floors, strict=True)), ratio=ratio).on(graph, model)
    for name, width, floor in zip(names, whole, floors, strict=True):
        left = max(1, width - int(width * ratio[name])) if name in ratio else 1
        assert bounds.least(name) == max(min(floor, width), left)
    inside = bounds.within(names, [1] * 4)
    assert bounds.within(names, inside) == inside
    assert all(1 <= width <= most for width, most in zip(inside, whole, strict=True))


def test_json_and_identity() -> None:
    wanted = Constraints.parse("stem.*", {"stage1": 16}, {"layer4.*": "12.5%"})
    assert Constraints.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted
    assert str(wanted) == "keep stem.*, at least stage1=16, ratio layer4.*=12.5%"
    assert NO_CONSTRAINTS.identity() == {}
    plain = PruneSettings()
    assert "constraints" not in plain.identity()
    assert PruneSettings(constraints=wanted).identity() == {
        **plain.identity(),
        "constraints": {"keep": ["stem.*"], "at_least": [["stage1", 16]], "ratio": [["layer4.*", "1/8"]]},
    }


# Built-in families, and the arms of a comparison


WRN = sc.Architecture.of(wide_resnet(depth=10, width=1, num_classes=3, in_channels=1, image_size=8))
"""Groups blocks.0 (16), blocks.1 (32), blocks.2 (64), with the streams stages.1 (32) and stages.2 (64)."""


def test_a_resumed_run_takes_its_shares_of_the_whole_network() -> None:
    wanted = Constraints.parse(ratio={"blocks.2": 0.5})
    bounds = WRN.bounds(wanted, streams=False)
    assert bounds is not None
    model = WRN.with_widths([16, 32, 40]).build(seed=0)
    method = PruneSettings(constraints=wanted).build(Target(sc.Limits.at({"params": 10**6})), 0, bounds)
    method.prepare(model)
    assert method.bounds.least("blocks.2") == 32


@pytest.mark.parametrize(
    ("asked", "shared"), [({"keep": "blocks.1"}, True), ({"ratio": "blocks.2=50%"}, False)]
)
def test_runs_to_several_budgets_share_their_way_but_for_ratios(asked: dict[str, str], shared: bool) -> None:
    """Once a budget holds, only groups with a ratio lose channels: a smaller budget would not pass there."""
    data = sc.data.load_data("digits", limit_train=100, val_fraction=0.3)
    small, large = (
        PruneChannels(
            architecture=WRN,
            data=data,
            recipe=sc.Recipe(),
            seed=0,
            settings=PruneSettings(constraints=Constraints.parse(**asked)),
            target=Target(sc.Limits.at({"params": units})),
        )
        for units in (40_000, 60_000)
    )
    assert (small.trajectory == large.trajectory) is shared
    assert small.run_id != large.run_id


def test_as_many_channels_can_be_removed_as_may_go() -> None:
    wanted = Constraints.parse(keep="blocks.1", at_least={"blocks.0": 10}, ratio={"blocks.2": 0.5})
    assert removable(WRN, wanted) == 6 + 0 + 32
    assert removable(WRN) == 15 + 31 + 63
    Target(removals=38).check(WRN, PruneSettings(constraints=wanted))
    with pytest.raises(sc.InputError, match=r"1 to 38 can be removed \(keep blocks.1, .*, got 39"):
        Target(removals=39).check(WRN, PruneSettings(constraints=wanted))
    kept = Settings(
        (sc.Budget.parse("params=95%"),),
        ("copycat",),
        prune=PruneSettings(constraints=Constraints.parse("blocks.[12]")),
    )
    data = sc.data.load_data("digits", limit_train=100, val_fraction=0.3)
    assert Comparison(WRN, data, kept, prunes=True).copycat_after == 15


def test_architectures_that_are_scaled_keep_what_must_stay() -> None:
    wanted = Constraints.parse(keep="blocks.1", at_least={"blocks.0": 10})
    bounds = WRN.bounds(wanted, streams=True)
    assert bounds is not None
    for small in (WRN.scaled_to("params=70%", bounds), WRN.bottlenecked_to("params=70%", bounds)):
        assert small.params <= 0.7 * WRN.params
        assert small.widths[1] == 32
        assert small.widths[0] >= 10
        assert small.arguments["stages"] == [16, 32, 64]
    narrow = WRN.narrowed_to("params=70%", bounds)
    assert narrow.params <= 0.7 * WRN.params
    assert narrow.widths[1] == 32
    assert narrow.arguments["stages"][:2] == [16, 32]  # blocks.1 writes stage 1, and reads stage 0
    with pytest.raises(sc.InputError, match=r"below what must stay \(keep blocks.1.*ask for at least \d+"):
        WRN.scaled_to("params=10%", bounds)


def test_where_all_widths_are_fixed_scaling_gives_them() -> None:
    bounds = WRN.bounds(Constraints.parse(ratio={"blocks.*": 0.5}), streams=False)
    assert WRN.scaled_to("params=90%", bounds).widths == (8, 16, 32)


def test_gates_spare_what_is_kept_and_stop_at_floors() -> None:
    model = WRN.build(seed=0)
    method = sc.methods.ChannelReparametrization(
        "params=50%", steps=2, constraints=Constraints.parse(keep="blocks.1", at_least={"stages.2": 50})
    )
    model = method.prepare(model)
    assert "blocks.1" not in method.gates(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        nn.functional.cross_entropy(model(torch.randn(4, 1, 8, 8)), torch.arange(4) % 3).backward()
        optimizer.step()
        model = method.after_step(model, optimizer)
    model = method.finalize(model)
    small = sc.Architecture.of(model)
    assert small.widths[1] == 32
    assert small.arguments["stages"][2] >= 50
    assert small.params <= 0.5 * WRN.params
    with pytest.raises(sc.InputError, match="takes no ratio"):
        sc.methods.ChannelReparametrization(
            "params=50%", steps=2, constraints=Constraints.parse(ratio={"*": 0.5})
        )


@pytest.mark.parametrize(
    "name",
    [
        *("magnitude", "random", "snip", "l1", "gradual-magnitude", "dynamic-feedback", "reparametrization"),
        *("iterative-magnitude", "set", "rigl", "granet"),
        *("ac-dc", "str", "powerpropagation", "spartan", "l0"),
    ],
)
def test_no_weight_of_a_kept_layer_is_zeroed_and_the_budget_is_exact(name: str) -> None:
    model = WRN.build(seed=0)
    steps = {"steps": 4} if METHODS[name].takes_steps else {}
    method = METHODS[name]("nonzeros=40%", keep=["blocks.1.conv1", "classifier"], **steps)  # type: ignore[call-arg]
    limit = round(0.4 * WRN.cost("nonzeros"))
    batches = [(torch.randn(8, 1, 8, 8), torch.arange(8) % 3)] * 4
    model = method.prepare(model, batches)
    optimizer = torch.optim.SGD(method.parameter_groups(model, 0.0), lr=0.05)
    for x, y in batches:
        (nn.functional.cross_entropy(model(x), y) + method.penalty(model)).backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
    method.before_evaluation(model)
    model = method.finalize(model)
    weights = prunable_weights(model)
    assert count_nonzeros(model) == limit
    for layer in ("blocks.1.conv1", "classifier"):
        assert int(weights[layer].count_nonzero()) == weights[layer].numel()
    assert method.identity()["keep"] == ["blocks.1.conv1", "classifier"]
    assert "keep" not in METHODS[name]("nonzeros=40%", **steps).identity()  # type: ignore[call-arg]


def test_weights_that_must_stay_are_no_more_than_the_budget() -> None:
    with pytest.raises(sc.InputError, match=r"not above the [\d,]+ weights that must stay \(keep blocks.2"):
        METHODS["magnitude"]("nonzeros=10%", keep="blocks.2").prepare(WRN.build(seed=0))  # type: ignore[call-arg]
    with pytest.raises(sc.InputError, match="no layer is named 'block2': the nearest are"):
        METHODS["magnitude"]("nonzeros=10%", keep="block2").prepare(WRN.build(seed=0))  # type: ignore[call-arg]


def test_arms_that_cannot_keep_to_it_are_no_default_and_are_refused_by_name() -> None:
    ratio, floor = Constraints.parse(ratio={"*": 0.5}), Constraints.parse(at_least={"*": 2})
    assert "channel-reparametrization" in default_arms("params", WRN, floor)
    assert "channel-reparametrization" not in default_arms("params", WRN, ratio)
    assert not ARMS["magnitude"].takes(floor)
    assert ARMS["magnitude"].takes(Constraints.parse(keep="*"))


def test_every_arm_of_a_comparison_keeps_to_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = sc.compare(
        wide_resnet(depth=10, width=0.5),
        data=sc.data.load_data("digits", limit_train=100, val_fraction=0.3),
        budgets=["params=70%"],
        epochs=1,
        prune_every=1,
        keep="blocks.1",
        at_least={"blocks.2": 9},
        copycat_after=4,
        out=tmp_path,
        device="cpu",
        workers=1,
    )
    assert {point.arm for point in result.points} == {
        *("fisher-tuned", "fisher-scratch", "copycat", "width", "bottleneck", "channel-reparametrization")
    }
    for point in result.points:
        assert point.widths["blocks.1"] == 16, point.arm
        assert point.widths["blocks.2"] >= 9, point.arm
    assert result.results.settings["what must stay"] == "keep blocks.1, at least blocks.2=9"


def test_arms_of_weights_keep_layers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = sc.compare(
        wide_resnet(depth=10, width=0.5),
        data=sc.data.load_data("digits", limit_train=100, val_fraction=0.3),
        budgets=["nonzeros=50%"],
        arms=["magnitude"],
        epochs=1,
        keep="blocks.2.conv1",
        out=tmp_path,
        device="cpu",
        workers=1,
    )
    model = sc.load(tmp_path / "best")
    assert int(model.blocks[2].conv1.weight.count_nonzero()) == model.blocks[2].conv1.weight.numel()
    assert result.points[0].nonzeros == round(0.5 * result.points[0].weights)


def test_the_command_line_says_what_it_understood_and_keeps_to_it(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    command = "prune fisher --model wrn-10-0.5 --data digits --limit-train 100 --val-fraction 0.3 --epochs 1"
    asked = "--budget params=70% --prune-every 1 --keep blocks.1 --at-least blocks.2=9 --ratio blocks.0=50%"
    assert cli(f"{command} {asked} --device cpu --out {tmp_path}") == 0
    said = capsys.readouterr().out
    assert "keep blocks.1: nothing is cut from blocks.1 (16)" in said
    assert "at least blocks.2=9: so many are left of blocks.2 (9 of 32)" in said
    assert "ratio blocks.0=50%: 50% of the channels go: blocks.0 8 -> 4" in said
    small = sc.load(tmp_path)
    assert small.widths[:2] == (4, 16)
    assert small.widths[2] >= 9
    assert cli(f"{command} --budget params=50% --keep block1 --out {tmp_path / 'no'}") == 2
    assert "no channel group or layer is named 'block1': the nearest are blocks.1" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


# A criterion of one's own


def mean_activation(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Channels that are dark on average go."""
    return activations.abs().flatten(2).mean((0, 2))


def test_an_own_criterion_that_is_fishers_cuts_what_fisher_cuts() -> None:
    def fishers(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        g_NK = (activations * gradients).flatten(2).sum(2)
        return g_NK.square().mean(0) / 2  # gradients are of each example's own loss

    data = [(X, Y), (X[:3], Y[:3])]
    model = net()
    sc.inspect(model, X)
    scores = []
    for method in (Fisher("params=50%", every=5), OwnCriterion(fishers, "params=50%", every=5)):
        one = method.prepare(copy.deepcopy(model)).train()
        for x, y in data:
            nn.functional.cross_entropy(one(x), y).backward()
            method.after_step(one, torch.optim.SGD(one.parameters(), lr=0.0))
        scores.append(method.raw_scores(one))
    for name, expected in scores[0].items():
        torch.testing.assert_close(scores[1][name], expected)


def test_an_own_criterion_is_given_every_channel_with_its_positions() -> None:
    seen: list[tuple[int, ...]] = []

    def spying(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(activations.shape))
        assert gradients.shape == activations.shape
        return mean_activation(activations, gradients)

    torch.manual_seed(0)
    flat = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)
    )
    sc.prune(flat, method=spying, budget="params=90%", data=[(X, Y)], every=1)
    assert (8, 4, 16) in seen  # behind the flatten 16 features of each channel
    assert (8, 5, 1) in seen
    whole = net()
    with torch.no_grad():
        whole.stage2["conv1"].weight[3] = whole.stage2["conv1"].bias[3] = 0  # dark: the first to go
    model = sc.prune(whole, method=mean_activation, ratio={"stage2.conv1": "1%"}, data=[(X, Y)], train=False)
    assert widths(model) == [8, 12, 16, 20]  # 1% of 16 is none
    model = sc.prune(model, method=mean_activation, ratio={"stage2.conv1": "7%"}, data=[(X, Y)], train=False)
    assert anatomy_of(model).graph.kept["stage2.conv1"] == [k for k in range(16) if k != 3]


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda act, grad: act.mean(), r"the criterion must give one score for each of 8 channels"),
        (lambda act, grad: [1.0], r"got list"),
        (lambda act, grad: act[:, :, 99], r"the criterion failed on activations of \[8, "),
        (lambda act, grad: act.flatten(2).mean((0, 2)) * torch.nan, "not finite"),
    ],
)
def test_a_criterion_that_gives_no_scores_is_refused(score: object, said: str) -> None:
    with pytest.raises((sc.InputError, sc.TrainingError), match=said):
        sc.prune(net(), method=score, budget="params=90%", data=[(X, Y)], train=False, keep="stem")  # type: ignore[arg-type]


# Without training


@pytest.mark.parametrize("method", ["filter-norm", "fisher", "taylor", "batch-norm-scale", "random-channels"])
def test_without_training_no_weight_that_stays_changes(method: str) -> None:
    whole = net()
    budget = "params=80%" if method == "batch-norm-scale" else "params=50%"
    model = sc.prune(
        copy.deepcopy(whole), method=method, budget=budget, data=[(X, Y)] * 2, train=False, recalibrate=False
    )
    graph = anatomy_of(model).graph
    rows, columns = graph.kept["stage1.0"], graph.kept["stem"]
    assert torch.equal(model.stage1[0].weight, whole.stage1[0].weight[rows][:, columns])
    assert torch.equal(model.stage1[1].running_mean, whole.stage1[1].running_mean[rows])
    assert sum(p.numel() for p in model.parameters()) <= sum(p.numel() for p in whole.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert not model.training


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "fisher", "example_inputs": X}, "fisher scores channels by gradients: pass data="),
        ({"method": "filter-norm"}, "got neither"),
        ({"method": "filter-norm", "example_inputs": X, "data": [(X, Y)]}, "got both"),
        ({"method": "filter-norm", "example_inputs": X, "tune_epochs": 1}, "train=False trains nothing"),
        ({"method": "filter-norm", "example_inputs": X, "train": True}, "trains the network on data="),
    ],
)
def test_without_training_asks_for_what_it_needs(settings: dict[str, object], said: str) -> None:
    with pytest.raises(sc.InputError, match=said):
        sc.prune(net(), **{"budget": "params=50%", "train": False, **settings})  # type: ignore[arg-type]


def test_the_page_on_constraints_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[1] / "docs" / "constraints.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scope: dict[str, object] = {}
    for block in blocks:
        exec(block, scope)
    small = scope["small"]
    assert isinstance(small, nn.Module)
    assert len(blocks) == 2
    assert re.fullmatch(r"\(8, \d+\)\n", capsys.readouterr().out)  # layer 0 is kept
    assert sc.Architecture.of(small).macs <= 0.8 * 0.6 * (8 * 9 * 64 + 8 * 12 * 9 * 36 + 4320)
