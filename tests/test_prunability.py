"""tools/prunability.py on tiny networks: its reference by hand, its processes, its lines, its tables."""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

TOOLS = Path(__file__).parents[1] / "tools"
sys.path.insert(0, str(TOOLS))

import prunability  # noqa: E402
from field import measured, networks, others, reference, table  # noqa: E402


class Small(nn.Module):
    """Two layers with a batch normalisation between them."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 4)

    def forward(self, x):
        return self.b(self.norm(self.a(x)).sigmoid().mean((2, 3)))


class Normed(nn.Module):
    """Two layers with a normalisation over the channels between them."""

    def __init__(self, norm):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(5, 6), norm, nn.Linear(6, 4)

    def forward(self, x):
        return self.b(self.norm(self.a(x)).sigmoid())


class ByHandRMSNorm(nn.Module):
    """As transformers have it."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


def cut_by_hand(model, kept, read=None):
    """Keep some channels between `a` and `b`; `read`: those that `b` keeps, if they are (wrongly) others."""
    with torch.no_grad():
        model.a.weight.data, model.a.bias.data = model.a.weight[kept], model.a.bias[kept]
        model.b.weight.data = model.b.weight[:, kept if read is None else read]
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(model.norm, name, None)
            if value is not None:
                value.data = value[kept]
    if isinstance(model.norm, nn.LayerNorm):
        model.norm.normalized_shape = (len(kept),)


def off(build, x, kept, read=None):
    """How far a cut by hand is from the reference."""
    live = reference.lively(build(), 0)
    compact, tagged = reference.lively(build(), 0), reference.lively(build(), 0)
    reference.tag(tagged)
    for model in (compact, tagged):
        cut_by_hand(model, kept, read)
    expected = reference.answers(reference.blinded(live, compact, reference.places_in(tagged)), x.double())
    return reference.worst(reference.answers(compact, x.double()), expected)


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (Small, (2, 3, 5, 5)),
        (lambda: Normed(nn.LayerNorm(6)), (2, 5)),
        (lambda: Normed(ByHandRMSNorm(6)), (2, 5)),
    ],
    ids=["batch norm", "layer norm", "norm by hand"],
)
def test_the_reference_tells_a_right_cut_from_a_wrong_one(build, shape):
    x = torch.randn(shape)
    assert off(build, x, [0, 2, 5]) < 1e-12
    assert off(build, x, [0, 2, 5], read=[0, 2, 4]) > 1e-3


def test_places_are_where_entries_were():
    model = Small()
    reference.tag(model)
    cut_by_hand(model, [1, 4])
    places = reference.places_in(model)
    assert places["b.weight"].tolist() == [[1, 4], [7, 10], [13, 16], [19, 22]]  # of (4, 6)
    assert places["norm.running_var"].tolist() == [1, 4]
    whole, compact = Small(), Small()
    cut_by_hand(compact, [0, 0])
    reference.fill(compact, whole, places)
    assert torch.equal(compact.b.weight, whole.b.weight[:, [1, 4]])


def test_a_normalised_weight_is_compared_by_what_it_computes():
    live = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2)).double()
    before = live(torch.ones(1, 3).double())
    tagged = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2)).double()
    reference.tag(tagged)
    places = reference.places_in(tagged)
    inner = "0.parametrizations.weight."
    places[f"{inner}original1"] = places[f"{inner}original1"][:3]  # the last row is gone
    places["0.bias"], places["1.weight"] = places["0.bias"][:3], places["1.weight"][:, :3]
    full = reference.blinded(live, live, places)
    assert torch.equal(full[0].weight[3], torch.zeros(3).double())
    assert torch.equal(full[0].weight[:3], live[0].weight[:3])
    assert torch.equal(live(torch.ones(1, 3).double()), before)  # a copy shares the class of what it is of


def tiny(name="own/small", build=Small):
    return networks.Network(
        name, build, lambda n: torch.ones(n, 3, 8, 8) * torch.arange(1, n + 1)[:, None, None, None]
    )


QUICK = measured.Settings(onnx=False, step=False)


def test_a_network_is_measured():
    row = measured.Measured(tiny(), QUICK, lambda row: None).run()
    assert row["failed"] == {}
    assert row["groups"] == 1
    assert row["params"] == 3 * 9 * 6 + 6 + 2 * 6 + 6 * 4 + 4
    assert row["macs"] == 27 * 6 * 36 + 24  # 6 x 6 places
    assert row["books"] == {"params": True, "macs": 0}
    assert row["right"]
    assert row["difference"] < 1e-12
    assert row["half"]["reached"]
    assert row["half"]["macs"] <= row["macs"] / 2
    assert row["loaded"]


def test_what_secateur_raises_is_a_line_and_the_rest_goes_on():
    row = measured.Measured(
        tiny(build=lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3))), QUICK, print
    ).run()
    assert row["failed"]["inspect"].startswith("InputError: nothing in Sequential can be pruned")
    assert "half" not in row


def test_a_wrong_cut_is_found(monkeypatch):
    """Were secateur's removal to cut other entries of the reader, the line would say so."""
    from secateur.surgery.graph import ChannelGraph

    remove = ChannelGraph.remove

    def wrong(self, model, name, channels, optimizer=None):
        remove(self, model, name, channels, optimizer)
        model.b.weight.data = model.b.weight.data.roll(1, 1)

    study = measured.Measured(tiny(), QUICK, lambda row: None)
    study._build()
    study._inspect()
    monkeypatch.setattr(ChannelGraph, "remove", wrong)
    study._right()
    assert study.row["right"] is False


class Endless(nn.Module):
    def __init__(self):
        super().__init__()
        while True:
            pass


def limited(network, folder, seconds=30, gib=8.0):
    trial = prunability.Trial(network, QUICK, prunability.Limits(seconds, gib), folder)
    while (why := trial.ended()) is None:
        time.sleep(0.02)
    return trial.row(why)


def test_limits_end_a_network_and_leave_a_line(tmp_path):
    assert limited(tiny(build=Endless), tmp_path, seconds=1)["failed"] == {"build": "no end after 1 s"}
    assert limited(tiny(build=Endless), tmp_path, gib=0.001)["failed"]["build"] == "more than 0.001 GiB"


def test_lines_are_kept_and_a_second_call_goes_on(tmp_path, monkeypatch, capsys):
    known = {"own/small": tiny(), "own/other": tiny("own/other")}
    monkeypatch.setattr(prunability, "every", lambda: known)
    options, path = argparse.Namespace(networks="", all=False, only=[], again=False), tmp_path / "lines.jsonl"
    prunability.measure_all([known["own/small"]], QUICK, prunability.Limits(60, 8.0), 1, path)
    (line,) = path.read_text().splitlines()
    row = json.loads(line)
    assert row["right"]
    assert row["made"]["torch"] == torch.__version__
    assert row["made"]["seed"] == 0
    assert "own/small: params" in capsys.readouterr().out
    assert [network.name for network in prunability.chosen(options, path)] == ["own/other"]
    options.again = True
    assert [network.name for network in prunability.chosen(options, path)] == ["own/small", "own/other"]
    options.networks = "own/none"
    with pytest.raises(SystemExit, match="no network 'own/none'"):
        prunability.chosen(options, path)


def test_the_list_is_as_long_as_promised():
    """Names only: neither torchvision nor timm is needed to list them."""
    found = networks.every()
    kinds = [network.kind for network in found.values() if not network.more]
    assert kinds.count("torchvision") == 27
    assert kinds.count("segmentation") + kinds.count("detection") >= 7
    assert kinds.count("timm") >= 60
    assert kinds.count("transformers") >= 20
    assert [kinds.count(kind) for kind in ("detector", "diffusion", "recurrent")] == [5, 5, 5]
    everything = [network.kind for network in found.values()]
    assert everything.count("torchvision") == 78  # of 80: two do not fit


@pytest.mark.parametrize("name", [name for name in networks.every() if name.partition("/")[0] in
                                  ("detector", "diffusion", "recurrent")])  # fmt: skip
def test_our_own_networks_run(name):
    network = networks.every()[name]
    found = reference.answers(network.build(), network.inputs(2))
    assert found
    assert all(bool(output.isfinite().all()) for output in found)


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision: in the second environment only")
def test_a_detectors_body_gives_what_is_computed_before_boxes_are_chosen():
    network = networks.every()["detection/ssdlite320_mobilenet_v3_large"]
    assert len(reference.answers(network.build(), network.inputs(2))) == 2


@pytest.mark.skipif(
    find_spec("torch_pruning") is None, reason="torch-pruning: in the second environment only"
)
def test_another_tool_is_judged_by_the_same_reference():
    live = reference.lively(Small(), 0)
    found = others.outcome_of(others.torch_pruning, live, torch.randn(2, 3, 8, 8).double(), {"b"}, 0.3, 0, 30)
    assert found["outcome"] == "right"
    assert found["compact"].a.out_channels == 4


def test_layers_that_write_the_output_are_told_from_the_others():
    one = torch.ones(1, 3, 8, 8).double()
    assert others.writers_of_output(reference.lively(Small(), 0), one) == {"b"}
    both = networks.every()["detector/retinanet (FPN)"]
    assert others.writers_of_output(reference.lively(both.build(), 0), both.inputs(1).double()) == {
        "cls",
        "box",
    }


def wrong_tool(live, inputs, last, ratio, seed):
    model = reference.lively(live, 0)
    reference.tag(model)
    cut_by_hand(model, [0, 1, 2], read=[1, 2, 3])
    places = reference.places_in(model)
    reference.fill(model, live, places)
    return model, places


def raising_tool(live, inputs, last, ratio, seed):
    raise KeyError("a layer")


def slow_tool(live, inputs, last, ratio, seed):
    while True:
        pass


@pytest.mark.parametrize(
    ("tool", "outcome"), [(wrong_tool, "wrong"), (raising_tool, "raised"), (slow_tool, "late")]
)
def test_what_another_tool_does_is_named(tool, outcome):
    live = reference.lively(Small(), 0)
    assert (
        others.outcome_of(tool, live, torch.randn(2, 3, 8, 8).double(), {"b"}, 0.3, 0, 0.5)["outcome"]
        == outcome
    )


ROWS = [
    {
        "network": "own/a",
        "params": 100,
        "macs": 1000,
        "seconds": {"inspect": 3.0, "step of 32": 0.5},
        "failed": {},
        "groups": 2,
        "can go": {"params": 0.99, "macs": 0.985},
        "frozen": [["fc", 10, "written to the network's output"]],
        "books": {"params": True, "macs": 0},
        "difference": 1e-15,
        "right": True,
        "half": {"reached": True, "macs": 490, "params": 60},
        "loaded": True,
        "onnx": 1e-7,
        "others": {
            "torch-pruning": {"outcome": "wrong", "difference": 0.5, "macs": 0.51, "seconds": 1.0},
            "torch-kirigami": {"outcome": "raised", "reason": "CaptureError: no", "seconds": 1.0},
        },
    },
    {"network": "own/b", "seconds": {}, "failed": {"inspect": "InputError: nothing | here"}},
]


def test_other_libraries_have_lines_of_their_own():
    ours = {"network": "own/a"}
    line = {"failed": {}, "others": {"torch-pruning": {"outcome": "right"}}, "made": {"ratio": 0.3}}
    assert prunability.with_others(ours, None) == ours
    assert prunability.with_others(ours, line)["others"] == {"torch-pruning": {"outcome": "right"}}
    ended = {
        "failed": {"others": "no end after 9 s"},
        "others": {"torch-pruning": {"outcome": "right"}},
        "made": {},
    }
    found = prunability.with_others(ours, ended)["others"]
    assert [found[name]["outcome"] for name in ("torch-pruning", "torch-kirigami")] == ["right", "late"]


def test_tables_say_what_the_lines_say():
    written = table.tables(ROWS)
    one, other = written["networks"].splitlines()[2:4]
    assert one == (
        "| own/a | 2 (1) | 99.0% | 98.5% | yes | 3.0 s / 6 | **wrong**, 51% of the MACs left | raised |"
    )
    assert other == "| own/b | none |  |  | not half, not right, not loaded |  |  |  |"
    assert written["short"].splitlines()[2:] == ["| own/b | inspect | InputError: nothing \\| here |"]
    counted = "| own | 2 | 1 | 1 | 1 | 1 | 1 | 1 | 1 (50%) | 0 of 1 | 0 of 1 | 1 of 1 | 0 of 1 |"
    assert written["summary"].splitlines()[2] == counted
    beside = {"secateur": "1 of 1", "torch-pruning": "0 of 1", "torch-kirigami": "0 of 1"}
    assert table.beside_others(ROWS) == beside
