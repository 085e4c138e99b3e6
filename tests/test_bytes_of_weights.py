"""Budgets in bytes for what sets weights to zero: the very file is within them, whatever training did."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import secateur as sc
from secateur.errors import InputError
from secateur.methods import (
    L1,
    SNIP,
    DynamicFeedback,
    GradualMagnitude,
    Magnitude,
    Random,
    Reparametrization,
)
from secateur.methods import METHODS as BY_NAME
from secateur.methods.weight_goal import largest
from secateur.network.masks import count_nonzeros
from secateur.network.tensor_files import written_state
from secateur.network.weight_file import content_of, file_bytes

SMALL = "--model wrn-10-1 --data digits --limit-train 300 --epochs 2 --batch-size 64 --device cpu"
DENSE = 316_016
"""Bytes of that network, plain: 4 for each of its 77,562 parameters and 1,080 statistics, and the header."""

METHODS = {
    "magnitude": lambda: Magnitude("bytes=9kB"),
    "layerwise": lambda: Magnitude("bytes=9kB", scope="layer"),
    "random": lambda: Random("bytes=9kB"),
    "random-as-magnitude": lambda: Random("bytes=9kB", scope="magnitude"),
    "snip": lambda: SNIP("bytes=9kB"),
    "l1": lambda: L1("bytes=9kB"),
    "gradual": lambda: GradualMagnitude("bytes=9kB", steps=20),
    "dynamic-feedback": lambda: DynamicFeedback("bytes=9kB", steps=20),
    **{
        name: partial(BY_NAME[name], "bytes=9kB", steps=20)
        for name in ("ac-dc", "str", "powerpropagation", "spartan", "l0")
    },
    "reparametrization": lambda: Reparametrization("bytes=9kB", steps=20),
    "faithful": lambda: Reparametrization("bytes=9kB", mode="faithful"),
    "iterative": lambda: BY_NAME["iterative-magnitude"]("bytes=9kB", steps=20),
    "set": lambda: BY_NAME["set"]("bytes=9kB", steps=20, every=3),
    "rigl": lambda: BY_NAME["rigl"]("bytes=9kB", steps=20, every=3),
    "granet": lambda: BY_NAME["granet"]("bytes=9kB", steps=20, every=3),
    "keep": lambda: Magnitude("bytes=9kB", keep=["2"]),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 120), nn.ReLU(), nn.Linear(120, 10))


@given(st.integers(1, 50), st.integers(51, 5000), st.integers(0, 10_000), st.integers(0, 3))
def test_largest_is_within_the_limit_and_nearly_at_it(least, most, limit, noise):
    """The size grows by 2 for each, but for noise: a file is no exact function of its weights."""

    def size(count: int) -> int:
        return 2 * count + (count * 7919 % (noise + 1))

    found = largest(size, least, most, limit)
    assert least <= found <= most
    if found > least:
        assert size(found) <= limit
    if found < most and size(least) <= limit:
        further = found + 2 + noise + found // 1000
        assert further > most or size(further) > limit


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_zeroes_weights_meets_the_size_of_the_file(tmp_path, name):
    model, method = network(), METHODS[name]()
    x, y = torch.randn(30, 64), torch.arange(30) % 10
    model = method.prepare(model, [(x, y)])
    optimizer = torch.optim.SGD(method.parameter_groups(model, 1e-4), lr=0.1, momentum=0.9)
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x), y) + method.penalty(model)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model = method.after_step(model, optimizer)
    method.before_evaluation(model)
    model = method.finalize(model)
    (tmp_path / "model.safetensors").write_bytes(content_of(written_state(model)))
    size = os.path.getsize(tmp_path / "model.safetensors")
    assert 0.95 * 9000 < size <= 9000
    assert 0 < count_nonzeros(model) < 0.5 * (64 * 120 + 120 * 10)
    if name == "keep":
        assert model[2].weight.all()


def test_a_file_that_training_made_too_large_loses_its_smallest_weights():
    """Numbers of all magnitudes take more bytes than the near ones of an initialisation."""
    model, method = network(), Magnitude("bytes=9kB")
    model = method.prepare(model)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            kept = layer.weight != 0
            layer.weight.copy_(torch.exp(8 * torch.randn_like(layer.weight)) * kept)
    before = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()])
    assert file_bytes(model) > 9000
    model = method.finalize(model)
    after = torch.cat([model[0].weight.flatten(), model[2].weight.flatten()])
    gone = (before != 0) & (after == 0)
    assert 0 < int(gone.sum()) < int((after != 0).sum())
    assert file_bytes(model) <= 9000
    assert before[gone].abs().max() <= after[after != 0].abs().min()
    assert torch.equal(after[~gone], before[~gone])


def test_a_run_goes_on_with_the_weights_that_it_had_solved_for():
    method = Magnitude("bytes=9kB")
    method.prepare(network())
    other = network()
    with torch.no_grad():
        other[0].weight.mul_(torch.rand_like(other[0].weight) ** 40)
    again = Magnitude("bytes=9kB")
    again.prepare(other)
    assert again.target != method.target
    again.restore(method.state(), method.tensors())
    assert again.target == method.target


def test_what_cannot_be_is_refused_when_the_method_begins():
    with pytest.raises(InputError, match=r"the budget of 800 bytes is below the file .* one weight"):
        Magnitude("bytes=800").prepare(network())
    with pytest.raises(InputError, match=r"down to what must stay \(keep 2\), [0-9,]+ .* at least bytes="):
        Magnitude("bytes=2000", keep=["2"]).prepare(network())
    with pytest.raises(InputError, match="must not exceed the network's own size"):
        Magnitude("bytes=1MB").prepare(network())
    with pytest.raises(InputError, match="in nonzeros or bytes, got 'macs=5%'"):
        Magnitude("macs=5%")


@pytest.mark.parametrize(
    "method", ["gradual-magnitude", pytest.param("magnitude-tuned", marks=pytest.mark.slow)]
)
def test_prune_leaves_a_file_within_the_budget(run, tmp_path, method):
    code, out, err = run(f"prune {method} {SMALL} --budget bytes=40kB --out small")
    assert code == 0, err
    size = os.path.getsize(tmp_path / "small/model.safetensors")
    assert 36_000 < size <= 40_000
    record = json.loads((tmp_path / "small/record.json").read_text())
    assert record["bytes"] == size
    assert record["limits"] == {"bytes": 40_000}
    assert f"exactly {record['nonzeros']:,} of 77,072 weights not zero" in out
    assert f"{size:,} bytes" in out
    assert count_nonzeros(sc.load("small")) == record["nonzeros"]
    code, out, err = run("inspect --model small --json")
    assert (code, json.loads(out)["bytes_on_disk"]) == (0, size), err
    (made,) = (each for each in (tmp_path / "small/runs").iterdir() if each.name.startswith("sparse-"))
    assert os.path.getsize(made / "model.safetensors") == size


def test_a_share_is_one_of_the_plain_file(tmp_path):
    """Also of a network that is sparse already."""
    save_file(network().state_dict(), tmp_path / "plain.safetensors")
    method = Magnitude("bytes=10%")
    method.prepare(Magnitude("nonzeros=50%").prepare(network()))
    assert method.goal.bytes == os.path.getsize(tmp_path / "plain.safetensors") // 10


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prune magnitude --budget bytes=2kB", "magnitude: the budget of 2,000 bytes is below the file"),
        ("prune reparametrization --budget bytes=1MB", "at most bytes=316016"),
        ("prune l1 --budget bytes=20kB --budget nonzeros=5%", "cannot hold together with another"),
        ("prune l1 --budget bytes=20kB --budget params=5%", "l1 takes one budget"),
        ("prune channel-reparametrization --budget bytes=20kB", "ask for params, which take 4 bytes each"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(run, tmp_path, line, said):
    code, _, err = run(f"{line} {SMALL} --out no")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_networks_are_compared_by_the_bytes_of_their_files(run, tmp_path):
    """Narrow ones, whose file is plain, beside sparse ones."""
    code, out, err = run(f"compare {SMALL} --budget bytes=40kB --arms width,magnitude,snip --out both")
    assert code == 0, err
    found = json.loads((tmp_path / "both/results.json").read_text())
    for point in found["points"]:
        size = os.path.getsize(tmp_path / "both/runs" / point["run_id"] / "model.safetensors")
        assert point["bytes"] == size <= 40_000
    assert {row["arm"]: row["bytes"] for row in found["summary"]}.keys() == {"width", "magnitude", "snip"}
    assert "bytes" in out
    assert (tmp_path / "both/figures/accuracy_vs_bytes.svg").is_file()
    assert "bytes on disk" in (tmp_path / "both/report.html").read_text()
