"""granularity="auto": the runtime of a latency budget says which multiples of channels it likes."""

from __future__ import annotations

import pytest
import torch

import secateur as sc
from secateur.budget import Deployment, Limits
from secateur.deploy.rounds import Times
from secateur.methods import FilterNorm, Fisher, granularity
from secateur.methods.granularity import _best, liked
from secateur.models import wide_resnet
from secateur.surgery.anatomy import anatomy_of
from secateur.surgery.constraints import Bounds

X = torch.zeros(1, 3, 32, 32)


class Clock:
    """A runtime that computes channels in steps of `lanes`: milliseconds follow from that alone."""

    def __init__(self, lanes: int):
        self.lanes, self.asked = lanes, 0

    def ns(self, model) -> int:
        widths = [block.conv1.out_channels for block in model.blocks]
        return round(1e5 * (2 + sum(-(-width // self.lanes) * self.lanes for width in widths)))

    def side_by_side(self, models, inputs, where, limit_s=0.0):
        self.asked += 1
        return {name: Times(((self.ns(model),),) * 12) for name, model in models.items()}

    def agreed_latency(self, model, inputs, deployment):
        return type("Latency", (), {"nanoseconds": self.ns(model), "__str__": lambda _: "1 ms"})()


@pytest.fixture
def clock(monkeypatch):
    def wound(lanes: int) -> Clock:
        made = Clock(lanes)
        monkeypatch.setattr(granularity, "side_by_side", made.side_by_side)
        for module in (granularity, __import__("secateur.methods.goal", fromlist=["goal"])):
            monkeypatch.setattr(module, "agreed_latency", made.agreed_latency)
        return made

    return wound


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_the_multiple_is_that_of_the_runtimes_lanes(clock, lanes):
    clock(lanes)
    model = wide_resnet(22, 4)
    found = liked(
        model, anatomy_of(model), round(0.5 * Clock(lanes).ns(model)), Deployment("openvino"), Bounds()
    )
    assert found.granularity == lanes
    assert found.said.startswith(f"granularity {lanes}: channels that multiples leave in ")
    assert [block.conv1.out_channels for block in model.blocks][:1] == [64]  # it is not changed


def test_channels_are_compared_at_one_time():
    # Where channels grow as time does, twice as many in twice the time are no gain; 130 in 1.2 of it are.
    times = {"1": 10e6, "less": 5e6, "8": 20e6, "16": 12e6}
    channels = {"1": 100, "less": 50, "8": 200, "16": 130}
    found = _best(times, channels, Deployment("openvino"))
    assert found.granularity == 16
    assert found.said == (
        "granularity 16: channels that multiples leave in 10 ms on openvino:batch=1:threads=1: "
        "1: 100, 8: 100, 16: 108"
    )
    assert _best(times, {**channels, "16": 121}, Deployment("openvino")).granularity == 1  # within 1%


def test_prune_asks_keeps_to_the_answer_and_says_it(clock, capsys):
    asked = clock(8)
    model = wide_resnet(10, 4)
    model = sc.prune(
        model, method="filter-norm", budget="latency=50%@openvino", granularity="auto", example_inputs=X,
        train=False,
    )  # fmt: skip
    assert asked.asked == 1
    assert all(block.conv1.out_channels % 8 == 0 for block in model.blocks)
    assert "granularity 8: channels that multiples leave in" in capsys.readouterr().err


def test_a_state_keeps_the_answer(clock):
    asked = clock(8)
    model = wide_resnet(10, 4)
    method = FilterNorm("latency=50%@openvino", every=1, granularity="auto")
    method.prepare(model)
    state = method.state()
    assert state["granularity"] == 8
    assert method.identity()["granularity"] == "auto"
    other = FilterNorm(Limits.of(method.goal.wanted, model), every=1, granularity="auto")
    other.restore(state, {})
    other.prepare(wide_resnet(10, 4))
    assert (other.granularity, asked.asked) == (8, 1)


def test_a_number_asks_nobody(clock):
    asked = clock(8)
    method = Fisher("latency=50%@openvino", granularity=2)
    method.prepare(wide_resnet(10, 1))
    assert (method.granularity, asked.asked, method.found) == (2, 0, [])


def test_a_group_narrower_than_every_multiple_has_only_uneven_widths(clock):
    clock(16)
    model = wide_resnet(10, 1, widths=[3, 3, 3])
    found = liked(model, anatomy_of(model), Clock(16).ns(model) // 2, Deployment("openvino"), Bounds())
    assert found.granularity == 1


@pytest.mark.parametrize("budget", ["params=50%", "macs=40%,bytes=1MB"])
def test_without_a_latency_there_is_nobody_to_ask(budget):
    says = "granularity auto asks the runtime of a latency budget, got none: add one, latency=2ms@onnxruntime"
    with pytest.raises(sc.InputError, match=says):
        sc.prune(wide_resnet(10, 1), budget=budget, granularity="auto", data=[])


@pytest.mark.parametrize("wrong", [0, -8, "all", 2.5])
def test_other_granularities_are_refused(wrong):
    with pytest.raises(sc.InputError, match='granularity must be at least 1, or "auto"'):
        Fisher("params=50%", granularity=wrong)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("prune fisher --granularity auto --budget params=50%", "granularity auto asks the runtime"),
        (
            "prune fisher --granularity even --budget params=50%",
            "--granularity takes a whole number, or auto",
        ),
        ("compare --granularity auto", "--granularity auto is for prune, with a latency budget"),
    ],
)
def test_the_command_line_refuses_at_once(run, line, says):
    code, out, err = run(line)
    assert (code, out) == (2, "")
    assert says in err
