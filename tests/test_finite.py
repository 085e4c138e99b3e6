"""A network whose numbers are none is neither written, nor read, nor used; masks are no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import secateur as sc
from secateur.errors import InputError
from secateur.network import sparse_file
from secateur.network.finite import not_finite

SMALL = {"depth": 10, "width": 1, "num_classes": 10, "in_channels": 1, "image_size": 8}
HARMS = {
    "nan": ("stem.weight", torch.nan, "3 of 144 in stem.weight are NaN or infinite"),
    "inf": ("stem.weight", -torch.inf, "3 of 144 in stem.weight are NaN or infinite"),
    "statistics": ("{bn}", torch.nan, "3 of 16 in {bn} are NaN or infinite"),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return sc.models.wide_resnet(**SMALL).eval()


def statistics_of(state: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in state.items() if name.endswith("running_var") and len(value) == 16)


@pytest.fixture(params=HARMS)
def harm(request):
    """What is done to a state dict, and what is said of it."""
    name, value, said = HARMS[request.param]

    def done(state: dict[str, torch.Tensor]) -> str:
        where = name.format(bn=statistics_of(state))
        state[where].view(-1)[:3] = value
        return said.format(bn=where)

    return done


def refused(said: str, call, *arguments, **more) -> None:
    with pytest.raises(InputError) as error:
        call(*arguments, **more)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_it_is_not_saved_and_what_was_there_stays(tmp_path, harm):
    sc.save(network(), tmp_path / "out")
    before = {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()}
    model = network()
    said = harm(model.state_dict())
    refused(said, sc.save, model, tmp_path / "out")
    refused(said, sc.save, model, tmp_path / "new")
    assert {each.name: each.read_bytes() for each in (tmp_path / "out").iterdir()} == before
    assert not (tmp_path / "new").exists()


@pytest.fixture
def harmed_folder(tmp_path, digits, harm) -> tuple[Path, str]:
    """A folder that an older version left of such a network, with a manifest that agrees."""
    folder = tmp_path / "out"
    sc.save(network(), folder, data=digits)
    state = load_file(folder / "model.safetensors")
    said = harm(state)
    save_file(state, folder / "model.safetensors")
    (folder / "manifest.json").unlink()
    return folder, said


def test_it_is_not_loaded(harmed_folder):
    refused(harmed_folder[1], sc.load, harmed_folder[0])


@pytest.mark.parametrize("harm", ["nan"], indirect=True)
def test_it_is_used_by_no_door(harmed_folder, digits, tmp_path, run):
    folder, said = harmed_folder
    refused(said, sc.evaluate, folder, digits)
    refused(said, sc.predict, folder, np.zeros((8, 8), np.uint8))
    refused(said, sc.measure, folder)
    refused(said, sc.push, folder, "ann/small", token="none")
    refused(said, sc.deploy.c.compile, folder)
    for command in (
        "evaluate {} --data digits",
        "export {} --to onnx",
        "export {} --to c",
        "export {} --to onnx --int8 --data digits",
        "measure {}",
        "prune fisher --model {} --trained --data digits --budget params=50% --out new",
        "train --model wrn-10-1 --distill logits --teacher {} --data digits --out new",
    ):
        code, _, error = run(command.format(folder))
        assert (code, said in error, error.count("\n")) == (2, True, 1), (command, error)
    assert sorted(each.name for each in folder.iterdir()) == [
        "architecture.json",
        "artefact.json",
        "model.safetensors",
    ]


def test_a_network_at_hand_is_not_used(digits, tmp_path, harm):
    sc.save(network(), tmp_path / "out", data=digits)
    model = sc.load(tmp_path / "out")
    said = harm(model.state_dict())
    refused(said, sc.evaluate, model, digits)
    refused(said, sc.predict, model, np.zeros((8, 8), np.uint8))
    refused(said, sc.measure, model)
    refused(said, sc.deploy.c.compile, model, torch.zeros(1, 1, 8, 8))


def test_a_sparse_file_of_one_is_not_read(tmp_path):
    model = network()
    for parameter in model.parameters():
        parameter.data[torch.rand_like(parameter) < 0.9] = 0
    sc.save(model, tmp_path)
    state = sparse_file.read(tmp_path / "model.safetensors")
    state["stem.weight"].view(-1)[0] = torch.nan
    sparse_file.write(tmp_path / "model.safetensors", state)
    (tmp_path / "manifest.json").unlink()
    refused("1 of 144 in stem.weight", sc.load, tmp_path)


class Masked(nn.Module):
    """A network with a causal mask, and a place for what nobody gave it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 4)
        self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))
        self.register_buffer("absent", torch.full((2,), torch.nan))
        self.register_buffer("short", torch.full((2,), torch.inf), persistent=False)

    def forward(self, x):
        return (self.second(self.first(x).relu()).unsqueeze(1) + self.mask).softmax(-1)


def test_masks_and_places_of_infinities_are_left_alone(tmp_path):
    model = Masked().eval()
    sc.inspect(model, torch.zeros(2, 4))
    assert not_finite(model) is None
    sc.save(model, tmp_path)
    loaded = sc.load(tmp_path, Masked)
    assert loaded.mask[0, 1] == -torch.inf
    assert loaded.absent.isnan().all()
    state = load_file(tmp_path / "model.safetensors")
    state["first.bias"][1] = torch.inf
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "manifest.json").unlink()
    refused("1 of 6 in first.bias", sc.load, tmp_path, Masked)
    refused("1 of 6 in first.bias", sc.push, tmp_path, "ann/small", token="none")  # nobody builds it there


def test_narrow_and_complex_numbers_are_looked_at_too():
    narrow = nn.Module()
    narrow.weight = nn.Parameter(torch.tensor([1.0, torch.nan]).to(torch.float8_e4m3fn), requires_grad=False)
    assert not_finite(narrow) == ("weight", 1, 2)
    narrow.weight = nn.Parameter(torch.tensor([1, complex(0, torch.inf)]))
    assert not_finite(narrow) == ("weight", 1, 2)
    assert not_finite(nn.Linear(2, 2, device="meta")) is None
