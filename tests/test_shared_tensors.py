"""A module under two names, and tied weights: counted once, written once, loaded under every name."""

import copy

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.architecture.file import WEIGHTS_FILE
from secateur.network.tensor_files import artefact_bytes, repeats
from secateur.records.manifest import MANIFEST_FILE
from secateur.surgery.anatomy import anatomy_of


class UNet(nn.Module):
    """The backbone is registered, and so are slices of it."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
        self.base = nn.Sequential(*layers, nn.Conv2d(16, 24, 3, padding=1), nn.ReLU())
        self.low, self.high = self.base[:3], self.base[3:]
        self.up, self.out = nn.ConvTranspose2d(24, 16, 2, 2), nn.Conv2d(32, 5, 1)

    def forward(self, x):
        low = self.low(x)
        return self.out(torch.cat([self.up(self.high(low)), low], 1))


class Tied(nn.Module):
    """The last layer's weight is the embedding."""

    def __init__(self):
        super().__init__()
        self.emb, self.f1, self.f2 = nn.Embedding(50, 24), nn.Linear(24, 40), nn.Linear(40, 24)
        self.head = nn.Linear(24, 50, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, ids):
        h = self.emb(ids)
        return self.head(h + self.f2(F.gelu(self.f1(h)))).mean(1)


NETWORKS = {
    "registered twice": (UNet, lambda: torch.randn(4, 3, 8, 8), lambda: torch.randint(0, 5, (4, 8, 8))),
    "tied": (Tied, lambda: torch.randint(0, 50, (4, 7)), lambda: torch.randint(0, 50, (4,))),
}
named = pytest.mark.parametrize("name", NETWORKS)


def opened(name):
    torch.manual_seed(0)
    build, inputs, targets = NETWORKS[name]
    model, x = build(), inputs()
    return model, sc.inspect(model, x, factory=build), x, targets(), build


def size(folder):
    return (folder / WEIGHTS_FILE).stat().st_size


@named
def test_the_books_and_the_file_have_every_tensor_once(name, tmp_path):
    model, anatomy, _, _, _ = opened(name)
    sc.save(model, tmp_path)
    held = load_file(tmp_path / WEIGHTS_FILE)
    assert len(repeats(model)) > 0
    assert held.keys() == model.state_dict().keys() - repeats(model).keys()
    assert sum(value.numel() for value in held.values() if value.dtype == torch.float32) == (
        anatomy.costs.now["params"] + sum(b.numel() for b in set(model.buffers()) if b.dtype == torch.float32)
    )
    assert anatomy.costs.bytes_at({}) == artefact_bytes(model) == size(tmp_path)
    assert sc.Architecture.of(model).cost("bytes") == size(tmp_path)


@named
@pytest.mark.parametrize("share", [60, 45, 30])
def test_a_budget_in_bytes_is_met_by_the_file(name, share, tmp_path):
    model, _, x, y, build = opened(name)
    sc.save(model, tmp_path / "whole")
    pruned = sc.prune(model, budget=f"bytes={share}%", data=[(x, y)] * 3, every=1, at_once=0, factory=build)
    sc.save(pruned, tmp_path / "small")
    assert (share - 12) / 100 * size(tmp_path / "whole") < size(tmp_path / "small")
    assert size(tmp_path / "small") <= share / 100 * size(tmp_path / "whole")
    assert anatomy_of(pruned).costs.bytes_at({}) == size(tmp_path / "small")
    loaded = sc.load(tmp_path / "small", factory=build)
    assert repeats(loaded) == repeats(pruned)
    with torch.no_grad():
        assert torch.equal(loaded(x), pruned.eval()(x))


@named
def test_shapes_under_every_name_are_foretold(name):
    model, anatomy, _, _, _ = opened(name)
    widths = {group: max(1, anatomy.graph.width(group) // 2) for group in anatomy.graph.groups}
    foretold = anatomy.costs.shapes_at(widths)
    small = copy.deepcopy(model)
    anatomy_of(small).narrow(small, widths)
    assert {key: tuple(value.shape) for key, value in small.state_dict().items()} == foretold
    assert anatomy_of(small).costs.now["params"] == sum(p.numel() for p in small.parameters())


@named
def test_a_file_with_every_name_loads_too(name, tmp_path):
    """As it was written before."""
    model, _, x, _, build = opened(name)
    sc.save(model, tmp_path)
    (tmp_path / MANIFEST_FILE).unlink()
    save_file({key: value.clone() for key, value in model.state_dict().items()}, tmp_path / WEIGHTS_FILE)
    with torch.no_grad():
        assert torch.equal(sc.load(tmp_path, factory=build)(x), model.eval()(x))


def test_a_file_without_a_tensor_is_refused(tmp_path):
    model, _, _, _, build = opened("tied")
    sc.save(model, tmp_path)
    held = load_file(tmp_path / WEIGHTS_FILE)
    del held["emb.weight"]
    save_file(held, tmp_path / WEIGHTS_FILE)
    with pytest.raises(sc.InputError, match=r"'emb\.weight' is missing"):
        sc.load(tmp_path, factory=build)
