"""Exports padded with channels of zero: what is computed stays, and a runtime says whether it is worth it."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.deploy import widths
from secateur.deploy.rounds import Times
from secateur.deploy.widths import pad_for, padded, read_padding
from secateur.runs.export import export_directory
from secateur.surgery.anatomy import anatomy_of


class Net(nn.Module):
    """A depthwise layer, a concatenation, a transposed layer, a flatten, PReLU, a sigmoid (of zero, 0.5)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.deep = nn.Conv2d(5, 5, 3, padding=1, groups=5)
        self.left, self.right = nn.Conv2d(5, 3, 1), nn.Conv2d(5, 7, 1)
        self.act = nn.PReLU(7)
        self.up = nn.ConvTranspose2d(10, 6, 2, stride=2)
        self.hidden, self.head = nn.Linear(6 * 16, 11), nn.Linear(11, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.deep(F.relu(self.bn(self.stem(x))))
        x = torch.cat([torch.sigmoid(self.left(x)), self.act(self.right(x))], 1)
        x = torch.sigmoid(self.up(x))
        return self.head(F.gelu(self.hidden(F.adaptive_avg_pool2d(x, 4).flatten(1))))


def lively(model: nn.Module) -> nn.Module:
    """No number is a stranger: statistics and scales as after training."""
    draw = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=draw) + 0.5
    return model.eval()


X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net() -> nn.Module:
    model = lively(Net())
    sc.inspect(model, X)
    return model


@pytest.mark.parametrize("multiple", [2, 8, 16])
@torch.no_grad()
def test_any_traced_network_computes_what_it_did(multiple):
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wide = padded(model, multiple)
    up = {n: -(-n // multiple) * multiple for n in (3, 5, 6, 7, 11)}
    assert wide.stem.weight.shape == (up[5], 3, 3, 3)
    assert (wide.deep.groups, wide.deep.weight.shape) == (up[5], (up[5], 1, 3, 3))
    assert wide.up.weight.shape == (up[3] + up[7], up[6], 2, 2)
    assert wide.hidden.weight.shape == (up[11], up[6] * 16)
    assert wide.head.weight.shape == (4, up[11])
    x = X.double()
    torch.testing.assert_close(wide.double()(x), copy.deepcopy(model).double()(x), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@torch.no_grad()
def test_built_in_networks_with_their_streams_do_too():
    model = lively(sc.models.wide_resnet(16, 1, stages=[16, 20, 30], widths=[3, 9, 11, 18, 16, 1]))
    wide = padded(model, 8)
    assert [block.conv1.out_channels for block in wide.blocks] == [8, 16, 16, 24, 16, 8]
    assert [block.conv2.out_channels for block in wide.blocks] == [16, 16, 24, 24, 32, 32]
    x = torch.randn(2, 3, 32, 32).double()
    torch.testing.assert_close(wide.double()(x), model.double()(x), rtol=1e-12, atol=1e-12)


def test_padding_after_a_cut_goes_by_the_present_channels():
    model = net()
    graph = anatomy_of(model).graph
    graph.remove(model, "right", [0, 3])
    graph.remove(model, "stem", [1])
    with torch.no_grad():
        torch.testing.assert_close(padded(model, 4)(X), model(X))
    assert padded(model, 4).up.in_channels == 4 + 8


def test_nothing_to_pad_is_no_copy():
    assert padded(sc.models.wide_resnet(10, 1), 16) is None
    same = sc.models.wide_resnet(10, 1)
    assert pad_for(same, X, "onnxruntime", "auto") == (same, None)
    _, found = pad_for(same, X, "onnxruntime", 16)
    assert found.said == "widths stay as they are: none that can be padded is no multiple of 16"


def test_channels_that_a_normalisation_is_over_stay(recwarn):
    model = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    inputs = torch.randn(2, 4)
    sc.inspect(model, inputs)
    wide = padded(model, 8)
    assert (wide[0].out_features, wide[2].out_features) == (5, 8)
    torch.testing.assert_close(wide(inputs), model(inputs))


def test_a_padding_that_computes_something_else_is_refused(monkeypatch):
    def wrong(layer, names, dim, places, new=0.0):
        extend(layer, names, dim, places, 1.0)

    extend = widths._extend
    monkeypatch.setattr(widths, "_extend", wrong)
    model = net()
    with pytest.raises(sc.InputError, match="must compute what it did"):
        padded(model, 8)
    with pytest.raises(sc.InputError, match="must compute what it did"):
        pad_for(model, X, "onnxruntime", 8)
    found = pad_for(model, X, "onnxruntime", "auto")  # which nobody asked for: the export goes on
    assert found[0] is model
    assert found[1].said.startswith("widths not padded: a padded network must compute what it did")


def test_a_network_that_cannot_compute_in_float64_is_compared_in_its_own_type():
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.other(self.one(x).relu().float())

    model, inputs = Single(), torch.randn(2, 4)
    sc.inspect(model, inputs)
    assert padded(model, 8).one.out_features == 8


@pytest.mark.parametrize("text", ["", "1", "0", "-8", "8.0", "all", "513", "8\n"])
def test_other_paddings_are_refused(text):
    with pytest.raises(sc.InputError, match="a multiple from 2 to 512, auto or off"):
        read_padding(text)


def clock(plain: float, wide: float, noise: float):
    """Stand in for `timed`: twenty rounds."""

    def timed(runs, **_):
        rounds = {"plain": plain, "padded": wide}
        return {
            name: Times(tuple((int(rounds[name] * 1e6 * (1 + noise * (i % 5 - 2))),) for i in range(20)))
            for name in runs
        }

    return timed


@pytest.mark.parametrize(
    ("plain", "wide", "noise", "taken"),
    [(2.0, 1.5, 0.001, True), (2.0, 1.99, 0, False), (1.5, 2.0, 0.1, False)],
)
def test_auto_pads_where_the_runtime_is_faster_and_says_both_times(monkeypatch, plain, wide, noise, taken):
    monkeypatch.setattr(widths, "timed", clock(plain, wide, noise))
    monkeypatch.setattr(widths, "prepared", lambda models, *_: nullcontext(models))
    model = sc.models.wide_resnet(10, 1, widths=[9, 30, 60])
    inputs = torch.zeros(1, 3, 32, 32)
    network, found = pad_for(model, inputs, "onnxruntime", "auto")
    assert (network is not model, found.multiple) == (taken, 8 if taken else None)
    assert f"{wide:.3g} ms padded to multiples of 8, {plain:.3g} ms as they are" in found.said
    assert found.said.startswith("widths padded: " if taken else "widths not padded: ")
    assert found.params == sum(p.numel() for p in network.parameters())
    if taken:
        assert "parameters in the file, of " in found.said


def test_a_multiple_that_was_asked_for_is_not_measured(monkeypatch):
    monkeypatch.setattr(widths, "timed", None)
    model = sc.models.wide_resnet(10, 1, widths=[9, 30, 60])
    network, found = pad_for(model, torch.zeros(1, 3, 32, 32), "openvino", "4")
    assert [block.conv1.out_channels for block in network.blocks] == [12, 32, 60]
    count = sum(p.numel() for p in network.parameters())
    assert found.said.startswith(f"widths padded to multiples of 4: {count:,} parameters in the file, of ")
    assert pad_for(model, X, "openvino", "off") == (model, None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uneven")
    sc.save(lively(sc.models.wide_resnet(10, 1, widths=[9, 30, 60])), folder)
    return folder


def test_export_measures_by_default_and_says_it(saved, command_line, monkeypatch):
    monkeypatch.setattr(widths, "timed", clock(2.0, 1.5, 0.001))
    code, out, err = command_line(f"export {saved}")
    assert (code, err) == (0, "")
    assert "widths padded: 1.5 ms padded to multiples of 8, 2 ms as they are (0.750 of it, onnxruntime" in out
    assert "parameters in the file, of " in out


def test_export_pads_as_asked_or_not_at_all(saved, monkeypatch):
    monkeypatch.setattr(widths, "timed", None)
    plain, wide = (export_directory(saved, pad_widths=asked) for asked in ("off", 8))
    assert plain.widths == ""
    assert wide.widths.startswith("widths padded to multiples of 8: ")
    assert wide.size > plain.size


def test_export_refuses_other_paddings_before_it_loads_anything(command_line, tmp_path):
    code, _, err = command_line(f"export {tmp_path / 'none'} --pad-widths 9.5")
    assert code == 2
    assert "widths are padded to a multiple from 2 to 512, auto or off, got '9.5'" in err
